"""A window of the real screen as an environment: frames from it, chunks to the executor, on a clock that never waits.

It can't inject anything; the executor's process does, or does not (see `executors`). What the session keeps as device
events are those that the executor says it sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.actions.placement import Placement
from vlm_agent.actions.playback import NS_PER_MS
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk
from vlm_agent.desktop.screen import ScreenGrabber
from vlm_agent.desktop.types import Desktop, WindowInfo
from vlm_agent.errors import ConfigError
from vlm_agent.executors.client import ExecutorClient

GameStateReader = Callable[[], dict[str, Any] | None]
"""Returns the game's latest export at once; None where there is none."""

TICK_SLACK = 0.1
"""A state that comes so much of a horizon early is the next tick's; one that is so much late is not waited for."""
_ASK_AGAIN_S = 0.1


@dataclass(frozen=True)
class View:
    """What the environment looks at."""

    desktop: Desktop
    """Told where the window is."""
    window: WindowInfo
    """The window."""
    grabber: ScreenGrabber
    """Takes its pictures."""
    read_state: GameStateReader = lambda: None
    """Tells the game's state."""
    wait_for_news: Callable[[float], bool] | None = None
    """Waits so many seconds for a new state; None where there is none to wait for."""
    state_age_ns: Callable[[], int | None] = lambda: None
    """Tells how old the state is, nanoseconds."""


