"""The same files from the Hugging Face Hub, where the package index does not give them."""

from __future__ import annotations

import shutil
from pathlib import Path

from reptune import network
from reptune.assets.errors import SourceFailed, is_full
from reptune.assets.registry import Asset


def make_from_hub(asset: Asset, staging: Path) -> Path:
    """Download the same files, checked against the same hashes, from the Hub.

    HF_ENDPOINT, HF_HUB_OFFLINE and the like are the Hub library's own and hold here.
    """
    from huggingface_hub import hf_hub_download

    assert asset.hub is not None
    if problem := network.hub_problem():
        raise SourceFailed(problem, offline=True)
    target = staging / "asset"
    for name in asset.files:
        try:
            hf_hub_download(asset.hub.repo, name, revision=asset.hub.revision, local_dir=target)
        except Exception as error:  # whatever its kind, this source has failed
            if is_full(error):
                raise
            reason = " ".join(str(error).split())[:300]
            raise SourceFailed(
                f"{asset.hub.repo}/{name}: {type(error).__name__}: {reason}"
            ) from error
    shutil.rmtree(target / ".cache", ignore_errors=True)  # the library's bookkeeping
    return target
