import gzip
import hashlib
import json
import warnings

import pandas as pd
import pytest

from reptune.pipeline.examples import read_examples


@pytest.fixture
def write(tmp_path):
    def written(content, name="mine.csv"):
        if isinstance(content, list):
            is_lines = ".jsonl" in name
            content = "\n".join(map(json.dumps, content)) if is_lines else json.dumps(content)
        path = tmp_path / name
        raw = content.encode("utf-8") if isinstance(content, str) else content
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return path

    return written


def table(labels, header="text,label"):
    return header + "\n" + "".join(f"text {i},{label}\n" for i, label in enumerate(labels))


AB = table("aabb")


def test_one_label_per_text(write):
    path = write(AB)
    found = read_examples(path)
    assert (found.kind, found.name, found.notes, len(found)) == ("label", "mine.csv", (), 4)
    assert found.inputs == ["text 0", "text 1", "text 2", "text 3"]
    assert found.targets == list("aabb") and found.labels == ["a", "b"]
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_rows_are_selected_in_the_order_asked_for(write):
    found = read_examples(write(AB)).select([3, 0])
    assert (found.inputs, found.targets) == (["text 3", "text 0"], ["b", "a"])
    assert found.name == "mine.csv"


def test_whole_numbers_are_labels(write):
    assert read_examples(write(table([1, 2, 10, 1, 2, 10]))).labels == [1, 2, 10]


@pytest.mark.parametrize("name", ["mine.csv.gz", "mine.jsonl", "mine.parquet", "mine.tsv"])
def test_other_tables(tmp_path, name):
    path = tmp_path / name
    frame = pd.DataFrame({"body": ["one, two", "three", "four", "five"], "team": [*"xxyy"]})
    if name.endswith("parquet"):
        frame.to_parquet(path)
    elif name.endswith("jsonl"):
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if name.endswith("tsv") else ",")
    found = read_examples(path, text="body", label="team")
    assert (found.kind, found.inputs[0], found.targets) == ("label", "one, two", [*"xxyy"])


@pytest.mark.parametrize(
    "content",
    [
        "\ufefftext,label\na,x\nb,x\nc,y\nd,y\n",
        "text;label\na;x\nb;x\nc;y\nd;y\n",
        "label\ttext\nx\ta\nx\tb\ny\tc\ny\td\n",
        'text,label\r\na,x\r\n"b",x\r\nc,y\r\nd,y\r\n',
    ],
    ids=["byte order mark", "semicolons", "tabs", "Windows"],
)
def test_what_spreadsheets_write(write, content):
    found = read_examples(write(content))
    assert (found.inputs, found.targets) == ([*"abcd"], [*"xxyy"])


def test_a_quoted_newline_and_a_cell_of_5_megabytes(write):
    cell = "wörd\n" * 900_000
    found = read_examples(write(f'text,label\n"{cell}",x\n"b ""c""",x\nd,y\ne,y\n'))
    assert found.inputs == [cell, 'b "c"', "d", "e"]


def test_a_thousand_classes(write):
    found = read_examples(write(table([f"class {i % 1000}" for i in range(3000)])))
    assert len(found.labels) == 1000 and found.notes == ()


def test_a_class_in_one_row_is_kept_and_noted(write):
    found = read_examples(write(table(["a", "a", "b", "b", "rare", "odd"])))
    assert len(found) == 6 and found.notes == (
        "mine.csv: column 'label' has 2 of 4 classes in a single row each: 'odd', 'rare'.",
    )


# --- several labels, pairs, tags -----------------------------------------------------------------


def test_several_labels_stand_between_separators(write):
    path = write("text,label\na,x; y\nb,\nc,y;\nd,x\n")
    found = read_examples(path, several=";")
    assert found.kind == "labels" and found.labels == ["x", "y"]
    assert found.targets == [["x", "y"], [], ["y"], ["x"]]


def test_several_labels_that_are_numbers(write):
    found = read_examples(write("text,label\na,1;20\nb,1\nc,20\n"), several=";")
    assert found.targets == [[1, 20], [1], [20]]


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.parquet"])
def test_lists_of_labels(tmp_path, name):
    path = tmp_path / name
    frame = pd.DataFrame({"text": [*"abc"], "label": [["x", "y"], [], ["y"]]})
    if "parquet" in name:
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=True)
    found = read_examples(path)
    assert (found.kind, found.targets) == ("labels", [["x", "y"], [], ["y"]])


def test_lists_of_one_label_each_are_one_label_per_text_unless_said(write):
    path = write(
        [{"text": t, "label": [n]} for t, n in zip("abcd", "xxyy", strict=True)], "d.jsonl"
    )
    assert read_examples(path).targets == [*"xxyy"]
    assert read_examples(path, several=";").targets == [["x"], ["x"], ["y"], ["y"]]


def test_pairs(write):
    path = write("first,second,same\na,b,yes\nc,d,no\ne,f,no\n")
    found = read_examples(path, text="first", text2="second", label="same")
    assert found.kind == "pair" and found.targets == ["yes", "no", "no"]
    assert found.inputs == [("a", "b"), ("c", "d"), ("e", "f")]


