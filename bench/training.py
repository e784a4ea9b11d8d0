"""How many windows a second a 4-bit LoRA is trained on, by layout: our loop, and TRL's SFTTrainer on the same windows.

    python bench/training.py [--json] [--full] [--keep FILE] [--windows 16] [--epochs 2] [--quick]

Everyone gets the same model with the same 4-bit layers and the same fresh adapter, the same windows, and one optimizer
step an epoch with the same schedule; so that the losses of all steps must agree, and this fails where they don't. TRL's
passes hold eight windows, padded; ours are filled up to the same number of tokens, or on a CPU, where a pass runs on
each core, to their share of it, and so that there is a pass for each core. Windows share their pictures 1, 2, 4 or 8
ways and show 1, 2 or 4 pictures, those of the decisions before (see `_shared_windows`). `conversation` is another task:
conversations of four turns with a picture each; TRL has them as ordinary chats of several turns with several pictures,
every answer learnt, and eight windows to a pass as well.

By default windows of one picture and conversations are measured. `--full` measures all twelve combinations in every
layout; with `--keep` every combination that is done is written down there, and left out when the same command is given
again. `--only 8 4` measures one: pictures shared by 8, 4 in a window. `--quick` tries the script on a tiny model. Time
is that of the whole run, rendering, tokenizing and pictures included; ours also reads its pictures from disk. Like
`vlm-agent train` on a CPU, our loop keeps the vision features of pictures from one epoch to the next.

Beside the measured ratio stands what a formula says of the arithmetic (`training.flops`): `predicted_ratio`, and
`reached` is the measured by the predicted. TRL tells padding by a mask, and computes attention over all of it.
`peak_mb` is how far memory rises over what is held before a run. For a graphics card there is `training_gpu.py`.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from _material import build_play
from _measuring import PeakMemory, Shown, Stopwatch, make_parser, print_rows, say
from _shared_windows import MIDDLE, TINY, ask_windows, take_conversations, write_random_model
from _tasks import TURNS, TalkTask, Task
from _trl import VERSION, train_with_trl
from transformers.utils import logging as hf_logging

from vlm_agent.dataset.store import Dataset
from vlm_agent.models.adapters import attach_lora
from vlm_agent.models.loading import LoadedModel, load_model
from vlm_agent.models.unsloth_models import attach_with_unsloth
from vlm_agent.training.adapters import CPU_CACHE_MB
from vlm_agent.training.batches import lay_out
from vlm_agent.training.config import LoraSettings, PassLayout, RecipeSettings, TrainConfig
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.flops import measure_flops
from vlm_agent.training.loop import Material, TrainingLoop
from vlm_agent.training.metrics import METRICS_FILE
from vlm_agent.training.order import plan_epoch
from vlm_agent.training.planning.needs import settle_recomputing
from vlm_agent.training.progress import SilentWatcher
from vlm_agent.training.windows import FrameLoader, choose_recipe

PLAY_S, QUICK_PLAY_S = 60, 15
IMAGE_TOKENS = 216
"""Of one picture at most."""
LOSS_TOLERANCE = 1e-3
LAYOUTS: tuple[PassLayout, ...] = ("rows", "packed", "shared")


@dataclass(frozen=True)
class Cell:
    """One combination."""

    share: int
    """So many windows have the same pictures."""
    images: int
    """Pictures in a window, or turns of a conversation."""
    layouts: tuple[PassLayout, ...]
    """What our loop is measured in."""

    @property
    def is_talk(self) -> bool:
        """Whether it is one of conversations."""
        return "conversation" in self.layouts


TALK = Cell(1, TURNS, ("conversation",))
FULL = (*(Cell(share, images, LAYOUTS) for images in (1, 2, 4) for share in (1, 2, 4, 8)), TALK)
USUAL = (Cell(1, 1, LAYOUTS), *(Cell(share, 1, ("shared",)) for share in (2, 4, 8)), TALK)
"""What is measured without `--full`; `rows` and `packed` don't get quicker by what windows share."""
QUICK = (Cell(4, 2, ("shared",)), TALK)


