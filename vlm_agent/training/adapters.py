"""Training an adapter from a dataset: the stage's one function."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peft import PeftModel

from vlm_agent.chat import Recipe
from vlm_agent.dataset.store import Dataset, check_same_spec, open_dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import DataError
from vlm_agent.models.adapters import (
    RECIPE_FILE,
    WEIGHTS_FILE,
    attach_lora,
    read_adapter_recipe,
    write_adapter_weights,
)
from vlm_agent.models.compat import enable_activation_checkpointing
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.augmentation import Augmentation, ChangedFrames, ChangingRows, is_changed
from vlm_agent.training.config import PassLayout, RecipeSettings, TrainConfig
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.files import write_folder, write_tensors
from vlm_agent.training.flops import measure_flops
from vlm_agent.training.layouts import build_rows, pick_layout
from vlm_agent.training.loop import LoopResult, Material, TrainingLoop, Watcher, look_alike
from vlm_agent.training.moments import Moment, choose_windows, draw_sessions, find_steps, hide_recent, spread
from vlm_agent.training.processes import find_processes
from vlm_agent.training.progress import SilentWatcher
from vlm_agent.training.rows import Example
from vlm_agent.training.runs import check_run, describe_run, start_run
from vlm_agent.training.windows import (
    TRAIN_SPLIT,
    VALIDATION_SPLIT,
    WindowEncoder,
    choose_recipe,
    encode_windows,
)

ADAPTER_FOLDER = "adapter"
KEPT_FOLDER = "adapters"
"""Holds what `keep_adapters_every_steps` kept."""
CPU_CACHE_MB = 1024
"""Memory for vision features on a CPU, unless the settings say otherwise."""


@dataclass(frozen=True)
class TrainResult:
    """A trained adapter."""

    adapter: Path
    """Its folder, in peft's layout, with `recipe.json`."""
    num_steps: int
    """Optimizer steps done."""
    last_loss: float
    """Training loss of the last step, nats per target token; NaN if the run had been finished before."""
    best_step: int | None
    """Step whose weights the adapter has; none without validation windows (then: the last)."""
    best_loss: float | None
    """Its loss on the validation sessions, nats per target token."""
    layout: PassLayout
    """How passes were laid out."""


def train_adapter(
    dataset: Path,
    loaded: LoadedModel,
    config: TrainConfig,
    out: Path,
    *,
    settings: RecipeSettings | None = None,
    watcher: Watcher | None = None,
) -> TrainResult:
    """Train a language-only LoRA adapter on a dataset, or go on with the run that `out` holds.

    Writes `out/run.json` before work starts, `out/metrics.jsonl` and `out/checkpoints/` (and `out/adapters/`, if some
    are to be kept) on the way, and `out/adapter/` at the end. Killed at any moment and called again with the same
    arguments, it ends with the same weights (on a CPU bit for bit). Called by all of several joined processes (see
    `processes`), it shares the passes of every step among them; the first one writes.

    Args:
        dataset: folder of the dataset.
        loaded: the base; with a trainable adapter in it, training starts from that adapter and keeps its recipe.
        config: how to train.
        out: folder of the run.
        settings: how windows are shown to the model; not used when an adapter brings its recipe.
        watcher: is told about progress.

    Raises:
        DataError: there is no usable dataset there, or it was built for another action spec than the adapter.
        ConfigError: `out` holds a run with other settings.
        ModelError: the loss is no longer a number.
    """
    store = open_dataset(dataset)
    recipe = _find_recipe(loaded, store, settings or RecipeSettings())
    record = describe_run(loaded, store, recipe, config)
    processes = find_processes()
    check_run(out, record)
    tuned = make_trainable(loaded, config)
    material = _prepare(tuned, store, recipe, config)
    if processes.is_first:
        start_run(out, record)

    def keep(reached: LoopResult) -> None:
        # What was best so far is not the loss of the weights as they are now.
        state = replace(reached.state, best_step=None, best_loss=None)
        save_adapter(out / KEPT_FOLDER / f"step-{state.step:06d}", tuned, record, replace(reached, state=state))

    result = TrainingLoop(tuned, material, config, out, watcher or SilentWatcher(), keep).run()
    write_adapter_weights(tuned.peft, result.weights, out)
    if processes.is_first:
        save_adapter(out / ADAPTER_FOLDER, tuned, record, result)
    state = result.state
    folder = out / ADAPTER_FOLDER
    return TrainResult(folder, state.step, result.last_loss, state.best_step, state.best_loss, material.layout)


