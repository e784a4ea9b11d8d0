"""Policies: from what is seen to what is done.

A policy answers every observation with a `Decision`: either a chunk in pixels of the observed frame, or the reason why
there is none. A failure is a fact of its own: it is never turned into "do nothing" and never into "goal reached".
Policies know neither the environment they act in nor how an episode is recorded (see `rollouts`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.invalid import InvalidActionError
from vlm_agent.actions.random_chunks import draw_chunk
from vlm_agent.actions.space import CoordinateSpace
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import Action, ActionChunk
from vlm_agent.chat import Message, PromptInput, Recipe, make_recipe, render_prompt, render_step_prompt
from vlm_agent.errors import ConfigError, ModelError
from vlm_agent.observations import Memory, Observation, RecentAction, see
from vlm_agent.training.config import RecipeSettings

if TYPE_CHECKING:
    from vlm_agent.decoding.engine import DecodeConfig
    from vlm_agent.models.loading import LoadedModel
    from vlm_agent.models.refusals import Quantization


@dataclass(frozen=True, slots=True)
class Latency:
    """Where the time of one decision went."""

    prepare_ms: float = 0.0
    """Writing the prompts, resizing the picture, tokenizing, and reading the answers."""
    prefill_ms: float = 0.0
    """The pass over picture and prompt, and where a step was named, the one over the other goal."""
    decode_ms: float = 0.0
    """All passes after these."""

    @property
    def total_ms(self) -> float:
        """The whole decision."""
        return self.prepare_ms + self.prefill_ms + self.decode_ms


@dataclass(frozen=True)
class Decision:
    """A chunk, or the reason why there is none; exactly one of the two is set."""

    chunk: ActionChunk | None
    """What to do, in pixels of the observed frame."""
    reason: str | None = None
    """Why there is no chunk: a parse reason (`actions.invalid`), `truncated` or `timeout`."""
    text: str = ""
    """What the model said, as it said it."""
    step: str | None = None
    """The step towards a long goal that the model named first, and acted on."""
    latency: Latency = field(default_factory=Latency)
    """Time spent; real time, whatever the environment's clock."""
    mean_p_allowed: float | None = None
    """Mean probability the model itself gave to the allowed tokens; near 1 once it has learnt the format."""
    num_prompt_tokens: int = 0
    """Length of the prompt, picture included."""
    num_answer_tokens: int = 0
    """Length of the answer, forced tokens included."""

    def __post_init__(self) -> None:
        """Raise ConfigError unless exactly one of chunk and reason is set."""
        if (self.chunk is None) == (self.reason is None):
            raise ConfigError("a decision has either a chunk or a reason for having none")


class Policy(Protocol):
    """Anything that can play."""

    def begin(self, goal: str, spec: ActionSpec, seed: int) -> None:
        """Start an episode: forget the one before. `spec` is in pixels of the frame."""

    def decide(self, observation: Observation) -> Decision:
        """Answer one observation."""


class NoOpPolicy:
    """Does nothing, always: the floor that a score must stand above."""

    def begin(self, goal: str, spec: ActionSpec, seed: int) -> None:
        """There is nothing to remember."""

    def decide(self, observation: Observation) -> Decision:
        """Return the empty chunk."""
        return Decision(ActionChunk())


class RandomPolicy:
    """Presses legal things at random, about as often as a person does."""

    def __init__(self, actions_per_s: float = 1.5) -> None:
        """Set the mean number of actions a second (moves, clicks and keys together)."""
        self._actions_per_s = actions_per_s
        self._spec: ActionSpec | None = None
        self._rng = np.random.default_rng(0)

    def begin(self, goal: str, spec: ActionSpec, seed: int) -> None:
        """Start the episode's own random stream."""
        self._spec = spec
        self._rng = np.random.default_rng(seed)

    def decide(self, observation: Observation) -> Decision:
        """Return a random legal chunk."""
        spec = _begun(self._spec)
        mean = self._actions_per_s * spec.horizon_ms / 1000
        return Decision(draw_chunk(spec, self._rng, int(self._rng.poisson(mean))))


class RepeatLastPolicy:
    """Does once more what it did last; the first chunk is random."""

    def __init__(self) -> None:
        """Nothing to repeat before the first episode begins."""
        self._spec: ActionSpec | None = None
        self._last = ActionChunk()

    def begin(self, goal: str, spec: ActionSpec, seed: int) -> None:
        """Draw the chunk to start from."""
        self._spec = spec
        self._last = draw_chunk(spec, np.random.default_rng(seed), 1)

    def decide(self, observation: Observation) -> Decision:
        """Return the last window's executed actions, or the first chunk where there were none."""
        spec = _begun(self._spec)
        last = [past for past in observation.recent if past.age_ms <= spec.horizon_ms]
        if last:
            self._last = _chunk_of(last, spec)
        return Decision(self._last)


