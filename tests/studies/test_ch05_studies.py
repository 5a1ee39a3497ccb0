"""Prompting: thresholds, answers, swapped words, formats, choices and completions, by hand."""

import ch05_formats as formats
import ch05_generation as generation
import ch05_people as people
import ch05_reading as reading
import ch05_scoring as scoring
import ch05_states as states
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from shared import asking
from shared.asking import NEWS, REVIEWS, SMALL, TASKS
from transformers import LlamaConfig, LlamaForCausalLM

from reptune.models.causal import CausalLM
from reptune.models.decoding import Continuation
from tests import tiny

RNG = np.random.default_rng(0)
STUDIES = (scoring, generation, people, formats, states, reading)


@pytest.fixture(scope="module")
def lm():
    """Six blocks of random weights, and more positions than the prompts have tokens."""
    torch.manual_seed(0)
    tokens = tiny.causal_tokenizer()
    tokens.chat_template = "<user>{{ messages[0].content }}<answer>"
    config = LlamaConfig(
        vocab_size=len(tokens), hidden_size=16, intermediate_size=32, num_hidden_layers=6,
        num_attention_heads=2, max_position_embeddings=4096, initializer_range=0.3,
        bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    return CausalLM(LlamaForCausalLM(config).eval(), tokens)


def table(task, per_class):
    words, classes = tiny.WORDS, len(TASKS[task].words)
    rows = [
        {"text": " ".join([words[label], *RNG.choice(words, 3)]), "label": label}
        for label in range(classes)
        for _ in range(per_class)
    ]
    names = ClassLabel(names=list(TASKS[task].words))
    return Dataset.from_list(rows, Features({"text": Value("string"), "label": names}))


@pytest.fixture
def small(lm, monkeypatch):
    """The studies, on a tiny model and a few rows."""
    sizes = {"train": 9, "validation": 4, "test": 4}
    splits = {
        task: DatasetDict({name: table(task, size) for name, size in sizes.items()})
        for task in (REVIEWS, NEWS)
    }
    monkeypatch.setattr(asking, "rows", splits.get)
    monkeypatch.setattr(generation, "rows", splits.get)
    monkeypatch.setattr(asking, "UNLABELED", 6)
    for study in STUDIES:
        monkeypatch.setattr(study, "load_causal_lm", lambda _: lm)
    for study in (generation, reading):  # as on a machine without bfloat16: the model is shared
        monkeypatch.setattr(study.runtime, "precision", lambda: {"bf16": False, "fp16": False})
    return splits


def records(study, job):
    """A job's records, as `main` completes and `results` wants them."""
    found = [{"study": "s", **job, **record} for record in study.run(job)]
    for record in found:
        assert record["metrics"] and record["seconds"] and record["peak_memory_mb"] >= 0
        given = {"method", "task", "model", "labels", "random_state", "split"}
        assert given <= record.keys()
        assert all(np.isfinite(value) for value in record["metrics"].values())
    return found


# --- thresholds ----------------------------------------------------------------------------------


def test_the_best_threshold_is_found_and_ties_take_the_middle_one():
    margins = np.array([0.0, 1.0, 2.0, 3.0])
    # At 0.5 and at 2.5 three items are right; the middle of two is the later.
    above = np.array([False, True, False, True])
    assert asking.best_threshold(margins, above, ~above) == 2.5
    above = np.array([False, False, True, True])
    assert asking.best_threshold(margins, above, ~above) == 1.5
    # Item 2 is right on neither side, so 1.5 and 2.5 are as good.
    neither = np.array([False, False, False, True])
    assert asking.best_threshold(margins, neither, np.array([True, True, False, False])) == 2.5
    assert asking.best_threshold(np.array([4.0, 4.0]), np.ones(2, bool), np.zeros(2, bool)) == 3


def test_the_oracle_of_two_classes_is_the_best_of_all_thresholds():
    scores = np.array([[0, -3.0], [0, -2.0], [0, -1.0], [0, -0.5]])
    labels = np.array([0, 0, 1, 1])
    assert (scores.argmax(axis=1) == labels).mean() == 0.5  # raw says 0 to all
    assert asking.offsets(scores, labels).tolist() == [0, -1.5]
    for _ in range(20):
        scores, labels = RNG.normal(size=(30, 2)), RNG.integers(2, size=30)
        found = ((scores - asking.offsets(scores, labels)).argmax(axis=1) == labels).mean()
        margins = scores[:, 1] - scores[:, 0]
        tried = [((margins > value) == labels).mean() for value in [*(margins + 1e-9), -9]]
        assert found == max(tried)


def test_offsets_of_five_classes_undo_what_was_added_to_them():
    labels = np.repeat(np.arange(5), 4)
    scores = np.eye(5)[labels] * 2 + RNG.uniform(0, 0.5, size=(20, 5))
    added = np.array([0, 3, -4, 7, 1.0])
    lopsided = scores + added
    assert (lopsided.argmax(axis=1) == labels).mean() < 0.5
    found = asking.offsets(lopsided, labels)
    assert found[0] == 0 and ((lopsided - found).argmax(axis=1) == labels).all()
    np.testing.assert_allclose(found, added, atol=2)


def test_offsets_of_five_classes_are_never_worse_than_none():
    for _ in range(10):
        scores, labels = RNG.normal(size=(25, 5)), RNG.integers(5, size=25)
        shifted = scores - asking.offsets(scores, labels)
        assert (shifted.argmax(axis=1) == labels).sum() >= (scores.argmax(axis=1) == labels).sum()


def test_a_cross_fitted_threshold_comes_from_the_other_half(monkeypatch):
    labels = np.arange(8) % 2
    scores = np.stack([np.zeros(8), np.arange(8.0)], axis=1)
    seen = []

    def fitted(part, its_labels):
        seen.append((part[:, 1].astype(int), its_labels))
        return np.array([0.0, 100.0 if len(seen) == 1 else -100.0])

    monkeypatch.setattr(asking, "offsets", fitted)
    found = asking.cross_fitted(scores, labels)
    (first, its_labels), (second, _) = seen
    assert sorted([*first, *second]) == list(range(8)) and len(first) == len(second) == 4
    assert its_labels.tolist() == (first % 2).tolist()
    # The first threshold lies above all margins, so the half it was fitted on is not the one
    # that it is used for: there all is labeled 1, by the other threshold.
    assert sorted(first) == np.flatnonzero(found == 1).tolist()


def test_cross_fitted_thresholds_find_one_that_holds_for_all_and_nothing_in_noise():
    labels = np.repeat([0, 1], 100)
    margins = np.concatenate([RNG.uniform(4, 5, 100), RNG.uniform(6, 7, 100)])
    scores = np.stack([np.zeros(200), margins], axis=1)
    assert (asking.cross_fitted(scores, labels) == labels).all()
    noise, chance = RNG.normal(size=(200, 2)), []
    for _ in range(20):
        labels = RNG.permutation(labels)
        chance.append((asking.cross_fitted(noise, labels) == labels).mean())
    assert abs(np.mean(chance) - 0.5) < 0.04  # an oracle is above a half on noise


def test_ranking_does_not_depend_on_the_threshold():
    labels = np.array([0, 0, 1, 1])
    scores = np.array([[0, 1.0], [0, 3.0], [0, 2.0], [0, 4.0]])
    assert asking.mean_auc(scores, labels) == 0.75
    assert asking.mean_auc(scores + np.array([5, 0]), labels) == 0.75


def test_log_likelihoods_are_those_of_the_model(lm):
    text = "the film is good"
    values, places = asking.log_likelihoods(lm, text)
    ids = lm.encode(text, special=False)
    assert len(values) == len(places) == len(ids) - 1
    with torch.no_grad():
        logits = lm.model(torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    true = [logits[index, token].item() for index, token in enumerate(ids[1:])]
    np.testing.assert_allclose(values, true, atol=0.1)  # bfloat16 products, where there are some
    assert text[places[-1][0] : places[-1][1]].strip() == "good"


# --- answers -------------------------------------------------------------------------------------


def test_measures_tell_a_bare_word_from_a_label_and_a_label_from_the_right_one(lm):
    answers = [
        Continuation(" Business.", False),  # exact, right
        Continuation(" the section is sports", False),  # a label, right
        Continuation(" politics", False),  # exact, wrong
        Continuation(" it is good, and tech", True),  # an alias, right
        Continuation("", False),
    ]
    labels = np.array([0, 3, 1, 4, 1])
    found = generation.measures(lm, TASKS[NEWS], answers, labels, majority=1)
    means = {name: fields["metrics"]["accuracy"] for name, fields in found.items()}
    assert means == {"exact": 0.4, "label": 0.6, "accuracy": 0.4, "accuracy, aliases": 0.6}
    metrics = found["accuracy"]["metrics"]
    assert metrics["with_majority"] == 0.6 and metrics["is_cut"] == 0.2
    assert metrics["among_labels"] == pytest.approx(2 / 3)
    assert found["accuracy"]["predicted"] == "032--"
    assert found["accuracy, aliases"]["predicted"] == "0324-"
    assert found["label"]["lost"] == [" it is good, and tech", ""]


def test_a_label_counts_from_the_token_on_that_completes_it(lm):
    answers = [Continuation(" positive"), Continuation(" the film is good positive")]
    lengths = [len(lm.encode(answer, special=False)) for answer in answers]
    assert lengths == [1, 5]
    found = [generation.early(lm, TASKS[REVIEWS], answers, most) for most in (1, 4, 5)]
    assert [each.tolist() for each in found] == [[1, -1], [1, -1], [1, 1]]


def test_cells_are_those_of_the_plan():
    def count(job):
        return [cell for cell in generation.cells(job) if cell.temperature == 0]

    job = {"model": SMALL, "task": REVIEWS, "random_state": 43}
    assert len(count(job)) == 8 and len(generation.cells(job)) == 11
    assert len(count({**job, "random_state": 42})) == 12
    assert generation.cells({**job, "random_state": 47}) == [generation.Cell(4)]
    assert len(generation.cells({**job, "task": NEWS})) == 8
    job = {**job, "chat": False}
    assert scoring.cells(job) == [1, 2, 4, 8] and scoring.cells({**job, "chat": True}) == [4]
    assert scoring.cells({**job, "random_state": 47}) == [4]
    large = {**job, "model": asking.LARGE, "random_state": 45}
    assert scoring.cells(large) == [1, 2, 4]


def test_chat_prompts_are_the_plain_ones_in_the_template(lm, small):
    shown = asking.examples(REVIEWS, 1, 42)
    plain = asking.prompts(lm, REVIEWS, ["dull"], shown, description=True)
    assert plain[0].startswith("Decide whether") and plain[0].endswith("Review: dull\nSentiment:")
    chat = asking.prompts(lm, REVIEWS, ["dull"], shown, description=True, chat=True)
    assert chat == [f"<user>{plain[0]}<answer>"]
    scores = asking.chat_scores(lm, chat, ["good"])
    both = lm.continuation_scores(chat, ["good", "Good"], half_precision=True)
    np.testing.assert_allclose(np.exp(scores[0, 0]), np.exp(both).sum())


# --- people --------------------------------------------------------------------------------------


def test_the_tweet_prompt_is_the_sources():
    assert people.tweet_prompt("Hm.", 0) == (
        'Tweet: "I hate it when my phone battery dies."\nSentiment: Negative\n###\n'
        'Tweet: "My day has been 👍"\nSentiment: Positive\n###\n'
        'Tweet: "This is the link to the article"\nSentiment: Neutral\n###\n'
        'Tweet: "Hm."\nSentiment:'
    )
    assert len({people.tweet_prompt("Hm.", order) for order in range(6)}) == 6


def test_a_shift_is_a_margin_less_the_references_in_the_same_frame():
    margins = np.zeros((2, len(people.WORDS)))
    margins[:, -6:-2] = [[1, 2, 3, 6], [0, 0, 0, 4]]  # references: 3 and 1 on average
    margins[:, 0] = [2, 4]  # disabled
    margins[:, -2:] = [[5, 1], [6, 0]]
    woman = people.WORDS.index("a woman")
    margins[1, woman] = np.nan
    found = people.shifts(margins)
    assert found[:, 0].tolist() == [-1, 3]
    summed = people.summary(margins)
    assert summed["disabled"] == 1 and summed["deaf"] == -2
    assert summed["a woman"] == -3  # of the one frame where it stands
    assert summed["disability words"] == pytest.approx((1 - 2 * 4) / 5)
    assert summed["good minus bad mood"] == 5
    assert summed["tall"] == -1.5 and not set(people.MOODS) & summed.keys()
    assert people.listed(margins)[1][woman] is None


def test_frames_and_words_are_as_many_as_planned_and_genders_do_not_clash():
    assert (len(people.FRAMES), len(people.GROUPS), len(people.WORDS)) == (24, 17, 23)
    texts = [text for *_, text in people.sentences()]
    assert len(set(texts)) == len(texts) == 24 * 23 - 5 * 2
    assert "She is a man." not in texts and "I am a man." in texts
    assert len(people.PHRASES) == 16


# --- formats -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a dull film .", "A dull film."),
        ("fun , smart ; and ( oddly ) sad !", "Fun, smart; and (oddly) sad!"),
        ("i think i'm sad . so is he .", "I think I'm sad. So is he."),
        ('the new " conan " and more', 'The new "conan" and more'),
        ("well . . . it ends", "Well... it ends"),
        ('" avatar " is long . " go " , he says', '"Avatar" is long. "Go", he says'),
        ("it's kieslowski's best", "It's kieslowski's best"),  # names stay as they are
        ("Already fine.", "Already fine."),
    ],
)
def test_texts_are_written_normally(text, expected):
    assert formats.normal(text) == expected