def save_adapter(folder: Path, loaded: LoadedModel, record: dict[str, Any], result: LoopResult) -> Path:
    """Write an adapter in plain peft layout with its recipe beside it."""
    wrapped: PeftModel = loaded.peft
    lora = replace(wrapped.peft_config["default"], inference_mode=True, base_model_name_or_path=loaded.source)
    recipe = {**record, "steps": result.state.step, "best_loss": result.state.best_loss}

    def fill(beside: Path) -> None:
        lora.save_pretrained(beside)
        write_tensors(beside / WEIGHTS_FILE, result.weights)
        (beside / RECIPE_FILE).write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")

    return write_folder(folder, fill)


def _find_recipe(loaded: LoadedModel, store: Dataset, settings: RecipeSettings) -> Recipe:
    if loaded.adapter is None:
        return choose_recipe(loaded, store, settings)
    recipe = Recipe.from_json(read_adapter_recipe(loaded.adapter).get("recipe", {}))
    check_same_spec(store.spec, recipe.spec, store.folder)
    return recipe


def make_trainable(loaded: LoadedModel, config: TrainConfig) -> LoadedModel:
    """Return the model with an adapter to train in it: its own, or a fresh one."""
    if loaded.device.type == "cuda":
        enable_activation_checkpointing(loaded.model)
    if loaded.peft is not None:
        return loaded
    lora = config.lora
    wrapped = attach_lora(loaded.model, rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, seed=config.seed)
    return replace(loaded, peft=wrapped)


def choose_split(
    store: Dataset, split: str, recipe: Recipe, config: TrainConfig
) -> tuple[list[Window], dict[Moment, str]]:
    """Return the windows of a split that a run learns from or may measure on, and the steps of their moments."""
    windows = list(store.windows(split))
    if split == TRAIN_SPLIT and config.max_sessions is not None:
        seed = config.seed if config.sessions_seed is None else config.sessions_seed
        windows = draw_sessions(windows, config.max_sessions, seed)
    steps = find_steps(windows, recipe)
    return choose_windows(windows, steps, recipe, config), steps


def _prepare(loaded: LoadedModel, store: Dataset, recipe: Recipe, config: TrainConfig) -> Material:
    def encode(windows: Sequence[Window], steps: Mapping[Moment, str]) -> list[Example]:
        return encode_windows(loaded.encoder, windows, recipe, steps, config)

    chosen, train_steps = choose_split(store, TRAIN_SPLIT, recipe, config)
    windows = hide_recent(chosen, config.hide_recent, config.seed)
    train = encode(windows, train_steps)
    if not train:
        raise DataError(f"{store.folder}: no windows to train on")
    layout = pick_layout(train, loaded.encoder, config, measure_flops(loaded))
    validation = []
    if VALIDATION_SPLIT in store.splits and config.evaluation.every_steps:
        chosen, steps = choose_split(store, VALIDATION_SPLIT, recipe, config)
        validation = encode(spread(chosen, config.evaluation.max_windows), steps)
    cache_mb = config.feature_cache_mb
    if cache_mb is None:
        cache_mb = CPU_CACHE_MB if loaded.device.type == "cpu" else 0
    augmentation = Augmentation(windows, config, recipe.spec)
    load_frame = ChangedFrames(store.folder, recipe, augmentation)
    features = FeatureCache(loaded, load_frame, cache_mb * 1_000_000, config.picture_threads, is_changed)
    look = look_alike
    if config.changes_pictures:
        encoder = WindowEncoder(loaded.encoder, recipe, train_steps, config)
        look = ChangingRows(windows, augmentation, encoder, loaded.encoder)
    rows = [build_rows(examples, loaded.encoder, layout, config) for examples in (train, validation)]
    return Material(rows[0], rows[1], features, layout, look)
