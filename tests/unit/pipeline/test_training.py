import json
from dataclasses import replace

import numpy as np
import pytest

from reptune import EntityTagger, FrozenClassifier, TfidfClassifier
from reptune.estimator import load
from reptune.metrics import expected_calibration_error
from reptune.pipeline import training
from reptune.pipeline.examples import Examples
from reptune.pipeline.intervals import share_interval
from reptune.pipeline.splits import duplicate_groups, grouped_folds, strata_of
from reptune.pipeline.training import Result, evaluate, train
from tests import tiny
from tests.contract.cases import SENTENCES, TAGS
from tests.unit.pipeline.tables import shuffled, table, texts_and_labels

SHORT = {"num_epochs": 1, "learning_rate": 5e-3, "batch_size": 8}


def numbered(texts):
    """Texts that differ, so that each is a group of its own."""
    return [f"{text} {'very ' * number}" for number, text in enumerate(texts)]


TINY = Examples("label", numbered(tiny.TEXTS), tiny.LABELS, "tiny.csv", "cd" * 32)


@pytest.fixture
def seen(monkeypatch):
    """The texts of every fit of TF-IDF."""
    fits, real = [], TfidfClassifier.fit

    def fit(self, texts, labels):
        fits.append(set(texts))
        return real(self, texts, labels)

    monkeypatch.setattr(TfidfClassifier, "fit", fit)
    return fits


# --- the card ------------------------------------------------------------------------------------


def test_the_card_holds_what_a_report_needs(tmp_path):
    columns = {"text": "body", "label": "team", "text2": None, "several": None}
    result = train(table(told=0.9), "tfidf", settings={"C": 1.0}, columns=columns)
    card = json.loads(json.dumps(result.card, allow_nan=False))
    assert (card["kind"], card["labels"], card["columns"]) == (
        "label",
        ["team 0", "team 1"],
        columns,
    )
    assert card["data"] == {"name": "mine.csv", "sha256": "ab" * 32, "rows": 60, "notes": []}
    assert card["method"]["name"] == "tfidf" and card["method"]["class"] == "TfidfClassifier"
    assert card["method"]["settings"] == {"C": "1.0"} and card["method"]["model"] is None
    assert card["splits"]["trained_on"] == 48 and card["splits"]["scored_on"] == 60
    score, scores = card["score"], card["scores"]
    assert score["low"] < score["estimate"] == scores["accuracy"] < score["high"]
    assert (score["metric"], score["level"], score["rows"]) == ("accuracy", 0.95, 60)
    assert card["baseline"] == {"title": "majority class", "estimate": 0.5}
    assert np.sum(card["confusion"]["counts"]) == 60
    assert np.trace(card["confusion"]["counts"]) == round(60 * score["estimate"])
    assert sum(count for _, _, count in card["calibration"]["bins"]) == 60
    assert card["abstention"] is None and card["date"] and card["versions"]["reptune"]
    assert card["cost"]["fit_seconds"] >= 0 and card["cost"]["texts_per_second"] > 0
    assert card["cost"]["peak_memory_mb"] > 0 and card["cost"]["device"]
    assert load(result.save(tmp_path / "model")).card_ == card == result.model.card_


def test_cross_validated_intervals_know_that_folds_share_rows():
    score = train(table(told=0.9), "tfidf").card["score"]
    right = np.arange(60) < round(60 * score["estimate"])
    assert score["low"] == pytest.approx(share_interval(right, weight=2 / 3).low)


def test_no_text_is_scored_by_a_fit_that_saw_it(seen, monkeypatch):
    examples, scored = table(), []
    real = TfidfClassifier.predict_proba

    def predict_proba(self, texts):
        scored.append(set(texts))
        return real(self, texts)

    monkeypatch.setattr(TfidfClassifier, "predict_proba", predict_proba)
    train(examples, "tfidf")
    assert len(seen) == 6 and seen[5] == set(examples.inputs)
    assert set().union(*scored[:5]) == set(examples.inputs)
    for known, held in zip(seen[:5], scored[:5], strict=True):
        assert not known & held and known | held == set(examples.inputs)


