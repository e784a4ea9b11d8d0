"""Settings and the flags they come from: what a report says of its making, and what is too little for a setting."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from vlm_agent.errors import ConfigError


def write_command(name: str, settings: Any) -> str:
    """Return `vlm-agent NAME` with every setting of a dataclass as a flag, those of inner dataclasses after a dot."""
    return shlex.join(["vlm-agent", name, *_list_flags("", settings)])


def check_least(settings: Any, least_of: Mapping[str, float], prefix: str = "") -> None:
    """Raise ConfigError for the first setting below what it must be at least; none of a setting is never too little."""
    for name, least in least_of.items():
        value = getattr(settings, name)
        if value is not None and value < least:
            raise ConfigError(f"--{prefix}{name.replace('_', '-')} must be at least {least}, got {value}")


def _list_flags(prefix: str, settings: Any) -> Iterator[str]:
    for one in fields(settings):
        name, value = one.name.replace("_", "-"), getattr(settings, one.name)
        if is_dataclass(value):
            yield from _list_flags(f"{prefix}{name}.", value)
        elif isinstance(value, bool):
            yield f"--{prefix}{'' if value else 'no-'}{name}"
        elif isinstance(value, tuple):
            yield from (f"--{prefix}{name}", *map(str, value)) if value else ()
        elif value is not None:
            yield from (f"--{prefix}{name}", str(value))
