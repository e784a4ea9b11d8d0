"""From windows of a dataset to examples for one model: rendered by the recipe, tokenized once.

Nothing about prompts is decided here: messages and answers come from `chat`, ids from the model's encoder, sizes and
coordinates from the recipe.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np

from vlm_agent.actions.automaton import ActionAutomaton
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import Action, ActionChunk, Click
from vlm_agent.chat import (
    Message,
    Recipe,
    make_conversational,
    make_recipe,
    render_answer,
    render_prompt,
    render_step_prompt,
)
from vlm_agent.dataset.histories import Histories
from vlm_agent.dataset.pictures import frame_path, read_jpeg
from vlm_agent.dataset.store import Dataset, check_same_spec
from vlm_agent.dataset.windows import Window, prompt_input, state_text, target_chunk
from vlm_agent.errors import DataError
from vlm_agent.models.encoding import ChatEncoder, PlainTokenizer
from vlm_agent.models.images import RgbFrame, resize_frame
from vlm_agent.models.loading import Family
from vlm_agent.training.config import RecipeSettings, TrainConfig, Weighing
from vlm_agent.training.curriculum import ALL, stage_of
from vlm_agent.training.fields import FieldLabeler, TokenWeights
from vlm_agent.training.moments import Moment, moment_of, weigh_window
from vlm_agent.training.numbers import NumberGoals
from vlm_agent.training.rows import Example

TRAIN_SPLIT = "train"
VALIDATION_SPLIT = "validation"

_PLACE = re.compile(r"(?<!mouse )@(\d+),(\d+)")
"""A place in the game-state text (see `dataset.state_text`) other than the pointer's."""

NO_STEPS: Mapping[Moment, str] = MappingProxyType({})
"""Where the model acts at once on every goal."""

UNSEEN_FRAME: RgbFrame = np.zeros((1, 1, 3), np.uint8)
"""Stands for a picture where only its place in the prompt matters."""


class PromptedModel(Protocol):
    """What must be known of a model to speak to it; a `LoadedModel` is one."""

    @property
    def encoder(self) -> ChatEncoder:
        """Its tokenizer and picture grid."""

    @property
    def family(self) -> Family:
        """Its generation."""


def choose_recipe(model: PromptedModel, dataset: Dataset, settings: RecipeSettings) -> Recipe:
    """Return how a model is to be shown a dataset: its own picture size for the commonest frame, its own coordinates.

    Raises:
        DataError: the dataset has no training windows, or not those that the settings need.
        ModelError: a conversation is asked for, and the model's chat template holds none.
    """
    if TRAIN_SPLIT not in dataset.splits:
        raise DataError(f"{dataset.folder}: no windows to train on")
    sizes: Counter[tuple[int, int]] = Counter()
    goals: dict[str, set[str]] = {"long": set(), "short": set()}
    has_states = True
    for window in dataset.windows(TRAIN_SPLIT):
        has_states = has_states and window.state is not None
        sizes[window.frame_width_px, window.frame_height_px] += 1
        goals[window.goal_level].add(window.goal)
    [(frame_size, _)] = sizes.most_common(1)
    width, height = model.encoder.images.fit_size(*frame_size, max_tokens=settings.image_max_tokens)
    recipe = make_recipe(
        dataset.spec,
        image_width_px=width,
        image_height_px=height,
        codec=settings.codec,
        coordinates=model.family.coordinates,
        history_ticks=settings.history_ticks,
        state_text_max_chars=settings.state_text_max_chars,
    )
    recipe = replace(recipe, history_frames=settings.history_frames)
    if settings.conversation_turns > 1:
        model.encoder.check_conversation()
        return make_conversational(recipe, settings.conversation_turns)
    if not settings.names_steps:
        return recipe
    if not all(goals.values()):
        raise DataError(f"{dataset.folder}: --recipe.names-steps needs windows with a long and with a short goal")
    if settings.steps_from_state and not has_states:
        raise DataError(f"{dataset.folder}: --recipe.steps-from-state needs a game state in every window; leave it out")
    return replace(
        recipe,
        long_goals=tuple(sorted(goals["long"])),
        steps=tuple(sorted(goals["short"])),
        steps_from_state=settings.steps_from_state,
    )


