"""Settings of adapter training. Imports nothing heavy: the command line reads its help from here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from vlm_agent.actions.parts import Part
from vlm_agent.actions.spec import EventName
from vlm_agent.errors import ConfigError

PassLayout = Literal["rows", "packed", "shared", "conversation"]
"""How the windows of a pass are laid out (see `batches.lay_out`)."""
Layout = Literal["rows", "packed", "shared", "conversation", "auto"]
"""A layout, or the one that takes the least arithmetic (see `layouts.pick_layout`)."""
Weighing = Literal["tokens", "windows"]
"""What counts the same in the loss."""
WINDOW_KINDS = ("idle", "moves")
"""Windows that can be weighed: without an action, and of mostly moves."""
STAGES = ("moves", "clicks")
"""Windows that can be drawn before all others."""
COLOURS = ("brightness", "contrast", "saturation")
"""What can be changed of a picture's colours."""
MOST_CROP = 0.2
"""More cut off a screen would often lose what is to be clicked."""
EngineName = Literal["hf", "unsloth", "trl"]
"""What trains (see `engines`)."""
Engine = Literal["hf", "unsloth", "trl", "auto"]
"""An engine, or the quickest that is there."""
OptimizerName = Literal["adamw", "adamw-8bit", "paged-adamw-8bit"]
"""How steps are taken (see `optimizers`)."""
Recompute = Literal["auto", "on", "off"]
"""Whether layers are run again in the backward pass (see `recomputing`)."""


