"""Which layers an adapter's config means, found out within a time limit and written down by their full names.

Configs may hold regular expressions, which may take for ever, and peft tries them on every layer. So they are tried
once, in a process that can be ended, and peft gets the names that they matched.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from peft import PeftConfig

from vlm_agent.errors import ModelError
from vlm_agent.models.bounded_child import LimitError, run_bounded

_PROGRAM = Path(__file__).with_name("child_patterns.py")
_SIMPLE = re.compile(r"[\w.^$\\-]*")
"""Expressions without choices and repeats, which every engine tries in one go."""
_WHOLE, _ENDS = ("target_modules", "exclude_modules"), ("rank_pattern", "alpha_pattern")


def settle_patterns(config: PeftConfig, names: list[str], source: Path, *, trusted: tuple[str, ...] = ()) -> None:
    """Put the full names of modules in the place of regular expressions, in place.

    Args:
        config: an adapter's.
        names: of all modules that may be meant.
        source: is named where it can't be done.
        trusted: expressions that are left as they are.

    Raises:
        ModelError: an expression is broken or takes too long.
    """
    whole = {field: value for field in _WHOLE if isinstance(value := getattr(config, field, None), str)}
    whole = {field: value for field, value in whole.items() if value not in (*trusted, "all-linear")}
    ends = {field: value for field in _ENDS if (value := getattr(config, field, None))}
    ends = {field: value for field, value in ends.items() if not all(map(_SIMPLE.fullmatch, value))}
    if not whole and not ends:
        return
    matched: dict[str, set[str]] = {}
    for field, value in whole.items():
        matched[field] = set(_ask(field, {"whole": [value], "ends": [], "names": names}, source)["whole"][value])
    for field, value in ends.items():
        first = _ask(field, {"whole": [], "ends": list(value), "names": names}, source)["first"]
        setattr(config, field, {name: value[key] for name, key in first.items()})
    for field, found in matched.items():
        if not found and field == "target_modules":
            raise ModelError(f"{source}: its target_modules, {whole[field]!r:.80}, match no layer of its base")
        setattr(config, field, found)


def _ask(field: str, asked: dict[str, list[str]], source: Path) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = run_bounded(_PROGRAM, asked)
    except LimitError as error:
        raise ModelError(f"{source}: its {field} {error}: an expression that hardly ends") from error
    if "faults" in answer:
        raise ModelError(f"{source}: its {field} are no regular expression: {answer['faults']['fault']}")
    return answer
