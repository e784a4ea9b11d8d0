"""Loading a Qwen-VL checkpoint: which family, which precision, which adapter, on which device.

A model is named by a folder, by a run's folder (its base and adapter), by a name on the hub, or as `nano` (also
`base`), the small model that ships with the package. Everything is checked after loading: a checkpoint that can't be
used as asked is one `ModelError`, never a model that quietly computes something else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen3VLForConditionalGeneration
from transformers.utils import logging as hf_logging

from vlm_agent.errors import ConfigError, ModelError
from vlm_agent.models.adapters import adapts_vision, load_adapter
from vlm_agent.models.chat_templates import check_trained_template, find_chat_template
from vlm_agent.models.checkpoints import (
    ADAPTER_CONFIG,
    BUNDLED_NAMES,
    RECIPE_FILE,
    find_adapter,
    find_checkpoint,
    find_tuned,
)
from vlm_agent.models.encoding import ChatEncoder
from vlm_agent.models.finite import check_finite
from vlm_agent.models.heap import share_one_heap
from vlm_agent.models.identity import BaseIdentity, check_base, read_identity
from vlm_agent.models.images import ImageSettings, read_image_settings
from vlm_agent.models.patch_embedding import multiply_patches
from vlm_agent.models.quantized import (
    KEPT_MODULES,
    cast_whole_weights,
    check_quantised,
    list_whole_layers,
    nf4_config,
    prepare_4bit_layers,
    set_quantization,
    unpack_outside_language,
)
from vlm_agent.models.records import find_record, list_record_notes
from vlm_agent.models.refusals import (
    Base,
    Quantization,
    check_vocabulary,
    inspect_base,
    read_config,
    require_weights,
)
from vlm_agent.models.unsloth_models import read_with_unsloth

SHOWN_BYTES = 1_000_000_000
"""Weights above this size are loaded under a progress bar."""

CPU_DTYPE_VARIABLE = "VLM_AGENT_CPU_DTYPE"
"""Environment variable that says what 4-bit layers are multiplied in on a CPU."""

Library = Literal["hf", "unsloth"]
"""What loads the weights, and puts a fresh adapter in: transformers and peft, or Unsloth, which changes both."""


@dataclass(frozen=True)
class Family:
    """What differs between the supported Qwen-VL generations."""

    model_type: str
    """`model_type` in config.json."""
    model_class: type[Any]
    """The transformers class."""
    coordinates: Literal["thousand", "pixels"]
    """How the family writes points: thousandths of the picture, or pixels of the resized picture."""


FAMILIES = {
    family.model_type: family
    for family in (
        Family("qwen3_vl", Qwen3VLForConditionalGeneration, "thousand"),
        Family("qwen2_5_vl", Qwen2_5_VLForConditionalGeneration, "pixels"),
    )
}
"""By `model_type`."""


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint ready to run, and what must be known to run it."""

    model: Any
    """The transformers model, adapters inside it; in eval mode."""
    encoder: ChatEncoder
    """Messages and picture sizes to ids."""
    family: Family
    """Its generation."""
    quantization: Quantization
    """What its language layers are in."""
    source: str
    """What it was asked for as: `nano`, a hub name, or an absolute folder."""
    identity: BaseIdentity
    """Who the checkpoint is, by weights, config, tokenizer, template and picture settings; adapters carry it."""
    adapter: Path | None = None
    """Folder of the adapter in use, if any."""
    record: dict[str, Any] | None = None
    """What is known of how it was tuned: its `recipe.json`, or what stands in for one; none of a base."""
    peft: Any = None
    """The peft wrapper around `model` where there is an adapter."""
    library: Library = "hf"
    """What loaded it."""
    mixes: bool = False
    """Whether its weights are float32 and products are computed in bfloat16, as full training wants it on a card."""
    runner: Any = None
    """Runs a function with the weights there that other processes hold (see `training.sharding`); none: they are."""

    @property
    def fingerprint(self) -> str:
        """Hash of the weights on disk."""
        return self.identity.weights

    @property
    def sees_anew(self) -> bool:
        """Whether features of pictures change while it is trained, so that they can't be kept."""
        return any(parameter.requires_grad for parameter in self.model.model.visual.parameters()) or (
            self.peft is not None and adapts_vision(self.peft)
        )

    @property
    def tuned(self) -> Path | None:
        """The folder that tells how it was tuned, and is to be spoken to: its adapter's, or its own; none of a base."""
        if self.adapter is not None or self.source in BUNDLED_NAMES:
            return self.adapter
        return find_tuned(Path(self.source))

    def list_notes(self) -> list[str]:
        """Return what of its base could not be checked, a sentence each."""
        return [] if self.record is None or self.tuned is None else list_record_notes(self.record, self.tuned)

    @property
    def tokenizer(self) -> Any:
        """The checkpoint's tokenizer."""
        return self.encoder.tokenizer

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        device: torch.device = self.model.lm_head.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the parts that are not quantised."""
        dtype: torch.dtype = self.model.lm_head.weight.dtype
        return dtype

    @property
    def context_tokens(self) -> int:
        """The longest sequence that it was made for."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    @contextmanager
    def adapter_disabled(self) -> Iterator[None]:
        """Within the context the model is exactly its base, same weights, same 4-bit layers."""
        with self.peft.disable_adapter() if self.peft is not None else nullcontext():
            yield


