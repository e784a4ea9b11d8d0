"""Recording Ringcraft as it is played: by the demonstrator, or by a person in a window.

Both write the same session a desktop recorder would: frames several times a second, every device event, the game state
at every world tick, the goal, and who is in control.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vlm_agent.actions.events import InputEvent
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.locks import only_writer
from vlm_agent.rollouts.parallel import run_beside

if TYPE_CHECKING:
    from vlm_agent.games.ringcraft.core import Ringcraft
    from vlm_agent.games.ringcraft.drawing import Renderer
    from vlm_agent.games.ringcraft.state import State
    from vlm_agent.games.ringcraft.state_server import StateServer
    from vlm_agent.sessions.writer import SessionWriter

LONG_GOAL = "craft sapphire rings"
"""What the demonstrator does."""

FRAMES_PER_S = 10.0
"""As many as a desktop recorder keeps, unless told otherwise."""
_MOST_FRAMES_PER_S = 50.0
"""One a client tick: between two of them nothing changes."""


Starts = Literal["fresh", "anywhere"]


@dataclass(frozen=True)
class DemonstrationConfig:
    """How the demonstrator's play is recorded."""

    minutes: float = 5.0
    """Game time of each session."""
    player: int = 0
    """Whose habits: the same number plays in the same way, every session a little differently."""
    fps: float = FRAMES_PER_S
    """Frames a second of game time."""
    starts: Starts = "fresh"
    """Where sessions begin: `fresh`, as the game does, or `anywhere` on a trip (see `ringcraft.trip_scenes`)."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a session without a moment or a frame rate that can't be had."""
        if self.minutes <= 0:
            raise ConfigError(f"--minutes must be above 0, got {self.minutes}")
        if not 0 < self.fps <= _MOST_FRAMES_PER_S:
            raise ConfigError(f"--fps must be above 0 and at most {_MOST_FRAMES_PER_S:g}, got {self.fps}")


def record_demonstrations(
    out: Path,
    seeds: Sequence[int],
    config: DemonstrationConfig | None = None,
    *,
    workers: int = 1,
    on_session: Callable[[Path], None] | None = None,
) -> list[Path]:
    """Record one session of the demonstrator for every seed, and return their `.mcap` files in the order of the seeds.

    A session that is there already is kept; one that was cut off is recorded again. Another process that records into
    the folder is waited for.

    Args:
        out: folder for the sessions, named `ringcraft-<seed>`.
        seeds: scenes; the player's form of the day changes with them.
        config: length and player.
        workers: processes; 1 records here.
        on_session: called after every session.

    Raises:
        DataError: a session can't be written.
    """
    config = config or DemonstrationConfig()
    stems = [out / f"ringcraft-{seed}" for seed in seeds]
    jobs = list(zip(stems, seeds, strict=True))
    with only_writer(out, waits=True):
        for path in _record_all(jobs, config, workers):
            if on_session is not None:
                on_session(path)
    return [_mcap(stem) for stem in stems]


def record_demonstration(stem: Path, seed: int, config: DemonstrationConfig) -> Path:
    """Record one session of the demonstrator, unless it is there; return its `.mcap` file."""
    from vlm_agent.games.ringcraft.core import Ringcraft
    from vlm_agent.games.ringcraft.demonstrator import Demonstrator, demonstrate
    from vlm_agent.games.ringcraft.trip_scenes import trip_scene
    from vlm_agent.sessions.appending import remove_unfinished

    path = _mcap(stem)
    if path.exists():
        return path
    for left_over in (".mcap.part", ".mkv.part", ".mkv"):
        remove_unfinished(stem.with_name(stem.name + left_over))
    game = trip_scene(seed) if config.starts == "anywhere" else Ringcraft(seed)
    with _open_session(stem, seed, {"player": f"demonstrator {config.player}"}, config.fps) as writer:
        demonstrator = Demonstrator(seed, player=config.player)
        recorder = GameRecorder(writer, LONG_GOAL, lambda _: demonstrator.current_goal, fps=config.fps)
        try:
            demonstrate(
                game,
                demonstrator,
                round(config.minutes * 60_000),
                on_tick=lambda _, events: recorder.write_tick(game, events),
            )
        except KeyboardInterrupt:
            writer.discard()  # under its name it would be taken for a whole one
            raise
    return path


@dataclass(frozen=True)
class WindowConfig:
    """How a window is opened, and what is offered of the play in it."""

    seed: int = 0
    """The scene."""
    goal: str = LONG_GOAL
    """What the player sets out to do."""
    seconds: float | None = None
    """How long; None until the window is closed."""
    scale: int = 1
    """Screen pixels a frame pixel."""
    state_port: int | None = None
    """TCP port on this machine at which the game state is to be had; 0 takes a free one, None offers none."""


def record_person(
    stem: Path,
    config: WindowConfig,
    *,
    player: str = "person",
    on_tick: Callable[[Ringcraft], object] | None = None,
    on_url: Callable[[str], object] | None = None,
) -> Path:
    """Open a window, let someone play in it, and record the session from inside; return its `.mcap` file.

    Args:
        stem: path of the session without suffix.
        config: the window.
        player: who is said to play.
        on_tick: called with the game before every client tick.
        on_url: called with the address of the game state, where one is offered.

    Raises:
        ConfigError: there is no screen to open a window on, or the port can't be had.
        DataError: the session exists, or can't be written.
    """
    from vlm_agent.games.ringcraft.core import Ringcraft
    from vlm_agent.games.ringcraft.goals import next_step

    if _mcap(stem).exists():
        raise DataError(f"{_mcap(stem)} exists; give another --out or --seed")
    game = Ringcraft(config.seed)
    stem.parent.mkdir(parents=True, exist_ok=True)
    with _open_session(stem, config.seed, {"player": player}) as writer:
        recorder = GameRecorder(writer, config.goal, next_step if config.goal == LONG_GOAL else lambda _: "")
        recorder.write_scene(game)
        play_in_window(game, config, recorder=recorder, on_tick=on_tick, on_url=on_url)
    return _mcap(stem)


