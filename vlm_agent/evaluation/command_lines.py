"""The command line that a stage's settings come from, every setting written out: what a report says of its making."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any


def write_command(name: str, settings: Any) -> str:
    """Return `vlm-agent NAME` with every setting of a dataclass as a flag, those of inner dataclasses after a dot."""
    return shlex.join(["vlm-agent", name, *_list_flags("", settings)])


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