@dataclass(frozen=True)
class LoraSettings:
    """Size and place of the adapter: all linear layers of the language part, and of the vision tower if asked."""

    rank: int = 16
    """Rank of the two factors."""
    alpha: int = 16
    """Their product is scaled by alpha / rank."""
    dropout: float = 0.05
    """Share of an adapter's inputs that is dropped in training."""
    vision: bool = False
    """Whether the vision tower is trained too. Features of pictures can then not be kept, the tower runs backwards as
    well, and servers such as vLLM leave that part of the adapter out."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an adapter that can't be made."""
        if self.rank < 1 or self.alpha < 1:
            raise ConfigError(f"--train.lora.rank and .alpha must be at least 1, got {self.rank} and {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"--train.lora.dropout must be in [0, 1), got {self.dropout}")


@dataclass(frozen=True)
class EvaluationSettings:
    """When the loss on unseen sessions is measured, and when training stops for it."""

    every_steps: int = 50
    """Measure every so many steps, and at the end; 0 never measures."""
    patience: int = 4
    """Stop after so many measurements without a new best; 0 never stops."""
    max_windows: int = 512
    """Measure on so many windows at most, spread evenly over the validation sessions."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a negative count."""
        if min(self.every_steps, self.patience) < 0 or self.max_windows < 1:
            raise ConfigError("--train.evaluation.every-steps and .patience must be 0 or more, .max-windows 1 or more")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained."""

    engine: Engine = "auto"
    """What trains. `hf`: this project's loop over transformers, peft and bitsandbytes. `unsloth`: the same loop over a
    model that Unsloth loads and adapts; needs a CUDA card and the extra `gpu`. `trl`: TRL's SFTTrainer as it is, to be
    compared with. `auto`: `unsloth` where it can be had, else `hf`."""
    full: bool = False
    """Train all language weights instead of an adapter, and with `lora.vision` the vision tower; writes a whole
    checkpoint. Needs `--quantization none`."""
    recompute: Recompute = "auto"
    """Whether layers are run again in the backward pass instead of keeping what they computed: a third more arithmetic,
    and a fraction of the memory. `auto`: on a CUDA card whose memory would not do otherwise."""
    optimizer: OptimizerName = "adamw"
    """AdamW with its averages in 32 bits, or in 8; `paged` ones move to the CPU when a card is full."""
    shard: bool = False
    """Part the weights among processes (FSDP2) where they don't fit one card; needs `--quantization none`, a start by
    `torchrun`, and the engine `hf`."""

    lora: LoraSettings = field(default_factory=LoraSettings)
    """Size of the adapter."""
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    """Measuring and early stopping."""
    layout: Layout = "auto"
    """How the windows of a pass are laid out. `rows`: each alone, padded to the longest. `packed`: side by side in one
    sequence, none seeing another. `shared`: the same with what they have in common (instructions, picture, game state)
    computed once. Losses and gradients are equal. `conversation`: windows that follow one another as one
    conversation, where the recipe says so (--recipe.conversation-turns). `auto`: the one with the least arithmetic."""
    batch_windows: int = 2
    """Windows in one forward and backward pass; not used with `batch_tokens`."""
    batch_tokens: int | None = None
    """Tokens in one forward and backward pass at most, so that each takes about the same memory; by default
    `batch_windows` decides."""
    weigh: Weighing = "tokens"
    """What counts the same in the loss: every token of an answer, or every window. An empty answer has a few tokens, a
    busy one over a hundred: by tokens, little is learnt about when to do nothing."""
    accumulation: int = 4
    """Passes in one optimizer step."""
    step_weight: float = 1.0
    """How much a token of a step's name counts, in tokens of actions. A step is named in a few tokens, actions in some
    dozens, most of which are easy: at 1 what is learnt about steps is little."""
    field_weights: tuple[str, ...] | None = None
    """How much tokens count by what they are about, as `dt=0.5 x=2 y=2`: event, dt, x, y, dy, button, key, state, stop,
    structure, step. What is not named counts 1."""
    event_weights: tuple[str, ...] | None = None
    """How much the tokens of an action count by its event, as `MOVE=0.3 CLICK=2`; recordings are full of moves, and
    presses decide. What is not named counts 1."""
    soft_points: float | None = None
    """Width of the targets of x and y, thousandths of the frame: a digit's target is what a normal distribution of this
    width around the true place says of it, so that a near miss costs less than a far one. By default the true digits
    alone are learnt."""
    soft_dt_ms: float | None = None
    """The same for times, milliseconds."""
    pinball_weight: float | None = None
    """How much the quantile loss (q10, q50, q90) of a time counts beside the cross entropy of its digits, 100 ms of it
    as much as a nat. By default not at all."""
    gaussian_weight: float | None = None
    """How much the Gaussian negative log likelihood of an x or y counts beside the cross entropy of its digits. By
    default not at all."""
    window_weights: tuple[str, ...] | None = None
    """How much windows without an action, and windows of mostly moves, count in the loss, as `idle=0.3 moves=0.5`. What
    is not named counts 1. Unlike `keep_idle` it leaves none out."""
    curriculum: tuple[str, ...] | None = None
    """Up to which share of the run only easy windows are drawn, as `moves=0.2 clicks=0.5`: first those in which nothing
    but a move is done, then those with clicks too, then all. By default all from the start."""
    jitter: tuple[str, ...] | None = None
    """By how much training pictures change in colour at most, as `brightness=0.1 contrast=0.1 saturation=0.1`; every
    picture differently in every epoch. By default not at all."""
    crop: float | None = None
    """Share of a training picture's width and height that is cut off its edges at most, as 0.04; all that is said in
    coordinates moves along. Every picture differently in every epoch. By default nothing is cut off."""
    learning_rate: float = 2e-4
    """Highest learning rate; it falls as a half cosine to a tenth."""
    warmup_fraction: float = 0.05
    """Share of all steps over which the rate rises from 0."""
    epochs: float = 3.0
    """Passes over the training windows."""
    max_steps: int | None = None
    """Stop after so many steps even if epochs are left; the schedule is laid over them."""
    max_sessions: int | None = None
    """Learn from so many of the training sessions at most, drawn by `sessions_seed`; more of them hold fewer of them.
    The recipe (picture size, names of steps) is still that of all."""
    sessions_seed: int | None = None
    """Decides which sessions; by default `seed`."""
    keep_idle: float = 1.0
    """Share of the moments without a press that are kept. Recordings are mostly waiting, and a small model that sees
    them all learns to wait; 1 keeps every moment. Where steps are named it decides how many moments are drawn, and
    `balance_steps` how many of them are waiting."""
    hide_recent: float = 0.0
    """Share of the moments whose recent actions are hidden in training, so that the model learns to look at the game
    and not only to go on with what it did last."""
    hide_answers: float | None = None
    """Share of the earlier answers of a conversation that are hidden from the turns after them, so that the model
    learns to look and not only to go on; each is learnt all the same. By default 0.3 where there are conversations."""
    balance_steps: float = 0.5
    """How far rare steps catch up with common ones where the model learns to name the next step, and moments of a press
    with those of waiting: 0 shows each as often as it was recorded, 1 all equally often."""
    step_draws: float = 1.0
    """Moments whose step is learnt for each moment whose actions are. Which step comes next may hang on rare states,
    where actions are soon learnt; and a step named from the state's text alone costs a third of a window's actions."""
    snap_clicks: int = 0
    """A click at most so far along each axis, in thousandths of the frame, from a place that the game-state text names
    is learnt as that place; 0 keeps clicks where they were. The agent then clicks where things are said to be instead
    of spreading its clicks over them as a hand does."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    save_every_steps: int = 50
    """Write a checkpoint to resume from every so many steps; a kill loses at most that."""
    keep_adapters_every_steps: int | None = None
    """Keep the adapter as it is after every so many steps in the run's `adapters/`, ready to play; by default none is
    kept but the result."""
    seed: int = 0
    """Draws the adapter's start, the order of windows and the dropout."""
    feature_cache_mb: int | None = None
    """Memory for vision features that are reused between epochs; by default 1024 on a CPU and 0 on a GPU."""
    picture_threads: int = 2
    """Threads that read the pictures of the next step while this one is computed."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a value out of range, naming its flag."""
        for name, names in (
            ("engine", Engine),
            ("layout", Layout),
            ("optimizer", OptimizerName),
            ("recompute", Recompute),
        ):
            _check(name, getattr(self, name) in get_args(names), " or ".join(get_args(names)), getattr(self, name))
        if self.engine != "hf" and self.engine != "auto" and (self.full or self.shard):
            flag = "--train.full" if self.full else "--train.shard"
            raise ConfigError(f"{flag} needs --train.engine hf, got {self.engine}")
        for name in ("batch_windows", "accumulation", "save_every_steps", "picture_threads"):
            _check(name, getattr(self, name) >= 1, "at least 1", getattr(self, name))
        for name in ("learning_rate", "epochs", "max_grad_norm", "step_weight", "step_draws"):
            _check(name, getattr(self, name) > 0, "above 0", getattr(self, name))
        for read in (self.read_field_weights, self.read_event_weights, self.read_window_weights):
            read()
        self.read_curriculum()
        self.read_jitter()
        for name in ("soft_points", "soft_dt_ms", "pinball_weight", "gaussian_weight"):
            value = getattr(self, name) or 0.0
            _check(name, 0 <= value < math.inf, "0 or more", value)
        _check("crop", 0 <= (self.crop or 0) <= MOST_CROP, f"in [0, {MOST_CROP}]", self.crop)
        for name in ("keep_idle", "hide_recent", "balance_steps", "hide_answers"):
            _check(name, 0 <= (getattr(self, name) or 0) <= 1, "in [0, 1]", getattr(self, name))
        _check("snap_clicks", self.snap_clicks >= 0, "0 or more", self.snap_clicks)
        _check("warmup_fraction", 0 <= self.warmup_fraction < 1, "in [0, 1)", self.warmup_fraction)
        for name in ("max_steps", "max_sessions", "keep_adapters_every_steps", "batch_tokens"):
            _check(name, getattr(self, name) is None or getattr(self, name) >= 1, "at least 1", getattr(self, name))
        _check("feature_cache_mb", (self.feature_cache_mb or 0) >= 0, "0 or more", self.feature_cache_mb)

    def check_base(self, quantization: str, *, has_adapter: bool) -> None:
        """Raise ConfigError where a model that is loaded in that way can't be trained as asked."""
        for flag, is_given in (("--train.full", self.full), ("--train.shard", self.shard)):
            if is_given and quantization != "none":
                raise ConfigError(
                    f"{flag} needs --quantization none: weights in 4 bits can be neither trained nor parted"
                )
        if self.full and has_adapter:
            raise ConfigError("--train.full starts from a whole model, got an adapter; give its base as --model")

    def read_field_weights(self) -> dict[str, float]:
        """Return `field_weights` by field; raises ConfigError for an unknown one."""
        return _read_weights("--train.field-weights", self.field_weights, [str(part) for part in Part])

    def read_event_weights(self) -> dict[str, float]:
        """Return `event_weights` by event; raises ConfigError for an unknown one."""
        return _read_weights("--train.event-weights", self.event_weights, get_args(EventName))

    def read_window_weights(self) -> dict[str, float]:
        """Return `window_weights` by kind of window; raises ConfigError for an unknown one."""
        return _read_weights("--train.window-weights", self.window_weights, WINDOW_KINDS)

    def read_curriculum(self) -> tuple[float, float]:
        """Return the shares of the run at which clicks, and all windows, join; raises ConfigError for others."""
        until = _read_weights("--train.curriculum", self.curriculum, STAGES)
        moves = until.get("moves", 0.0)
        clicks = max(moves, until.get("clicks", moves))
        is_right = clicks <= 1 and until.get("clicks", 1.0) >= moves
        _check("curriculum", is_right, "shares up to 1, moves before clicks", " ".join(self.curriculum or ()))
        return moves, clicks

    def read_jitter(self) -> dict[str, float]:
        """Return `jitter` by what changes; raises ConfigError for something else."""
        shares = _read_weights("--train.jitter", self.jitter, COLOURS)
        for name, share in shares.items():
            _check("jitter", share < 1, f"below 1 for {name}", share)
        return shares

    @property
    def changes_pictures(self) -> bool:
        """Whether pictures of training differ from epoch to epoch."""
        return bool(self.jitter or self.crop)


@dataclass(frozen=True)
class RecipeSettings:
    """How windows are shown to the model; fixed in the adapter's recipe."""

    codec: str = "json"
    """How actions are written: `json` or `line`."""
    image_max_tokens: int = 768
    """Pictures are made smaller until they take no more tokens, but not smaller than the model's own processor makes
    them, for whoever serves the model by that would enlarge them again: 64 tokens for Qwen3-VL, 4 for Qwen2.5-VL."""
    history_ticks: int = 10
    """How many horizons of recent actions are shown."""
    state_text_max_chars: int = 700
    """Longest game-state text; 0 shows none."""
    names_steps: bool = False
    """Whether the model answers a long goal in two turns: it names the next step, one of the dataset's short goals, and
    then acts on that. Needs windows with both goals."""

    steps_from_state: bool = False
    """Whether the step is named from the game state's text alone, without picture and recent actions. It takes a third
    of the tokens, and is right where the state tells all that decides."""
    history_frames: int = 1
    """How many pictures are shown: the present one, and those of the decisions before it."""
    conversation_turns: int = 1
    """Most turns of a conversation: the goal once, then picture, game state and answer in turn, so that the model sees
    its earlier pictures and answers. 1 asks every window alone, with its recent actions as text. A pass holds at least
    one conversation: the system text, and n times a picture, a game state and an answer."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an empty picture, steps named from nothing, or an earlier picture shown twice."""
        if min(self.history_frames, self.conversation_turns) < 1:
            got = f"{self.history_frames} and {self.conversation_turns}"
            raise ConfigError(f"--recipe.history-frames and .conversation-turns must be at least 1, got {got}")
        if self.conversation_turns > 1 and (self.history_frames > 1 or self.names_steps):
            raise ConfigError("--recipe.conversation-turns goes with neither --recipe.history-frames nor .names-steps")
        if self.steps_from_state and not (self.names_steps and self.state_text_max_chars):
            raise ConfigError("--recipe.steps-from-state needs --recipe.names-steps and a game-state text")
        if self.image_max_tokens < 1:
            raise ConfigError(f"--recipe.image-max-tokens must be at least 1, got {self.image_max_tokens}")

    def list_notes(self, min_image_tokens: int) -> list[str]:
        """Return what of it is not done as asked for a model whose pictures take at least so many tokens."""
        if self.image_max_tokens >= min_image_tokens:
            return []
        return [
            f"--recipe.image-max-tokens {self.image_max_tokens}: pictures take at least {min_image_tokens} tokens, the"
            " fewest of this model's processor, which would enlarge smaller ones"
        ]


def _check(name: str, is_right: bool, want: str, got: object) -> None:
    if not is_right:
        raise ConfigError(f"--train.{name.replace('_', '-')} must be {want}, got {got}")


def _read_weights(flag: str, written: Iterable[str] | None, names: Sequence[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for text in written or ():
        name, _, number = text.partition("=")
        if name not in names or name in weights:
            raise ConfigError(
                f"{flag}: expected {names[0]}=2 or the like, each of {', '.join(names)} once, got {text!r}"
            )
        try:
            weights[name] = float(number)
        except ValueError as error:
            raise ConfigError(f"{flag}: expected a number behind {name}=, got {number!r}") from error
        # At 0 a step could hold nothing to be learnt.
        _check(flag.removeprefix("--train."), 0 < weights[name] < math.inf, f"above 0 for {name}", number)
    return weights
