import itertools
import time
import tracemalloc
from collections import Counter

import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss

from reptune.fewshot import contrastive
from reptune.fewshot.contrastive import (
    PairBudget,
    PairSampler,
    SentenceBatches,
    all_pairs_cosine_loss,
    cosine_pair_loss,
    existing_pairs,
    pair_budget,
    supervised_contrastive_loss,
)


def _labels(*counts):
    return [name for name, count in zip("abcdefgh", counts, strict=False) for _ in range(count)]


def _all_pairs(labels, same):
    return {
        frozenset(pair)
        for pair in itertools.combinations(range(len(labels)), 2)
        if (labels[pair[0]] == labels[pair[1]]) == same
    }


# --- counting ------------------------------------------------------------------------------------


def test_sixteen_texts_make_120_positive_pairs():
    assert existing_pairs(["a"] * 16) == PairBudget(120, 0)


def test_no_identity_pairs_are_counted():
    # setfit issue 620: 8, 4 and 8 examples gave 82 positive pairs, 20 of them identities.
    assert existing_pairs(_labels(8, 4, 8)) == PairBudget(28 + 6 + 28, 32 + 64 + 32)


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        ("unique", (4, 6)),
        ("oversampling", (6, 6)),
        ("undersampling", (4, 4)),
        (2, (10, 10)),
    ],
)
def test_budgets_by_hand(sampling, expected):
    assert pair_budget(_labels(3, 2), sampling) == PairBudget(*expected)


def test_a_single_example_has_no_positive_partner():
    assert pair_budget(_labels(2, 1), 3) == PairBudget(6, 9)
    assert pair_budget(_labels(1, 1, 1), "oversampling") == PairBudget(0, 3)
    assert pair_budget(_labels(1, 1), 5) == PairBudget(0, 10)


# --- drawing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [(1, 1), (2, 1), (3, 2), (5, 1, 4), (2, 2, 2, 2), (7,)])
def test_unique_draws_every_pair_once(counts):
    labels = np.random.default_rng(0).permutation(_labels(*counts)).tolist()
    drawn = list(PairSampler(labels, "unique"))
    for same in (True, False):
        pairs = [frozenset(pair[:2]) for pair in drawn if pair[2] == same]
        assert len(pairs) == len(set(pairs)), "none twice"
        assert set(pairs) == _all_pairs(labels, same), "and none of a text with itself"


@pytest.mark.parametrize("sampling", ["oversampling", "undersampling", 3])
def test_targets_are_right_and_no_text_meets_itself(sampling):
    labels = _labels(5, 1, 3)
    sampler = PairSampler(labels, sampling)
    drawn = list(sampler)
    assert len(drawn) == len(sampler)
    assert all(i != j and (labels[i] == labels[j]) == bool(same) for i, j, same in drawn)
    kinds = Counter(same for *_, same in drawn)
    assert (kinds[1], kinds[0]) == (sampler.budget.positive, sampler.budget.negative)


def test_oversampling_repeats_a_pair_only_when_all_have_occurred():
    labels = _labels(4, 3)  # 9 positive pairs, 12 negative ones
    drawn = Counter(frozenset(pair[:2]) for pair in PairSampler(labels) if pair[2])
    assert sorted(drawn.values()) == [1] * 6 + [2] * 3


def test_undersampling_draws_different_pairs():
    drawn = [frozenset(pair[:2]) for pair in PairSampler(_labels(6, 2, 5), "undersampling")]
    assert len(drawn) == len(set(drawn))


def test_a_number_gives_each_text_as_many_partners_of_both_kinds():
    labels = _labels(4, 2, 3)
    firsts = Counter((i, same) for i, _, same in PairSampler(labels, 5))
    assert set(firsts.values()) == {5} and len(firsts) == 2 * len(labels)


def test_partners_are_spread_evenly():
    labels = _labels(5, 4)
    partners = Counter(j for i, j, same in PairSampler(labels, 4000) if i == 1 and same)
    assert set(partners) == {0, 2, 3, 4}
    assert max(partners.values()) < 1.15 * min(partners.values())


