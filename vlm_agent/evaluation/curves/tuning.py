"""Which runs a curve needs, and training those that are not there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_agent.errors import ConfigError, DataError
from vlm_agent.evaluation.curves.command import CurveConfig
from vlm_agent.files import write_text
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.differences import find_differences

if TYPE_CHECKING:
    from rich.console import Console

    from vlm_agent.dataset.store import Dataset

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class PlannedRun:
    """One run to be trained, or that is."""

    sessions: int
    """How many it learns from."""
    repeat: int
    """Which of the runs of so many, from 0."""
    folder: Path
    """Where it is."""
    train: TrainConfig
    """How it is trained."""

    @property
    def name(self) -> str:
        """As its folder and its episodes are called."""
        return self.folder.name

    @property
    def is_finished(self) -> bool:
        """Whether its adapter is there."""
        return (self.folder / "adapter" / "recipe.json").is_file()


@dataclass(frozen=True)
class Tuning:
    """All runs of a curve."""

    dataset: Path
    """What they learn from."""
    num_train_sessions: int
    """How many sessions there are to learn from."""
    runs: tuple[PlannedRun, ...]
    """By number of sessions, then by repeat."""

    @property
    def largest(self) -> PlannedRun:
        """The run whose way is looked at."""
        return next(run for run in self.runs if run.sessions == self.runs[-1].sessions)


def plan_tuning(config: CurveConfig) -> Tuning:
    """Return the runs of a curve, checked against what its folder holds.

    Raises:
        ConfigError: there are fewer sessions, a seed was demonstrated, or the folder holds another curve.
        DataError: there is no usable dataset, or the folder's settings are broken.
        ModelError: the base can't be found.
    """
    from vlm_agent.dataset.store import check_same_spec, open_dataset
    from vlm_agent.evaluation.sides import check_seeds_apart, find_side
    from vlm_agent.rollouts.environments import check_goal, make_environment

    check_goal(config.env, config.goal)
    dataset = open_dataset(config.dataset)
    check_same_spec(dataset.spec, make_environment(config.env).spec_actions, dataset.folder)
    check_seeds_apart(config.seed_list, dataset.folder)
    available = count_train_sessions(dataset)
    numbers = choose_numbers(config.sessions, available)
    settings = {
        "base_sha256": find_side(config.base).base_fingerprint,
        "quantization": config.quantization,
        "dataset_sha256": dataset.manifest.sha256,
        "steps": config.steps,
        "train": asdict(config.train),
        "recipe": asdict(config.recipe),
    }
    _settle(config.out / SETTINGS_FILE, settings)
    runs = [_plan_run(config, number, repeat, numbers[-1]) for number in numbers for repeat in range(config.repeats)]
    return Tuning(dataset.folder, available, tuple(runs))


def count_train_sessions(dataset: Dataset) -> int:
    """Return how many sessions there are to learn from; raises DataError if there are none."""
    if "train" not in dataset.splits:
        raise DataError(f"{dataset.folder}: no windows to train on")
    return len({window.session for window in dataset.windows("train")})


def choose_numbers(wanted: Sequence[int], available: int) -> list[int]:
    """Return numbers of sessions, ascending: those wanted, or powers of two and all there are.

    Raises:
        ConfigError: more are wanted than there are.
    """
    if wanted and max(wanted) > available:
        raise ConfigError(f"--sessions {max(wanted)}: the dataset holds {available} training sessions; ask for fewer")
    powers = [2**power for power in range(available.bit_length()) if 2**power < available]
    return sorted(set(wanted)) if wanted else [*powers, available]


def train_missing(tuning: Tuning, config: CurveConfig, console: Console) -> None:
    """Train every run that has no adapter yet; one that was cut off goes on as `train` does."""
    from vlm_agent.models.loading import load_model
    from vlm_agent.training.adapters import train_adapter
    from vlm_agent.training.progress import ProgressWatcher

    for number, run in enumerate(tuning.runs, 1):
        if run.is_finished:
            continue
        words = f"run {number} of {len(tuning.runs)}: {run.sessions} of {tuning.num_train_sessions} sessions"
        console.print(words if config.repeats == 1 else f"{words}, repeat {run.repeat + 1}")
        loaded = load_model(config.base, quantization=config.quantization, device=config.device, trainable=True)
        with ProgressWatcher(console) as watcher:
            train_adapter(tuning.dataset, loaded, run.train, run.folder, settings=config.recipe, watcher=watcher)


def list_kept(run: PlannedRun) -> list[tuple[int, Path]]:
    """Return the adapters that were kept on the way of a run, by step."""
    folders = [path for path in (run.folder / "adapters").glob("step-*") if (path / "recipe.json").is_file()]
    return sorted((int(path.name.removeprefix("step-")), path) for path in folders)


def _plan_run(config: CurveConfig, sessions: int, repeat: int, most: int) -> PlannedRun:
    train = config.train
    first_draw = train.seed if train.sessions_seed is None else train.sessions_seed
    is_largest = sessions == most and repeat == 0
    settings = replace(
        train,
        max_sessions=sessions,
        sessions_seed=first_draw + repeat,
        seed=train.seed + repeat,
        keep_adapters_every_steps=(config.every_steps or None) if is_largest else None,
    )
    if config.steps is not None:
        # An epoch has a step at least, so that so many epochs are enough for any number of sessions.
        settings = replace(settings, max_steps=config.steps, epochs=float(config.steps))
    return PlannedRun(sessions, repeat, config.out / "runs" / f"sessions-{sessions:04d}-{repeat}", settings)


def _settle(path: Path, settings: dict[str, Any]) -> None:
    """Write down what all runs have in common, or check that the folder's runs have the same."""
    wanted = json.loads(json.dumps(settings))
    if not path.exists():
        write_text(path, json.dumps(wanted, indent=2) + "\n")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not the settings of a curve ({error})") from error
    differing = find_differences(found, wanted)
    if differing:
        raise ConfigError(f"{path}: holds a curve with other settings ({', '.join(differing)}); give another --out")
