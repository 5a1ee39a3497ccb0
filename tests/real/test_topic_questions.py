"""The multilingual questions as they come; needs the asset, which `make test` does not."""

import numpy as np
import pytest

from reptune import assets, data
from reptune.data.questions import LANGUAGES

pytestmark = pytest.mark.skipif(
    assets.state("topic-questions") != "ready",
    reason="needs `reptune assets fetch topic-questions`",
)

# By topic: ai, emotion, food, literature, money, movies, science, sports.
COUNTS = {
    "english": [61, 48, 13, 29, 16, 23, 23, 22],
    "chinese": [52, 50, 5, 29, 16, 23, 24, 20],
    "japanese": [60, 46, 13, 29, 16, 23, 24, 23],
    "korean": [21, 47, 14, 27, 16, 23, 22, 16],
    "italian": [62, 46, 13, 31, 16, 22, 23, 19],
    "ukrainian": [77, 46, 12, 27, 19, 20, 22, 20],
    "dutch": [0, 37, 13, 28, 15, 29, 22, 10],
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_topics_have_as_many_questions(language):
    found = data.topic_questions(language)
    assert np.bincount(found["label"], minlength=8).tolist() == COUNTS[language]
