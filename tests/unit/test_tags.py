import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reptune import tags
from reptune.tags import Span

cheap = settings(max_examples=100, deadline=None, database=None)

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
any_row = st.lists(st.sampled_from(LABELS), max_size=12)


@st.composite
def valid_rows(draw):
    row = []
    for _ in range(draw(st.integers(0, 12))):
        before = row[-1] if row else "O"
        row.append(draw(st.sampled_from([tag for tag in LABELS if tags.follows(before, tag)])))
    return row


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([], []),
        (["O", "O"], []),
        (["B-PER"], [("PER", 0, 1)]),
        (["O", "B-PER", "I-PER", "O", "B-LOC"], [("PER", 1, 3), ("LOC", 4, 5)]),
        (["B-PER", "B-PER", "I-PER"], [("PER", 0, 1), ("PER", 1, 3)]),
        (["B-PER", "B-LOC"], [("PER", 0, 1), ("LOC", 1, 2)]),
        # What BIO2 does not allow begins an entity.
        (["I-PER", "I-PER", "O", "I-LOC"], [("PER", 0, 2), ("LOC", 3, 4)]),
        (["B-PER", "I-LOC", "I-LOC"], [("PER", 0, 1), ("LOC", 1, 3)]),
        # A type may hold a hyphen.
        (["B-work-of-art", "I-work-of-art"], [("work-of-art", 0, 2)]),
    ],
)
def test_spans_by_hand(row, expected):
    assert tags.spans(row) == expected


@pytest.mark.parametrize("tag", ["B", "I-", "X-PER", "BI-PER", "-PER", "", "PER", "S-PER", None, 1])
def test_spans_refuse_what_is_no_bio_tag(tag):
    with pytest.raises(ValueError, match=r"tags\[1\] is .* no BIO2 tag; use 'O', 'B-TYPE'"):
        tags.spans(["O", tag])


def test_tags_from_spans_by_hand():
    entities = [Span("LOC", 4, 5), Span("PER", 0, 2), Span("PER", 2, 4)]
    expected = ["B-PER", "I-PER", "B-PER", "I-PER", "B-LOC", "O"]
    assert tags.from_spans(entities, 6) == expected
    assert tags.from_spans([], 2) == ["O", "O"]
    assert tags.from_spans([], 0) == []


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ([Span("PER", 1, 4)], "does not lie within the sentence's 3 words"),
        ([Span("PER", -1, 1)], "does not lie within"),
        ([Span("PER", 1, 1)], "does not lie within"),
        ([Span("PER", 2, 1)], "does not lie within"),
        ([Span("PER", 0, 2), Span("LOC", 1, 3)], r"start=1, end=3\) overlaps another"),
        ([Span("PER", 0, 1), Span("PER", 0, 1)], "overlaps another"),
    ],
)
def test_spans_that_bio2_cannot_hold_are_refused(entities, message):
    with pytest.raises(ValueError, match=message):
        tags.from_spans(entities, 3)


@cheap
@given(valid_rows())
def test_spans_and_tags_undo_each_other(row):
    assert tags.from_spans(tags.spans(row), len(row)) == row


@cheap
@given(st.data())
def test_tags_and_spans_undo_each_other(data):
    cuts = sorted(data.draw(st.sets(st.integers(0, 12), max_size=8)))
    entities = [
        Span(data.draw(st.sampled_from(["PER", "LOC", "a-b"])), start, end)
        for start, end in itertools.pairwise(cuts)
        if data.draw(st.booleans())
    ]
    assert tags.spans(tags.from_spans(entities, 12)) == entities


@cheap
@given(any_row)
def test_spans_agree_with_seqeval_on_any_tags(row):
    labeling = pytest.importorskip("seqeval.metrics.sequence_labeling")
    theirs = [(kind, start, end + 1) for kind, start, end in labeling.get_entities(list(row))]
    assert tags.spans(row) == theirs


