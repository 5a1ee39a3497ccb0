import csv
import gzip
import io
import json
import tracemalloc

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reptune import data
from reptune.data.streams import open_rows
from reptune.data.tables import _delimited_columns


@pytest.fixture
def write(tmp_path):
    def written(content, name="mine.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return written


def read(source, *args, **kwargs):
    with open_rows(source, *args, **kwargs) as rows:
        return [row.values for row in rows]


def rows_of(path):
    with open_rows(path, ["text", "label"]) as rows:
        return list(rows)


FRAME = pd.DataFrame({"text": ["good, or so", 'two\nlines "so"'], "id": ["01", "02"]})


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.csv.gz", "a.TSV", "a.jsonl.gz"])
def test_rows_come_as_written(tmp_path, name):
    path = tmp_path / name
    if ".jsonl" in name:
        FRAME.to_json(path, orient="records", lines=True)
    else:
        FRAME.to_csv(path, index=False, sep="\t" if "tsv" in name.lower() else ",")
    with open_rows(path, ["text"]) as rows:
        assert rows.columns == ["text", "id"]
        assert rows.kind == "." + name.lower().split(".")[1]
        assert [row.values for row in rows] == FRAME.to_dict("records")


def test_parquet_keeps_its_types(tmp_path):
    path = tmp_path / "mine.parquet"
    pd.DataFrame({"text": ["a", None, "c"], "n": [1, 2, 3], "of": [[1], [], [2]]}).to_parquet(path)
    with open_rows(path, ["text"]) as rows:
        assert rows.kind == ".parquet" and rows.columns == ["text", "n", "of"]
        found = list(rows)
    assert found[1] == ("mine.parquet, row 2", {"text": None, "n": 2, "of": []})
    with pytest.raises(ValueError, match=r"mine\.parquet, row 2 has no text in column 'text'"):
        found[1].text("text")


def test_a_row_says_where_it_begins(write):
    path = write('text,label\n"one\nof two",a\n\nnext,b\n')
    with open_rows(path) as rows:
        assert [row.where for row in rows] == ["mine.csv, line 2", "mine.csv, line 5"]


def test_a_stream_is_read_and_stays_open(write):
    source = io.BytesIO("text,label\nçà,a\n".encode())
    assert read(source) == [{"text": "çà", "label": "a"}] and not source.closed
    source = io.BytesIO(b'{"text": "a"}\n{"text": "b", "more": 1}\n')
    assert read(source, ["text"], kind="jsonl") == [{"text": "a"}, {"text": "b", "more": 1}]
    with write("text\ta, b\nx\ty\n", "x.tsv").open("rb") as file:
        assert read(file, kind="tsv") == [{"text": "x", "a, b": "y"}]
        assert not file.closed


def test_rows_come_before_the_file_ends():
    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, into):
            into[:6] = b"text\n\n" if not getattr(self, "begun", False) else b"again\n"
            self.begun = True
            return 6

    rows = iter(open_rows(Endless()))
    assert [next(rows).values["text"] for _ in range(1000)] == ["again"] * 1000


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_separator_that_the_header_shows_is_taken(write, separator):
    path = write(f"id{separator}text\n1{separator}well, so\n")
    with open_rows(path, ["text"]) as rows:
        assert rows.separator == separator
        assert [row.values for row in rows] == [{"id": "1", "text": "well, so"}]


def test_line_ends_and_a_byte_order_mark(write):
    for end in ("\n", "\r\n", "\r"):
        path = write("\ufeff" + end.join(["text,label", "a,b", '"c\nd",e', ""]))
        assert read(path, ["text"]) == [{"text": "a", "label": "b"}, {"text": "c\nd", "label": "e"}]


def test_a_cell_of_5_megabytes(write):
    cell = "wörd, " * 900_000
    limit = csv.field_size_limit()
    assert read(write(f'text,label\n"{cell}",a\n'))[0]["text"] == cell
    assert read(write(json.dumps({"text": cell}), "a.jsonl"))[0]["text"] == cell
    assert csv.field_size_limit() == limit


TWICE = "text,id,id\na,b,c\n"  # which read_table takes: it needs only one of the columns
NAMELESS = "text,label,,\na,b,,\n"  # the same
BAD = [
    ("txt,label\na,b\n", r"mine\.csv has no column 'text', did you mean 'txt'\?; its columns are"),
    ("", r"mine\.csv is empty; it needs a header and rows"),
    ("\n\n", r"mine\.csv is empty"),
    ("text,label\n", r"mine\.csv has a header but no rows"),
    ("text,label\na,b\nc\n", r"mine\.csv, line 3 has 1 field, but the header has 2"),
    ("text,label\na,b,c\n", r"line 2 has 3 fields.*; put a field that holds a comma in double"),
    ('text,label\n"a,b\n', r"wrong quotes in the row that begins on line 2"),
    (NAMELESS, r"columns 3, 4 have no name in the header; name them, or delete them if"),
    (TWICE, r"mine\.csv has 2 columns 'id'; rename all but one"),
    ("text,label\nfine,a\ncaf\u00e9,b\n".encode("latin-1"), r"line 3 is not UTF-8 \(byte 0xe9\)"),
    ("text,label\na,b\n".encode("utf-16"), r"mine\.csv is UTF-16.*save it again as UTF-8"),
    ("text,label\na,b\n".encode("utf-16-le"), r"line 1 holds a NUL character.*UTF-16"),
    (b"PK\x03\x04 and so on", r"a zip archive or an Excel workbook"),
    (
        gzip.compress(b"text\na\n", mtime=0),
        r"compressed by gzip, which its name must say with \.gz",
    ),
]


