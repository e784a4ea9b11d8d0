"""How many windows a second a 4-bit LoRA is trained on, by layout: our loop, and TRL's SFTTrainer on the same windows.

    python bench/training.py [--json] [--full] [--windows 16] [--epochs 2]

Everyone gets the same model with the same 4-bit layers and the same fresh adapter, the same windows, and one optimizer
step an epoch with the same schedule; so that the losses of all steps must agree, and this fails where they don't. TRL's
passes hold eight windows, padded; ours are filled up to the same number of tokens, or on a CPU, where a pass runs on
each core, to their share of it. Windows share their pictures 1, 2, 4 or 8 ways and show 1, 2 or 4 pictures (see
`_shared_windows`); `--full` measures all twelve in every layout, which takes half an hour; else those of one picture
are measured, in under four minutes on two idle cores. Time is that of the whole run, rendering, tokenizing and pictures
included; ours also reads its pictures from disk. Like `vlm-agent train` on a CPU, our loop keeps the vision features of
pictures from one epoch to the next.

Beside the measured ratio stands what a formula says of the arithmetic (`training.flops`): `predicted_ratio`, and
`reached` is the measured by the predicted. `peak_mb` is how far memory rises over what is held before a run.
For a graphics card there is `training_gpu.py`.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from _material import build_play
from _measuring import PeakMemory, Shown, Stopwatch, make_parser, print_rows, say
from _shared_windows import MIDDLE, Asked, ask_windows, write_random_model
from _trl import VERSION, train_with_trl
from transformers.utils import logging as hf_logging

from vlm_agent.chat import Recipe
from vlm_agent.dataset.store import Dataset
from vlm_agent.models.adapters import attach_lora
from vlm_agent.models.loading import LoadedModel, load_model
from vlm_agent.models.unsloth_models import attach_with_unsloth
from vlm_agent.training.adapters import CPU_CACHE_MB
from vlm_agent.training.batches import lay_out
from vlm_agent.training.config import EvaluationSettings, LoraSettings, PassLayout, RecipeSettings, TrainConfig
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.flops import measure_flops
from vlm_agent.training.layouts import build_rows
from vlm_agent.training.loop import Material, TrainingLoop
from vlm_agent.training.metrics import METRICS_FILE
from vlm_agent.training.order import plan_epoch
from vlm_agent.training.planning.needs import settle_recomputing
from vlm_agent.training.progress import SilentWatcher
from vlm_agent.training.windows import FrameLoader, choose_recipe

BATCH_WINDOWS = 8
PLAY_S = 45
LOSS_TOLERANCE = 1e-3
LAYOUTS: tuple[PassLayout, ...] = ("rows", "packed", "shared")
FULL = tuple((share, images) for images in (1, 2, 4) for share in (1, 2, 4, 8))
"""How many windows share their pictures, and how many pictures each has."""
USUAL: dict[tuple[int, int], tuple[PassLayout, ...]] = {
    (1, 1): LAYOUTS,
    (2, 1): ("shared",),
    (4, 1): ("shared",),
    (8, 1): ("shared",),
}
"""What is measured without `--full`; `rows` and `packed` don't get quicker by what windows share."""


@dataclass(frozen=True)
class Row:
    """One figure."""

    benchmark: str
    engine: str
    layout: str
    share: int
    """So many windows have the same pictures."""
    images: int
    """Pictures in a window."""
    windows_per_s: float
    """By the wall clock, over all epochs."""
    peak_mb: float
    """Memory over what is held before the run."""
    loss: float
    """Of the last step, nats per target token."""
    ratio_to_trl: float
    """Of windows a second."""
    ratio_by_cpu: float
    """Of windows a second of the process's own time: what is left of the ratio where others use the cores too."""
    predicted_ratio: float
    """Of the arithmetic, by a formula."""
    reached: float
    """The measured ratio by the predicted."""


@dataclass(frozen=True)
class Run:
    """A finished run."""

    losses: list[float]
    """Of every step."""
    watch: Stopwatch
    """Its time."""
    memory: PeakMemory
    """Its memory."""
    flops: float
    """Its arithmetic by the formula."""


@dataclass(frozen=True)
class Task:
    """What everyone trains."""

    loaded: LoadedModel
    """The base."""
    dataset: Dataset
    """Where the pictures are."""
    recipe: Recipe
    """How windows are shown."""
    asked: Sequence[Asked]
    """The windows."""
    epochs: int
    """Passes over them."""

    @property
    def config(self) -> TrainConfig:
        """One optimizer step an epoch, no dropout, no evaluation."""
        return TrainConfig(
            lora=LoraSettings(dropout=0.0),
            evaluation=EvaluationSettings(every_steps=0),
            batch_windows=BATCH_WINDOWS,
            accumulation=len(self.asked),
            warmup_fraction=0.0,
            epochs=self.epochs,
            save_every_steps=10_000,
        )


def measure(
    cells: Mapping[tuple[int, int], Sequence[PassLayout]], num_windows: int, epochs: int
) -> Iterator[list[Row]]:
    """Yield the figures of one combination after the other."""
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("recording and building")
        dataset = build_play(folder, PLAY_S)
        write_random_model(folder / "model", MIDDLE, device)
        loaded = load_model(folder / "model", device=str(device))
        recipe = choose_recipe(loaded, dataset, RecipeSettings(image_max_tokens=216))
        for (share, images), layouts in cells.items():
            asked = ask_windows(dataset, recipe, count=num_windows, share=share, images=images)
            task = Task(loaded, dataset, recipe, asked, epochs)
            yield _compare(task, share, images, layouts, folder / f"{share}-{images}")


