"""How fast Ringcraft runs on one core, headless: game-seconds per second of wall clock.

    python bench/game.py [--json] [--seconds 120]

Input is that of the demonstrator, played once beforehand and fed again, so that the figures hold real play (walking,
windows, crafting, a moving pointer) and not the cost of the player. Frames at 10 a second must reach 60 times real
time, one frame a tick 200 times; both with the game state exported every tick.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from vlm_agent.actions.events import InputEvent
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.demonstrator import Demonstrator
from vlm_agent.games.ringcraft.drawing import Renderer
from vlm_agent.games.ringcraft.state import CLIENT_TICK_MS, TICK_MS

SEED = 3
FRAME_MS = 100


@dataclass(frozen=True)
class Row:
    """One figure."""

    benchmark: str
    what: str
    game_seconds_per_second: float
    """By the wall clock."""
    game_seconds_per_cpu_second: float
    """By this process's own time: the same on a core that others use too."""
    floor: float | None
    """What it must reach; None where nothing is asked."""
    game_seconds: float


def _record_play(game_seconds: int) -> list[list[InputEvent]]:
    """Return the demonstrator's events, a list a client tick."""
    game, player, ticks = Ringcraft(SEED), Demonstrator(SEED), []
    for _ in range(game_seconds * 1000 // CLIENT_TICK_MS):
        events = player.act(game)
        ticks.append(events)
        game.feed(events)
        game.advance(CLIENT_TICK_MS)
    return ticks


def _replay(play: list[list[InputEvent]], look: Callable[[Ringcraft, int], None]) -> tuple[float, float]:
    """Return how many game-seconds pass in a second of wall clock and of CPU, `look` being called every client tick."""
    game = Ringcraft(SEED)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    for events in play:
        if events:
            game.feed(events)
        game.advance(CLIENT_TICK_MS)
        look(game, game.state.now_ms)
    game_seconds = len(play) * CLIENT_TICK_MS / 1000
    return game_seconds / (time.perf_counter() - begun), game_seconds / (time.process_time() - begun_cpu)


def measure(game_seconds: int, repeats: int) -> list[Row]:
    """Return all figures, each the best of some repeats: other load only ever slows."""
    play, renderer = _record_play(game_seconds), Renderer()

    def look_10_fps(game: Ringcraft, now_ms: int) -> None:
        """Draw at 10 frames a second of game time, and export the state once a tick."""
        if now_ms % FRAME_MS == 0:
            renderer.draw(game.state)
        if now_ms % TICK_MS == 0:
            game.export()

    def look_once_a_tick(game: Ringcraft, now_ms: int) -> None:
        if now_ms % TICK_MS == 0:
            renderer.draw(game.state)
            game.export()

    def export_once_a_tick(game: Ringcraft, now_ms: int) -> None:
        if now_ms % TICK_MS == 0:
            game.export()

    looks: list[tuple[str, Callable[[Ringcraft, int], None], float | None]] = [
        ("frames at 10 fps, export every tick", look_10_fps, 60.0),
        ("one frame and export a tick", look_once_a_tick, 200.0),
        ("rules and export, no frames", export_once_a_tick, None),
        ("rules alone", lambda game, now_ms: None, None),
    ]
    rows = []
    for what, look, floor in looks:
        runs = [_replay(play, look) for _ in range(repeats)]
        wall, cpu = (round(max(run[index] for run in runs), 1) for index in (0, 1))
        rows.append(Row("game", what, wall, cpu, floor, float(game_seconds)))
    return rows


def main() -> None:
    """Print the figures, one a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument("--seconds", type=int, default=120, help="game time of the play that is fed")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many runs is printed")
    args = parser.parse_args()
    for row in measure(args.seconds, args.repeats):
        if args.json:
            print(json.dumps(asdict(row)))
        else:
            asked = f"   (at least {row.floor:.0f})" if row.floor is not None else ""
            by_cpu = f"{row.game_seconds_per_cpu_second:.0f} by CPU time"
            print(f"{row.what:40s} {row.game_seconds_per_second:8.0f} x real time, {by_cpu}{asked}")


if __name__ == "__main__":
    main()
