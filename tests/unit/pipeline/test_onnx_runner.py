"""The runner alone: no reptune, no torch; words, windows and tags as the package has them."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reptune import TfidfClassifier, data, tags
from reptune.data import sentences
from reptune.ner import EntityTagger, alignment
from reptune.pipeline import onnx_runner
from reptune.pipeline.export import export_model
from tests import tiny
from tests.contract import cases

TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
ALONE = """
import importlib.abc, json, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[3].split():
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
sys.path.insert(0, sys.argv[1])
from runner import Runner
runner = Runner(sys.argv[1])
inputs = json.loads(sys.argv[2])
found = {"proba": [row.tolist() for row in runner.predict_proba(inputs)]}
labels = runner.predict(inputs)
found["labels"] = labels.tolist() if hasattr(labels, "tolist") else labels
if runner.kind == "tags":
    text = "The film, a movie: plot. The movie left! A film."
    found["entities"] = [vars(entity) for entity in runner.entities(text)]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def tagger(tiny_encoder):
    params = {"num_epochs": 20, "learning_rate": 1e-2, "batch_size": 4, "random_state": 0}
    tagger = EntityTagger(tiny_encoder, max_length=16, mark_case=True, **params)
    return tagger.fit(cases.SENTENCES, cases.TAGS)


@pytest.fixture(scope="module")
def tagger_folder(tagger, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "tagger"
    export_model(tagger, folder)
    return folder


def alone(folder, inputs, also_blocked=""):
    """What the copied runner gives in a process that can import onnxruntime and the like only."""
    blocked = f"torch transformers reptune scipy sklearn {also_blocked}"
    command = [sys.executable, "-c", ALONE, str(folder), json.dumps(inputs), blocked]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_runs_without_reptune_and_torch(tagger, tagger_folder):
    sentences = [text.split() for text in cases.NEW_TEXTS]
    found = alone(tagger_folder, sentences)
    assert found["labels"] == tagger.predict(sentences)
    for ours, theirs in zip(tagger.predict_proba(sentences), found["proba"], strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-5)
    expected = tagger.entities("The film, a movie: plot. The movie left! A film.")
    assert expected, "a tagger that finds nothing would test nothing"
    places = [(e["text"], e["type"], e["start"], e["end"]) for e in found["entities"]]
    assert places == [(e.text, e.type, e.start, e.end) for e in expected]


def test_pipeline_is_light_to_import():
    code = "import sys, reptune.pipeline.onnx_runner; print('torch' in sys.modules, 'transformers' in sys.modules)"  # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


TEXTS = st.text(
    st.one_of(
        st.sampled_from("The film movie plot good bad.,'’-&ÀÉé\u0301\u200d🙂👍🏽🇩🇪東京ß_1 3.5\n\t"),
        st.characters(blacklist_categories=("Cs",)),
    ),
    max_size=120,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_words_are_those_of_the_package(text):
    assert onnx_runner.split_words(text) == [tuple(w) for w in data.tagged.split_words(text)]


SENTENCES = st.lists(
    st.sampled_from([*".!?…。)'\"", " ", "  ", "\n\n", "Dr", "No", "J", "Ada", "left", "5", "東"]),
    max_size=30,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(SENTENCES)
def test_sentences_are_those_of_the_package(text):
    words = onnx_runner.words_to_tag(text)
    assert words == [tuple(word) for word in sentences.words_to_tag(text)]
    assert onnx_runner.sentence_ends(text, words) == sentences.sentence_ends(text, words)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=60), st.integers(5, 20))
def test_windows_are_those_of_the_package(sizes, room):
    ours = onnx_runner.windows(sizes, room, alignment.OVERLAP)
    assert ours == [tuple(window) for window in alignment.windows(sizes, room)]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10_000))
def test_tags_are_those_of_the_package(tagger_folder_alone, words, seed):
    shares = np.random.default_rng(seed).dirichlet(np.ones(len(TAGS)), words)
    runner = tagger_folder_alone
    expected = tags.viterbi(np.log(shares), TAGS)
    assert runner._tags(shares) == expected
    assert onnx_runner._spans(expected) == [tuple(span) for span in tags.spans(expected)]


@pytest.fixture(scope="module")
def tagger_folder_alone():
    runner = object.__new__(onnx_runner.Runner)
    runner.classes = TAGS
    runner._starts, runner._moves = onnx_runner._allowed_moves(TAGS)
    return runner


LONG = "The film was a very good Movie and the plot , bad . " * 12


@settings(max_examples=25, deadline=None)
@given(TEXTS)
def test_entities_are_those_of_the_tagger(tagger, exported_tagger, text):
    same_entities(tagger, exported_tagger, text)


@pytest.fixture(scope="module")
def exported_tagger(tagger_folder):
    return onnx_runner.Runner(tagger_folder, threads=1)


@pytest.mark.parametrize(
    "text", [LONG, LONG.title(), "", " \n", "\u0301", "a\u0301 Film", "film" * 50]
)
def test_entities_of_odd_and_long_texts(tagger, exported_tagger, text):
    same_entities(tagger, exported_tagger, text)
    same_entities(tagger, exported_tagger, f"A film. {text}")


