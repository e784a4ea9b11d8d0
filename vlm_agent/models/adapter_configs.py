"""Reading an `adapter_config.json`, whoever wrote it: as peft reads it, but nothing in it is passed over in silence."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner

from vlm_agent.errors import ModelError
from vlm_agent.models.checkpoints import ADAPTER_CONFIG

_SAYS_NOTHING = ("peft_version", "auto_mapping", "runtime_config")
"""Fields that change no number."""

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
        fields = json.loads(path.read_text(encoding="utf-8"))
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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config = config_class(**given)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise ModelError(f"{path}: the adapter can't be read: {_first_line(error)}") from error
    check_kind(config, folder)
    return config


def _list_values(value: Any) -> Iterator[Any]:
    """Yield every value of a JSON document that is neither object nor list."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _list_values(part)
        return
    yield value


def _as_whole(value: Any) -> Any:
    """Return numbers such as 4.0 as whole ones; anything else is left for peft to judge."""
    if isinstance(value, dict):
        return {name: _as_whole(part) for name, part in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
