import copy
import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

from reptune.models import sentence
from reptune.models.neighbors import Neighbors
from tests import tiny
from tests.tiny import TEXTS


@pytest.fixture(scope="module")
def neighbors(tiny_encoder):
    return Neighbors(TEXTS, model=tiny_encoder)


def _given(vectors):
    """Neighbors whose vectors are known, in the place of a model's."""
    made = Neighbors.__new__(Neighbors)
    made._texts = list(vectors)
    unit = {name: np.array(v, dtype=float) / np.linalg.norm(v) for name, v in vectors.items()}
    made._vectors = unit
    return made


def test_a_case_by_hand():
    made = _given({"east": [2, 0], "north": [0, 3], "northeast": [1, 1], "west": [-1, 0]})
    half = np.sqrt(0.5)
    np.testing.assert_allclose(
        made.similarity(["east", "northeast"]), [[1, 0, half, -1], [half, half, 1, -half]]
    )
    assert made.order(["west"]).tolist() == [[3, 1, 2, 0]]
    assert made.order(["northeast"]).tolist() == [[2, 0, 1, 3]], "a tie goes by index"
    assert made.order_of_fitted().tolist() == [
        [2, 1, 3, 0], [2, 0, 3, 1], [0, 1, 3, 2], [1, 2, 0, 3],
    ]  # fmt: skip


def test_similarity_is_the_cosine_of_the_library_vectors(neighbors, tiny_encoder):
    queries = ["good film", "dull dull plot"]
    body = SentenceTransformer(str(tiny_encoder), device="cpu")
    one, other = body.encode(queries), body.encode(TEXTS)
    cosine = one @ other.T / np.outer(np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1))
    found = neighbors.similarity(queries)
    assert found.shape == (2, len(TEXTS)) and found.dtype.kind == "f"
    np.testing.assert_allclose(found, cosine, atol=1e-6)


def test_a_text_is_nearest_to_itself_but_last_among_its_own_neighbors(neighbors):
    indices = np.arange(len(TEXTS))
    assert (neighbors.order(TEXTS)[:, 0] == indices).all()
    assert (neighbors.order_of_fitted()[:, -1] == indices).all()


def test_only_its_own_index_is_last_and_copies_tie_by_index(tiny_encoder):
    texts = ["a good film", "dull plot", "a good film", "nice actor", "a good film"]
    found = Neighbors(texts, model=tiny_encoder)
    assert found.order(["a good film"])[0, :3].tolist() == [0, 2, 4]
    own = found.order_of_fitted()
    assert own[0, :2].tolist() == [2, 4] and own[0, -1] == 0
    assert own[2, :2].tolist() == [0, 4] and own[2, -1] == 2


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([*TEXTS, "film film", ""]), min_size=1, max_size=12))
def test_every_order_is_a_permutation_from_high_to_low(neighbors, queries):
    similarity, order = neighbors.similarity(queries), neighbors.order(queries)
    assert order.dtype.kind == "i" and order.shape == similarity.shape
    assert (np.sort(order, axis=1) == np.arange(len(TEXTS))).all()
    assert (np.diff(np.take_along_axis(similarity, order, axis=1), axis=1) <= 0).all()
    assert similarity.min() >= -1 and similarity.max() <= 1


def test_a_text_seen_before_is_not_embedded_again(tiny_encoder, monkeypatch):
    embedded = []
    encode = SentenceTransformer.encode

    def counted(self, texts, **knobs):
        embedded.extend(texts)
        return encode(self, texts, **knobs)

    monkeypatch.setattr(SentenceTransformer, "encode", counted)
    found = Neighbors(["good film", "bad film", "good film"], model=tiny_encoder)
    found.order_of_fitted()
    first = found.similarity(["bad film", "nice plot", "nice plot"])
    second = found.similarity(["nice plot", "bad film"])
    assert embedded == ["good film", "bad film", "nice plot"]
    np.testing.assert_array_equal(first[[1, 0]], second)


def test_the_same_texts_give_the_same_bits(tiny_encoder, neighbors):
    again = Neighbors(TEXTS, model=tiny_encoder)
    queries = ["good plot", "bad"]
    np.testing.assert_array_equal(again.similarity(queries), neighbors.similarity(queries))


def test_batches_change_nothing_but_rounding(tiny_encoder, neighbors):
    small = Neighbors(TEXTS, model=tiny_encoder, batch_size=3)
    np.testing.assert_allclose(small.similarity(TEXTS), neighbors.similarity(TEXTS), atol=1e-5)


def test_weights_that_are_drawn_matter_not_and_leave_the_generator_alone(tmp_path):
    folder = tiny.save_masked_lm(tmp_path / "masked")  # it holds no pooler: drawn, never read
    state = torch.get_rng_state()
    one, other = (Neighbors(TEXTS, model=folder).similarity(TEXTS) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "texts: there are none"),
        ("good film", "texts is a single string"),
        (["good", None], r"texts\[1\] is None"),
    ],
)
def test_bad_texts(tiny_encoder, neighbors, texts, message):
    with pytest.raises(ValueError, match=message):
        Neighbors(texts, model=tiny_encoder)
    for call in (neighbors.similarity, neighbors.order):
        with pytest.raises(ValueError, match=message.replace("texts", "queries")):
            call(texts)


def test_bad_batch_size_and_model(tiny_encoder):
    with pytest.raises(ValueError, match="batch_size=0"):
        Neighbors(TEXTS, model=tiny_encoder, batch_size=0)
    with pytest.raises(ValueError, match="Did you mean 'all-MiniLM-L6-v2'"):
        Neighbors(TEXTS, model="all-MiniLM-L6")


@pytest.mark.parametrize("again", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_keep_the_order(neighbors, again):
    np.testing.assert_array_equal(again(neighbors).order(["a good plot"]),
                                  neighbors.order(["a good plot"]))  # fmt: skip


def test_numbers_of_numpy(tiny_encoder):
    made = Neighbors(TEXTS, model=tiny_encoder, batch_size=np.int64(4))
    assert made.order(["dull"]).shape == (1, len(TEXTS))


def test_a_text_that_is_no_unicode(neighbors, tiny_encoder):
    with pytest.raises(ValueError, match=r"queries\[1\] is not valid Unicode"):
        neighbors.order(["a", "b\ud800"])
    with pytest.raises(ValueError, match=r"texts\[0\] is not valid Unicode"):
        Neighbors(["\udfff"], model=tiny_encoder)


def test_code_in_a_folder_is_not_run(tmp_path, tiny_encoder, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    SentenceTransformer(str(tiny_encoder)).save(str(tmp_path / "model"))
    (tmp_path / "model" / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    path = tmp_path / "model" / "modules.json"
    modules = json.loads(path.read_text())
    modules[0]["type"] = "evil.Module"
    path.write_text(json.dumps(modules))
    with pytest.raises(ValueError, match=r"names the class 'evil\.Module' to run"):
        Neighbors(TEXTS, model=tmp_path / "model")
    assert not (tmp_path / "ran").exists()


def test_the_loader_trusts_no_code(tiny_encoder, monkeypatch):
    said = []

    def spy(*args, **kwargs):
        said.append(kwargs.get("trust_remote_code"))
        return SentenceTransformer(*args, **kwargs)

    monkeypatch.setattr(sentence, "SentenceTransformer", spy)
    Neighbors(TEXTS, model=tiny_encoder)
    assert said == [False]