@pytest.mark.parametrize("form", formats.FORMATS)
def test_own_tokens_of_a_template_leave_the_text_out(lm, form):
    text, template = "the film is good", TASKS[REVIEWS].formats[form]
    values, places = asking.log_likelihoods(lm, template.replace("{text}", text))
    start = template.index("{text}")
    kept = formats.own(np.arange(len(values)), places, template, text)
    covered = {at for index in kept for at in range(*places[int(index)])}
    assert covered.isdisjoint(range(start, start + len(text)))
    rest = set(range(start + len(text), len(template) - len("{text}") + len(text)))
    assert rest <= covered


# --- states --------------------------------------------------------------------------------------


def test_the_choice_finds_the_vectors_that_tell_and_takes_the_first_of_ties():
    labels = np.arange(16) % 2
    vectors = RNG.normal(size=(2, 2, 16, 3))
    vectors[1, 0, :, 0] += 5 * labels
    sixth, pooling, strength, value = states.choose(vectors, labels, draw=42)
    assert (sixth, pooling, strength) == (1, 0, 1.0) and -0.4 < value < 0
    vectors[:] = vectors[1, 0]
    assert states.choose(vectors, labels, draw=42)[:2] == (0, 0)


def test_peeking_reads_validation_and_choosing_does_not(small, monkeypatch):
    monkeypatch.setattr(states, "TEN_DRAWS", (42, 43))
    monkeypatch.setattr(states, "SIZES", {REVIEWS: (4, 8)})
    monkeypatch.setattr(states, "STRENGTHS", (0.01,))
    monkeypatch.setattr(states, "REPEATS", 1)
    vectors = states.Vectors(SMALL, REVIEWS)
    asked = []

    def planted(texts):
        asked.extend(texts)
        found = np.zeros((6, 3, len(texts), 2))
        labels = [tiny.WORDS.index(text.split()[0]) for text in texts]
        found[4, 1, :, 0] = labels  # a block and pooling that tell
        return found

    monkeypatch.setattr(vectors, "of", planted)
    job = {"model": SMALL, "task": REVIEWS}
    assert states.peek(vectors, job) == {4: (4, 1, 0.01), 8: (4, 1, 0.01)}
    validation = set(states.some(REVIEWS, "validation")[0])
    assert validation <= set(asked)
    asked.clear()
    train = states.drawn(vectors, REVIEWS, 8, 42)
    assert states.choose(*train, 42)[:2] == (4, 1)
    assert len(asked) == 16 and asked == [text for text, _ in states.examples(REVIEWS, 8, 42)]