def test_frozen_is_scored_as_by_fits_of_its_own_on_texts_embedded_once(tiny_encoder, monkeypatch):
    held_out = []
    real = training._predict_held_out

    def keep(*args):
        held_out.append(real(*args))
        return held_out[0]

    monkeypatch.setattr(training, "_predict_held_out", keep)
    train(TINY, "frozen", settings={"model": tiny_encoder, "class_weight": "balanced"})
    found = held_out[0]
    groups = duplicate_groups(TINY.inputs)
    folds = grouped_folds(strata_of(TINY), groups, training.FOLDS, 42)
    rows = np.concatenate([np.flatnonzero(folds == fold) for fold in range(training.FOLDS)])
    assert found.rows.inputs == [TINY.inputs[row] for row in rows]
    expected = []
    for fold in range(training.FOLDS):
        known, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        model = FrozenClassifier(tiny_encoder, class_weight="balanced", random_state=42)
        model.fit(*(TINY.select(known.tolist()).inputs, TINY.select(known.tolist()).targets))
        expected.append(model.predict_proba(TINY.select(held.tolist()).inputs))
    assert np.allclose(found.probabilities, np.concatenate(expected), atol=1e-5)


def test_what_every_fit_says_is_noted_once(tiny_encoder):
    inputs = [" ".join(f"word{row}of{number}" for number in range(60)) for row in range(len(TINY))]
    notes = train(replace(TINY, inputs=inputs), "frozen", settings={"model": tiny_encoder}).card[
        "data"
    ]["notes"]
    assert sum("were cut" in note for note in notes) == 1
    assert any(note.startswith(f"{len(inputs)} of {len(inputs)} texts") for note in notes)


def test_repeated_texts_are_held_out_together(seen):
    texts, labels = texts_and_labels(30)
    examples = Examples("label", texts * 2, labels * 2, "mine.csv", "")
    result = train(examples, "tfidf")
    assert all(len(known) < 30 for known in seen[:5])
    assert result.card["data"]["notes"][0].startswith("30 rows repeat")
    noise = np.random.default_rng(0).permutation(labels).tolist()
    score = train(replace(examples, targets=noise * 2), "tfidf").card["score"]
    assert score["estimate"] < 0.75  # memory of the repeated text would give 1


def test_worst_errors_come_first():
    result = train(table(told=0.7), "tfidf")
    probabilities = [error["probability"] for error in result.errors]
    assert probabilities == sorted(probabilities, reverse=True) and 0 < len(probabilities) <= 20
    assert all(error["label"] != error["predicted"] for error in result.errors)
    wrong = 60 - round(60 * result.card["score"]["estimate"])
    assert len(result.errors) == min(20, wrong)


# --- temperature and abstention ------------------------------------------------------------------


def test_the_temperature_is_saved_and_used(tmp_path):
    result = train(table(120, told=0.75), "tfidf", settings={"C": 1000.0})
    model = load(result.save(tmp_path / "model"))
    temperature = result.card["calibration"]["temperature"]
    assert model.temperature_ == temperature > 1.2  # so weak a penalty is overconfident
    texts = ["alpha beta key0", "gamma key1 row7"]
    logits = model.logits(texts) / temperature
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert model.predict_proba(texts) == pytest.approx(shares)
    assert (model.predict(texts) == result.model.predict(texts)).all()


def test_a_parameter_of_the_methods_name_does_not_hide_it(tiny_causal_lm):
    settings = {"model": tiny_causal_lm, "template": "{text} :", "per_class": 1}
    result = train(TINY, "in-context", settings=settings)
    temperature = result.card["calibration"]["temperature"]
    assert result.model.calibrate == "contextual"
    assert result.model.temperature_ == pytest.approx(temperature) and temperature != 1


def test_calibrated_probabilities_are_no_worse(monkeypatch):
    examples = table(120, told=0.75)
    ours = train(examples, "tfidf", settings={"C": 1000.0}).card["calibration"]["ece"]
    monkeypatch.setattr(TfidfClassifier, "calibrate", lambda self, *given: self)
    assert ours < train(examples, "tfidf", settings={"C": 1000.0}).card["calibration"]["ece"]
    test = table(400, told=0.75, random_state=9)
    ids = [int(label[-1]) for label in test.targets]
    plain = train(examples, "tfidf", settings={"C": 1000.0}).model
    monkeypatch.undo()
    warm = train(examples, "tfidf", settings={"C": 1000.0}).model
    assert expected_calibration_error(warm.predict_proba(test.inputs), ids) < (
        expected_calibration_error(plain.predict_proba(test.inputs), ids)
    )


