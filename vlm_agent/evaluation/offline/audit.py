"""`vlm-agent audit`: which of the things that a model is shown its answers hang on, in a table and a sentence each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlm_agent.errors import ConfigError, DataError
from vlm_agent.evaluation.offline.metrics import SURE, ScoreConfig

if TYPE_CHECKING:
    from rich.table import Table

    from vlm_agent.dataset.store import Dataset
    from vlm_agent.dataset.windows import Window
    from vlm_agent.evaluation.offline.estimates import Gap
    from vlm_agent.evaluation.offline.predictions import Prediction
    from vlm_agent.policies import Policy

FORMAT = 1
FEW = 0.05
"""Where fewer answers than this share change, the answers don't hang on what was changed."""


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """Change one thing at a time of what a model is shown, and see what becomes of its answers."""

    dataset: Path
    """Folder of the dataset."""
    model: str
    """A run's folder, `base` (the bundled model), or a checkpoint's folder."""
    out: Path = Path("audit")
    """Folder for `audit.json` and `audit.md`."""
    split: str = "validation"
    """Which of the dataset's splits."""
    goals: Literal["all", "long", "short"] = "all"
    """Windows asked with which goals."""
    max_windows: int = 300
    """Whole sessions are taken, evenly spread, until so many windows are reached."""
    temperature: float = 0.0
    """How the model chooses tokens; above 0 chance changes answers too."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`."""
    score: ScoreConfig = field(default_factory=ScoreConfig)
    """When two actions count as the same."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an audit of nothing."""
        if self.max_windows < 2:
            raise ConfigError(f"--max-windows must be at least 2, got {self.max_windows}")


@dataclass(frozen=True)
class Finding:
    """What one change did."""

    name: str
    """The condition's key."""
    label: str
    """What was changed."""
    asks: str
    """What it tells about: `picture`, `state`, `goal` or `history`."""
    windows: int
    """How many windows could be changed."""
    changed: float
    """Share of them whose answer became another."""
    before: float
    """F1 in detail on these windows as they are."""
    after: float
    """F1 in detail after the change."""
    loss: Gap | None
    """What the change costs, by session, corrected for all conditions; none where nothing can be tested."""

    @property
    def matters(self) -> bool:
        """Whether the answers hang on what was changed."""
        return self.changed >= FEW