@pytest.mark.parametrize(("content", "message"), BAD)
def test_bad_files_are_named_with_the_cure(write, content, message):
    with pytest.raises(ValueError, match=message):
        read(write(content), ["text"])


@pytest.mark.parametrize(
    "content", [content for content, _ in BAD if content not in (TWICE, NAMELESS)]
)
def test_the_words_are_those_of_read_table(write, content):
    path = write(content)
    with pytest.raises(ValueError) as streamed:
        read(path, ["text"])
    with pytest.raises(ValueError) as whole:
        data.read_table(path, label=None)
    assert str(streamed.value) == str(whole.value)


def outcome(read):
    try:
        return [read()]
    except ValueError:
        return []


@settings(max_examples=150, deadline=None, database=None)
@given(st.text('aé😀,;"\n\r\t\0', max_size=40), st.sampled_from(["text,label\n", "label;text\r\n"]))
def test_any_file_gives_the_rows_that_read_table_gives(tmp_path_factory, content, header):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes((header + content).encode())
    whole = outcome(lambda: _delimited_columns(path, ["text", "label"], ",", True))
    streamed = outcome(lambda: rows_of(path))
    assert bool(whole) == bool(streamed)
    for (texts, labels), rows in zip(whole, streamed, strict=True):
        assert [row.values for row in rows] == [
            {"text": text, "label": label}
            for text, label in zip(texts.values, labels.values, strict=True)
        ]
        assert [row.where for row in rows] == texts.lines


def test_bytes_that_are_no_utf8_are_found_far_into_a_file(write):
    good = "text,label\n" + "some words,a\r\n" * 30_000
    with pytest.raises(ValueError, match=r"line 30002 is not UTF-8 \(byte 0xe9\)"):
        read(write(good.encode() + b"caf\xe9,b\n" + b"x,y\n" * 5_000))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"txt": "b"}\n', r"line 2 has no column 'text', did you mean 'txt'\?"),
        ('{"text": "a"}\n["b"]\n', r"line 2 is .*each line must hold one JSON object"),
        ('{"text": "a"}\nb\n', r"line 2 is not JSON"),
        ('{"text": 1, "text": 2}\n', r"line 1: the field 'text' is there more than once"),
        ("\n", r"is empty; it needs one JSON object per line"),
    ],
)
def test_bad_json_lines(write, content, message):
    with pytest.raises(ValueError, match=message):
        read(write(content, "mine.jsonl"), ["text"])


def test_a_broken_archive_is_named(write):
    whole = gzip.compress(b"text,label\n" + b"a,b\n" * 100_000, mtime=0)
    with pytest.raises(ValueError, match=r"mine\.csv\.gz cannot be decompressed .*gzip -d"):
        read(write(whole[: len(whole) // 2], "mine.csv.gz"))


def test_a_file_that_is_no_parquet(write):
    with pytest.raises(ValueError, match=r"mine\.parquet cannot be read as Parquet .*write the"):
        open_rows(write("text,label\na,b\n", "mine.parquet"))


def test_what_a_stream_cannot_be():
    with pytest.raises(ValueError, match=r"kind='xlsx'; use one of 'csv', 'tsv'"):
        open_rows(io.BytesIO(b"text\na\n"), kind="xlsx")
    with pytest.raises(ValueError, match=r"Parquet cannot be read from a stream.*pass a file"):
        open_rows(io.BytesIO(b"PAR1"), kind="parquet")
    with pytest.raises(ValueError, match=r"standard input is compressed by gzip; send it through"):
        open_rows(io.BytesIO(gzip.compress(b"text\na\n", mtime=0)))


def test_texts_are_checked_in_the_words_of_read_table(write):
    with open_rows(write("text,label\n  ,b\n")) as rows, pytest.raises(ValueError) as error:
        next(iter(rows)).text("text")
    assert str(error.value) == "mine.csv, line 2 has no text in column 'text'; delete the row."


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(write, monkeypatch):
    monkeypatch.setattr("reptune.data.streams.LONGEST_FIELD", 10_000)
    path = write('text,label\na,b\n"open,c\n' + "words,d\n" * 100_000)
    with open_rows(path) as rows, pytest.raises(ValueError, match=r"begins on line 3 \(field lar"):
        list(rows)


def peak_mb(path):
    tracemalloc.start()
    try:
        with open_rows(path, ["text"]) as rows:
            count = sum(1 for _ in rows)
        return count, tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "large.csv.gz"
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        file.write("id,text\n")
        file.writelines(f'{n},"row {n}, {"and so on " * 10}"\n' for n in range(200_000))
    count, peak = peak_mb(path)
    assert count == 200_000 and peak < 3  # the file holds 24 MB
