import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from reptune import metrics, tags
from reptune.tags import Span

cheap = settings(max_examples=100, deadline=None, database=None)

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


@st.composite
def tagged_pairs(draw):
    """True and predicted tags of some sentences, now and then invalid ones."""
    lengths = draw(st.lists(st.integers(0, 8), min_size=1, max_size=4))
    assume(len(lengths) == 1 or any(length != 1 for length in lengths))
    gold = [draw(st.lists(st.sampled_from(LABELS), min_size=n, max_size=n)) for n in lengths]
    predicted = [
        row if draw(st.booleans()) else [draw(st.sampled_from([tag, *LABELS])) for tag in row]
        for row in gold
    ]
    return gold, predicted


# Right: PER 0-2. Wrong end: PER 3-4 for 3-5. Wrong type: ORG for LOC. Invented: ORG 2-3.
GOLD = [["B-PER", "I-PER", "O", "B-PER", "I-PER"], ["B-LOC", "O", "O"], ["O", "B-LOC"]]
PREDICTED = [["B-PER", "I-PER", "O", "B-PER", "O"], ["B-ORG", "O", "B-ORG"], ["O", "B-LOC"]]


def test_entity_scores_by_hand():
    scores = metrics.entity_scores(GOLD, PREDICTED)
    assert scores["precision"] == pytest.approx(2 / 5)
    assert scores["recall"] == pytest.approx(2 / 4)
    assert scores["f1"] == pytest.approx(4 / 9)
    assert scores["by_type"] == {
        "LOC": {"precision": 1, "recall": 1 / 2, "f1": pytest.approx(2 / 3), "support": 2},
        "ORG": {"precision": 0, "recall": 0, "f1": 0, "support": 0},
        "PER": {"precision": 1 / 2, "recall": 1 / 2, "f1": 1 / 2, "support": 2},
    }
    assert list(scores["by_type"]) == ["LOC", "ORG", "PER"]


def test_perfect_scores_and_scores_of_nothing():
    perfect = metrics.entity_scores(GOLD, GOLD)
    assert perfect["precision"] == perfect["recall"] == perfect["f1"] == 1
    nothing = {"precision": 0, "recall": 0, "f1": 0, "by_type": {}}
    assert metrics.entity_scores([["O", "O"]], [["O", "O"]]) == nothing
    silent = metrics.entity_scores([["B-PER", "O"]], [["O", "O"]])
    assert (silent["precision"], silent["recall"], silent["f1"]) == (0, 0, 0)


def test_an_invalid_inside_tag_begins_an_entity():
    assert metrics.entity_scores([["O", "B-PER", "I-PER"]], [["O", "I-PER", "I-PER"]])["f1"] == 1


def test_arrays_and_tuples_serve_as_well_as_lists():
    gold, predicted = [np.array(row) for row in GOLD], tuple(map(tuple, PREDICTED))
    assert metrics.entity_scores(gold, predicted) == metrics.entity_scores(GOLD, PREDICTED)


@cheap
@given(tagged_pairs())
def test_entity_scores_are_those_of_seqeval(pair):
    seqeval = pytest.importorskip("seqeval.metrics")
    gold, predicted = pair
    scores = metrics.entity_scores(gold, predicted)
    for ours, theirs in [
        ("precision", seqeval.precision_score),
        ("recall", seqeval.recall_score),
        ("f1", seqeval.f1_score),
    ]:
        assert scores[ours] == pytest.approx(theirs(gold, predicted, zero_division=0))
    assert bool(scores["by_type"]) == any(tag != "O" for row in gold + predicted for tag in row)
    if scores["by_type"]:
        report = seqeval.classification_report(gold, predicted, output_dict=True, zero_division=0)
        by_type = {kind: row for kind, row in report.items() if not kind.endswith(" avg")}
        assert set(by_type) == set(scores["by_type"])
        for kind, row in by_type.items():
            ours = scores["by_type"][kind]
            assert ours["support"] == row["support"]
            for theirs, name in [("precision",) * 2, ("recall",) * 2, ("f1-score", "f1")]:
                assert ours[name] == pytest.approx(row[theirs])