def run(config: AuditConfig) -> list[Finding]:
    """Audit, write the findings into `config.out`, and print them.

    Raises:
        DataError: there is no such dataset or split, or too few sessions in it.
        ModelError: there is no such model, or it can't be used.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from vlm_agent.dataset.store import open_dataset
    from vlm_agent.evaluation.offline.contenders import make_model
    from vlm_agent.evaluation.report import write_whole
    from vlm_agent.evaluation.sides import find_side

    console = Console()
    side = find_side(config.model)
    dataset = open_dataset(config.dataset)
    windows = choose_sessions(config, dataset)
    columns = (TextColumn("{task.description:34}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        policy = make_model(config.model, dataset, side.record, config)
        findings = audit(policy, dataset, windows, config.score, progress)
    sentences = describe(findings)
    value = {
        "format": FORMAT,
        "model": side.to_json(),
        "dataset_sha256": dataset.manifest.sha256,
        "windows": len(windows),
        "findings": [_to_json(finding) for finding in findings],
        "sentences": sentences,
    }
    write_whole(config.out / "audit.json", json.dumps(value, indent=2, allow_nan=False) + "\n")
    write_whole(config.out / "audit.md", write_markdown(findings, sentences))
    console.print(make_table(findings))
    for sentence in sentences:
        console.print(sentence, highlight=False)
    console.print(f"findings: {config.out / 'audit.json'}", highlight=False, soft_wrap=True)
    return findings


def choose_sessions(config: AuditConfig, dataset: Dataset) -> list[Window]:
    """Return the windows of whole sessions, evenly spread, as many as are asked for or a few more.

    Raises:
        DataError: there are fewer than two sessions, so that nothing can be exchanged.
    """
    of_session: dict[str, list[Window]] = {}
    for window in dataset.windows(config.split):
        if config.goals in ("all", window.goal_level):
            of_session.setdefault(window.session, []).append(window)
    total = sum(map(len, of_session.values()))
    if len(of_session) < 2:
        raise DataError(
            f"{dataset.folder}: an audit needs two sessions in split {config.split!r}, got {len(of_session)}"
        )
    share = min(1.0, config.max_windows / total)
    count = max(2, round(share * len(of_session)))
    names = list(of_session)
    chosen = [names[index * len(names) // count] for index in range(count)]
    return [window for name in chosen for window in of_session[name]]


def audit(
    policy: Policy, dataset: Dataset, windows: Sequence[Window], score: ScoreConfig, progress: Any = None
) -> list[Finding]:
    """Ask about the windows as they are and under every condition, and return what each change did.

    Args:
        policy: who is asked.
        dataset: gives the pictures.
        windows: whole sessions.
        score: when two actions count as the same.
        progress: a rich progress to show bars on.
    """
    from vlm_agent.evaluation.offline.answering import answer_window
    from vlm_agent.evaluation.offline.shortcuts import CONDITIONS, INTACT, answer_changed

    def start(label: str) -> Any:
        if progress is None:
            return lambda: None
        return partial(progress.advance, progress.add_task(label, total=len(windows)))

    advance, intact = start(INTACT), {}
    for window in windows:
        intact[window.window_id] = answer_window(policy, dataset, window)
        advance()
    findings = []
    for condition in CONDITIONS:
        changed = answer_changed(policy, dataset, windows, condition, start(condition.label))
        if changed:
            before = [intact[one.window_id] for one in changed]
            findings.append(_find((condition.name, condition.label, condition.asks), before, changed, score))
    return _correct(findings)


def _find(
    names: tuple[str, str, str], before: list[Prediction], after: list[Prediction], score: ScoreConfig
) -> Finding:
    from vlm_agent.evaluation.offline.estimates import compare, estimate
    from vlm_agent.evaluation.offline.scores import tally_sessions

    tallies = [tally_sessions(side, score) for side in (before, after)]
    values = [estimate(side, "f1_detail") for side in tallies]
    moved = sum(not _is_same(one, other, score) for one, other in zip(before, after, strict=True))
    return Finding(
        *names,
        windows=len(after),
        changed=moved / len(after),
        before=values[0].value if values[0] else 0.0,
        after=values[1].value if values[1] else 0.0,
        loss=compare(tallies[0], tallies[1], ["f1_detail"]).get("f1_detail"),
    )


def _is_same(one: Prediction, other: Prediction, config: ScoreConfig) -> bool:
    """Tell whether two answers are the same but for a few pixels and milliseconds."""
    from vlm_agent.evaluation.offline.scores import score

    if one.answer is None or other.answer is None:
        return one.answer is other.answer
    tally = score(replace(other, target=one.answer), config)
    return tally.sums["f1_detail"] == tally.counts["f1_detail"]


def _correct(findings: list[Finding]) -> list[Finding]:
    from vlm_agent.evaluation.offline.estimates import correct_holm

    tested = [finding for finding in findings if finding.loss is not None]
    corrected = correct_holm([finding.loss.p for finding in tested if finding.loss])
    by_name = {finding.name: p for finding, p in zip(tested, corrected, strict=True)}
    return [
        replace(finding, loss=replace(finding.loss, p_holm=by_name[finding.name])) if finding.loss else finding
        for finding in findings
    ]


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


def describe(findings: Sequence[Finding]) -> list[str]:
    """Return one plain sentence for each thing that was changed."""
    sentences = []
    for asks in _YES:
        about = [finding for finding in findings if finding.asks == asks]
        if about:
            most = max(about, key=lambda finding: finding.changed)
            answer = (_YES if most.matters else _NO)[asks]
            sentences.append(f"{answer}: {_tell(most)}.")
    return sentences


def _tell(finding: Finding) -> str:
    text = f"with {finding.label}, {finding.changed * 100:.0f} % of {finding.windows} answers change"
    scores = f"{finding.before * 100:.0f} to {finding.after * 100:.0f} %"
    if finding.loss is None or finding.loss.p_holm >= SURE:
        return f"{text}, and the F1 in detail ({scores}) does not differ for sure"
    return f"{text}, and the F1 in detail goes from {scores}"


def make_table(findings: Sequence[Finding]) -> Table:
    """Return the findings as a table."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption="* differs from intact, p < 0.05 after Holm")
    for number, column in enumerate(_COLUMNS):
        table.add_column(column, justify="left" if number == 0 else "right")
    for finding in findings:
        table.add_row(*_cells(finding))
    return table


def write_markdown(findings: Sequence[Finding], sentences: Sequence[str]) -> str:
    """Return sentences and table in Markdown."""
    rows = [list(_COLUMNS), ["---", *["---:"] * (len(_COLUMNS) - 1)], *map(_cells, findings)]
    table = "\n".join("| " + " | ".join(row).replace("*", "\\*") + " |" for row in rows)
    return "\n".join(f"- {sentence}" for sentence in sentences) + f"\n\n{table}\n"


_COLUMNS = ("changed", "windows", "answers changed, %", "F1 in detail, % before", "after")


def _cells(finding: Finding) -> list[str]:
    is_apart = finding.loss is not None and finding.loss.p_holm < SURE
    shares = [f"{share * 100:.0f}" for share in (finding.changed, finding.before, finding.after)]
    return [finding.label, str(finding.windows), *shares[:2], f"{shares[2]}{'*' if is_apart else ''}"]


def _to_json(finding: Finding) -> dict[str, Any]:
    loss = finding.loss
    return {
        "name": finding.name,
        "asks": finding.asks,
        "windows": finding.windows,
        "changed": round(finding.changed, 6),
        "f1_detail_before": round(finding.before, 6),
        "f1_detail_after": round(finding.after, 6),
        "loss": None if loss is None else {**loss.interval.to_json(), "p": loss.p, "p_holm": loss.p_holm},
        "matters": finding.matters,
    }
