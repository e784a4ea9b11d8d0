"""The one function that renders a prompt, and the one that renders an answer.

Dataset building, training and play all call `render_prompt`; nobody else writes a message. The order is fixed: the
system text (task and action table), then one user turn with the picture first and the goal last, so that windows over
the same frame share everything up to the goal. In conversations the goal ends the system text, and then pictures with
their game states and answers take turns. Messages hold text and bare `{"type": "image"}` blocks; the pictures travel
beside them in the same order. A block never carries an `image` key: Arrow would add `image: None` to its neighbours,
and Qwen's chat template then renders their text as another picture.
This module does not know tokenizers, models, or where a window came from.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.schema import action_table
from vlm_agent.actions.space import CoordinateSpace
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import Action, ActionChunk, Click, Key, Move, Scroll
from vlm_agent.errors import ConfigError
from vlm_agent.regular_files import read_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    RgbFrame = npt.NDArray[np.uint8]
    """A picture of shape (height, width, 3), RGB."""

Message = dict[str, Any]
"""One chat message: `role`, and `content` as a list of text and image blocks."""

CoordinateConvention = Literal["thousand", "pixels"]
"""How a model writes a point: thousandths of the frame (Qwen3-VL) or pixels of the resized picture (Qwen2.5-VL)."""

MOST_GAP_TICKS = 2
"""Decisions so many horizons apart still follow each other: a tick may give no window, and a slow answer costs one."""

HIDDEN_ANSWER = ""
"""Stands for an earlier answer that is not shown, or that came to nothing."""

THOUSAND = 1000
"""Extent of both axes under the `thousand` convention."""

_PROMPT_FOLDERS = (Path(__file__).parent.parent / "prompts", Path(__file__).parent / "_prompts")
"""A checkout keeps prompts beside the package, a wheel bundles them inside it."""


@dataclass(frozen=True)
class PromptTemplate:
    """A plain text with `${name}` placeholders."""

    text: str
    """The text as it lies on disk, without the last line break."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a placeholder that can't be read."""
        if not string.Template(self.text).is_valid():
            raise ConfigError("prompt text has a '$' that starts no ${name} placeholder; write '$$' for a dollar sign")

    @property
    def sha256(self) -> str:
        """Fingerprint of the text; an adapter carries it."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the placeholders, in the order of their first use."""
        return tuple(string.Template(self.text).get_identifiers())

    def render(self, **values: str | int) -> str:
        """Return the text with every placeholder filled.

        Raises:
            ConfigError: a placeholder is missing a value, or a value has no placeholder.
        """
        if set(values) != set(self.variables):
            raise ConfigError(f"prompt takes {sorted(self.variables)}, got {sorted(values)}")
        return string.Template(self.text).substitute(values)


def load_prompt(name: str) -> PromptTemplate:
    """Return the prompt of that name from `prompts/` beside the checkout, or from the wheel's copy.

    Raises:
        ConfigError: there is no such prompt, or its placeholders can't be read.
    """
    for folder in _PROMPT_FOLDERS:
        path = folder / f"{name}.txt"
        if path.is_file():
            return PromptTemplate(_read_prompt(path))
    raise ConfigError(f"no prompt {name!r}: expected {name}.txt in {' or '.join(map(str, _PROMPT_FOLDERS))}")


_MOST = {
    **dict.fromkeys(("image_width_px", "image_height_px"), 8192),
    **dict.fromkeys(("history_ticks", "max_recent_actions", "conversation_turns"), 1024),
    "history_frames": 64,
    "state_text_max_chars": 1_000_000,
}
_MOST_OF_SPEC = {
    **dict.fromkeys(("extent_width", "extent_height", "max_offset"), 65_536),
    **dict.fromkeys(("max_actions", "max_scroll"), 1024),
    "horizon_ms": 600_000,
}
"""What a recipe may ask for; an adapter of a stranger brings one along, and memory and time are taken by it."""
_MOST_TEXTS, _MOST_TEXT_CHARS = 10_000, 1_000_000


