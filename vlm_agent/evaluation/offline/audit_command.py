"""`vlm-agent audit`: which of the things that a model is shown its answers hang on.

    OUT/answers/CONDITION.jsonl   what it answered under each condition
    OUT/audit.json, audit.md      the findings

Killed and started again with the same settings it goes on with the answers that are missing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vlm_agent.errors import DataError
from vlm_agent.evaluation.command_lines import check_least
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.locks import only_writer

if TYPE_CHECKING:
    from rich.progress import Progress

    from vlm_agent.dataset.store import Dataset
    from vlm_agent.dataset.windows import Window
    from vlm_agent.evaluation.offline.audit import Finding

FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """Change one thing at a time of what a model is shown, and see what becomes of its answers."""

    dataset: Path
    """Folder of the dataset."""
    model: str
    """A run's folder, `base` (the bundled model), or a checkpoint's folder."""
    recipe: Path | None = None
    """For an adapter from elsewhere, which has no `recipe.json`: a run of train_vision_agent.py that is asked alike, or
    the `recipe.json` of one. Its base is the one that its own adapter_config.json names, or else the run's."""
    out: Path = Path("audit")
    """Folder for the answers, `audit.json` and `audit.md`."""
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
        check_least(self, {"max_windows": 2})


def run(config: AuditConfig) -> list[Finding]:
    """Audit, write the findings into `config.out`, and print them.

    Raises:
        DataError: there is no such dataset or split, too few sessions in it, or `out` holds another audit.
        ModelError: there is no such model, or it can't be used.
        BusyError: another process writes into `config.out`.
    """
    from vlm_agent.evaluation.offline.audit_section import write_section
    from vlm_agent.evaluation.progress import make_progress
    from vlm_agent.evaluation.sides import find_side, tell_notes
    from vlm_agent.terminal import PlainConsole

    console = PlainConsole()
    tell_notes(find_side(config.model, config.recipe))
    with only_writer(config.out), make_progress(console) as progress:
        findings = audit_model(config, progress)
    section = write_section(findings, config.score)
    for table in section.tables:
        console.print(table.to_rich())
    for sentence in section.sentences:
        console.print(sentence)
    console.print(f"findings: {config.out / 'audit.json'}")
    return findings


def audit_model(config: AuditConfig, progress: Progress | None = None) -> list[Finding]:
    """Audit a model and write the findings into `config.out`.

    Args:
        config: what is asked of whom.
        progress: shows a bar for every condition.

    Raises:
        DataError, ModelError: see `run`.
    """
    from vlm_agent.chat import Recipe
    from vlm_agent.dataset.store import open_dataset
    from vlm_agent.evaluation.offline.answering import LatePolicy
    from vlm_agent.evaluation.offline.audit import audit
    from vlm_agent.evaluation.offline.audit_section import write_section
    from vlm_agent.evaluation.offline.contenders import make_model
    from vlm_agent.evaluation.offline.predictions import PredictionStore
    from vlm_agent.evaluation.report import write_json
    from vlm_agent.evaluation.sides import find_side
    from vlm_agent.files import write_text
    from vlm_agent.observations import Observer

    side = find_side(config.model, config.recipe)
    dataset = open_dataset(config.dataset)
    windows = choose_sessions(config, dataset)
    about = {
        "model": side.to_json(),
        "dataset_sha256": dataset.manifest.sha256,
        "split": config.split,
        "goals": config.goals,
        "windows": len(windows),
        "temperature": config.temperature,
    }
    policy = LatePolicy(partial(make_model, config.model, dataset, side.record, config, config.recipe))

    def keep(condition: str) -> PredictionStore:
        path = config.out / "answers" / f"{condition}.jsonl"
        return PredictionStore(path, {"condition": condition, **about}, dataset.spec)

    recipe = None if side.record is None else Recipe.from_json(side.record["recipe"])
    findings = audit(policy, Observer(dataset, recipe), windows, config.score, keep=keep, progress=progress)
    section = write_section(findings, config.score)
    value = {
        "format": FORMAT,
        **about,
        "score": asdict(config.score),
        "findings": [finding.to_json() for finding in findings],
        "sentences": list(section.sentences),
    }
    write_json(config.out / "audit.json", value)
    write_text(config.out / "audit.md", section.to_markdown())
    return findings


def choose_sessions(config: AuditConfig, dataset: Dataset) -> list[Window]:
    """Return the windows of whole sessions, evenly spread, as many as are asked for or a few more.

    Raises:
        DataError: there are fewer than two sessions, so that nothing can be exchanged.
    """
    from vlm_agent.training.moments import spread

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
    return [window for name in spread(list(of_session), count) for window in of_session[name]]