# --- sentences, not words ------------------------------------------------------------------------

SCORERS = [metrics.entity_scores, metrics.entity_counts, metrics.entity_errors]


def test_words_taken_for_sentences_would_score_swapped_tags_as_right():
    seqeval = pytest.importorskip("seqeval.metrics")
    gold, swapped = ["B-PER", "I-PER", "O"], ["I-PER", "B-PER", "O"]
    words, guesses = [[tag] for tag in gold], [[tag] for tag in swapped]
    assert seqeval.f1_score(words, guesses) == 1.0
    assert seqeval.f1_score([gold], [swapped]) == 0.0
    assert metrics.entity_scores([gold], [swapped])["f1"] == 0.0
    with pytest.raises(ValueError, match=r"all 3 sentences have one word.*swapped B-"):
        metrics.entity_scores(words, guesses)


@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize(
    ("gold", "predicted", "message"),
    [
        (["B-PER", "O"], ["B-PER", "O"], "gold holds the tag 'B-PER' where a sentence should be"),
        ([["B-PER", "O"]], ["B-PER", "O"], "predicted holds the tag 'B-PER'"),
        ("O", "O", "gold holds the tag 'O'"),
        (np.array(["O", "O"]), np.array(["O", "O"]), "gold holds the tag"),
        ([["O"], ["B-PER"]], [["O"], ["B-PER"]], "all 2 sentences have one word"),
        ([["O", "O"]], [["O", "O"], ["O"]], "1 gold and 2 predicted sentences"),
        ([], [], "0 gold and 0 predicted sentences; pass as many of both, at least 1"),
        ([["O"], ["O", "O"]], [["O"], ["O"]], "sentence 1 has 2 gold and 1 predicted tags"),
        ([["O", "X"]], [["O", "O"]], "'X', which is no BIO2 tag"),
        ([["O", "O"]], [["O", "S-PER"]], "'S-PER', which is no BIO2 tag"),
    ],
)
def test_what_is_no_list_of_sentences_is_refused(scorer, gold, predicted, message):
    with pytest.raises(ValueError, match=message):
        scorer(gold, predicted)


def test_one_sentence_of_one_word_is_fine_and_so_is_one_among_longer_ones():
    assert metrics.entity_scores([["B-PER"]], [["B-PER"]])["f1"] == 1
    assert metrics.entity_counts([["B-PER"], ["O", "O"]], [["O"], ["O", "B-X"]]).tolist() == [
        [0, 0, 1],
        [0, 1, 0],
    ]


# --- counts and their intervals ------------------------------------------------------------------


def test_entity_counts_by_hand():
    assert metrics.entity_counts(GOLD, PREDICTED).tolist() == [[1, 2, 2], [0, 2, 1], [1, 1, 1]]


@cheap
@given(tagged_pairs())
def test_entity_counts_add_up_to_the_scores(pair):
    counts = metrics.entity_counts(*pair)
    scores = metrics.entity_scores(*pair)
    assert counts.shape == (len(pair[0]), 3) and counts.dtype.kind == "i"
    right, predicted, true = counts.sum(axis=0)
    assert scores["precision"] * predicted == pytest.approx(right)
    assert scores["recall"] * true == pytest.approx(right)
    assert scores["f1"] * (predicted + true) == pytest.approx(2 * right)
    assert sum(row["support"] for row in scores["by_type"].values()) == true


def made_up_counts(num_seeds, num_sentences=80, quality=0.8, seed=0):
    generator = np.random.default_rng(seed)
    true = np.random.default_rng(99).integers(0, 4, num_sentences)  # the same for every method
    right = generator.binomial(true, quality, (num_seeds, num_sentences))
    predicted = right + generator.binomial(2, 0.15, right.shape)
    return np.stack([right, predicted, np.broadcast_to(true, right.shape)], axis=-1)


