"""Published checkpoints in small: their real configs, tokenizer settings, templates and tensor names, random weights.

Every key of the small files under `shared/data/checkpoints` is kept as it was published; sizes are shrunk, and token
ids moved down to a vocabulary of a few hundred. Tensors are named, sharded and packed as the publishers do it, not as
the installed transformers would save them. Folders are made once and shared: copy one before changing it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.functional import quantize_4bit
from safetensors.torch import save_file
from torch import Tensor, nn

from vlm_agent.models.loading import FAMILIES
from vlm_agent.models.nano_config import train_tokenizer

Json = dict[str, Any]

_CORPUS = (
    '{"actions":[{"event":"MOVE","dt":90,"x":512,"y":430},{"event":"CLICK","dt":40,"x":1,"y":2,"button":"left"}]}',
)
_FIRST_ADDED = {"Qwen__Qwen3.5-9B": 248_044}
_SHAPES: dict[str, tuple[Json, Json]] = {
    "qwen3_vl": (
        {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "head_dim": 16},
        {"depth": 4, "hidden_size": 32, "intermediate_size": 80, "num_heads": 2, "out_hidden_size": 64}
        | {"deepstack_visual_indexes": [0, 1, 2]},
    ),
    "qwen2_5_vl": (
        {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4},
        {"depth": 4, "hidden_size": 32, "intermediate_size": 68, "num_heads": 2, "out_hidden_size": 64}
        | {"fullatt_block_indexes": [1, 3]},
    ),
}
"""(text, vision) sizes that replace the published ones."""
_HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
_SECTIONS = [4, 2, 2]

UNSLOTH_CONFIG = {
    "_load_in_4bit": True,
    "_load_in_8bit": False,
    "bnb_4bit_compute_dtype": "bfloat16",
    "bnb_4bit_quant_storage": "uint8",
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
    "llm_int8_enable_fp32_cpu_offload": False,
    "llm_int8_has_fp16_weight": False,
    "llm_int8_skip_modules": None,
    "llm_int8_threshold": 6.0,
    "load_in_4bit": True,
    "load_in_8bit": False,
    "quant_method": "bitsandbytes",
}
"""`quantization_config` as Unsloth publishes it; the list differs."""

_GENERIC_8B = (
    "model.visual",
    "lm_head",
    "model.language_model.layers.0.self_attn",
    "model.language_model.layers.0.mlp",
)
_LIST_2B = (
    *("embed_tokens", "embedding", "lm_head", "multi_modal_projector", "merger", "modality_projection", "router"),
    *("visual", "vision_tower", "model.language_model.layers.3.mlp", "model.visual.blocks.23.attn"),
    *("model.language_model.layers.0.self_attn", "model.visual.blocks.22.mlp", "model.visual.blocks.19.attn"),
    *("model.language_model.layers.0.mlp", "model.visual.blocks.20.attn", "model.visual.merger"),
    *("model.visual.blocks.15.attn", "model.visual.blocks.22.attn", "model.language_model.layers.27.mlp"),
    *("model.visual.blocks.21.attn", "model.visual.blocks.18.attn", "model.visual.blocks.17.mlp"),
    *("model.visual.blocks.17.attn", "model.visual.blocks.19.mlp", "model.visual.blocks.14.mlp"),
    "model.visual.blocks.16.attn",
)
_AGE_OF_2_5 = ("lm_head", "multi_modal_projector", "merger", "modality_projection")
_LIST_2_5_3B = (*_AGE_OF_2_5, *(f"visual.blocks.{block}.{part}" for block in range(9) for part in ("attn", "mlp")))


@dataclass(frozen=True)
class Published:
    """One folder as it lies on the hub or as a user saved it."""

    files: str
    """Folder of real files under `shared/data/checkpoints`."""
    config_from: str = ""
    """Another such folder, for config.json; empty: the same."""
    saved_by: str = "hub"
    """Whose layout the side files have: `hub`, `4.57` (transformers 4.57), `5` (transformers 5)."""
    template: str = "as published"
    """Or `json only`: the tokenizer has none, chat_template.json has it."""
    dtype: torch.dtype = torch.bfloat16
    """Of weights that are not packed."""
    shards: int = 1
    """Number of weight files; with an index where there are several."""
    packs: Callable[[str], bool] | None = None
    """Which linear layers (by the name of the loaded model) are in NF4; none: nothing is."""
    quantization: Json | None = None
    """`quantization_config` in config.json."""
    text: Json = field(default_factory=dict)
    """Keys of the text config that are replaced."""
    vision: Json = field(default_factory=dict)
    """Keys of the vision config that are replaced."""
    top: Json = field(default_factory=dict)
    """Keys of config.json that are replaced."""
    names: str = ""
    """How tensors are named: `old` as Qwen2.5-VL was published, else as the loaded model names them."""
    refused: str = ""
    """What the one line says where this can't be used; empty: it works."""


