"""`python train_vision_agent.py` and `vlm-agent train`: one dataset, one model, one tuned model."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from vlm_agent.locks import only_writer
from vlm_agent.training.config import EngineName, RecipeSettings, TrainConfig

if TYPE_CHECKING:
    from vlm_agent.models.loading import LoadedModel
    from vlm_agent.training.processes import Processes

VISION_NOTE = (
    "note: this adapter changes the vision tower too; servers such as vLLM leave that part out unless told otherwise"
)


@dataclass(frozen=True)
class TrainArgs:
    """What to train, on what, and how."""

    dataset: Path
    """Folder that label_segments.py wrote."""
    out: Path
    """Folder of the run, made if need be, e.g. runs/first; the adapter comes into its `adapter/`, a model trained with
    `--train.full` into its `model/`."""
    model: str = "nano"
    """`nano`, a checkpoint's folder, a name on the hub, or an earlier run to train further."""
    quantization: Literal["nf4", "none"] = "nf4"
    """Precision of the frozen language layers; an earlier run brings its own."""
    device: str = "auto"
    """`cpu`, `cuda`, or `auto`."""
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Train nothing: say how many processes there are, what each would do, and whether all see the same dataset and
    settings."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """How to train."""
    recipe: RecipeSettings = field(default_factory=RecipeSettings)
    """How windows are shown to the model; an earlier run brings its own."""


def run(args: TrainArgs) -> None:
    """Load the model, train, and say where the result is; under `torchrun`, with a process for each card.

    Raises:
        DataError: there is no usable dataset.
        ModelError: there is no such model, or it can't be used as asked.
        ConfigError: `out` holds another run, or the engine can't be had.
        BusyError: another process writes into `out`.
    """
    from vlm_agent.dataset.store import open_dataset
    from vlm_agent.terminal import PlainConsole
    from vlm_agent.training.engines import library_of, pick_engine

    engine = pick_engine(args.train.engine, args.device, full=args.train.full or args.train.shard)
    from vlm_agent.models.loading import load_model
    from vlm_agent.training.adapters import train_adapter
    from vlm_agent.training.processes import join_processes
    from vlm_agent.training.progress import ProgressWatcher, SilentWatcher

    open_dataset(args.dataset)  # a wrong path should not wait for a large model to load
    with join_processes(args.device) as (processes, device), ExitStack() as held:
        if args.dry_run:
            _try_out(args, processes, device, engine)
            return
        # Before a large model is loaded for nothing; the first process writes.
        held.enter_context(only_writer(args.out) if processes.is_first else nullcontext())
        loaded = load_model(
            args.model,
            quantization=args.quantization,
            device=device,
            trainable=True,
            library=library_of(engine),
            in_float32=args.train.full,
        )
        if processes.is_first:
            _tell_notes(loaded, args.recipe)
        train = replace(args.train, engine=engine)
        with ProgressWatcher() if processes.is_first else nullcontext(SilentWatcher()) as watcher:
            result = train_adapter(args.dataset, loaded, train, args.out, settings=args.recipe, watcher=watcher)
    if not processes.is_first:
        return
    best = "" if result.best_loss is None else f", loss {result.best_loss:.4f} on unseen sessions"
    said = f"{result.adapter}: {result.num_steps} steps{best}; engine {result.engine}, layout {result.layout}"
    PlainConsole().print(said)
    if args.train.lora.vision and not args.train.full:
        PlainConsole("error").print(VISION_NOTE)


def _tell_notes(loaded: LoadedModel, settings: RecipeSettings) -> None:
    from vlm_agent.terminal import PlainConsole

    asked = settings.list_notes(loaded.encoder.images.min_tokens) if loaded.tuned is None else []
    for note in (*loaded.list_notes(), *loaded.encoder.list_notes(), *asked):
        PlainConsole("error").print(f"note: {note}")


def _try_out(args: TrainArgs, processes: Processes, device: str, engine: EngineName) -> None:
    from vlm_agent.terminal import PlainConsole
    from vlm_agent.training.dry_run import describe, gather, look

    lines = describe(gather(look(args, processes, device, engine), processes))
    if processes.is_first:
        for line in lines:
            PlainConsole().print(line)