def load_model(  # noqa: PLR0913 - each is a setting of its own
    name_or_path: str | Path,
    *,
    quantization: Quantization = "nf4",
    adapter: Path | None = None,
    device: str = "auto",
    trainable: bool = False,
    library: Library = "hf",
    in_float32: bool = False,
    recipe: Path | None = None,
) -> LoadedModel:
    """Load a checkpoint, quantise it if asked, and put an adapter into it.

    Args:
        name_or_path: `nano` or `base`; a checkpoint's folder, plain or already quantised; a run, adapter or fully tuned
            folder, which brings its own base and precision; or a name on the hub.
        quantization: precision of the language layers; a checkpoint that is already in NF4 can't be had as `none`.
        adapter: folder of an adapter made for this base.
        device: `cpu`, `cuda`, `cuda:1`, or `auto` (CUDA where there is one).
        trainable: whether the model is to be trained: the adapter's weights get gradients, and on a CPU the threads of
            this process share one heap from then on.
        library: what loads it; `unsloth` must have been imported before transformers (see `training.engines`).
        in_float32: keep the weights in float32 also where a card has bfloat16: small steps are lost in that.
        recipe: for an adapter from elsewhere: the run, or the file of a recipe, that says how it is asked.

    Raises:
        ModelError: no such model, not a Qwen-VL checkpoint, damaged weights, or an adapter of another base.
    """
    name = str(name_or_path)
    tuned = None if name in BUNDLED_NAMES else find_adapter(Path(name)) or find_tuned(Path(name))
    is_adapter = tuned is not None and (tuned / ADAPTER_CONFIG).is_file()
    record: dict[str, Any] | None
    if adapter is not None:
        if is_adapter:
            raise ModelError(f"{name} is an adapter already; give its base as the model to use {adapter} with it")
        tuned, is_adapter = find_adapter(Path(adapter)), True
        if tuned is None:
            raise ModelError(f"{adapter}: no adapter here (expected adapter_config.json)")
        record = find_record(tuned, recipe, base=name)
    else:
        record = _find_record(name, tuned, recipe, trainable=trainable)
        if record is not None:
            quantization = record["base"]["quantization"]
            name = record["base"]["source"] if is_adapter else name
    place = pick_device(device)
    if trainable and place.type == "cpu":
        share_one_heap()
    told_by = tuned if record is not None and is_adapter and adapter is None else None
    loaded = _load_base(find_checkpoint(name, told_by=told_by), quantization, place, library, in_float32=in_float32)
    if tuned is None or record is None:
        return loaded
    check_trained_template(loaded.encoder.template, record["base"], tuned)
    check_base(record["base"], loaded.identity, tuned)
    if not is_adapter:
        return replace(loaded, record=record)
    try:
        wrapped = load_adapter(loaded.model, tuned, trainable=trainable)
    except ModelError as error:
        raise (ModelError(f"{error}; {record['note']}") if "note" in record else error) from error
    return replace(loaded, adapter=tuned, record=record, peft=wrapped)