def test_where_no_answer_is_wrong_the_temperature_stays():
    labels = [f"team {row % 2}" for row in range(61)]
    texts = [f"key{row % 2} row{row}" for row in range(61)]
    sure = replace(table(), inputs=texts, targets=labels)
    result = train(sure, "tfidf")
    assert result.errors == [] and result.model.temperature_ == 1
    odd = replace(sure, targets=[*labels[:-1], "rare"])
    # The rare class cannot be predicted by a fit that lacks it, which says nothing of the others.
    assert train(odd, "tfidf").model.temperature_ == 1


def test_abstention_weighs_the_costs():
    card = train(table(120, told=0.75), "tfidf", cost_wrong=5, cost_ask=1).card
    found = card["abstention"]
    assert (found["cost_wrong"], found["cost_ask"]) == (5, 1)
    assert found["threshold"] == pytest.approx(0.8)
    assert 0 < found["answered"] < 1
    assert found["score_answered"] > card["score"]["estimate"]


def test_nothing_is_answered_where_asking_is_cheap():
    found = train(shuffled(60), "tfidf", cost_wrong=100, cost_ask=0.01).card["abstention"]
    assert (found["answered"], found["score_answered"]) == (0, None)


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ((5, None), "give both costs"),
        ((None, 1), "give both costs"),
        ((1, 1), "asking would never pay"),
        ((0, 0), "cost_wrong=0"),
        ((5, -1), "cost_ask=-1"),
        ((float("inf"), 1), "cost_wrong=inf"),
    ],
)
def test_bad_costs(costs, message, seen):
    with pytest.raises(ValueError, match=message):
        train(table(), "tfidf", cost_wrong=costs[0], cost_ask=costs[1])
    assert not seen


# --- rows to test on -----------------------------------------------------------------------------


def test_a_test_file_is_what_is_scored():
    test = replace(table(40, random_state=3), name="test.csv")
    card = train(table(), "tfidf", test=test).card
    assert card["score"]["rows"] == card["splits"]["scored_on"] == 40
    assert card["splits"]["trained_on"] == 60 and "test.csv" in card["splits"]["how"]
    assert card["data"]["notes"] == []
    alone = train(table(), "tfidf").card
    assert card["held_out"].items() >= alone["score"].items() and alone["held_out"] is None


def test_rows_to_test_on_that_were_trained_on_are_noted():
    both = table()
    test = replace(both.select(range(7)), name="test.csv")
    notes = train(both, "tfidf", test=test).card["data"]["notes"]
    assert any(note.startswith("7 of the 7 rows of test.csv repeat") for note in notes)


def test_a_test_file_of_other_labels_or_kind():
    odd = replace(table(), targets=["team 9"] * 60, name="test.csv")
    with pytest.raises(
        ValueError, match=r"test\.csv has the label 'team 9', which mine\.csv lacks"
    ):
        train(table(), "tfidf", test=odd)
    with pytest.raises(ValueError, match=r"test\.csv holds pair, but mine\.csv label"):
        train(table(), "tfidf", test=replace(odd, kind="pair"))


# --- classes -------------------------------------------------------------------------------------


def test_a_class_in_one_row_is_trained_and_scored():
    texts, labels = texts_and_labels(60)
    result = train(replace(table(), inputs=texts, targets=[*labels[:-1], "rare"]), "tfidf")
    assert result.card["labels"] == result.model.classes_.tolist() == ["rare", "team 0", "team 1"]
    counts, rare = result.card["confusion"]["counts"], result.card["confusion"]["labels"]
    assert sum(counts[rare.index("rare")]) == 1 and np.sum(counts) == 60


def test_one_class_without_the_rows_held_out_says_what_to_label(seen):
    odd = replace(table(), targets=["a"] * 59 + ["b"])
    with pytest.raises(ValueError, match="one class is left, 'a'; label more texts of the others"):
        train(odd, "tfidf")


def test_classes_that_are_all_rarer_than_folds():
    texts, labels = texts_and_labels(20, 10)
    card = train(replace(table(), inputs=texts, targets=labels), "tfidf").card
    assert len(card["labels"]) == 10 and card["score"]["rows"] == 20


