"""What the studies of ranking, cost and Japanese compute beside their models' scores."""

import sys

import ch07_cost as cost
import ch07_japanese as japanese
import ch07_ranking as ranking
import numpy as np
import pytest

from reptune.prompt2model.task import Sample

RNG = np.random.default_rng(0)


# --- ranking -------------------------------------------------------------------------------------


def drawn(shares, items, seeds=5):
    return RNG.random((seeds, len(shares), items)) < np.array(shares)[None, :, None]


def judged(generated, retrieved, real):
    return {
        ranking.BY_TEACHER: drawn(generated, 900),
        ranking.BY_RETRIEVAL: drawn(retrieved, 1000),
        # The real test has the same items for all seeds, whose students are nearly the same.
        ranking.REAL: drawn(real, 1066),
    }


def test_a_judge_that_scores_as_the_real_test_does_is_as_good_as_half_of_it(monkeypatch):
    monkeypatch.setattr(ranking, "RESAMPLES", 100)
    order = np.linspace(0.5, 0.8, 12)
    scores = judged(order, order[::-1], order)
    found = {name: values.mean() for name, values in ranking.taus(scores, splits=20).items()}
    assert found["generated"] > 0.8 and found["retrieved"] < -0.8 and found["half"] > 0.8
    assert abs(found["generated minus half"]) < 0.05
    ends = ranking.resampled(scores, students_too=False)
    assert ends["generated minus half"][0] < 0 < ends["generated minus half"][1]
    assert ends["retrieved minus half"][1] < -1


def test_drawing_students_too_widens_the_interval(monkeypatch):
    monkeypatch.setattr(ranking, "RESAMPLES", 200)
    scores = judged(RNG.uniform(0.5, 0.8, 10), np.full(10, 0.6), np.linspace(0.5, 0.8, 10))
    narrow, wide = (ranking.resampled(scores, students_too=flag) for flag in (False, True))
    assert np.ptp(wide["generated"]) > np.ptp(narrow["generated"])


def test_halves_share_no_item():
    # Each item is solved by one student alone, so a half that shared items would agree with itself.
    real = np.zeros((1, 4, 8), dtype=bool)
    real[0, np.arange(8) % 4, np.arange(8)] = True
    scores = dict.fromkeys((ranking.BY_TEACHER, ranking.BY_RETRIEVAL, ranking.REAL), real)
    found = [
        ranking._by_halves(scores, np.random.default_rng(seed), resample=False)["half"][0]
        for seed in range(50)
    ]
    # Sums over both halves are equal, so what is high in one is low in the other.
    assert max(found) <= 0 and min(found) == pytest.approx(-1)


def test_a_judge_without_an_order_has_no_tau():
    assert ranking.tau(np.ones(3), np.arange(3)) == 0


def test_rows_of_another_seed_that_were_learned_from_do_not_judge():
    known = [Sample("A fine film.", "positive")]
    rows = [Sample("a  Fine film.", "positive"), Sample("Dull.", "negative")]
    rows += [Sample("dull.", "negative"), Sample("Great.", "positive")]
    found = ranking.fresh(rows, known, 2)
    assert [sample.input for sample in found] == ["Dull.", "Great."]
    with pytest.raises(ValueError, match="2 of 4 rows are new; 3 are needed"):
        ranking.fresh(rows, known, 3)


# --- cost ----------------------------------------------------------------------------------------


def test_the_break_even_count_is_the_first_at_which_the_student_costs_no_more():
    count = cost.break_even(before=600, student=0.001, teacher=0.1)
    assert 600 + count * 0.001 <= count * 0.1
    assert 600 + (count - 1) * 0.001 > (count - 1) * 0.1
    assert cost.break_even(600, student=0.1, teacher=0.1) is None


def test_dollars_count_every_core(monkeypatch):
    monkeypatch.setattr(cost.torch, "get_num_threads", lambda: 2)
    assert cost.dollars(3600) == pytest.approx(2 * cost.PRICE)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_is_weighed_without_what_this_one_holds(monkeypatch, tmp_path):
    held = np.ones(100_000_000)  # 800 MB
    monkeypatch.setitem(cost.LOADED, cost.EXPORT, "label = lambda texts: b'x' * 50_000_000\n")
    peak, resident = cost.weighed(cost.EXPORT, tmp_path, ["a text"])
    assert 50 < peak < 200 and resident < peak + 1
    assert held.sum() == 100_000_000


# --- Japanese ------------------------------------------------------------------------------------