def _skips(*names: str) -> Callable[[str], bool]:
    """As transformers 4 reads such a list: a name means any component, or the start of the full name."""
    return lambda layer: not any(name in layer.split(".") or f".{name}." in f".{layer}." for name in names)


def _unsloth(*names: str, **changed: Any) -> Json:
    return UNSLOTH_CONFIG | {"llm_int8_skip_modules": list(names)} | changed


_QWEN3_8B, _QWEN3_4B = "Qwen__Qwen3-VL-8B-Instruct", "Qwen__Qwen3-VL-4B-Instruct"
_QWEN2_5_7B, _QWEN2_5_3B = "Qwen__Qwen2.5-VL-7B-Instruct", "Qwen__Qwen2.5-VL-3B-Instruct"
_ADAPTER = "adapter__TING-lct-Qwen2.5-VL-7B"
_DEPTH_27 = {"depth": 27, "deepstack_visual_indexes": [8, 16, 24]}
_DEPTH_24 = {"depth": 24, "deepstack_visual_indexes": [5, 11, 17]}
_DEPTH_12 = {"depth": 12, "fullatt_block_indexes": [3, 7, 11]}
_UNSLOTH_TOP = {"torch_dtype": "bfloat16", "eos_token_id": 151645, "pad_token_id": 151654}
_IS_PACKED_8B = _skips(*_GENERIC_8B)
_FULL_NAMES_8B = (
    *(f"model.visual.blocks.{block}.attn.{layer}" for block in range(27) for layer in ("qkv", "proj")),
    *(f"model.visual.blocks.{block}.mlp.{layer}" for block in range(27) for layer in ("linear_fc1", "linear_fc2")),
    *(f"model.visual.deepstack_merger_list.{i}.linear_fc{k}" for i in range(3) for k in (1, 2)),
    *("model.visual.merger.linear_fc1", "model.visual.merger.linear_fc2", "lm_head"),
    *(f"model.language_model.layers.0.self_attn.{name}_proj" for name in "qkvo"),
    *(f"model.language_model.layers.0.mlp.{name}_proj" for name in ("gate", "up", "down")),
)