def test_many_classes_have_no_confusion_matrix(tmp_path):
    texts, labels = texts_and_labels(120, 60)
    result = train(Examples("label", texts, labels, "m.csv", ""), "tfidf")
    assert result.card["confusion"] is None and len(result.card["labels"]) == 60
    result.save(tmp_path / "model")


def test_whole_numbers_come_back_as_whole_numbers(tmp_path):
    numbers = replace(table(), targets=[int(label[-1]) for label in table().targets])
    result = train(numbers, "tfidf")
    assert load(result.save(tmp_path / "m")).predict(["x key1"]).tolist() == [1]
    assert result.card["labels"] == [0, 1]


# --- methods and kinds of rows -------------------------------------------------------------------


def test_label_names_need_names(tiny_encoder):
    result = train(TINY, "label-names", settings={"model": tiny_encoder})
    assert result.card["labels"] == ["negative", "positive"]
    assert result.card["method"]["model"] == str(tiny_encoder)
    numbers = replace(TINY, targets=[len(label) % 2 for label in tiny.LABELS])
    with pytest.raises(ValueError, match=r"tiny\.csv: the labels are numbers"):
        train(replace(numbers, targets=[0, 1] * 8), "label-names")


@pytest.mark.parametrize("method", ["frozen", "head", "setfit"])
def test_methods_with_an_encoder(method, tiny_encoder, tmp_path):
    settings = {"model": tiny_encoder} | ({} if method != "head" else SHORT)
    settings |= {"num_steps": 2} if method == "setfit" else {}
    result = train(TINY, method, settings=settings)
    loaded = load(result.save(tmp_path / "model"))
    assert loaded.card_["score"]["rows"] in (16, 3, 4) and loaded.card_["method"]["name"] == method
    assert np.allclose(loaded.predict_proba(TINY.inputs), result.model.predict_proba(TINY.inputs))


def test_several_labels(tiny_encoder, tmp_path):
    lists = [[["good"], ["bad", "film"], [], ["film"]][row % 4] for row in range(16)]
    examples = Examples("labels", TINY.inputs, lists, "several.csv", "")
    result = train(examples, "frozen", settings={"model": tiny_encoder, "thresholds": 0.5})
    card = json.loads(json.dumps(result.card, allow_nan=False))
    assert card["score"]["metric"] == "micro_f1" and card["labels"] == ["bad", "film", "good"]
    assert card["calibration"] is None is card["confusion"]
    found = evaluate(load(result.save(tmp_path / "model")), examples)
    assert found.card["score"]["rows"] == 16
    with pytest.raises(ValueError, match="costs decide about one label per text"):
        train(examples, "frozen", cost_wrong=2, cost_ask=1)


def test_pairs(tiny_masked_lm, tmp_path):
    pairs = [(text, "not bad") for text in TINY.inputs]
    examples = Examples("pair", pairs, tiny.LABELS, "pairs.csv", "")
    words = {"positive": "good", "negative": "bad"}
    settings = {"model": tiny_masked_lm, "words": words, "num_steps": 2, "batch_size": 4}
    result = train(examples, "prompt", settings=settings)
    assert result.card["kind"] == "pair" and "{text2}" in result.model.template
    assert evaluate(load(result.save(tmp_path / "m")), examples).card["kind"] == "pair"


def test_tagged_sentences(tiny_encoder, tmp_path):
    examples = Examples("tags", SENTENCES, TAGS, "tags.conll", "")
    settings = {**SHORT, "model": tiny_encoder, "max_length": 16}
    result = train(examples, "tagger", settings=settings)
    card = json.loads(json.dumps(result.card, allow_nan=False))
    assert (card["score"]["metric"], card["labels"]) == ("entity_f1", ["PER", "THING"])
    folder = result.save(tmp_path / "model")
    assert evaluate(load(folder), examples).card["score"]["rows"] == 16
    with pytest.raises(ValueError, match=r"mine\.csv holds label, but the model learned tags"):
        evaluate(load(folder), table())


def test_bad_settings_and_methods(seen):
    with pytest.raises(ValueError, match="no parameter 'ngram', did you mean 'ngrams'"):
        train(table(), "tfidf", settings={"ngram": 2})
    with pytest.raises(ValueError, match="there is no method 'tfdif', did you mean 'tfidf'"):
        train(table(), "tfdif")
    with pytest.raises(ValueError, match="tagger does not take one label per text"):
        train(table(), "tagger")
    with pytest.raises(ValueError, match=r"mine\.csv has 8 rows"):
        train(table(8), "tfidf")
    assert not seen


