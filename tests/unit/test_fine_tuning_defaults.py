"""How long a fine-tuning is where nobody says, and what it says where that was too short."""

import warnings

import numpy as np
import pytest

from reptune.classification import MINIMUM_STEPS, FineTunedClassifier
from tests.tiny import LABELS, TEXTS


@pytest.fixture
def make(tiny_encoder):
    def make(**changes):
        return FineTunedClassifier(str(tiny_encoder), random_state=0, **changes)

    return make


def steps(classifier):
    return classifier.history_[-1]["step"]


def test_few_texts_get_the_minimum_of_steps(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = make().fit(TEXTS, LABELS)
    assert MINIMUM_STEPS <= steps(classifier) < MINIMUM_STEPS + len(TEXTS)


@pytest.mark.parametrize(("count", "batch_size"), [(300, 16), (100, 16), (1000, 16), (10_000, 32)])
def test_the_default_is_two_epochs_or_the_minimum(make, count, batch_size):
    per_epoch = -(-count // batch_size)
    epochs = make(batch_size=batch_size)._epochs(count)
    assert epochs * per_epoch >= MINIMUM_STEPS
    assert epochs == 2 or (epochs - 1) * per_epoch < MINIMUM_STEPS


def test_an_explicit_number_of_epochs_is_obeyed(make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier = make(num_epochs=1, batch_size=4).fit(TEXTS, LABELS)
    assert steps(classifier) == -(-len(TEXTS) // 4)


def test_an_underfit_is_said(make):
    with pytest.warns(UserWarning, match=r"learned little\. Raise num_epochs \(this was 1\)"):
        make(num_epochs=1, learning_rate=1e-7).fit(TEXTS, LABELS)


def test_what_was_learned_is_no_underfit(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        classifier = make(num_epochs=30, learning_rate=5e-3, batch_size=4).fit(TEXTS, LABELS)
    assert classifier.score(TEXTS, LABELS) == 1.0


def test_an_underfit_on_several_labels_is_said(make):
    topics = [[name for name in ("actor", "film") if name in text] for text in TEXTS]
    with pytest.warns(UserWarning, match=r"guessing by the labels' shares costs 0\.56"):
        make(num_epochs=1, learning_rate=1e-7, thresholds=0.5).fit(TEXTS, topics)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        make(num_epochs=100, learning_rate=5e-3, batch_size=4, thresholds=0.5).fit(TEXTS, topics)


def test_guessing_several_labels_is_measured_by_each_label_s_share():
    from reptune.classification import _guessing_loss

    targets = np.array([[True, True], [True, False], [True, False], [True, False]])
    quarter = -0.25 * np.log(0.25) - 0.75 * np.log(0.75)
    assert _guessing_loss(targets, None) == pytest.approx((0 + quarter) / 2)
    # A weight of 3 makes the label as heavy as its absence: log 2 on a mass of 6 per 4 texts.
    weighted = _guessing_loss(targets, np.array([1.0, 3.0]))
    assert weighted == pytest.approx((0 + 6 / 4 * np.log(2)) / 2)


def test_guessing_is_measured_by_weighted_shares():
    from reptune.classification import _guessing_loss

    encoded = np.array([0, 0, 0, 1])
    by_hand = -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    assert _guessing_loss(encoded, None) == pytest.approx(by_hand)
    assert _guessing_loss(encoded, np.array([1.0, 3.0])) == pytest.approx(np.log(2))