def test_both_kinds_are_mixed_in_proportion():
    sampler = PairSampler(_labels(20, 3), "unique")
    share = sampler.budget.positive / len(sampler)
    positives = np.cumsum([same for *_, same in sampler])
    expected = share * np.arange(1, len(sampler) + 1)
    assert np.abs(positives - expected).max() <= 1


def test_the_seed_decides_and_each_pass_is_new():
    labels = _labels(6, 6)
    sampler = PairSampler(labels, random_state=1)
    first, second = list(sampler), list(sampler)
    assert first == list(PairSampler(labels, random_state=1)) != second
    assert first != list(PairSampler(labels, random_state=2))


def test_ten_thousand_labels_start_at_once_and_need_little_memory():
    labels = np.random.default_rng(0).integers(0, 10, 10_000)
    tracemalloc.start()
    start = time.perf_counter()
    batch = next(PairSampler(labels).batches(16))
    seconds = time.perf_counter() - start
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert batch.shape == (16, 3)
    assert peak < 10e6, "the 50 million pairs would be gigabytes"
    assert seconds < 5, "0.01 s on a quiet machine"


def test_batches_hold_every_pair():
    sampler = PairSampler(_labels(4, 3), "unique")
    batches = list(sampler.batches(4))
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 1]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000])
def test_the_permutation_is_one(count):
    generator = np.random.default_rng(count)
    order = list(contrastive._permutation(count, generator))
    assert sorted(order) == list(range(count))
    if count == 1000:
        assert abs(np.corrcoef(order, np.arange(count))[0, 1]) < 0.15
        steps = Counter(np.diff(order).tolist())
        assert max(steps.values()) < 10, "no arithmetic pattern"


@pytest.mark.parametrize(
    ("labels", "sampling", "num_pairs", "message"),
    [
        (["a"], "unique", None, "1 text has no pair"),
        (_labels(3, 2), "uniqe", None, "did you mean 'unique'"),
        (_labels(3, 2), 0, None, "sampling=0; use a whole number from 1 on"),
        (_labels(3, 2), True, None, "sampling=True"),
        (_labels(3, 2), "unique", 11, r"num_pairs=11, but sampling='unique' draws 10 pairs"),
        (_labels(3, 2), "unique", 0, "num_pairs=0"),
    ],
)
def test_bad_budgets(labels, sampling, num_pairs, message):
    with pytest.raises(ValueError, match=message):
        PairSampler(labels, sampling, num_pairs)


def test_a_smaller_budget_keeps_the_proportion():
    sampler = PairSampler(_labels(3, 2), "unique", num_pairs=5)
    assert sampler.budget == PairBudget(2, 3) and len(list(sampler)) == 5


# --- batches of texts ----------------------------------------------------------------------------


def _take(batches, count):
    return list(itertools.islice(batches, count))


def test_texts_that_fit_are_all_in_every_batch():
    for batch in _take(SentenceBatches(_labels(5, 3), 8), 3):
        assert sorted(batch) == list(range(8))


@pytest.mark.parametrize(
    ("counts", "size"),
    [((30, 30), 16), ((100, 4), 16), ((3,) * 8, 6), ((9, 2, 5), 5), ((2, 9), 4), ((2,) * 7, 5)],
)
def test_batches_hold_two_of_each_label_and_no_text_twice(counts, size):
    labels = np.array(_labels(*counts))
    for batch in _take(SentenceBatches(labels, size), 200):
        assert len(set(batch)) == len(batch) <= size
        assert min(Counter(labels[batch]).values()) >= 2


def test_batches_are_full_and_hold_a_positive_pair_among_many_single_texts():
    labels = np.array([*range(40), 40, 40])
    for batch in _take(SentenceBatches(labels, 32), 50):
        assert len(batch) == len(set(batch)) == 32
        assert max(Counter(labels[batch]).values()) == 2


