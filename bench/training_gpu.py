"""How quick a 4-bit LoRA of Qwen3-VL-8B's shape is trained on a CUDA card: a row for each engine and layout.

    python bench/training_gpu.py [--json] [--windows 32] [--epochs 3] [--tiny]

The weights are random, which costs the same as real ones. Pictures have the two sizes of 1280x720 and 765x503 frames,
rounded to what the model takes; every picture is shared by four windows. The same windows are trained by our loop in
each layout, by TRL, and by our loop over a model that Unsloth has loaded, where it is installed (in a process of its
own: it has to be imported first). Losses of all but Unsloth must agree, else this fails; Unsloth draws its adapter from
the same seed and is shown beside them.

Time is that of the whole run by the wall clock, tokenizing and pictures included; the first run of each size also warms
the card up, and is done twice. `tokens_per_s` counts tokens of windows, each as if it were alone: what a layout spares
shows as more of them. `share_of_peak` is the arithmetic that was done (by the formula in `training.flops`, layers that
are run again not counted twice) by the card's stated operations (see `training.planning.cards`). `peak_mb` is how far
memory rises over what the model takes.

Without a card this ends with one line; `--tiny` runs all of it on a tiny model on the CPU instead.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import _early
import torch
from _material import build_play
from _measuring import Shown, make_parser, print_rows, say
from _shared_windows import LARGE, TINY, ask_windows, write_random_model
from _tasks import Task
from training import LAYOUTS, Run, train_ours, train_trl
from transformers.utils import logging as hf_logging

from vlm_agent.errors import ConfigError
from vlm_agent.models.loading import load_model
from vlm_agent.training.config import RecipeSettings
from vlm_agent.training.engines import pick_engine
from vlm_agent.training.planning.cards import find_card
from vlm_agent.training.windows import choose_recipe

SHARE = 4
PLAY_S, TINY_PLAY_S = 45, 15
SIZES = ((1280, 720), (765, 503))
TINY_SIZES = ((320, 180), (192, 126))
LOSS_TOLERANCE, CARD_LOSS_TOLERANCE = 1e-3, 2e-2
"""In float32, and in bfloat16."""


@dataclass(frozen=True)
class Row:
    """One figure."""

    benchmark: str
    engine: str
    layout: str
    frame: str
    """Width and height of a frame, pixels."""
    windows_per_s: float
    """By the wall clock, over all epochs."""
    tokens_per_s: float
    """Tokens of windows, each counted alone."""
    share_of_peak: float | None
    """Of the card's stated operations; none where the card is not in the table."""
    peak_mb: float
    """Memory over what is held before the run."""
    loss: float
    """Of the last step, nats per target token."""


@dataclass(frozen=True)
class Settings:
    """What is asked for."""

    windows: int
    """How many, a multiple of `SHARE`."""
    epochs: int
    """Passes over them, one optimizer step each."""
    is_tiny: bool
    """Whether a tiny model is trained on the CPU."""
    with_unsloth: bool
    """Whether Unsloth alone is measured."""


def measure(settings: Settings, folder: Path) -> Iterator[list[Row]]:
    """Yield the figures of one frame size after the other."""
    device = torch.device("cpu" if settings.is_tiny else "cuda")
    say("recording and building")
    dataset = build_play(folder, TINY_PLAY_S if settings.is_tiny else PLAY_S)
    write_random_model(folder / "model", TINY if settings.is_tiny else LARGE, device)
    library = "unsloth" if settings.with_unsloth else "hf"
    loaded = load_model(folder / "model", device=str(device), library=library)
    plain = choose_recipe(loaded, dataset, RecipeSettings())
    for frame in TINY_SIZES if settings.is_tiny else SIZES:
        width, height = loaded.encoder.images.fit_size(*frame, max_tokens=10_000)
        recipe = replace(plain, image_width_px=width, image_height_px=height)
        asked = ask_windows(dataset, recipe, count=settings.windows, share=SHARE, images=1)
        task = Task(loaded, dataset, recipe, asked, settings.epochs)
        yield list(_compare(task, frame, folder / f"{width}-{height}", with_unsloth=settings.with_unsloth))


