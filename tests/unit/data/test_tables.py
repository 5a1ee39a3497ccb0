import csv
import gzip
import io
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reptune import data
from reptune.data import tables

cheap = settings(max_examples=60, deadline=None, database=None)


@pytest.fixture
def write(tmp_path):
    def written(content, name="mine.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return written


def columns(table):
    return list(table["text"]), list(table["label"])


def test_read_table_is_found_in_data_too():
    assert data.read_table is tables.read_table


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl", ".CSV"])
def test_tables_come_back_as_written(tmp_path, suffix):
    frame = pd.DataFrame({"review": ["good, or so", "bad"], "verdict": ["yes", "no"]})
    path = tmp_path / f"mine{suffix}"
    {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".tsv": lambda: frame.to_csv(path, sep="\t", index=False),
        ".parquet": lambda: frame.to_parquet(path),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
    }[suffix.lower()]()
    table = data.read_table(path, text="review", label="verdict")
    assert table["text"][:] == ["good, or so", "bad"] and table["label"][:] == ["yes", "no"]
    assert data.read_table(path, text="review", label=None).column_names == ["text"]


# --- values as given -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["01", "1"], ["01", "1"]),
        (["1", "0", "-12"], [1, 0, -12]),
        (["+1", "2"], ["+1", "2"]),
        (["-0", "0"], ["-0", "0"]),
        (["1_0", "1"], ["1_0", "1"]),
        (["١", "1"], ["١", "1"]),
        (["1", "x"], ["1", "x"]),
        (["NA", "None"], ["NA", "None"]),
        (["null", "nan"], ["null", "nan"]),
        (["True", "False"], ["True", "False"]),
        ([str(2**63 - 1), str(-(2**63))], [2**63 - 1, -(2**63)]),
        ([str(2**63), "1"], [str(2**63), "1"]),
        (["1" * 5000, "1"], ["1" * 5000, "1"]),
    ],
)
def test_labels_come_back_as_given(write, written, read):
    path = write("text,label\n" + "".join(f"a text,{label}\n" for label in written))
    found = columns(data.read_table(path))[1]
    assert found == read and [type(one) for one in found] == [type(one) for one in read]


def test_texts_that_look_like_numbers_or_nothing_stay_texts(write):
    path = write("text,label\n2024,1\nNA,1\n 3.50 ,0\n")
    assert columns(data.read_table(path)) == (["2024", "NA", " 3.50 "], [1, 1, 0])
    lines = write('{"text": "2024", "label": "NA"}\n{"text": "1e5", "label": "x"}\n', "mine.jsonl")
    assert columns(data.read_table(lines)) == (["2024", "1e5"], ["NA", "x"])


@pytest.mark.parametrize("labels", [["a", "b"], [1, 0], ["1", "0"], [True, False]])
def test_json_lines_and_parquet_keep_their_types(tmp_path, labels):
    rows = [{"text": "one", "label": labels[0]}, {"text": "two", "label": labels[1]}]
    lines, parquet = tmp_path / "mine.jsonl", tmp_path / "mine.parquet"
    lines.write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), parquet)
    for path in (lines, parquet):
        found = list(data.read_table(path)["label"])
        assert found == labels and type(found[0]) is type(labels[0])


def test_a_parquet_category_is_read_as_its_strings(tmp_path):
    frame = pd.DataFrame({"text": ["a", "b"], "label": pd.Categorical(["x", "y"])})
    frame.to_parquet(tmp_path / "mine.parquet")
    assert columns(data.read_table(tmp_path / "mine.parquet")) == (["a", "b"], ["x", "y"])


def test_quoted_fields_keep_separators_quotes_and_line_ends(write):
    path = write('text,label\r\n"one, ""two""\r\nthree",a\r\n\r\nfour,b\r\n')
    assert columns(data.read_table(path)) == (['one, "two"\r\nthree', "four"], ["a", "b"])


def test_a_field_may_be_longer_than_the_csv_module_likes(write):
    before = csv.field_size_limit()
    text = "long " * 50_000
    assert columns(data.read_table(write(f"text,label\n{text},x\nb,y\n")))[0] == [text, "b"]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize("name", ["mine.csv.gz", "mine.tsv.gz", "mine.jsonl.gz"])
