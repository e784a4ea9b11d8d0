"""Planning: memory and time as `vlm-agent plan` foretells them, held against what training then takes, on this CPU.

`alive` is what a pass keeps, by torch's own count; `process` is by how much the process grows, the holes in its heap
included; both with the model's weights. `run` is the time of a short run, foretold from a second of work, against what
the loop's own steps took. Every figure is taken in a process of its own. A card's memory can't be measured here.
"""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _material import build_play, load_bench_model
from _measuring import Shown, make_parser, print_rows, say
from torch.profiler import ProfilerActivity, profile

from vlm_agent.chat import Recipe
from vlm_agent.dataset.store import Dataset, open_dataset
from vlm_agent.models.dropout import dropout_seed
from vlm_agent.models.loading import LoadedModel, load_model
from vlm_agent.models.nano_config import nano_config
from vlm_agent.models.quantized import UnpackedLinear4bit
from vlm_agent.training.adapters import make_trainable
from vlm_agent.training.batches import count_tokens, lay_out
from vlm_agent.training.config import EvaluationSettings, LoraSettings, PassLayout, RecipeSettings, TrainConfig
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.layouts import build_rows
from vlm_agent.training.loop import Material, TrainingLoop
from vlm_agent.training.metrics import METRICS_FILE, MetricsLog
from vlm_agent.training.nano.build import export_nano
from vlm_agent.training.order import plan_epoch
from vlm_agent.training.passes import sum_losses
from vlm_agent.training.planning.memory import MemoryUse, cpu_setting, describe_trained, estimate_training
from vlm_agent.training.planning.pace import MeasuredPace
from vlm_agent.training.planning.probes import PeakMemory, StepTiming, count_passes_at_once, time_steps
from vlm_agent.training.planning.shapes import shape_of
from vlm_agent.training.planning.work import count_kept_bytes, weigh_work
from vlm_agent.training.progress import SilentWatcher
from vlm_agent.training.rows import Row
from vlm_agent.training.windows import TRAIN_SPLIT, FrameLoader, choose_recipe, encode_windows

PLAY_S = 15
LAYOUT: PassLayout = "shared"
CACHE_BYTES = 512_000_000
LARGER = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 10, "num_attention_heads": 8}
"""About 40 million parameters."""


@dataclass(frozen=True)
class Case:
    """What is trained, and how."""

    model: str
    """Folder of the model."""
    name: str
    """What it is called."""
    batch_windows: int
    """Windows in a pass."""
    dropout: float
    """Of the adapter."""


@dataclass(frozen=True)
class Figures:
    """One figure."""

    benchmark: str
    model: str
    batch: int
    dropout: float
    alive_mb: float
    alive_foretold_mb: float
    alive_ratio: float
    process_mb: float
    process_foretold_mb: float
    process_ratio: float
    run_s: float
    run_foretold_s: float
    run_ratio: float


def measure(case: Case, dataset: Path, num_windows: int, num_steps: int, out: Path) -> Figures:
    """Return all figures of one case; to be called in a process of its own."""
    config = TrainConfig(
        lora=LoraSettings(dropout=case.dropout),
        evaluation=EvaluationSettings(every_steps=0),
        batch_windows=case.batch_windows,
        accumulation=2,
        epochs=100.0,
        max_steps=num_steps,
        save_every_steps=10_000,
    )
    store = open_dataset(dataset)
    rows, recipe = _make_rows(case, store, num_windows, config)
    load_frame = FrameLoader(store.folder, recipe)
    load_frame(rows[0].image_keys[0])
    gc.collect()

    peak = PeakMemory(torch.device("cpu"))
    tuned = make_trainable(load_model(case.model, device="cpu", trainable=True), config)
    probed = Material(rows, [], FeatureCache(tuned, load_frame, CACHE_BYTES), LAYOUT)
    timing = time_steps(tuned, probed, config, most_steps=4, most_s=1.0)
    trained = replace(probed, features=FeatureCache(tuned, load_frame, CACHE_BYTES))
    TrainingLoop(tuned, trained, config, out, SilentWatcher()).run()
    grown = peak.grown_bytes
    taken_s = sum(line["seconds"] for line in MetricsLog(out / METRICS_FILE).read())

    picture_tokens = recipe.image_width_px * recipe.image_height_px // tuned.encoder.images.factor_px**2
    use, one, foretold_s = _foretell(tuned, trained, config, timing, picture_tokens)
    alive = _count_weights(tuned) + _count_alive(tuned, _largest_pass(rows, config), trained.features)
    # Of the adapter its weights alone are there: neither gradients nor the optimizer's averages.
    alive_foretold = one.weights + one.adapter // 5 + one.activations + one.moment
    return Figures(
        benchmark="planning",
        model=case.name,
        batch=case.batch_windows,
        dropout=case.dropout,
        alive_mb=alive / 1e6,
        alive_foretold_mb=alive_foretold / 1e6,
        alive_ratio=alive_foretold / alive,
        process_mb=(grown or 0) / 1e6,
        process_foretold_mb=use.total / 1e6,
        process_ratio=use.total / grown if grown else float("nan"),
        run_s=taken_s,
        run_foretold_s=foretold_s,
        run_ratio=foretold_s / taken_s,
    )