def f1_of(counts):
    right, predicted, true = counts.sum(axis=0)
    return 2 * right / (predicted + true)


def test_the_interval_of_one_seed_surrounds_its_f1():
    counts = made_up_counts(1)
    interval = metrics.f1_interval(counts[0])
    assert interval.estimate == pytest.approx(f1_of(counts[0]))
    assert 0 < interval.low < interval.estimate < interval.high < 1
    assert interval == metrics.f1_interval(counts), "one seed may have an axis of its own"
    assert interval == metrics.f1_interval(counts[0].tolist())
    assert interval.level == 0.95


def test_the_interval_of_several_seeds_surrounds_the_mean_of_their_f1s():
    counts = made_up_counts(3)
    interval = metrics.f1_interval(counts)
    assert interval.estimate == pytest.approx(np.mean([f1_of(one) for one in counts]))
    assert interval.low < interval.estimate < interval.high


def test_the_interval_is_repeatable_and_follows_its_seed_and_level():
    counts = made_up_counts(2)
    interval = metrics.f1_interval(counts, random_state=3)
    assert interval == metrics.f1_interval(counts, random_state=3)
    assert interval != metrics.f1_interval(counts, random_state=4)
    narrow = metrics.f1_interval(counts, level=0.5, random_state=3)
    assert narrow.level == 0.5 and interval.low < narrow.low < narrow.high < interval.high


def test_the_interval_agrees_with_resampling_one_sentence_at_a_time():
    counts = made_up_counts(1)[0]
    generator = np.random.default_rng(5)
    drawn = [f1_of(counts[generator.integers(0, len(counts), len(counts))]) for _ in range(4000)]
    interval = metrics.f1_interval(counts)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert interval.low == pytest.approx(low, abs=0.006)
    assert interval.high == pytest.approx(high, abs=0.006)


def test_seeds_that_differ_widen_the_interval():
    steady = np.repeat(made_up_counts(1), 4, axis=0)
    unsteady = np.concatenate([made_up_counts(1, quality=q) for q in (0.4, 0.6, 0.8, 1.0)])
    one, other = metrics.f1_interval(steady), metrics.f1_interval(unsteady)
    assert one.high - one.low == pytest.approx(
        metrics.f1_interval(steady[0]).high - metrics.f1_interval(steady[0]).low
    )
    assert other.high - other.low > 1.3 * (one.high - one.low)


def test_counts_without_entities_have_an_f1_of_zero():
    interval = metrics.f1_interval(np.zeros((5, 3), int))
    assert (interval.estimate, interval.low, interval.high) == (0, 0, 0)
    perfect = metrics.f1_interval(np.ones((5, 3), int))
    assert (perfect.estimate, perfect.low, perfect.high) == (1, 1, 1)


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_the_paired_interval_of_a_method_with_itself_is_zero(num_seeds):
    counts = made_up_counts(num_seeds)
    interval = metrics.paired_f1_interval(counts, counts)
    if num_seeds == 1:
        assert (interval.estimate, interval.low, interval.high) == (0, 0, 0)
        assert metrics.paired_f1_interval(counts[0], counts) == interval
    else:
        assert interval.estimate == 0
    assert not interval.excludes(0)


def test_the_paired_interval_is_of_the_difference_and_narrower():
    a, b = made_up_counts(1, quality=0.9)[0], made_up_counts(1, quality=0.9)[0]
    b[:20, 0] = np.maximum(b[:20, 0] - 1, 0)  # B misses some of what A finds
    paired = metrics.paired_f1_interval(a, b)
    assert paired.estimate == pytest.approx(f1_of(a) - f1_of(b))
    assert 0 < paired.low < paired.estimate < paired.high
    assert paired.high - paired.low < metrics.f1_interval(a).high - metrics.f1_interval(b).low
    turned = metrics.paired_f1_interval(b, a)
    assert turned.estimate == -paired.estimate
    assert (turned.low, turned.high) == pytest.approx((-paired.high, -paired.low))
    assert paired == metrics.paired_f1_interval(a, b)


