"""Where a named model lies on disk, and the hash that tells one set of weights from another. Needs no torch."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from vlm_agent.errors import ModelError

BUNDLED_NAMES = ("nano", "base")
"""Names of the model that ships with the package."""

BUNDLED_FOLDER = Path(__file__).parent / "nano"
"""Its weights."""

ADAPTER_CONFIG = "adapter_config.json"
MAX_CONFIG_BYTES = 4 << 20
"""Of a JSON file that describes a model or an adapter; those that name every layer have some ten thousand."""
MODEL_FOLDER = "model"
"""Where a run of full training leaves its checkpoint."""
RECIPE_FILE = "recipe.json"
"""Lies beside the weights of a tuned model, and tells how it is to be spoken to."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_DESCRIPTIONS = ["*.json", "*.txt", "*.jinja"]
_HUB_FILES = [*_HUB_DESCRIPTIONS, "*.safetensors"]
_BLOCK_BYTES = 1 << 20
_BLOCK_STRIDE_BYTES = 64 << 20


def find_checkpoint(name: str, *, with_weights: bool = True, told_by: Path | None = None) -> tuple[str, Path]:
    """Return (the name to write into recipes, the folder) of a model.

    Args:
        name: bundled, a folder, or on the hub.
        with_weights: whether weights are fetched from the hub too.
        told_by: the file or folder that names it, where it was no person: nothing is fetched on a file's word.

    Raises:
        ModelError: it is neither bundled, nor a folder, nor to be had from the hub.
    """
    if name in BUNDLED_NAMES:
        if not (BUNDLED_FOLDER / "config.json").is_file():
            raise ModelError(f"the bundled model is missing from this installation ({BUNDLED_FOLDER})")
        return "nano", BUNDLED_FOLDER
    path = find_tuned(Path(name)) or Path(name).expanduser()
    if (path / "run.json").is_file():
        raise ModelError(f"{name}: this run has no adapter yet; go on with it by the training command that began it")
    if path.is_dir():
        folder = _enter_hub_cache(path.resolve())
        return str(folder), folder
    if path.exists():
        raise ModelError(f"{name}: expected a model folder, got a file")
    if not _HUB_NAME.fullmatch(name) or Path(name).parent.is_dir():
        raise ModelError(f"{name}: no such model folder; give a folder, a run, a hub name, or 'nano'")
    return name, _fetch(name, with_weights=with_weights, told_by=told_by)


def _enter_hub_cache(folder: Path) -> Path:
    """Return the snapshot in a folder as the hub's cache has it (`models--OWNER--NAME`), else the folder itself."""
    snapshots = folder / "snapshots"
    if (folder / "config.json").exists() or not snapshots.is_dir():
        return folder
    main = folder / "refs" / "main"
    if main.is_file() and (snapshots / (named := main.read_text(encoding="utf-8").strip())).is_dir():
        return snapshots / named
    found = sorted(path for path in snapshots.iterdir() if path.is_dir())
    if len(found) != 1:
        raise ModelError(f"{folder}: the hub's cache of a model with {len(found)} snapshots; give one of {snapshots}/*")
    return found[0]


def find_adapter(path: Path) -> Path | None:
    """Return the adapter folder that a path means (itself, or a run's `adapter/`), or none if it holds no adapter."""
    for folder in (path, path / "adapter"):
        if (folder / ADAPTER_CONFIG).is_file():
            return folder.resolve()
    return None


def find_tuned(path: Path) -> Path | None:
    """Return the checkpoint of full training that a path means (itself, or a run's `model/`), or none."""
    path = path.expanduser()
    for folder in (path, path / MODEL_FOLDER):
        if (folder / RECIPE_FILE).is_file() and (folder / "config.json").is_file():
            return folder.resolve()
    return None


def fingerprint_weights(folder: Path) -> str:
    """Return a sha256 over a checkpoint's weight files: names, sizes, contents.

    Files up to 64 MiB are read whole; of larger ones one mebibyte in 64 and the end: an 8B model takes a moment.

    Raises:
        ModelError: the folder holds no safetensors.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder}: no *.safetensors weights here")
    digest = hashlib.sha256()
    for path in files:
        _feed(digest, path)
    return digest.hexdigest()


def _feed(digest: hashlib._Hash, path: Path) -> None:
    size = path.stat().st_size
    digest.update(f"{path.name}:{size}\n".encode())
    with path.open("rb") as file:
        if size <= _BLOCK_STRIDE_BYTES:
            digest.update(file.read())
            return
        for offset in (*range(0, size, _BLOCK_STRIDE_BYTES), max(0, size - _BLOCK_BYTES)):
            file.seek(offset)
            digest.update(file.read(_BLOCK_BYTES))


def _fetch(name: str, *, with_weights: bool, told_by: Path | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        patterns = _HUB_FILES if with_weights else _HUB_DESCRIPTIONS
        return Path(snapshot_download(name, allow_patterns=patterns, local_files_only=told_by is not None))
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        if told_by is not None:
            raise ModelError(
                f"{told_by}: its base is {name} on the hub, which is not on this machine; nothing is fetched because a"
                f" file says so: if you trust it, run `hf download {name}` and try again"
            ) from error
        reason = type(error).__name__
        raise ModelError(f"{name}: not a folder here, and the hub did not give it ({reason})") from error
