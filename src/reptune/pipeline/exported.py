"""A model's export in place of the model: what `predict` needs of an estimator."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from reptune import runtime
from reptune.estimator import SavedEstimator, load
from reptune.folders import MANIFEST, find_folder

EXPORTED = "reptune-onnx.json"  # `export` has it too, but needs packages that most models do not


class Exported:
    """An export with the attributes of an estimator that are needed here.

    Args:
        folder: What `export_model` wrote.

    Attributes:
        classes_: The labels; of a tagger, the tags.
        thresholds_: Where a text may have several labels, one per label, else `None`.
        card_: As the model's.
        seal: The SHA-256 of the manifest, which holds those of the files that are used.
        device: What computes, in words.

    Raises:
        ValueError: If onnxruntime is not installed, or the export is damaged.
    """

    def __init__(self, folder: Path) -> None:
        import torch

        from reptune.pipeline.onnx_runner import Runner

        threads = torch.get_num_threads()  # as many as the model itself would use
        manifest = (folder / EXPORTED).read_bytes()
        try:
            runner = Runner(folder, threads=threads)
            self.thresholds_ = json.loads(manifest)["thresholds"]
        except (OSError, ValueError):
            raise
        except ImportError:  # an export of TF-IDF needs NumPy alone
            raise ValueError(
                f"{folder} holds an export, which needs onnxruntime; install reptune[export]."
            ) from None
        except Exception as error:  # of onnxruntime, or of a manifest that lacks something
            raise ValueError(
                f"{folder} holds a damaged export ({type(error).__name__}: {error}); export the "
                "model again."
            ) from error
        if (folder / EXPORTED).read_bytes() != manifest:
            raise ValueError(f"{folder} was exported again while it was read; run this again.")
        self.seal = hashlib.sha256(manifest).hexdigest()
        engine = runtime.versions(("onnxruntime", "numpy"))
        self.device = f"{engine}, CPU, {threads} threads"
        self.classes_, self.card_ = np.array(runner.classes), runner.card
        self.predict_proba = runner.predict_proba
        if runner.kind == "tags":
            self.entities = runner.entities


def open_model(folder: str | Path) -> SavedEstimator | Exported:
    """Open the folder of a saved model or of an export.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds neither, or is damaged.
    """
    found = find_folder(folder, EXPORTED)
    if (found / EXPORTED).is_file() and not (found / MANIFEST).is_file():
        return Exported(found)
    return load(folder)