class DesktopEnvironment:
    """Plays in one window through an executor; ends when the executor stops or the window is closed."""

    def __init__(
        self,
        client: ExecutorClient,
        view: View,
        spec: ActionSpec,
        *,
        wait_s: float = 60.0,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Take what acts and what sees; both are closed with this.

        Args:
            client: a started executor for the same window and frames.
            view: the window.
            spec: what may be done, in pixels of the frame.
            wait_s: how long to wait at the beginning for the window to get the focus.
            tell: takes a line for the person, when the executor waits, pauses or stops.
        """
        self._client = client
        self._view = view
        self._spec = spec
        self._wait_s = wait_s
        self._tell = tell
        self._codec = make_codec("json")
        self._utc_ns = 0
        self._captured_ns = self._due_ns = self._tick_ns = 0
        self._size = (view.window.rect.width, view.window.rect.height)
        self._frame = np.zeros((spec.extent_height, spec.extent_width, 3), np.uint8)
        self._pointer = (0, 0)
        self._number = 0
        self._told = ""
        self.counts: dict[str, Any] | None = None

    @property
    def spec_actions(self) -> ActionSpec:
        """What it takes, in pixels of the frame."""
        return self._spec

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Wait until the executor may act, and return the first frame; the window's program is left as it is.

        Raises:
            ConfigError: the window did not get the focus in time, or the executor was stopped before it began.
        """
        until = time.monotonic() + self._wait_s
        while True:
            answer = self._submit(ActionChunk(), time.perf_counter_ns())
            if answer["ok"]:
                break
            if answer["reason"] not in ("waiting", "too_fast"):
                raise ConfigError(f"the executor does not act: {answer['reason']} {answer['detail']}".strip())
            if time.monotonic() > until:
                raise ConfigError(f"waited {self._wait_s:g} s: {answer['detail']}; click into it, and let go")
            self._note(f"waiting: {answer['detail']}; click into {self._view.window.title!r} and let go of the mouse")
            time.sleep(_ASK_AGAIN_S)
        self._note("")
        self._utc_ns = time.time_ns() - time.perf_counter_ns()
        if self._view.wait_for_news is not None:
            # The first decision is at a tick, too.
            self._view.wait_for_news(0.0)
            self._view.wait_for_news(2 * self._spec.horizon_ms / 1000)
        self._capture()
        self._due_ns = self._captured_ns
        self._tick_ns = self._find_tick()
        self._ask_events()
        return self._frame, self._describe(())

    def step(self, action: ActionChunk) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Have a chunk played from the last tick on, and return the frame of the next tick.

        Where the game tells its state, its next state is the tick, as it was for the recordings that were learnt from
        (see `clips.tick_times`); else, and where none comes, one horizon later. On a clock that does not wait the tick
        may be past already; then the present frame is returned at once.
        """
        self._submit(action, self._tick_ns)
        self._wait_for_tick()
        is_there = self._capture()
        self._tick_ns = self._find_tick()
        status = self._ask_events()
        is_over = status["state"] == "stopped" or not is_there
        if status["state"] in ("paused", "stopped"):
            hint = "; `vlm-agent resume` lets it go on" if status["state"] == "paused" and is_there else ""
            self._note(f"{status['state']}: {status['reason']}{hint}")
        elif not is_there:
            self._note(f"{self._view.window.title!r} is closed")
        else:
            self._note("")
        # In a dry run nothing happened to the window, whatever would have.
        events = tuple(self._read_events(status["events"])) if self._client.endpoint.is_live else ()
        return self._frame, 0.0, is_over, False, self._describe(events)

    def close(self) -> None:
        """End the executor, and keep its counts."""
        self.counts = self._client.close()
        self._view.grabber.close()
        self._view.desktop.close()

    def _wait_for_tick(self) -> None:
        horizon_ns = self._spec.horizon_ms * NS_PER_MS
        wait_for_news = self._view.wait_for_news
        if wait_for_news is None:
            self._due_ns += horizon_ns
            _sleep_until(self._due_ns)
            return
        slack_ns = round(TICK_SLACK * horizon_ns)
        # What has come by then is of the tick that was decided on.
        _sleep_until(self._tick_ns + horizon_ns - slack_ns)
        wait_for_news(0.0)
        left_ns = self._tick_ns + horizon_ns + slack_ns - time.perf_counter_ns()
        wait_for_news(max(0.0, left_ns / 1e9))

    def _find_tick(self) -> int:
        """Return when the tick was that the last frame shows: a state comes a little after it."""
        age_ns = self._view.state_age_ns()
        if age_ns is None or not 0 <= age_ns < TICK_SLACK * self._spec.horizon_ms * NS_PER_MS:
            return self._captured_ns
        return min(self._captured_ns, time.perf_counter_ns() - age_ns)

    def _submit(self, chunk: ActionChunk, start_ns: int) -> dict[str, Any]:
        self._number += 1
        return self._client.send_chunk(self._number, start_ns, self._size, self._codec.encode(chunk, self._spec))

    def _ask_events(self) -> dict[str, Any]:
        return self._client.connection.ask("status", events=True)

    def _capture(self) -> bool:
        """Take a picture of the window as it is now; False where it is closed, and the last one stays."""
        window = self._view.desktop.describe(self._view.window.window_id)
        if window is not None:
            placement = Placement.fit(window.rect, self._spec.extent_width, self._spec.extent_height)
            self._size = (window.rect.width, window.rect.height)
        # What is seen was there when the grabbing began.
        self._captured_ns = time.perf_counter_ns()
        if window is not None:
            self._frame = self._view.grabber.grab_frame(placement)
        return window is not None

    def _describe(self, events: tuple[InputEvent, ...]) -> dict[str, Any]:
        return {
            "t_ns": self._captured_ns + self._utc_ns,
            "game_state": self._view.read_state(),
            "score": 0.0,
            "is_success": False,
            "events": events,
        }

    def _read_events(self, told: Iterable[dict[str, Any]]) -> Iterable[InputEvent]:
        for one in told:
            event = read_event(one, self._pointer, self._utc_ns)
            if event is None:
                continue
            if not isinstance(event, KeyChanged):
                self._pointer = (event.x, event.y)
            yield event

    def _note(self, line: str) -> None:
        if line and line != self._told:
            self._tell(line)
        self._told = line


def _sleep_until(due_ns: int) -> None:
    left_ns = due_ns - time.perf_counter_ns()
    if left_ns > 0:
        time.sleep(left_ns / 1e9)


def read_event(told: dict[str, Any], at: tuple[int, int], utc_ns: int) -> InputEvent | None:
    """Return a sent event as sessions keep it; None for a move by an offset.

    Args:
        told: as the executor's status tells it.
        at: where the pointer is, frame pixels, for a button that was let go without a point.
        utc_ns: UTC minus the executor's clock.
    """
    t_ns = int(told["t_ns"]) + utc_ns
    if told["kind"] == "key":
        return KeyChanged(t_ns, told["key"], told["pressed"])
    x, y = told.get("x", at[0]), told.get("y", at[1])
    if told["kind"] == "button":
        return ButtonChanged(t_ns, x, y, told["button"], told["pressed"])
    if told["kind"] == "wheel":
        return WheelTurned(t_ns, x, y, told["dx"], told["dy"])
    return None if "offset" in told else PointerMoved(t_ns, x, y)
