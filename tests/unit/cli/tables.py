"""Tables on the disk, good ones and bad ones, for the commands that read them."""

import csv

from tests.unit.pipeline.tables import texts_and_labels


def write(path, rows=60, classes=2, header=("body", "team"), **kwargs):
    """Write a CSV file of texts and labels, and return its path."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(zip(*texts_and_labels(rows, classes, **kwargs), strict=True))
    return path


GOOD = "body,team\n" + "".join(f"key{row % 2} row{row},team {row % 2}\n" for row in range(30))
READABLE = {
    "byte order mark": "\ufeff" + GOOD,
    "semicolons": GOOD.replace(",", ";"),
    "tabs": GOOD.replace(",", "\t"),
    "Windows": GOOD.replace("\n", "\r\n"),
    "quoted newlines": GOOD.replace("key0 row0", '"key0\nrow0"'),
    "a cell of 5 megabytes": GOOD.replace("key0 row0", "key0 " + "word " * 1_000_000),
    "a class with one row": f"{GOOD}key2 row30,rare\n",
}
REFUSED = {
    "wrong column": (GOOD.replace("team\n", "tean\n", 1), "no column 'team', did you mean 'tean'?"),
    "Latin-1": (GOOD.replace("key0 row0", "café").encode("latin-1"), "is not UTF-8"),
    "mixed types": (
        '{"body": "a", "team": 1}\n{"body": "b", "team": "x"}\n', "mixes types"
    ),
    "empty text": (GOOD.replace("key0 row2,", ",", 1), "line 4 has no text in column 'body'"),
    "empty label": (f"{GOOD}a text,\n", "line 32 has no label in column 'team'"),
    "one class": (GOOD.replace("team 1", "team 0"), "holds one class, 'team 0'"),
    "empty file": ("", "is empty"),
    "header alone": ("body,team\n", "has a header but no rows"),
    "ids": (
        "body,team\n" + "".join(f"text {row},id{row}\n" for row in range(40)),
        "40 different labels among 40",
    ),
}  # fmt: skip


def bad_file(folder, name):
    """Write the bad file of that name; return its path and what a command must say of it."""
    content, message = REFUSED[name]
    path = folder / ("bad.jsonl" if isinstance(content, str) and content[:1] == "{" else "bad.csv")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path, message


def check_refused(ran, message):
    """One line on stderr that holds the message, exit code 1, no traceback, nothing on stdout."""
    assert ran.exit_code == 1 and isinstance(ran.exception, SystemExit), repr(ran.exception)
    assert message in ran.stderr and ran.stderr.startswith("Error: ")
    assert ran.stderr.count("\n") == 1 and ran.stdout == ""
