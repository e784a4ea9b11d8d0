"""Reading out what a model expected of recorded windows: it is shown what it would see, and what the player did.

Where the recipe names steps, a window with a long goal is read in two parts, as such a model is trained: the step
(given the long goal), and the actions given the player's step. That second part is what the window with the short goal
of the same moment asks; where that one is read too, it is not read twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING

from vlm_agent.actions.parts import Part
from vlm_agent.chat import PromptInput, Recipe, render_answer
from vlm_agent.dataset.windows import Window, target_chunk
from vlm_agent.errors import ModelError
from vlm_agent.evaluation.offline.readouts import MILLION, EventSlot, NumberSlot, Readout, ReadoutStore
from vlm_agent.observations import Observer
from vlm_agent.policies import VlmPolicy
from vlm_agent.training.moments import find_steps, moment_of, spread

if TYPE_CHECKING:
    from vlm_agent.decoding.readout import AnswerReadout, Expectation


@dataclass(frozen=True)
class Reading:
    """What is read of one window."""

    window: Window
    """The window."""
    step: str | None = None
    """The player's step, where it is asked for."""
    has_actions: bool = True
    """Whether the actions are read."""


def choose_moments(windows: Sequence[Window], limit: int | None) -> list[Window]:
    """Return all windows of evenly spread moments, about `limit` of them; None takes all."""
    if limit is None or limit >= len(windows):
        return list(windows)
    moments = list(dict.fromkeys(map(moment_of, windows)))
    chosen = set(spread(moments, max(1, limit * len(moments) // len(windows))))
    return [window for window in windows if moment_of(window) in chosen]


def plan_readings(windows: Sequence[Window], recipe: Recipe | None, known: Iterable[Window]) -> list[Reading]:
    """Return what is to be read of windows.

    Windows with a long goal at moments whose step is not known are left out where the recipe names steps: nothing is
    known to have been right there.

    Args:
        windows: which.
        recipe: how the model is spoken to; none names no steps.
        known: windows that tell the player's steps; those of the whole split.
    """
    if recipe is None or not recipe.long_goals:
        return [Reading(window) for window in windows]
    steps = find_steps(known, recipe)
    short = {moment_of(window) for window in windows if window.goal not in recipe.long_goals}
    readings = []
    for window in windows:
        if window.goal not in recipe.long_goals:
            readings.append(Reading(window))
        elif moment_of(window) in steps:
            readings.append(Reading(window, steps[moment_of(window)], moment_of(window) not in short))
    return readings


def read_windows(
    reader: WindowReader,
    observer: Observer,
    readings: Sequence[Reading],
    store: ReadoutStore,
    advance: Callable[[], object] = lambda: None,
) -> None:
    """Read each window that the store has not got, and add what was read to it."""
    for reading in readings:
        if reading.window.window_id not in store.done:
            store.add(reader.read(observer, reading))
        advance()


class WindowReader:
    """Reads windows with the model of a policy, asked as the policy asks it."""

    def __init__(self, policy: VlmPolicy) -> None:
        """Take the policy."""
        from vlm_agent.decoding.choices import Phrases
        from vlm_agent.decoding.prompts import make_automaton
        from vlm_agent.decoding.readout import TIMES, TIMES_AND_CLICKS, Reader

        self._policy = policy
        self._reader = Reader(policy.loaded)
        self._automaton = make_automaton(policy.loaded, policy.recipe)
        self._phrases = Phrases(policy.loaded.encoder, policy.recipe.steps)
        self._asked = TIMES_AND_CLICKS if policy.recipe.spec.pointer == "absolute" else TIMES

    def read(self, observer: Observer, reading: Reading) -> Readout:
        """Read one window, shown with the player's own decisions before it.

        Raises:
            ModelError: a probability is not a finite number.
        """
        window = reading.window
        seen = self._policy.see(observer.observe(window))
        read: list[AnswerReadout] = []
        step_right = None
        if reading.step is not None:
            read.append(self._read_step(seen, reading.step))
            step_right = read[0].is_likeliest
            seen = replace(seen, goal=reading.step)
        if reading.has_actions:
            read.append(self._read_actions(seen, window))
        self._check_numbers(read, window)
        expected = [one for answer in read for one in answer.expectations]
        choices = [token for answer in read for token in answer.tokens if token.is_choice]
        return Readout(
            window_id=window.window_id,
            session=window.session,
            bits=_add_up([answer.bits for answer in read]),
            counts={name: round(count) for name, count in _add_up([answer.counts for answer in read]).items()},
            choices=len(choices),
            off_grammar=round(sum(1 - token.p_allowed for token in choices), 6),
            events=tuple(_make_event_slots([one for one in expected if one.question.part is Part.EVENT])),
            numbers=tuple(
                _make_number_slot(one, window, self._policy.recipe)
                for one in expected
                if one.question.part is not Part.EVENT
            ),
            step_right=step_right,
            has_actions=reading.has_actions,
        )

    def _check_numbers(self, read: Sequence[AnswerReadout], window: Window) -> None:
        numbers = [token.bits for answer in read for token in answer.tokens]
        numbers += [share for answer in read for one in answer.expectations for share in one.probabilities.values()]
        odd = [number for number in numbers if not isfinite(number)]
        if odd:
            loaded = self._policy.loaded
            raise ModelError(
                f"{loaded.tuned or loaded.source}: {len(odd)} of {len(numbers)} probabilities that it gives in window "
                f"{window.window_id} are not finite numbers: its weights or its adapter are broken, or its precision "
                "is too small; take an earlier checkpoint, or train it anew"
            )

    def _read_step(self, seen: PromptInput, step: str) -> AnswerReadout:
        from vlm_agent.decoding.prompts import encode_prompt

        recipe = self._policy.recipe
        frames = () if recipe.steps_from_state else seen.frames
        prompt = encode_prompt(self._policy.loaded, self._policy.ask_step(seen), frames, recipe)
        return self._reader.read_phrase(self._phrases.start(), prompt, self._phrases.encode(step))

    def _read_actions(self, seen: PromptInput, window: Window) -> AnswerReadout:
        from vlm_agent.decoding.prompts import encode_prompt

        recipe, loaded = self._policy.recipe, self._policy.loaded
        prompt = encode_prompt(loaded, self._policy.ask(seen), seen.pictures, recipe)
        token_ids = loaded.encoder.encode_text(render_answer(target_chunk(window, recipe), recipe))
        return self._reader.read_actions(self._automaton, prompt, token_ids, self._asked)


def _add_up(tables: Sequence[Mapping[Part, float]]) -> dict[str, float]:
    totals: dict[str, float] = defaultdict(float)
    for table in tables:
        for part, amount in table.items():
            totals[str(part)] += amount
    return {part: round(amount, 6) for part, amount in sorted(totals.items())}


def _make_event_slots(expected: Sequence[Expectation]) -> list[EventSlot]:
    """One slot for each action and one for the end; what was asked in two parts is put together."""
    by_action: dict[int, list[Expectation]] = defaultdict(list)
    for one in expected:
        by_action[one.question.action].append(one)
    slots = []
    for action in sorted(by_action):
        first, *rest = by_action[action]
        shares = dict(first.probabilities)
        for later in rest:
            # The kind is said behind the time: its probability is given that there is an action.
            acts = shares.pop("act", 1.0)
            shares |= {kind: acts * share for kind, share in later.probabilities.items()}
        truth = (rest or [first])[-1].question.truth
        slots.append(EventSlot(truth, {name: round(share * MILLION) for name, share in sorted(shares.items())}))
    return slots


def _make_number_slot(expected: Expectation, window: Window, recipe: Recipe) -> NumberSlot:
    question, spec = expected.question, recipe.spec
    units = {
        Part.DT: (spec.time_unit_ms, 1.0),
        Part.X: (1, window.frame_width_px / spec.extent_width),
        Part.Y: (1, window.frame_height_px / spec.extent_height),
    }
    step, unit = units[question.part]
    masses = {int(value): round(share * MILLION) for value, share in expected.probabilities.items()}
    likely = [value for value, ppm in masses.items() if ppm]
    return NumberSlot(
        part=str(question.part),
        event=question.event,
        action=question.action,
        truth=int(question.truth),
        first=min(likely),
        ppm=tuple(masses.get(value, 0) for value in range(min(likely), max(likely) + 1, step)),
        step=step,
        unit=unit,
    )
