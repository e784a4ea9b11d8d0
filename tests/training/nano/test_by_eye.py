"""An answer that no text tells is as exact as a patch, and still hits its thing."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from vlm_agent.actions.types import ActionChunk, Click, Key, Move
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.goals import GOALS, GameGoal
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.games.ringcraft.state import TICK_MS
from vlm_agent.training.nano import batches, scenes
from vlm_agent.training.nano.by_eye import answer_by_eye, topmost
from vlm_agent.training.nano.dense import coarse_place, patch_middles
from vlm_agent.training.nano.samples import NanoSample, Question, Thing
from vlm_agent.training.nano.things import list_things

ROWS, COLUMNS = batches.ROWS, batches.COLUMNS
MIDDLES = set(patch_middles(ROWS, COLUMNS))
HALVES = set(patch_middles(2 * ROWS, 2 * COLUMNS))
TREE = Thing("tree", 100, 100, 240, 300, is_anywhere=True)
CRATE = Thing("crate", 140, 140, 190, 230, is_anywhere=True)
RING = Thing("ring", 400, 400, 440, 460)
POINTER = Thing("pointer", 160, 190, 172, 206)


def _answer(action: Click | Move | Key, text: str = "") -> Click | Move | Key:
    question = Question("click it", ActionChunk((action,)), "click it")
    sample = NanoSample(np.zeros((256, 384, 3), np.uint8), text, (), (question,), (TREE, CRATE, RING, POINTER))
    (moved,) = answer_by_eye(sample, ROWS, COLUMNS).questions
    return moved.answer.actions[0]


def test_the_smallest_thing_is_on_top_and_the_pointer_hides_nothing() -> None:
    things = (TREE, CRATE, RING, POINTER)
    assert topmost(165, 195, things) is CRATE
    assert topmost(110, 110, things) is TREE
    assert topmost(900, 900, things) is None


@pytest.mark.parametrize("kind", [Click, Move])
def test_a_place_in_the_world_becomes_the_middle_of_a_patch_that_shows_the_thing(kind) -> None:
    moved = _answer(kind(250, 165, 195))
    assert (moved.x, moved.y) in MIDDLES
    assert topmost(moved.x, moved.y, (TREE, CRATE)) is CRATE
    tree = _answer(kind(250, 192, 235))  # its nearest middle would show the crate
    assert topmost(tree.x, tree.y, (TREE, CRATE)) is TREE


def test_icons_keys_and_what_the_text_tells_stay_as_they_are() -> None:
    for action in (Click(250, 421, 431), Key(100, "left"), Click(250, 950, 950)):
        assert _answer(action) == action
    told = Click(250, 165, 195)
    assert _answer(told, "near: crate @165,195 2") == told
    assert _answer(told, "near: crate @165,19 2") != told


def test_of_a_thing_smaller_than_a_patch_it_is_the_half_it_lies_in() -> None:
    small = Thing("mark", 510, 510, 520, 520, is_anywhere=True)
    question = Question("walk there", ActionChunk((Click(250, 514, 514),)), "walk")
    sample = NanoSample(np.zeros((256, 384, 3), np.uint8), "", (), (question,), (small,))
    click = answer_by_eye(sample, ROWS, COLUMNS).questions[0].answer.actions[0]
    assert isinstance(click, Click)
    assert (click.x, click.y) == coarse_place(514, 514, ROWS, COLUMNS)
    assert small.holds(click.x, click.y)


def test_on_the_games_screens_the_same_thing_is_meant() -> None:
    """What is answered by eye names what was named before, at a place the eyes can tell."""
    same_name = []
    for index in range(30):
        sample = replace(scenes.make_sample(3, index, draw=False), state_text="")
        for before, after in zip(sample.questions, answer_by_eye(sample, ROWS, COLUMNS).questions, strict=True):
            for old, new in zip(before.answer.actions, after.answer.actions, strict=True):
                if old == new or not isinstance(old, Click | Move) or not isinstance(new, Click | Move):
                    continue
                assert (new.x, new.y) in MIDDLES | HALVES
                assert abs(new.x - old.x) <= 120
                meant, hit = topmost(old.x, old.y, sample.things), topmost(new.x, new.y, sample.things)
                assert meant is not None
                assert meant.is_anywhere
                same_name.append(hit is not None and hit.name == meant.name)
    assert len(same_name) > 30
    assert np.mean(same_name) > 0.95


def _reaches(core: Ringcraft, goal: GameGoal) -> bool:
    """Whether a perfect player who answers by eye reaches a goal of the world in 12 ticks."""
    before = deepcopy(core.state)
    for _ in range(12):
        chunk = scenes.SPACE.chunk_to_model(scenes.answer_goal(core, goal, before))
        sample = NanoSample(np.zeros((1, 1, 3)), "", (), (Question("", chunk, ""),), tuple(list_things(core.state)))
        seen = answer_by_eye(sample, ROWS, COLUMNS).questions[0].answer
        scenes.feed_chunk(core, scenes.SPACE.chunk_to_frame(seen))
        core.advance(TICK_MS)
        if goal.is_done(before, core.state):
            return True
    return False


def test_a_player_who_answers_by_eye_reaches_goals_of_the_world() -> None:
    reached = []
    singles = [goal for goal in GOALS.values() if goal.text.split()[0] in ("walk", "click", "examine", "talk")]
    singles += [GOALS["open the bank"], GOALS["use the furnace"]]
    for number in range(60):
        core, rng = random_scene(Random(f"by eye {number}")), Random(number)
        goal = next((goal for goal in rng.sample(singles, len(singles)) if goal.applicable(core.state)), None)
        if goal is not None:
            reached.append(_reaches(core, goal))
    assert len(reached) > 40
    assert np.mean(reached) > 0.85