def test_compressed_tables(write, name):
    content = {
        "mine.csv.gz": "text,label\na,x\nb,y\n",
        "mine.tsv.gz": "text\tlabel\na\tx\nb\ty\n",
        "mine.jsonl.gz": '{"text": "a", "label": "x"}\n{"text": "b", "label": "y"}\n',
    }[name]
    path = write(gzip.compress(content.encode()), name)
    assert columns(data.read_table(path)) == (["a", "b"], ["x", "y"])
    with pytest.raises(ValueError, match=r"cannot be decompressed .*is the file whole"):
        data.read_table(write(path.read_bytes()[:-9], name))
    with pytest.raises(ValueError, match="cannot be decompressed"):
        data.read_table(write(content, name))


@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(write, name):
    content = {"mine.csv": "text,label\na,x\n", "mine.jsonl": '{"text": "a", "label": "x"}\n'}
    assert columns(data.read_table(write("\ufeff" + content[name], name))) == (["a"], ["x"])


# --- separators ------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_csv_with_another_separator_is_read_where_its_header_says_so(write, separator):
    path = write(f'text{separator}label\n"a{separator}b, c"{separator}x\nd{separator}y\n')
    assert columns(data.read_table(path)) == ([f"a{separator}b, c", "d"], ["x", "y"])


def test_a_separator_of_your_own(write):
    path = write("text#label\na, b#x\n")
    assert columns(data.read_table(path, separator="#")) == (["a, b"], ["x"])
    assert columns(data.read_table(write("text,label\na,x\n"), separator=",")) == (["a"], ["x"])


def test_a_lone_column_is_not_cut_at_another_separator(write):
    path = write("text\na; b\nc | d\n")
    assert list(data.read_table(path, label=None)["text"]) == ["a; b", "c | d"]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("body;team\na;x\n", {}, r"no column 'text'; its columns are 'body;team'. The header "
         r"holds a semicolon but not a comma: did you mean separator=';'\?"),
        ("text,label\na,x\n", {"separator": ";"}, r"did you mean separator=','"),
        ("text,label\n", {"separator": ";;"}, "use one character"),
        ("text,label\n", {"separator": '"'}, "use one character"),
        ("text,label\n", {"separator": 3}, "separator=3; use one character"),
        ("I liked it,good\n", {}, "The first line must hold the columns' names"),
    ],
)  # fmt: skip
def test_separators_that_do_not_fit(write, content, options, message):
    with pytest.raises(ValueError, match=message):
        data.read_table(write(content), **options)


def test_a_separator_is_refused_where_there_is_none(write):
    with pytest.raises(ValueError, match=r"mine.jsonl has none; leave it out"):
        data.read_table(write("{}", "mine.jsonl"), separator=",")


