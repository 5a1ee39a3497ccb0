"""Words and sentences that the tests of tagging share."""

import random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.tiny import WORDS

ACCENT, FAMILY = "\u0301", "👩\u200d👩\u200d👧"
ODD = [
    ACCENT, "e" + ACCENT, "\u200d", FAMILY, "👍🏽", "🇩🇪", "\ufeff", "\x00", "", " ", "\u3000",
    "zzz", "The", "GOOD", "good-film", "[SEP]", "[MASK]", "a[CLS]b", "New York", "北京", "ß", "İ",
    "'s", "𝔘",
]  # fmt: skip

quick = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
any_word = st.one_of(st.sampled_from(WORDS), st.sampled_from(ODD), st.text(max_size=6))
any_sentence = st.lists(any_word, min_size=1, max_size=12)
any_text = st.one_of(st.text(), st.lists(any_word, max_size=12).map(" ".join))


def tag(words):
    """A film is an X; "very" and the "nice" after it are a Y."""
    known = {"film": "B-X", "very": "B-Y", "nice": "I-Y"}
    return [known.get(word, "O") for word in words]


def toy(count, random_state):
    draw = random.Random(random_state)
    plain = [word for word in WORDS if word not in ("very", "nice", "film")]
    sentences = []
    for _ in range(count):
        parts = [[draw.choice(plain)], [draw.choice(plain)], ["film"], ["very", "nice"]]
        chosen = draw.choices(parts, k=draw.randint(1, 6))
        sentences.append([word for part in chosen for word in part])
    return sentences, [tag(words) for words in sentences]


TOKENS, TAGS = toy(80, random_state=0)
FEW, FEW_TAGS = TOKENS[:24], TAGS[:24]  # where nothing has to be learned
UNSEEN, UNSEEN_TAGS = toy(40, random_state=1)
LONG = [word for words in UNSEEN for word in words]

# Words of several tokens, and one of none.
CUT = [
    ["the", "good-film", "is", "very", "nice", "plot-actor"],
    ["a-movie", "was", ACCENT, "the", "actor"],
    ["not", "the", "zzz", "Film"],
]
CUT_TAGS = [
    ["O", "B-X", "O", "O", "B-Y", "I-Y"],
    ["O", "O", "O", "O", "B-X"],
    ["O", "O", "B-X", "I-X"],
]
