import gzip
import json
import warnings

import pytest

from reptune.data.exports import read_export


@pytest.fixture
def write(tmp_path):
    def written(content, name="mine.jsonl"):
        if not isinstance(content, str):
            is_lines = ".jsonl" in name
            content = "\n".join(map(json.dumps, content)) if is_lines else json.dumps(content)
        path = tmp_path / name
        raw = content.encode("utf-8")
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return path

    return written


def labels(table):
    return list(zip(table["text"], table["label"], strict=True))


def tags(table):
    return list(zip(table["tokens"], table["ner_tags"], strict=True))


ADA = (["Ada", "met", "Acme", "Inc", "."], ["B-PER", "O", "B-ORG", "I-ORG", "O"])
TEXT = "Ada met Acme Inc."
TRIPLES = [[0, 3, "PER"], [8, 16, "ORG"]]


def spans(start="start", end="end"):
    return [{start: 0, end: 3, "label": "PER"}, {start: 8, end: 16, "label": "ORG"}]


# --- entities ------------------------------------------------------------------------------------

DOCCANO = {"id": 1, "text": TEXT, "label": TRIPLES, "Comments": []}
RELATIONS = {
    "id": 1, "text": TEXT, "relations": [], "Comments": [],
    "entities": [{"id": 7, **span} for span in spans("start_offset", "end_offset")],
}  # fmt: skip
PRODIGY = {
    "text": TEXT, "_input_hash": 1, "_task_hash": 2, "tokens": [{"text": "Ada", "id": 0}],
    "spans": [{**span, "token_start": 0, "token_end": 0} for span in spans()],
    "_view_id": "ner_manual", "answer": "accept",
}  # fmt: skip
SPACY = {"text": TEXT, "ents": spans(), "sents": [{"start": 0, "end": 17}], "tokens": [{"id": 0}]}
PAIR = [TEXT, {"entities": TRIPLES}]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ([DOCCANO], "admin.jsonl"),
        ([DOCCANO], "admin.jsonl.gz"),
        ([{**DOCCANO, "cats": []}], "intents.jsonl"),
        ([{"data": TEXT, "labels": TRIPLES}], "old.jsonl"),
        ([RELATIONS], "relations.jsonl"),
        ([PRODIGY], "prodigy.jsonl"),
        ([SPACY], "spacy.jsonl"),
        ([{**SPACY, "cats": {}}], "spacy.json"),
        ([{**SPACY, "ents": [], "spans": {"sc": spans()}}], "groups.jsonl"),
        ([PAIR], "pairs.json"),
        ([PAIR], "pairs.jsonl"),
        ({"classes": ["PER"], "annotations": [PAIR, None]}, "annotator.json"),
        (json.dumps(PRODIGY) + "\n", "lines_in_a.json"),
        (json.dumps([PAIR], indent=2), "indented.json"),
    ],
)
def test_entities_of_every_tool_become_tags(write, content, name):
    assert tags(read_export(write(content, name))) == [ADA]


def test_offsets_count_characters_even_after_an_emoji(write):
    path = write([{"text": "😀 Ada", "label": [[2, 5, "PER"]]}])
    assert tags(read_export(path)) == [(["😀", "Ada"], ["O", "B-PER"])]


def test_an_accepted_answer_without_spans_is_a_text_without_entities(write):
    path = write([PRODIGY, {"text": "Nobody.", "answer": "accept"}])
    assert tags(read_export(path))[1] == (["Nobody", "."], ["O", "O"])


def test_what_was_rejected_or_ignored_is_left_out_and_counted(write):
    others = [{**PRODIGY, "answer": answer} for answer in ("reject", "ignore")]
    with pytest.warns(UserWarning, match=r"mine\.jsonl: 2 of 3 answers were 'reject' or 'ignore'"):
        table = read_export(write([others[0], PRODIGY, others[1]]))
    assert tags(table) == [ADA]
    path = write([others[0]] * 3)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match=r"no answer that was accepted"):
        read_export(path)


def test_answers_about_single_entities_are_warned_of(write):
    with pytest.warns(UserWarning, match=r"words outside of them count as no entity.*ner\.correct"):
        read_export(write([{**PRODIGY, "_view_id": "ner"}]))