PUBLISHED: dict[str, Published] = {
    "Qwen3-VL-8B-Instruct": Published(_QWEN3_8B, shards=4),
    "Qwen3-VL-4B-Instruct": Published(_QWEN3_4B, shards=2),
    "Qwen3-VL-8B-saved-by-4.57": Published(_QWEN3_8B, saved_by="4.57"),
    "Qwen3-VL-8B-saved-by-5": Published(_QWEN3_8B, saved_by="5"),
    "Qwen3-VL-8B-float16": Published(_QWEN3_8B, dtype=torch.float16),
    "Qwen3-VL-8B-template-json-only": Published(_QWEN3_8B, template="json only"),
    "Qwen2.5-VL-7B-Instruct": Published(_QWEN2_5_7B, shards=5, names="old"),
    "Qwen2.5-VL-3B-Instruct": Published(_QWEN2_5_7B, _QWEN2_5_3B, shards=2, names="old"),
    "Qwen2.5-VL-7B-saved-by-4.57": Published(_QWEN2_5_7B, saved_by="4.57", names="old"),
    "Qwen2.5-VL-7B-saved-by-5": Published(_QWEN2_5_7B, saved_by="5"),
    "Qwen2.5-VL-7B-text-template": Published(_ADAPTER, _QWEN2_5_7B, names="old"),
    "Qwen2.5-VL-7B-template-json-only": Published(_QWEN2_5_7B, template="json only", names="old"),
    "unsloth-Qwen3-VL-2B-unsloth-bnb-4bit": Published(
        _QWEN3_4B,
        saved_by="4.57",
        packs=_skips(*_LIST_2B),
        quantization=_unsloth(*_LIST_2B),
        vision=_DEPTH_24,
        top=_UNSLOTH_TOP,
    ),
    "unsloth-Qwen3-VL-8B-unsloth-bnb-4bit": Published(
        _QWEN3_8B,
        saved_by="4.57",
        shards=2,
        packs=_IS_PACKED_8B,
        quantization=_unsloth(*_FULL_NAMES_8B),
        vision=_DEPTH_27,
        top=_UNSLOTH_TOP,
    ),
    "unsloth-Qwen2.5-VL-3B-unsloth-bnb-4bit": Published(
        _QWEN2_5_7B,
        _QWEN2_5_3B,
        saved_by="4.57",
        packs=_skips(*_LIST_2_5_3B),
        quantization=_unsloth(*_LIST_2_5_3B),
        vision=_DEPTH_12,
        top=_UNSLOTH_TOP,
        names="old",
    ),
    "unsloth-Qwen2.5-VL-7B-bnb-4bit": Published(
        _QWEN2_5_7B,
        saved_by="4.57",
        packs=_skips(*_AGE_OF_2_5),
        quantization=_unsloth(*_AGE_OF_2_5),
        top=_UNSLOTH_TOP,
        names="old",
    ),
    "Qwen3-VL-8B-bnb-skip-null": Published(
        _QWEN3_8B,
        saved_by="4.57",
        packs=_skips("lm_head"),
        quantization=UNSLOTH_CONFIG,
    ),
    "Qwen2.5-VL-7B-bnb-skip-null": Published(
        _QWEN2_5_7B,
        saved_by="4.57",
        packs=_skips("lm_head"),
        quantization=UNSLOTH_CONFIG,
        names="old",
    ),
    "Qwen3-VL-8B-bnb-wrong-list": Published(
        _QWEN3_8B,
        packs=_skips("lm_head", "visual"),
        quantization=_unsloth("model.language_model.layers.1", "vision_tower"),
    ),
    "Qwen3-VL-8B-bnb-float16": Published(
        _QWEN3_8B,
        dtype=torch.float16,
        packs=_skips("lm_head", "visual"),
        quantization=_unsloth("lm_head", "visual", bnb_4bit_compute_dtype="float16", bnb_4bit_use_double_quant=False),
    ),
    "Qwen3-VL-4B-bnb-tied": Published(
        _QWEN3_4B, packs=_skips("lm_head", "visual"), quantization=_unsloth("lm_head", "model.visual")
    ),
    # What can't be used, and is to be refused in one line.
    "Qwen3-VL-8B-bnb-fp4": Published(
        _QWEN3_8B, quantization=_unsloth("lm_head", bnb_4bit_quant_type="fp4"), refused="fp4"
    ),
    "Qwen3-VL-8B-bnb-8bit": Published(
        _QWEN3_8B,
        quantization=_unsloth(
            "lm_head", load_in_4bit=False, load_in_8bit=True, _load_in_4bit=False, _load_in_8bit=True
        ),
        refused="to 8 bits",
    ),
    "Qwen2.5-VL-7B-Instruct-AWQ": Published(
        _QWEN2_5_7B,
        quantization={
            **{"bits": 4, "group_size": 128, "modules_to_not_convert": ["visual"], "quant_method": "awq"},
            **{"version": "gemm", "zero_point": True},
        },
        names="old",
        refused="awq",
    ),
    "Qwen3-VL-8B-GPTQ-Int4": Published(
        _QWEN3_8B,
        quantization={"bits": 4, "group_size": 128, "quant_method": "gptq", "sym": True, "desc_act": False},
        refused="gptq",
    ),
    "Qwen3-VL-8B-Instruct-FP8": Published(
        _QWEN3_8B,
        quantization={
            **{"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]},
            "ignored_layers": ["lm_head", "model.visual.merger.linear_fc1"],
        },
        refused="fp8",
    ),
    "olmOCR-2-7B-FP8": Published(
        _QWEN2_5_7B,
        quantization={"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"]},
        refused="compressed-tensors",
    ),
    "Qwen3-VL-8B-torchao": Published(
        _QWEN3_8B, quantization={"quant_method": "torchao", "quant_type": "int4_weight_only"}, refused="torchao"
    ),
    "Qwen3-VL-8B-unknown-method": Published(_QWEN3_8B, quantization={"bits": 3}, refused="an unnamed method"),
    "Qwen3.5-9B": Published("Qwen__Qwen3.5-9B", refused="qwen3_5"),
    "Qwen3-VL-30B-A3B": Published(
        _QWEN3_8B,
        text={
            **{"model_type": "qwen3_vl_moe_text", "num_experts": 128, "num_experts_per_tok": 8},
            **{"moe_intermediate_size": 768, "decoder_sparse_step": 1, "mlp_only_layers": []},
        },
        vision={"model_type": "qwen3_vl_moe"},
        top={"model_type": "qwen3_vl_moe", "architectures": ["Qwen3VLMoeForConditionalGeneration"]},
        refused="qwen3_vl_moe",
    ),
    "Qwen2-VL-7B-Instruct": Published(
        _QWEN2_5_7B,
        top={"model_type": "qwen2_vl", "architectures": ["Qwen2VLForConditionalGeneration"]},
        names="old",
        refused="qwen2_vl",
    ),
    "Qwen3-8B-text": Published(
        _QWEN3_8B,
        top={"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "vision_config": None},
        refused="a model without a vision tower",
    ),
}
"""By name."""

WORKING = [name for name, kind in PUBLISHED.items() if not kind.refused]
REFUSED = [name for name, kind in PUBLISHED.items() if kind.refused]
PACKED = [name for name in WORKING if PUBLISHED[name].packs]


def write_published(name: str, sources: Path, folder: Path, *, seed: int = 0) -> Path:
    """Write one of `PUBLISHED` and return its folder.

    Args:
        name: which.
        sources: the folder `checkpoints` of the shared data.
        folder: is created.
        seed: draws the weights.
    """
    kind = PUBLISHED[name]
    folder.mkdir(parents=True)
    files = sources / kind.files
    first_added = _FIRST_ADDED.get(kind.files, 151_643)
    shift = _write_tokenizer(kind, files, folder, first_added)
    _write_pictures(kind, files, folder)
    config = _write_config(kind, sources / (kind.config_from or kind.files), folder, shift)
    if kind.refused:
        # Refused unread: one layer shows how the others would be stored.
        _save(folder, {"lm_head.weight": torch.zeros(4, 4), **_store_like(kind.quantization or {})}, 1)
        return folder
    _write_weights(kind, config, folder, seed)
    return folder


def _store_like(quantization: Json) -> dict[str, Tensor]:
    """Return one layer as a method stores it."""
    layer = "model.language_model.layers.0.self_attn.q_proj"
    bytes_, numbers = torch.zeros(64, 64, dtype=torch.int8), torch.ones(64)
    match quantization.get("quant_method"):
        case "bitsandbytes" if quantization["load_in_8bit"]:
            return {f"{layer}.weight": bytes_, f"{layer}.SCB": numbers}
        case "bitsandbytes":
            return _pack(f"{layer}.weight", torch.ones(64, 64), kind=quantization["bnb_4bit_quant_type"])
        case "awq" | "gptq":
            return {
                f"{layer}.qweight": bytes_.int(),
                f"{layer}.qzeros": bytes_.int(),
                f"{layer}.scales": numbers.half(),
            }
        case "fp8" | "compressed-tensors":
            scale = "weight_scale_inv" if quantization["quant_method"] == "fp8" else "weight_scale"
            return {f"{layer}.weight": bytes_.to(torch.float8_e4m3fn), f"{layer}.{scale}": numbers}
        case _:
            return {f"{layer}.weight": bytes_}


def write_adapter_files(sources: Path, folder: Path) -> Path:
    """Write the side files that a LoRA save of Qwen2.5-VL left beside its adapter (no weights), and return the folder.

    Token ids fit the checkpoints made here.
    """
    folder.mkdir(parents=True)
    files = sources / _ADAPTER
    shift = _write_tokenizer(PUBLISHED["Qwen2.5-VL-7B-text-template"], files, folder, 151_643)
    shutil.copy(files / "preprocessor_config.json", folder)
    shutil.copy(files / "adapter_config.json", folder)
    added = _read(files / "added_tokens.json")
    _dump(folder / "added_tokens.json", {token: shift(token_id) for token, token_id in added.items()})
    return folder


def _write_tokenizer(kind: Published, files: Path, folder: Path, first_added: int) -> Callable[[int], int]:
    """Write tokenizer.json and its settings; return what moves a published token id down to this vocabulary."""
    settings = _read(files / "tokenizer_config.json")
    added = {int(token_id): token for token_id, token in settings["added_tokens_decoder"].items()}
    base = json.loads(train_tokenizer(_CORPUS, 320).backend_tokenizer.to_str())
    number = len(base["added_tokens"])  # Qwen's special tokens come first there, and last in what is published
    vocabulary = {text: token_id - number for text, token_id in base["model"]["vocab"].items() if token_id >= number}
    top = len(vocabulary)

    def shift(token_id: int) -> int:
        return token_id - first_added + top if token_id >= first_added else token_id

    base["model"]["vocab"] = vocabulary
    base["added_tokens"] = [{"id": shift(token_id), **token} for token_id, token in sorted(added.items())]
    _dump(folder / "tokenizer.json", base)
    _dump(folder / "vocab.json", vocabulary)
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in base["model"]["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    settings["added_tokens_decoder"] = {str(shift(token_id)): token for token_id, token in added.items()}
    _write_template(kind, files, folder, settings)
    return shift


def _write_template(kind: Published, files: Path, folder: Path, settings: Json) -> None:
    """Write tokenizer_config.json, and the template where the layout wants it."""
    beside = files / "chat_template.json"
    if kind.saved_by == "hub":
        if kind.template == "json only":
            settings.pop("chat_template", None)
        for path in files.glob("chat_template*"):
            shutil.copy(path, folder)
    else:
        template = settings.pop("chat_template", None) or _read(beside)["chat_template"]
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    if kind.saved_by == "4.57":
        added = settings["added_tokens_decoder"]
        _dump(folder / "added_tokens.json", {token["content"]: int(token_id) for token_id, token in added.items()})
        _dump(folder / "special_tokens_map.json", _special_tokens_map(settings))
        settings |= {"extra_special_tokens": {}, "processor_class": "Qwen3VLProcessor"}
    if kind.saved_by == "5":
        del settings["added_tokens_decoder"]
        settings["extra_special_tokens"] = settings.pop("additional_special_tokens")
        settings |= {"backend": "tokenizers", "is_local": False, "processor_class": "Qwen3VLProcessor"}
    _dump(folder / "tokenizer_config.json", settings)


def _special_tokens_map(settings: Json) -> Json:
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {
        "additional_special_tokens": settings["additional_special_tokens"],
        "eos_token": {"content": settings["eos_token"], **plain},
        "pad_token": {"content": settings["pad_token"], **plain},
    }


def _write_pictures(kind: Published, files: Path, folder: Path) -> None:
    """Write the picture settings: the published file, with the nulls of 4.57, or inside processor_config.json."""
    settings = _read(files / "preprocessor_config.json")
    video = files / "video_preprocessor_config.json"
    filled = settings | {"do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True}
    filled |= {"resample": 3, "rescale_factor": 1 / 255, "data_format": "channels_first"}
    if "size" not in filled:
        filled["size"] = {"shortest_edge": filled["min_pixels"], "longest_edge": filled["max_pixels"]}
    if kind.saved_by == "5":
        for key in ("min_pixels", "max_pixels"):
            filled.pop(key, None)
        processor = filled.pop("processor_class")
        _dump(folder / "processor_config.json", {"image_processor": filled, "processor_class": processor})
        return
    if kind.saved_by == "4.57":
        nulls = ("crop_size", "device", "disable_grouping", "do_center_crop", "do_pad", "input_data_format", "pad_size")
        filled |= dict.fromkeys((*nulls, "max_pixels", "min_pixels", "return_tensors")) | {"default_to_square": True}
        settings = filled
    _dump(folder / "preprocessor_config.json", settings)
    if video.is_file():
        shutil.copy(video, folder)


def _write_config(kind: Published, files: Path, folder: Path, shift: Callable[[int], int]) -> Json:
    """Write config.json and generation_config.json with small sizes; return the config."""
    published = files / "config.json.backup"  # the one beside it was edited by whoever kept it
    config = _read(published if published.is_file() else files / "config.json")
    _move_ids(config, shift)
    text, vision = config.get("text_config", config), config["vision_config"]
    shapes = _SHAPES.get(config["model_type"], _SHAPES["qwen3_vl"])
    for part, small, changed in ((text, shapes[0] | _HEADS, kind.text), (vision, shapes[1], kind.vision)):
        for key in small.keys() & part.keys():
            part[key] = small[key]
        part |= changed
    tokens = _read(folder / "tokenizer.json")
    text["vocab_size"] = -(-(len(tokens["model"]["vocab"]) + len(tokens["added_tokens"]) + 1) // 64) * 64
    for rope in (text.get("rope_scaling"), text.get("rope_parameters")):
        if rope:
            rope["mrope_section"] = _SECTIONS
    top = json.loads(json.dumps(kind.top))
    _move_ids(top, shift)
    config |= top
    config = {key: value for key, value in config.items() if value is not None}
    if kind.saved_by == "5":
        _rename_as_5(config, text)
    if kind.quantization is not None:
        config["quantization_config"] = kind.quantization
    _dump(folder / "config.json", config)
    generation = files / "generation_config.json"
    if generation.is_file():
        settings = _read(generation)
        _move_ids(settings, shift)
        _dump(folder / "generation_config.json", settings)
    return config


def _rename_as_5(config: Json, text: Json) -> None:
    rope = {"rope_type": "default"} | text.pop("rope_scaling") | {"rope_theta": text.pop("rope_theta")}
    rope.pop("type", None)
    text["rope_parameters"] = rope
    config["dtype"] = config.pop("torch_dtype", "bfloat16")
    config["transformers_version"] = "5.0.0"
    if text is config:  # transformers 5 nests what Qwen2.5-VL published flat
        inner = ("attention_dropout", "hidden_act", "hidden_size", "initializer_range", "intermediate_size")
        inner += ("max_position_embeddings", "max_window_layers", "num_attention_heads", "num_hidden_layers")
        inner += ("num_key_value_heads", "rms_norm_eps", "rope_parameters", "use_cache", "use_sliding_window")
        inner += ("vocab_size", "bos_token_id", "eos_token_id", "sliding_window")
        config["text_config"] = {"model_type": "qwen2_5_vl_text"} | {key: config.pop(key) for key in inner}


def _move_ids(config: Json, shift: Callable[[int], int]) -> None:
    for key, value in config.items():
        if isinstance(value, dict):
            _move_ids(value, shift)
        elif key.endswith("_token_id") and value is not None:
            config[key] = [shift(token) for token in value] if isinstance(value, list) else shift(value)


def _write_weights(kind: Published, config: Json, folder: Path, seed: int) -> None:
    """Write random weights under the published names, sharded and packed as asked."""
    family = FAMILIES[config["model_type"]]
    with torch.device("meta"):
        model = family.model_class(family.model_class.config_class.from_dict(dict(config)))
    generator = torch.Generator().manual_seed(seed)
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    tensors: dict[str, Tensor] = {}
    is_tied = config.get("tie_word_embeddings")
    for name, meta in model.state_dict().items():
        if is_tied and name == "lm_head.weight":
            continue
        values = _draw(name, meta.shape, generator).to(kind.dtype)
        layer = name.removesuffix(".weight")
        published = _old_name(name) if kind.names == "old" else name
        tensors[published] = values
        if kind.packs and kind.packs(layer) and layer in linear and name.endswith(".weight"):
            double = bool(kind.quantization and kind.quantization["bnb_4bit_use_double_quant"])
            tensors |= _pack(published, values, double=double)
    _save(folder, tensors, kind.shards)


def _draw(name: str, shape: Iterable[int], generator: torch.Generator) -> Tensor:
    values = torch.randn(tuple(shape), generator=generator)
    return 1 + 0.1 * values if re.search(r"norm\w*\.weight$|ln_q\.weight$", name) else 0.1 * values


def _pack(name: str, values: Tensor, *, double: bool = True, kind: str = "nf4") -> dict[str, Tensor]:
    packed, state = quantize_4bit(values, blocksize=64, compress_statistics=double, quant_type=kind)
    beside = {f"{name}.{key}": value for key, value in state.as_dict(packed=True).items()}
    return {name: packed, **{key: value.contiguous() for key, value in beside.items()}}


def _old_name(name: str) -> str:
    return name.removeprefix("model.") if ".visual." in name else name.replace("model.language_model.", "model.")


def _save(folder: Path, tensors: Mapping[str, Tensor], shards: int) -> None:
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        return
    where: dict[str, str] = {}
    names = sorted(tensors)
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        # Neighbors are cut apart anywhere, a packed weight from its statistics too.
        part = names[shard * len(names) // shards : (shard + 1) * len(names) // shards]
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(part, file)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    _dump(folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": where})


def _read(path: Path) -> Json:
    content: Json = json.loads(path.read_text(encoding="utf-8"))
    return content


def _dump(path: Path, content: Json) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
