"""Training a model from a dataset: the stage's one function, whatever the engine, an adapter or the whole model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from peft import PeftModel

from vlm_agent.chat import Recipe
from vlm_agent.dataset.store import Dataset, open_dataset
from vlm_agent.errors import ConfigError
from vlm_agent.locks import only_writer
from vlm_agent.models.adapters import attach_lora
from vlm_agent.models.checkpoints import MODEL_FOLDER
from vlm_agent.models.loading import LoadedModel
from vlm_agent.models.unsloth_models import attach_with_unsloth
from vlm_agent.training.augmentation import Augmentation, ChangedFrames, ChangingRows, is_changed
from vlm_agent.training.config import EngineName, PassLayout, RecipeSettings, TrainConfig
from vlm_agent.training.engines import check_layout
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.flops import measure_flops
from vlm_agent.training.loop import LoopResult, Material, TrainingLoop, Watcher, look_alike
from vlm_agent.training.material import Chosen, check_context, choose_material, prepare_rows
from vlm_agent.training.planning.needs import settle_recomputing
from vlm_agent.training.processes import find_processes
from vlm_agent.training.progress import SilentWatcher
from vlm_agent.training.runs import check_run, describe_run, start_run
from vlm_agent.training.saving import save_adapter, save_model
from vlm_agent.training.sharding import share_weights
from vlm_agent.training.trained import TrainedWeights
from vlm_agent.training.trl_engine import ShownWindows, TrlLoop, check_settings
from vlm_agent.training.windows import FrameLoader, WindowEncoder, settle_recipe

ADAPTER_FOLDER = "adapter"
KEPT_FOLDER = "adapters"
"""Holds what `keep_adapters_every_steps` kept."""
CPU_CACHE_MB = 1024
"""Memory for vision features on a CPU, unless the settings say otherwise."""


@dataclass(frozen=True)
class TrainResult:
    """A trained model."""

    adapter: Path
    """Its folder: an adapter in peft's layout, or after full training a checkpoint; with `recipe.json`."""
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
    engine: EngineName = "hf"
    """What trained it."""


def train_adapter(
    dataset: Path,
    loaded: LoadedModel,
    config: TrainConfig,
    out: Path,
    *,
    settings: RecipeSettings | None = None,
    watcher: Watcher | None = None,
) -> TrainResult:
    """Train a LoRA adapter, or the whole model, on a dataset, or go on with the run that `out` holds.

    Writes `out/run.json` before work starts, `out/metrics.jsonl` and `out/checkpoints/` (and `out/adapters/`, if some
    are to be kept) on the way, and `out/adapter/` at the end, or `out/model/` after full training. Killed at any moment
    and called again with the same arguments, it ends with the same weights (on a CPU bit for bit); only TRL begins
    anew. Called by all of several joined processes (see `processes`), it shares the passes of every step among them;
    the first one writes.

    Args:
        dataset: folder of the dataset.
        loaded: the base, loaded by what the engine needs (see `engines`); with a trainable adapter in it, training
            starts from that adapter and keeps its recipe.
        config: how to train.
        out: folder of the run.
        settings: how windows are shown to the model; not used when an adapter brings its recipe.
        watcher: is told about progress.

    Raises:
        DataError: there is no usable dataset there, or it was built for another action spec than the adapter.
        ConfigError: `out` holds a run with other settings, or settings, recipe and engine don't go together.
        ModelError: the loss is no longer a number, or the model can't be shown conversations.
        BusyError: another process writes into `out`.
    """
    with only_writer(out) if find_processes().is_first else nullcontext():
        return _train_adapter(dataset, loaded, config, out, settings, watcher)


