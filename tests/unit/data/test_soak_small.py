"""A few of the cases that `tools/soak.py` tries for longer."""

import random

import pytest

from tests.soak_cases import data


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("generate", [data.table_cases, data.tag_cases, data.metric_cases])
def test_cases_succeed_correctly_or_are_refused(generate, seed):
    for label, check in generate(random.Random(seed), 60):
        try:
            check()
        except ValueError:
            pass
        except Exception as error:
            error.add_note(f"{generate.__name__}, seed {seed}, case {label!r}")
            raise
