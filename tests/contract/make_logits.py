"""Record what every estimator computes on tiny models, for `test_same_logits`.

A test compares the package with these numbers. Run this where a change of them is meant, and say in
the commit which runs changed and why:

    python -m tests.contract.make_logits
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from tests.contract.cases import save_models
from tests.contract.logits import RUNS, compute, stamp

FIXTURES = Path(__file__).parent / "fixtures"
ARRAYS, STAMP = FIXTURES / "logits.npz", FIXTURES / "logits.json"


def record() -> dict[str, np.ndarray]:
    """Every run's numbers, by its name."""
    torch.set_num_threads(1)  # the tiny models are made here, too
    with tempfile.TemporaryDirectory() as folder:
        models = save_models(Path(folder))
        return {name: compute(name, models) for name in RUNS}


def main() -> None:
    """Write the numbers and the stamp of this machine anew."""
    np.savez_compressed(ARRAYS, **record())
    STAMP.write_text(json.dumps(stamp(), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