def settle_recipe(carried: Recipe | None, model: PromptedModel, dataset: Dataset, settings: RecipeSettings) -> Recipe:
    """Return the recipe that an earlier run brings along, or where there is none the one of the settings.

    Raises:
        DataError: the earlier run was of another action spec; or see `choose_recipe`.
    """
    if carried is None:
        return choose_recipe(model, dataset, settings)
    check_same_spec(dataset.spec, carried.spec, dataset.folder)
    return carried


def encode_windows(
    encoder: ChatEncoder,
    windows: Iterable[Window],
    recipe: Recipe,
    steps: Mapping[Moment, str] = NO_STEPS,
    config: TrainConfig | None = None,
    histories: Histories | None = None,
) -> list[Example]:
    """Tokenize windows; those of a recipe of conversations are for `conversations`.

    Args:
        encoder: the model's.
        windows: what to learn from.
        recipe: how it is shown.
        steps: the step of each moment that has one (see `moments.find_steps`).
        config: gives `snap_clicks`, how much tokens and windows count, what is asked of numbers, and whether there is a
            curriculum; by default clicks stay, and tokens count the same.
        histories: tells which pictures came before; by default none is shown.

    Raises:
        ConfigError: the tokenizer does not write every digit as a token of its own.
    """
    window_encoder = WindowEncoder(encoder, recipe, steps, config, histories)
    return [window_encoder.encode(window, source) for source, window in enumerate(windows)]


class WindowEncoder:
    """Tokenizes windows, one by one; see `encode_windows`."""

    def __init__(
        self,
        encoder: ChatEncoder,
        recipe: Recipe,
        steps: Mapping[Moment, str] = NO_STEPS,
        config: TrainConfig | None = None,
        histories: Histories | None = None,
    ) -> None:
        """Take what `encode_windows` takes, and raise what it raises."""
        self._encoder = encoder
        self._recipe = recipe
        self._steps = steps
        self._config = config = config or TrainConfig()
        self._histories = histories
        self._weights = config.read_window_weights()
        self._labeler = make_labeler(encoder, recipe, config)

    def encode(self, window: Window, source: int = 0) -> Example:
        """Return one window, labeled and weighed; `source` is written down as its place among all."""
        step = self._steps.get(moment_of(window))
        earlier = () if self._histories is None else self._histories.before(window)
        snap = self._config.snap_clicks
        example = encode_window(self._encoder, window, self._recipe, step, snap=snap, earlier=earlier)
        label = self._labeler.label_step if example.is_step else self._labeler.label_actions
        labeled = replace(example, tokens=label(example.encoded.target_ids), source=source)
        if self._config.curriculum:
            labeled = replace(labeled, stage=ALL if example.is_step else stage_of(window))
        if not example.is_step:
            labeled = replace(labeled, weight=weigh_window(window, self._weights))
        return weigh_example(labeled, self._config.weigh)


def make_labeler(encoder: ChatEncoder, recipe: Recipe, config: TrainConfig) -> FieldLabeler:
    """Return what tells the tokens of answers apart, how much they count by the settings, and what numbers are asked.

    Raises:
        ConfigError: the tokenizer does not write every digit as a token of its own.
    """
    weights = TokenWeights(config.step_weight, config.read_field_weights(), config.read_event_weights())
    automaton = ActionAutomaton(recipe.spec, recipe.codec, PlainTokenizer(encoder))
    return FieldLabeler(automaton, weights, NumberGoals.of(config))


