"""How a comparison was made: enough to make it again, and to see what differs from another one."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from datetime import UTC, datetime
from typing import Any

from vlm_agent.evaluation.probing import Probe
from vlm_agent.evaluation.sides import Pair


def describe_making(command: str, pair: Pair, probe: Probe, *, seeds_apart: bool | None) -> dict[str, Any]:
    """Return command, models, recipe, probe, versions and machine as plain data."""
    from vlm_agent.training.runs import read_revision, read_versions

    recipe = pair.recipe
    return {
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "base": pair.base.to_json(),
        "tuned": pair.tuned.to_json(),
        "quantization": pair.quantization,
        "recipe": {
            "sha256": hash_json(recipe.to_json()),
            "system_prompt_sha256": recipe.system.sha256,
            "turn_prompt_sha256": recipe.turn.sha256,
            "codec": recipe.codec,
            "image_px": [recipe.image_width_px, recipe.image_height_px],
            "coordinates": recipe.coordinates,
        },
        "probe": probe.to_json(),
        "seeds_apart_from_demonstrations": seeds_apart,
        "versions": read_versions(),
        "git": read_revision(),
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count()},
    }


def hash_json(value: Any) -> str:
    """Return the sha256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