def test_the_examples_may_be_learned_from_and_the_test_may_not():
    items = japanese.test_items()
    reason = japanese.checker(items)
    for instruction, arguments, body in japanese.EXAMPLES:
        assert reason(instruction, arguments, f"    {body}") == ""
    for item in items:
        arguments = ", ".join(item["arguments"])
        assert reason(item["instruction"], arguments, "    return None").startswith("near")
        other = "天気予報から明日の気温を取り出す関数を書いてください。"
        assert reason(other, arguments, japanese.reference(item)) == "a test's solution"


def test_a_solution_is_the_same_whatever_its_arguments_are_called():
    assert japanese.solution("xs", "    return sum(xs)") == japanese.solution(
        "numbers", "  return sum( numbers )"
    )
    assert japanese.solution("a, b", "    return a - b") != japanese.solution(
        "a, b", "    return b - a"
    )
    assert japanese.solution("x", "    return (") is None
    assert japanese.solution("x", "    return x\nimport os") is None


def test_rows_are_read_from_a_reply_and_a_last_one_that_was_cut_is_not():
    first = " 二乗を返す。\ndef solve(n):\n    return n * n\n\n"
    second = "# 指示: 和を返す。\ndef solve(a, b):\n    c = a + b\n\n    return c\n\n"
    assert list(japanese.parts(first + second + "# 指示: 途中の\ndef solve(")) == [
        ("二乗を返す。", "n", "    return n * n"),
        ("和を返す。", "a, b", "    c = a + b\n\n    return c"),
    ]
    assert list(japanese.parts("そうですね。")) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("    return sum(xs)", ""),
        ("    total = sum(xs)", "returns nothing, or reads no argument"),
        ("    return sum([1, 2])", "returns nothing, or reads no argument"),
        ("    xs = [1]\n    return 2", "returns nothing, or reads no argument"),
    ],
)
def test_a_row_returns_something_that_depends_on_an_argument(body, reason):
    instruction = "天気の記録 xs から雨の量の合計を求める関数を書いてください。"
    assert japanese.checker([])(instruction, "xs", body) == reason


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        ("    return 1\n", "    return 1"),
        ("    return 1\n```\nそれから", "    return 1"),
        ("    if n:\n\n        return 1\n\n\nsolve(3)", "    if n:\n\n        return 1"),
        ("return 1\n    x", "return 1\n    x"),
    ],
)
def test_a_body_ends_at_the_first_line_without_a_space(reply, body):
    assert japanese.body_of(reply) == body


class Pupil:
    """Writes one row a page, another each time, and breaks off after so many calls."""

    name, key, lm = "pupil", {"name": "pupil"}, None

    def __init__(self, calls):
        self.calls = calls

    def generate(self, prompts, *, random_state, **_):
        if not self.calls:
            raise KeyboardInterrupt
        self.calls -= 1
        row = "{}を{}で割る{}。\ndef solve(n):\n    return n // {}\n\n# 指示: "
        letters = "花鳥風月山川空海雲雨雪星"
        return [
            row.format(letters[index] * 4, letters[random_state % 12] * 4, letters[index] * 4, 2)
            for index in range(len(prompts))
        ]


def test_a_killed_job_goes_on_with_the_rows_that_were_written(monkeypatch, tmp_path):
    monkeypatch.setattr("shared.replies.cache_dir", lambda: tmp_path)
    monkeypatch.setattr(japanese, "PROMPTS", 3)
    monkeypatch.setattr(japanese, "ROWS", 8)
    with pytest.raises(KeyboardInterrupt):
        japanese.written(Pupil(2), [], 42)
    pupil = Pupil(1)
    samples, counts, _ = japanese.written(pupil, [], 42)
    assert pupil.calls == 0 and len(samples) == 8
    assert counts == {"pages": 9, "kept": 9}
    assert samples == japanese.written(Pupil(3), [], 42)[0] == japanese.written(Pupil(0), [], 42)[0]
    assert {samples[0].origin["seed"], samples[0].output} == {42, "    return n // 2"}


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
def test_references_are_right_and_the_floor_is_not():
    items = japanese.test_items()[::8]
    found = japanese.judged(items, [japanese.reference(item) for item in items])
    assert found["metrics"] == {"solved": 1.0, "chrf": pytest.approx(100)}
    assert found["interval"][1] == 1.0
    floor = japanese.judged(items, [f"    return {item['arguments'][0]}" for item in items])
    assert floor["metrics"]["solved"] == 0 and 0 < floor["metrics"]["chrf"] < 100
