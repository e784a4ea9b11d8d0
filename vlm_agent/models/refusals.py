"""Which checkpoints can't be used, told by config.json and the headers of the weights alone: one line each.

Loading, `vlm-agent plan` and `vlm-agent doctor` ask here, so that none of them says yes where another says no.
Needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vlm_agent.errors import ModelError
from vlm_agent.models.checkpoints import MAX_CONFIG_BYTES
from vlm_agent.models.packed import StoredWeights, read_stored
from vlm_agent.regular_files import read_json

Quantization = Literal["nf4", "none"]
"""`nf4`: language layers in 4 bits; `none`: all weights as they are."""

SUPPORTED = {
    "qwen3_vl": ("Qwen/Qwen3-VL-8B-Instruct", "unsloth/Qwen3-VL-8B-Instruct-unsloth-bnb-4bit"),
    "qwen2_5_vl": ("Qwen/Qwen2.5-VL-7B-Instruct", "unsloth/Qwen2.5-VL-7B-Instruct-unsloth-bnb-4bit"),
}
"""By `model_type`: a plain checkpoint and one in 4 bits that can be used."""

_FLOATS = ("F64", "F32", "F16", "BF16")
_OTHERS = {
    "qwen2_vl": "Qwen2-VL",
    "qwen3_vl_moe": "a mixture of experts",
    "qwen3_5": "Qwen3.5 or later",
    "qwen3_5_moe": "Qwen3.5 or later, a mixture of experts",
    "qwen2_5_omni": "Qwen2.5-Omni",
    "qwen3_omni_moe": "Qwen3-Omni",
}


@dataclass(frozen=True)
class Base:
    """A checkpoint that can be used, as its folder describes it."""

    folder: Path
    """Where it lies."""
    config: Mapping[str, Any]
    """Its config.json."""
    stored: StoredWeights
    """What its weight files hold; nothing where they are not there."""

    @property
    def model_type(self) -> str:
        """Its generation."""
        return str(self.config["model_type"])

    @property
    def is_packed(self) -> bool:
        """Whether language layers are in NF4 already; where no weights are there, as config.json has it."""
        if self.stored.tensors:
            return bool(self.stored.packed)
        return bool(read_quantization(self.config))


def inspect_base(folder: Path, quantization: Quantization) -> Base:
    """Return a checkpoint's description, its weights unread, or refuse it.

    Args:
        folder: of the checkpoint; weights may be missing (loading refuses that by itself, see `require_weights`).
        quantization: what it is to be used in.

    Raises:
        ModelError: of another family, quantised otherwise, already in 4 bits and asked for whole, or damaged.
    """
    config = read_config(folder)
    _check_family(config, folder)
    _check_form(config, folder)
    _check_sizes(config, folder)
    base = Base(folder, config, read_stored(folder))
    _check_quantization(base)
    if base.is_packed and quantization == "none":
        raise ModelError(
            f"{folder}: holds 4-bit weights; ask for it with nf4, or give the full checkpoint,"
            f" such as {SUPPORTED[base.model_type][0]}"
        )
    _check_token_ids(config, folder)
    return base


def require_weights(base: Base) -> None:
    """Refuse a checkpoint whose weights are not there.

    Raises:
        ModelError: no weights that are read here.
    """
    if base.stored.files:
        return
    pickled = next((path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in base.folder.glob(pattern)), None)
    beside = next((path.name for path in base.folder.glob("*.safetensors")), None)
    if beside is not None:
        raise ModelError(f"{base.folder}: {beside} is here, but no model.safetensors.index.json that names it")
    hint = f" ({pickled} is not read: pickles can run code)" if pickled else ""
    raise ModelError(f"{base.folder}: no *.safetensors weights here{hint}")


def read_config(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint's config.json holds.

    Raises:
        ModelError: it is missing or broken.
    """
    path = folder / "config.json"
    try:
        config = read_json(path, MAX_CONFIG_BYTES)
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: not a model folder: config.json is missing or broken") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path}: expected an object")
    return config


