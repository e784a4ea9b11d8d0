"""Whether a named model could be loaded, found out without reading its weights."""

from __future__ import annotations

from pathlib import Path

from vlm_agent.errors import ModelError
from vlm_agent.models.adapters import WEIGHTS_FILE, read_adapter_recipe, read_lora_rank
from vlm_agent.models.checkpoints import BUNDLED_NAMES, find_adapter, find_checkpoint, find_tuned
from vlm_agent.models.loading import read_encoder, read_model_config
from vlm_agent.models.packed import read_header
from vlm_agent.models.refusals import Base, inspect_base, require_weights


def check_loadable(name: str) -> str:
    """Look whether a model's files are there and whole, and fit each other; say what there is.

    Everything is asked that loading asks before it reads weights; their headers must name tensors that lie within the
    files, as they do not where a download was cut off.

    Args:
        name: as `models.loading.load_model` takes it; a name on the hub is looked up without its weights.

    Raises:
        ModelError: loading would refuse it.
    """
    adapter = find_adapter(Path(name)) if name not in BUNDLED_NAMES else None
    if adapter is not None:
        return _check_adapter(adapter)
    quantization = "nf4"
    if name not in BUNDLED_NAMES and (tuned := find_tuned(Path(name))) is not None:
        quantization = read_adapter_recipe(tuned)["base"]["quantization"]
    base = _check_base(name, quantization)
    return f"checkpoint, {_describe(base.stored.files)}, {base.folder}"


def _check_adapter(folder: Path) -> str:
    record = read_adapter_recipe(folder)["base"]
    read_lora_rank(folder)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        raise ModelError(f"{folder}: {WEIGHTS_FILE} is missing")
    read_header(weights)
    base = _check_base(record["source"], record["quantization"])
    return f"adapter, {_describe([weights])}, {folder}, of the base {base.folder}"


def _check_base(name: str, quantization: str) -> Base:
    _, folder = find_checkpoint(name, with_weights=False)
    base = inspect_base(folder, "none" if quantization == "none" else "nf4")
    require_weights(base)
    read_model_config(base)
    read_encoder(folder)
    return base


def _describe(files: list[Path] | tuple[Path, ...]) -> str:
    num_mb = sum(path.stat().st_size for path in files) / 1e6
    return f"{len(files)} weight file(s), {num_mb:.1f} MB"