def _compare(task: Task, share: int, images: int, layouts: Sequence[PassLayout], folder: Path) -> list[Row]:
    say(f"pictures shared by {share}, {images} in a window: TRL")
    folder.mkdir()
    runs = {(f"trl {VERSION}", "rows"): train_trl(task, folder / "trl")}
    for layout in layouts:
        say(f"pictures shared by {share}, {images} in a window: our loop, {layout}")
        runs["vlm-agent", layout] = train_ours(task, layout, folder / layout)
    base, *_ = runs.values()
    rows = []
    for (engine, layout), run in runs.items():
        if any(abs(ours - theirs) > LOSS_TOLERANCE for ours, theirs in zip(run.losses, base.losses, strict=True)):
            raise SystemExit(f"{engine}, {layout}: losses {run.losses}, TRL's {base.losses}: not the same task")
        ratio, predicted = base.watch.wall_s / run.watch.wall_s, base.flops / run.flops
        rows.append(
            Row(
                benchmark="training",
                engine=engine,
                layout=layout,
                share=share,
                images=images,
                windows_per_s=len(task.asked) * task.epochs / run.watch.wall_s,
                peak_mb=run.memory.peak_mb,
                loss=run.losses[-1],
                ratio_to_trl=ratio,
                ratio_by_cpu=base.watch.cpu_s / run.watch.cpu_s,
                predicted_ratio=predicted,
                reached=ratio / predicted,
            )
        )
    return rows


def train_ours(task: Task, layout: PassLayout, folder: Path) -> Run:
    """Train with our loop in a layout."""
    folder.mkdir()
    tuned = _with_fresh_adapter(task.loaded)
    config = _fill_passes_alike(task, tuned)
    with PeakMemory(tuned.device) as memory, Stopwatch() as watch:
        examples = [one.encode(tuned.encoder, task.recipe) for one in task.asked]
        rows = build_rows(examples, tuned.encoder, layout, config)
        kept_bytes = CPU_CACHE_MB * 1_000_000 if tuned.device.type == "cpu" else 0
        features = FeatureCache(tuned, FrameLoader(task.dataset.folder, task.recipe), kept_bytes)
        material = Material(rows, [], features, layout)
        settle_recomputing(tuned, material, config)  # once on it stays, for TRL too
        TrainingLoop(tuned, material, config, folder, SilentWatcher()).run()
    lines = [json.loads(line) for line in (folder / METRICS_FILE).open(encoding="utf-8")]
    flops = _count_flops(task, tuned, config, layout, features.num_computed)
    tuned.peft.unload()
    return Run([line["loss"] for line in lines], watch, memory, flops)


def train_trl(task: Task, folder: Path) -> Run:
    """Train with TRL."""
    tuned = _with_fresh_adapter(task.loaded)
    losses, watch, memory = train_with_trl(tuned, task.asked, task.recipe, task.config, folder)
    num_pictures = sum(len(one.frame_ids) for one in task.asked) * task.epochs
    flops = _count_flops(task, tuned, task.config, "rows", num_pictures)
    tuned.peft.unload()
    return Run(losses, watch, memory, flops)


def _fill_passes_alike(task: Task, tuned: LoadedModel) -> TrainConfig:
    """Return our settings with as many tokens in all passes that run at once as TRL has in its one."""
    longest = max(len(one.encode(tuned.encoder, task.recipe).encoded.input_ids) for one in task.asked)
    num_at_once = torch.get_num_threads() if tuned.device.type == "cpu" else 1
    return replace(task.config, batch_tokens=max(longest, BATCH_WINDOWS * longest // num_at_once))


def _count_flops(task: Task, tuned: LoadedModel, config: TrainConfig, layout: PassLayout, num_pictures: int) -> float:
    flops = measure_flops(tuned)
    encoder = tuned.encoder
    rows = build_rows([one.encode(encoder, task.recipe) for one in task.asked], encoder, layout, config)
    passes = [[rows[index] for index in indices] for step in plan_epoch(rows, config, 0) for indices in step]
    _, high, wide = encoder.images.grid(task.recipe.image_width_px, task.recipe.image_height_px)
    language = sum(flops.count(lay_out(some, layout)) for some in passes)
    return language * task.epochs + flops.count_picture(high * wide) * num_pictures


def _with_fresh_adapter(loaded: LoadedModel) -> LoadedModel:
    lora = LoraSettings(dropout=0.0)
    attach = attach_with_unsloth if loaded.library == "unsloth" else attach_lora
    more = {"vision": False, "recompute": True} if loaded.library == "unsloth" else {}
    return replace(loaded, peft=attach(loaded.model, rank=lora.rank, alpha=lora.alpha, dropout=0.0, seed=0, **more))


def main() -> None:
    """Print the figures, one a line."""
    parser = make_parser(__doc__)
    parser.add_argument("--full", action="store_true", help="measure every combination")
    parser.add_argument("--windows", type=int, default=16, help="how many windows, a multiple of 8")
    parser.add_argument("--epochs", type=int, default=2, help="passes over them")
    args = parser.parse_args()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    # TRL still asks transformers for things by their old names.
    warnings.filterwarnings("ignore", category=FutureWarning)
    cells = dict.fromkeys(FULL, LAYOUTS) if args.full else USUAL
    shown = Shown(
        f"4-bit LoRA on {MIDDLE.name}: {args.windows} windows, {args.epochs} epochs, {torch.get_num_threads()} threads",
        "peer: TRL's SFTTrainer, same windows, same model, same losses.",
    )
    rows = []
    for found in measure(cells, args.windows, args.epochs):
        rows += found
        if args.json:
            print_rows(found, shown, as_json=True)
    if not args.json:
        print_rows(rows, shown, as_json=False)


if __name__ == "__main__":
    main()