def weigh_example(example: Example, weigh: Weighing) -> Example:
    """Return a window whose tokens together count as much as those of any other, or each as much as it does."""
    if weigh == "tokens":
        return example
    return replace(example, weight=example.weight / example.encoded.num_target_tokens)


@dataclass(frozen=True)
class AskedWindow:
    """A window as a conversation."""

    messages: list[Message]
    """The prompt; pictures are places in it."""
    answer: str
    """What is to be said."""
    frame_ids: tuple[str, ...]
    """Identifiers of its pictures, in order."""
    is_step: bool = False
    """Whether the answer names a step; else it is of actions."""


def ask_window(
    window: Window, recipe: Recipe, step: str | None = None, *, snap: int = 0, earlier: Sequence[Window] = ()
) -> AskedWindow:
    """Render one window with its answer; its pictures are not read.

    Where the recipe names steps, the answer to a long goal is the step. `earlier` are the decisions before it that its
    prompt shows, oldest first.
    """
    inp = prompt_input(window, recipe, UNSEEN_FRAME, [(one, UNSEEN_FRAME) for one in earlier])
    keys = (*(one.frame_id for one in earlier), window.frame_id)
    if step is not None and window.goal in recipe.long_goals:
        return AskedWindow(render_step_prompt(inp, recipe), step, () if recipe.steps_from_state else keys, is_step=True)
    return AskedWindow(render_prompt(inp, recipe), write_answer(window, recipe, snap), keys)


def write_answer(window: Window, recipe: Recipe, snap: int) -> str:
    """Return what is to be answered to a window, clicks moved to named places that are near (see `snap_clicks`)."""
    chunk = snap_clicks(target_chunk(window, recipe), state_text(window, recipe), recipe.spec, snap)
    return render_answer(chunk, recipe)


def encode_window(
    encoder: ChatEncoder,
    window: Window,
    recipe: Recipe,
    step: str | None = None,
    *,
    snap: int = 0,
    earlier: Sequence[Window] = (),
) -> Example:
    """Render and tokenize one window with its answer (see `ask_window`)."""
    asked = ask_window(window, recipe, step, snap=snap, earlier=earlier)
    sizes = [(recipe.image_width_px, recipe.image_height_px)] * len(asked.frame_ids)
    encoded = encoder.encode_training(asked.messages, asked.answer, sizes)
    return Example(encoded, asked.frame_ids, is_step=asked.is_step)


def snap_clicks(chunk: ActionChunk, state_text: str, spec: ActionSpec, reach: int) -> ActionChunk:
    """Return the chunk with clicks moved to the nearest place that the game-state text names, where one is near.

    Where on a thing a hand lands is chance, and learning it blurs what can be learnt: to read where the thing is.

    Args:
        chunk: in model units.
        state_text: as the prompt shows it, places as `@x,y` in model units.
        spec: gives the extent of those units.
        reach: farthest way along each axis, thousandths of the extent; 0 moves nothing.
    """
    places = [(int(x), int(y)) for x, y in _PLACE.findall(state_text)] if reach else []
    reach_x, reach_y = reach * spec.extent_width / 1000, reach * spec.extent_height / 1000

    def snap(action: Action) -> Action:
        if not isinstance(action, Click):
            return action
        near = [(x, y) for x, y in places if abs(x - action.x) <= reach_x and abs(y - action.y) <= reach_y]
        if not near:
            return action
        x, y = min(near, key=lambda place: math.hypot(place[0] - action.x, place[1] - action.y))
        return replace(action, x=x, y=y)

    return replace(chunk, actions=tuple(snap(action) for action in chunk.actions))


class FrameLoader:
    """Reads a dataset's pictures by identifier, at the recipe's size."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        """Take the dataset's folder and what to resize to."""
        self._folder = folder
        self._size = (recipe.image_width_px, recipe.image_height_px)

    def __call__(self, frame_id: str) -> RgbFrame:
        """Return the resized picture."""
        return resize_frame(read_jpeg(frame_path(self._folder, frame_id)), *self._size)