def test_the_numbers_of_seeds_may_differ():
    a, b = made_up_counts(3), made_up_counts(2, quality=0.5, seed=1)
    paired = metrics.paired_f1_interval(a, b)
    means = [np.mean([f1_of(one) for one in counts]) for counts in (a, b)]
    assert paired.estimate == pytest.approx(means[0] - means[1])
    assert paired.excludes(0)
    assert metrics.paired_f1_interval(a, b[0]).excludes(0)


def test_the_paired_interval_needs_the_same_sentences():
    counts = made_up_counts(2)
    with pytest.raises(ValueError, match=r"\(2, 80, 3\) and B \(2, 79, 3\).*same sentences"):
        metrics.paired_f1_interval(counts, counts[:, 1:])
    other = counts.copy()
    other[:, 7, 2] += 1
    with pytest.raises(ValueError, match="with the same true entities"):
        metrics.paired_f1_interval(counts, other)
    with pytest.raises(ValueError, match="same true entities"):
        metrics.paired_f1_interval(counts[0], other[0])


@pytest.mark.parametrize("shape", [(3,), (0, 3), (4, 2), (2, 4, 2), (0, 4, 3), (1, 2, 4, 3)])
def test_counts_of_another_shape_are_refused(shape):
    counts = np.zeros(shape, int)
    with pytest.raises(ValueError, match=r"pass \(sentences, 3\) or \(seeds, sentences, 3\)"):
        metrics.f1_interval(counts)
    with pytest.raises(ValueError, match="as entity_counts returns them"):
        metrics.paired_f1_interval(np.zeros((4, 3), int), counts)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "predicted", "expected"),
    [
        ("B-PER I-PER O", "B-PER I-PER O", []),
        ("B-PER I-PER O", "B-PER O O", [("boundary", ("PER", 0, 2), ("PER", 0, 1))]),
        ("B-PER I-PER O", "O I-PER I-PER", [("boundary", ("PER", 0, 2), ("PER", 1, 3))]),
        ("B-PER I-PER O", "B-LOC I-LOC O", [("type", ("PER", 0, 2), ("LOC", 0, 2))]),
        ("B-PER I-PER O", "O B-LOC I-LOC", [("boundary and type", ("PER", 0, 2), ("LOC", 1, 3))]),
        ("B-PER I-PER O", "O O O", [("missed", ("PER", 0, 2), None)]),
        ("O O O", "O B-LOC O", [("invented", None, ("LOC", 1, 2))]),
        # They share no word, so neither explains the other.
        (
            "B-PER O O",
            "O B-PER O",
            [("missed", ("PER", 0, 1), None), ("invented", None, ("PER", 1, 2))],
        ),
        # One entity cut in two: the longer piece is the boundary error, the other invented.
        (
            "B-PER I-PER I-PER",
            "B-PER B-PER I-PER",
            [("boundary", ("PER", 0, 3), ("PER", 1, 3)), ("invented", None, ("PER", 0, 1))],
        ),
        # Two joined in one: the first of equals, and the other is missed.
        (
            "B-PER B-PER O",
            "B-PER I-PER O",
            [("boundary", ("PER", 0, 1), ("PER", 0, 2)), ("missed", ("PER", 1, 2), None)],
        ),
        # Among equals the same type comes first, though it stands further right.
        (
            "B-PER I-PER O",
            "B-LOC B-PER O",
            [("boundary", ("PER", 0, 2), ("PER", 1, 2)), ("invented", None, ("LOC", 0, 1))],
        ),
        # More shared words count before the type.
        (
            "B-PER I-PER I-PER",
            "B-LOC I-LOC B-PER",
            [
                ("boundary and type", ("PER", 0, 3), ("LOC", 0, 2)),
                ("invented", None, ("PER", 2, 3)),
            ],
        ),
    ],
)
def test_kinds_of_errors_by_hand(gold, predicted, expected):
    found = metrics.entity_errors([["O", "O"], gold.split()], [["O", "O"], predicted.split()])
    assert found == [(kind, 1, true, guess) for kind, true, guess in expected]


