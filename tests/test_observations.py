"""What a policy remembers: the rule of the recordings, and nothing that was not carried out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key
from vlm_agent.chat import PromptInput, Recipe, make_conversational, make_recipe, render_prompt
from vlm_agent.dataset.histories import Histories
from vlm_agent.dataset.windows import Window, prompt_input
from vlm_agent.observations import EarlierDecision, Memory, Observation, RecentAction, see

SPEC = ActionSpec(160, 96, keys=("a", "space"))
HORIZON_MS = SPEC.horizon_ms
PRESS = ActionChunk((Click(100, 5, 6, "left"), Key(50, "a")))
STATE = {"inventory": {"free": 3}}


def plain(**changes) -> Recipe:
    return replace(make_recipe(SPEC, image_width_px=64, image_height_px=32), **changes)


TALK = make_conversational(plain(), 4)


def observe(number: int, *, goal: str = "x", recent=(), t_ms: int | None = None) -> Observation:
    frame = np.full((96, 160, 3), number, np.uint8)
    return Observation(frame, goal, number * HORIZON_MS if t_ms is None else t_ms, {**STATE, "tick": number}, recent)


def done(number: int) -> tuple[RecentAction, ...]:
    """The actions of `PRESS`, carried out at every tick before."""
    ages = [(number - tick) * HORIZON_MS - at_ms for tick in range(number) for at_ms in (100, 150)]
    return tuple(RecentAction(age, action) for age, action in zip(ages, PRESS.actions * number, strict=True))


def play(memory: Memory, count: int, chunk: ActionChunk | None = PRESS) -> list[Observation]:
    seen = []
    for number in range(count):
        seen.append(memory.recall(observe(number, recent=done(number))))
        memory.keep(seen[-1], chunk)
    return seen


def shown(observation: Observation) -> list[int]:
    return [int(past.frame[0, 0, 0]) for past in observation.earlier or ()]


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (plain(), [[], [], [], []]),
        (plain(history_frames=3), [[], [0], [0, 1], [1, 2], [2, 3]]),
        (TALK, [[], [0], [0, 1], [0, 1, 2], [2, 3], [2, 3, 4], [4, 5], [4, 5, 6]]),
    ],
)
def test_so_many_earlier_decisions_are_shown(recipe, expected):
    memory = Memory(recipe)
    seen = play(memory, len(expected))
    assert list(map(shown, seen)) == expected
    assert all(past.chunk == PRESS for one in seen for past in one.earlier or ())
    memory.forget()
    assert shown(memory.recall(observe(0))) == []


def window(number: int, **changes) -> Window:
    made = Window(
        session="s",
        clip=0,
        t_ns=number * HORIZON_MS * 1_000_000,
        split="train",
        goal="x",
        goal_level="long",
        goal_source="human",
        goal_confidence=1.0,
        frame_id=str(number),
        frame_width_px=160,
        frame_height_px=96,
        target=PRESS,
        recent=tuple((past.age_ms, past.action) for past in done(number)),
        state={**STATE, "tick": number},
    )
    return replace(made, **changes)


@pytest.mark.parametrize("recipe", [plain(), plain(history_frames=2), plain(history_frames=4), TALK])
def test_play_and_recordings_show_the_same_prompt(recipe):
    """The seam: an episode in which the policy does what the player did is prompted as the player's windows are."""
    windows = [window(number) for number in range(9)]
    histories, played = Histories(windows, recipe), play(Memory(recipe), 9)
    for now, observation in zip(windows, played, strict=True):
        before = [(one, np.full((96, 160, 3), int(one.frame_id), np.uint8)) for one in histories.before(now)]
        recorded = prompt_input(now, recipe, observation.frame, before)
        lived = see(observation, recipe)
        assert render_prompt(recorded, recipe) == render_prompt(lived, recipe)
        assert [int(frame[0, 0, 0]) for frame in recorded.pictures] == [int(frame[0, 0, 0]) for frame in lived.pictures]


