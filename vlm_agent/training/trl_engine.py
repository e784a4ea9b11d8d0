"""TRL's SFTTrainer on the windows of a run: a plain trainer of others, to hold this project's against.

What would make it another task is given to it: all target tokens of a step weigh the same (a Trainer averages the
averages of its passes otherwise), the same rates and optimizer, pictures at the recipe's size, and with this project's
own chat template the line break behind an answer is not learnt. The rest is its own: every window is padded, every
picture goes through the vision tower each time it is shown, and windows come in its own order.

A run that was killed begins anew: a Trainer's own checkpoints are pickles, which this project doesn't write.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from transformers import PrinterCallback, ProcessorMixin, Qwen2_5_VLProcessor, Qwen3VLProcessor, TrainerCallback
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from vlm_agent.chat import Message
from vlm_agent.errors import ConfigError
from vlm_agent.models.chat_templates import ChatTemplate
from vlm_agent.models.compat import is_recomputing
from vlm_agent.models.dropout import leave_dropout_to_torch
from vlm_agent.models.images import RgbFrame
from vlm_agent.models.loading import LoadedModel
from vlm_agent.training.checkpoints import list_checkpoints, load_checkpoint, read_state
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.loop import TrainingLoop
from vlm_agent.training.order import learning_rate
from vlm_agent.training.processes import find_processes
from vlm_agent.training.windows import AskedWindow

_LOADER_PROCESSES = 4
"""Read and cut pictures beside a card."""
_UNKNOWN = (
    *("weigh", "step_weight", "field_weights", "event_weights", "window_weights", "batch_tokens", "curriculum"),
    *("soft_points", "soft_dt_ms", "pinball_weight", "gaussian_weight", "jitter", "crop"),
)
"""Settings that TRL has no like of."""
_TURN_END = "{{- '<|im_end|>\\n' -}}"
_QUIET_TURN_END = "{{- '<|im_end|>' -}}{%- if not loop.last or add_generation_prompt -%}{{- '\\n' -}}{%- endif -%}"
"""In a chat template: the line break only where something follows."""
_CONTENT = "{%- if message.content is string -%}"
_MARKED_CONTENT = (
    "{%- if message.role == 'assistant' -%}{%- generation -%}{{- message.content[0].text + '<|im_end|>' -}}"
    "{%- endgeneration -%}{%- elif message.content is string -%}"
)
_MARKED_TURN_END = (
    "{%- if message.role != 'assistant' -%}{{- '<|im_end|>\\n' -}}{%- elif not loop.last -%}{{- '\\n' -}}{%- endif -%}"
)
"""The same with answers and the ends of their turns marked as what is learnt."""


def can_run(device: torch.device) -> bool:
    """Tell whether the TRL that is installed computes its loss there: older ones do so on cards alone."""
    try:
        from trl.kernels import ChunkedLogProbFunction
    except ImportError:
        return device.type == "cuda"
    return ChunkedLogProbFunction is not None


def check_settings(config: TrainConfig, device: torch.device, template: ChatTemplate) -> None:
    """Raise ConfigError for settings and templates that TRL has no like of, and for a start that it would refuse."""
    if not can_run(device):
        raise ConfigError("--train.engine trl: this TRL needs a CUDA card; 1.16 runs on a CPU too, and so does hf")
    plain = TrainConfig()
    for name in _UNKNOWN:
        if getattr(config, name) != getattr(plain, name):
            raise ConfigError(f"--train.engine trl knows no --train.{name.replace('_', '-')}; leave one of them out")
    if config.layout not in ("auto", "rows"):
        raise ConfigError(f"--train.engine trl pads every window: --train.layout must be rows, got {config.layout}")
    if template.lead or template.conversation_fault:
        # TRL takes for the answer what follows the prompt in the whole conversation as the template writes it.
        raise ConfigError(
            f"--train.engine trl: the model's chat template ({template.source}) writes an answer otherwise than a model"
            " would behind the prompt; take --train.engine hf"
        )
    if find_processes().count > 1 or torch.cuda.device_count() > 1:
        raise ConfigError("--train.engine trl runs in one process on one card; show it one: CUDA_VISIBLE_DEVICES=0")


@dataclass(frozen=True)
class ShownWindows:
    """Windows as TRL takes them."""

    asked: Sequence[AskedWindow]
    """All of them."""
    load_frame: Callable[[str], RgbFrame]
    """Gives a resized picture by its identifier."""

    marks_answers: ClassVar[bool] = False
    """Whether what is learnt is marked in the text, instead of standing behind a prompt."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.asked)

    def show(self, numbers: Sequence[int]) -> dict[str, list[Any]]:
        """Return some windows by their numbers: prompts, answers and pictures."""
        windows = [self.asked[number] for number in numbers]
        answers = [{"type": "text", "text": window.answer} for window in windows]
        return {
            "prompt": [window.messages for window in windows],
            "completion": [[{"role": "assistant", "content": [answer]}] for answer in answers],
            "images": [[Image.fromarray(self.load_frame(key)) for key in one.frame_ids] for one in windows],
        }


