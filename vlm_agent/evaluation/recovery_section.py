"""Recovery as a part of the report: what a model finds back from, what it costs, and what it never recovers from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes

from vlm_agent.evaluation.comparison import CONTENDERS
from vlm_agent.evaluation.drawing import Plot, Theme, make_plot
from vlm_agent.evaluation.intervals import Interval
from vlm_agent.evaluation.recovery import Recovery, Trial
from vlm_agent.evaluation.sections import PlainTable, Section

_LABELS = {contender.name: contender.label for contender in CONTENDERS}
_TUNED, _DEMONSTRATOR = "tuned", "demonstrator"
_WORDS = {
    "misclick": "a misclick",
    "camera": "a turned camera",
    "window": "a closed window",
    "levelup": "a level-up dialog",
    "moved": "being put elsewhere",
    "start": "a moved start",
}


def write_section(recovery: Recovery) -> Section:
    """Return the part of the report on recovery."""
    return Section(
        key="recovery",
        title="When something goes wrong",
        sentences=tuple(write_sentences(recovery)),
        gist=_sum_up(recovery),
        tables=(_make_table(recovery),),
        # Where nobody scores there is nothing to be seen.
        plots=(_plot_shares(recovery), _plot_costs(recovery)) if _drawn(recovery) else (),
    )


def _sum_up(recovery: Recovery) -> str:
    """Return one sentence for the verdict: how often tuned scores again, over all kinds of disturbances."""
    if _TUNED not in recovery.contenders:
        return ""
    trials = [recovery.find(_TUNED, kind) for kind in recovery.kinds]
    planted, recovered, undisturbed = (
        sum(getattr(trial, name) for trial in trials) for name in ("num_planted", "num_recovered", "num_undisturbed")
    )
    lost = [_words(trial) for trial in trials if _is_lost(trial)]
    never = f", and never after {_join(lost)}" if lost else ""
    return (
        f"When something goes wrong it scores again in {recovered} of {planted} episodes (undisturbed "
        f"{undisturbed} of the same do){never}."
    )


def write_sentences(recovery: Recovery) -> Iterator[str]:
    """Say what is recovered from, what it costs, and what is not, as far as the intervals allow."""
    yield (
        f"A disturbance was planted once in an episode, and the {recovery.within_ms / 1000:g} s of game time after it "
        f"held against the same stretch of the same seed undisturbed; the clock was {recovery.clock}."
    )
    for name in recovery.contenders:
        if name in (_TUNED, _DEMONSTRATOR):
            yield from _tell_contender(name, [recovery.find(name, kind) for kind in recovery.kinds])
    yield from _tell_unplanted(recovery)


def _tell_contender(name: str, trials: Sequence[Trial]) -> Iterator[str]:
    label = f"the {name}" if name == _DEMONSTRATOR else _LABELS.get(name, name)
    measured = [trial for trial in trials if trial.cost is not None]
    lost = [trial for trial in measured if _is_lost(trial)]
    costly = [trial for trial in measured if trial not in lost and trial.cost is not None and trial.cost.low > 0]
    unhurt = [
        trial
        for trial in measured
        if trial not in lost and trial not in costly and trial.num_undisturbed and trial.num_recovered
    ]
    for trial in lost:
        yield (
            f"{label} never scores again after {_words(trial)} (0 of {trial.num_planted}; undisturbed "
            f"{trial.num_undisturbed} of the same seeds do)."
        )
    for trial in costly:
        assert trial.cost is not None
        yield (
            f"{_words(trial).capitalize()} costs {label} {trial.cost:.2f} points a minute; it scores again in "
            f"{trial.num_recovered} of {trial.num_planted} (undisturbed {trial.num_undisturbed})."
        )
    if unhurt:
        parts = [
            f"{_words(trial)} ({trial.num_recovered} of {trial.num_planted}, undisturbed {trial.num_undisturbed})"
            for trial in unhurt
        ]
        yield f"No cost to {label} can be told from chance after {_join(parts)}; in brackets who scores again."


def _tell_unplanted(recovery: Recovery) -> Iterator[str]:
    for name in recovery.contenders:
        few = [trial for kind in recovery.kinds if (trial := recovery.find(name, kind)).cost is None]
        if few:
            parts = [f"{_words(trial)} ({trial.num_planted} of {trial.num_episodes} episodes)" for trial in few]
            yield f"{_LABELS.get(name, name)} hardly ever came to a moment for {_join(parts)}: nothing can be said."


def _is_lost(trial: Trial) -> bool:
    return trial.num_recovered == 0 and trial.num_undisturbed > 0


def _make_table(recovery: Recovery) -> PlainTable:
    rows = []
    for kind in recovery.kinds:
        for name in recovery.contenders:
            trial = recovery.find(name, kind)
            rows.append(
                (
                    f"{_words(trial)}: {_LABELS.get(name, name)}",
                    f"{trial.num_planted} of {trial.num_episodes}",
                    _percent(trial.share),
                    f"{trial.num_undisturbed / trial.num_planted:.0%}" if trial.num_planted else "",
                    _cell(trial.time_s, ".1f"),
                    _cell(trial.cost, ".2f"),
                )
            )
    return PlainTable(
        columns=("", "planted", "scored again", "undisturbed", "time to next, s", "cost a minute"),
        rows=tuple(rows),
        title="After a disturbance",
        caption=(
            "Means with 95% intervals over the episodes in which it was planted. Scored again, undisturbed: share with "
            f"a point in the {recovery.within_ms / 1000:g} s after it, and in the same time of the same seeds without. "
            "Time to next: where none came, the whole time. Cost: points a minute less than undisturbed, seed by seed."
        ),
    )


def _plot_shares(recovery: Recovery) -> Plot:
    return make_plot(
        lambda axes, theme: draw_shares(axes, recovery, theme),
        "Scores again after a disturbance",
        f"Share of episodes with a point in the {recovery.within_ms / 1000:g} s after it, with its 95% interval. "
        "Rings: the same seeds in the same time, undisturbed.",
        height_in=_height_in(recovery),
    )


def _plot_costs(recovery: Recovery) -> Plot:
    return make_plot(
        lambda axes, theme: draw_costs(axes, recovery, theme),
        "What a disturbance costs",
        "Points a minute less than on the same seeds undisturbed, with the 95% interval of the mean.",
        height_in=_height_in(recovery),
    )


def draw_shares(axes: Axes, recovery: Recovery, theme: Theme) -> None:
    """For every disturbance the share of each contender that scored again, and would have undisturbed."""
    for place, trial, colour in _lay_out(axes, recovery, theme):
        if trial.share is None:
            continue
        _draw_interval(axes, trial.share, place, colour, theme)
        axes.plot(
            trial.num_undisturbed / trial.num_planted,
            place,
            "o",
            markersize=10,
            markerfacecolor="none",
            markeredgecolor=theme.muted,
            clip_on=False,
        )
    axes.set_xlim(-0.03, 1.03)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
    axes.set_xlabel("episodes that score again")


def draw_costs(axes: Axes, recovery: Recovery, theme: Theme) -> None:
    """For every disturbance what it cost each contender."""
    axes.axvline(0, color=theme.muted, linewidth=1)
    for place, trial, colour in _lay_out(axes, recovery, theme):
        if trial.cost is not None:
            _draw_interval(axes, trial.cost, place, colour, theme)
    axes.set_xlabel("points a minute lost")


def _lay_out(axes: Axes, recovery: Recovery, theme: Theme) -> Iterator[tuple[float, Trial, str]]:
    """Set up one band a disturbance, and give every trial its place in it."""
    names = _drawn(recovery)
    step = 0.7 / len(names)
    for band, kind in enumerate(recovery.kinds):
        for number, name in enumerate(names):
            yield band + (number - (len(names) - 1) / 2) * step, recovery.find(name, kind), _colour(name, theme)
    axes.set_yticks(range(len(recovery.kinds)), [_WORDS.get(kind, kind) for kind in recovery.kinds])
    axes.set_ylim(len(recovery.kinds) - 0.5, -0.5)
    axes.grid(axis="x")
    for name in names:
        axes.plot([], [], "o", color=_colour(name, theme), label=_LABELS.get(name, name))
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=len(names), borderaxespad=0.2)


def _draw_interval(axes: Axes, interval: Interval, place: float, colour: str, theme: Theme) -> None:
    axes.plot([interval.low, interval.high], [place, place], color=colour, linewidth=4, solid_capstyle="butt")
    axes.plot(interval.mean, place, "o", color=colour, markersize=6, markeredgecolor=theme.ink, clip_on=False)


def _drawn(recovery: Recovery) -> list[str]:
    """Those who were disturbed at all; baselines that never come anywhere would only fill the plot."""
    return [
        name
        for name in recovery.contenders
        if any(recovery.find(name, kind).num_undisturbed for kind in recovery.kinds)
    ]


def _colour(name: str, theme: Theme) -> str:
    return theme.contenders.get(name, theme.muted)


def _height_in(recovery: Recovery) -> float:
    return 1.0 + 0.2 * len(recovery.kinds) * (1 + len(_drawn(recovery)))


def _words(trial: Trial) -> str:
    return _WORDS.get(trial.kind, trial.kind)


def _join(parts: Sequence[str]) -> str:
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last


def _cell(interval: Interval | None, spec: str) -> str:
    return "" if interval is None else format(interval, spec)


def _percent(interval: Interval | None) -> str:
    return f"{interval.mean:.0%} [{interval.low * 100:.0f}, {interval.high * 100:.0f}]" if interval else ""
