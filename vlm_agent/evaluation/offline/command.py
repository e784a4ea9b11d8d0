"""`vlm-agent eval`: what a model answers to recorded windows, beside its base and those who know no model.

    OUT/predictions/NAME.jsonl   what each contender answered
    OUT/readouts/NAME.jsonl      what each model expected, given what the player did
    OUT/evaluation.json          all numbers
    OUT/evaluation.md            the tables

Killed and started again with the same settings it goes on with the windows that are missing. `--rescore` computes all
numbers anew from these files, without a model and without the dataset.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlm_agent.errors import ConfigError, DataError
from vlm_agent.evaluation.command_lines import check_least
from vlm_agent.evaluation.offline.contenders import list_contenders, read_also, sort_names
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.locks import only_writer

if TYPE_CHECKING:
    from rich.progress import Progress

    from vlm_agent.dataset.manifest import DatasetManifest
    from vlm_agent.dataset.store import Dataset
    from vlm_agent.dataset.windows import Window
    from vlm_agent.evaluation.offline.contenders import Contender
    from vlm_agent.evaluation.offline.evaluation import OfflineEvaluation
    from vlm_agent.evaluation.offline.predictions import Prediction
    from vlm_agent.evaluation.offline.readouts import Readout


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Ask a model about recorded windows, and hold its answers against what the player did."""

    out: Path = Path("eval")
    """Folder for predictions and numbers."""
    dataset: Path | None = None
    """Folder of the dataset; not needed with --rescore."""
    model: str = "base"
    """A run's folder, `base` (the bundled model), or a checkpoint's folder. Beside a run its base is asked too."""
    recipe: Path | None = None
    """For an adapter from elsewhere, which has no `recipe.json`: a run of train_vision_agent.py that is asked alike, or
    the `recipe.json` of one. Its base is the one that its own adapter_config.json names, or else the run's."""
    split: str = "validation"
    """Which of the dataset's splits: sessions that were not learnt from."""
    goals: Literal["all", "long", "short"] = "all"
    """Windows asked with which goals."""
    max_windows: int | None = None
    """Ask about so many windows at most, evenly spread."""
    readout_windows: int | None = None
    """Read what models expected in so many of these windows, evenly spread; 0 reads none. Takes about as long as
    asking about them; by default all are read."""
    few_shot: int = 2
    """The base is also asked with so many worked examples in its prompt; 0 leaves that out."""
    also: tuple[str, ...] = ()
    """Further models, each as NAME=RUN: what they are called, and a run's or a checkpoint's folder."""
    temperature: float = 0.0
    """How models choose tokens: 0 takes the likeliest, 1 samples as they are (each window its own chance)."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`."""
    rescore: bool = False
    """Compute all numbers anew from the predictions in --out, and ask nobody."""
    score: ScoreConfig = field(default_factory=ScoreConfig)
    """When two actions count as the same."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an evaluation of nothing."""
        if self.dataset is None and not self.rescore:
            raise ConfigError("--dataset names the dataset to evaluate on; or --rescore old predictions")
        check_least(self, {"max_windows": 1, "readout_windows": 0, "few_shot": 0, "temperature": 0})
        read_also(self.also)


@dataclass(frozen=True)
class Asked:
    """All that was said."""

    predictions: dict[str, list[Prediction]]
    """By contender."""
    readouts: dict[str, list[Readout]]
    """By contender, of those that are models."""
    about: dict[str, Any]
    """What was asked of whom."""
    windows: tuple[Window, ...] = ()
    """What was asked about; none where old answers are scored again."""


def run(config: EvalConfig) -> OfflineEvaluation:
    """Evaluate, write the numbers into `config.out`, and print the tables.

    Raises:
        DataError: there is no such dataset or split, or `out` holds predictions of something else.
        ModelError: there is no such model, or it can't be used.
        BusyError: another process writes into `config.out`.
    """
    from vlm_agent.evaluation.offline.table import make_tables
    from vlm_agent.evaluation.progress import make_progress
    from vlm_agent.evaluation.sides import find_side, tell_notes
    from vlm_agent.terminal import PlainConsole

    console = PlainConsole()
    if not config.rescore:
        tell_notes(find_side(config.model, config.recipe))
    with only_writer(config.out), make_progress(console) as progress:
        evaluation, _ = evaluate_model(config, progress)
    for table in make_tables(evaluation):
        console.print(table)
    trained_on = evaluation.about.get("trained_on")
    if trained_on:
        told = f"note: the model was trained on {len(trained_on)} of these sessions: {', '.join(trained_on)}"
        console.print(told)
    console.print(f"numbers: {config.out / 'evaluation.json'}")
    return evaluation


def evaluate_model(config: EvalConfig, progress: Progress) -> tuple[OfflineEvaluation, Asked]:
    """Evaluate and write the numbers into `config.out`; return them, and all that was said.

    Args:
        config: what is asked of whom.
        progress: shows a bar for everyone.

    Raises:
        DataError, ModelError: see `run`.
    """
    from vlm_agent.evaluation.offline.evaluation import evaluate
    from vlm_agent.evaluation.offline.table import write_markdown
    from vlm_agent.evaluation.report import write_json
    from vlm_agent.files import write_text

    asked = _read_all(config.out) if config.rescore else _ask_all(config, progress)
    evaluation = evaluate(asked.predictions, asked.about, config.score, asked.readouts)
    write_json(config.out / "evaluation.json", evaluation.to_json())
    write_text(config.out / "evaluation.md", write_markdown(evaluation))
    return evaluation, asked


