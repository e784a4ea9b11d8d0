"""The plots of a measured likeness: how far each feature is, how movements go, and the two timings farthest away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

from vlm_agent.evaluation.drawing import HEIGHT_IN, Plot, Theme, make_plot
from vlm_agent.evaluation.likeness.likeness import QUANTILES, FeatureLikeness, Likeness, Profile, SideSummary
from vlm_agent.evaluation.likeness.movements import PROFILE_POINTS

_AGENT, _PLAYER = "tuned", "demonstrator"
"""Whose colours agent and player have on the page."""
_ROW_IN = 0.2
"""Height of a row of dots, inches."""
_DISTRIBUTIONS = 2
_WIDEST = 40.0
"""An interval that reaches further is cut here, or nothing else could be told apart."""


def draw_plots(likeness: Likeness) -> Iterator[Plot]:
    """Yield all plots that there are numbers for."""
    ranked = likeness.ranked
    if ranked:
        yield make_plot(
            partial(draw_ratios, ranked),
            "How far from the player",
            "Distance of the agent to the player over that of the player to themself, with 95% intervals. "
            "At 1 the agent is as like the player as the player. Filled: surely apart.",
            height_in=max(HEIGHT_IN, 0.8 + _ROW_IN * len(ranked)),
        )
    sides = ((likeness.player, _PLAYER), (likeness.agent, _AGENT))
    if any(side.profile is not None for side, _ in sides):
        yield make_plot(
            partial(draw_profiles, sides),
            "Speed over a movement",
            "Median and middle half of all movements; speed as a multiple of the movement’s mean.",
        )
    timings = [one for one in ranked if one.feature.group == "timing"]
    for one in timings[:_DISTRIBUTIONS]:
        label = one.feature.label
        yield make_plot(
            partial(draw_distribution, one),
            f"{label[0].upper()}{label[1:]}",
            f"Share of values no greater; {one.player_count} of the player’s, {one.agent_count} of the agent’s.",
        )


def draw_ratios(ranked: Sequence[FeatureLikeness], axes: Axes, theme: Theme) -> None:
    """Every feature as a dot with its interval, the farthest first."""
    for place, one in enumerate(ranked):
        contrast = one.contrast
        assert contrast is not None
        colour = theme.contenders["base" if one.is_apart else _PLAYER]
        ends = [max(contrast.low, 1 / _WIDEST), min(contrast.high, max(_WIDEST, contrast.ratio))]
        axes.plot(ends, [place, place], color=colour, linewidth=2, alpha=0.55, solid_capstyle="butt")
        axes.plot(contrast.ratio, place, "o", color=colour if one.is_apart else "none", markeredgecolor=colour)
    axes.axvline(1, color=theme.muted, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_yticks(range(len(ranked)), [one.feature.label for one in ranked], fontsize=8.5)
    axes.set_ylim(len(ranked) - 0.4, -0.6)
    axes.set_xlabel("as far from the player as the player from themself")
    axes.grid(axis="x")


def draw_profiles(sides: Sequence[tuple[SideSummary, str]], axes: Axes, theme: Theme) -> None:
    """Speed over the time of a movement, player and agent."""
    for (side, name), label in zip(sides, ("player", "agent"), strict=True):
        if side.profile is not None:
            _draw_profile(axes, side.profile, theme.contenders[name], label)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel("share of the movement’s time")
    axes.set_ylabel("speed / mean speed")
    axes.grid()
    axes.legend(loc="upper right")


def _draw_profile(axes: Axes, profile: Profile, colour: str, label: str) -> None:
    times = np.linspace(0, 1, PROFILE_POINTS)
    axes.fill_between(times, profile.low, profile.high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(times, profile.middle, color=colour, linewidth=2, label=label)


def draw_distribution(one: FeatureLikeness, axes: Axes, theme: Theme) -> None:
    """The share of values that are no greater, player and agent."""
    sides = ((one.player_quantiles, _PLAYER, "player"), (one.agent_quantiles, _AGENT, "agent"))
    # The last quantile is a single value; what lies beyond the one before it would flatten all the rest.
    right = 1.05 * max(quantiles[-2] for quantiles, _, _ in sides)
    left = min(0.0, *(quantiles[0] for quantiles, _, _ in sides))
    for quantiles, name, label in sides:
        values = [left, quantiles[0], *quantiles, max(right, quantiles[-1])]
        shares = [0.0, 0.0, *QUANTILES, 1.0]
        axes.plot(values, shares, color=theme.contenders[name], linewidth=2, label=label)
    axes.set_xlim(left, right)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel(one.feature.unit)
    axes.grid()
    axes.legend(loc="lower right")
