"""How a run learned: its loss on what it learns from and on sessions it does not see, step by step."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from vlm_agent.errors import DataError
from vlm_agent.evaluation.drawing import Theme, make_plot
from vlm_agent.evaluation.sections import Section

METRICS_FILE = "metrics.jsonl"
_SMOOTHED = 40
"""Points of the smoothed training loss: a mean over each so manieth part of the run."""
_RISE = 1.02
"""A last loss above the best by more than this factor is called a rise."""


@dataclass(frozen=True)
class Learning:
    """The losses of a run."""

    steps: tuple[int, ...]
    """Every step of training."""
    losses: tuple[float, ...]
    """Mean loss of a target token in that step."""
    unseen_steps: tuple[int, ...]
    """Steps after which sessions kept for evaluation were asked."""
    unseen_losses: tuple[float, ...]
    """Mean loss of a target token there."""


def read_learning(run: Path) -> Learning | None:
    """Return the losses of a run; none where its folder keeps no measurements.

    Raises:
        DataError: the measurements can't be read.
    """
    path = run / METRICS_FILE
    if not path.exists():
        return None
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
        seen = [(int(line["step"]), float(line["loss"])) for line in lines if "loss" in line]
        unseen = [(int(line["step"]), float(line["eval_loss"])) for line in lines if "eval_loss" in line]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not the measurements of a run ({error})") from error
    if not seen:
        return None
    steps, losses = zip(*seen, strict=True)
    unseen_steps, unseen_losses = zip(*unseen, strict=True) if unseen else ((), ())
    return Learning(steps, losses, unseen_steps, unseen_losses)


def write_section(learning: Learning) -> Section:
    """Return how the run learned, in words and as a plot."""
    plot = make_plot(
        lambda axes, theme: draw_losses(axes, learning, theme),
        "Loss over training",
        "Mean loss of a target token: of the steps (smoothed), and on sessions that were not learnt from.",
    )
    return Section("learning", "How it learned", tuple(_tell(learning)), plots=(plot,))


def _tell(learning: Learning) -> list[str]:
    unseen = learning.unseen_losses
    if len(unseen) < 2:
        return [f"Trained for {learning.steps[-1]} steps; sessions it did not learn from were not asked on the way."]
    best = int(np.argmin(unseen))
    text = (
        f"On sessions that it did not learn from, the loss went from {unseen[0]:.3f} (step {learning.unseen_steps[0]}) "
        f"to {unseen[-1]:.3f} (step {learning.unseen_steps[-1]})"
    )
    if unseen[-1] > unseen[best] * _RISE:
        return [
            f"{text}, after a best of {unseen[best]:.3f} at step {learning.unseen_steps[best]}: it learnt too long."
        ]
    return [f"{text}; its best was the last." if best == len(unseen) - 1 else f"{text}, about its best."]


def draw_losses(axes: Axes, learning: Learning, theme: Theme) -> None:
    """Both losses over steps."""
    steps, losses = smooth(np.asarray(learning.steps, float), np.asarray(learning.losses, float))
    axes.plot(steps, losses, color=theme.contenders["tuned"], alpha=0.55, linewidth=1.6, label="learnt from")
    if learning.unseen_steps:
        axes.plot(
            learning.unseen_steps,
            learning.unseen_losses,
            "o-",
            color=theme.contenders["base"],
            markersize=4,
            linewidth=1.8,
            label="not learnt from",
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("step")
    axes.set_ylabel("loss, nats a token")
    axes.grid()
    axes.legend(loc="upper right")


def smooth(steps: NDArray[np.float64], losses: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means over equal parts of the run, one point a part."""
    parts = np.array_split(np.arange(len(steps)), min(_SMOOTHED, len(steps)))
    means = [(steps[part].mean(), losses[part].mean()) for part in parts]
    table = np.asarray(means)
    return table[:, 0], table[:, 1]