def same_entities(tagger, runner, text):
    ours, theirs = tagger.entities(text), runner.entities(text)
    assert [(e.text, e.type, e.start, e.end) for e in theirs] == [
        (e.text, e.type, e.start, e.end) for e in ours
    ]
    np.testing.assert_allclose(
        [e.confidence for e in theirs], [e.confidence for e in ours], atol=1e-5
    )


def test_several_texts_at_once(tagger, exported_tagger):
    texts = ["a film", "", LONG, "The actor"]
    ours, theirs = tagger.entities(texts), exported_tagger.entities(iter(texts))
    assert [[(e.type, e.start, e.end) for e in row] for row in theirs] == [
        [(e.type, e.start, e.end) for e in row] for row in ours
    ]


def test_long_sentences_have_equal_logits(tagger, exported_tagger):
    sentences = [LONG.split(), ["film"], ["\u0301", "Film"], LONG.title().split()]
    for ours, theirs in zip(
        tagger.logits(sentences), exported_tagger.logits(sentences), strict=True
    ):
        np.testing.assert_allclose(theirs, ours, atol=1e-4)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "there are none"),
        ("a film", "single string"),
        (["a film"], "list of words"),
        ([["a", 3]], r"texts\[0\]\[1\] is 3"),
        ([[]], "at least one"),
        ([["\ud800"]], "lone surrogate"),
    ],
)
def test_bad_input_is_named(exported_tagger, inputs, message):
    with pytest.raises(ValueError, match=message):
        exported_tagger.predict(inputs)


ODD = [
    "Good film\nGOOD film, I said", "ǅungla naïve İstanbul straße", "the_plot 3.5 x2 東京 映画",
    "good good film plot bad", "", "a ! b", "bad Ⅷ cafe\u0301 film",
]  # fmt: skip
COUNTED = {
    "two labels": lambda: TfidfClassifier(ngrams=1).fit(ODD, ["yes", "no"] * 3 + ["yes"]),
    "pairs of words": lambda: TfidfClassifier(class_weight="balanced").fit(ODD, [3] * 4 + [7] * 3),
    "three labels": lambda: TfidfClassifier(C=1e4, ngrams=3).fit(ODD, [-1, 0, 5, 5, 0, -1, 0]),
    "few words": lambda: TfidfClassifier(max_features=2).fit(ODD, list("aabbccc")),
}  # fmt: skip
LOWERED = [word for text in ODD for word in text.split()] + [" ", "_", "\t", "unknown"]


@pytest.fixture(scope="module", params=COUNTED)
def counted(request, tmp_path_factory):
    model = COUNTED[request.param]()
    model.temperature_ = 2.5
    folder = tmp_path_factory.mktemp("counted") / "out"
    export_model(model, folder)
    return model, onnx_runner.Runner(folder), folder


MIXED = TEXTS | st.lists(st.sampled_from(LOWERED), max_size=40).map(" ".join)


@settings(max_examples=50, deadline=None)
@given(st.lists(MIXED, min_size=1, max_size=6))
def test_counted_words_are_those_of_scikit_learn(counted, texts):
    model, runner, _ = counted
    np.testing.assert_allclose(runner.logits(texts), model.logits(texts), rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        runner.predict_proba(texts), model.predict_proba(texts), rtol=0, atol=1e-9
    )
    ours, theirs = model.predict(texts), runner.predict(texts)
    assert theirs.dtype == ours.dtype
    assert theirs.tolist() == ours.tolist()


def test_counted_words_need_numpy_alone(counted):
    model, _, folder = counted
    texts = [*ODD, "", "unknown words only", "film " * 3000]
    found = alone(folder, texts, "onnxruntime tokenizers onnx")
    assert found["labels"] == model.predict(texts).tolist()
    np.testing.assert_allclose(found["proba"], model.predict_proba(texts), rtol=0, atol=1e-12)
    assert len(set(found["labels"])) > 1, "a model that says one thing would test nothing"


def test_damaged_weights_are_refused(counted, tmp_path):
    shutil.copytree(counted[2], tmp_path / "copy")
    with (tmp_path / "copy" / "head.npz").open("ab") as file:
        file.write(b"0")
    with pytest.raises(ValueError, match=r"head.npz is missing or was changed"):
        onnx_runner.Runner(tmp_path / "copy")


def test_a_damaged_folder_is_refused(tagger_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tagger_folder, copy)
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer.json is missing or was changed"):
        onnx_runner.Runner(copy)
    (copy / "reptune-onnx.json").write_text("[]")
    with pytest.raises(ValueError, match="holds no exported model"):
        onnx_runner.Runner(copy)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        onnx_runner.Runner(tmp_path / "none")


def test_a_later_format_is_refused(tagger_folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tagger_folder, copy)
    config = json.loads((copy / "reptune-onnx.json").read_text())
    (copy / "reptune-onnx.json").write_text(json.dumps(config | {"format": 2}))
    with pytest.raises(ValueError, match="format 2"):
        onnx_runner.Runner(copy)


def test_only_a_tagger_finds_entities(tiny_encoder, tmp_path):
    from reptune.fewshot import FrozenClassifier

    export_model(FrozenClassifier(tiny_encoder).fit(tiny.TEXTS, tiny.LABELS), tmp_path / "out")
    with pytest.raises(ValueError, match="only a tagger"):
        onnx_runner.Runner(tmp_path / "out").entities("a film")