def _train_adapter(
    dataset: Path,
    loaded: LoadedModel,
    config: TrainConfig,
    out: Path,
    settings: RecipeSettings | None,
    watcher: Watcher | None,
) -> TrainResult:
    engine = _settle_engine(loaded, config)
    config = replace(config, engine=engine)
    store = open_dataset(dataset)
    recipe = _find_recipe(loaded, store, settings or RecipeSettings())
    record = describe_run(loaded, store, recipe, config)
    processes = find_processes()
    check_run(out, record)
    tuned = make_trainable(loaded, config)
    if config.shard:
        tuned = share_weights(tuned, processes)
    chosen = choose_material(store, recipe, config)
    material = _prepare(tuned, store, recipe, config, chosen)
    settle_recomputing(tuned, material, config)
    if tuned.library == "unsloth":
        check_layout(tuned, material)
    save = partial(save_model if config.full else save_adapter, is_writer=processes.is_first)
    if processes.is_first:
        start_run(out, record)

    def keep(reached: LoopResult) -> None:
        # What was best so far is not the loss of the weights as they are now.
        state = replace(reached.state, best_step=None, best_loss=None)
        save(out / KEPT_FOLDER / f"step-{state.step:06d}", tuned, record, replace(reached, state=state))

    shown = watcher or SilentWatcher()
    loop = (TrlLoop if engine == "trl" else TrainingLoop)(tuned, material, config, out, shown, keep)
    if isinstance(loop, TrlLoop):
        loop.take(ShownWindows(chosen.ask(recipe, config), FrameLoader(store.folder, recipe)))
    result = loop.run()
    TrainedWeights(tuned).write(result.weights, out)
    folder = out / (MODEL_FOLDER if config.full else ADAPTER_FOLDER)
    save(folder, tuned, record, result)
    state = result.state
    return TrainResult(folder, state.step, result.last_loss, state.best_step, state.best_loss, material.layout, engine)


def _settle_engine(loaded: LoadedModel, config: TrainConfig) -> EngineName:
    """Return the engine that the settings ask for; `auto` is what the model was loaded for.

    Raises:
        ConfigError: the model can't be trained as they say.
    """
    engine: EngineName = loaded.library if config.engine == "auto" else config.engine
    if (engine == "unsloth") != (loaded.library == "unsloth"):
        raise ConfigError(f"--train.engine {engine}: the model was loaded for {loaded.library}")
    if engine == "trl":
        check_settings(config, loaded.device, loaded.encoder.template)
    config.check_base(loaded.quantization, has_adapter=loaded.peft is not None)
    return engine


def _find_recipe(loaded: LoadedModel, store: Dataset, settings: RecipeSettings) -> Recipe:
    carried = None if loaded.record is None else Recipe.from_json(loaded.record.get("recipe", {}))
    return settle_recipe(carried, loaded, store, settings)


def make_trainable(loaded: LoadedModel, config: TrainConfig) -> LoadedModel:
    """Return the model with something to train: its own adapter, a fresh one, or for full training its weights."""
    if config.full:
        for name, parameter in loaded.model.named_parameters():
            parameter.requires_grad_(config.lora.vision or ".visual." not in f".{name}")
        return loaded
    if loaded.peft is not None:
        return loaded
    lora = config.lora
    attach: Callable[..., PeftModel] = attach_lora
    if loaded.library == "unsloth":
        attach = partial(attach_with_unsloth, recompute=config.recompute != "off")
    wrapped = attach(
        loaded.model, rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, seed=config.seed, vision=lora.vision
    )
    return replace(loaded, peft=wrapped)


def _prepare(loaded: LoadedModel, store: Dataset, recipe: Recipe, config: TrainConfig, chosen: Chosen) -> Material:
    prepared = prepare_rows(loaded.encoder, chosen, recipe, config, measure_flops(loaded))
    check_context(prepared, loaded.context_tokens)
    cache_mb = config.feature_cache_mb
    if cache_mb is None:
        cache_mb = CPU_CACHE_MB if loaded.device.type == "cpu" else 0
    augmentation = Augmentation(chosen.train, config, recipe.spec)
    load_frame = ChangedFrames(store.folder, recipe, augmentation)
    features = FeatureCache(loaded, load_frame, cache_mb * 1_000_000, config.picture_threads, is_changed)
    look = look_alike
    if config.changes_pictures:
        encoder = WindowEncoder(loaded.encoder, recipe, chosen.steps, config, chosen.histories)
        look = ChangingRows(chosen.train, augmentation, encoder, loaded.encoder)
    return Material(prepared.train, prepared.validation, features, prepared.layout, look)