class ReplayPolicy:
    """Plays a recorded list of chunks back, then nothing."""

    def __init__(self, chunks: Iterable[ActionChunk]) -> None:
        """Take the chunks of one episode in order, in frame pixels."""
        self._chunks = tuple(chunks)
        self._next = 0

    def begin(self, goal: str, spec: ActionSpec, seed: int) -> None:
        """Rewind."""
        self._next = 0

    def decide(self, observation: Observation) -> Decision:
        """Return the next recorded chunk."""
        chunk = self._chunks[self._next] if self._next < len(self._chunks) else ActionChunk()
        self._next += 1
        return Decision(chunk)


class ScriptedPolicy:
    """Asks a function; for oracles and tests."""

    def __init__(self, script: Callable[[Observation, ActionSpec], ActionChunk]) -> None:
        """Take the function that turns an observation into a chunk in frame pixels."""
        self._script = script
        self._spec: ActionSpec | None = None

    def begin(self, goal: str, spec: ActionSpec, seed: int) -> None:
        """Remember what is allowed."""
        self._spec = spec

    def decide(self, observation: Observation) -> Decision:
        """Return what the function says."""
        return Decision(self._script(observation, _begun(self._spec)))


def _chunk_of(past: Iterable[RecentAction], spec: ActionSpec) -> ActionChunk:
    """The same actions at the same moments of the coming window."""
    actions: list[Action] = []
    before_ms = 0
    for item in past:
        at_ms = max(spec.horizon_ms - item.age_ms, before_ms) // spec.time_unit_ms * spec.time_unit_ms
        actions.append(replace(item.action, dt_ms=at_ms - before_ms))
        before_ms = at_ms
    return ActionChunk(tuple(actions[: spec.max_actions]))


def _begun(spec: ActionSpec | None) -> ActionSpec:
    if spec is None:
        raise ConfigError("call begin() before decide()")
    return spec


