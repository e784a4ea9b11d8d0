"""`run.json`: what a run is made of, written before work starts; its adapter's `recipe.json` repeats it."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vlm_agent.chat import Recipe
from vlm_agent.dataset.store import Dataset
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.files import PARTIAL_SUFFIX, write_text
from vlm_agent.locks import LOCK_FILE
from vlm_agent.models.identity import name_differences, read_digests
from vlm_agent.models.loading import LoadedModel
from vlm_agent.regular_files import read_json
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.differences import find_differences

RUN_FILE = "run.json"
RUN_FORMAT = 1
PACKAGES = ("vlm-agent", "torch", "transformers", "peft", "bitsandbytes", "safetensors", "tokenizers", "numpy")
"""Whose versions are written down."""

_IDENTITY = ("format", "base", "recipe", "dataset", "config")
"""What must be equal for a run to be gone on with."""
_MAY_DIFFER = {
    "dataset.path",
    "dataset.sessions",
    "base.source",
    "base.template.source",
    "config.keep_adapters_every_steps",
    "config.picture_threads",
    "config.recompute",
    "config.shard",
}
"""A dataset or base that was moved is still the same, their hashes are compared; runs of before name no sessions; what
is kept changes no run, nor does how many threads read pictures, what is computed twice, or who holds which weights."""


def describe_run(loaded: LoadedModel, dataset: Dataset, recipe: Recipe, config: TrainConfig) -> dict[str, Any]:
    """Return everything that decides how a run goes, as plain data."""
    return {
        "format": RUN_FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "base": describe_base(loaded),
        "recipe": recipe.to_json(),
        "dataset": {
            "path": str(dataset.folder.resolve()),
            "sha256": dataset.manifest.sha256,
            "sessions": dataset.manifest.trained_sessions,
        },
        # Not part of what a run is, but whoever plays must capture frames of the shape that was learnt from.
        "frame_px": [dataset.spec.extent_width, dataset.spec.extent_height],
        "config": asdict(config),
        "versions": read_versions(),
        "git": read_revision(),
    }


def describe_base(loaded: LoadedModel) -> dict[str, Any]:
    """Return what an adapter must find again: who its base is, in which precision, and any adapter it began from."""
    return {
        "source": loaded.source,
        "fingerprint": loaded.fingerprint,
        "quantization": loaded.quantization,
        "family": loaded.family.model_type,
        "template": loaded.encoder.template.to_json(),
        "identity": loaded.identity.to_json(),
        "started_from": None if loaded.adapter is None else str(loaded.adapter),
    }


def start_run(folder: Path, record: dict[str, Any]) -> bool:
    """Write `run.json`, or check that the folder holds the same run; return whether it is one to go on with.

    Raises:
        ConfigError: the folder holds a run with other settings (the message names them), or something else.
        DataError: its `run.json` is damaged, or its adapter was made for a dataset of another action spec.
    """
    if check_run(folder, record):
        return True
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / RUN_FILE, json.dumps(record, indent=2) + "\n")
    return False


def check_run(folder: Path, record: dict[str, Any]) -> bool:
    """Tell whether a folder holds the same run; raise what `start_run` would, and write nothing."""
    path = folder / RUN_FILE
    if path.is_file():
        _check_same_run(path, read_run(folder), record)
        return True
    left = (path.name for path in folder.iterdir()) if folder.exists() else ()
    if any(name != LOCK_FILE and not name.endswith(PARTIAL_SUFFIX) for name in left):
        raise ConfigError(f"--out {folder}: is not empty and holds no run")
    return False


def read_run(folder: Path) -> dict[str, Any]:
    """Return the `run.json` of a run.

    Raises:
        DataError: it is missing or broken.
    """
    path = folder / RUN_FILE
    try:
        record = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: missing or broken; this is no run's folder") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}: expected an object")
    return record


def _check_same_run(path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    now = json.loads(json.dumps(new))
    if old.get("recipe", {}).get("spec") != now["recipe"]["spec"]:
        raise DataError(f"{path}: this run was trained for another action spec than the dataset's; give another --out")
    # Settings that there were not when the run began were as they are by default, and the engine was the only one.
    plain = json.loads(json.dumps(asdict(TrainConfig(engine="hf"))))
    old = {**old, "config": _fill(old.get("config", {}), plain)}
    # Nor was the template told, which then closed no thought.
    if not now["base"]["template"]["closing"]:
        old["base"] = {"template": now["base"]["template"], **old.get("base", {})}
    # Who a base is was told by its weights alone.
    if "identity" not in old["base"]:
        old["base"] = {**old["base"], "identity": now["base"]["identity"]}
    names = name_differences(read_digests(old["base"]), read_digests(now["base"]))
    if names:
        raise ConfigError(f"{path}: holds a run on another base (other {names}); put that back or give another --out")
    before, after = ({part: record.get(part) for part in _IDENTITY} for record in (old, now))
    differing = [name for name in find_differences(before, after) if name not in _MAY_DIFFER]
    if differing:
        raise ConfigError(f"{path}: holds a run with other settings ({', '.join(differing)}); give another --out")


def _fill(given: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    """Return settings with those that are not given taken from others."""
    filled = {name: _fill(given[name], value) for name, value in plain.items() if isinstance(given.get(name), dict)}
    return {**plain, **given, **filled}


def read_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result may depend on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def read_revision() -> dict[str, Any]:
    """Return the git revision of this checkout and whether it has uncommitted changes; nulls outside a checkout."""
    revision, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    return {"revision": revision, "dirty": None if revision is None or status is None else bool(status)}


def _git(*arguments: str) -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
