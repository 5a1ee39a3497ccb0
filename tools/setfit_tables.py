"""Tables of the appendix to chapter 2: fields, lopsided labels, 50 labels, pairs in memory."""

from __future__ import annotations

from table_parts import in_points, measured, not_run

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
        lines.append(f"| {_shown(name)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _shown(fields: str) -> str:
    """What the records call pieces are tokens, and what they call body is the article's text."""
    return fields.replace("pieces", "tokens").replace("body", "text")


@measured("ch02_ten_draws")
def ch02_lopsided() -> str:
    """Macro F1 where one label has most of the examples, by the head's penalty and weights."""
    rows = results.read("ch02_ten_draws").query("step == 'lopsided'")
    if rows.empty:
        return not_run("ch02_ten_draws")
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


@measured("ch02_raft")
def ch02_raft() -> str:
    """What 50 labels chose to feed, draw by draw, and what it is worth on test."""
    rows = results.read("ch02_raft")
    lines = [
        "| Draw | Chosen on the 50 labels | Right when held out | On test | Usual way, on test |",
        "|---:|---|---:|---:|---:|",
    ]
    for draw, found in rows.groupby("random_state"):
        usual, chosen = (
            found[found["method"] == f"SetFit, {which}"].iloc[0]
            for which in ("usual fields", "fields chosen")
        )
        lines.append(
            f"| {draw} | {_shown(chosen['fields'])} | {chosen['metrics.cross_validated']:.2f} | "
            f"{chosen['metrics.accuracy']:.3f} | {usual['metrics.accuracy']:.3f} |"
        )
    found = results.compared("ch02_raft", "SetFit, fields chosen", "SetFit, usual fields")
    lines.append(f"\nChosen minus usual, on test, in points: {in_points(found)}; detectable "
                 f"{100 * found.detectable:.1f}.")  # fmt: skip
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


TABLES = (ch02_fields, ch02_lopsided, ch02_raft, ch02_sampler)
