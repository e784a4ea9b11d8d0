"""How many windows a second a 4-bit LoRA is trained on: our loop, and TRL's SFTTrainer on the same windows.

    python bench/training.py [--json] [--windows 16] [--epochs 3] [--model nano]

Everyone gets the same model with the same 4-bit layers and the same fresh adapter, the same windows in the same passes
of two, and one optimizer step an epoch. The first loss must therefore agree: mean cross entropy over the target tokens
of all windows. Time is that of the whole run, rendering, tokenizing and pictures included; ours also reads its pictures
from disk, TRL has them in memory. Where TRL would do otherwise it is given what makes it equal (all target tokens of a
step weigh the same; no trailing line break in the answer) or quicker (an adapter in float32, which it would turn to
bfloat16, slow on CPUs).

Layouts: `rows` is one window a row. `tree` lays windows over one picture into one row that computes their common start
once. `kept` also keeps the vision features of pictures from one epoch to the next; that is what `vlm-agent train` does.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import torch
import trl
from _material import build_play, load_bench_model
from _measuring import Shown, Stopwatch, make_parser, print_rows, say
from transformers import PrinterCallback, ProcessorMixin, Qwen3VLProcessor, TrainerCallback
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.utils import logging as hf_logging

from vlm_agent.chat import Recipe
from vlm_agent.dataset.exports import prompt_completion_rows
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.models.adapters import attach_lora
from vlm_agent.models.images import resize_frame
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.config import EvaluationSettings, LoraSettings, RecipeSettings, TrainConfig
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.loop import Material, TrainingLoop
from vlm_agent.training.metrics import METRICS_FILE
from vlm_agent.training.progress import SilentWatcher
from vlm_agent.training.windows import TRAIN_SPLIT, FrameLoader, build_rows, choose_recipe

BATCH_WINDOWS = 2
PLAY_S = 30
KEPT_MB = 512
LOSS_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Row:
    """One figure."""

    benchmark: str
    engine: str
    layout: str
    windows_per_s: float
    """By the wall clock, over all epochs."""
    windows_per_cpu_s: float
    """By this process's own time."""
    loss: float
    """Of the first step, nats per target token."""
    ratio_to_trl: float
    """Of windows a second of this process's own time."""


@dataclass(frozen=True)
class Run:
    """A finished run."""

    watch: Stopwatch
    """Its time."""
    first_loss: float
    """Of the first step."""


@dataclass(frozen=True)
class Task:
    """What everyone trains."""

    loaded: LoadedModel
    """The base."""
    dataset: Dataset
    """Where the windows are from."""
    windows: Sequence[Window]
    """The windows."""
    recipe: Recipe
    """How they are shown."""
    epochs: int
    """Passes over them."""

    @property
    def config(self) -> TrainConfig:
        """One optimizer step an epoch, no dropout, no evaluation."""
        return TrainConfig(
            lora=LoraSettings(dropout=0.0),
            evaluation=EvaluationSettings(every_steps=0),
            batch_windows=BATCH_WINDOWS,
            accumulation=len(self.windows),
            warmup_fraction=0.0,
            epochs=self.epochs,
            save_every_steps=10_000,
        )


