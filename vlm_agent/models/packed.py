"""What a checkpoint's weight files hold, read from their headers: names, types, shapes, and which layers are in 4 bits.

config.json has a list of the layers that were left whole, but releases of transformers have read such lists in
different ways, and some are null or another model's. A packed layer has its quantisation state beside it, so the
headers know. Needs no torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm_agent.errors import ModelError
from vlm_agent.regular_files import open_regular, read_json

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

_MOST_HEADER_BYTES = 100_000_000
_STATE = re.compile(r"(?P<layer>.+)\.weight\.quant_state\.bitsandbytes__(?P<kind>\w+)")
_STATISTICS = re.compile(r"\.weight\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.\w+)$")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a header describes it."""

    dtype: str = ""
    """`F32`, `BF16`, `U8` and so on; empty where only the index is there."""
    shape: tuple[int, ...] = ()
    """Its shape."""


@dataclass(frozen=True)
class StoredWeights:
    """What is known of a checkpoint's weights without reading them."""

    tensors: Mapping[str, StoredTensor]
    """By name, as stored; of what only the index names, the names alone; empty where neither is there."""
    files: tuple[Path, ...]
    """The weight files that are to be loaded; empty where they are not there."""

    @property
    def packed(self) -> dict[str, str]:
        """Packed layers, as stored, and what they are packed as: `nf4`, `fp4`."""
        found = (_STATE.fullmatch(name) for name in self.tensors)
        return {match["layer"]: match["kind"] for match in found if match}

    @property
    def plain(self) -> dict[str, StoredTensor]:
        """All tensors but the packed weights and what belongs to them."""
        packed = {f"{layer}.weight" for layer in self.packed}
        return {
            name: tensor
            for name, tensor in self.tensors.items()
            if name not in packed and not (_STATISTICS.search(name) and _STATISTICS.sub(".weight", name) in packed)
        }


def read_stored(folder: Path) -> StoredWeights:
    """Return what the weight files of a checkpoint's folder hold, the ones that transformers would load.

    Raises:
        ModelError: the index is broken, some of its files are missing, or a file is cut off.
    """
    single = folder / SINGLE_FILE
    if single.is_file():
        return StoredWeights(read_header(single), (single,))
    if not (folder / INDEX_FILE).is_file():
        return StoredWeights({}, ())
    placed = _read_index(folder / INDEX_FILE)
    files = [folder / file for file in sorted(set(placed.values()))]
    missing = [path.name for path in files if not path.is_file()]
    if len(missing) == len(files):
        return StoredWeights(dict.fromkeys(placed, StoredTensor()), ())
    if missing:
        raise ModelError(
            f"{folder}: {len(missing)} of {len(files)} weight files are missing, the first {missing[0]}; fetch it again"
        )
    tensors: dict[str, StoredTensor] = {}
    for path in files:
        tensors |= read_header(path)
    return StoredWeights(tensors, tuple(files))


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors that a safetensors file holds, and check that it is not cut off.

    The format: eight bytes with the header's length, little-endian, the header as JSON, then the tensors' bytes
    (https://huggingface.co/docs/safetensors).

    Raises:
        ModelError: it is not a whole safetensors file.
    """
    try:
        with open_regular(path) as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MOST_HEADER_BYTES:
                raise ValueError("its header is too long")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        tensors = {
            str(name): StoredTensor(str(entry["dtype"]), tuple(map(int, entry["shape"])))
            for name, entry in header.items()
        }
        ends = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ModelError(f"{path}: not a whole safetensors file ({error}); fetch it again") from error
    if path.stat().st_size != 8 + length + ends:
        found = path.stat().st_size
        raise ModelError(f"{path}: not a whole safetensors file ({found} of {8 + length + ends} bytes); fetch it again")
    return tensors


def _read_index(path: Path) -> dict[str, str]:
    try:
        placed: Any = read_json(path)["weight_map"]
        if not placed or not all(isinstance(file, str) and Path(file).name == file for file in placed.values()):
            raise ValueError("weight_map names no files")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: a broken index ({error}); fetch it again") from error
    return dict(placed)


def name_modules(model: Any, layers: Iterable[str]) -> dict[str, str]:
    """Return the names that layers have in a loaded model, by their stored names.

    Qwen2.5-VL was published with other names than transformers 5 uses; its own renaming is asked.

    Args:
        model: a transformers model; on torch's `meta` device is enough.
        layers: stored names of layers with a weight.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    renamings = [one for one in get_model_conversion_mapping(model) if isinstance(one, WeightRenaming)]
    state = model.state_dict()
    return {
        layer: rename_source_key(f"{layer}.weight", renamings, [], model.base_model_prefix, state)[0].removesuffix(
            ".weight"
        )
        for layer in layers
    }
