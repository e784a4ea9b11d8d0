"""Everything that the report of a comparison holds beside the comparison: made here, each where it can be made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import Progress

from vlm_agent.dataset.store import Dataset, open_dataset
from vlm_agent.errors import DataError
from vlm_agent.evaluation.clickmaps import draw_click_maps
from vlm_agent.evaluation.compare import CompareConfig
from vlm_agent.evaluation.comparison import Comparison
from vlm_agent.evaluation.curves.curve import read_curve
from vlm_agent.evaluation.curves.section import write_section as write_curve
from vlm_agent.evaluation.films import find_recordings, shoot_films
from vlm_agent.evaluation.goals import compare_goals, describe
from vlm_agent.evaluation.goals import write_section as write_goals
from vlm_agent.evaluation.learning import write_section as write_learning
from vlm_agent.evaluation.likeness.measuring import LEAST_SESSIONS, count_steps, measure_likeness
from vlm_agent.evaluation.likeness.section import write_section as write_likeness
from vlm_agent.evaluation.matches import SESSIONS, Terms, plan_models, plan_others
from vlm_agent.evaluation.offline.audit_command import AuditConfig, audit_model
from vlm_agent.evaluation.offline.audit_section import is_blind
from vlm_agent.evaluation.offline.audit_section import write_section as write_audit
from vlm_agent.evaluation.offline.command import EvalConfig, ask_ahead, evaluate_model
from vlm_agent.evaluation.offline.contenders import BASE, BASE_FEW, TUNED
from vlm_agent.evaluation.offline.evaluation import OfflineEvaluation
from vlm_agent.evaluation.offline.section import write_section as write_offline
from vlm_agent.evaluation.offline.worst import WorstWindow, find_worst
from vlm_agent.evaluation.parts import Parts
from vlm_agent.evaluation.progress import make_progress
from vlm_agent.evaluation.recovery import FEWEST_PLANTED, WITHIN_TICKS, list_recovery_plans, play_recovery
from vlm_agent.evaluation.recovery_section import write_section as write_recovery
from vlm_agent.evaluation.sections import Section
from vlm_agent.evaluation.sides import Pair
from vlm_agent.games.ringcraft.goals import find_goal
from vlm_agent.rollouts.environments import make_environment
from vlm_agent.rollouts.parallel import run_beside
from vlm_agent.terminal import PlainConsole
from vlm_agent.training.metrics import read_losses

DISTURBED = ("tuned", "demonstrator")
"""For whom something goes wrong, and who are held against each other in movement."""
FEWEST_TICKS = 40
"""In shorter episodes there is no time to recover in."""
SPLIT = "validation"
"""The recorded windows that were not learned from."""


def collect_parts(config: CompareConfig, pair: Pair, terms: Terms, comparison: Comparison) -> Parts:
    """Return everything beside the comparison.

    Args:
        config: says what to leave out, and where answers are kept.
        pair: the models.
        terms: how everyone played.
        comparison: gives the episodes; their recordings are in `config.out`.

    Raises:
        DataError: a dataset or a recording can't be read, or `config.out` holds answers to something else.
    """
    collection = _Collection(config, pair, terms)
    with make_progress(PlainConsole("error")) as progress:
        collection.add_recovery(comparison, progress)
        collection.add_goals(comparison, progress)
        collection.add_recorded_windows(progress)
        collection.add_likeness(comparison, progress)
        collection.add_learning()
        with _doing(progress, "drawing the episodes"):
            sessions = config.out / "episodes" / SESSIONS
            films = shoot_films(comparison, sessions, make_environment(config.env).spec_actions)
            maps = draw_click_maps(comparison, sessions)
    return Parts(
        sections=tuple(collection.sections),
        is_blind=collection.is_blind,
        worst=tuple(collection.worst),
        films=tuple(films),
        click_maps=tuple(maps),
        values=collection.values,
        offline=collection.offline,
        missing=tuple(collection.missing),
    )


@dataclass
class _Collection:
    config: CompareConfig
    pair: Pair
    terms: Terms
    sections: list[Section] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    worst: list[WorstWindow] = field(default_factory=list)
    offline: OfflineEvaluation | None = None
    is_blind: bool = False

    def add_recorded_windows(self, progress: Progress) -> None:
        """Ask the models about windows that tuned did not learn from."""
        dataset = self._find_dataset()
        if dataset is not None:
            self._answer_ahead(dataset, progress)
            self._add_offline(dataset, progress)
            self._add_audit(dataset, progress)

    def add_recovery(self, comparison: Comparison, progress: Progress) -> None:
        """Disturb tuned and the demonstrator, and see who finds back."""
        num_seeds = min(self.config.parts.disturbed_seeds, len(comparison.seeds))
        if not self.terms.is_long_goal or num_seeds < FEWEST_PLANTED:
            return
        if self.terms.max_ticks < FEWEST_TICKS:
            self.missing.append(
                f"recovery from disturbances: episodes of {self.terms.max_ticks} decisions are too short to see it; "
                f"--max-ticks {FEWEST_TICKS} or more shows it"
            )
            return
        # What comes late in a trip (a level, say) must come while there is time left to recover in.
        within = min(WITHIN_TICKS, self.terms.max_ticks // 2)
        terms = replace(self.terms, seeds=comparison.seeds[:num_seeds])
        plans = [plan for plan in (*plan_models(self.pair, terms), *plan_others(terms)) if plan.name in DISTURBED]
        played = list_recovery_plans(plans, within_ticks=within)
        task = progress.add_task("disturbed episodes", total=num_seeds * len(played))
        recovery = play_recovery(
            plans,
            self.config.out / "episodes",
            horizon_ms=comparison.setting.horizon_ms,
            within_ticks=within,
            workers=self.config.workers,
            on_episode=lambda name, episode: progress.advance(task),
        )
        self.sections.append(write_recovery(recovery))
        self.values["recovery"] = recovery.to_json()

    def add_goals(self, comparison: Comparison, progress: Progress) -> None:
        """Compare base and tuned on the further goals."""
        parts = self.config.parts
        if not parts.goals:
            return

        def start(label: str, total: int) -> Callable[[], object]:
            return partial(progress.advance, progress.add_task(label, total=total))

        seeds = tuple(range(self.config.first_seed, self.config.first_seed + parts.goal_seeds))
        comparisons = compare_goals(
            [(goal, find_goal(goal).is_long) for goal in parts.goals],
            self.pair,
            replace(self.terms, seeds=seeds, max_ticks=parts.goal_ticks),
            comparison,
            self.config.out / "goals",
            workers=self.config.workers,
            start=start,
        )
        self.sections.append(write_goals(comparisons))
        self.values["goals"] = describe(comparisons)

    def add_likeness(self, comparison: Comparison, progress: Progress) -> None:
        """Hold tuned's recorded episodes against the demonstrator's of the same scenes."""
        if not self.config.parts.likeness:
            return
        folder = self.config.out / "episodes" / SESSIONS
        agent, player = (find_recordings(comparison, name, folder) for name in DISTURBED)
        if min(len(agent), len(player)) < LEAST_SESSIONS:
            self.missing.append(
                f"likeness: it takes recordings of {LEAST_SESSIONS} episodes of tuned and of the player in the same "
                f"scenes, there are {len(agent)} and {len(player)}; vlm-agent likeness takes recordings of your own"
            )
            return
        task = progress.add_task("likeness", total=count_steps(len(agent) + len(player)))
        try:
            likeness = measure_likeness(agent, player, on_step=lambda _: progress.advance(task))
        except DataError as error:  # recordings that are there, and can't be compared
            self.missing.append(f"likeness: {error}")
            return
        self.sections.append(write_likeness(likeness))
        self.values["likeness"] = likeness.to_json()

    def add_learning(self) -> None:
        """Show how the run learned, if it is one, and a curve over sessions, if there is one."""
        losses = read_losses(Path(self.pair.tuned.name))
        if losses.train:
            self.sections.append(write_learning(losses))
        if self.config.parts.curve is not None:
            curve = read_curve(self.config.parts.curve)
            self.sections.append(write_curve(curve))
            self.values["curve"] = curve.to_json()

    def _find_dataset(self) -> Dataset | None:
        parts = self.config.parts
        if not parts.windows and not parts.audit_windows:
            return None
        folder = parts.dataset or self.pair.dataset
        if folder is None or not folder.is_dir():
            self.missing.append(
                f"recorded windows and the audit: the dataset that tuned learned from ({folder}) is not there any "
                "more; name one with --parts.dataset"
            )
            return None
        dataset = open_dataset(folder)
        if SPLIT not in dataset.splits:
            self.missing.append(f"recorded windows and the audit: {folder} keeps no sessions for evaluation")
            return None
        return dataset

    def _answer_ahead(self, dataset: Dataset, progress: Progress) -> None:
        """Have the models answer in processes beside each other; what follows finds their answers there."""
        jobs: list[_Ahead] = []
        if self.config.parts.windows:
            # Whoever takes longest begins.
            jobs += [_Ahead(self._offline_config(dataset), name) for name in (BASE_FEW, BASE, TUNED)]
        if self._is_auditable(dataset):
            jobs.append(_Ahead(self._audit_config(dataset)))
        if self.config.workers == 1 or len(jobs) < 2:
            return
        task = progress.add_task("answers to recorded windows", total=len(jobs))
        for _ in run_beside(_answer, jobs, self.config.workers):
            progress.advance(task)

    def _offline_config(self, dataset: Dataset) -> EvalConfig:
        parts = self.config.parts
        return EvalConfig(
            dataset=dataset.folder,
            model=self.pair.tuned.name,
            recipe=self.pair.tuned.recipe_from,
            out=self.config.out / "offline",
            split=SPLIT,
            max_windows=parts.windows,
            readout_windows=parts.readout_windows,
            few_shot=parts.few_shot,
            device=self.config.device,
        )

    def _audit_config(self, dataset: Dataset) -> AuditConfig:
        return AuditConfig(
            dataset=dataset.folder,
            model=self.pair.tuned.name,
            recipe=self.pair.tuned.recipe_from,
            out=self.config.out / "audit",
            split=SPLIT,
            max_windows=max(2, self.config.parts.audit_windows),
            device=self.config.device,
        )

    def _is_auditable(self, dataset: Dataset) -> bool:
        has_two_sessions = len({window.session for window in dataset.windows(SPLIT)}) > 1
        return bool(self.config.parts.audit_windows) and has_two_sessions

    def _add_offline(self, dataset: Dataset, progress: Progress) -> None:
        if not self.config.parts.windows:
            return
        self.offline, asked = evaluate_model(self._offline_config(dataset), progress)
        self.sections.append(write_offline(self.offline))
        self.values["offline"] = self.offline.to_json()
        self.worst = find_worst(dataset, asked.windows, asked.predictions[TUNED], self._offline_config(dataset).score)

    def _add_audit(self, dataset: Dataset, progress: Progress) -> None:
        if not self._is_auditable(dataset):
            if self.config.parts.audit_windows:
                self.missing.append(f"the audit: {dataset.folder} keeps fewer than two sessions for evaluation")
            return
        config = self._audit_config(dataset)
        findings = audit_model(config, progress)
        self.sections.append(write_audit(findings, config.score))
        self.values["audit"] = [finding.to_json() for finding in findings]
        self.is_blind = is_blind(findings)


@dataclass(frozen=True)
class _Ahead:
    """A part of the answers to recorded windows, to be had in a process of its own."""

    config: EvalConfig | AuditConfig
    name: str = ""
    """The contender that is asked, of an evaluation."""


def _answer(job: _Ahead) -> None:
    if isinstance(job.config, AuditConfig):
        audit_model(job.config)
    else:
        ask_ahead(job.config, (job.name,))


@contextmanager
def _doing(progress: Progress, words: str) -> Iterator[None]:
    task = progress.add_task(words, total=None)
    yield
    progress.update(task, total=1, completed=1)
