"""A fake desktop and device, and a started executor, for tests of the executor."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.placement import Rect
from vlm_agent.actions.playback import NS_PER_MS
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk
from vlm_agent.desktop.types import Obstacle, Place, WindowInfo
from vlm_agent.executors.audit import AuditLog
from vlm_agent.executors.client import ExecutorClient
from vlm_agent.executors.devices import Control
from vlm_agent.executors.focus import FocusGuard, Target
from vlm_agent.executors.kill_switch import KillSwitch
from vlm_agent.executors.performer import Performer
from vlm_agent.executors.process import ExecutorSettings
from vlm_agent.executors.protocol import Chunk
from vlm_agent.executors.terms import State, Surroundings, Terms

SPEC = ActionSpec(400, 300, keys=("a", "w", "space", "shift", "ctrl", "alt", "f4"))
TITLE = "A game"
WINDOW = WindowInfo(7, TITLE, Rect(100, 50, 400, 300), "game", 77)


class FakeDesktop:
    """One window, on which the test decides everything."""

    def __init__(self) -> None:
        self.screen = Rect(0, 0, 1280, 800)
        self.window: WindowInfo | None = WINDOW
        self.focused: int | None = WINDOW.window_id
        self.on_top: int | None = WINDOW.window_id
        self.pointer = (300, 200)
        self.grabbed: Obstacle | None = None
        self.is_held = False
        self.is_there = False
        self.others: list[WindowInfo] = []

    def list_windows(self) -> list[WindowInfo]:
        return [self.window, *self.others] if self.window else self.others

    def describe(self, window_id: int) -> WindowInfo | None:
        return self.window

    def exists(self, window_id: int) -> bool:
        return self.is_there

    def find_focused(self) -> int | None:
        return self.focused

    def find_at(self, x: int, y: int) -> int | None:
        return self.on_top

    def read_pointer(self) -> tuple[int, int]:
        return self.pointer

    def find_obstacle(self, window: WindowInfo, place: Place, code: int | None = None) -> Obstacle | None:
        if self.grabbed is not None:
            return self.grabbed
        if self.focused != window.window_id:
            return Obstacle.FOCUS
        if self.window is None or self.window.rect != window.rect:
            return Obstacle.MOVED
        return Obstacle.COVERED if place is not None and self.on_top != window.window_id else None

    @contextmanager
    def hold_still(self) -> Iterator[None]:
        assert not self.is_held
        self.is_held = True
        yield
        self.is_held = False

    def close(self) -> None:
        pass


@dataclass
class FakeClock:
    """Time that passes when somebody waits; `at` has things happen on the way."""

    t_ns: int = 10**12
    at: list[tuple[int, Any]] = field(default_factory=list)

    def now_ns(self) -> int:
        return self.t_ns

    def wait_until(self, t_ns: int, is_over: Any) -> None:
        for due_ns, call in sorted(self.at, key=lambda entry: entry[0]):
            if due_ns <= t_ns and not is_over():
                self.at.remove((due_ns, call))
                self.t_ns = max(self.t_ns, due_ns)
                call()
        if not is_over():
            self.t_ns = max(self.t_ns, t_ns)


class RecordingDevice:
    """Writes down what would be injected, and when."""

    def __init__(self, desktop: FakeDesktop, clock: FakeClock) -> None:
        self.desktop = desktop
        self.clock = clock
        self.sent: list[tuple[int, Any]] = []
        self.down: list[Control] = []

    def find(self, control: Control) -> Control:
        return control

    def find_missing(self, controls: list[Control]) -> list[Control]:
        return []

    def move(self, x: int, y: int) -> None:
        self.desktop.pointer = (x, y)
        self._note(("move", x, y))

    def move_by(self, dx: int, dy: int) -> None:
        self._note(("by", dx, dy))

    def press(self, control: Control) -> None:
        assert control not in self.down
        self.down.append(control)
        self._note(("down", control.name))

    def release(self, control: Control) -> None:
        self.down.remove(control)
        self._note(("up", control.name))

    def turn(self, dx: int, dy: int) -> None:
        self._note(("turn", dx, dy))

    def close(self) -> None:
        pass

    def _note(self, what: Any) -> None:
        self.sent.append((self.clock.now_ns(), what))


class Bench:
    """A performer on a fake desktop, stepped by the test."""

    def __init__(self, spec: ActionSpec = SPEC, audit: Path | None = None, **terms: Any) -> None:
        self.spec = spec
        self.clock = FakeClock()
        self.desktop = FakeDesktop()
        self.device = RecordingDevice(self.desktop, self.clock)
        self.kill = KillSwitch()
        self.audit = AuditLog(audit)
        self.keys_down: frozenset[str] = frozenset()
        self.list_names: Callable[[Control], frozenset[str]] = lambda control: frozenset()
        self.touched_ns: int | None = None
        self.warned: list[tuple[str, bool, int]] = []
        guard = FocusGuard(self.desktop, Target(TITLE), (spec.extent_width, spec.extent_height), self.desktop)
        around = Surroundings(
            self.device,
            guard,
            self.kill,
            self.audit,
            self.clock,
            warn=lambda control, is_down: self.warned.append((control.name, is_down, len(self.device.sent))),
            list_names=lambda control: self.list_names(control),
            keys_down=lambda: self.keys_down,
            last_person_ns=lambda: self.touched_ns,
        )
        self.performer = Performer(Terms(spec, **terms), around)
        self.begin_ns = self.clock.t_ns

    def send(self, *actions: Any, start_ms: float | None = None, window: tuple[int, int] = (400, 300)) -> Any:
        """Submit a chunk whose time begins now, or at a time since the bench began."""
        start_ns = self.clock.t_ns if start_ms is None else self.begin_ns + int(start_ms * NS_PER_MS)
        text = make_codec("json").encode(ActionChunk(actions), self.spec)
        return self.performer.submit(Chunk(1, start_ns, window, text))

    def play(self, until_ms: float, *, beats: bool = True) -> None:
        """Let time pass up to a moment since the bench began."""
        until_ns = self.begin_ns + int(until_ms * NS_PER_MS)
        while self.clock.t_ns < until_ns:
            if beats:
                self.performer.beat()
            next_ns = min(self.performer.step(), until_ns)
            self.clock.wait_until(max(next_ns, self.clock.t_ns + 1), self._is_woken)
        self.performer.step()

    def _is_woken(self) -> bool:
        return self.kill.stop is not None and self.performer.state is not State.STOPPED

    @property
    def sent(self) -> list[tuple[float, Any]]:
        """What was injected, with milliseconds since the bench began."""
        return [((t_ns - self.begin_ns) / NS_PER_MS, what) for t_ns, what in self.device.sent]

    def presses(self) -> list[tuple[float, Any]]:
        """The same without moves."""
        return [(t_ms, what) for t_ms, what in self.sent if what[0] != "move"]


def encode(*actions: Any, spec: ActionSpec = SPEC) -> str:
    """Return a chunk's text."""
    return make_codec("json").encode(ActionChunk(actions), spec)


def play_live(client: ExecutorClient, *actions: Any, window: tuple[int, int] = (400, 300)) -> dict[str, Any]:
    """Send a chunk that begins in a moment, so that its first action is not late on a busy machine."""
    return client.send_chunk(1, time.perf_counter_ns() + 20 * NS_PER_MS, window, encode(*actions))


@contextmanager
def live(folder: Path, **changes: Any) -> Iterator[ExecutorClient]:
    """A live executor on the display of the test, for the window `TITLE`."""
    settings = ExecutorSettings(Target(TITLE), SPEC, (400, 300), is_live=True, audit=folder / "audit.jsonl")
    with ExecutorClient(replace(settings, **changes)) as client:
        yield client


def wait_for(what: Any, seconds: float = 5.0) -> None:
    """Return as soon as something holds; fails the test after a while."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.001)


@contextmanager
def policy_process(folder: Path, text: str) -> Iterator[subprocess.Popen[str]]:
    """A process of its own that starts an executor and sends it a chunk, as a policy does; prints the executor's id."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("acting_policy.py")), str(folder), text],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
