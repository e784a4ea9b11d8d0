"""Screens of our own games with instructions and right answers, each a pure function of a seed and an index.

A sample is a random moment of a game, often in the middle of an instruction that a perfect but impersonal player is
following, with several instructions that make sense at that moment. There is no long goal among them, no demonstrator
and no recording of a player: nano's base must know screens, JSON and single steps, and nothing of how a person plays.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from math import hypot
from random import Random
from typing import Any

import numpy as np

from vlm_agent.actions.playback import expand
from vlm_agent.actions.space import CoordinateSpace
from vlm_agent.actions.types import Action, ActionChunk, Click, Key, Move
from vlm_agent.chat import Recipe, make_recipe
from vlm_agent.dataset.state_text import render_state
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.drawing import Renderer
from vlm_agent.games.ringcraft.env import ACTION_SPEC
from vlm_agent.games.ringcraft.goals import GOALS, GameGoal
from vlm_agent.games.ringcraft.layout import LAYOUT, Rect
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.games.ringcraft.state import TICK_MS, State
from vlm_agent.models.images import resize_frame
from vlm_agent.models.nano_config import IMAGE_HEIGHT_PX, IMAGE_WIDTH_PX
from vlm_agent.training.nano.conditions import draw_choice, draw_order
from vlm_agent.training.nano.samples import CONDITIONAL, NanoSample, Question, Thing
from vlm_agent.training.nano.things import list_things
from vlm_agent.training.nano.variety import show_evenly

SPACE = CoordinateSpace(LAYOUT.frame.width, LAYOUT.frame.height)
QUESTIONS_MAX = 12
"""Most questions without a condition at one moment, unless told otherwise."""
CHOICES, ORDERS = 7, 2
"""Questions with a condition at one moment, and with an order of things while the bank is open."""
LEAD_TICKS_MAX = 5
"""Longest stretch of an instruction played before the moment asked about."""
REACH_MS, TAP_MS = 250, 100
"""Time to a place and to a key: always the same, so that there is no noise to learn."""
READY_SHARE = 0.15
"""Share of the clicks that are only asked to be made ready for, by bringing the pointer there."""
SAME_DOT_PX = 5
"""Two points of the minimap this near to each other are the same thing."""
TAB_SHARE = 0.25
"""Share of the goals that ask for a tab which is kept: tabs stand still and are learnt at once."""
ACTIONS_KEPT = 8
"""Recent actions carried along."""


@lru_cache(maxsize=1)
def nano_recipe() -> Recipe:
    """Return the recipe nano is trained with."""
    return make_recipe(ACTION_SPEC, image_width_px=IMAGE_WIDTH_PX, image_height_px=IMAGE_HEIGHT_PX)


@lru_cache(maxsize=1)
def _renderer() -> Renderer:
    return Renderer()


def make_sample(
    seed: int, index: int, *, draw: bool = True, even: bool = False, questions_max: int = QUESTIONS_MAX
) -> NanoSample:
    """Return sample `index` of a seed.

    Args:
        seed: of the samples.
        index: which one.
        draw: without it the frame is black (for counting words).
        even: show rare things as often as common ones.
        questions_max: most questions without a condition.
    """
    rng = Random(f"nano {seed} {index}")
    core = random_scene(rng)
    if even:
        show_evenly(core, rng)
    lead = _lead_in(core, rng)
    questions = _ask(core, rng, lead, questions_max)
    frame = _draw(core.state) if draw else np.zeros((IMAGE_HEIGHT_PX, IMAGE_WIDTH_PX, 3), dtype=np.uint8)
    return NanoSample(frame, read_state(core), lead.recent if lead else (), questions, tuple(list_things(core.state)))


def make_screen(seed: int, index: int) -> tuple[np.ndarray, tuple[Thing, ...]]:
    """Return screen `index` of a seed, (256, 384, 3) uint8 RGB, and what is on it; nothing is asked about it."""
    rng = Random(f"nano screen {seed} {index}")
    core = random_scene(rng)
    show_evenly(core, rng)
    return _draw(core.state), tuple(list_things(core.state))


def draw_frame(state: State) -> np.ndarray:
    """Return a state's frame as the game shows it, (503, 765, 3) uint8 RGB."""
    return np.array(_renderer().draw(state))


def _draw(state: State) -> np.ndarray:
    return resize_frame(draw_frame(state), IMAGE_WIDTH_PX, IMAGE_HEIGHT_PX)


def read_state(core: Ringcraft) -> str:
    """Return the game-state text of a moment, as prompts show it."""
    return render_state(core.export(), SPACE, nano_recipe().state_text_max_chars)


def possible_goals(state: State, rng: Random) -> Iterator[GameGoal]:
    """Yield the single-step goals that make sense now, in random order; some always do, such as tapping a key."""
    goals = [
        goal for goal in GOALS.values() if not goal.is_long and (" tab" not in goal.text or rng.random() < TAB_SHARE)
    ]
    rng.shuffle(goals)
    return (goal for goal in goals if goal.applicable(state))


@dataclass(frozen=True)
class Lead:
    """An instruction under way."""

    goal: GameGoal
    """What was asked."""
    before: State
    """The state when it was asked."""
    recent: tuple[tuple[int, Action], ...]
    """Actions taken since, with their ages in milliseconds, in thousandths."""