# --- lines that do not fit -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # The reviewer's file: pandas took the first field for an index and shifted the rest.
        ("text,label\nI liked it, really,positive\nNo, never again,negative\n",
         r'line 2 has 3 fields, but the header has 2; put a field that holds a comma in double '
         r'quotes \("I liked it, really"\), or save with another separator'),
        ("text,label\na,x\nb\n", "line 3 has 1 field, but the header has 2; write every field"),
        ("text,label\n\n\na,x\nb,y,\n", "line 5 has 3 fields"),
        ('text,label\n"a\nb\nc",x\nd,e,f\n', "line 5 has 3 fields"),
        ("text,label\r\n\"a\r\nb\",x\r\nd\r\n", "line 4 has 1 field"),
        ("text,label\r\"a\rb\",x\rd\r", "line 4 has 1 field"),
        ("text,label\n'a, b',x\n", "Only the straight double quote"),
        ("text,label\na, “b, c”,x\n", "Only the straight double quote"),
        ('text,label\n"a" b,x\n', r"wrong quotes in the row that begins on line 2"),
        ('text,label\n"He said \\"hi\\", ok",x\n', 'a quote within it is doubled: ""'),
        ('text,label\na,x\n"b,y\nc,z\n', "wrong quotes in the row that begins on line 3"),
        ('text,label\n"b,y\n"c",z\n', "wrong quotes in the row that begins on line 2"),
        ("text,label\n", "has a header but no rows"),
        ("", "is empty; it needs a header and rows"),
        ("\n\n", "is empty; it needs a header and rows"),
        ("txt,label\na,1\n", r"no column 'text', did you mean 'txt'"),
        ("text, label\na, x\n", r"no column 'label', did you mean ' label'"),
        ("text,label,text\na,x,b\n", "has 2 columns 'text'; rename all but one"),
        ("text,label\na,1\n,2\n", r"mine.csv, line 3 has no text in column 'text'; delete"),
        ("text,label\na,1\n\" \n\",2\n", "line 3 has no text"),
        ("text,label\na,\nb,x\n", r"line 2 has no label in column 'label'; fill it in"),
        ("text,label\na,1\nb, \n", "line 3 has no label"),
        ("text,label\na,0.5\nb,1.5\n", "line 2: label '0.5' is a decimal number; labels must be "
         "strings or integers"),
        ("text,label\na,1\nb,2.0\n", "line 3: label '2.0' is a decimal number"),
        ("text,label\na,x\nb,y\nc, x\n", r"labels 'x' \(mine.csv, line 2\) and ' x' \(mine.csv, "
         r"line 4\) differ only in the spaces"),
        (b"text,label\na,x\ncaf\xe9,y\n", r"line 3 is not UTF-8 \(byte 0xe9\); save it again"),
        (b"\xef\xbb\xbftext,label\na,x\ncaf\xe9,y\n", r"line 3 is not UTF-8 \(byte 0xe9\)"),
        (b"text,label\n\xed\xa0\x80,x\n", "line 2 is not UTF-8"),
        (b"text,label\na\0b,x\n", "line 2 holds a NUL character"),
        ("text,label\na,x\n".encode("utf-16"), "is UTF-16"),
        ("text,label\na,x\n".encode("utf-16-le"), "line 1 holds a NUL character"),
        (gzip.compress(b"text,label\na,x\n", mtime=0), "which its name must say with .gz"),
        (b"PK\x03\x04rest", "a zip archive or an Excel workbook"),
    ],
)  # fmt: skip
def test_bad_tables_say_which_line_and_what_to_do(write, content, message):
    with pytest.raises(ValueError, match=message):
        data.read_table(write(content))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty; it needs one JSON object per line"),
        ('{"text": "a", "label": "x"}\n\n{"text": "a"', r"line 3 is not JSON"),
        ('[{"text": "a", "label": "x"}]', "line 1 is .*; each line must hold one JSON object"),
        ('{"text": "a", "label": "x", "text": "b"}', "line 1: the field 'text' is there more"),
        ('{"text": "a", "label": "x"}\n{"text": "b"}', r"line 2 has no column 'label'; its col"),
        ('{"text": 2024, "label": "x"}', "line 1: column 'text' holds 2024, a int; every text"),
        ('{"text": "a", "label": NaN}', "line 1 has no label"),
        ('{"text": NaN, "label": "x"}', "line 1 has no text"),
        ('{"text": null, "label": "x"}', "line 1 has no text"),
        ('{"text": "a", "label": 1.0}', "line 1: label 1.0 is a float"),
        ('{"text": "a", "label": ["x"]}', r"line 1: label \['x'\] is a list"),
        (
            '{"text": "a", "label": "x"}\n{"text": "b", "label": 1}',
            r"mixes types: 'x' on .* line 1",
        ),
        ('{"text": "a", "label": true}\n{"text": "b", "label": 1}', "mixes types: True"),
        ('{"text": "a", "label": 9223372036854775808}', "is beyond 64 bits"),
        ('{"text": "a", "label": ' + "1" * 5000 + "}", "line 1: Exceeds the limit"),
        ('{"text": "a\\ud800", "label": "x"}', "line 1, column 'text', is not valid Unicode"),
        ('{"text": "a", "label": "\\udc00"}', "line 1, column 'label', is not valid Unicode"),
        ("[" * 100_000, "line 1 is nested too deeply"),
    ],
)
def test_bad_json_lines_say_which_line(write, content, message):
    with pytest.raises(ValueError, match=message):
        data.read_table(write(content, "mine.jsonl"))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"text": ["a", None], "label": [1, 2]}, r"mine.parquet, row 2 has no text"),
        ({"text": ["a", "b"], "label": [1, None]}, "row 2 has no label"),
        ({"text": ["a", "b"], "label": [1.5, 2.0]}, "row 1: label 1.5 is a float"),
        ({"text": ["a", "b"], "label": [b"x", b"y"]}, "is a bytes"),
        ({"text": [1, 2], "label": [1, 2]}, "holds 1, a int"),
        ({"txt": ["a"], "label": [1]}, "no column 'text', did you mean 'txt'"),
        ({"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())}, "but no rows"),
    ],
)
def test_bad_parquet_says_which_row(tmp_path, frame, message):
    pq.write_table(pa.table(frame), tmp_path / "mine.parquet")
    with pytest.raises(ValueError, match=message):
        data.read_table(tmp_path / "mine.parquet")


