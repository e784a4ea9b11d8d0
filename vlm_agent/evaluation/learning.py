"""How a run learned: its loss on what it learns from and on sessions it does not see, step by step."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from vlm_agent.evaluation.drawing import Plot, Theme, make_plot
from vlm_agent.evaluation.sections import Section
from vlm_agent.training.metrics import Losses

_SMOOTHED = 40
"""Points of the smoothed training loss: a mean over each so manieth part of the run."""
_RISE = 1.02
"""A last loss above the best by more than this factor is called a rise."""


def write_section(losses: Losses) -> Section:
    """Return how a run with losses of training learned, in words and as a plot."""
    return Section("learning", "How it learned", tuple(_tell(losses)), plots=(plot_losses(losses),))


def plot_losses(losses: Losses) -> Plot:
    """Return both losses of a run over its steps."""
    return make_plot(
        lambda axes, theme: draw_losses(axes, losses, theme),
        "Loss by training step",
        "Mean loss of a target token: of the steps (smoothed), and on sessions that were not learnt from.",
    )


def _tell(losses: Losses) -> list[str]:
    if len(losses.validation) < 2:
        last_step, _ = losses.train[-1]
        return [f"Trained for {last_step} steps; sessions it did not learn from were not asked on the way."]
    steps, unseen = zip(*losses.validation, strict=True)
    best = int(np.argmin(unseen))
    text = (
        f"On sessions that it did not learn from, the loss went from {unseen[0]:.3f} (step {steps[0]}) "
        f"to {unseen[-1]:.3f} (step {steps[-1]})"
    )
    if unseen[-1] > unseen[best] * _RISE:
        return [f"{text}, after a best of {unseen[best]:.3f} at step {steps[best]}: it learnt too long."]
    return [f"{text}; its best was the last." if best == len(unseen) - 1 else f"{text}, about its best."]


def draw_losses(axes: Axes, losses: Losses, theme: Theme) -> None:
    """Both losses over steps."""
    steps, means = smooth(*(np.asarray(column, float) for column in zip(*losses.train, strict=True)))
    axes.plot(steps, means, color=theme.contenders["tuned"], alpha=0.55, linewidth=1.6, label="learnt from")
    if losses.validation:
        axes.plot(
            *zip(*losses.validation, strict=True),
            "o-",
            color=theme.contenders["base"],
            markersize=4,
            linewidth=1.8,
            label="not learnt from",
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("training step")
    axes.set_ylabel("loss, nats a token")
    axes.grid()
    axes.legend(loc="upper right")


def smooth(steps: NDArray[np.float64], losses: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return means over equal parts of the run, one point a part."""
    parts = np.array_split(np.arange(len(steps)), min(_SMOOTHED, len(steps)))
    means = [(steps[part].mean(), losses[part].mean()) for part in parts]
    table = np.asarray(means)
    return table[:, 0], table[:, 1]
