"""Scenes, disturbances and a played game as they were when last approved: a seed means the same in every release.

What was recorded, and the runs that are compared, name their scenes by seed alone.
`python -m tests.games.ringcraft.test_golden_play` writes the golden file anew; say in the changelog why.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import pytest

from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.games.ringcraft.config import RingcraftConfig
from vlm_agent.games.ringcraft.core import NS_PER_MS, Ringcraft
from vlm_agent.games.ringcraft.demonstrator import Demonstrator, demonstrate
from vlm_agent.games.ringcraft.disturbances import DISTURBANCES, disturb
from vlm_agent.games.ringcraft.env import RingcraftEnv
from vlm_agent.games.ringcraft.goals import GOALS, LONG_GOAL
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.games.ringcraft.scene import make_scene
from vlm_agent.games.ringcraft.snapshots import hash_plain
from vlm_agent.games.ringcraft.trip_scenes import trip_scene

GOLDEN = Path(__file__).with_name("golden_play.json")


def tell(game: Ringcraft) -> list[Any]:
    """A line of a game for a person to compare, with the hashes of what it exports and of all there is."""
    state = game.state
    camera, player = state.camera, state.player
    place = [player.x, player.y, player.facing, camera.yaw, camera.pitch, camera.zoom]
    exported = hashlib.sha256(json.dumps(game.export(), sort_keys=True).encode()).hexdigest()
    return [state.tick, state.mode, *place, state.rings_made, state.crafting_xp, exported[:12], game.hash()[:12]]


def list_scenes() -> dict[str, str]:
    """The hash of some scenes of every kind."""
    scenes = {f"scene {seed}": make_scene(seed, RingcraftConfig()) for seed in range(4)}
    scenes |= {f"random {seed}": random_scene(Random(seed)).state for seed in range(4)}
    scenes |= {f"trip {seed}": trip_scene(seed).state for seed in range(4)}
    env = RingcraftEnv()
    for goal in ("open the bank", "withdraw sapphires", "make sapphire rings", "examine the furnace", "stop running"):
        env.reset(seed=7, options={"goal": goal})
        scenes[f"for: {goal}"] = env.core.state
    return {name: hash_plain(state)[:12] for name, state in scenes.items()}


def list_disturbances() -> dict[str, list[Any]]:
    """For each kind the first seeds at which it changes a trip's scene, and the hash of what it makes."""
    found: dict[str, list[Any]] = {}
    for kind in DISTURBANCES:
        for seed in range(40):
            state = deepcopy(trip_scene(seed).state)
            if len(found.setdefault(kind, [])) < 4 and disturb(state, kind, Random(seed)):
                found[kind] += [seed, hash_plain(state)[:12]]
    return found


def play_trip() -> list[list[Any]]:
    """A trip for rings by presses at the middle of where the goal says, a second world tick after each fourth."""
    from ringcraft_presses import press

    game, goal, lines = Ringcraft(21), GOALS[LONG_GOAL], []
    for number in range(84):
        press(game, goal.target(game.state), 1200 if number % 4 == 3 else 600)
        lines.append(tell(game))
    return lines


def play_hands() -> list[list[Any]]:
    """Keys, drags, the wheel and clicks of each button at odd moments: the camera, the menu, what eases and ends."""
    game, lines = Ringcraft(5), []
    middle_x, middle_y = LAYOUT.viewport.centre
    minimap_x, minimap_y = LAYOUT.minimap.centre
    script = [
        *[(13, KeyChanged(0, key, pressed)) for key in ("left", "up", "right", "down") for pressed in (True, False)],
        (7, ButtonChanged(0, middle_x, middle_y, "middle", True)),
        (120, PointerMoved(0, middle_x + 31, middle_y - 17)),
        (250, ButtonChanged(0, middle_x + 31, middle_y - 17, "middle", False)),
        (400, WheelTurned(0, middle_x, middle_y, 0, 2)),
        (900, WheelTurned(0, middle_x, middle_y, 0, -5)),
        (31, ButtonChanged(0, minimap_x + 20, minimap_y - 12, "left", True)),
        (600, ButtonChanged(0, middle_x + 60, middle_y + 20, "right", True)),
        (600, PointerMoved(0, middle_x + 62, middle_y + 22)),
        (600, PointerMoved(0, middle_x - 250, middle_y - 100)),
        (2000, ButtonChanged(0, *LAYOUT.orbs["run"].centre, "left", True)),
        (600, ButtonChanged(0, minimap_x - 36, minimap_y + 24, "left", True)),
        (3000, ButtonChanged(0, *LAYOUT.compass.centre, "left", True)),
        (600, ButtonChanged(0, *LAYOUT.tabs["stats"].centre, "left", True)),
    ]
    for after_ms, event in script:
        game.advance(-(-after_ms // 20) * 20)
        game.feed([_dated(event, game.now_ns + 5 * NS_PER_MS)])
        game.advance(200)
        lines.append(tell(game))
    return lines


def play_demonstrated() -> list[list[Any]]:
    """What three players press in their first seconds: when, what and where; and how often the mouse moves in all."""
    lines: list[list[Any]] = []
    for seed, player in ((3, 0), (4, 1), (5, 2)):
        events: list[Any] = []
        game, demonstrator = Ringcraft(seed), Demonstrator(seed, player=player)
        demonstrate(game, demonstrator, 14_000, lambda _, now, events=events: events.extend(now))
        presses = [event for event in events if not isinstance(event, PointerMoved)]
        lines += [[event.t_ns, *list(asdict(event).values())[1:]] for event in presses]
        lines.append([seed, len(events), *tell(game)])
    return lines


def _dated(event: Any, t_ns: int) -> Any:
    return type(event)(t_ns, *[getattr(event, name) for name in event.__dataclass_fields__ if name != "t_ns"])


PLAYED: dict[str, Callable[[], Any]] = {
    "scenes": list_scenes,
    "disturbances": list_disturbances,
    "trip": play_trip,
    "hands": play_hands,
    "demonstrated": play_demonstrated,
}


@pytest.mark.parametrize("name", PLAYED)
def test_a_seed_means_what_it_meant_when_it_was_last_approved(name: str) -> None:
    assert PLAYED[name]() == json.loads(GOLDEN.read_text())[name]


def test_the_golden_trip_makes_rings_and_the_hands_do_something() -> None:
    golden = json.loads(GOLDEN.read_text())
    assert golden["trip"][-1][-4] >= 3
    assert len({line[-1] for line in golden["hands"]}) == len(golden["hands"])
    assert all(golden["disturbances"][kind] for kind in DISTURBANCES)


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(Path(__file__).parent))
    told = {name: play() for name, play in PLAYED.items()}
    GOLDEN.write_text(json.dumps(told, indent=None).replace("], [", "],\n [").replace('}, "', '},\n"') + "\n")
