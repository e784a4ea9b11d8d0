"""Whether a named model could be loaded, found out without reading its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlm_agent.errors import ModelError
from vlm_agent.models.adapters import WEIGHTS_FILE, read_lora_rank
from vlm_agent.models.chat_templates import check_trained_template
from vlm_agent.models.checkpoints import BUNDLED_NAMES, find_adapter, find_checkpoint, find_tuned
from vlm_agent.models.identity import check_base, read_identity
from vlm_agent.models.loading import read_encoder, read_model_config
from vlm_agent.models.packed import read_header
from vlm_agent.models.records import find_record
from vlm_agent.models.refusals import Base, inspect_base, require_weights


def check_loadable(name: str, recipe: Path | None = None) -> str:
    """Look whether a model's files are there and whole, and fit each other; say what there is.

    Everything is asked that loading asks before it reads weights; their headers must name tensors that lie within the
    files, as they do not where a download was cut off.

    Args:
        name: as `models.loading.load_model` takes it; a name on the hub is looked up without its weights.
        recipe: for an adapter that carries no recipe: the run or file that says how it is asked.

    Raises:
        ModelError: loading would refuse it.
    """
    adapter = find_adapter(Path(name)) if name not in BUNDLED_NAMES else None
    if adapter is not None:
        return _check_adapter(adapter, recipe)
    tuned = find_tuned(Path(name)) if name not in BUNDLED_NAMES else None
    base = _check_base(name, tuned, None if tuned is None else find_record(tuned)["base"])
    return f"checkpoint, {_describe(base.stored.files)}, {base.folder}"


def _check_adapter(folder: Path, recipe: Path | None) -> str:
    record = find_record(folder, recipe)
    read_lora_rank(folder)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise ModelError(f"{folder}: {WEIGHTS_FILE} is missing")
    read_header(weights)
    base = _check_base(record["base"]["source"], folder, record["base"], told_by=folder)
    of_the_base = record.get("note", f"of the base {base.folder}")
    return f"adapter, {_describe([weights])}, {folder}, {of_the_base}"


def _check_base(name: str, tuned: Path | None, trained: dict[str, Any] | None, told_by: Path | None = None) -> Base:
    _, folder = find_checkpoint(name, with_weights=False, told_by=told_by)
    base = inspect_base(folder, "none" if trained is not None and trained["quantization"] == "none" else "nf4")
    require_weights(base)
    read_model_config(base)
    encoder = read_encoder(folder)
    if tuned is not None and trained is not None:
        check_trained_template(encoder.template, trained, tuned)
        if base.stored.files:
            check_base(trained, read_identity(folder, encoder), tuned)
    return base


def _describe(files: list[Path] | tuple[Path, ...]) -> str:
    num_mb = sum(path.stat().st_size for path in files) / 1e6
    return f"{len(files)} weight file(s), {num_mb:.1f} MB"