def test_errors_name_their_sentence():
    assert metrics.entity_errors(GOLD, PREDICTED) == [
        ("boundary", 0, Span("PER", 3, 5), Span("PER", 3, 4)),
        ("type", 1, Span("LOC", 0, 1), Span("ORG", 0, 1)),
        ("invented", 1, None, Span("ORG", 2, 3)),
    ]


@cheap
@given(tagged_pairs())
def test_every_wrong_entity_is_in_just_one_error(pair):
    errors = metrics.entity_errors(*pair)
    right, predicted, true = metrics.entity_counts(*pair).sum(axis=0)
    assert sum(error.gold is not None for error in errors) == true - right
    assert sum(error.predicted is not None for error in errors) == predicted - right
    for name, rows in [("gold", pair[0]), ("predicted", pair[1])]:
        named = [(error.sentence, getattr(error, name)) for error in errors]
        named = [place for place in named if place[1] is not None]
        assert len(set(named)) == len(named)
        assert all(span in tags.spans(rows[sentence]) for sentence, span in named)


@cheap
@given(tagged_pairs())
def test_kinds_of_errors_say_what_they_mean(pair):
    for kind, sentence, gold, predicted in metrics.entity_errors(*pair):
        if gold is None or predicted is None:
            assert kind == ("invented" if gold is None else "missed")
            rows = pair[1] if gold is None else pair[0]
            assert (gold or predicted) in tags.spans(rows[sentence])
            continue
        assert max(gold.start, predicted.start) < min(gold.end, predicted.end)
        same_type, same_ends = gold.type == predicted.type, gold[1:] == predicted[1:]
        assert (
            kind
            == {
                (True, False): "boundary",
                (False, True): "type",
                (False, False): "boundary and type",
            }[same_type, same_ends]
        )


def test_seeds_are_resampled_apart_whatever_their_order():
    counts = np.tile(np.arange(5, 10)[:, None, None] * [1, 0, 0] + [0, 10, 10], (1, 40, 1))
    same = metrics.paired_f1_interval(counts, counts)
    turned = metrics.paired_f1_interval(counts, counts[::-1])
    assert (same.estimate, turned.estimate) == pytest.approx((0, 0))
    assert same.low < 0 < same.high
    assert (same.low, same.high) == pytest.approx((turned.low, turned.high), abs=0.03)