# --- schemes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "scheme", "expected"),
    [
        (["O", "B-PER", "I-PER"], "BIO2", ["O", "B-PER", "I-PER"]),
        (["O", "I-PER", "I-PER", "O"], "IOB1", ["O", "B-PER", "I-PER", "O"]),
        # In IOB1 a B- parts an entity from a neighbor of its type.
        (
            ["I-PER", "I-PER", "B-PER", "I-PER", "B-PER"],
            "IOB1",
            ["B-PER", "I-PER", "B-PER", "I-PER", "B-PER"],
        ),
        (["I-PER", "I-LOC", "I-LOC"], "IOB1", ["B-PER", "B-LOC", "I-LOC"]),
        (
            ["B-PER", "E-PER", "S-LOC", "O", "B-ORG", "I-ORG", "E-ORG"],
            "BIOES",
            ["B-PER", "I-PER", "B-LOC", "O", "B-ORG", "I-ORG", "I-ORG"],
        ),
        (["S-S-1", "B-E-2", "E-E-2"], "BIOES", ["B-S-1", "B-E-2", "I-E-2"]),
        (["O", "O"], "BIO2", ["O", "O"]),
    ],
)
def test_schemes_are_found_and_turned_into_bio2(row, scheme, expected):
    assert tags.find_scheme([["O"], row]) == scheme
    assert tags.to_bio2([row]) == [expected]
    assert tags.to_bio2([row], scheme) == [expected]
    assert tags.to_bio2([expected]) == [expected]


def test_one_sentence_can_show_the_scheme_of_all():
    assert tags.to_bio2([["B-PER", "I-PER"], ["I-PER", "B-PER"]]) == [
        ["B-PER", "I-PER"],
        ["B-PER", "B-PER"],
    ]


@cheap
@given(valid_rows())
def test_every_scheme_comes_back_as_the_same_bio2(row):
    iob1, bioes = ["O"] * len(row), ["O"] * len(row)
    before = Span("", 0, 0)
    for kind, start, end in tags.spans(row):
        iob1[start:end] = [f"I-{kind}"] * (end - start)
        if before.end == start and before.type == kind:
            iob1[start] = f"B-{kind}"
        bioes[start:end] = [f"I-{kind}"] * (end - start)
        bioes[start], bioes[end - 1] = f"B-{kind}", f"E-{kind}"
        if end - start == 1:
            bioes[start] = f"S-{kind}"
        before = Span(kind, start, end)
    assert tags.to_bio2([iob1], "IOB1") == [row]
    assert tags.to_bio2([bioes], "BIOES") == [row]


@pytest.mark.parametrize(
    ("row", "scheme", "message"),
    [
        (["O"], "BIO", "scheme='BIO' is unknown; did you mean 'BIO"),
        (["O"], "xyz", "scheme='xyz' is unknown; use BIO2, IOB1, BIOES"),
        (["O", "S-PER"], "BIO2", r"tags\[0\]\[1\] is 'S-PER', which is no BIO2 tag"),
        (["E-PER"], "IOB1", r"tags\[0\]\[0\] is 'E-PER', which is no IOB1 tag"),
        (["O", "U-PER"], None, r"tags\[0\]\[1\] is 'U-PER', which is no BIO2 tag"),
        (
            ["S-PER", "L-PER"],
            None,
            r"no BIOES tag; use 'O', 'B-TYPE', 'I-TYPE', 'E-TYPE', 'S-TYPE'",
        ),
        (["O", "I-PER"], "BIO2", r"tags\[0\]\[1\] is 'I-PER' after 'O'"),
        (["B-PER", "O"], "BIOES", r"tags\[0\]: 'O' at 1 does not fit"),
        (["B-PER", "I-PER"], "BIOES", r"tags\[0\]: 'O' at 2 does not fit"),
        (["E-PER"], "BIOES", r"'E-PER' at 0 does not fit"),
        (["S-PER", "I-PER", "E-PER"], "BIOES", r"'I-PER' at 1 does not fit"),
        (["B-PER", "E-LOC"], "BIOES", r"'E-LOC' at 1 does not fit"),
        (["B-PER", "S-PER"], "BIOES", r"'S-PER' at 1 does not fit"),
        (["B-PER", "B-PER", "E-PER"], "BIOES", r"'B-PER' at 1 does not fit"),
    ],
)
def test_tags_that_do_not_fit_their_scheme_are_named(row, scheme, message):
    with pytest.raises(ValueError, match=message):
        tags.to_bio2([row], scheme)


# --- what may follow what ------------------------------------------------------------------------


def test_only_an_inside_tag_is_bound_to_what_comes_before():
    allowed = {("B-PER", "I-PER"), ("I-PER", "I-PER"), ("B-LOC", "I-LOC"), ("I-LOC", "I-LOC")}
    for before, tag in itertools.product(LABELS, LABELS):
        assert tags.follows(before, tag) == (tag[0] != "I" or (before, tag) in allowed)