@dataclass(frozen=True)
class Row:
    """One figure."""

    benchmark: str
    engine: str
    layout: str
    share: int
    """So many windows have the same pictures."""
    images: int
    """Pictures in a window; of a conversation in its last turn, with all before it."""
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
class Settings:
    """What is asked for."""

    windows: int
    """How many, a multiple of 8."""
    epochs: int
    """Passes over them."""
    is_full: bool
    """Whether every combination is measured."""
    is_quick: bool
    """Whether a tiny model is trained, to try the script."""
    only: tuple[int, int] | None = None
    """One combination alone: how many windows share their pictures, and how many they have."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """What is measured."""
        if self.only is not None:
            return (Cell(*self.only, LAYOUTS),)
        if self.is_quick:
            return QUICK
        return FULL if self.is_full else USUAL


def measure(settings: Settings, done: Sequence[Row]) -> Iterator[list[Row]]:
    """Yield the figures of one combination after the other, those left out that are among `done`."""
    known = {(row.share, row.images, row.layout) for row in done}
    left = [one for one in settings.cells if any((one.share, one.images, name) not in known for name in one.layouts)]
    if not left:
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("recording and building")
        dataset = build_play(folder, QUICK_PLAY_S if settings.is_quick else PLAY_S)
        write_random_model(folder / "model", TINY if settings.is_quick else MIDDLE, torch.device("cpu"))
        loaded = load_model(folder / "model", device="cpu", trainable=True)
        for number, cell in enumerate(left):
            yield _compare(_make_task(loaded, dataset, cell, settings), cell, folder / f"cell-{number}")


def _make_task(loaded: LoadedModel, dataset: Dataset, cell: Cell, settings: Settings) -> Task:
    shown = RecipeSettings(image_max_tokens=IMAGE_TOKENS, conversation_turns=cell.images if cell.is_talk else 1)
    recipe = choose_recipe(loaded, dataset, shown)
    if cell.is_talk:
        conversations = take_conversations(dataset, recipe, settings.windows)
        return TalkTask(loaded, dataset, recipe, (), settings.epochs, conversations)
    asked = ask_windows(dataset, recipe, count=settings.windows, share=cell.share, images=cell.images)
    return Task(loaded, dataset, recipe, asked, settings.epochs)


def _compare(task: Task, cell: Cell, folder: Path) -> list[Row]:
    what = f"conversations of {cell.images}" if cell.is_talk else f"shared by {cell.share}, {cell.images} in a window"
    say(f"pictures {what}: TRL")
    folder.mkdir()
    runs = {(f"trl {VERSION}", "conversation" if cell.is_talk else "rows"): train_trl(task, folder / "trl")}
    for layout in cell.layouts:
        say(f"pictures {what}: our loop, {layout}")
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
                share=cell.share,
                images=cell.images,
                windows_per_s=task.num_windows * task.epochs / run.watch.wall_s,
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
    config = _fill_passes_alike(task, tuned, layout)
    with PeakMemory(tuned.device) as memory, Stopwatch() as watch:
        rows = task.make_rows(tuned, layout, config)
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
    losses, watch, memory = train_with_trl(
        tuned, task.show(), replace(task.config, batch_windows=task.trl_rows), folder
    )
    flops = _count_flops(task, tuned, task.config, "rows", task.num_pictures * task.epochs, is_masked=True)
    tuned.peft.unload()
    return Run(losses, watch, memory, flops)


def _fill_passes_alike(task: Task, tuned: LoadedModel, layout: PassLayout) -> TrainConfig:
    """Return our settings with as many tokens in all passes that run at once as TRL has in its one.

    There are fewer where all that a layout leaves to be computed would go into fewer passes than there are cores.
    """
    num_at_once = torch.get_num_threads() if tuned.device.type == "cpu" else 1
    alone = task.make_rows(tuned, "rows", task.config)
    longest = max(len(row.ids) for row in alone)
    laid_out = [len(row.ids) for row in task.make_rows(tuned, layout, task.config)]
    most = min(task.trl_rows * longest, sum(laid_out))
    return replace(task.config, batch_tokens=max(*laid_out, -(-most // num_at_once)))


def _count_flops(
    task: Task,
    tuned: LoadedModel,
    config: TrainConfig,
    layout: PassLayout,
    num_pictures: int,
    *,
    is_masked: bool = False,
) -> float:
    flops, encoder = measure_flops(tuned), tuned.encoder
    rows = task.make_rows(tuned, layout, config)
    passes = [[rows[index] for index in indices] for step in plan_epoch(rows, config, 0) for indices in step]
    _, high, wide = encoder.images.grid(task.recipe.image_width_px, task.recipe.image_height_px)
    language = sum(flops.count(lay_out(some, layout), is_masked=is_masked) for some in passes)
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
    parser.add_argument("--keep", type=Path, help="write finished combinations down here, and don't do them again")
    parser.add_argument("--only", type=int, nargs=2, metavar=("SHARE", "IMAGES"), help="one combination, all layouts")
    parser.add_argument("--windows", type=int, default=16, help="how many windows, a multiple of 8")
    parser.add_argument("--epochs", type=int, default=2, help="passes over them")
    parser.add_argument("--quick", action="store_true", help="a tiny model: to try the script")
    args = parser.parse_args()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    # TRL still asks transformers for things by their old names.
    warnings.filterwarnings("ignore", category=FutureWarning)
    only = None if args.only is None else (args.only[0], args.only[1])
    settings = Settings(args.windows, args.epochs, args.full, args.quick, only)
    name = (TINY if args.quick else MIDDLE).name
    shown = Shown(
        f"4-bit LoRA on {name}: {args.windows} windows, {args.epochs} epochs, {torch.get_num_threads()} threads",
        "peer: TRL's SFTTrainer, same windows, same model, same losses.",
    )
    rows = _read_kept(args.keep)
    if args.json and rows:
        print_rows(rows, shown, as_json=True)
    for found in measure(settings, tuple(rows)):
        rows += found
        if args.keep is not None:
            with args.keep.open("a", encoding="utf-8") as out:
                out.writelines(json.dumps(asdict(row)) + "\n" for row in found)
        if args.json:
            print_rows(found, shown, as_json=True)
    if not args.json:
        print_rows(rows, shown, as_json=False)


def _read_kept(path: Path | None) -> list[Row]:
    if path is None or not path.exists():
        return []
    return [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    main()