def test_batches_too_small_for_both_kinds_of_pair_are_refused():
    with pytest.raises(ValueError, match="batch_size=3; use a whole number from 4 on"):
        next(iter(SentenceBatches(_labels(9, 9), 3)))


def test_every_text_comes_up_equally_often_within_its_label():
    labels = np.array(_labels(30, 7))
    seen = Counter(itertools.chain(*_take(SentenceBatches(labels, 8), 300)))
    for label in "ab":
        counts = [seen[row] for row in np.flatnonzero(labels == label)]
        assert max(counts) - min(counts) <= 1


def test_labels_take_turns_where_they_are_many():
    labels = np.array(_labels(*[4] * 8))
    seen = Counter(
        itertools.chain(*(set(labels[b]) for b in _take(SentenceBatches(labels, 6), 80)))
    )
    assert max(seen.values()) - min(seen.values()) <= 2


def test_the_seed_decides_the_batches():
    labels = _labels(9, 9)
    one, same = (_take(SentenceBatches(labels, 4, 1), 5) for _ in range(2))
    np.testing.assert_array_equal(one, same)


# --- losses --------------------------------------------------------------------------------------


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(7, 5, requires_grad=True), torch.tensor([0, 1, 0, 2, 1, 0, 0])


def _listed(embeddings, labels):
    first, second = torch.triu_indices(len(labels), len(labels), offset=1)
    cosines = torch.cosine_similarity(embeddings[first], embeddings[second])
    return cosines, (labels[first] == labels[second]).float()


def test_all_pairs_at_once_is_the_loss_over_the_listed_pairs(batch):
    embeddings, labels = batch
    cosines, same = _listed(embeddings, labels)
    expected = cosine_pair_loss(cosines, same)
    torch.testing.assert_close(all_pairs_cosine_loss(embeddings, labels, balanced=False), expected)
    parts = [cosine_pair_loss(cosines[same == kind], same[same == kind]) for kind in (1, 0)]
    balanced = all_pairs_cosine_loss(embeddings, labels)
    torch.testing.assert_close(balanced, sum(parts) / 2)


def test_its_gradient_is_that_of_the_library(batch):
    embeddings, labels = batch
    all_pairs_cosine_loss(embeddings, labels, balanced=False).backward()
    ours, embeddings.grad = embeddings.grad, None
    first, second = torch.triu_indices(len(labels), len(labels), offset=1)
    library = CosineSimilarityLoss(model=None)
    same = (labels[first] == labels[second]).float()
    library.loss_fct(
        torch.cosine_similarity(embeddings[first], embeddings[second]), same
    ).backward()
    torch.testing.assert_close(ours, embeddings.grad)


def test_one_kind_of_pair_is_enough(batch):
    embeddings, _ = batch
    alone = all_pairs_cosine_loss(embeddings, torch.arange(7))
    cosines, same = _listed(embeddings, torch.arange(7))
    torch.testing.assert_close(alone, cosine_pair_loss(cosines, same))


def test_supervised_contrastive_loss_by_its_equation(batch):
    embeddings, labels = batch
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    losses = []
    for i in range(7):
        others = [a for a in range(7) if a != i]
        fellows = [p for p in others if labels[p] == labels[i]]
        below = sum(torch.exp(unit[i] @ unit[a] / 0.1) for a in others)
        if fellows:
            shares = [torch.log(torch.exp(unit[i] @ unit[p] / 0.1) / below) for p in fellows]
            losses.append(-sum(shares) / len(fellows))
    assert len(losses) == 6, "label 2 occurs once"
    found = supervised_contrastive_loss(embeddings, labels, temperature=0.1)
    torch.testing.assert_close(found, sum(losses) / 6)
    found.backward()
    assert torch.isfinite(embeddings.grad).all()


def test_losses_say_what_they_lack(batch):
    embeddings, _ = batch
    with pytest.raises(ValueError, match="no label occurs twice"):
        supervised_contrastive_loss(embeddings, torch.arange(7))
    with pytest.raises(ValueError, match="a batch of 1 text has no pair"):
        all_pairs_cosine_loss(embeddings[:1], torch.tensor([0]))