def test_mostly_empty_texts_are_warned_of(write):
    nothing = {"text": "Who?", "label": []}
    with pytest.warns(UserWarning, match=r"2 of 3 texts hold no entity and count as annotated"):
        read_export(write([nothing, DOCCANO, nothing]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_export(write([nothing, DOCCANO]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": TEXT, "label": [[1, 3, "PER"]]}, r"line 1: the span 1:3 .*within a word"),
        ({"text": TEXT, "label": [[0, 99, "PER"]]}, r"line 1: the span 0:99 .*does not lie within"),
        ({"text": TEXT, "label": [*TRIPLES, [0, 3, "X"]]}, r"line 1: .*overlap"),
        ({"text": TEXT, "spans": [{"start": 0, "end": 3}]}, r"line 1: the span .* lacks label"),
        ({"text": TEXT, "label": [[0, 3]]}, r"line 1: the span \[0, 3\] needs whole numbers"),
        (
            {"text": TEXT, "spans": spans(), "label": "news"},
            r"both entities \(in 'spans'\) and lab",
        ),
        (
            {"text": TEXT, "entities": TRIPLES, "cats": {"A": 1.0}},
            r"\(in 'cats'\); say with label=",
        ),
    ],
)
def test_spans_that_do_not_fit_are_named(write, row, message):
    with pytest.raises(ValueError, match=rf"mine\.jsonl.*{message}"):
        read_export(write([row]))


def test_a_field_can_be_named_where_there_are_two(write):
    path = write([{"text": TEXT, "entities": TRIPLES, "cats": ["news"]}])
    assert tags(read_export(path, label="entities")) == [ADA]
    assert labels(read_export(path, label="cats")) == [(TEXT, "news")]
    with pytest.raises(ValueError, match=r"no field 'cat', did you mean 'cats'\?; its fields are"):
        read_export(path, label="cat")


# --- labels of whole texts -----------------------------------------------------------------------


def option(name, text):
    return {"id": name, "text": text}


@pytest.mark.parametrize(
    ("a", "b", "name"),
    [
        ({"text": "a", "label": ["x"]}, {"text": "b", "label": ["y"]}, "doccano.jsonl"),
        ({"data": "a", "label": ["x"]}, {"data": "b", "label": ["y"]}, "doccano.json"),
        (
            {"text": "a", "accept": ["x"], "answer": "accept", "options": [option("x", "An X")]},
            {"text": "b", "accept": ["y"], "answer": "accept", "options": [option("y", "A Y")]},
            "prodigy.jsonl",
        ),
        (
            {"text": "a", "accept": [1], "options": [option(1, "x")], "label": "Which?"},
            {"text": "b", "accept": [2], "options": [option(2, "y")], "label": "Which?"},
            "numbered.jsonl",
        ),
        (
            {"text": "a", "label": "x", "answer": "accept"},
            {"text": "b", "label": "y", "answer": "accept"},
            "binary.jsonl",
        ),
        (
            ["a", {"cats": {"x": 1.0, "y": 0.0}}],
            ["b", {"cats": {"x": 0, "y": True}}],
            "spacy.json",
        ),
        (
            {"text": "a", "cats": {"x": 0.9, "y": 0.1}, "ents": []},
            {"text": "b", "cats": {"x": 0.1, "y": 0.9}, "ents": []},
            "spacy.jsonl",
        ),
    ],
)
def test_labels_of_every_tool(write, a, b, name):
    assert labels(read_export(write([a, b], name))) == [("a", "x"), ("b", "y")]


def test_numbers_stay_numbers(write):
    path = write([{"text": "a", "label": 0}, {"text": "b", "label": 1}], "records.json")
    assert labels(read_export(path)) == [("a", 0), ("b", 1)]


def test_several_labels_are_lists_and_none_is_one_of_them(write):
    found = {"a": ["x", "y"], "b": [], "c": ["y"]}
    path = write([{"text": text, "label": names} for text, names in found.items()])
    assert labels(read_export(path)) == [("a", ["x", "y"]), ("b", []), ("c", ["y"])]


def test_texts_without_a_label_are_left_out_and_counted_where_each_has_one(write):
    path = write([{"text": "a", "label": ["x"]}, {"text": "b", "label": []}])
    with pytest.warns(UserWarning, match=r"mine\.jsonl: 1 of 2 texts have no label and were left"):
        assert labels(read_export(path)) == [("a", "x")]


def choice(*names, kind="choices", start=0, end=3):
    value = {kind: list(names)}
    if kind == "labels":
        value |= {"start": start, "end": end, "text": TEXT[start:end]}
    return {"type": kind, "from_name": f"my_{kind}", "to_name": "text", "value": value}


def task(text, *results):
    return {"id": 1, "data": {"text": text}, "annotations": [{"result": list(results)}]}


def test_label_studio_is_recognized(write):
    path = write([task("a", choice("x")), task("b", choice("y"))], "project.json")
    assert labels(read_export(path)) == [("a", "x"), ("b", "y")]
    path = write([task("a", choice("x", "y")), task("b", choice("y")), task("c")], "project.json")
    assert labels(read_export(path)) == [("a", ["x", "y"]), ("b", ["y"]), ("c", [])]
    person = choice("PER", kind="labels")
    company = choice("ORG", kind="labels", start=8, end=16)
    assert tags(read_export(write([task(TEXT, person, company)], "p.json"))) == [ADA]


def test_label_studio_with_several_annotations_of_one_text_is_refused(write):
    twice = task("a", choice("x", "y"))
    twice["annotations"] *= 2
    with pytest.raises(ValueError, match=r"project\.json, task 1 has 2 annotations; keep one"):
        read_export(write([twice], "project.json"))


def test_label_studio_with_entities_and_choices_asks_which(write):
    path = write([task(TEXT, choice("PER", kind="labels"), choice("x"))], "project.json")
    with pytest.raises(ValueError, match=r"choices in my_choices, labels in my_labels\); say with"):
        read_export(path)
    assert labels(read_export(path, label="my_choices")) == [(TEXT, "x")]


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "mine.json", r"mine\.json is empty; export JSON from Label Studio"),
        ("[]", "mine.json", r"holds no list of annotated texts; export JSON"),
        ("{nonsense", "mine.json", r"mine\.json is not JSON"),
        ("[1, 2]", "mine.json", r"element 0 is 1, which is no annotated text"),
        ([{"text": "a", "mood": "x"}], "mine.jsonl", r"have no annotations; .*with label=, or exp"),
        ([{"text": "a", "label": []}], "mine.jsonl", r"the texts have nothing in 'label'"),
        ([{"txt": "a", "label": ["x"]}], "mine.jsonl", r"line 1 has no field 'text'"),
        ([{"text": " ", "label": ["x"]}], "mine.jsonl", r"line 1: 'text' is ' '; it"),
        ([{"text": "a", "label": [0.5]}], "mine.jsonl", r"line 1: label 0\.5 is a float; labels"),
        ([{"text": "a", "label": ["x", 1]}], "mine.jsonl", r"mixes types: 'x' .* 1 on mine\.jsonl"),
        ([{"text": "a", "label": ["x", "x "]}], "mine.jsonl", r"differ only in the spaces around"),
        ([{"text": "a", "label": ["x", {}]}], "mine.jsonl", r"line 1: \['x', {}\] are no labels"),
        ([{"text": "a", "annotations": [{"label": 7}]}], "mine.jsonl", r"old doccano"),
        ([{"id": 0, "paragraphs": []}], "mine.json", r"spaCy 2's format.*spacy convert.*DocBin"),
        ([{"id": 1, "text": "a", "annotation_id": 3}], "mine.json", r"not as JSON-MIN"),
        ("x", "train.spacy", r"binary doc.*from_disk\('train\.spacy'\).*train\.jsonl"),
        ("x", "mine.jsonl", r"mine\.jsonl, line 1 is not JSON"),
    ],
)  # fmt: skip
def test_what_is_refused_says_the_cure(write, content, name, message):
    with pytest.raises(ValueError, match=message):
        read_export(write(content, name))


def test_the_cure_for_binary_documents_is_a_program(write):
    with pytest.raises(ValueError) as error:
        read_export(write("x", "train.spacy"))
    program = str(error.value).split('"')[1]
    compile(program, "cure", "exec")
    assert "from_disk('train.spacy')" in program and "doc.to_json()" in program
