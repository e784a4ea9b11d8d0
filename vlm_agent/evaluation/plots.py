"""The plots of a comparison: values, differences, progress, decisions and their times."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from vlm_agent.evaluation.comparison import Comparison, Row
from vlm_agent.evaluation.drawing import Plot, Theme, make_plot
from vlm_agent.evaluation.metrics import RINGS_PER_MINUTE
from vlm_agent.rollouts.episodes import Episode, Outcome

_SEED = 7
_BASELINE_STYLES = {"noop": "-", "random": "--", "repeat": ":"}

Times = NDArray[np.float64]


DrawComparison = Callable[[Axes, Comparison, Theme], None]


def draw_plots(comparison: Comparison) -> list[Plot]:
    """Return all plots that make sense for a comparison."""
    metric, num_seeds = comparison.metric, len(comparison.seeds)
    plots = [
        _plot(
            comparison,
            draw_values,
            f"{metric.label[0].upper()}{metric.label[1:]}",
            f"Dots: one episode each, {num_seeds} seeds. Bar: mean and 95% interval.",
        ),
        _plot(
            comparison,
            draw_differences,
            "Tuned − base, seed by seed",
            "A bar a seed, sorted. Band: 95% interval of the mean difference.",
        ),
    ]
    if metric is RINGS_PER_MINUTE:
        plots += [
            _plot(comparison, draw_curves, "Rings made over time", "Mean over seeds; thin lines: each seed of tuned."),
            _plot(comparison, draw_first_rings, "Seeds with a ring", "Share of seeds on which a first ring was made."),
        ]
    plots.append(
        _plot(comparison, draw_outcomes, "What became of the decisions", "Share of all decisions of a contender.")
    )
    plots.append(
        _plot(
            comparison,
            draw_latencies,
            "Time a decision takes",
            f"Share of decisions that took no longer, on this machine; the game’s clock was "
            f"{comparison.setting.clock}. Dashed: one horizon.",
        )
    )
    return plots


def _plot(comparison: Comparison, draw: DrawComparison, title: str, caption: str) -> Plot:
    return make_plot(lambda axes, theme: draw(axes, comparison, theme), title, caption)


def draw_values(axes: Axes, comparison: Comparison, theme: Theme) -> None:
    """Every episode as a dot, every contender's mean with its interval."""
    rng = np.random.default_rng(_SEED)
    rows = list(comparison.rows.values())
    for place, row in enumerate(rows):
        colour = theme.contenders[row.contender.name]
        spread = rng.uniform(-0.26, 0.26, size=len(row.values))
        axes.scatter(row.values, place + spread, s=14, color=colour, alpha=0.38, linewidths=0)
        axes.plot([row.metric.low, row.metric.high], [place, place], color=colour, linewidth=5, solid_capstyle="butt")
        axes.plot(row.metric.mean, place, "o", color=colour, markersize=8, markeredgecolor=theme.ink)
    axes.set_yticks(range(len(rows)), [row.contender.label for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=-0.03 * max(axes.get_xlim()[1], 1e-9))
    axes.set_xlabel(comparison.metric.label)
    axes.grid(axis="x")


def draw_differences(axes: Axes, comparison: Comparison, theme: Theme) -> None:
    """Tuned less base for every seed, with the interval of the mean behind them."""
    difference = comparison.difference
    pairs = sorted(zip(difference.values, comparison.seeds, strict=True))
    values = [value for value, _ in pairs]
    colours = [theme.contenders["tuned"] if value > 0 else theme.contenders["base"] for value in values]
    axes.axhspan(difference.interval.low, difference.interval.high, color=theme.muted, alpha=0.22, linewidth=0)
    axes.axhline(difference.interval.mean, color=theme.muted, linewidth=1.2)
    axes.bar(range(len(values)), values, color=colours, width=0.72)
    axes.axhline(0, color=theme.ink, linewidth=1)
    if len(values) <= 30:
        axes.set_xticks(range(len(values)), [str(seed) for _, seed in pairs], rotation=90, fontsize=7)
    else:
        axes.set_xticks([])
    axes.set_xlabel("seed")
    axes.set_ylabel(f"difference, {comparison.metric.label}")
    axes.grid(axis="y")


def draw_curves(axes: Axes, comparison: Comparison, theme: Theme) -> None:
    """Rings made so far: the mean of every contender, and every episode of tuned."""
    times_s = _lay_times(comparison)
    for episode in comparison.tuned.episodes:
        axes.step(times_s, _count_until(episode, times_s), color=theme.contenders["tuned"], alpha=0.16, linewidth=0.8)
    for row in comparison.rows.values():
        mean = np.mean([_count_until(episode, times_s) for episode in row.episodes], axis=0)
        _draw_over_time(axes, row, times_s, mean, theme)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("rings made")
    axes.legend(loc="upper left")


def draw_first_rings(axes: Axes, comparison: Comparison, theme: Theme) -> None:
    """Share of seeds on which at least one ring was made so far."""
    times_s = _lay_times(comparison)
    for row in comparison.rows.values():
        share = np.mean([_count_until(episode, times_s) > 0 for episode in row.episodes], axis=0)
        _draw_over_time(axes, row, times_s, share, theme)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def _lay_times(comparison: Comparison) -> Times:
    return np.linspace(0, comparison.setting.episode_s, 181)


def _draw_over_time(axes: Axes, row: Row, times_s: Times, values: Times, theme: Theme) -> None:
    is_baseline = row.contender.role == "baseline"
    axes.plot(
        times_s,
        values,
        _BASELINE_STYLES.get(row.contender.name, "-"),
        color=theme.contenders[row.contender.name],
        linewidth=1.2 if is_baseline else 2.2,
        label=row.contender.label,
    )
    axes.set_xlim(times_s[0], times_s[-1])
    axes.set_xlabel("game time, s")
    axes.grid(visible=True)


def draw_outcomes(axes: Axes, comparison: Comparison, theme: Theme) -> None:
    """Decisions by what became of them, as shares."""
    rows = [row for row in comparison.rows.values() if row.num_decisions]
    starts = np.zeros(len(rows))
    for outcome in Outcome:
        shares = np.array([row.share(outcome) for row in rows])
        if shares.any():
            axes.barh(
                range(len(rows)), shares, left=starts, color=theme.outcomes[outcome], height=0.62, label=str(outcome)
            )
            starts += shares
    axes.set_yticks(range(len(rows)), [row.contender.label for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=6, handlelength=1, columnspacing=1)


def draw_latencies(axes: Axes, comparison: Comparison, theme: Theme) -> None:
    """The share of a model's decisions that took no longer than so many milliseconds."""
    rows = [row for row in comparison.by_role("model") if row.latencies_ms]
    for row in rows:
        times = np.sort(row.latencies_ms)
        shares = np.arange(1, len(times) + 1) / len(times)
        label = f"{row.contender.label}  p50 {_tell(row, 50)}, p95 {_tell(row, 95)}"
        axes.step(times, shares, color=theme.contenders[row.contender.name], linewidth=2, label=label, where="post")
    axes.axvline(comparison.setting.horizon_ms, color=theme.muted, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(1, 1.5 * max(comparison.setting.horizon_ms, *(max(row.latencies_ms) for row in rows), 1))
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_xlabel("milliseconds")
    axes.grid()
    if rows:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _tell(row: Row, percent: float) -> str:
    value = row.latency_ms(percent)
    return "–" if value is None else f"{value:.0f} ms"


def _count_until(episode: Episode, times_s: Times) -> NDArray[np.int64]:
    return np.searchsorted(np.asarray(episode.score_times_ms) / 1000, times_s, side="right")
