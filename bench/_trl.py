"""TRL's SFTTrainer on the same windows: what makes it equal to our loop, and what makes it quicker, is given to it.

Equal: all target tokens of a step weigh the same (a Trainer averages the averages of its passes otherwise), and the
line break after the answer is not learnt. Quicker: the adapter stays in float32 on a CPU, where TRL would turn it to
bfloat16, which is slow there; the model comes loaded; its pictures come decoded and at the right size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
import trl
from _measuring import PeakMemory, Stopwatch
from _shared_windows import Asked
from PIL import Image
from transformers import PrinterCallback, ProcessorMixin, Qwen3VLProcessor, TrainerCallback
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vlm_agent.chat import Recipe
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.config import TrainConfig

VERSION = trl.__version__


def train_with_trl(
    tuned: LoadedModel, asked: Sequence[Asked], recipe: Recipe, config: TrainConfig, folder: Path
) -> tuple[list[float], Stopwatch, PeakMemory]:
    """Train; return the loss of every step, the time, and the memory.

    Args:
        tuned: a model with a fresh adapter.
        asked: the windows; every epoch over them is one optimizer step.
        recipe: how they are shown.
        config: our settings, to be translated.
        folder: where the Trainer may write.
    """
    losses = _Losses()
    trainer = trl.SFTTrainer(
        tuned.peft,
        _translate(config, len(asked), tuned.device, folder),
        train_dataset=datasets.Dataset.from_list([_export(one, recipe) for one in asked]),
        processing_class=_make_processor(tuned),
        callbacks=[losses],
    )
    trainer.remove_callback(PrinterCallback)
    # Qwen-VL's classes say that they take no token count, so that a Trainer averages the averages of its passes.
    trainer.model_accepts_loss_kwargs = True
    if tuned.device.type == "cpu":
        for parameter in tuned.peft.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    with PeakMemory(tuned.device) as memory, Stopwatch() as watch:
        trainer.train()
    return losses.seen, watch, memory


def _export(one: Asked, recipe: Recipe) -> dict[str, Any]:
    return {
        "prompt": one.messages(recipe),
        "completion": [{"role": "assistant", "content": [{"type": "text", "text": one.answer}]}],
        "images": [Image.fromarray(frame) for frame in one.inp.frames],
    }


def _translate(config: TrainConfig, num_windows: int, device: torch.device, folder: Path) -> trl.SFTConfig:
    on_gpu = device.type == "cuda"
    return trl.SFTConfig(
        output_dir=str(folder),
        max_length=None,
        completion_only_loss=True,
        per_device_train_batch_size=config.batch_windows,
        gradient_accumulation_steps=-(-num_windows // config.batch_windows),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        weight_decay=0.0,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch",
        bf16=on_gpu,
        gradient_checkpointing=on_gpu,
        use_cpu=not on_gpu,
        dataloader_num_workers=4 if on_gpu else 0,
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
        raise SystemExit("this benchmark needs a checkpoint with the project's own chat template")
    quiet_end = "{{- '<|im_end|>' -}}{%- if not loop.last or add_generation_prompt -%}{{- '\\n' -}}{%- endif -%}"
    template = template.replace(end, quiet_end)
    return _PictureProcessor(Qwen2VLImageProcessorPil(**known), loaded.tokenizer, template)