def ask_ahead(config: EvalConfig, names: Collection[str]) -> None:
    """Ask some of the contenders without a word, so that `evaluate_model` finds their answers there.

    Each keeps files of its own: different ones may be asked in processes beside each other.

    Args:
        config: what is asked of whom.
        names: who is asked here.

    Raises:
        DataError, ModelError: see `run`.
    """
    from vlm_agent.terminal import PlainConsole, make_bars

    _ask_all(config, make_bars(console=PlainConsole(), disable=True), names)


def _ask_all(config: EvalConfig, progress: Progress, names: Collection[str] | None = None) -> Asked:
    from vlm_agent.dataset.store import open_dataset
    from vlm_agent.evaluation.sides import find_side

    side = find_side(config.model, config.recipe)
    also = {name: find_side(run) for name, run in read_also(config.also).items()}
    assert config.dataset is not None
    dataset = open_dataset(config.dataset)
    windows = choose_windows(config, dataset)
    about = {
        "dataset_sha256": dataset.manifest.sha256,
        "split": config.split,
        "goals": config.goals,
        "windows": len(windows),
        "temperature": config.temperature,
    }
    asked = Asked({}, {}, {**about, "models": {}}, tuple(windows))
    asked.about["trained_on"] = find_trained_sessions(side.record or {}, dataset.manifest, windows)
    for contender in list_contenders(side, also, dataset, config, few_shot=config.few_shot):
        if names is not None and contender.name not in names:
            continue
        asked.about["models"][contender.name] = contender.who
        asked.predictions[contender.name] = _ask(contender, dataset, windows, config.out, about, progress)
        if contender.is_model and config.readout_windows != 0:
            asked.readouts[contender.name] = _read(contender, dataset, windows, config, about, progress)
    return asked


def _ask(
    contender: Contender,
    dataset: Dataset,
    windows: Sequence[Window],
    out: Path,
    about: dict[str, Any],
    progress: Progress,
) -> list[Prediction]:
    from vlm_agent.evaluation.offline.answering import answer_windows
    from vlm_agent.evaluation.offline.predictions import PredictionStore
    from vlm_agent.observations import Observer

    head = {"name": contender.name, "who": contender.who, **about}
    store = PredictionStore(out / "predictions" / f"{contender.name}.jsonl", head, dataset.spec)
    task = progress.add_task(contender.name, total=len(windows))
    # A model is only loaded for windows that it has not answered yet.
    if any(window.window_id not in store.done for window in windows):
        observer = Observer(dataset, contender.recipe)
        answer_windows(contender.make(), observer, windows, store, partial(progress.advance, task))
    return [store.done[window.window_id] for window in windows]


def _read(
    contender: Contender,
    dataset: Dataset,
    windows: Sequence[Window],
    config: EvalConfig,
    about: dict[str, Any],
    progress: Progress,
) -> list[Readout]:
    from vlm_agent.evaluation.offline.reading import WindowReader, choose_moments, plan_readings, read_windows
    from vlm_agent.evaluation.offline.readouts import ReadoutStore
    from vlm_agent.observations import Observer
    from vlm_agent.policies import VlmPolicy

    chosen = choose_moments(windows, config.readout_windows)
    readings = plan_readings(chosen, contender.recipe, dataset.windows(config.split))
    head = {"name": contender.name, "who": contender.who, **about, "readout_windows": config.readout_windows}
    store = ReadoutStore(config.out / "readouts" / f"{contender.name}.jsonl", head)
    task = progress.add_task(f"{contender.name}, read out", total=len(readings))
    if any(reading.window.window_id not in store.done for reading in readings):
        policy = contender.make()
        assert isinstance(policy, VlmPolicy)
        observer = Observer(dataset, contender.recipe)
        read_windows(WindowReader(policy), observer, readings, store, partial(progress.advance, task))
    return [store.done[reading.window.window_id] for reading in readings]


def find_trained_sessions(record: Mapping[str, Any], manifest: DatasetManifest, windows: Sequence[Window]) -> list[str]:
    """Return the names of the sessions of windows that a run learnt from, though in a dataset of another make.

    Args:
        record: what the run was made of; empty for a model that was not tuned here.
        manifest: of the dataset that the windows are from.
        windows: what is asked about.
    """
    learnt = record.get("dataset", {})
    if learnt.get("sha256") == manifest.sha256:
        return []  # its splits keep apart what is asked about
    asked = {window.session for window in windows}
    trained = set(learnt.get("sessions", ()))
    return [one.session for one in manifest.sessions if one.session in asked and one.sha256 in trained]


def choose_windows(config: EvalConfig, dataset: Dataset) -> list[Window]:
    """Return the windows that are asked about.

    Raises:
        DataError: there are none.
    """
    from vlm_agent.training.moments import spread

    windows = [window for window in dataset.windows(config.split) if config.goals in ("all", window.goal_level)]
    if not windows:
        raise DataError(f"{dataset.folder}: no windows with {config.goals} goals in its split {config.split!r}")
    return spread(windows, config.max_windows or len(windows))


def _read_all(out: Path) -> Asked:
    from vlm_agent.evaluation.offline.predictions import read_predictions
    from vlm_agent.evaluation.offline.readouts import read_readouts

    names = sort_names([path.stem for path in (out / "predictions").glob("*.jsonl")])
    if not names:
        raise DataError(f"{out} holds no predictions; run the evaluation first, without --rescore")
    found = {name: read_predictions(out / "predictions" / f"{name}.jsonl") for name in names}
    files = {name: out / "readouts" / f"{name}.jsonl" for name in names}
    read = {name: read_readouts(path) for name, path in files.items() if path.exists()}
    heads = [head for head, _ in found.values()]
    shared = {key: value for key, value in heads[0].items() if key not in ("name", "who", "spec", "format")}
    return Asked(
        {name: of_one for name, (_, of_one) in found.items()},
        {name: of_one for name, (_, of_one) in read.items()},
        {**shared, "models": {head["name"]: head["who"] for head in heads}},
    )