@pytest.mark.parametrize("suffix", ["conll", "bio", "iob", "iob2", "txt", "conll.gz"])
def test_columns_of_tags(write, suffix):
    path = write("Ada B-PER\nmet O\n\nAcme B-ORG\nInc I-ORG\n", f"mine.{suffix}")
    found = read_examples(path)
    assert found.kind == "tags" and found.labels == ["ORG", "PER"]
    assert found.inputs == [["Ada", "met"], ["Acme", "Inc"]]
    assert found.targets == [["B-PER", "O"], ["B-ORG", "I-ORG"]]


SPAN = {"start": 0, "end": 3, "label": "PER"}
TAGGED = ([["Ada", "ran"]], [["B-PER", "O"]])


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([{"text": "Ada ran", "label": [[0, 3, "PER"]]}], "doccano.jsonl"),
        ([{"text": "Ada ran", "spans": [SPAN]}], "spans.jsonl"),
        ([{"text": "Ada ran", "spans": [SPAN], "answer": "accept"}], "prodigy.jsonl"),
        ([{"data": "Ada ran", "label": [[0, 3, "PER"]]}], "old.jsonl"),
        ([["Ada ran", {"entities": [[0, 3, "PER"]]}]], "spacy.json"),
        ([["Ada ran", {"entities": [[0, 3, "PER"]]}]], "spacy.jsonl"),
    ],
)
def test_exports_with_spans(write, rows, name):
    found = read_examples(write(rows, name))
    assert (found.inputs, found.targets) == TAGGED and found.kind == "tags"


def test_spans_in_a_column_of_another_name(write):
    path = write([{"body": "Ada ran", "who": [[0, 3, "PER"]]}], "mine.jsonl")
    found = read_examples(path, text="body", label="who")
    assert (found.inputs, found.targets) == TAGGED


def test_spans_are_found_though_the_first_rows_have_none(write):
    rows = [{"text": "Nobody", "label": []}, {"text": "Ada ran", "label": [[0, 3, "PER"]]}]
    assert read_examples(write(rows, "mine.jsonl")).kind == "tags"


def label_studio(text, choice):
    results = [{"type": "choices", "from_name": "c", "value": {"choices": [choice]}}]
    return {"id": 1, "data": {"text": text}, "annotations": [{"result": results if choice else []}]}


def test_what_a_reader_leaves_out_is_noted_and_not_warned_of(write):
    tasks = [label_studio(text, choice) for text, choice in zip("abcde", "xxyy\0", strict=True)]
    tasks[-1]["annotations"] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_examples(write(tasks, "project.json"))
    assert (found.kind, found.targets) == ("label", [*"xxyy"])
    assert found.notes == ("project.json: 1 of 5 tasks are not labeled and were left out.",)


def test_answers_that_were_rejected_are_noted(write):
    rows = [
        {"text": text, "label": label, "answer": answer}
        for text, label, answer in [
            ("a", "x", "accept"), ("b", "x", "accept"), ("c", "y", "accept"), ("d", "y", "accept"),
            ("e", "y", "reject"),
        ]
    ]  # fmt: skip
    found = read_examples(write(rows, "mine.jsonl"))
    assert found.targets == [*"xxyy"] and "1 of 5 answers were 'reject'" in found.notes[0]
    with pytest.raises(ValueError, match=r"one class, 'x'; .*1 of 3 answers were 'reject' or 'ig"):
        read_examples(write([rows[0], rows[1], rows[4]], "mine.jsonl"))


def test_a_column_named_answer_can_hold_the_labels(write):
    rows = [
        {"text": text, "answer": answer}
        for text, answer in zip("ab", ["accept", "reject"], strict=True)
    ]
    found = read_examples(write(rows, "mine.jsonl"), label="answer")
    assert found.targets == ["accept", "reject"]


# --- rows for a model that is there --------------------------------------------------------------


def test_rows_for_a_model_may_be_of_one_class(write):
    assert read_examples(write(table("aaa")), like={"kind": "label", "labels": ["a"]}).labels == [
        "a"
    ]


def test_labels_are_of_the_type_that_the_model_knows(write):
    path = write(table([1, 2]))
    assert read_examples(path, like={"labels": ["1", "2", "other"]}).targets == ["1", "2"]
    assert read_examples(path, like={"labels": [1, 2, 3]}).targets == [1, 2]