def _read_prompt(path: Path) -> str:
    try:
        return read_text(path, _MOST_TEXT_CHARS).rstrip("\n")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: can't be read ({error})") from error


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a window becomes text for one model; an adapter carries it."""

    system: PromptTemplate
    """System text; takes `horizon_ms` and `action_table`, in conversations `goal` too."""
    turn: PromptTemplate
    """Text of the user turn after the pictures; takes `state`, `recent` and `goal`, which must come last; in
    conversations `state` alone."""
    spec: ActionSpec
    """What the game allows, over the extent in which the model writes points."""
    codec: str
    """Name of the action codec, `json` or `line`."""
    image_width_px: int
    """Width that every frame is resized to."""
    image_height_px: int
    """Height that every frame is resized to."""
    coordinates: CoordinateConvention = "thousand"
    """How the model writes a point."""
    history_ticks: int = 10
    """How many horizons of recent actions are shown."""
    max_recent_actions: int = 8
    """Most recent actions shown; the oldest are left out."""
    state_text_max_chars: int = 700
    """Cap of the game-state text; 0 shows none."""
    step: PromptTemplate = field(default_factory=lambda: load_prompt("act_step"))
    """What stands in the goal's place where the next step is asked for; takes `goal`."""
    long_goals: tuple[str, ...] = ()
    """Goals for which the model first names the next step and then acts on that; for all others it acts at once."""
    steps: tuple[str, ...] = ()
    """The short goals that a step may be."""
    steps_from_state: bool = False
    """Whether the next step is asked for over the game state's text alone."""
    history_frames: int = 1
    """How many pictures are shown: the present one, and those of the decisions before it."""
    conversation_turns: int = 1
    """Most turns of a conversation, in which the model sees its earlier pictures and answers; at 1 every window is
    asked alone."""

    def __post_init__(self) -> None:
        """Raise ConfigError where a size is out of bounds, or extent, picture size or placeholders don't agree."""
        self._check_sizes()
        if min(self.image_width_px, self.image_height_px) < 1:
            raise ConfigError(f"image size must be at least 1x1, got {self.image_width_px}x{self.image_height_px}")
        want = self._extent()
        if (self.spec.extent_width, self.spec.extent_height) != want:
            got = f"{self.spec.extent_width}x{self.spec.extent_height}"
            raise ConfigError(f"{self.coordinates} coordinates need a spec over {want[0]}x{want[1]}, got {got}")
        if min(self.history_ticks, self.max_recent_actions, self.state_text_max_chars) < 0:
            raise ConfigError("history_ticks, max_recent_actions and state_text_max_chars must not be negative")
        if min(self.history_frames, self.conversation_turns) < 1:
            got = f"{self.history_frames} and {self.conversation_turns}"
            raise ConfigError(f"history_frames and conversation_turns must be at least 1, got {got}")
        if self.is_conversation:
            self._check_conversation()
        elif self.turn.variables[-1:] != ("goal",):
            raise ConfigError("the goal must come last in the turn prompt, so that windows of one frame share a prefix")

    @property
    def is_conversation(self) -> bool:
        """Whether the model sees its earlier turns."""
        return self.conversation_turns > 1

    @property
    def most_earlier(self) -> int:
        """How many decisions before the present one may be shown."""
        return max(self.history_frames, self.conversation_turns) - 1

    @property
    def most_gap_ms(self) -> int:
        """How far apart two decisions may lie for the later one to follow the earlier, milliseconds."""
        return MOST_GAP_TICKS * self.spec.horizon_ms

    def count_earlier(self, number: int) -> int:
        """Return how many earlier decisions are shown with the one of that number (from 0) in an unbroken run.

        A picture history slides. A conversation grows turn by turn, so that all of it but the newest turn is in the
        model's cache; when it is full, half of its turns are let go at once.
        """
        if not self.is_conversation or number < self.conversation_turns:
            return min(number, self.most_earlier)
        kept = self.conversation_turns // 2
        return kept + (number - self.conversation_turns) % (self.conversation_turns - kept)

    @property
    def history_ms(self) -> int:
        """Reach of the recent actions before the window's start, milliseconds."""
        return self.history_ticks * self.spec.horizon_ms

    def space(self, frame_width_px: int, frame_height_px: int) -> CoordinateSpace:
        """Return the geometry between a captured frame of that size and this model."""
        return CoordinateSpace(frame_width_px, frame_height_px, self.spec.extent_width, self.spec.extent_height)

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form that adapters and runs store, prompt texts and fingerprints included."""
        texts = {
            name: {"text": prompt.text, "sha256": prompt.sha256}
            for name, prompt in (("system", self.system), ("turn", self.turn), ("step", self.step))
        }
        # What came later is left out where it changes nothing: a recipe from before it stays the same recipe.
        plain = {name for name in ("history_frames", "conversation_turns") if getattr(self, name) == 1}
        fields = {name: value for name, value in asdict(self).items() if name not in plain}
        return {**fields, **texts, "spec": self.spec.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Recipe:
        """Rebuild a recipe from `to_json`.

        Raises:
            ConfigError: a field is unknown or missing, or a prompt text no longer has the fingerprint stored with it.
        """
        try:
            if not all(isinstance(value[name], list | tuple) for name in ("long_goals", "steps")):
                raise ConfigError("recipe: long_goals and steps must be lists")
            prompts = {name: PromptTemplate(value[name]["text"]) for name in ("system", "turn", "step")}
            for name, prompt in prompts.items():
                if prompt.sha256 != value[name]["sha256"]:
                    raise ConfigError(f"recipe: the {name} prompt was changed after its sha256 was written")
            texts = {name: tuple(value[name]) for name in ("long_goals", "steps")}
            return cls(**{**value, **prompts, **texts, "spec": ActionSpec.from_json(value["spec"])})
        except (TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"not a recipe: {error}") from error

    def _check_sizes(self) -> None:
        sizes = {name: (getattr(self, name), most) for name, most in _MOST.items()}
        sizes |= {f"spec.{name}": (getattr(self.spec, name), most) for name, most in _MOST_OF_SPEC.items()}
        for name, (value, most) in sizes.items():
            if not isinstance(value, Integral) or isinstance(value, bool) or int(value) > most:
                raise ConfigError(f"recipe: {name} must be a whole number up to {most}, got {value!r:.40}")
        if not isinstance(self.codec, str) or self.coordinates not in get_args(CoordinateConvention):
            raise ConfigError(f"recipe: no such codec or coordinates: {self.codec!r:.40}, {self.coordinates!r:.40}")
        texts = (*self.long_goals, *self.steps, *(prompt.text for prompt in (self.system, self.turn, self.step)))
        if not all(isinstance(text, str) for text in texts):
            raise ConfigError("recipe: goals, steps and prompts must be texts")
        if len(texts) > _MOST_TEXTS or sum(map(len, texts)) > _MOST_TEXT_CHARS:
            raise ConfigError(f"recipe: more than {_MOST_TEXTS} goals and steps, or {_MOST_TEXT_CHARS} characters")
        if self.long_goals and not self.steps:
            raise ConfigError("recipe: names goals that are reached in steps, but no steps")

    def _check_conversation(self) -> None:
        if "goal" not in self.system.variables or self.turn.variables != ("state",):
            raise ConfigError("in conversations the system prompt must take the goal, and a turn the state alone")
        if self.history_frames > 1 or self.long_goals:
            raise ConfigError("a conversation has one picture a turn and names no steps")

    def _extent(self) -> tuple[int, int]:
        if self.coordinates == "thousand":
            return (THOUSAND, THOUSAND)
        return (self.image_width_px, self.image_height_px)


def make_recipe(
    spec: ActionSpec,
    *,
    image_width_px: int,
    image_height_px: int,
    codec: str = "json",
    coordinates: CoordinateConvention = "thousand",
    history_ticks: int = 10,
    state_text_max_chars: int = 700,
) -> Recipe:
    """Build the recipe of the current prompts for a game's spec (over any extent) and a model's picture size."""
    extent = (THOUSAND, THOUSAND) if coordinates == "thousand" else (image_width_px, image_height_px)
    return Recipe(
        system=load_prompt("act"),
        turn=load_prompt("act_turn"),
        spec=spec.with_extent(*extent),
        codec=codec,
        image_width_px=image_width_px,
        image_height_px=image_height_px,
        coordinates=coordinates,
        history_ticks=history_ticks,
        state_text_max_chars=state_text_max_chars,
    )


def make_conversational(recipe: Recipe, turns: int) -> Recipe:
    """Return a recipe whose prompts are conversations of at most so many turns, 2 or more."""
    system, turn = load_prompt("converse"), load_prompt("converse_turn")
    return replace(recipe, system=system, turn=turn, conversation_turns=turns)


@dataclass(frozen=True)
class Turn:
    """An earlier turn of a conversation."""

    frame: RgbFrame
    """The captured picture."""
    state_text: str = ""
    """Game state then as compact text."""
    answer: str = HIDDEN_ANSWER
    """What was answered, as the recipe's codec writes it."""


