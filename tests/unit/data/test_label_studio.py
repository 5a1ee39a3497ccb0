import json
import warnings

import pytest

from reptune import data
from reptune.data import label_studio


@pytest.fixture
def export(tmp_path):
    def written(tasks):
        path = tmp_path / "export.json"
        path.write_text(tasks if isinstance(tasks, str) else json.dumps(tasks), encoding="utf-8")
        return path

    return written


def choice(*names, from_name="mood"):
    value = {"choices": list(names)}
    return {"type": "choices", "from_name": from_name, "to_name": "text", "value": value}


def span(start, end, text, *labels, from_name="label"):
    value = {"start": start, "end": end, "text": text, "labels": list(labels)}
    return {"type": "labels", "from_name": from_name, "to_name": "text", "value": value}


def task(number, text, *annotations, **fields):
    """A task as Label Studio writes it; each annotation is a list of results."""
    made = [{"id": 10 + i, "result": a, "was_cancelled": False} for i, a in enumerate(annotations)]
    return {"id": number, "data": {"text": text}, "annotations": made, "predictions": [], **fields}


def test_choices_become_labels(export):
    path = export([task(1, "good", [choice("yes")]), task(2, "bad", [choice("no")])])
    table = label_studio.read_choices(path)
    assert list(table["text"]) == ["good", "bad"] and list(table["label"]) == ["yes", "no"]


def test_what_nobody_labeled_is_left_out_and_counted(export):
    skipped = task(3, "skipped", [choice("yes")])
    skipped["annotations"][0]["was_cancelled"] = True
    tasks = [task(1, "good", [choice("yes")]), task(2, "new"), skipped, task(4, "empty", [])]
    with pytest.warns(UserWarning, match="export.json: 3 of 4 tasks are not labeled"):
        table = label_studio.read_choices(export(tasks))
    assert list(table["text"]) == ["good"]


def test_annotators_who_agree_are_one_and_those_who_do_not_are_named(export):
    agreed = [task(1, "good", [choice("yes")], [choice("yes")])]
    assert list(label_studio.read_choices(export(agreed))["label"]) == ["yes"]
    with pytest.raises(ValueError, match=r"export.json, task 7 has 2 choices \(no, yes\)"):
        label_studio.read_choices(export([task(7, "good", [choice("yes")], [choice("no")])]))
    with pytest.raises(ValueError, match="task 7 has 2 choices"):
        label_studio.read_choices(export([task(7, "good", [choice("yes", "no")])]))


def test_one_of_several_sets_of_choices(export):
    path = export([task(1, "good", [choice("yes"), choice("short", from_name="length")])])
    assert list(label_studio.read_choices(path, from_name="length")["label"]) == ["short"]
    with pytest.raises(ValueError, match=r"holds no labeled text; .*check from_name="):
        label_studio.read_choices(path, from_name="lenght")


def test_spans_become_tags(export):
    path = export(
        [task(1, "Call Ada Lovelace!", [span(5, 17, "Ada Lovelace", "PER")]), task(2, "No.", [])]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = label_studio.read_spans(path)
    assert list(table["tokens"]) == [["Call", "Ada", "Lovelace", "!"], ["No", "."]]
    assert list(table["ner_tags"]) == [["O", "B-PER", "I-PER", "O"], ["O", "O"]]


def test_spans_counted_by_javascript_stand_where_they_were_drawn(export):
    text = "\U0001f4a9\U0001f4a9 This is an annotation."
    # As in the program's own bug report: each emoji counts as two.
    path = export([task(1, text, [span(16, 26, "annotation", "X")])])
    table = label_studio.read_spans(path)
    words = dict(zip(table[0]["tokens"], table[0]["ner_tags"], strict=True))
    assert words["annotation"] == "B-X" and set(words.values()) == {"O", "B-X"}


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([span(0, 3, "Bob", "PER")], "task 5: the span 0:3 holds 'Ada' where .* shows 'Bob'"),
        ([span(0, 2, "Ad", "PER")], "task 5: the span 0:2 .* begins or ends within a word"),
        ([span(0, 3, "Ada", "PER"), span(0, 3, "Ada", "X")], "task 5: .* overlaps another"),
        ([span("0", 3, "Ada", "PER")], "task 5: a span is .*whole numbers"),
        ([span(0, 3, "\ud800", "PER")], "task 5: a span's text is not valid Unicode"),
        ([span(0, 3, None, 4)], "holds no list of labels"),
        ([span(4, 99, None, "PER")], "does not lie within the text"),
        ([], "holds no span of a <Labels>; check from_name="),
    ],
)
def test_spans_that_do_not_fit(export, results, message):
    with pytest.raises(ValueError, match=message):
        label_studio.read_spans(export([task(5, "Ada wrote", results)]))


def test_several_annotations_of_spans(export):
    one = [span(0, 3, "Ada", "PER")]
    with pytest.raises(ValueError, match="task 5 has 2 annotations; keep one of them"):
        label_studio.read_spans(export([task(5, "Ada wrote", one, one)]))


@pytest.mark.parametrize("read", [label_studio.read_choices, label_studio.read_spans])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "export.json is not JSON"),
        ("{}", "holds no list of tasks; export the project from Label Studio as JSON"),
        ("[]", "holds no list of tasks"),
        ("[1]", "element 0 has no 'data' and 'annotations'"),
        ('[{"id": 1, "text": "a", "mood": "yes"}]', "task 1 has no 'data' .* not as JSON-MIN"),
        (
            '[{"data": {"body": "a"}, "annotations": []}]',
            r"of its data are 'body'. Name one",
        ),
        ('[{"data": {"text": " "}, "annotations": []}]', "has no text in 'text'"),
        ('[{"data": {"text": "a\\ud800"}, "annotations": []}]', "not valid Unicode"),
        ('[{"data": {"text": "a"}, "annotations": null}]', "holds no labeled text"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_export(read, export, content, message):
    with pytest.raises(ValueError, match=message):
        read(export(content))


def test_arguments_of_the_wrong_kind(export, tmp_path):
    with pytest.raises(ValueError, match=r"text=\['text'\]; pass the name of a field"):
        label_studio.read_choices(export("[]"), text=["text"])
    with pytest.raises(FileNotFoundError, match="does not exist"):
        label_studio.read_choices(tmp_path / "none.json")


def test_read_table_names_the_reader_of_exports(export):
    with pytest.raises(ValueError, match=r"use reptune\.data\.read_export"):
        data.read_table(export("[]"))