def _find_record(name: str, tuned: Path | None, recipe: Path | None, *, trainable: bool) -> dict[str, Any] | None:
    if tuned is None:
        if recipe is not None:
            raise ModelError(f"--recipe {recipe}: is for an adapter that carries none, and {name} is no adapter")
        return None
    if trainable and not (tuned / RECIPE_FILE).is_file():
        raise ModelError(
            f"{tuned}: an adapter from elsewhere, without {RECIPE_FILE}, can be played and compared but not trained"
            " further; give its base"
        )
    return find_record(tuned, recipe)


def _load_base(
    found: tuple[str, Path], quantization: Quantization, device: torch.device, library: Library, *, in_float32: bool
) -> LoadedModel:
    source, folder = found
    base = inspect_base(folder, quantization)
    require_weights(base)
    config = read_model_config(base)
    encoder = read_encoder(folder)
    computes_in = pick_dtype(device)
    dtype = torch.float32 if in_float32 else computes_in
    options: dict[str, Any] = {"dtype": dtype, "attn_implementation": "sdpa", "local_files_only": True}
    if device.type == "cuda":
        options["device_map"] = {"": str(device)}
    if quantization == "nf4" and not base.is_packed:
        options["quantization_config"] = nf4_config(dtype)
    check_finite(base.stored.files)
    if library == "unsloth":
        model = read_with_unsloth(folder, options, in_4bit=quantization == "nf4")
    else:
        model = _read_weights(base, config, options)
        cast_whole_weights(model, dtype)
    if quantization == "nf4":
        unpack_outside_language(model, dtype)
        check_quantised(model, all_language_layers=not base.is_packed)
        if library == "hf":
            prepare_4bit_layers(model, dtype if in_float32 else pick_compute_dtype(device), device)
    if library == "hf":
        multiply_patches(model)
    model.requires_grad_(False)
    model.eval()
    return LoadedModel(
        model,
        encoder,
        FAMILIES[base.model_type],
        quantization,
        source,
        read_identity(folder, encoder),
        library=library,
        mixes=dtype != computes_in,
    )


def read_model_config(base: Base) -> Any:
    """Return the transformers config of a checkpoint; what it says of quantisation is what the weights are.

    Raises:
        ModelError: config.json can't be used.
    """
    model_class = FAMILIES[base.model_type].model_class
    try:
        config = model_class.config_class.from_pretrained(base.folder, local_files_only=True)
        set_quantization(config, None)
        with torch.device("meta"):
            model = model_class(deepcopy(config))  # a model writes into its config
    except _UNREADABLE as error:
        raise ModelError(f"{base.folder}: config.json can't be used: {_first_line(error)}") from error
    if base.is_packed:
        # Without weights all language layers are taken to be packed, as they are in most checkpoints.
        packed = base.stored.packed
        set_quantization(config, list_whole_layers(model, packed) if packed else KEPT_MODULES)
    return config


_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    AssertionError,
    RuntimeError,
    ArithmeticError,
    LookupError,
    MemoryError,
    StrictDataclassError,
)
"""What transformers raises on a config or tokenizer that can't be."""