@dataclass(frozen=True)
class PromptInput:
    """What a policy sees at one decision time."""

    frames: tuple[RgbFrame, ...]
    """Captured pictures, oldest first; each becomes one image block."""
    goal: str
    """The instruction to follow."""
    state_text: str = ""
    """Game state as compact text, already capped; empty where there is none."""
    recent: tuple[tuple[int, Action], ...] = ()
    """Recent actions in model units, oldest first, each with its age in milliseconds before now."""
    earlier: tuple[Turn, ...] = ()
    """Earlier turns of the conversation, oldest first."""

    @property
    def pictures(self) -> tuple[RgbFrame, ...]:
        """All pictures of the prompt, in the order of their blocks."""
        return (*(turn.frame for turn in self.earlier), *self.frames)


@dataclass(frozen=True)
class Shot:
    """A worked example that stands before the question."""

    inp: PromptInput
    """What was asked; its pictures are not shown."""
    answer: str
    """What the answer was."""


def render_prompt(inp: PromptInput, recipe: Recipe, shots: Sequence[Shot] = ()) -> list[Message]:
    """Return the messages that ask for one window's actions: system, then user with pictures first and the goal last.

    Empty blocks leave no line behind. Text from outside (goal, game state) can't open a special token. Worked examples
    come between, each a turn of the user and one of the model, and after them the earlier turns of a conversation.
    """
    table = action_table(recipe.spec, make_codec(recipe.codec))
    about_goal = {"goal": _render_goal(inp)} if recipe.is_conversation else {}
    system = recipe.system.render(horizon_ms=recipe.spec.horizon_ms, action_table=table, **about_goal)
    shown = [(replace(shot.inp, frames=()), shot.answer) for shot in shots]
    shown += [(PromptInput((turn.frame,), inp.goal, turn.state_text), turn.answer) for turn in inp.earlier]
    messages: list[Message] = [{"role": "system", "content": [_text_block(system)]}]
    for asked, answer in shown:
        messages += [_ask(asked, recipe), {"role": "assistant", "content": [_text_block(answer)]}]
    return [*messages, _ask(inp, recipe)]