def test_what_is_no_parquet_says_so(write):
    with pytest.raises(ValueError, match=r"mine.parquet cannot be read as Parquet .*write the f"):
        data.read_table(write("text,label\n", "mine.parquet"))


def test_unreadable_tables_say_what_is_wrong(tmp_path, write):
    with pytest.raises(FileNotFoundError, match=r"none\.csv does not exist"):
        data.read_table(tmp_path / "none.csv")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        data.read_table("x" * 5000 + ".csv")
    with pytest.raises(ValueError, match=r"cannot read \.xlsx; save the table as one of \.csv"):
        data.read_table(write("", "mine.xlsx"))
    with pytest.raises(ValueError, match="is a folder; pass a file in it"):
        data.read_table(tmp_path)
    with pytest.raises(ValueError, match=r"reptune\.data\.read_export"):
        data.read_table(write("[]", "export.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": None}, "path is None"),
        ({"path": b"mine.csv"}, "a bytes; pass a file's path"),
        ({"path": ""}, "pass a file's path"),
        ({"text": None}, "text=None; pass a column's name"),
        ({"text": ["text"]}, "pass a column's name"),
        ({"label": 1}, "label=1; pass a column's name"),
        ({"text": "label"}, "text and label both name the column 'label'"),
    ],
)
def test_arguments_of_the_wrong_kind(write, arguments, message):
    path = write("text,label\na,x\n")
    with pytest.raises(ValueError, match=message):
        data.read_table(**{"path": path, **arguments})


# --- any table -------------------------------------------------------------------------------


fields = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
some_fields = fields.filter(lambda field: field.strip())


@cheap
@given(
    rows=st.lists(st.tuples(some_fields, some_fields), min_size=1, max_size=5),
    separator=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_the_csv_module_writes_comes_back(tmp_path_factory, rows, separator, end):
    stripped = {label.strip() for _, label in rows}
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("text", "label"), *rows])
    path = tmp_path_factory.mktemp("csv") / "mine.csv"
    path.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    if len(stripped) < len({label for _, label in rows}):
        with pytest.raises(ValueError, match="differ only in the spaces"):
            data.read_table(path)
        return
    try:
        texts, labels = columns(data.read_table(path))
    except ValueError as error:
        assert "decimal number" in str(error) or "NUL" in str(error)
        return
    assert texts == [text for text, _ in rows]
    assert list(map(str, labels)) == [label for _, label in rows]


@cheap
@given(content=st.text(st.sampled_from('ab,;"\n\r\t 1\ufeff'), max_size=40))
def test_no_table_raises_anything_but_a_value_error_that_names_it(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("csv") / "mine.csv"
    path.write_text("text,label\n" + content, encoding="utf-8", newline="")
    try:
        table = data.read_table(path)
    except ValueError as error:
        assert "mine.csv" in str(error)
        return
    reader = csv.reader(io.StringIO("text,label\n" + content, newline=""), strict=True)
    expected = [row for row in reader if row][1:]
    assert [list(map(str, row.values())) for row in table] == expected


def test_a_large_table(write):
    rows = "".join(f"a text number {i},{i % 4}\n" for i in range(20_000))
    table = data.read_table(write("text,label\n" + rows))
    assert len(table) == 20_000 and np.bincount(table["label"]).tolist() == [5000] * 4