def test_allowed_moves_by_hand():
    start, moves = tags.allowed_moves(["O", "B-PER", "I-PER", "I-LOC"])
    assert start.tolist() == [True, True, False, False]
    assert moves.tolist() == [
        [True, True, False, False],
        [True, True, True, False],
        [True, True, True, False],
        [True, True, False, True],
    ]


def test_invalid_tags_are_counted_by_hand():
    assert tags.count_invalid([]) == 0
    assert tags.count_invalid([["B-PER", "I-PER", "I-PER"], ["O"]]) == 0
    # I-PER begins a sentence; I-LOC follows PER, and the I-LOC behind it is fine; I- after O.
    assert tags.count_invalid([["I-PER", "I-LOC", "I-LOC"], ["O", "I-PER", "B-PER"]]) == 3


@cheap
@given(st.lists(any_row, min_size=1, max_size=3))
def test_check_tags_refuses_just_the_rows_that_have_invalid_tags(rows):
    words = [["w"] * len(row) for row in rows]
    if tags.count_invalid(rows):
        with pytest.raises(ValueError, match="to_bio2"):
            tags.check_tags(words, rows)
        assert tags.find_scheme(rows) == "IOB1"
    else:
        assert tags.check_tags(words, rows) == rows
        assert tags.find_scheme(rows) == "BIO2"
    assert tags.count_invalid(tags.to_bio2(rows)) == 0
    assert [tags.spans(row) for row in tags.to_bio2(rows)] == [tags.spans(row) for row in rows]


# --- checks --------------------------------------------------------------------------------------


def test_sentences_come_back_as_lists_of_plain_strings():
    found = tags.check_sentences(row for row in [("Ada", "wrote"), np.array(["Hi"])])
    assert found == [["Ada", "wrote"], ["Hi"]]
    assert all(type(row) is list and type(word) is str for row in found for word in row)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ("Ada wrote", "texts is a single string; pass a list of sentences"),
        ([], "texts: there are no sentences"),
        (["Ada", "wrote"], r"texts\[0\] is 'Ada', not a list of words"),
        ([["Ada"], 3], r"texts\[1\] is 3, not a list of words"),
        ([["Ada"], []], r"texts\[1\] is an empty sentence; drop it"),
        ([["Ada"], ["wrote", 7]], r"texts\[1\]\[1\] is 7, a int; every word must be a string"),
        ([["Ada", None]], r"texts\[0\]\[1\] is None, a NoneType"),
    ],
)
def test_bad_sentences_are_named(tokens, message):
    with pytest.raises(ValueError, match=message):
        tags.check_sentences(tokens, "texts")


def test_good_tags_come_back_as_lists():
    found = tags.check_tags([["Ada", "L."], ["hi"]], (("B-PER", "I-PER"), np.array(["O"])))
    assert found == [["B-PER", "I-PER"], ["O"]]
    assert all(type(tag) is str for row in found for tag in row)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("O", "marks is a single string"),
        ([["O", "O"]], "2 sentences but 1 lists of marks"),
        ([["O", "O"], ["O"], ["O"]], "2 sentences but 3 lists of marks"),
        ([["O", "O"], ["O", "O"]], "sentence 1 has 1 words but 2 marks; pass one tag per word"),
        ([["O"], ["O"]], "sentence 0 has 2 words but 1 marks"),
        ([["O", "O"], "O"], r"marks\[1\] is 'O'; pass a list of tags"),
        ([["O", "PER"], ["O"]], r"marks\[0\]\[1\] is 'PER', which is no BIO2 tag"),
        ([["O", "O"], [2]], r"marks\[1\]\[0\] is 2, which is no BIO2 tag"),
        ([["O", "I-PER"], ["O"]], r"marks\[0\]\[1\] is 'I-PER' after 'O'.*to_bio2"),
        ([["B-LOC", "I-PER"], ["O"]], r"marks\[0\]\[1\] is 'I-PER' after 'B-LOC'"),
        ([["O", "O"], ["I-PER"]], r"marks\[1\]\[0\] is 'I-PER' after 'O'"),
    ],
)
def test_bad_tags_are_named(rows, message):
    with pytest.raises(ValueError, match=message):
        tags.check_tags([["Ada", "wrote"], ["Hi"]], rows, "marks")


# --- Viterbi -------------------------------------------------------------------------------------


def _score(scores, labels, path):
    return sum(scores[word, labels.index(tag)] for word, tag in enumerate(path))


def _valid_sequences(labels, length):
    return [s for s in itertools.product(labels, repeat=length) if not tags.count_invalid([s])]


