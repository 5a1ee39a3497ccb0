"""Chapter 7's tables: what one prompt brings, answers other than labels, and what they cost."""

from __future__ import annotations

from table_parts import not_run, with_interval

from reptune.book import results

# What a prompt brings: `rows` of ch07_students, and what needs no student.
CHAPTER_7 = (
    ("label names", "none", "Label names, no training"),
    ("label phrases", "none", "Label phrases, no training"),
    ("teacher, examples, batch", "none", "The teacher itself, shown the examples, calibrated"),
    ("frozen", "the prompt's examples", "The prompt's examples"),
    ("frozen", "generated", "Rows that the teacher wrote"),
    ("frozen", "retrieved", "Retrieved rows"),
    ("frozen", "both", "Written and retrieved rows"),
    ("frozen", "teacher labels, batch", "Real texts with the teacher's labels"),
    ("frozen", "2,500 labels", "2,500 human labels"),
    ("frozen", "all labels", "All human labels"),
    ("frozen, C = 0.3", "generated", "C = 0.3: rows that the teacher wrote"),
    ("frozen, C = 0.3", "generated, confirmed", "C = 0.3: the same, confirmed by label names"),
    ("frozen, C = 0.3", "retrieved", "C = 0.3: retrieved rows"),
    ("frozen, C = 0.3", "both", "C = 0.3: written and retrieved rows"),
    ("frozen, C = 0.3", "teacher labels, batch", "C = 0.3: real texts, the teacher's labels"),
    ("frozen, C = 0.3", "all labels", "C = 0.3: all human labels"),
)


def ch07_students() -> str:
    """Test accuracy of what one prompt brings, frozen encoders, beside no training."""
    found = results.read("ch07_students")
    if found.empty:
        return not_run("ch07_students")
    lines = [
        "| What it learned from | Encoder | Sentiment | Topics |",
        "|---|---|---|---|",
    ]
    for method, rows, shown in CHAPTER_7:
        arm = found[(found.method == method) & (found.rows == rows) & (found.split == "test")]
        for model in sorted(arm.model.unique(), key=lambda name: ("mpnet" not in name, name)):
            if "SmolLM2" in model:
                continue
            fields = {"method": method, "rows": rows, "model": model, "split": "test"}
            cells = [
                with_interval("ch07_students", task=task, **fields)
                for task in ("rotten_tomatoes", "bbc_news")
            ]
            lines.append(f"| {shown} | {model} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


TABLES = (ch07_students,)
