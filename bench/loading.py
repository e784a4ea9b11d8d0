"""From dataset to batch, windows a second: ours against transformers' processor and TRL's collator.

    python bench/loading.py [--json] [--batch 8] [--seconds 45]

Both begin with the same windows and JPEG files, and end with token ids, labels and float32 `pixel_values` on the CPU;
that ids, learnt tokens and pixels are the same is checked first. Ours tokenizes every window once and keeps
rows, so that a first and a later epoch differ; TRL's collator renders, tokenizes and cuts anew each time. Nothing is
kept of pictures here (in training on a CPU their features are). `shared` lays out what windows of a batch have in
common once, which for pictures means that one is read once.

The image processor is transformers' fast one where torchvision can be imported, else the one over PIL; the row says
which. One process, no worker processes on either side: `windows_per_s` and
`ratio` to the stock row are by the wall clock, `ratio_by_cpu` by the process's own time.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _material import build_play, load_bench_model
from _measuring import Shown, Stopwatch, make_parser, print_rows, say
from transformers.utils import logging as hf_logging
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from vlm_agent.chat import Recipe
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.models.encoding import IGNORED_LABEL
from vlm_agent.models.images import cut_patches, normalise_patches
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.batches import collate_rows, lay_out
from vlm_agent.training.config import PassLayout, RecipeSettings, TrainConfig
from vlm_agent.training.layouts import build_rows
from vlm_agent.training.rows import Row as TokenRow
from vlm_agent.training.trl_engine import ShownWindows, make_processor
from vlm_agent.training.windows import TRAIN_SPLIT, FrameLoader, ask_window, choose_recipe, encode_windows

MOST_WINDOWS = 256
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Row:
    """One figure."""

    benchmark: str
    path: str
    """Whose, and for the stock one over which image processor."""
    epoch: str
    """First (tokenizing counted) or later."""
    windows_per_s: float
    """By the wall clock."""
    ratio: float
    """To the stock path in the same epoch."""
    ratio_by_cpu: float
    """The same of the process's own time: what is left of the ratio where others use the core too."""


@dataclass(frozen=True)
class Seconds:
    """How long something took."""

    wall: float
    """By the wall clock."""
    cpu: float
    """Of the process's own time."""


@dataclass(frozen=True)
class Task:
    """What becomes batches."""

    loaded: LoadedModel
    """Gives tokenizer and picture settings; nothing runs through it."""
    dataset: Dataset
    """Where the pictures are."""
    windows: Sequence[Window]
    """What to load."""
    recipe: Recipe
    """How it is shown."""
    batch: int
    """Windows in a batch."""


def load_ours(task: Task, layout: PassLayout) -> tuple[Callable[[], None], Callable[[], Iterator[dict[str, Any]]]]:
    """Return what prepares the rows, and what gives the batches of an epoch."""
    encoder, load_frame = task.loaded.encoder, FrameLoader(task.dataset.folder, task.recipe)
    rows: list[TokenRow] = []

    def prepare() -> None:
        examples = encode_windows(encoder, task.windows, task.recipe)
        rows[:] = build_rows(examples, encoder, layout, TrainConfig(batch_windows=task.batch))

    def epoch() -> Iterator[dict[str, Any]]:
        for group in _fill(rows, task.batch):
            batch = collate_rows(lay_out(group, layout), task.loaded.tokenizer.pad_token_id, CPU)
            patches = [cut_patches(load_frame(key), encoder.images) for key in batch.image_keys]
            pixels = normalise_patches(torch.cat(patches), encoder.images)
            yield {"ids": batch.ids, "targets": batch.targets, "pixels": pixels}

    return prepare, epoch


def _fill(rows: Sequence[TokenRow], most: int) -> Iterator[list[TokenRow]]:
    group: list[TokenRow] = []
    for row in rows:
        if group and sum(one.num_windows for one in group) + row.num_windows > most:
            yield group
            group = []
        group.append(row)
    yield group