def play_in_window(
    game: Ringcraft,
    config: WindowConfig,
    *,
    recorder: GameRecorder | None = None,
    on_tick: Callable[[Ringcraft], object] | None = None,
    on_url: Callable[[str], object] | None = None,
) -> None:
    """Open a window and let someone play in it; see `record_person`."""
    from vlm_agent.desktop.signals import ask_for_signals
    from vlm_agent.games.ringcraft.state_server import StateServer
    from vlm_agent.games.ringcraft.window import Hooks, play

    with ExitStack() as stack:
        is_over = stack.enter_context(ask_for_signals())
        server = None
        if config.state_port is not None:
            server = stack.enter_context(StateServer(config.state_port))
            if on_url is not None:
                on_url(server.url)
        beats = _StateBeat(game, server)
        beats.publish_if_due()

        def tick() -> None:
            if recorder is not None:
                recorder.write_scene(game)
            if on_tick is not None:
                on_tick(game)

        hooks = Hooks(is_over=is_over, on_tick=tick, on_advance=beats.publish_if_due)
        if recorder is not None:
            hooks = replace(hooks, on_events=recorder.write_events)
        play(game, hooks, seconds=config.seconds, scale=config.scale)


class _StateBeat:
    """Publishes the state of every world tick, as exporters of other games do."""

    def __init__(self, game: Ringcraft, server: StateServer | None) -> None:
        self._game, self._server = game, server
        self._tick = -1

    def publish_if_due(self) -> None:
        tick = self._game.state.tick
        if self._server is not None and tick != self._tick:
            self._tick = tick
            self._server.publish(self._game.export())


class GameRecorder:
    """Writes a game in play into a session."""

    def __init__(
        self, writer: SessionWriter, goal: str, short_goal: Callable[[State], str], *, fps: float = FRAMES_PER_S
    ) -> None:
        """Take an open session, the long goal that holds in it, what tells the short one of a moment, and a frame rate.

        An empty short goal changes nothing: the one before goes on.
        """
        from vlm_agent.games.ringcraft.drawing import Renderer

        self._writer = writer
        self._goal = goal
        self._short_goal = short_goal
        self._frame_ns = round(1e9 / fps)
        self._told = ""
        self._renderer: Renderer = Renderer()
        self._next_frame_ns: int | None = None
        self._last_tick: int | None = None

    def write_tick(self, game: Ringcraft, events: list[InputEvent]) -> None:
        """Write the scene before a client tick, and the events about to be fed."""
        self.write_scene(game)
        self.write_events(events)

    def write_scene(self, game: Ringcraft) -> None:
        """Write the frame if one is due, and the state if a world tick has passed."""
        now_ns = game.now_ns
        if self._next_frame_ns is None:
            self._begin(now_ns)
        if self._next_frame_ns is None or now_ns >= self._next_frame_ns:
            self._writer.write_frame(now_ns, self._renderer.draw(game.state))
            self._next_frame_ns = (now_ns // self._frame_ns + 1) * self._frame_ns
        if game.state.tick != self._last_tick:
            self._last_tick = game.state.tick
            self._writer.write_game_state(now_ns, game.export())
        self._tell_short_goal(now_ns, self._short_goal(game.state))

    def write_events(self, events: list[InputEvent]) -> None:
        """Write device events."""
        for event in events:
            self._writer.write_event(event)

    def _tell_short_goal(self, now_ns: int, goal: str) -> None:
        from vlm_agent.sessions.types import Goal

        if goal and goal != self._told:
            self._told = goal
            self._writer.write_goal(now_ns, Goal(now_ns, goal, level="short", source="game"))

    def _begin(self, now_ns: int) -> None:
        from vlm_agent.sessions.types import Goal

        self._writer.write_control(now_ns, "human")
        self._writer.write_goal(now_ns, Goal(now_ns, self._goal, level="long", source="human"))


def _open_session(stem: Path, seed: int, about: dict[str, Any], fps: float = FRAMES_PER_S) -> SessionWriter:
    from vlm_agent.games.ringcraft.env import ACTION_SPEC
    from vlm_agent.sessions.writer import SessionWriter

    return SessionWriter(
        stem,
        width_px=ACTION_SPEC.extent_width,
        height_px=ACTION_SPEC.extent_height,
        fps=fps,
        meta={"title": "Ringcraft", "game": "ringcraft", "seed": seed, "action_spec": ACTION_SPEC.to_json(), **about},
    )


def _mcap(stem: Path) -> Path:
    return stem.with_name(stem.name + ".mcap")


def _record_all(jobs: Sequence[tuple[Path, int]], config: DemonstrationConfig, workers: int) -> Iterator[Path]:
    record = partial(_record_job, config)
    if workers == 1 or len(jobs) < 2:
        return map(record, jobs)
    return run_beside(record, jobs, workers, with_models=False)


def _record_job(config: DemonstrationConfig, job: tuple[Path, int]) -> Path:
    return record_demonstration(*job, config)
