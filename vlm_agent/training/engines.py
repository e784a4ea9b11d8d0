"""Which engine trains: found out, and made ready, before anything heavy is imported.

`hf` and `unsloth` run this project's loop, over a model that transformers or Unsloth has loaded; `trl` runs TRL's
SFTTrainer (see `trl_engine`). The folder that comes out is the same.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING

from vlm_agent.errors import ConfigError
from vlm_agent.training.config import Engine, EngineName

if TYPE_CHECKING:
    from vlm_agent.models.loading import Library, LoadedModel
    from vlm_agent.training.loop import Material

INSTALL = "pip install -c constraints-gpu.txt 'vlm-agent[gpu]'"
LAYOUT_TOLERANCE = 0.02
"""Losses of one window laid out alone and among others may differ so far, as a share; bfloat16 rounds."""


def pick_engine(asked: Engine, device: str, *, full: bool = False) -> EngineName:
    """Return the engine to train with, and import Unsloth if it is that: it has to come before transformers.

    Args:
        asked: what the settings say.
        device: `cpu`, `cuda`, `cuda:1`, or `auto`.
        full: whether all weights are trained, which the engine `hf` does.

    Raises:
        ConfigError: Unsloth was asked for and can't be had.
    """
    if asked in ("hf", "trl") or (asked == "auto" and full):
        return "trl" if asked == "trl" else "hf"
    import torch

    on_card = device != "cpu" and torch.cuda.is_available()
    is_installed = "unsloth" in sys.modules or importlib.util.find_spec("unsloth") is not None
    if asked == "auto" and not (on_card and is_installed):
        return "hf"
    if not is_installed:
        raise ConfigError(f"--train.engine unsloth: not installed; {INSTALL} (needs a CUDA card), or leave it out")
    if not on_card:
        raise ConfigError(
            "--train.engine unsloth: needs a CUDA card and torch's CUDA build; use --train.engine hf here"
        )
    try:
        importlib.import_module("unsloth")
    except (ImportError, NotImplementedError, RuntimeError, OSError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise ConfigError(f"--train.engine unsloth: can't be imported ({reason}); {INSTALL}") from error
    return "unsloth"


def library_of(engine: EngineName) -> Library:
    """Return what has to load the model for an engine."""
    return "unsloth" if engine == "unsloth" else "hf"


def check_layout(loaded: LoadedModel, material: Material) -> None:
    """Check that windows of one pass don't see each other in a model whose layers something else has replaced.

    Raises:
        ConfigError: they do, or their losses differ for another reason.
    """
    from vlm_agent.training.batches import lay_out
    from vlm_agent.training.passes import measure_loss

    if material.layout == "rows":
        return
    rows = list(material.train[:2])
    together = measure_loss(loaded, [lay_out(rows, material.layout)], material.features).mean
    is_talk = material.layout == "conversation"  # its turns belong together
    windows = rows if is_talk else [window for row in rows for window in row.split()]
    alone = measure_loss(loaded, [[window] for window in windows], material.features).mean
    if abs(together - alone) > LAYOUT_TOLERANCE * abs(alone):
        raise ConfigError(
            f"--train.layout {material.layout}: in this model windows of one pass have another loss ({together:.4f})"
            f" than alone ({alone:.4f}); use --train.{'engine hf' if is_talk else 'layout rows'}"
        )
