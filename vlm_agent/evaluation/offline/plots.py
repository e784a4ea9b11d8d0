"""The plots of an evaluation on recorded windows: what is taken for what, and how honest its expectations are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import binom

from vlm_agent.evaluation.drawing import Plot, Theme, make_plot
from vlm_agent.evaluation.offline.evaluation import Answerer, OfflineEvaluation
from vlm_agent.evaluation.offline.forced import ForcedEvaluation, ForcedReader
from vlm_agent.evaluation.offline.metrics import FORCED_METRICS, OfflineMetric

_TALL_IN = 3.4
_MOST_COMPARED = 2
"""Bars of more contenders beside each other can't be read: the one that is asked about and its base."""
_LEAST_BITS = 0.05
"""Parts that cost nobody more than this are left out."""


def draw_plots(evaluation: OfflineEvaluation) -> list[Plot]:
    """Return all plots that make sense for an evaluation."""
    first = evaluation.answerers[0]
    plots = [
        make_plot(
            partial(_draw_confusion, first),
            f"What {first.name} takes for what",
            "Rows: what the player did; columns: what was answered, matched in time within "
            f"{evaluation.score.tolerance_ms:g} ms; shares of the row, and counts. none: missing, or made up; windows "
            "in which both wait are not in it.",
            height_in=_TALL_IN,
        )
    ]
    if evaluation.forced is None:
        return plots
    reader = evaluation.forced.readers[0]
    if reader.confidence:
        plots.append(
            make_plot(
                partial(_draw_reliability, reader),
                "Is it as often right as it is sure?",
                "The next event, by how sure it was. On the line: honest. Below: too sure. Size: how many.",
                height_in=_TALL_IN,
            )
        )
    if sum(reader.pit):
        plots.append(
            make_plot(
                partial(_draw_pit, reader),
                "Where the player's times fall in what it expected",
                "Flat within the band: honest. A hump: it expects too much scatter; horns: too little.",
            )
        )
    if reader.spreads:
        plots.append(
            make_plot(
                partial(_draw_spreads, reader),
                "Does it know how far off its clicks are?",
                "Groups of click coordinates by the scatter expected. On the line: honest. Above: off by more.",
            )
        )
    plots.append(
        make_plot(
            partial(_draw_bits, evaluation.forced),
            "Bits by part of the answer",
            "What the player's own answer costs, for each time, place and so on that is written. Less is better.",
            height_in=_TALL_IN,
        )
    )
    return plots


def _draw_confusion(one: Answerer, axes: Axes, theme: Theme) -> None:
    names = list(one.confusion)
    counts = np.array([[one.confusion[row][column] for column in names] for row in names], dtype=float)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    axes.imshow(shares, cmap=theme.shades, vmin=0, vmax=1, aspect="auto")
    # The map's low end is near the page's colour, its high end far from it: letters on it change sides.
    for row, column in np.ndindex(counts.shape):
        if counts[row, column]:
            colour = theme.high_ink if shares[row, column] > 0.55 else theme.ink
            text = f"{shares[row, column]:.0%}\n{counts[row, column]:.0f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    labels = [name.lower() for name in names]
    axes.set_xticks(range(len(names)), labels)
    axes.set_yticks(range(len(names)), labels)
    axes.tick_params(length=0)
    axes.set_xlabel("answered")
    axes.set_ylabel("the player")


def _draw_reliability(reader: ForcedReader, axes: Axes, theme: Theme) -> None:
    most = max(one.count for one in reader.confidence)
    axes.plot([0, 1], [0, 1], color=theme.muted, linestyle="--", linewidth=1)
    axes.scatter(
        [one.confidence for one in reader.confidence],
        [one.right for one in reader.confidence],
        s=[30 + 270 * one.count / most for one in reader.confidence],
        color=_colour_of(reader.name, theme),
        alpha=0.85,
        linewidth=0,
        zorder=3,
        clip_on=False,
    )
    for one in reader.confidence:
        axes.annotate(
            str(one.count), (one.confidence, one.right), (0, -16), textcoords="offset points", ha="center", fontsize=7
        )
    _as_shares(axes)
    axes.set_xlabel("how sure it was")
    axes.set_ylabel("how often it was right")


def _as_shares(axes: Axes) -> None:
    axes.set_xlim(0, 1.04)
    axes.set_ylim(0, 1.06)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(visible=True)


def _draw_pit(reader: ForcedReader, axes: Axes, theme: Theme) -> None:
    total, bins = sum(reader.pit), len(reader.pit)
    low, high = (float(binom.ppf(level, round(total), 1 / bins)) for level in (0.025, 0.975))
    axes.axhspan(low, high, color=theme.muted, alpha=0.22, linewidth=0)
    axes.axhline(total / bins, color=theme.muted, linewidth=1.2)
    places = (np.arange(bins) + 0.5) / bins
    axes.bar(places, reader.pit, width=0.88 / bins, color=_colour_of(reader.name, theme))
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("share of the expected times that are earlier")
    axes.set_ylabel("times of the player")
    axes.grid(axis="y")


def _draw_spreads(reader: ForcedReader, axes: Axes, theme: Theme) -> None:
    spreads = [group.spread_px for group in reader.spreads]
    errors = [group.error_px for group in reader.spreads]
    end = 1.12 * max(*spreads, *errors, 1.0)
    axes.plot([0, end], [0, end], color=theme.muted, linestyle="--", linewidth=1)
    axes.plot(spreads, errors, "o-", color=_colour_of(reader.name, theme), linewidth=1.2, markersize=7)
    axes.set_xlim(0, end)
    axes.set_ylim(0, end)
    axes.set_xlabel("scatter expected, px")
    axes.set_ylabel("error of the median, px")
    axes.grid(visible=True)


def _draw_bits(forced: ForcedEvaluation, axes: Axes, theme: Theme) -> None:
    readers = forced.readers[:_MOST_COMPARED]
    shown = [
        metric
        for metric in FORCED_METRICS
        if metric.key.startswith("bits_") and metric.key != "bits_window" and _most_bits(readers, metric) > _LEAST_BITS
    ]
    height = 0.8 / len(readers)
    for number, reader in enumerate(readers):
        values = [_most_bits([reader], metric) for metric in shown]
        places = np.arange(len(shown)) + (number - (len(readers) - 1) / 2) * height
        axes.barh(places, values, height=0.9 * height, color=_colour_of(reader.name, theme), label=reader.name)
        for place, value in zip(places, values, strict=True):
            axes.annotate(f"{value:.2f}", (value, place), (3, 0), textcoords="offset points", va="center", fontsize=7.5)
    axes.set_yticks(range(len(shown)), [metric.label.removeprefix("bits of ") for metric in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.set_xlabel("bits")
    axes.grid(axis="x")
    axes.legend(loc="lower right")


def _most_bits(readers: Sequence[ForcedReader], metric: OfflineMetric) -> float:
    return max((reader.estimates[metric.key].value for reader in readers if metric.key in reader.estimates), default=0)


def _colour_of(name: str, theme: Theme) -> str:
    return theme.contenders.get(name, theme.contenders["demonstrator"])
