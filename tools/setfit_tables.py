"""Tables of the appendix to chapter 2: fields, lopsided labels, pairs in memory."""

from __future__ import annotations

from table_parts import in_points, measured

from reptune.book import results

WHOLE = "headline. body"


@measured("ch02_fields")
def ch02_fields() -> str:
    """Validation accuracy by what of an article is fed, and the difference from the usual."""
    lines = [
        "| What is fed | Frozen | minus the first row | SetFit | minus the first row |",
        "|---|---:|---|---:|---|",
    ]
    fields = results.read("ch02_fields")["fields"].unique().tolist()
    for name in [WHOLE, *(other for other in fields if other != WHOLE)]:
        cells = []
        for method in ("frozen", "SetFit"):
            right = results.correct("ch02_fields", fields=name, method=method)
            sides = ({"fields": name}, {"fields": WHOLE})
            found = results.compared("ch02_fields", *sides, method=method)
            cells += [f"{right.mean():.3f}", "–" if name == WHOLE else in_points(found)]
        # What the records call pieces are tokens, and what they call body is the article's text.
        shown = name.replace("pieces", "tokens").replace("body", "text")
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


@measured("ch02_ten_draws")
def ch02_lopsided() -> str:
    """Macro F1 where one label has most of the examples, by the head's penalty and weights."""
    rows = results.read("ch02_ten_draws").query("step == 'lopsided'")
    lines = [
        "| Method | C | Weights in the head | Macro F1, mean ± sd | Draws that say sports to all |",
        "|---|---:|---|---|---:|",
    ]
    for (method, C, weights), found in rows.groupby(["method", "C", "weights"], sort=False):
        scores, said = found["metrics.macro_f1"], found["metrics.said_frequent"]
        shown = f"{scores.mean():.3f} ± {scores.std():.3f}"
        all_of_them = f"{int((said == 1).sum())} of {len(found)}"
        lines.append(f"| {method} | {C:g} | {weights} | {shown} | {all_of_them} |")
    return "\n".join(lines) + "\n"


@measured("ch02_sampler")
def ch02_sampler() -> str:
    """Seconds and memory until the first batch of pairs, by how they are sampled."""
    rows = results.read("ch02_sampler").groupby(["method", "labels"], sort=False)
    table = rows[["seconds.first_batch", "metrics.added_mb"]].median()
    lines = ["| Pairs | Texts | Seconds to the first batch | Added MB |", "|---|---:|---:|---:|"]
    for (method, labels), row in table.iterrows():
        seconds, memory = row["seconds.first_batch"], row["metrics.added_mb"]
        lines.append(f"| {method} | {labels:,} | {seconds:.2f} | {memory:,.0f} |")
    return "\n".join(lines) + "\n"


TABLES = (ch02_fields, ch02_lopsided, ch02_sampler)
