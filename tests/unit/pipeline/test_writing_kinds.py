"""Text to text, and questions about passages, through the whole pipeline."""

import json
from pathlib import Path

import pytest

from reptune.estimator import load
from reptune.extraction import SpanExtractor
from reptune.generation import TextGenerator
from reptune.pipeline.demo import _Page
from reptune.pipeline.examples import Examples, kind_of, read_examples
from reptune.pipeline.methods import method_named
from reptune.pipeline.predict import predict_file
from reptune.pipeline.training import evaluate, train
from tests import tiny
from tests.contract.cases import ANSWERS, PAIRS

SHORT = {"num_epochs": 1, "batch_size": 8, "device": "cpu"}
QUESTIONS = [(f"{question} {number}", passage) for number, (question, passage) in enumerate(PAIRS)]
TEXTS = Examples("text", [f"{text} {n}" for n, text in enumerate(tiny.TEXTS)], ANSWERS, "t", "ab")
SPANS = Examples("span", QUESTIONS, ANSWERS, "s.csv", "cd")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A generator and an extractor, trained and saved with their reports."""
    folder: Path = tmp_path_factory.mktemp("written")
    causal, encoder = tiny.save_causal_lm(folder / "lm"), tiny.save_encoder(folder / "enc")
    settings = {"text": {"model": causal, "rank": 2, "max_length": 60, "max_new_tokens": 4},
                "span": {"model": encoder, "max_length": 24, "stride": 4}}  # fmt: skip
    results = {}
    for examples, method in ((TEXTS, "generator"), (SPANS, "extractor")):
        columns = {"text": "text", "label": "answer", "text2": "passage"}
        columns |= {"text2": None} if examples.kind == "text" else {}
        result = train(
            examples, method, settings=SHORT | settings[examples.kind], columns=columns
        )  # fmt: skip
        results[examples.kind] = result, result.save(folder / examples.kind)
    return results


@pytest.mark.parametrize(("kind", "metric"), [("text", "chrf"), ("span", "normalized_match")])
def test_the_card_scores_texts(written, kind, metric):
    result, _ = written[kind]
    card = json.loads(json.dumps(result.card, allow_nan=False))
    assert card["kind"] == kind == kind_of(result.model) and card["labels"] == []
    assert card["score"]["metric"] == metric and card["score"]["rows"] < len(TEXTS)
    assert card["score"]["estimate"] == card["scores"][metric]
    assert card["confusion"] is None and card["calibration"] is None
    assert (card["baseline"] is None) == (kind == "span")


def test_copying_the_input_is_the_baseline_of_text_to_text(written):
    card = written["text"][0].card
    assert card["baseline"]["title"] == "the input, copied"
    assert 0 < card["baseline"]["estimate"] < 100, "each answer is a word of its input"


@pytest.mark.parametrize("kind", ["text", "span"])
def test_the_report_says_what_the_model_does(written, kind):
    _, folder = written[kind]
    page = (folder / "report.md").read_text("utf-8")
    does = {"text": "writes a new text", "span": "finds the answer to a question"}
    assert does[kind] in page and "exact match" in page.lower()


@pytest.mark.parametrize("kind", ["text", "span"])
def test_predict_adds_a_column_and_leaves_blank_rows_empty(written, kind, tmp_path):
    result, folder = written[kind]
    passage = "a fine film"
    (tmp_path / "new.csv").write_text(
        f"text,passage\nis it good,{passage}\n,{passage}\n", encoding="utf-8"
    )
    done = predict_file(folder, tmp_path / "new.csv", tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    column = {"text": "output", "span": "answer"}[kind]
    given = "is it good" if kind == "text" else ("is it good", passage)
    assert [row[column] for row in rows] == [result.model.predict([given])[0], None]
    assert (done.rows, done.empty, done.labels) == (2, 1, {})


@pytest.mark.parametrize("kind", ["text", "span"])
def test_abstention_and_costs_are_refused(written, kind, tmp_path):
    _, folder = written[kind]
    (tmp_path / "new.csv").write_text("text,passage\nis it good,a film\n")
    with pytest.raises(ValueError, match="one label"):
        predict_file(folder, tmp_path / "new.csv", tmp_path / "out.csv", abstain=0.5)
    with pytest.raises(ValueError, match="one label per text"):
        train(TEXTS, "generator", cost_wrong=2.0, cost_ask=1.0)


@pytest.mark.parametrize("kind", ["text", "span"])
def test_a_file_is_read_as_the_model_wants_it_and_scored(written, kind, tmp_path):
    result, folder = written[kind]
    rows = [
        "text,passage,answer",
        *(f"is it good,{p},{a}" for (_, p), a in zip(PAIRS, ANSWERS, strict=True)),
    ]
    (tmp_path / "later.csv").write_text("\n".join(rows), encoding="utf-8")
    columns = {name: column for name, column in result.card["columns"].items() if column}
    later = read_examples(tmp_path / "later.csv", **columns, like=result.card)
    assert later.kind == kind and later.targets == ANSWERS
    found = evaluate(load(folder), later)
    right = result.model.predict(later.inputs)
    share = sum(a == b for a, b in zip(right, ANSWERS, strict=True)) / len(ANSWERS)
    assert found.card["scores"]["exact_match"] == pytest.approx(share)


def test_the_page_shows_an_answer_and_takes_a_correction(written, tmp_path):
    _, folder = written["span"]
    page = _Page(load(folder), tmp_path / "mine.jsonl")
    answer, _, given, right = page.read("is it good", "a fine film")
    assert answer == right and answer in "a fine film" and given == ("is it good", "a fine film")
    assert "letter for letter" in page.save("is it good", "a fine film", "dull", given)
    assert not (tmp_path / "mine.jsonl").exists()
    assert page.save("is it good", "a fine film", "fine", given).startswith("Saved")
    row = json.loads((tmp_path / "mine.jsonl").read_text())
    assert row == {"text": "is it good", "text2": "a fine film", "label": "fine"}


def test_a_method_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="frozen does not take texts to write; use generator"):
        method_named("frozen", "text")
    with pytest.raises(ValueError, match="does not take questions with passages; use extractor"):
        method_named("tagger", "span")
    assert method_named("extractor", "span").make().__class__ is SpanExtractor
    assert method_named("generator", "text").make().__class__ is TextGenerator