def _lead_in(core: Ringcraft, rng: Random) -> Lead | None:
    """Play a few ticks of one instruction, or none."""
    ticks = rng.choice((0, 0, 0, 1, 1, 2, 3, LEAD_TICKS_MAX))
    if ticks == 0:
        return None
    goal, before = next(possible_goals(core.state, rng)), deepcopy(core.state)
    taken: list[tuple[int, Action]] = []
    for tick in range(ticks):
        chunk = answer_goal(core, goal, before)
        feed_chunk(core, chunk)
        core.advance(TICK_MS)
        at_ms = tick * TICK_MS
        for action in SPACE.chunk_to_model(chunk).actions:
            at_ms += action.dt_ms
            taken.append((at_ms, action))
    now_ms = ticks * TICK_MS
    return Lead(goal, before, tuple((now_ms - at_ms, action) for at_ms, action in taken[-ACTIONS_KEPT:]))


def feed_chunk(core: Ringcraft, chunk: ActionChunk) -> None:
    """Give a game the input of the next tick, in frame pixels."""
    pointer = core.state.pointer
    core.feed(expand(chunk, start_t_ns=core.now_ns, pointer=(pointer.x, pointer.y), horizon_ms=TICK_MS))


def _ask(core: Ringcraft, rng: Random, lead: Lead | None, questions_max: int) -> tuple[Question, ...]:
    goals = (goal for goal in possible_goals(core.state, rng) if not (lead and goal is lead.goal))
    asked = [(goal, core.state) for goal in islice(goals, questions_max)]
    if lead and (lead.goal.applicable(core.state) or lead.goal.is_done(lead.before, core.state)):
        asked.insert(0, (lead.goal, lead.before))
    plain = [_ask_plainly(core, goal, before, rng) for goal, before in asked]
    # Between the plain ones: what doesn't fit into a tree is cut off at its end.
    for question in _ask_with_conditions(core, rng):
        plain.insert(rng.randint(1, len(plain)), question)
    return tuple(plain)


def _ask_plainly(core: Ringcraft, goal: GameGoal, before: State, rng: Random) -> Question:
    words = rng.choice((goal.text, *goal.paraphrases))
    answer = SPACE.chunk_to_model(answer_goal(core, goal, before))
    match answer.actions:
        case (Click(dt_ms=dt_ms, x=x, y=y, button="left"),) if rng.random() < READY_SHARE:
            return Question(f"get ready to {words}", ActionChunk((Move(dt_ms, x, y),)), goal.text)
    return Question(words, answer, goal.text)


def _ask_with_conditions(core: Ringcraft, rng: Random) -> Iterator[Question]:
    goals = list(possible_goals(core.state, rng))
    drawn = [draw_choice(core.state, goals, rng) for _ in range(CHOICES)]
    drawn += [draw_order(core.state, goals, rng) for _ in range(ORDERS)]
    for choice in drawn:
        if choice is not None:
            words, goal = choice
            answer = ActionChunk() if goal is None else answer_goal(core, goal, core.state)
            yield Question(words, SPACE.chunk_to_model(answer), CONDITIONAL)


def answer_goal(core: Ringcraft, goal: GameGoal, before: State) -> ActionChunk:
    """Return what a perfect player does in the next horizon, in frame pixels: one press at the middle of its target."""
    state = core.state
    if before is not state and goal.is_done(before, state):
        return ActionChunk(done=True)
    target = goal.target(state)
    if target.kind == "key":
        return ActionChunk((Key(TAP_MS, target.key),))
    if target.kind == "wait" or target.rect is None:
        return ActionChunk()
    x, y = aim(core, target.rect)
    return ActionChunk((Click(REACH_MS, x, y, target.button),))


def aim(core: Ringcraft, rect: Rect) -> tuple[int, int]:
    """Return where to click for a target: the point the game state gives for it, else the middle of its rectangle.

    Of several things of one name the state text shows the nearest that can be seen, so that is the one to click: what
    is read and what is seen must ask for the same answer, digit for digit.
    """
    x, y = (int(value) for value in rect.centre)
    if core.state.menu is not None or core.state.mode in ("bank", "furnace"):
        return x, y
    exported = core.export()
    things = [*exported["closestGameObjects"], *exported["closestNPCs"]]
    named = {thing["name"] for thing in things if _is_at(thing, rect)}
    alike = [thing for thing in things if thing["name"] in named]
    for column, row in (("canvasX", "canvasY"), ("minimapX", "minimapY")):
        seen = [thing for thing in alike if column in thing]
        if seen:
            nearest = min(seen, key=lambda thing: thing["distance"])
            return nearest[column], nearest[row]
    return x, y


def _is_at(thing: dict[str, Any], rect: Rect) -> bool:
    if "canvasX" in thing and rect.contains(thing["canvasX"], thing["canvasY"]):
        return True
    x, y = rect.centre
    return "minimapX" in thing and hypot(thing["minimapX"] - x, thing["minimapY"] - y) < SAME_DOT_PX


def extra_texts() -> Iterator[str]:
    """Yield wordings that the tokenizer should know whole besides what the samples hold."""
    for goal in GOALS.values():
        yield from (goal.text, *goal.paraphrases)