def measure(model: str, num_windows: int, epochs: int) -> tuple[list[Row], str]:
    """Return all figures, and what the model was."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say("recording and building")
        loaded, described = load_bench_model(model, folder)
        dataset = build_play(folder, PLAY_S)
        recipe = choose_recipe(loaded, dataset, RecipeSettings())
        windows = list(itertools.islice(dataset.windows(TRAIN_SPLIT), num_windows))
        task = Task(loaded, dataset, windows, recipe, epochs)
        say("training with TRL")
        runs = {(f"trl {trl.__version__}", "rows"): _train_trl(task, folder)}
        for layout in ("rows", "tree", "tree, kept"):
            say(f"training with our loop, {layout}")
            runs["vlm-agent", layout] = _train_ours(task, layout, folder / layout)
    return _compare(runs, len(windows) * epochs), described


def _compare(runs: dict[tuple[str, str], Run], num_trained: int) -> list[Row]:
    base, *_ = runs.values()
    for (engine, layout), run in runs.items():
        if abs(run.first_loss - base.first_loss) > LOSS_TOLERANCE:
            raise SystemExit(f"{engine}, {layout}: loss {run.first_loss}, TRL's {base.first_loss}: not the same task")
    return [
        Row(
            benchmark="training",
            engine=engine,
            layout=layout,
            windows_per_s=num_trained / run.watch.wall_s,
            windows_per_cpu_s=num_trained / run.watch.cpu_s,
            loss=run.first_loss,
            ratio_to_trl=base.watch.cpu_s / run.watch.cpu_s,
        )
        for (engine, layout), run in runs.items()
    ]


def _train_ours(task: Task, layout: str, folder: Path) -> Run:
    folder.mkdir()
    tuned = _with_fresh_adapter(task.loaded)
    kept_bytes = KEPT_MB * 1_000_000 if layout.endswith("kept") else 0
    with Stopwatch() as watch:
        windows_per_row = 1 if layout == "rows" else BATCH_WINDOWS
        rows = build_rows(tuned.encoder, task.windows, task.recipe, windows_per_row)
        features = FeatureCache(tuned, FrameLoader(task.dataset.folder, task.recipe), kept_bytes)
        TrainingLoop(tuned, Material(rows, [], features), task.config, folder, SilentWatcher()).run()
    first, *_ = (json.loads(line) for line in (folder / METRICS_FILE).open(encoding="utf-8"))
    tuned.peft.unload()
    return Run(watch, first["loss"])


def _train_trl(task: Task, folder: Path) -> Run:
    tuned = _with_fresh_adapter(task.loaded)
    exported = prompt_completion_rows(task.dataset, TRAIN_SPLIT, task.recipe, resize_frame)
    rows = datasets.Dataset.from_list(list(itertools.islice(exported, len(task.windows))))
    losses = _Losses()
    trainer = trl.SFTTrainer(
        tuned.peft,
        _trl_config(task, folder / "trl"),
        train_dataset=rows,
        processing_class=_make_processor(task.loaded),
        callbacks=[losses],
    )
    trainer.remove_callback(PrinterCallback)
    # Qwen-VL's classes say that they take no token count, so that a Trainer averages the averages of its passes.
    trainer.model_accepts_loss_kwargs = True
    for parameter in tuned.peft.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    with Stopwatch() as watch:
        trainer.train()
    tuned.peft.unload()
    return Run(watch, losses.seen[0])


def _with_fresh_adapter(loaded: LoadedModel) -> LoadedModel:
    lora = LoraSettings(dropout=0.0)
    return replace(loaded, peft=attach_lora(loaded.model, rank=lora.rank, alpha=lora.alpha, dropout=0.0, seed=0))


def _trl_config(task: Task, folder: Path) -> trl.SFTConfig:
    return trl.SFTConfig(
        output_dir=str(folder),
        max_length=None,
        completion_only_loss=True,
        per_device_train_batch_size=BATCH_WINDOWS,
        gradient_accumulation_steps=-(-len(task.windows) // BATCH_WINDOWS),
        num_train_epochs=task.epochs,
        learning_rate=task.config.learning_rate,
        lr_scheduler_type="cosine",
        weight_decay=0.0,
        max_grad_norm=task.config.max_grad_norm,
        optim="adamw_torch",
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=task.loaded.device.type == "cpu",
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


class _Losses(TrainerCallback):
    """Collects the training loss of every step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **rest: Any) -> None:
        if logs and "loss" in logs:
            self.seen.append(float(logs["loss"]))


class _PictureProcessor(Qwen3VLProcessor):
    """Qwen3-VL's processor without its video half, which can't be had without torchvision."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.vision_start_token, self.vision_end_token = "<|vision_start|>", "<|vision_end|>"
        for name in ("image", "video", "vision_start", "vision_end"):
            setattr(self, f"{name}_token_id", tokenizer.convert_tokens_to_ids(getattr(self, f"{name}_token")))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def _make_processor(loaded: LoadedModel) -> _PictureProcessor:
    known = loaded.encoder.images.to_preprocessor_json()
    known.pop("image_processor_type")
    # The model never has to write the line break behind its answer, so that it is not to be learnt here either.
    end = "{{- '<|im_end|>\\n' -}}"
    template = loaded.tokenizer.chat_template
    if end not in template:
        raise SystemExit("this benchmark needs a checkpoint with the project's own chat template (nano, or a tiny one)")
    quiet_end = "{{- '<|im_end|>' -}}{%- if not loop.last or add_generation_prompt -%}{{- '\\n' -}}{%- endif -%}"
    template = template.replace(end, quiet_end)
    return _PictureProcessor(Qwen2VLImageProcessorPil(**known), loaded.tokenizer, template)


def main() -> None:
    """Print the figures, one a line."""
    parser = make_parser(__doc__)
    parser.add_argument("--model", default="nano", help="nano, or the folder of a Qwen3-VL made by this project")
    parser.add_argument("--windows", type=int, default=16, help="how many windows")
    parser.add_argument("--epochs", type=int, default=3, help="passes over them")
    args = parser.parse_args()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    # TRL still asks transformers for things by their old names.
    warnings.filterwarnings("ignore", category=FutureWarning)
    rows, described = measure(args.model, args.windows, args.epochs)
    shown = Shown(
        f"4-bit LoRA on {described}: {args.windows} windows, {args.epochs} epochs, {torch.get_num_threads()} threads",
        "peer: TRL's SFTTrainer, same windows, same model, same loss. ratio to trl: by this process's own time.",
    )
    print_rows(rows, shown, as_json=args.json)


if __name__ == "__main__":
    main()