# --- saving --------------------------------------------------------------------------------------


def test_a_folder_in_use_is_refused_before_any_fit(tmp_path, seen):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something that is not a saved model"):
        train(table(), "tfidf", out=tmp_path)
    assert not seen


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_save_that_is_interrupted_leaves_the_old_model(tmp_path, monkeypatch, error):
    old = train(table(), "tfidf").save(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    assert {"report.md", "report.html", "reptune.json"} <= set(before)
    result = train(table(random_state=1), "tfidf", settings={"C": 1.0})

    def fail(*args):
        raise error

    monkeypatch.setattr("reptune.pipeline.training.write_report", fail)
    with pytest.raises(error if isinstance(error, type) else OSError) as caught:
        result.save(old)
    assert isinstance(error, type) or "free some space" in str(caught.value)
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# --- evaluate ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    return train(table(told=0.9), "tfidf", cost_wrong=5, cost_ask=1)


def test_evaluate_scores_new_rows(trained):
    test = replace(table(40, told=0.9, random_state=8), name="june.csv", sha256="ef" * 32)
    before = json.dumps(trained.model.card_)
    found = evaluate(trained.model, test)
    accuracy = trained.model.score(test.inputs, test.targets)
    assert isinstance(found, Result) and found.card["score"]["estimate"] == pytest.approx(accuracy)
    assert found.card["data"]["name"] == "june.csv" and found.card["data"]["notes"] == []
    assert found.card["splits"] == {
        "trained_on": 60, "scored_on": 40, "how": "june.csv, after training"
    }  # fmt: skip
    assert found.card["method"] == trained.card["method"]
    sure = trained.model.predict_proba(test.inputs).max(axis=1) >= 0.8
    assert found.card["abstention"]["answered"] == pytest.approx(sure.mean())  # of these rows
    assert json.dumps(trained.model.card_) == before
    json.dumps(found.card, allow_nan=False)


def test_evaluate_says_nothing_of_other_rows(trained):
    examples = table(40, told=0.9, random_state=8)
    told = {"rivals": [1], "scored_on": "some.csv", "verdict": "usable", "held_out": {"rows": 3}}
    known = trained.model.card_
    trained.model.card_ = known | told
    try:
        assert not told.keys() & evaluate(trained.model, examples).card.keys()
    finally:
        trained.model.card_ = known


def test_evaluate_scores_each_row_once(trained, monkeypatch):
    scored, real = [], TfidfClassifier._logits

    def logits(self, texts):
        scored.extend(texts)
        return real(self, texts)

    monkeypatch.setattr(TfidfClassifier, "_logits", logits)
    rows = table(told=0.9)
    found = evaluate(trained.model, rows)
    assert scored == rows.inputs
    right = sum(trained.model.predict(rows.inputs) == np.array(rows.targets))
    assert found.card["score"]["estimate"] == right / len(rows)


def test_evaluate_notes_the_rows_of_training(trained):
    notes = evaluate(trained.model, table(told=0.9)).card["data"]["notes"]
    assert any("were trained on" in note or "was trained on" in note for note in notes)


def test_evaluate_refuses_labels_that_the_model_does_not_know(trained):
    odd = replace(table(), targets=["team 0"] * 59 + ["team 7"])
    with pytest.raises(ValueError, match="the label 'team 7', which the model does not know"):
        evaluate(trained.model, odd)


def test_evaluate_takes_rows_of_one_class(trained):
    card = evaluate(trained.model, replace(table(), targets=["team 1"] * 60)).card
    assert card["baseline"]["estimate"] == 1 and np.sum(card["confusion"]["counts"]) == 60


def test_evaluate_takes_models_without_a_card(tiny_encoder):
    model = TfidfClassifier().fit(table().inputs, table().targets)
    assert evaluate(model, table()).card["score"]["rows"] == 60
    tagger = EntityTagger(tiny_encoder, **SHORT, max_length=16).fit(SENTENCES, TAGS)
    with pytest.raises(ValueError, match="holds label, but the model learned tags"):
        evaluate(tagger, table())
