"""Reading an `adapter_config.json`, whoever wrote it: within bounds, and nothing in it is passed over in silence."""

from __future__ import annotations

import dataclasses
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner

from vlm_agent.errors import ModelError
from vlm_agent.models.checkpoints import ADAPTER_CONFIG, MAX_CONFIG_BYTES
from vlm_agent.regular_files import read_json

_SAYS_NOTHING = ("peft_version", "auto_mapping", "runtime_config")
"""Fields that change no number."""

MAX_RANK = 4096
"""Of a low-rank adapter, and of whatever else a kind counts: an adapter of the width of its layers is none."""
MAX_NUMBER = 1e9
"""Of every other number in a config, either way."""

_PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
"""Ways to begin a LoRA that leave its base as it is: what was drawn is overwritten by what is saved."""

_PLAIN_LORA = frozenset(
    (
        *("peft_type", "task_type", "base_model_name_or_path", "revision", "inference_mode", "r", "lora_alpha"),
        *("lora_dropout", "target_modules", "exclude_modules", "target_parameters", "modules_to_save"),
        *("layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern", "trainable_token_indices"),
        *("fan_in_fan_out", "bias", "lora_bias", "use_rslora", "use_dora", "ensure_weight_tying"),
    )
)
"""The options of a LoRA that are followed; all others stay as they are in a config that doesn't name them."""
_BEGINNING = frozenset(("init_lora_weights", "loftq_config", "eva_config", "corda_config", "lora_ga_config"))
"""Options of a LoRA's first moment, which is over."""
_NO_NUMBERS = re.compile(r"seed|key|step|tinit|tfinal")
"""Names of numbers that measure nothing."""
_LITERAL = re.compile(r"[\w.\-]+")

_WHOLE = ("r", "rank_pattern")
"""Fields that hold whole numbers; some write 4.0."""

_LOOKS_AROUND = ("XLORA", "POLY", "SHADOW")
"""Kinds that read what the whole model is given, where the parts of a model are run here one by one."""


def check_kind(config: PeftConfig, source: Path | str) -> None:
    """Check that an adapter lives within a model's layers, so that running these is running the adapter.

    Raises:
        ModelError: it works around them (prompt and prefix tuning, routers), or for certain texts alone (aLoRA).
    """
    is_activated = bool(getattr(config, "alora_invocation_tokens", None))
    _check_kind("activated LoRA" if is_activated else str(getattr(config.peft_type, "value", config.peft_type)), source)


def _check_kind(kind: str, source: Path | str) -> None:
    tuner: Any = PEFT_TYPE_TO_TUNER_MAPPING.get(kind)  # type: ignore[call-overload]  # its keys are strings too
    if kind in _LOOKS_AROUND or not (isinstance(tuner, type) and issubclass(tuner, BaseTuner)):
        raise ModelError(
            f"{source}: an adapter of kind {kind} works around the layers, not in them, and can't be used here;"
            " give a LoRA or another kind that changes layers"
        )