def _compare(task: Task, frame: tuple[int, int], folder: Path, *, with_unsloth: bool) -> Iterator[Row]:
    folder.mkdir()
    losses: list[float] | None = None
    if task.loaded.device.type == "cuda":
        train_ours(task, "rows", folder / "warm")
    for layout in LAYOUTS:
        say(f"{frame}: our loop, {layout}{', Unsloth' if with_unsloth else ''}")
        run = train_ours(task, layout, folder / layout)
        losses = _check(losses, run, task)
        yield _describe("unsloth" if with_unsloth else "hf", layout, frame, task, run)
    if not with_unsloth:
        say(f"{frame}: TRL")
        run = train_trl(task, folder / "trl")
        _check(losses, run, task)
        yield _describe("trl", "rows", frame, task, run)


def _check(losses: list[float] | None, run: Run, task: Task) -> list[float]:
    limit = LOSS_TOLERANCE if task.loaded.dtype == torch.float32 else CARD_LOSS_TOLERANCE
    if losses is not None and any(abs(a - b) > limit for a, b in zip(losses, run.losses, strict=True)):
        raise SystemExit(f"losses {run.losses}, before them {losses}: not the same task")
    return losses or run.losses


def _describe(engine: str, layout: str, frame: tuple[int, int], task: Task, run: Run) -> Row:
    tokens = sum(len(one.encode(task.loaded.encoder, task.recipe).encoded.input_ids) for one in task.asked)
    return Row(
        benchmark="training_gpu",
        engine=engine,
        layout=layout,
        frame=f"{frame[0]}x{frame[1]}",
        windows_per_s=len(task.asked) * task.epochs / run.watch.wall_s,
        tokens_per_s=tokens * task.epochs / run.watch.wall_s,
        share_of_peak=_share_of_peak(task.loaded.device, run),
        peak_mb=run.memory.peak_mb,
        loss=run.losses[-1],
    )


def _share_of_peak(device: torch.device, run: Run) -> float | None:
    if device.type != "cuda":
        return None
    words = torch.cuda.get_device_name(device).lower().replace("nvidia", "").replace("geforce", "").split()
    # The system's name says more than the table's: `H100 80GB HBM3`, `A100-SXM4-80GB`.
    for name in (" ".join(words), "-".join(words[:2]), words[0], words[0].replace("-sxm4", "").replace("-pcie", "")):
        try:
            return run.flops / run.watch.wall_s / (find_card(name).tflops * 1e12)
        except ConfigError:
            continue
    return None


def _measure_unsloth(settings: Settings) -> list[Row]:
    """Return the rows of this script run anew with Unsloth imported first; none where it can't be had."""
    try:
        pick_engine("unsloth", "cuda")
    except ConfigError as error:
        say(f"without Unsloth: {error}")
        return []
    command = [sys.executable, __file__, "--json", _early.UNSLOTH_ALONE]
    sizes = ["--windows", str(settings.windows), "--epochs", str(settings.epochs)]
    done = subprocess.run([*command, *sizes], capture_output=True, text=True, check=False)
    if done.returncode:
        say(f"Unsloth failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    return [Row(**json.loads(line)) for line in done.stdout.splitlines() if line.startswith('{"benchmark"')]


def main() -> None:
    """Print the figures, one a line."""
    parser = make_parser(__doc__)
    parser.add_argument("--windows", type=int, default=32, help=f"how many windows, a multiple of {SHARE}")
    parser.add_argument("--epochs", type=int, default=3, help="passes over them")
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU: to try the script")
    parser.add_argument(_early.UNSLOTH_ALONE, action="store_true", help="only what Unsloth has loaded")
    args = parser.parse_args()
    if not args.tiny and not torch.cuda.is_available():
        sys.stderr.write("error: this benchmark needs a CUDA card; --tiny tries it on the CPU\n")
        sys.exit(2)
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    settings = Settings(args.windows, args.epochs, args.tiny, args.unsloth_alone)
    with tempfile.TemporaryDirectory() as name:
        rows = [row for found in measure(settings, Path(name)) for row in found]
    if not (args.tiny or args.unsloth_alone):
        rows += _measure_unsloth(settings)
    where = "the CPU" if args.tiny else torch.cuda.get_device_name()
    title = (
        f"4-bit LoRA on {(TINY if args.tiny else LARGE).name}, on {where}: {args.windows} windows, {args.epochs} epochs"
    )
    print_rows(
        rows,
        Shown(title, "every picture is shared by four windows; the same losses but for Unsloth"),
        as_json=args.json,
    )


if __name__ == "__main__":
    main()