def read_quantization(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what config.json says of how weights are quantised; empty: they are not."""
    text = config.get("text_config")
    found = config.get("quantization_config") or (text.get("quantization_config") if isinstance(text, dict) else None)
    return found if isinstance(found, dict) else {}


def _check_family(config: Mapping[str, Any], folder: Path) -> None:
    model_type = config.get("model_type")
    if model_type in SUPPORTED:
        return
    kinds = " or ".join(sorted(SUPPORTED))
    usable = " or ".join(plain for plain, _ in SUPPORTED.values())
    what = _OTHERS.get(str(model_type))
    if what is None and not config.get("vision_config"):
        what = "a model without a vision tower"
    told = f" ({what})" if what else ""
    raise ModelError(
        f"{folder}: expected a {kinds} checkpoint, got model_type {model_type!r}{told}; use one such as {usable}"
    )


def _check_form(config: Mapping[str, Any], folder: Path) -> None:
    for key, may_lack in (("vision_config", False), ("text_config", True), ("quantization_config", True)):
        found = config.get(key)
        if not isinstance(found, dict) and not (may_lack and found is None):
            raise ModelError(f"{folder}: config.json can't be used: {key} must be an object, got {found!r:.40}")


_MOST = {
    **dict.fromkeys(("num_hidden_layers", "depth", "num_attention_heads", "num_key_value_heads", "num_heads"), 1024),
    **dict.fromkeys(("patch_size", "spatial_patch_size", "spatial_merge_size", "temporal_patch_size"), 256),
    **dict.fromkeys(("in_channels", "in_chans"), 256),
    **dict.fromkeys(("hidden_size", "out_hidden_size", "head_dim", "num_position_embeddings"), 1 << 17),
    **dict.fromkeys(("intermediate_size", "vocab_size"), 1 << 22),
}
"""Sizes in config.json, each some times that of the largest published model; a model is made from them before its
weights are read."""


def _check_sizes(config: Mapping[str, Any], folder: Path) -> None:
    for where, part in (("", config), *((f"{key}.", config.get(key)) for key in ("text_config", "vision_config"))):
        for name, most in _MOST.items():
            value = part.get(name) if isinstance(part, dict) else None
            if isinstance(value, (int, float)) and not 1 <= value <= most:
                raise ModelError(f"{folder}: config.json has {where}{name} {value}: expected 1 to {most}")
        indexes = part.get("deepstack_visual_indexes") if isinstance(part, dict) else None
        if isinstance(indexes, list) and len(indexes) > _MOST["depth"]:
            raise ModelError(f"{folder}: config.json has {len(indexes)} {where}deepstack_visual_indexes")


def _check_quantization(base: Base) -> None:
    if told := _find_quantization(base):
        plain, packed = SUPPORTED[base.model_type]
        raise ModelError(
            f"{base.folder}: {told}; only plain weights and bitsandbytes NF4 can be tuned:"
            f" use the full checkpoint it was made from, such as {plain}, or {packed}"
        )


def _find_quantization(base: Base) -> str:
    """Return what speaks against how the weights are stored; nothing where they can be used."""
    config = read_quantization(base.config)
    packed = base.stored.packed
    if told := _find_packing(base.stored):
        return told
    for name, tensor in base.stored.plain.items():
        if name.endswith((".SCB", ".weight_format")):
            return "quantised by bitsandbytes to 8 bits"
        if tensor.dtype and tensor.dtype not in _FLOATS:
            return f"quantised by {_name_method(config)}: {name} is stored as {tensor.dtype}"
    if not config or packed:
        return ""
    method = _name_method(config)
    if method != "bitsandbytes":
        return f"quantised by {method}"
    if base.stored.tensors:
        return ""  # nothing is packed, whatever config.json kept saying
    if config.get("load_in_8bit") or config.get("_load_in_8bit"):
        return "quantised by bitsandbytes to 8 bits"
    kind = config.get("bnb_4bit_quant_type", "fp4")  # what transformers takes where it is missing
    return "" if kind == "nf4" else f"quantised by bitsandbytes as {kind}"


def _find_packing(stored: StoredWeights) -> str:
    for layer, kind in stored.packed.items():
        if kind != "nf4":
            return f"quantised by bitsandbytes as {kind}"
        # Sharded training packs bytes into numbers of another type; whoever reads those as numbers finds NaN in them.
        tensor = stored.tensors.get(f"{layer}.weight")
        if tensor is not None and tensor.dtype not in ("", "U8"):
            return f"quantised with bnb_4bit_quant_storage {tensor.dtype} ({layer}), not in bytes"
    return ""


def _name_method(config: Mapping[str, Any]) -> str:
    method = config.get("quant_method")
    if method is None and any(key in config for key in ("load_in_4bit", "load_in_8bit", "bnb_4bit_quant_type")):
        return "bitsandbytes"
    return str(method) if method else "an unnamed method"


def _check_token_ids(config: Mapping[str, Any], folder: Path) -> None:
    """Special tokens must have a row in the token table."""
    text = config.get("text_config")
    inner = text if isinstance(text, dict) else config
    rows = inner.get("vocab_size")
    if not isinstance(rows, int):
        return
    for key, value in (*_list_ids(config), *_list_ids(inner)):
        if value >= rows:
            raise ModelError(
                f"{folder}: config.json has {key} {value}, but the token table has {rows} rows;"
                " config and weights are of different models"
            )


def _list_ids(config: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for key, value in config.items():
        if key.endswith("_token_id"):
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, int):
                    yield key, one


def check_vocabulary(tokenizer: Any, config: Mapping[str, Any], folder: Path) -> None:
    """Check that a tokenizer gives only ids that the model has rows for, and means the same picture token.

    Args:
        tokenizer: the checkpoint's, as transformers loads it.
        config: what config.json holds.
        folder: is named where they don't fit.

    Raises:
        ModelError: they don't fit.
    """
    text = config.get("text_config")
    rows = (text if isinstance(text, dict) else config).get("vocab_size")
    top, token = max((token_id, token) for token, token_id in tokenizer.get_vocab().items())
    if isinstance(rows, int) and top >= rows:
        raise ModelError(
            f"{folder}: the tokenizer gives ids up to {top} ({token!r}), but the token table has {rows} rows;"
            " use the tokenizer that belongs to these weights, or resize the table and save both"
        )
    for key, name in (("image_token_id", "<|image_pad|>"), ("vision_start_token_id", "<|vision_start|>")):
        given, own = config.get(key), tokenizer.convert_tokens_to_ids(name)
        if isinstance(given, int) and given != own:
            raise ModelError(f"{folder}: config.json has {key} {given}, but the tokenizer writes {name} as {own}")