def test_every_seed_is_compared_with_the_same_true_entities():
    counts = np.tile([1, 2, 2], (2, 3, 1))
    other = counts.copy()
    other[1, 0, 2] = 1
    with pytest.raises(ValueError, match="same true entities"):
        metrics.paired_f1_interval(counts, other)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "is None; pass a list"),
        ("O", "holds the tag 'O'"),
        ({("O",): 1}, "is a dict"),
        ({"O": 1}, "is a dict"),
        ([None], r"\[0\] is None; pass a list of tags"),
        ([{"B-PER": 1}], "pass a list of tags"),
        ([{"B-PER"}], "pass a list of tags"),
        ([b"O"], "pass a list of tags"),
        (np.array("O"), "pass one dimension"),
        (np.array(["O"]), "holds the tag 'O'"),
        ([3], "pass a list of tags"),
        ([[3]], "no BIO2 tag"),
        ([[None]], "no BIO2 tag"),
    ],
)
def test_what_is_no_list_of_tags_is_refused(rows, message):
    for call in (metrics.entity_scores, metrics.entity_counts, metrics.entity_errors):
        with pytest.raises(ValueError, match=message):
            call(rows, [["B-PER"]])
        with pytest.raises(ValueError, match=message):
            call([["B-PER"]], rows)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([[1, 1, -1]], "whole numbers from 0 on"),
        ([[0.5, 1, 1]], "whole numbers from 0 on"),
        ([[2, 1, 3]], "right is the smallest"),
        ([[1, 2, float("nan")]], "must be finite"),
        ([["1", "1", "1"]], "pass numbers"),
        (None, "is a NoneType"),
        ([1, 1, 1], r"have shape \(3,\)"),
        ({}, "is a dict"),
    ],
)
def test_counts_that_no_sentence_has(counts, message):
    for call in (
        metrics.f1_interval,
        lambda counts: metrics.paired_f1_interval(counts, [[1, 1, 1]]),
        lambda counts: metrics.paired_f1_interval([[1, 1, 1]], counts),
    ):
        with pytest.raises(ValueError, match=message):
            call(counts)


def test_f1_intervals_are_those_that_the_records_hold():
    """The draws may never change: stored outputs and tables rest on them."""
    counts = np.sort(np.random.default_rng(7).integers(0, 4, (2, 200, 3)), axis=-1)
    counts[1, :, 2] = counts[0, :, 2] = 4
    one = metrics.f1_interval(counts)
    two = metrics.paired_f1_interval(counts[:1], counts[1:])
    assert (one.estimate, one.low, one.high) == pytest.approx(
        (0.216560593244697, 0.17620227971336314, 0.25829726449518076), rel=1e-12
    )
    assert (two.estimate, two.low, two.high) == pytest.approx(
        (0.03384713930246119, -0.01804163277019388, 0.08532105537719624), rel=1e-12
    )


def test_many_sentences_keep_their_pairs():
    """Both methods are scored on the same drawn sentences, also where these are many."""
    counts = np.array([[0, 1, 1], [1, 1, 1]] * 5_001)
    worse = counts.copy()
    worse[:200, 0] = 0
    interval = metrics.paired_f1_interval(counts, worse)
    assert interval.estimate == pytest.approx(100 / 10_002)
    assert 0.007 < interval.low < interval.estimate < interval.high < 0.013


# --- whole documents -----------------------------------------------------------------------------


def test_counts_are_added_up_within_documents_seed_by_seed():
    counts = np.array([[[1, 2, 1], [0, 0, 1], [3, 3, 3]], [[0, 2, 1], [1, 1, 1], [2, 2, 3]]])
    added = metrics.counts_by_document(counts, ["b", "a", "b"])
    assert added.tolist() == [[[0, 0, 1], [4, 5, 4]], [[1, 1, 1], [2, 4, 4]]]
    assert metrics.counts_by_document(counts[0], ["b", "a", "b"]).tolist() == added[0].tolist()
    ours = metrics.f1_interval(added)
    assert ours.estimate == metrics.f1_interval(counts).estimate


def test_an_interval_over_documents_is_wider_where_their_sentences_agree():
    documents = np.repeat(np.arange(30), 10)
    right = np.random.default_rng(0).integers(0, 2, 30)[documents]  # all of a document or none
    counts = np.stack([right, np.ones_like(right), np.ones_like(right)], axis=1)
    alone = metrics.f1_interval(counts)
    whole = metrics.f1_interval(metrics.counts_by_document(counts, documents))
    assert whole.high - whole.low > 2.5 * (alone.high - alone.low)


@pytest.mark.parametrize("documents", [[0, 1], [[0, 1, 2]], 3])
def test_there_is_one_document_per_sentence(documents):
    with pytest.raises(ValueError, match="one document per sentence"):
        metrics.counts_by_document([[1, 1, 1]] * 3, documents)
