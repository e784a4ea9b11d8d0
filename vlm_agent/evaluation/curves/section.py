"""A learning curve as a part of the report: would more sessions help, would more training?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from vlm_agent.evaluation.curves.curve import Curve, KeptAdapter
from vlm_agent.evaluation.drawing import Plot, Theme, make_plot
from vlm_agent.evaluation.intervals import Interval
from vlm_agent.evaluation.learning import plot_losses
from vlm_agent.evaluation.sections import PlainTable, Section

Item = TypeVar("Item")
DrawCurve = Callable[[Axes, Curve, Theme], None]


def write_section(curve: Curve) -> Section:
    """Return the part of the report on learning curves."""
    return Section(
        key="curves",
        title="Would more sessions help?",
        sentences=tuple(write_sentences(curve)),
        tables=(_make_table(curve), *([_make_steps_table(curve)] if curve.kept else [])),
        plots=tuple(_draw_plots(curve)),
    )


def write_sentences(curve: Curve) -> Iterator[str]:
    """Say what more sessions and more steps bring, as far as the intervals allow."""
    yield _tell_ends(curve)
    yield from _tell_last_gain(curve)
    yield from _tell_first_above_base(curve)
    yield from _tell_losses(curve)
    yield from _tell_steps(curve)
    yield _tell_terms(curve)


def _tell_ends(curve: Curve) -> str:
    parts = [f"{_count(number)}: {_at(curve, number):.2f}" for number in _ends(curve.numbers)]
    others = [f"the base, which learned from none, {curve.measure(curve.base):.2f}"]
    if curve.demonstrator:
        others.append(f"the demonstrator {curve.measure(curve.demonstrator):.2f}")
    return f"{curve.metric.label.capitalize()} after learning from {'; from '.join(parts)}; {', '.join(others)}."


def _tell_last_gain(curve: Curve) -> Iterator[str]:
    if len(curve.numbers) < 2:
        return
    fewer, more = curve.numbers[-2:]
    if not any((*curve.values_of(fewer), *curve.values_of(more))):
        # Resampling can't see what never happened: an interval without width would say that nothing is to be gained.
        yield f"With {fewer} as with {more} sessions it got nowhere on any scene; play can't tell if more would help."
        return
    gain = curve.gain(fewer, more)
    found = f"from {fewer} to {more} it gained {gain:+.2f} {curve.metric.unit}"
    if gain.low > 0:
        yield f"More sessions would probably help: {found}."
    elif gain.high < 0:
        yield f"More sessions did harm at the end: {found}."
    else:
        yield (
            f"Whether more sessions would help can't be told: {found}, which may be chance; a gain of more than "
            f"{max(gain.high, 0):.2f} from this step is unlikely."
        )


def _tell_first_above_base(curve: Curve) -> Iterator[str]:
    above = [number for number in curve.numbers if curve.gain(0, number).low > 0]
    if above:
        yield f"The fewest sessions that stand clearly above the base are {above[0]}."
    else:
        yield "No number of sessions stands clearly above the base."


def _tell_losses(curve: Curve) -> Iterator[str]:
    losses = [(number, loss) for number in curve.numbers if (loss := curve.loss_of(number)) is not None]
    if len(losses) > 1:
        start = dict(curve.losses.validation).get(0)
        before = "" if start is None else f"{start:.3f} before training, "
        told = ", ".join(f"{loss:.3f} with {number}" for number, loss in _ends(losses))
        yield f"The loss on sessions that were not learned from, nats a token: {before}{told}."


def _tell_steps(curve: Curve) -> Iterator[str]:
    if not curve.kept:
        return
    # What half of the training brings tells whether it ends too early; single steps go up and down.
    half = min(curve.kept, key=lambda one: abs(one.step - curve.largest.steps / 2))
    gain = curve.measure_gaps(curve.largest.values, half.values)
    found = (
        f"from step {half.step} to the end of training ({curve.largest.steps} steps) the run of "
        f"{_count(curve.largest.sessions)} gained {gain:+.2f} {curve.metric.unit}"
    )
    if gain.low > 0:
        yield f"The second half of training was needed: {found}."
    elif gain.high < 0:
        yield f"The second half of training did harm: {found}."
    else:
        yield f"No gain of the second half of training can be told from chance: {found}."


def _tell_terms(curve: Curve) -> str:
    setting = curve.setting
    trained = (
        f"for {setting.equal_steps} steps each"
        if setting.equal_steps is not None
        else "for as many passes over their sessions each, so that fewer sessions had fewer steps"
    )
    repeats = (
        "each number was trained on once, and another training or draw of sessions may differ by more than the "
        "intervals say, which are over scenes"
        if curve.num_repeats == 1
        else f"each number was trained on {curve.num_repeats} times; intervals are over scenes, dots are single runs"
    )
    return f"Runs were trained {trained}; {repeats}. All played the same {len(curve.seeds)} scenes; the game waited."


def _make_table(curve: Curve) -> PlainTable:
    rows = [("0 (base)", "", "", f"{curve.measure(curve.base):.2f}", "")]
    for fewer, number in zip((0, *curve.numbers), curve.numbers, strict=False):
        runs = curve.runs_of(number)
        steps = sorted({run.steps for run in runs})
        rows.append(
            (
                str(number),
                " to ".join(str(step) for step in _ends(steps)),
                _loss(curve.loss_of(number)),
                f"{_at(curve, number):.2f}",
                f"{curve.gain(fewer, number):+.2f}",
            )
        )
    if curve.demonstrator:
        rows.append(("demonstrator", "", "", f"{curve.measure(curve.demonstrator):.2f}", ""))
    return PlainTable(
        columns=("sessions", "steps", "loss", curve.metric.label, "gain"),
        rows=tuple(rows),
        title="By the number of sessions learned from",
        caption=(
            "Loss: on sessions not learned from, nats a token. Mean and 95% interval over scenes; gain: over the row "
            "above, seed by seed."
        ),
    )


def _make_steps_table(curve: Curve) -> PlainTable:
    losses = dict(curve.losses.validation)
    rows = [("0 (base)", _loss(losses.get(0)), f"{curve.measure(curve.base):.2f}")]
    rows += [(str(one.step), _loss(one.loss), f"{curve.measure(one.values):.2f}") for one in curve.kept]
    rows.append(("the result", _loss(curve.largest.loss), f"{curve.measure(curve.largest.values):.2f}"))
    return PlainTable(
        columns=("step", "loss", curve.metric.label),
        rows=tuple(rows),
        title=f"By training step, learning from {_count(curve.largest.sessions)}",
        caption="Loss where it was measured at that step. The result has the weights of the lowest loss measured.",
    )


def _draw_plots(curve: Curve) -> Iterator[Plot]:
    label = f"{curve.metric.label[0].upper()}{curve.metric.label[1:]}"
    dots = "" if curve.num_repeats == 1 else " Small dots: single runs."
    yield _plot(
        curve,
        draw_sessions,
        f"{label} by sessions learned from",
        f"Mean and 95% interval over {len(curve.seeds)} scenes; bands: base and demonstrator.{dots}",
    )
    if any(run.loss is not None for run in curve.runs):
        yield _plot(
            curve,
            draw_losses,
            "Loss by sessions learned from",
            f"On the validation sessions, nats a token.{dots} Dashed: before training.",
        )
    if curve.kept:
        yield _plot(
            curve,
            draw_steps,
            f"{label} by training step",
            f"The run of {_count(curve.largest.sessions)}: mean and 95% interval over scenes. Square: the result.",
        )
    if curve.losses.train:
        yield plot_losses(curve.losses)


def _plot(curve: Curve, draw: DrawCurve, title: str, caption: str) -> Plot:
    return make_plot(lambda axes, theme: draw(axes, curve, theme), title, caption)


def draw_sessions(axes: Axes, curve: Curve, theme: Theme) -> None:
    """The metric over the number of sessions."""
    _draw_standing(axes, curve, theme)
    colour = theme.contenders["tuned"]
    if curve.num_repeats > 1:
        for run in curve.runs:
            axes.plot(run.sessions, np.mean(run.values), "o", markersize=3, color=colour, alpha=0.55)
    _draw_intervals(axes, curve.numbers, [_at(curve, number) for number in curve.numbers], theme)
    _scale_sessions(axes, curve)
    axes.set_ylabel(curve.metric.label)
    axes.set_ylim(bottom=min(0.0, *axes.get_ylim()))


def draw_losses(axes: Axes, curve: Curve, theme: Theme) -> None:
    """The loss on validation sessions over the number of sessions."""
    colour = theme.contenders["tuned"]
    points = [(number, loss) for number in curve.numbers if (loss := curve.loss_of(number)) is not None]
    axes.plot(*zip(*points, strict=True), "o-", color=colour, markersize=6, markeredgecolor=theme.ink)
    if curve.num_repeats > 1:
        for run in curve.runs:
            if run.loss is not None:
                axes.plot(run.sessions, run.loss, "o", markersize=3, color=colour, alpha=0.55)
    start = dict(curve.losses.validation).get(0)
    if start is not None:
        axes.axhline(start, color=theme.contenders["base"], linewidth=1.4, linestyle="--")
    _scale_sessions(axes, curve)
    axes.set_ylabel("loss, nats a token")
    axes.set_ylim(bottom=0)


def draw_steps(axes: Axes, curve: Curve, theme: Theme) -> None:
    """The metric over the steps of one run."""
    _draw_standing(axes, curve, theme)
    way = [KeptAdapter(0, None, curve.base), *curve.kept]
    _draw_intervals(axes, [one.step for one in way], [curve.measure(one.values) for one in way], theme)
    result = curve.measure(curve.largest.values)
    axes.errorbar(
        curve.largest.steps,
        result.mean,
        yerr=[[result.mean - result.low], [result.high - result.mean]],
        fmt="s",
        color=theme.contenders["tuned"],
        markersize=7,
        markeredgecolor=theme.ink,
        elinewidth=2,
    )
    axes.set_xlabel("training step")
    axes.set_ylabel(curve.metric.label)
    axes.set_ylim(bottom=min(0.0, *axes.get_ylim()))
    axes.grid(axis="y")


def _draw_standing(axes: Axes, curve: Curve, theme: Theme) -> None:
    """Lines for those who don't change along the axis: the base and the demonstrator."""
    for name, values in (("base", curve.base), ("demonstrator", curve.demonstrator)):
        if values:
            interval, colour = curve.measure(values), theme.contenders[name]
            axes.axhspan(interval.low, interval.high, color=colour, alpha=0.16, linewidth=0)
            axes.axhline(interval.mean, color=colour, linewidth=1.4)
            axes.annotate(
                name, (0.995, interval.mean), xycoords=("axes fraction", "data"), xytext=(0, 3),
                textcoords="offset points", ha="right", va="bottom", color=colour, fontsize=9,
            )  # fmt: skip


def _draw_intervals(axes: Axes, places: Sequence[int], intervals: Sequence[Interval], theme: Theme) -> None:
    colour = theme.contenders["tuned"]
    axes.vlines(places, [one.low for one in intervals], [one.high for one in intervals], color=colour, linewidth=3)
    axes.plot(places, [one.mean for one in intervals], "o-", color=colour, markersize=7, markeredgecolor=theme.ink)


def _scale_sessions(axes: Axes, curve: Curve) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(curve.numbers, [str(number) for number in curve.numbers])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(curve.numbers[0] / 1.3, curve.numbers[-1] * 1.3)
    axes.set_xlabel("training sessions")
    axes.grid(axis="y")


def _at(curve: Curve, number: int) -> Interval:
    return curve.measure(curve.values_of(number))


def _ends(items: Sequence[Item]) -> list[Item]:
    """The first and the last, or the only one."""
    return [items[0], items[-1]] if len(items) > 1 else list(items)


def _count(number: int) -> str:
    return f"{number} session" if number == 1 else f"{number} sessions"


def _loss(loss: float | None) -> str:
    return "" if loss is None else f"{loss:.3f}"
