"""The audit in plain words, a table and a plot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes

from vlm_agent.evaluation.drawing import Theme, make_plot
from vlm_agent.evaluation.offline.audit import FEW, Finding
from vlm_agent.evaluation.offline.metrics import ALIKE, SURE, ScoreConfig
from vlm_agent.evaluation.sections import PlainTable, Section

_NOUNS = {
    "picture": "the picture",
    "state": "the game state",
    "goal": "the goal",
    "history": "what was done before",
}
_YES = {
    "picture": "It looks",
    "state": "It reads the game state",
    "goal": "It follows the goal",
    "history": "It leans on what was done before",
}
_NO = {
    "picture": "It does not look",
    "state": "It does not read the game state",
    "goal": "It ignores the goal",
    "history": "It does not copy its history",
}


def write_section(findings: Sequence[Finding], score: ScoreConfig) -> Section:
    """Return what the answers hang on; `score` is the rule that actions were matched by."""
    rows = tuple(tuple(_cells(finding)) for finding in findings)
    rule = ALIKE.format(tolerance_ms=f"{score.tolerance_ms:g}", near_px=f"{score.near_px:g}")
    table = PlainTable(
        _COLUMNS,
        rows,
        caption=f"Answers that change: of those with an action, before or after. In detail: {rule}. "
        "* differs from intact, p < 0.05 after Holm",
    )
    plot = make_plot(
        lambda axes, theme: draw_changes(axes, findings, theme),
        "What becomes of its answers",
        "Share of answers with an action that become another when one thing is changed; below "
        f"{FEW:.0%} (dashed) it does not matter.",
    )
    return Section(
        "audit", "What it goes by", tuple(describe(findings)), gist=sum_up(findings), tables=(table,), plots=(plot,)
    )


def is_blind(findings: Sequence[Finding]) -> bool:
    """Tell whether the answers don't hang on the picture."""
    about = [finding for finding in findings if finding.asks == "picture"]
    return bool(about) and not any(finding.matters for finding in about)


def sum_up(findings: Sequence[Finding]) -> str:
    """Return one sentence about everything that was changed."""
    matters = {asks: any(one.matters for one in findings if one.asks == asks) for asks in _asked(findings)}
    hangs, not_hangs = ([_NOUNS[asks] for asks, does in matters.items() if does is wanted] for wanted in (True, False))
    if not hangs:
        return f"Its answers hang on nothing that it is shown: not on {_join(not_hangs, 'nor')}."
    ending = f", and not on {_join(not_hangs, 'or')}" if not_hangs else ""
    return f"Its answers hang on {_join(hangs, 'and')}{ending}."


def describe(findings: Sequence[Finding]) -> list[str]:
    """Return one plain sentence for each thing that was changed."""
    sentences = []
    for asks in _asked(findings):
        most = max((one for one in findings if one.asks == asks), key=lambda finding: finding.changed)
        sentences.append(f"{(_YES if most.matters else _NO)[asks]}: {_tell(most)}.")
    return sentences


def draw_changes(axes: Axes, findings: Sequence[Finding], theme: Theme) -> None:
    """The share of changed answers under every condition."""
    colours = [theme.contenders["tuned"] if finding.matters else theme.muted for finding in findings]
    axes.barh(range(len(findings)), [finding.changed for finding in findings], color=colours, height=0.62)
    for place, finding in enumerate(findings):
        axes.text(finding.changed + 0.012, place, f"{finding.changed:.0%}", va="center", fontsize=9)
    axes.axvline(FEW, color=theme.muted, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(findings)), [finding.label for finding in findings], fontsize=9)
    axes.set_ylim(len(findings) - 0.5, -0.5)
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(axis="x")


def _asked(findings: Sequence[Finding]) -> Iterator[str]:
    return (asks for asks in _NOUNS if any(finding.asks == asks for finding in findings))


def _join(words: Sequence[str], last: str) -> str:
    *others, end = words
    return f"{', '.join(others)} {last} {end}" if others else end


def _tell(finding: Finding) -> str:
    if not finding.acting:
        return f"with {finding.label}, as without, no answer to {finding.windows} windows does anything"
    text = f"with {finding.label}, {finding.changed * 100:.0f} % of {finding.acting} answers with an action change"
    scores = f"{finding.before * 100:.0f} to {finding.after * 100:.0f} %"
    if finding.loss is None or finding.loss.p_holm >= SURE:
        return f"{text}, and the F1 in detail ({scores}) does not differ for sure"
    return f"{text}, and the F1 in detail goes from {scores}"


_COLUMNS = ("changed", "windows", "answers with an action", "of these changed, %", "F1 in detail, % before", "after")


def _cells(finding: Finding) -> list[str]:
    is_apart = finding.loss is not None and finding.loss.p_holm < SURE
    shares = [f"{share * 100:.0f}" for share in (finding.changed, finding.before, finding.after)]
    return [
        finding.label,
        str(finding.windows),
        str(finding.acting),
        *shares[:2],
        f"{shares[2]}{'*' if is_apart else ''}",
    ]
