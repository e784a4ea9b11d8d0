"""What goes wrong on purpose: only when it matters, drawn from the seed, and such that play can go on."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from random import Random

import pytest

from vlm_agent.actions.types import ActionChunk
from vlm_agent.errors import ConfigError
from vlm_agent.games.ringcraft.commands import carry_out_queued
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.demonstrator import Demonstrator, demonstrate
from vlm_agent.games.ringcraft.disturbances import DISTURBANCES, FAR_TILES, LEAST_ZOOM_CHANGE, disturb
from vlm_agent.games.ringcraft.env import RingcraftEnv
from vlm_agent.games.ringcraft.geometry import ZOOM_MAX, ZOOM_MIN
from vlm_agent.games.ringcraft.pathing import blocked_tiles, find_path
from vlm_agent.games.ringcraft.plan import choose_step
from vlm_agent.games.ringcraft.presses import is_same_game
from vlm_agent.games.ringcraft.skill import Habits
from vlm_agent.games.ringcraft.state import Crafting, State
from vlm_agent.games.ringcraft.trip_scenes import trip_scene

SCENES = range(40)


def find_state(seeds=SCENES, **wanted) -> State:
    return next(
        s for s in (trip_scene(seed).state for seed in seeds) if all(getattr(s, k) == v for k, v in wanted.items())
    )


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_it_either_changes_the_game_or_leaves_it_as_it_was(kind):
    planted = Counter()
    for seed in SCENES:
        state = trip_scene(seed).state
        before = deepcopy(state)
        has_planted = disturb(state, kind, Random(seed))
        planted[has_planted] += 1
        assert has_planted == (not is_same_game(before, state)) or kind == "moved"
        if not has_planted:
            assert state == before
        again = deepcopy(before)
        disturb(again, kind, Random(seed))
        assert again == state
    assert planted[True]


def test_while_rings_are_made_only_what_stops_them_counts():
    stopped = 0
    for seed in range(300):
        state = trip_scene(seed).state
        if not state.crafting.product:
            continue
        assert not disturb(deepcopy(state), "camera", Random(seed))
        for kind in ("misclick", "levelup", "moved"):
            after = deepcopy(state)
            if disturb(after, kind, Random(seed)):
                carry_out_queued(after)
                assert after.crafting == Crafting()
                stopped += 1
    assert stopped > 10


def test_a_misclick_is_never_the_click_that_is_due():
    for seed in SCENES:
        state = trip_scene(seed).state
        step = choose_step(state, Habits())
        after = deepcopy(state)
        if not disturb(after, "misclick", Random(seed)):
            continue
        done = after.interaction
        assert after.interaction.count == state.interaction.count + 1
        if step.name == "take":
            assert not (done.action.startswith("Withdraw-13") and done.target == "Sapphire" and step.index == 0)
        if step.place == "object":
            kind = {"furnace": "Furnace", "bank_booth": "Bank booth"}[state.objects[step.index].kind]
            assert done.target != kind


def test_the_camera_is_turned_and_zoomed_a_good_deal():
    state = find_state(mode="none", crafting=Crafting())
    for seed in range(50):
        after = deepcopy(state)
        assert disturb(after, "camera", Random(seed))
        turn = abs((after.camera.yaw - state.camera.yaw + 1024) % 2048 - 1024)
        assert 512 <= turn <= 1024
        assert abs(after.camera.zoom - state.camera.zoom) >= LEAST_ZOOM_CHANGE
        assert ZOOM_MIN <= after.camera.zoom <= ZOOM_MAX
        game = Ringcraft(0, state=after)
        yaw = after.camera.yaw
        game.advance(600)
        assert game.state.camera.yaw == yaw


def test_only_an_open_window_is_closed():
    for mode in ("bank", "furnace"):
        state = find_state(mode=mode)
        assert disturb(state, "window", Random(0))
        assert state.mode == "none"
        assert not disturb(state, "window", Random(0))


def test_the_level_up_dialog_stops_the_rings_and_tells_the_level():
    state = next(s for s in (trip_scene(seed).state for seed in range(300)) if s.crafting.product)
    assert disturb(state, "levelup", Random(0))
    assert (state.mode, state.crafting.product) == ("levelup", "")
    assert state.new_level > 0
    assert str(state.new_level) in state.chat[-1]


def test_who_is_moved_stands_far_off_and_can_walk_back():
    for seed in SCENES:
        state = trip_scene(seed).state
        x, y = state.player.x, state.player.y
        if not disturb(state, "moved", Random(seed)):
            continue
        player = state.player
        assert max(abs(player.x - x), abs(player.y - y)) >= FAR_TILES
        blocked = blocked_tiles(state)
        assert (player.x, player.y) not in blocked
        assert find_path((player.x, player.y), {(x, y)}, blocked)[-1] == (x, y)
        assert (player.path, player.errand, state.mode, state.queued) == ([], None, "none", [])


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_the_demonstrator_makes_a_ring_after_each(kind):
    game = Ringcraft(5)
    demonstrator = Demonstrator(5)
    for _ in range(100):
        demonstrate(game, demonstrator, 600)
        if game.state.tick > 15 and disturb(game.state, kind, Random(1)):
            break
    else:
        raise AssertionError("never planted")
    rings = game.state.rings_made
    demonstrate(game, demonstrator, 60_000)
    assert game.state.rings_made > rings


def test_the_environment_shows_what_happened():
    env = RingcraftEnv()
    before, _ = env.reset(seed=3)
    planted = env.disturb("camera", Random(1))
    assert planted is not None
    frame, info = planted
    assert (frame != before).any()
    assert info["game_state"]["camera"] != env.reset(seed=3)[1]["game_state"]["camera"]
    assert env.disturb("window", Random(1)) is None
    with pytest.raises(ConfigError, match="misclick, camera, window, levelup, moved"):
        env.disturb("earthquake", Random(1))
    env.step(ActionChunk())