def _make_rows(case: Case, store: Dataset, num_windows: int, config: TrainConfig) -> tuple[list[Row], Recipe]:
    """Tokenize windows. What libraries take when they are first used is taken here, and is not the run's."""
    loaded = load_model(case.model, device="cpu", trainable=True)
    recipe = choose_recipe(loaded, store, RecipeSettings())
    windows = itertools.islice(store.windows(TRAIN_SPLIT), num_windows)
    return build_rows(encode_windows(loaded.encoder, windows, recipe), loaded.encoder, LAYOUT, config), recipe


def _foretell(
    tuned: LoadedModel, material: Material, config: TrainConfig, timing: StepTiming, picture_tokens: int
) -> tuple[MemoryUse, MemoryUse, float]:
    """Return the memory of the run, that of one pass alone, and the run's seconds."""
    shape = shape_of(tuned.family, tuned.model.config)
    setting = cpu_setting(shape, "nf4")
    at_once, rank = count_passes_at_once(shape.hidden, tuned.device), config.lora.rank
    work = weigh_work(material.train, [], LAYOUT, config, at_once=at_once)
    kept = count_kept_bytes(
        work,
        shape,
        picture_tokens=picture_tokens,
        value_bytes=4,
        cache_bytes=2 * CACHE_BYTES,
        best=shape.count_lora(rank),
    )
    estimate = partial(estimate_training, shape, setting, describe_trained(shape, config, rank))
    foretold_s = MeasuredPace(0, 0, 0, timing, setting, keeps_features=True).train(work, 0)
    return (
        estimate(work.largest, kept_bytes=kept),
        estimate(replace(work.largest, at_once=1), kept_bytes=0),
        foretold_s,
    )


def _largest_pass(rows: Sequence[Row], config: TrainConfig) -> list[Row]:
    steps = plan_epoch(rows, config, 0)
    passes = [lay_out([rows[index] for index in indices], LAYOUT) for step in steps for indices in step]
    return max(passes, key=count_tokens)


def _count_weights(loaded: LoadedModel) -> int:
    tensors = {parameter.untyped_storage().data_ptr(): parameter for parameter in loaded.model.parameters()}
    for module in loaded.model.modules():
        if isinstance(module, UnpackedLinear4bit) and module._unpacked is not None:
            tensors[module._unpacked.data_ptr()] = module._unpacked
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors.values())


def _count_alive(loaded: LoadedModel, rows: list[Row], features: FeatureCache) -> int:
    """Return the most bytes that torch holds at once in a forward and backward pass, beyond what was there before."""
    loaded.model.train()
    trained = [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]
    features.get([key for row in rows for key in row.image_keys])
    with (
        profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen,
        dropout_seed(0),
    ):
        torch.autograd.grad(sum_losses(loaded, rows, features), trained)
    changes = sorted(
        (event.start_ns(), event.nbytes())
        for event in seen.profiler.kineto_results.events()
        if event.name() == "[memory]"
    )
    return int(np.cumsum([size for _, size in changes]).max())


def _write_larger(nano: LoadedModel, folder: Path) -> Path:
    config = nano_config(nano.tokenizer)
    text, vision = config.text_config, config.vision_config
    for name, value in {**LARGER, "num_key_value_heads": 4, "head_dim": 64}.items():
        setattr(text, name, value)
    text.rope_parameters["mrope_section"] = [16, 8, 8]
    vision.hidden_size, vision.intermediate_size, vision.depth, vision.out_hidden_size = 256, 1024, 6, 512
    torch.manual_seed(0)
    return export_nano(nano.family.model_class(config), nano.tokenizer, folder)


def main() -> None:
    """Print the figures, one a line."""
    parser = make_parser(__doc__)
    parser.add_argument("--windows", type=int, default=24, help="how many windows")
    parser.add_argument("--steps", type=int, default=12, help="steps of the run")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("recording and building")
        nano, described = load_bench_model("nano", folder)
        dataset = build_play(folder, PLAY_S).folder
        larger = str(_write_larger(nano, folder / "larger"))
        small = str(folder / "nano") if (folder / "nano").is_dir() else "nano"
        settings = ((2, 0.0), (2, 0.05), (8, 0.0))
        cases = [Case(small, described, batch, dropout) for batch, dropout in settings]
        cases += [Case(larger, "40 M", batch, dropout) for batch, dropout in settings[:2]]
        rows = []
        for index, case in enumerate(cases):
            say(f"{case.name}, batches of {case.batch_windows}, dropout {case.dropout}")
            steps = args.steps if case.name != "40 M" else max(args.steps // 4, 3)
            # A process for each: what one has left in the heap is not the next one's.
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                rows.append(pool.submit(measure, case, dataset, args.windows, steps, _make(folder, index)).result())
    shown = Shown(
        f"memory and time foretold and taken, {torch.get_num_threads()} threads",
        "ratio: foretold by taken. process: the C library's heap differs by a tenth from run to run.",
    )
    print_rows(rows, shown, as_json=args.json)


def _make(folder: Path, index: int) -> Path:
    out = folder / f"run-{index}"
    out.mkdir()
    return out


if __name__ == "__main__":
    main()