class VlmPolicy:
    """A vision-language model behind the constrained engine.

    It speaks the recipe's prompt (the same code that wrote the training data) and converts between frame pixels and the
    model's units; what the model says is decoded by the codec once more, whatever the engine guarantees. Where the
    recipe shows earlier decisions, it remembers its own; in a conversation the engine then runs the newest turn alone.
    """

    def __init__(
        self, loaded: LoadedModel, recipe: Recipe, config: DecodeConfig | None = None, *, allow_done: bool = True
    ) -> None:
        """Take a model and how to speak to it.

        Args:
            loaded: the model, its adapter in it if it has one.
            recipe: prompt, action spec, codec and picture size.
            config: how answers are written.
            allow_done: whether the model may say that the goal is reached.

        Raises:
            ModelError: it was tuned with other earlier pictures or turns than the recipe shows, or the recipe is a
                conversation and its chat template holds none.
        """
        from vlm_agent.decoding.choices import Phrases
        from vlm_agent.decoding.engine import Engine
        from vlm_agent.decoding.prompts import PictureShelf, make_automaton

        _check_history(loaded, recipe)
        if recipe.is_conversation:
            loaded.encoder.check_conversation()
        self.recipe = recipe
        self.loaded = loaded
        self._engine = Engine(loaded, config)
        self._codec = make_codec(recipe.codec)
        self._automaton = make_automaton(loaded, recipe, allow_done=allow_done)
        self._steps = Phrases(loaded.encoder, recipe.steps)
        # Prompts that begin differently take turns: each kind keeps the start of its own.
        self._namer = Engine(loaded, config) if recipe.steps_from_state else self._engine
        self._generator: Any = None
        self._memory = Memory(recipe)
        self._shelf = PictureShelf(loaded, recipe)

    @classmethod
    def from_run(
        cls,
        name: str | Path,
        spec: ActionSpec,
        *,
        recipe: Recipe | Path | None = None,
        quantization: Quantization = "nf4",
        device: str = "auto",
        config: DecodeConfig | None = None,
        allow_done: bool = True,
    ) -> VlmPolicy:
        """Load a model by name and the recipe that goes with it.

        Args:
            name: `base`, a checkpoint's folder, a run, or an adapter.
            spec: what the environment takes, in frame pixels.
            recipe: how to speak to the model; by default what its adapter carries, or a base model's own. An adapter
                from elsewhere carries none: it takes the run, or the file of a recipe, that says so.
            quantization: precision of a base model; an adapter brings its own.
            device: `cpu`, `cuda`, or `auto`.
            config: how answers are written.
            allow_done: whether the model may say that the goal is reached.

        Raises:
            ModelError: there is no such model, or it can't be used as asked.
        """
        from vlm_agent.models.loading import load_model

        told = recipe if isinstance(recipe, Path) else None
        loaded = load_model(name, quantization=quantization, device=device, recipe=told)
        asked = recipe if isinstance(recipe, Recipe) else find_recipe(loaded, spec)
        return cls(loaded, asked, config, allow_done=allow_done)

    def list_notes(self) -> list[str]:
        """Return what is peculiar about how the model is asked, a sentence each."""
        asked = self.loaded.encoder.list_notes(self.recipe.image_width_px, self.recipe.image_height_px)
        return [*self.loaded.list_notes(), *asked]

    def begin(self, goal: str, spec: ActionSpec, seed: int) -> None:
        """Start an episode with its own stream of chance.

        Raises:
            ConfigError: the environment takes other actions than the model was made for.
        """
        from vlm_agent.decoding.sampling import make_generator

        if spec.with_extent(self.recipe.spec.extent_width, self.recipe.spec.extent_height) != self.recipe.spec:
            raise ConfigError("this model was made for another game's actions: its recipe and the environment differ")
        self._generator = make_generator(seed)
        self._memory.forget()

    def decide(self, observation: Observation) -> Decision:
        """Show the model one observation and return what it says, or why that is not a chunk."""
        began = time.perf_counter()
        space = self._space_of(observation)
        remembers = observation.earlier is None
        if remembers:
            observation = self._memory.recall(observation)
        seen = self.see(observation)
        self._shelf.show(seen.pictures)
        turns, step = [], None
        if seen.goal in self.recipe.long_goals:
            prompt = self._shelf.encode(self.ask_step(seen), with_pictures=not self.recipe.steps_from_state)
            turns.append(self._namer.decode(prompt, self._steps.start(), self._generator))
            step = self._steps.read(turns[0].token_ids) if turns[0].stop is None else None
        if step is not None or not turns:
            prompt = self._shelf.encode(self.ask(seen if step is None else replace(seen, goal=step)))
            turns.append(self._engine.decode(prompt, self._automaton.start(), self._generator))
        answer = turns[-1]
        text = self.loaded.encoder.decode_text(answer.token_ids)
        said, reason = self._read(text, answer.stop)
        chunk = None if said is None else space.chunk_to_frame(said)
        if remembers:
            self._memory.keep(observation, chunk)
        engine_ms = [(turn.prefill_ms, turn.decode_ms) for turn in turns]
        prefill_ms, decode_ms = (sum(times) for times in zip(*engine_ms, strict=True))
        total_ms = (time.perf_counter() - began) * 1000
        return Decision(
            chunk=chunk,
            reason=reason,
            text=text,
            step=step,
            latency=Latency(total_ms - prefill_ms - decode_ms, prefill_ms, decode_ms),
            mean_p_allowed=answer.mean_p_allowed,
            num_prompt_tokens=len(prompt.encoded.input_ids),
            num_answer_tokens=len(answer.token_ids),
        )

    def ask(self, seen: PromptInput) -> list[Message]:
        """Return the messages that ask for actions."""
        return render_prompt(seen, self.recipe)

    def ask_step(self, seen: PromptInput) -> list[Message]:
        """Return the messages that ask for the next step."""
        return render_step_prompt(seen, self.recipe)

    def see(self, observation: Observation) -> PromptInput:
        """Return what the model sees of an observation, in its own units."""
        return see(observation, self.recipe)

    def _space_of(self, observation: Observation) -> CoordinateSpace:
        height_px, width_px = observation.frame.shape[:2]
        return self.recipe.space(width_px, height_px)

    def _read(self, text: str, stop: str | None) -> tuple[ActionChunk | None, str | None]:
        if stop is not None:
            return None, str(stop)
        try:
            return self._codec.decode(text, self.recipe.spec), None
        except InvalidActionError as error:
            return None, str(error.reason)


def _check_history(loaded: LoadedModel, recipe: Recipe) -> None:
    """Raise ModelError where a tuned model is to be shown earlier decisions in another way than it was trained with."""
    if loaded.record is None:
        return
    carried = loaded.record.get("recipe", {})
    for name in ("conversation_turns", "history_frames"):
        trained, asked = carried.get(name, 1), getattr(recipe, name)
        if trained != asked:
            raise ModelError(
                f"{loaded.tuned}: was trained with {name} {trained} and can't be asked with {asked};"
                " play it with its own recipe"
            )


def find_recipe(loaded: LoadedModel, spec: ActionSpec) -> Recipe:
    """Return the recipe that a tuned model carries, or for a base model the one it would be tuned with by default.

    Args:
        loaded: the model.
        spec: what the environment takes, in frame pixels.
    """
    if loaded.record is not None:
        return Recipe.from_json(loaded.record["recipe"])
    settings = RecipeSettings()
    width_px, height_px = loaded.encoder.images.fit_size(
        spec.extent_width, spec.extent_height, max_tokens=settings.image_max_tokens
    )
    return make_recipe(
        spec,
        image_width_px=width_px,
        image_height_px=height_px,
        codec=settings.codec,
        coordinates=loaded.family.coordinates,
        history_ticks=settings.history_ticks,
        state_text_max_chars=settings.state_text_max_chars,
    )