def load_stock(task: Task) -> tuple[str, Callable[[], Iterator[dict[str, Any]]]]:
    """Return which image processor it is, and what gives the batches of an epoch."""
    processor = make_processor(task.loaded)
    name = type(processor.image_processor).__name__
    try:
        import torchvision  # noqa: F401
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

        images = task.loaded.encoder.images.to_preprocessor_json()
        images.pop("image_processor_type")
        processor.image_processor, name = Qwen2VLImageProcessor(**images), "Qwen2VLImageProcessor, torchvision"
    except (ImportError, RuntimeError):  # torchvision beside another build of torch fails at import
        pass
    collator = DataCollatorForVisionLanguageModeling(processor, completion_only_loss=True)

    def epoch() -> Iterator[dict[str, Any]]:
        asked = [ask_window(window, task.recipe) for window in task.windows]
        shown = ShownWindows(asked, FrameLoader(task.dataset.folder, task.recipe))
        for start in range(0, len(asked), task.batch):
            columns = shown.show(range(start, min(start + task.batch, len(asked))))
            yield collator([dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)])

    return name, epoch


def check_same(task: Task) -> None:
    """End the program if the two paths give other ids, learnt tokens or pixels."""
    prepare, ours = load_ours(task, "rows")
    prepare()
    _, stock = load_stock(task)
    for left, right in zip(ours(), stock(), strict=True):
        length = left["ids"].shape[1]
        labels = right["labels"][:, 1:length]
        is_learnt = labels != IGNORED_LABEL
        if not (
            torch.equal(left["ids"][right["attention_mask"] == 1], right["input_ids"][right["attention_mask"] == 1])
            and torch.equal(left["targets"][:, : length - 1][is_learnt], labels[is_learnt])
            and torch.allclose(left["pixels"], right["pixel_values"], atol=1e-5)
        ):
            raise SystemExit("the batches differ: not the same task")


def measure(task: Task) -> list[Row]:
    """Return the figures."""
    say("checking that batches are the same")
    check_same(task)
    name, stock = load_stock(task)
    say("stock")
    base = [_time(stock) for _ in range(2)]
    rows = [_row(f"transformers and TRL ({name})", epoch, base[index], base[index], task) for index, epoch in _EPOCHS]
    for layout in ("rows", "packed", "shared"):
        say(f"ours, {layout}")
        prepare, ours = load_ours(task, layout)
        with Stopwatch() as watch:
            prepare()
        times = [_time(ours) for _ in range(2)]
        times[0] = Seconds(times[0].wall + watch.wall_s, times[0].cpu + watch.cpu_s)
        rows += [_row(f"vlm-agent, {layout}", epoch, times[index], base[index], task) for index, epoch in _EPOCHS]
    return rows


_EPOCHS = ((0, "first"), (1, "later"))


def _row(path: str, epoch: str, taken: Seconds, base: Seconds, task: Task) -> Row:
    return Row("loading", path, epoch, len(task.windows) / taken.wall, base.wall / taken.wall, base.cpu / taken.cpu)


def _time(epoch: Callable[[], Iterator[dict[str, Any]]]) -> Seconds:
    with Stopwatch() as watch:
        for _ in epoch():
            pass
    return Seconds(watch.wall_s, watch.cpu_s)


def main() -> None:
    """Print the figures, one a line."""
    parser = make_parser(__doc__)
    parser.add_argument("--batch", type=int, default=8, help="windows in a batch")
    parser.add_argument("--seconds", type=int, default=45, help="of recorded play")
    args = parser.parse_args()
    hf_logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning)
    with tempfile.TemporaryDirectory() as name:
        say("recording and building")
        dataset = build_play(Path(name), args.seconds)
        loaded, _ = load_bench_model("nano", Path(name))
        recipe = choose_recipe(loaded, dataset, RecipeSettings())
        task = Task(loaded, dataset, list(dataset.windows(TRAIN_SPLIT))[:MOST_WINDOWS], recipe, args.batch)
        rows = measure(task)
    size = f"{recipe.image_width_px}x{recipe.image_height_px}"
    title = f"dataset to batch: {len(task.windows)} windows, pictures of {size}, batches of {args.batch}, one process"
    print_rows(
        rows, Shown(title, "peer: transformers' processor and TRL's collator on the same windows"), as_json=args.json
    )


if __name__ == "__main__":
    main()
