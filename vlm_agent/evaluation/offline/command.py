"""`vlm-agent eval`: what a model answers to recorded windows, beside its base and those who know no model.

    OUT/predictions/NAME.jsonl   what each contender answered
    OUT/evaluation.json          all numbers
    OUT/evaluation.md            the table

Killed and started again with the same settings it goes on with the windows that are missing. `--rescore` computes all
numbers anew from the predictions, without a model and without the dataset.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from vlm_agent.errors import ConfigError, DataError
from vlm_agent.evaluation.offline.metrics import ScoreConfig

if TYPE_CHECKING:
    from vlm_agent.dataset.store import Dataset
    from vlm_agent.dataset.windows import Window
    from vlm_agent.evaluation.offline.evaluation import OfflineEvaluation
    from vlm_agent.evaluation.offline.predictions import Prediction
    from vlm_agent.evaluation.sides import Side
    from vlm_agent.policies import Policy

TRAIN = "train"
TUNED, BASE, NOTHING, REPEAT, MARGINAL, NEAREST = "tuned", "base", "nothing", "repeat", "marginal", "nearest"
CONTENDERS = (TUNED, BASE, NOTHING, REPEAT, MARGINAL, NEAREST)
"""Everyone who may be asked, in the order of the table."""


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Ask a model about recorded windows, and hold its answers against what the player did."""

    out: Path = Path("eval")
    """Folder for predictions and numbers."""
    dataset: Path | None = None
    """Folder of the dataset; not needed with --rescore."""
    model: str = "base"
    """A run's folder, `base` (the bundled model), or a checkpoint's folder. Beside a run its base is asked too."""
    split: str = "validation"
    """Which of the dataset's splits: sessions that were not learnt from."""
    goals: Literal["all", "long", "short"] = "all"
    """Windows asked with which goals."""
    max_windows: int | None = None
    """Ask about so many windows at most, evenly spread."""
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
        if self.max_windows is not None and self.max_windows < 1:
            raise ConfigError(f"--max-windows must be at least 1, got {self.max_windows}")
        if self.temperature < 0:
            raise ConfigError(f"--temperature must not be negative, got {self.temperature}")


def run(config: EvalConfig) -> OfflineEvaluation:
    """Evaluate, write the numbers into `config.out`, and print the table.

    Raises:
        DataError: there is no such dataset or split, or `out` holds predictions of something else.
        ModelError: there is no such model, or it can't be used.
    """
    from rich.console import Console

    from vlm_agent.evaluation.offline.evaluation import evaluate
    from vlm_agent.evaluation.offline.table import make_table, write_markdown
    from vlm_agent.evaluation.report import write_whole

    console = Console()
    predictions, about = _read_all(config.out) if config.rescore else _ask_all(config, console)
    evaluation = evaluate(predictions, about, config.score)
    write_whole(config.out / "evaluation.json", json.dumps(evaluation.to_json(), indent=2, allow_nan=False) + "\n")
    write_whole(config.out / "evaluation.md", write_markdown(evaluation))
    console.print(make_table(evaluation))
    console.print(f"numbers: {config.out / 'evaluation.json'}", highlight=False, soft_wrap=True)
    return evaluation


def _ask_all(config: EvalConfig, console: Any) -> tuple[dict[str, list[Prediction]], dict[str, Any]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from vlm_agent.dataset.store import open_dataset
    from vlm_agent.evaluation.offline.answering import answer_windows
    from vlm_agent.evaluation.offline.predictions import PredictionStore
    from vlm_agent.evaluation.sides import find_side

    side = find_side(config.model)
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
    predictions: dict[str, list[Prediction]] = {}
    models: dict[str, Any] = {}
    columns = (TextColumn("{task.description:12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        for name, who, make_policy in _contenders(config, side, dataset):
            store = PredictionStore(
                config.out / "predictions" / f"{name}.jsonl", {"name": name, "who": who, **about}, dataset.spec
            )
            task = progress.add_task(name, total=len(windows))
            models[name] = who
            # A model is only loaded for windows that it has not answered yet.
            if any(window.window_id not in store.done for window in windows):
                answer_windows(make_policy(), dataset, windows, store, partial(progress.advance, task))
            predictions[name] = [store.done[window.window_id] for window in windows]
    return predictions, {**about, "models": models}


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


def _contenders(
    config: EvalConfig, side: Side, dataset: Dataset
) -> Iterator[tuple[str, dict[str, Any], Callable[[], Policy]]]:
    """Give each contender's name, who that is, and how to make it; the one that is asked about first."""
    from vlm_agent.dataset.store import check_same_spec
    from vlm_agent.evaluation.offline.baselines import MarginalPolicy, NearestPolicy
    from vlm_agent.policies import NoOpPolicy, RepeatLastPolicy

    record = side.record
    if record is None:
        yield BASE, side.to_json(), partial(make_model, side.name, dataset, None, config)
    else:
        from vlm_agent.actions.spec import ActionSpec

        check_same_spec(dataset.spec, ActionSpec.from_json(record["recipe"]["spec"]), dataset.folder)
        yield TUNED, side.to_json(), partial(make_model, side.name, dataset, record, config)
        base = {"name": record["base"]["source"], "weights_sha256": side.base_fingerprint, "recipe_of": side.name}
        yield BASE, base, partial(make_model, record["base"]["source"], dataset, record, config)
    yield NOTHING, {}, NoOpPolicy
    yield REPEAT, {}, RepeatLastPolicy
    if TRAIN in dataset.splits:
        yield MARGINAL, {}, lambda: MarginalPolicy(dataset.windows(TRAIN))
        yield NEAREST, {}, lambda: NearestPolicy(list(dataset.windows(TRAIN)))


class Asking(Protocol):
    """The settings of whatever asks a model."""

    @property
    def temperature(self) -> float:
        """How tokens are chosen."""

    @property
    def device(self) -> str:
        """Where the model runs."""


def make_model(name: str, dataset: Dataset, record: Mapping[str, Any] | None, config: Asking) -> Policy:
    """Return a model that answers for a dataset.

    Args:
        name: what `load_model` takes.
        dataset: gives what may be done.
        record: the record of the adapter whose recipe it is spoken to in; none for a base's own.
        config: gives temperature and device.
    """
    from vlm_agent.chat import Recipe
    from vlm_agent.decoding.engine import DecodeConfig
    from vlm_agent.decoding.sampling import SamplingConfig
    from vlm_agent.policies import VlmPolicy

    # A base is spoken to as the run that was tuned from it: the same prompt, pictures and precision.
    return VlmPolicy.from_run(
        name,
        dataset.spec,
        recipe=None if record is None else Recipe.from_json(record["recipe"]),
        quantization="nf4" if record is None else record["base"]["quantization"],
        device=config.device,
        config=DecodeConfig(SamplingConfig(temperature=config.temperature)),
    )


def _read_all(out: Path) -> tuple[dict[str, list[Prediction]], dict[str, Any]]:
    from vlm_agent.evaluation.offline.predictions import read_predictions

    paths = [out / "predictions" / f"{name}.jsonl" for name in CONTENDERS]
    found = [read_predictions(path) for path in paths if path.exists()]
    if not found:
        raise DataError(f"{out} holds no predictions; run the evaluation first, without --rescore")
    shared = {key: value for key, value in found[0][0].items() if key not in ("name", "who", "spec", "format")}
    models = {head["name"]: head["who"] for head, _ in found}
    return {head["name"]: of_one for head, of_one in found}, {**shared, "models": models}