def _read_weights(base: Base, config: Any, options: dict[str, Any]) -> nn.Module:
    folder = base.folder
    try:
        with _quiet_if_small(folder), _without_reports():
            model, report = FAMILIES[base.model_type].model_class.from_pretrained(
                folder,
                config=config,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are told below
                use_safetensors=True,
                **options,
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"{folder}: the weights can't be loaded: {_first_line(error)}") from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(report.get(kind) or ()):
            raise ModelError(f"{folder}: weights don't fit the config: {len(keys)} {kind}, the first {keys[0]}")
    loaded: nn.Module = model
    return loaded


@contextmanager
def _without_reports() -> Iterator[None]:
    """Keep transformers from printing tables of weights that don't fit: one line of ours says it."""
    level = hf_logging.get_verbosity()
    hf_logging.set_verbosity_error()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)


@contextmanager
def _quiet_if_small(folder: Path) -> Iterator[None]:
    """Show transformers' bar only where loading takes a while."""
    num_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    if num_bytes > SHOWN_BYTES or not hf_logging.is_progress_bar_enabled():
        yield
        return
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.enable_progress_bar()


def read_encoder(folder: Path) -> ChatEncoder:
    """Return what encodes messages and pictures for the checkpoint in a folder; its weights are not read.

    Raises:
        ModelError: its tokenizer, chat template or picture settings can't be used, or are of another model.
    """
    tokenizer, images, config = read_tokenizer(folder), read_image_settings(folder), read_config(folder)
    check_vocabulary(tokenizer, config, folder)
    _check_patches(images, config, folder)
    return ChatEncoder(tokenizer, images, find_chat_template(folder, tokenizer))


def _check_patches(images: ImageSettings, config: Mapping[str, Any], folder: Path) -> None:
    """Raise ModelError where pictures would be cut otherwise than the vision tower takes them."""
    tower = FAMILIES[config["model_type"]].model_class.config_class.sub_configs["vision_config"]()
    told = config.get("vision_config") or {}
    names = ("patch_size", "spatial_merge_size", "temporal_patch_size")
    wanted = tuple(told.get(name, getattr(tower, name)) for name in names)
    got = (images.patch_px, images.merge, images.temporal_patch)
    if got != wanted:
        raise ModelError(
            f"{folder}: preprocessor_config.json cuts pictures otherwise than the model takes them: patch, merge and"
            f" temporal patch are {got}, and {wanted} in config.json"
        )


def read_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a checkpoint's folder.

    Raises:
        ModelError: it has none that can be used.
    """
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except _UNREADABLE as error:
        raise ModelError(f"{folder}: no usable tokenizer: {_first_line(error)}") from error


def pick_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 on a GPU that computes in it, else float32 (float16 overflows in these models)."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def pick_compute_dtype(device: torch.device) -> torch.dtype:
    """Return what 4-bit layers are multiplied in.

    On a CPU that is bfloat16 where it has instructions for that, as on a card: it takes a quarter of the time. Set
    `VLM_AGENT_CPU_DTYPE=float32` where results must be those of CPUs without.

    Raises:
        ConfigError: that variable holds another word than `auto`, `float32` or `bfloat16`.
    """
    if device.type != "cpu":
        return pick_dtype(device)
    asked = os.environ.get(CPU_DTYPE_VARIABLE, "auto")
    if asked not in ("auto", "float32", "bfloat16"):
        raise ConfigError(f"{CPU_DTYPE_VARIABLE} must be auto, float32 or bfloat16, got {asked!r}")
    able = torch.cpu.get_capabilities()
    is_quick = able.get("avx512_bf16") or able.get("amx_bf16")
    return torch.bfloat16 if asked == "bfloat16" or (asked == "auto" and is_quick) else torch.float32


def pick_device(device: str) -> torch.device:
    """Return the device of that name; `auto` is CUDA where there is one.

    Raises:
        ModelError: there is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"no such device: {device}") from error
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"{device}: this machine has no CUDA device, or torch is its CPU build")
    return picked


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