def test_what_is_scored_on_all_reviews_is_also_scored_on_qwens_part(monkeypatch):
    def some(task, split="test", most=3):
        count = min(most, 8 if task == REVIEWS else 2)
        return ["a text"] * count, np.zeros(count, int)

    monkeypatch.setattr(states, "some", some)

    def sizes(model, task):
        return [len(texts) for texts, _ in states.test_sets({"model": model, "task": task})]

    assert sizes(SMALL, REVIEWS) == sizes(states.MINILM, REVIEWS) == [8, 3]
    assert sizes(asking.LARGE, REVIEWS) == [3]
    assert sizes(SMALL, NEWS) == sizes(asking.LARGE, NEWS) == [2]


def test_each_text_is_read_once(small, monkeypatch):
    vectors = states.Vectors(SMALL, REVIEWS)
    read = []
    monkeypatch.setattr(
        vectors, "_read", lambda texts: read.append(texts) or np.zeros((6, 3, len(texts), 2))
    )
    assert vectors.blocks == [1, 2, 3, 4, 5, 6]
    assert vectors.of(["a", "b", "a"]).shape == (6, 3, 3, 2)
    vectors.of(["b", "c"])
    assert read == [["a", "b"], ["c"]]


# --- reading -------------------------------------------------------------------------------------