def test_one_label_is_a_list_for_a_model_of_several(write):
    rows = [{"text": "a", "label": ["x"]}, {"text": "b", "label": ["y"]}]
    found = read_examples(write(rows, "m.jsonl"), like={"kind": "labels", "labels": ["x", "y"]})
    assert (found.kind, found.targets) == ("labels", [["x"], ["y"]])


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (table("ab", "text,lable"), r"no column 'label', did you mean 'lable'\?; its columns are"),
        (table("ab", "txt,label"), r"no column 'text', did you mean 'txt'\?; its columns"),
        ("", r"mine\.csv is empty; it needs a header and rows"),
        ("text,label\n", r"mine\.csv has a header but no rows"),
        (table("aaa"), r"column 'label' holds one class, 'a'; training needs at least two. Add"),
        ("text,label\na,\nb,x\nc,\n", r"line 2 has no label in column 'label', nor have 1 more of "
         r"the 3 rows; fill in or delete them"),
        ("text,label\n,x\n ,x\nc,y\n", r"line 2 has no text in column 'text', nor have 1 more of"),
        ("text,label\na,x\nb,\nc,y\n", r"line 3 has no label in column 'label'; fill it in or del"),
        (table(["1", "0.5", "2"]), r"line 3: label '0\.5' is a decimal number; labels must be"),
        (table(["yes", "yes ", "no"]), r"'yes' \(mine\.csv, line 2\) and 'yes ' .* differ only in"),
        ("text,label\na,x\ncafé,y\n".encode("latin-1"), r"line 3 is not UTF-8 \(byte 0xe9\); save"),
        (AB.encode("utf-16"), r"mine\.csv is UTF-16, as Excel saves"),
        ("text,label\na, b,x\n", r"line 2 has 3 fields, but the header has 2; put a field that"),
        ('text,label\n"a,x\nb,y\n', r"wrong quotes in the row that begins on line 2"),
        (b"PK\x03\x04", r"a zip archive or an Excel workbook; save it again as UTF-8 text"),
    ],
)  # fmt: skip
def test_bad_tables_are_named_with_the_cure(write, content, message):
    with pytest.raises(ValueError, match=message):
        read_examples(write(content))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a", "label": "x"}, {"text": "b", "label": 1}], r"mixes types: 'x' on .* 1 on"),
        ([{"text": "a", "label": ["x"]}, {"text": "b", "label": "y"}], r"2 has .y. where other"),
        ([{"text": "a", "label": ["x", 1]}, {"text": "b", "label": []}], r"mixes types: 'x'"),
        ([{"text": 5, "label": "x"}, {"text": "b", "label": "y"}], r"column 'text' holds 5, a int"),
        ([{"text": "a", "lable": "x"}], r"line 1 has no column 'label', did you mean 'lable'\?"),
        ([{"text": "a", "label": []}], r"no row has a label in column 'label'"),
        ([{"text": "a", "label": None}] * 2, r"line 1 has no label in column 'label', nor have 1"),
    ],
)  # fmt: skip
def test_bad_json_lines_are_named_with_the_cure(write, rows, message):
    with pytest.raises(ValueError, match=message):
        read_examples(write(rows, "mine.jsonl"))


def test_a_column_of_ids_is_no_column_of_labels(write):
    rows = "".join(f"text {i},{i},{'ab'[i % 2]}\n" for i in range(40))
    path = write("text,id,team\n" + rows)
    message = (
        r"column 'id' holds 40 different labels among 40, fewer than two rows for each.*"
        r"Did you mean 'team' \(2 different values\)\?"
    )
    with pytest.raises(ValueError, match=message):
        read_examples(path, label="id")


def test_text_and_label_swapped(write):
    with pytest.raises(ValueError, match=r"column 'text' holds 40 .*Did you mean 'label' \(2 diff"):
        read_examples(write(table("ab" * 20)), text="label", label="text")


def test_a_wrong_separator_of_labels(write):
    path = write("text,label\na,x|y\nb,x\nc,x|y\nd,x\n")
    with pytest.raises(ValueError, match=r"holds no ';'; its cells look like 'x\|y'. Say with sev"):
        read_examples(path, several=";")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"text": "label"}, r"text and label both name 'label'; name two columns"),
        ({"text2": "text"}, r"text and text2 both name 'text'"),
        ({"label": ""}, r"label=''; pass a column's name"),
        ({"several": " "}, r"several=' '; pass what stands between labels"),
        ({"several": ";", "text2": "b"}, r"pairs of texts have one label each"),
        ({"separator": ";;"}, r"separator=';;'; use one character"),
    ],
)
def test_bad_names_of_columns(write, names, message):
    with pytest.raises(ValueError, match=message):
        read_examples(write(AB), **names)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("a O\nb O\n", "mine.conll", r"mine\.conll: no word has a tag other than 'O'; tag some"),
        ("", "mine.bio", r"mine\.bio holds no sentence"),
        (
            "well done\tgood\n",
            "mine.txt",
            r"'good' in column -1 is no tag.*name it \.csv, \.tsv or",
        ),
        (
            "x",
            "train.spacy",
            r"spaCy's binary documents; convert it to JSON lines first: python -c",
        ),
        ("x", "mine.xlsx", r"cannot read \.xlsx; save the table as one of \.csv"),
        ("", "mine.json", r"mine\.json is empty; export JSON from Label Studio"),
        ("", "mine.jsonl", r"mine\.jsonl is empty; it needs one JSON object per line"),
        (
            "{\n",
            "mine.jsonl",
            r"mine\.jsonl, line 1 is not JSON .*each line must hold one JSON obj",
        ),
    ],
)
def test_other_files_that_cannot_be_read(write, content, name, message):
    with pytest.raises(ValueError, match=message):
        read_examples(write(content, name))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv does not exist; check the path"):
        read_examples(tmp_path / "none.csv")