@dataclass(frozen=True)
class ShownChats:
    """Conversations of several turns as TRL takes them; every answer is learnt."""

    chats: Sequence[tuple[list[Message], tuple[str, ...]]]
    """All messages, answers among them, and identifiers of the pictures in order."""
    load_frame: Callable[[str], RgbFrame]
    """Gives a resized picture by its identifier."""
    marks_answers: ClassVar[bool] = True
    """Whether what is learnt is marked in the text."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.chats)

    def show(self, numbers: Sequence[int]) -> dict[str, list[Any]]:
        """Return some conversations by their numbers: messages and pictures."""
        chats = [self.chats[number] for number in numbers]
        return {
            "messages": [messages for messages, _ in chats],
            "images": [[Image.fromarray(self.load_frame(key)) for key in keys] for _, keys in chats],
        }


class TrlLoop(TrainingLoop):
    """The loop with TRL in place of its steps; measuring, keeping and the files are its own."""

    def take(self, shown: ShownWindows) -> None:
        """Take the windows of the training rows."""
        self._shown = shown

    def _resume(self) -> None:
        checkpoints = list_checkpoints(self._checkpoints)
        if checkpoints:
            state = read_state(checkpoints[-1])
            if state.step == self._num_steps or state.has_stopped:
                self._state, self._best = load_checkpoint(checkpoints[-1], self._trained, self._optimizer)
                return
            shutil.rmtree(self._checkpoints)
        self._metrics.rewind(-1)

    def _run_steps(self) -> None:
        if self._state.step == self._num_steps or self._state.has_stopped:
            return
        if self._state.step == 0:
            self._evaluate()
        leave_dropout_to_torch(self._loaded.peft)
        trainer = make_trainer(
            self._loaded,
            self._shown,
            self._config,
            self._folder,
            num_steps=self._num_steps,
            optimizer=self._optimizer,
            on_step=self._follow,
        )
        with warnings.catch_warnings():
            # TRL and Trainer still ask transformers for things by their old names.
            warnings.simplefilter("ignore", FutureWarning)
            trainer.train()

    def _follow(self, logs: dict[str, Any]) -> bool:
        """Do what is due after a step that TRL did; return whether to stop."""
        loss, norm = float(logs["loss"]), float(logs["grad_norm"])
        self._check_finite(loss, norm)
        step = self._state.step + 1
        self._last_loss = loss
        rate = learning_rate(step - 1, self._num_steps, self._config)
        self._write_down(step=step, loss=loss, grad_norm=norm, learning_rate=rate)
        self._watcher.on_step(step, self._num_steps, loss)
        self._end_step()
        return self._state.has_stopped


def make_trainer(
    loaded: LoadedModel,
    shown: ShownWindows | ShownChats,
    config: TrainConfig,
    folder: Path,
    *,
    num_steps: int,
    optimizer: torch.optim.Optimizer,
    on_step: Callable[[dict[str, Any]], bool],
) -> Any:
    """Return TRL's trainer over windows, or over conversations.

    Args:
        loaded: a model with a trainable adapter whose dropout is torch's own.
        shown: what is learnt.
        config: this project's settings.
        folder: where a Trainer may write; it writes nothing.
        num_steps: optimizer steps of the whole run.
        optimizer: steps with; its rates become those of the settings.
        on_step: is given what the Trainer logs of each step, and says whether to stop.
    """
    import datasets
    import trl

    def show(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        return shown.show(batch["index"])

    windows = datasets.Dataset.from_dict({"index": list(range(len(shown)))}).with_transform(show)
    for group in optimizer.param_groups:
        group["lr"] = 1.0
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, num_steps, config))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        trainer = trl.SFTTrainer(
            loaded.peft,
            _translate(config, loaded, folder, num_steps, marks_answers=shown.marks_answers),
            train_dataset=windows,
            processing_class=make_processor(loaded, marks_answers=shown.marks_answers),
            callbacks=[_Follower(on_step)],
            optimizers=(optimizer, schedule),
        )
    trainer.remove_callback(PrinterCallback)
    # Qwen-VL's classes say that they take no token count, so that a Trainer averages the averages of its passes.
    trainer.model_accepts_loss_kwargs = True
    if loaded.device.type == "cpu":
        # TRL turns adapters in 4-bit models to bfloat16, which is slow on a CPU.
        for parameter in loaded.peft.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    return trainer


def _translate(config: TrainConfig, loaded: LoadedModel, folder: Path, num_steps: int, *, marks_answers: bool) -> Any:
    import trl

    on_card = loaded.device.type == "cuda"
    return trl.SFTConfig(
        output_dir=str(folder),
        max_length=None,
        completion_only_loss=not marks_answers,
        assistant_only_loss=marks_answers,
        per_device_train_batch_size=config.batch_windows,
        gradient_accumulation_steps=config.accumulation,
        max_steps=num_steps,
        max_grad_norm=config.max_grad_norm,
        bf16=loaded.dtype == torch.bfloat16,
        gradient_checkpointing=is_recomputing(loaded.model),
        use_cpu=not on_card,
        dataloader_num_workers=_LOADER_PROCESSES if on_card else 0,
        dataloader_pin_memory=on_card,
        remove_unused_columns=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=config.seed,
    )


class _Follower(TrainerCallback):
    """Passes on what is logged of each step."""

    def __init__(self, on_step: Callable[[dict[str, Any]], bool]) -> None:
        self._on_step = on_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **rest: Any) -> None:
        if logs and "loss" in logs:
            control.should_training_stop = self._on_step(logs) or control.should_training_stop


def make_processor(loaded: LoadedModel, *, marks_answers: bool = False) -> Any:
    """Return transformers' processor of a model's generation without its video half, which wants torchvision.

    With `marks_answers` this project's own chat template says which of its text is learnt; of others TRL knows some.
    """
    images = loaded.encoder.images.to_preprocessor_json()
    images.pop("image_processor_type")
    template = loaded.tokenizer.chat_template
    if marks_answers and _CONTENT in template:
        template = template.replace(_CONTENT, _MARKED_CONTENT, 1).replace(_TURN_END, _MARKED_TURN_END)
    else:
        template = template.replace(_TURN_END, _QUIET_TURN_END)
    kind = _Qwen3PictureProcessor if loaded.family.model_type == "qwen3_vl" else _Qwen2PictureProcessor
    return kind(Qwen2VLImageProcessorPil(**images), loaded.tokenizer, template)


class _PictureHalf:
    """Begins a processor with pictures and text alone."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.vision_start_token, self.vision_end_token = "<|vision_start|>", "<|vision_end|>"
        for name in ("image", "video", "vision_start", "vision_end"):
            setattr(self, f"{name}_token_id", tokenizer.convert_tokens_to_ids(getattr(self, f"{name}_token")))
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


class _Qwen3PictureProcessor(_PictureHalf, Qwen3VLProcessor):
    """Qwen3-VL's."""


class _Qwen2PictureProcessor(_PictureHalf, Qwen2_5_VLProcessor):
    """Qwen2.5-VL's."""