def read_adapter_config(folder: Path) -> PeftConfig:
    """Return the config of an adapter's folder.

    Raises:
        ModelError: it is missing or broken, of a kind that the installed peft doesn't know, asks for something that
            peft doesn't know, or holds a number that is none.
    """
    path = folder / ADAPTER_CONFIG
    try:
        fields = read_json(path, MAX_CONFIG_BYTES)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: missing or broken; the adapter can't be read: {error}") from error
    if not isinstance(fields, dict):
        raise ModelError(f"{path}: expected an object; the adapter can't be read")
    kind = fields.get("peft_type", "LORA")
    config_class = PEFT_TYPE_TO_CONFIG_MAPPING.get(kind) if isinstance(kind, str) else None
    if config_class is None:
        raise ModelError(f"{path}: the installed peft knows no adapters of kind {kind!r}")
    _check_kind(kind, folder)
    if any(isinstance(value, float) and not math.isfinite(value) for value in _list_values(fields)):
        raise ModelError(f"{path}: holds a number that is not finite; the adapter can't be read")
    _check_sizes(fields, path)
    known = {field.name for field in dataclasses.fields(config_class)}
    # A number or a switch that is off may belong to an option that is not used; what is asked for must be known.
    asked = sorted(
        name
        for name in fields.keys() - known - set(_SAYS_NOTHING)
        if fields[name] and (isinstance(fields[name], bool) or not isinstance(fields[name], (int, float)))
    )
    if asked:
        raise ModelError(f"{path}: asks for {', '.join(asked)}, which the installed peft doesn't know; update peft")
    if fields.get("megatron_config"):
        # peft would import the module that the file names.
        raise ModelError(f"{path}: an adapter for Megatron, which can't be used here")
    given = {
        name: _as_whole(value) if name in _WHOLE else value
        for name, value in fields.items()
        if name in known and name not in _SAYS_NOTHING
    }
    if kind == "LORA":
        given = _settle_lora(given, config_class, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = config_class(**given)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise ModelError(f"{path}: the adapter can't be read: {_first_line(error)}") from error
    check_kind(config, folder)
    return config


def _settle_lora(given: dict[str, Any], config_class: Any, path: Path) -> dict[str, Any]:
    """Return the options of a LoRA that are followed; how it was begun is over, and is never done again.

    Raises:
        ModelError: it was begun in a way that changes its base, or asks for what is not followed here.
    """
    start = given.get("init_lora_weights")
    if not isinstance(start, (bool, str, type(None))) or start not in _PLAIN_STARTS:
        raise ModelError(
            f"{path}: init_lora_weights is {start!r:.40}, which would change the base; save the adapter converted to a"
            " plain LoRA (peft's save_pretrained with path_initial_model_for_weight_conversion)"
        )
    usual = {
        field.name: field.default_factory() if callable(field.default_factory) else field.default
        for field in dataclasses.fields(config_class)
    }
    others = given.keys() - _PLAIN_LORA - _BEGINNING
    if asked := sorted(name for name in others if given[name] and given[name] != usual[name]):
        raise ModelError(f"{path}: asks for {', '.join(asked)}, which is not followed here; give a plain LoRA")
    return {name: value for name, value in given.items() if name in _PLAIN_LORA}


def _check_sizes(fields: dict[str, Any], path: Path) -> None:
    """Raise ModelError for numbers that no adapter has, or that are none, and for names that are expressions."""
    for name, value in fields.items():
        numbers = [one for one in _list_values(value) if isinstance(one, (int, float)) and not isinstance(one, bool)]
        if any(abs(one) > MAX_NUMBER for one in numbers) and not _NO_NUMBERS.search(name):
            raise ModelError(f"{path}: {name} holds a number above {MAX_NUMBER:.0e}; the adapter can't be read")
    for name in ("r", "rank_pattern", "lora_alpha", "alpha_pattern", "lora_dropout"):
        held = _list_values(fields[name]) if name in fields else ()
        for value in held:
            is_rank = name in _WHOLE
            if value is None:
                continue
            if isinstance(value, (bool, str)) or (is_rank and not 0 <= value <= MAX_RANK):
                expected = f"0 to {MAX_RANK}" if is_rank else "a number"
                raise ModelError(f"{path}: {name} must be {expected}, got {value!r:.40}")
    for name in ("modules_to_save", "layers_pattern"):
        held = fields.get(name) or ()
        for value in [held] if isinstance(held, str) else held:
            # Peft takes these for regular expressions.
            if not isinstance(value, str) or not _LITERAL.fullmatch(value):
                raise ModelError(f"{path}: {name} must name modules, got {value!r:.40}")


def _list_values(value: Any) -> Iterator[Any]:
    """Yield every value of a JSON document that is neither object nor list."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, (dict, list)):
            waiting += one.values() if isinstance(one, dict) else one
        else:
            yield one


def _as_whole(value: Any) -> Any:
    """Return numbers such as 4.0 as whole ones; anything else is left for peft to judge."""
    if isinstance(value, dict):
        return {name: _as_whole(part) for name, part in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
