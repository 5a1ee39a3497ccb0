"""Metadata read from Python source without running it, and what is kept of the reading."""

import json
from pathlib import Path

import pytest

from reptune import assets, data
from reptune.prompt2model import catalog
from reptune.prompt2model.catalog import DataSetEntry, ModelEntry, originals, words_of

TASKS = {
    "classification/eng/reviews.py": '''
        import os
        os.environ["REPTUNE_TEST_WAS_RUN"] = "yes"
        from mteb.tasks.shared import LANGUAGES, WORDS as W
        _ABOUT = "Reviews" + f" of {W}"

        class Reviews(AbsTask):
            metadata = TaskMetadata(
                name="Reviews", description=_ABOUT, type="Classification",
                dataset={"path": "a/reviews", "revision": "abc"}, eval_langs=LANGUAGES,
                license="not specified", domains=["Reviews"], prompt={"query": "Judge a review"},
                task_subtypes=["Sentiment/Hate speech"], superseded_by="Reviews.v2",
            )

        class ReviewsV2(AbsTask):
            metadata = TaskMetadata(
                name="Reviews.v2", description="the same", dataset=make(), license="MIT",
                eval_langs={"en": ["eng-Latn"], "de": ["deu-Latn"]},
                sample_creation="machine-translated",
            )

        class Short(AbsTask):
            metadata = TaskMetadata(name="Short", description="half", adapted_from=["Reviews"])
    ''',
    "classification/eng/pictures.py": '''
        class Pictures(AbsTask):
            metadata = TaskMetadata(name="Pictures", description="x", modalities=["image"])

        def computed(name):
            return TaskMetadata(name=name, description="of no name that can be told")
    ''',
    "shared.py": 'LANGUAGES = ["eng-Latn"]\nWORDS = "films"\nCIRCLE = CIRCLE + ["x"]\n',
    "circle.py": '''
        from .shared import CIRCLE
        from ..outside import SECRET
        class Round(AbsTask):
            metadata = TaskMetadata(name="Round", description="r", eval_langs=CIRCLE,
                                    reference=SECRET, license=open("/etc/hostname").read(),
                                    domains="x" * 10**9)
    ''',
}  # fmt: skip

MODELS = {
    "model_implementations/some.py": """
        DATA = {"MSMARCO"} | {"QuoraRetrieval"}
        COMMON = dict(license="apache-2.0", open_weights=True)

        one = ModelMeta(
            name="a/encoder", n_parameters=int(1.5e6), memory_usage_mb=6, languages=["eng-Latn"],
            max_tokens=float("inf"), training_datasets=DATA, modalities=["text"],
            model_type=["dense"], **COMMON,
        )
        two = ModelMeta(name="b/closed", n_parameters=None, memory_usage_mb=None, license=None,
                        languages=None, max_tokens=512, open_weights=False)
        three = ModelMeta(name="c/eyes", modalities=["image"])
    """,
}


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A catalog of a few files in place of MTEB's, and an empty cache."""
    for asset, files in (("mteb-tasks", TASKS), ("mteb-models", MODELS)):
        for name, text in files.items():
            path = tmp_path / asset / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_dedented(text), encoding="utf-8")
    monkeypatch.setenv("REPTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(assets, "get", lambda name: tmp_path / name)
    return tmp_path


def _dedented(text):
    import textwrap

    return textwrap.dedent(text)


def read_data_sets():
    return {entry.name: entry for entry in catalog.data_sets.__wrapped__()}


def test_source_is_read_and_not_run(sources, monkeypatch):
    import os

    monkeypatch.delenv("REPTUNE_TEST_WAS_RUN", raising=False)
    entry = read_data_sets()["Reviews"]
    assert "REPTUNE_TEST_WAS_RUN" not in os.environ
    assert entry == DataSetEntry(
        "Reviews", "a/reviews", "abc", "Reviews of films", "Classification",
        ("Sentiment/Hate speech",), ("eng",), "", ("Reviews",), instruction="Judge a review",
    )  # fmt: skip


def test_what_cannot_be_told_is_left_empty(sources):
    found = read_data_sets()
    assert found["Reviews.v2"].hub_id == ""  # a call
    round_ = found["Round"]
    assert (round_.reference, round_.license, round_.domains, round_.languages) == ("", "", (), ())


def test_copies_are_marked_and_pictures_left_out(sources):
    found = read_data_sets()
    assert found["Reviews"].copy_of == ""
    assert found["Reviews.v2"].copy_of == "Reviews"
    assert found["Reviews.v2"].machine_made
    assert found["Reviews.v2"].languages == ("eng", "deu")
    assert found["Short"].copy_of == "Reviews"
    assert found["Short"].languages == ("eng",)  # from its folder
    assert "Pictures" not in found
    names = {entry.name for entry in originals(found.values())}
    assert {"Reviews", "Round"} <= names
    assert not {"Reviews.v2", "Short"} & names


def test_each_data_set_of_this_book_is_obtainable(sources):
    loaders = {entry.loader for entry in read_data_sets().values() if entry.obtainable}
    # Of IMDB the entry is MTEB's, which the few files here do not hold.
    assert loaders == set(data.names()) - {"imdb"}
    assert set(catalog._LOADERS.values()) == {"imdb"}


def test_models_have_sizes_and_a_description_of_their_fields(sources):
    found = {entry.name: entry for entry in catalog.models.__wrapped__()}
    one = found["a/encoder"]
    assert (one.parameters, one.bytes, one.max_tokens) == (1_500_000, 6 * 2**20, None)
    assert one.license == "apache-2.0"
    assert "1.5 million parameters, English" in one.description
    assert "learned from msmarco, quora retrieval" in one.description
    assert (found["b/closed"].bytes, found["b/closed"].open_weights) == (None, False)
    assert "c/eyes" not in found
    assert found["HuggingFaceTB/SmolLM2-135M-Instruct"].trainable


def test_the_second_reading_comes_from_the_cache(sources, monkeypatch):
    first = read_data_sets()
    monkeypatch.setattr(catalog, "_read_data_sets", lambda folder: pytest.fail("read again"))
    assert read_data_sets() == first


@pytest.mark.parametrize("damage", ["", "[", "[1]", '[{"name": "x"}]', "null"])
def test_a_damaged_cache_is_made_anew(sources, damage):
    first = read_data_sets()
    (path,) = Path(assets.cache_dir()).glob("catalog/mteb-tasks-*.json")
    path.write_text(damage)
    assert read_data_sets() == first
    assert len(json.loads(path.read_text())) == len(first) - len(catalog._OWN_DATA_SETS)


def test_a_cache_that_cannot_be_written_does_no_harm(sources, monkeypatch, caplog):
    (sources / "cache").write_text("a file where the folder should be")
    assert "Reviews" in read_data_sets()
    assert "could not be written" in caplog.text


def test_a_kill_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "kept.json"
    catalog.write_whole(path, b"old")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        catalog.write_whole(path, b"new")
    assert [one.name for one in tmp_path.iterdir()] == ["kept.json"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("AskUbuntuDupQuestions", ["ask", "ubuntu", "dup", "questions"]),
        ("mteb/sts-b", ["mteb", "sts", "b"]),
        ("", []),
    ],
)
def test_words_of_a_name(name, words):
    assert words_of(name) == words


def test_entries_are_values():
    assert DataSetEntry("a") == DataSetEntry("a")
    assert not ModelEntry("a").trainable