@st.composite
def score_matrices(draw):
    labels = draw(st.permutations(draw(st.sampled_from([LABELS[:3], LABELS[:4], LABELS]))))
    length = draw(st.integers(1, 4))
    # A coarse grid makes ties; a fine one makes every sequence's score its own.
    grid = draw(st.sampled_from([3, 10**6]))
    seed = draw(st.integers(0, 10**6))
    scores = np.random.default_rng(seed).integers(0, grid, (length, len(labels))) / grid
    return scores - 1, list(labels)


@cheap
@given(score_matrices())
def test_viterbi_finds_what_brute_force_finds(case):
    scores, labels = case
    found = tags.viterbi(scores, labels)
    every = _valid_sequences(labels, len(scores))
    best = max(_score(scores, labels, path) for path in every)
    assert _score(scores, labels, found) == pytest.approx(best, abs=1e-12)
    near = [path for path in every if _score(scores, labels, path) > best - 1e-9]
    assert tuple(found) in near


@cheap
@given(st.integers(0, 40), st.integers(0, 10**6))
def test_viterbi_is_always_valid(length, seed):
    scores = np.random.default_rng(seed).normal(size=(length, len(LABELS)))
    found = tags.viterbi(scores, LABELS)
    assert len(found) == length and tags.count_invalid([found]) == 0


def test_viterbi_repairs_what_the_best_tags_spell_wrong():
    labels = ["O", "B-PER", "I-PER"]
    # One by one: O, I-PER. Together: O O 0.7 * 0.1, O B 0.7 * 0.3, B I 0.25 * 0.6.
    scores = np.log([[0.7, 0.25, 0.05], [0.1, 0.3, 0.6]])
    assert tags.viterbi(scores, labels) == ["O", "B-PER"]
    # Now B I is 0.45 * 0.6 and beats O B, 0.5 * 0.3.
    scores = np.log([[0.5, 0.45, 0.05], [0.1, 0.3, 0.6]])
    assert tags.viterbi(scores, labels) == ["B-PER", "I-PER"]


def test_viterbi_takes_the_shortcut_only_where_the_best_tags_are_valid(monkeypatch):
    labels = ["O", "B-PER", "I-PER"]
    valid = np.log([[0.1, 0.8, 0.1], [0.2, 0.1, 0.7], [0.6, 0.2, 0.2]])
    begins_wrong = valid[1:]
    assert tags.viterbi(begins_wrong, labels) == ["O", "O"]

    def refuse(*args, **kwargs):
        raise AssertionError("the long way")

    monkeypatch.setattr(tags.np, "zeros", refuse)
    assert tags.viterbi(valid, labels) == ["B-PER", "I-PER", "O"]
    assert tags.viterbi(np.empty((0, 3)), labels) == []
    with pytest.raises(AssertionError, match="the long way"):
        tags.viterbi(begins_wrong, labels)


def test_viterbi_prefers_the_earlier_label_among_equals():
    flat = np.zeros((2, 3))
    assert tags.viterbi(flat, ["B-PER", "O", "I-PER"]) == ["B-PER", "B-PER"]
    assert tags.viterbi(flat, ["O", "B-PER", "I-PER"]) == ["O", "O"]


@pytest.mark.parametrize("shape", [(2, 4), (2, 2), (3,), (1, 2, 3)])
def test_viterbi_names_the_shape_it_needs(shape):
    with pytest.raises(ValueError, match=r"pass \(words, 3\)"):
        tags.viterbi(np.zeros(shape), ["O", "B-PER", "I-PER"])


def test_viterbi_finds_a_valid_path_where_the_scores_allow_none():
    impossible = np.array([[0.0, -np.inf, -np.inf]])
    assert tags.viterbi(impossible, ["I-X", "B-X", "O"]) == ["B-X"]


def test_viterbi_refuses_nan():
    with pytest.raises(ValueError, match="NaN"):
        tags.viterbi(np.array([[0.0, np.nan]]), ["O", "B-X"])


# --- what is no list of tags -----------------------------------------------------------------

ROWS = [["B-PER", "O"]]