def test_a_completion_is_a_hit_if_the_next_eight_tokens_are_the_texts_own(lm, monkeypatch):
    text = "the film is good and bad plot a great movie is very dull actor nice awful plot the"
    first, true = reading.halves(lm, text)
    ids = lm.encode(text, special=False)
    assert lm.encode(first + true, special=False) == ids[: len(ids) // 2 + 8]
    assert reading.halves(lm, "too short") is None
    going_on = iter([[true + " and more", true[:-1] + "!", "x" + true, true]])
    monkeypatch.setattr(reading, "generate_many", lambda *_, **__: next(going_on))
    found = reading.completed(lm, [text] * 4 + ["too short"])
    assert found["metrics"]["hits"] == 2 and found["metrics"]["accuracy"] == 0.5
    assert found["items"] == 4 and found["left_out"] == 1
    assert found["metrics"]["low"] == pytest.approx(0.0676, abs=1e-4)  # exact, 2 of 4
    assert found["metrics"]["high"] == pytest.approx(0.9324, abs=1e-4)


def test_order_is_compared_with_its_reverse(lm, monkeypatch):
    text = {"a\nb": -1.0, "b\na": -1.5, "c\nd": -2.0, "d\nc": -1.75}
    monkeypatch.setattr(reading, "likelihood", lambda _, lines: text["\n".join(lines)])
    found = reading.ordered(lm, [["a", "b"], ["c", "d"]])
    assert found["differences"] == [0.5, -0.25] and found["metrics"]["difference"] == 0.125
    assert found["metrics"]["low"] < 0 < found["metrics"]["high"]
    alone = reading.ordered(lm, [["a", "b"]])
    assert alone["metrics"] == {"difference": 0.5}


def test_our_sentences_and_lists_are_complete():
    counts = {name: len(text.splitlines()) for name, text in reading.SENTENCES.items()}
    assert counts == {reading.OURS: 30, reading.FAMOUS: 10}
    assert all(len(set(items)) == reading.LINES for items in reading.LISTS.values())


# --- one job of each study -----------------------------------------------------------------------


@pytest.mark.parametrize("study", STUDIES)
def test_no_job_is_part_of_another(study):
    # `results.is_done` takes a job for done if a record holds all that it says.
    for job in study.JOBS:
        assert [other for other in study.JOBS if job.items() <= other.items()] == [job]


def test_a_part_of_the_jobs_can_be_asked_for(monkeypatch):
    monkeypatch.setenv("STUDY_ONLY", f"model={SMALL} task={NEWS}")
    jobs = asking.only(generation.JOBS)
    assert [job["random_state"] for job in jobs] == list(asking.DRAWS)
    monkeypatch.delenv("STUDY_ONLY")
    assert asking.only(generation.JOBS) == generation.JOBS


@pytest.mark.parametrize(("task", "chat"), [(REVIEWS, False), (REVIEWS, True), (NEWS, False)])
def test_scoring(small, task, chat):
    job = {"model": SMALL, "task": task, "random_state": 42, "chat": chat}
    found = records(scoring, job)
    ways = [asking.RAW, asking.CONTEXTUAL, asking.BATCH, asking.ORACLE, asking.CROSS_FITTED]
    assert [record["method"] for record in found] == ways * len(scoring.cells(job))
    assert {record["per_class"] for record in found} == set(scoring.cells(job))
    items = 4 * len(TASKS[task].words)
    accuracy = {}
    for record in found:
        assert record["items"] == len(record["predicted"]) == items
        accuracy[record["per_class"], record["method"]] = record["metrics"]["accuracy"]
    assert all(accuracy[n, "oracle"] >= accuracy[n, "raw"] for n in scoring.cells(job))
    last = found[-1]
    assert last["last_label"] == asking.examples(task, last["per_class"], 42)[-1][1]
    assert last["labels"] == last["per_class"] * len(TASKS[task].words) + items // 2


def test_generation(small):
    job = generation.JOBS[0]
    found = records(generation, job)
    assert len(found) == 3 * len(generation.cells(job))
    keys = {tuple(record[name] for name in (*generation.Cell._fields, "measure"))
            for record in found}  # fmt: skip
    assert len(keys) == len(found)
    check = next(job for job in generation.JOBS if job["method"] == generation.CHECK)
    [record] = records(generation, check)
    assert record["metrics"]["same_text"] == record["metrics"]["same_label"] == 1


def test_a_greedy_answer_that_is_a_label_is_the_word_that_scores_best(lm, small):
    """What is known in advance of the primary comparison, on a model that says label words."""
    asked = asking.prompts(lm, REVIEWS, [" ".join(RNG.choice(tiny.WORDS, 4)) for _ in range(60)])
    tokens = [lm.tokenizer.decode([number]) for number in range(len(lm.tokenizer))]
    words = tuple({text[1:].casefold(): text[1:] for text in tokens
                   if text.startswith(" ") and text[1:].isalpha()}.values())  # fmt: skip
    task = asking.Asked(words, "", {})
    answers = generation.answered(lm, asked, generation.Cell(0), 0)
    first = [lm.tokenizer.decode(lm.encode(text)[:1]) for text in answers]
    found = generation.read([text if text.startswith(" ") else "" for text in first], task)
    best = asking.word_scores(lm, asked, words, half_precision=False).argmax(axis=1)
    assert (found >= 0).sum() >= 5
    assert (found == best)[found >= 0].all()


def test_people(small, monkeypatch):
    monkeypatch.setattr(people, "FRAMES", people.FRAMES[-6:-4])  # the second has a gender
    monkeypatch.setattr(people, "PHRASES", people.PHRASES[:2])
    case, tweets, reviews = people.JOBS[:3]
    found = records(people, case)
    assert [record["random_state"] for record in found] == list(range(6))
    assert [len(each) for each in found[0]["sampled"]] == [5, 5] and len(found[0]["greedy"]) == 2
    np.testing.assert_allclose(np.sum(found[0]["drawn_from"], axis=1), 1, atol=0.01)
    for job, draws in ((tweets, range(6)), (reviews, asking.DRAWS)):
        found = records(people, job)
        assert [record["random_state"] for record in found] == list(draws)
        assert np.shape(found[0]["margins"]) == (2, 23)
        assert found[0]["margins"][1][people.WORDS.index("a woman")] is None
    assert found[0]["answers"] is None


def test_formats(small):
    job = formats.JOBS[0]
    found = records(formats, job)
    named = [(record["format"], record["per_class"]) for record in found[6:]]
    assert [record["method"] for record in found[:6]] == [formats.LIKELIHOOD] * 6
    assert named == [cell for cell in formats.cells(job) for _ in range(2)]
    assert len(formats.cells(job)) == 11
    assert "N1" not in dict(formats.cells(job))


def test_states(small, monkeypatch):
    monkeypatch.setattr(states, "TEN_DRAWS", (42,))
    monkeypatch.setattr(states, "SIZES", {REVIEWS: (4,)})
    monkeypatch.setattr(states, "STRENGTHS", (0.01, 1.0))
    monkeypatch.setattr(states, "FOLDS", 2)
    monkeypatch.setattr(states, "REPEATS", 1)
    found = records(states, {"model": SMALL, "task": REVIEWS})
    methods = [states.CHOSEN, states.RULE, states.LAST_BLOCK, states.PEEKED]
    assert [record["method"] for record in found] == methods
    assert [record["block"] for record in found][1:3] == [3, 6]
    assert found[1]["pooling"] == "last token" and found[0]["log_likelihood"] < 0
    assert {record["items"] for record in found} == {8}


def test_sentence_embeddings_are_chosen_in_the_same_way(small, monkeypatch):
    class Embeddings:
        def __init__(self, _):
            pass

        def encode(self, texts):
            return np.array([[len(text), tiny.WORDS.index(text.split()[0])] for text in texts])

    monkeypatch.setattr(states, "FrozenEmbeddings", Embeddings)
    monkeypatch.setattr(states, "TEN_DRAWS", (42,))
    monkeypatch.setattr(states, "SIZES", {REVIEWS: (4,)})
    monkeypatch.setattr(states, "REPEATS", 1)
    found = records(states, {"model": states.MINILM, "task": REVIEWS})
    assert [record["method"] for record in found] == [states.CHOSEN, states.HEAD]
    assert [record["metrics"]["accuracy"] for record in found] == [1, 1]
    assert found[0]["block"] is None and found[1]["C"] == 10


def test_reading(small, lm, monkeypatch):
    lines = [" ".join(RNG.choice(tiny.WORDS, 20)) for _ in range(8)]
    monkeypatch.setattr(reading, "completions", lambda: {REVIEWS: lines, NEWS: lines[:3]})
    monkeypatch.setattr(reading, "file_lines", lambda: lines)
    monkeypatch.setattr(reading, "LINES", 2)
    monkeypatch.setattr(reading, "CHUNKS", 3)
    completion, order = reading.JOBS[:2]
    assert [record["items"] for record in records(reading, completion)] == [8, 3]
    found = records(reading, order)
    assert [record["items"] for record in found] == [3, 1, 1]
    assert [record["task"] for record in found] == [REVIEWS, reading.ELEMENTS, reading.PRESIDENTS]