def _ask(inp: PromptInput, recipe: Recipe) -> Message:
    pictures = ({"type": "image"} for _ in inp.frames)
    return {"role": "user", "content": [*pictures, _text_block(_render_turn(inp, recipe))]}


def _render_turn(inp: PromptInput, recipe: Recipe) -> str:
    state = _defuse(inp.state_text.strip())
    if recipe.is_conversation:
        turn = recipe.turn.render(state=state)
    else:
        turn = recipe.turn.render(state=state, recent=render_recent(inp.recent, recipe), goal=_render_goal(inp))
    return "\n".join(line for line in turn.split("\n") if line.strip())


def _render_goal(inp: PromptInput) -> str:
    return _defuse(" ".join(inp.goal.split()))


def render_step_prompt(inp: PromptInput, recipe: Recipe, shots: Sequence[Shot] = ()) -> list[Message]:
    """Return the messages that ask for the next step towards a long goal; the answer is one of the recipe's `steps`.

    Only the goal's words differ from what asks for actions. Where the recipe asks over the game state's text alone,
    that text and the goal are all there is: no picture, no recent actions, and no system text, which is about actions.
    """

    def ask(inp: PromptInput) -> PromptInput:
        asked = replace(inp, goal=recipe.step.render(goal=inp.goal))
        return replace(asked, frames=(), recent=()) if recipe.steps_from_state else asked

    messages = render_prompt(ask(inp), recipe, [replace(shot, inp=ask(shot.inp)) for shot in shots])
    return messages[1:] if recipe.steps_from_state else messages


def render_answer(chunk: ActionChunk, recipe: Recipe) -> str:
    """Return the text a model should write for a chunk in model units.

    Raises:
        InvalidActionError: the chunk is not allowed by the recipe's spec.
    """
    return make_codec(recipe.codec).encode(chunk, recipe.spec)


def render_recent(recent: Sequence[tuple[int, Action]], recipe: Recipe) -> str:
    """Return recent actions as one line, oldest first, e.g. `Recent: -420 CLICK 512,430 left; -60 KEY space`.

    Actions older than the recipe's history are left out, then the oldest beyond `max_recent_actions`. Times are
    milliseconds before now, in the spec's time unit. No action gives an empty text.
    """
    unit = recipe.spec.time_unit_ms
    shown = [(age_ms, action) for age_ms, action in recent if 0 <= age_ms <= recipe.history_ms]
    shown = shown[len(shown) - min(len(shown), recipe.max_recent_actions) :]
    if not shown:
        return ""
    return "Recent: " + "; ".join(f"-{age_ms // unit * unit} {describe_action(action)}" for age_ms, action in shown)


def describe_action(action: Action) -> str:
    """Return an action as compact words without its time, e.g. `CLICK 512,430 left`."""
    match action:
        case Click(x=x, y=y, button=button, state=state):
            words = f"CLICK {x},{y} {button}"
        case Key(key=key, state=state):
            words = f"KEY {_defuse(key)}"
        case Scroll(x=x, y=y, dy=dy):
            return f"SCROLL {x},{y} {dy}"
        case Move(x=x, y=y):
            return f"MOVE {x},{y}"
    return words if state is None else f"{words} {state}"


def _text_block(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def _defuse(text: str) -> str:
    # "<|image_pad|>" in a chat line of a game would be tokenized as a picture that isn't there.
    return text.replace("<|", "< |")