@pytest.mark.parametrize(
    "call",
    [
        tags.check_sentences,
        lambda rows: tags.check_tags(rows, ROWS),
        lambda rows: tags.check_tags(ROWS, rows),
        tags.count_invalid,
        tags.find_scheme,
        tags.to_bio2,
    ],
)
@pytest.mark.parametrize(
    "rows",
    [
        None,
        3,
        b"BO",
        "O",
        ["B-PER", "O"],  # flat: each tag would be read as a sentence of letters
        ["O", "O"],
        [None],
        [b"O"],
        [{"B-PER": 1, "O": 2}],
        {("B-PER", "O"): 1},
        {("B-PER", "O")},
        [{"O"}],
        pd.DataFrame({"a": ["O"]}),
        [np.array("O")],
        [np.array([["O"]])],
    ],
)
def test_what_is_no_list_of_lists_is_refused(call, rows):
    with pytest.raises(ValueError, match=r"pass|every"):
        call(rows)


@pytest.mark.parametrize("row", [None, 3, "O", "OO", b"O", {"O": 1}, {"O"}, [["O"]], [b"O"]])
def test_spans_of_what_is_no_list_of_tags(row):
    with pytest.raises(ValueError, match=r"pass a list|use 'O'"):
        tags.spans(row)


@pytest.mark.parametrize("tag", ["B", "X-PER", None, 3, b"O"])
def test_what_is_no_tag_is_not_counted_as_valid(tag):
    with pytest.raises(ValueError, match="no BIO2 tag"):
        tags.count_invalid([["O", tag]])
    for pair in ((tag, "O"), ("O", tag)):
        with pytest.raises(ValueError, match="no BIO2 tag"):
            tags.follows(*pair)


@pytest.mark.parametrize(
    ("entities", "num_words", "message"),
    [
        (None, 2, "entities is None"),
        ({("PER", 0, 1): 1}, 2, "entities is a dict"),
        ([("PER", 0)], 2, "pass a type, a start and an end"),
        ([{"type": "PER", "start": 0, "end": 1}], 2, "pass a type"),
        ([(None, 0, 1)], 2, "pass a type"),
        ([("", 0, 1)], 2, "pass a type"),
        ([("PER", 0.0, 1)], 2, "whole numbers"),
        ([("PER", False, True)], 2, "whole numbers"),
        ([("PER", "0", "1")], 2, "whole numbers"),
        ([], -1, "num_words=-1"),
        ([], "2", "num_words='2'"),
        ([], 2.0, "num_words=2.0"),
    ],
)
def test_entities_of_the_wrong_kind(entities, num_words, message):
    with pytest.raises(ValueError, match=message):
        tags.from_spans(entities, num_words)


def test_numpys_whole_numbers_serve():
    entity = ("PER", np.int64(0), np.int32(1))
    assert tags.from_spans([entity], np.int64(2)) == ["B-PER", "O"]


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([[0.0]], "O", "labels is 'O'; pass a list"),
        ([[0.0]], None, "labels is None"),
        ([[0.0]], ["X"], "no BIO2 tag"),
        ([[0.0, 0.0]], ["O", "O"], "pass each tag once"),
        (np.zeros((1, 0)), [], "pass each tag once"),
        # Every beginning would be barred, and the first label would come out all the same.
        ([[0.0]], ["I-PER"], "'O' or a 'B-' must be among them"),
        (None, ["O"], "must be numbers"),
        ([["0"]], ["O"], "must be numbers"),
        ([[0.0], [0.0, 1.0]], ["O"], "must be numbers"),
        ({"O": 0.0}, ["O"], "must be numbers"),
        ([[np.inf, 0.0]], ["O", "B-PER"], "hold inf"),
        ([[1e300, 0.0]], ["O", "B-PER"], r"hold 1e\+300"),
        ([0.0], ["O"], r"have shape \(1,\); pass \(words, 1\)"),
    ],
)
def test_what_viterbi_cannot_decode(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        tags.viterbi(scores, labels)


def test_a_lone_surrogate_in_a_word():
    with pytest.raises(ValueError, match=r"tokens\[0\]\[1\] is not valid Unicode"):
        tags.check_sentences([["a", "b\ud800"]])


def test_arrays_of_two_dimensions_are_lists_of_lists():
    rows = np.array([["B-PER", "O"], ["O", "O"]])
    assert tags.check_tags(rows, rows) == tags.to_bio2(rows) == rows.tolist()
    assert tags.check_sentences(rows) == rows.tolist()


@pytest.mark.parametrize("scheme", [["BIO2"], 3, {"BIO2"}, b"BIO2"])
def test_a_scheme_of_the_wrong_kind(scheme):
    with pytest.raises(ValueError, match="is unknown"):
        tags.to_bio2(ROWS, scheme)