def test_what_was_not_carried_out_is_not_shown():
    memory = Memory(TALK)
    half = (RecentAction(500, PRESS.actions[0]),)
    for number, (recent, chunk) in enumerate([((), PRESS), ((), PRESS), (half, None)]):
        memory.keep(memory.recall(observe(number, recent=recent)), chunk)
    chunks = [past.chunk for past in memory.recall(observe(3)).earlier or ()]
    assert chunks == [None, None, None]
    text = str(render_prompt(see(memory.recall(observe(3)), TALK), TALK))
    assert text.count("'role': 'assistant', 'content': [{'type': 'text', 'text': ''}]") == 3


def test_the_same_moment_is_not_its_own_past():
    memory = Memory(TALK)
    for _ in range(3):
        memory.keep(memory.recall(observe(0)), PRESS)
    assert shown(memory.recall(observe(1))) == [0]


def test_a_long_wait_or_another_goal_begins_anew():
    memory = Memory(TALK)
    play(memory, 2)
    assert shown(memory.recall(observe(2, t_ms=3 * HORIZON_MS))) == [0, 1]
    assert shown(memory.recall(observe(2, t_ms=3 * HORIZON_MS + 1))) == []
    play(memory, 2)
    assert shown(memory.recall(observe(2, goal="leave"))) == []
    pictures = Memory(plain(history_frames=2))
    play(pictures, 2)
    assert shown(pictures.recall(observe(2, goal="leave"))) == [1]


def test_a_picture_that_is_drawn_over_stays_as_it_was():
    memory = Memory(TALK)
    first = observe(0)
    memory.keep(memory.recall(first), None)
    first.frame[:] = 9
    assert shown(memory.recall(observe(1))) == [0]


def test_the_goal_and_the_system_text_come_once_and_pictures_take_turns():
    [*_, now] = play(Memory(TALK), 4)
    messages = render_prompt(see(now, TALK), TALK)
    assert [message["role"] for message in messages] == ["system", *["user", "assistant"] * 3, "user"]
    assert [block["type"] for message in messages[1::2] for block in message["content"]] == ["image", "text"] * 4
    assert str(messages).count("Goal: x") == 1
    assert messages[0]["content"][0]["text"].endswith("Goal: x")
    assert "Recent" not in str(messages)
    assert render_prompt(PromptInput((now.frame,), "x", "", see(now, TALK).recent), TALK)[1]["content"][1]["text"] == ""


def test_of_more_decisions_than_there_is_room_for_the_latest_are_shown():
    recipe = plain(history_frames=3)
    earlier = tuple(EarlierDecision(observe(number).frame, None, PRESS) for number in range(5))
    seen = see(replace(observe(5), earlier=earlier), recipe)
    assert [int(frame[0, 0, 0]) for frame in seen.pictures] == [3, 4, 5]
    assert [int(frame[0, 0, 0]) for frame in see(replace(observe(5), earlier=earlier), plain()).pictures] == [5]


def test_what_was_done_before_a_decision_does_not_carry_it_out():
    """The first decision was carried out, the second refused: nothing was done since."""
    memory = Memory(plain(history_frames=3))
    for number in (0, 1):
        memory.keep(memory.recall(observe(number, recent=done(number))), PRESS)
    long_ago = tuple(replace(past, age_ms=past.age_ms + HORIZON_MS) for past in done(1))
    earlier = memory.recall(observe(2, recent=long_ago)).earlier
    assert [past.chunk for past in earlier] == [PRESS, None]


def test_a_decision_that_is_asked_again_counts_once():
    once, again = Memory(TALK), Memory(TALK)
    for number in range(8):
        now = observe(number, recent=done(number))
        seen = once.recall(now)
        for _ in range(2):
            asked = again.recall(now)
            again.keep(asked, PRESS)
        once.keep(seen, PRESS)
        assert shown(asked) == shown(seen)
