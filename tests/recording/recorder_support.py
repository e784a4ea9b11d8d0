"""A recorder running beside a test, on a real X server, with a hand that presses and moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from Xlib import X, display
from Xlib.ext import xtest

from vlm_agent.desktop.windows import choose_window, open_desktop
from vlm_agent.desktop.x11_keys import KeyTable
from vlm_agent.recording.clock import SessionClock
from vlm_agent.recording.devices_x11 import X11Devices
from vlm_agent.recording.hotkeys import Hotkeys, parse_hotkey
from vlm_agent.recording.recorder import Parts, Plan, Recorder
from vlm_agent.recording.screens import open_grabber
from vlm_agent.recording.state_sources import StateSource
from vlm_agent.recording.targets import Target
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.writer import SessionWriter

HOTKEYS = {"start": "f9", "stop": "f10", "goal": "f8", "discard": "f7"}


def make_hotkeys() -> Hotkeys:
    return Hotkeys({action: parse_hotkey(text, action) for action, text in HOTKEYS.items()})  # type: ignore[misc]


def wait_until(done: Callable[[], bool], seconds: float = 15.0) -> None:
    """Fails the test after a while: a busy machine is slow, but not that slow."""
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)


class Hand:
    """Injects input through XTEST, in one order with what else its connection does."""

    def __init__(self) -> None:
        self.display = display.Display()
        self._keys = KeyTable(self.display)

    def move(self, x: int, y: int) -> None:
        xtest.fake_input(self.display, X.MotionNotify, x=x, y=y)

    def push(self, dx: int, dy: int) -> None:
        xtest.fake_input(self.display, X.MotionNotify, detail=1, x=dx, y=dy)

    def button(self, number: int, *, pressed: bool) -> None:
        xtest.fake_input(self.display, X.ButtonPress if pressed else X.ButtonRelease, number)

    def click(self, number: int = 1) -> None:
        self.button(number, pressed=True)
        self.button(number, pressed=False)

    def key(self, name: str, *, pressed: bool) -> None:
        xtest.fake_input(self.display, X.KeyPress if pressed else X.KeyRelease, self._keys.find_code(name))

    def strike(self, name: str) -> None:
        self.key(name, pressed=True)
        self.key(name, pressed=False)

    def window(self, window_id: int) -> Any:
        return self.display.create_resource_object("window", window_id)

    def focus(self, window_id: int) -> None:
        self.window(window_id).set_input_focus(X.RevertToParent, X.CurrentTime)

    def sync(self) -> None:
        self.display.sync()

    def close(self) -> None:
        self.display.close()


class RunningRecorder:
    """Records a window in a thread, until it is stopped."""

    def __init__(
        self, stem: Path, title: str = "A game", *, states: StateSource | None = None, clock: Any = None, **plan: Any
    ) -> None:
        self.clock = clock or SessionClock()
        desktop = open_desktop()
        window = choose_window(desktop, title)
        desktop.close()
        self.target = Target(window.rect, window.title, window.app, window.window_id)
        self._devices = devices = X11Devices(self.clock, window.window_id, with_programs=True)
        self.writer = SessionWriter(stem, width_px=window.rect.width, height_px=window.rect.height, fps=10)
        parts = Parts(self.target, self.clock, devices, open_grabber, states)
        self.recorder = Recorder(parts, Plan(fps=plan.pop("fps", 10.0), hotkeys=make_hotkeys(), **plan), self.writer)
        self.notices: list[str] = []
        self.errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> RunningRecorder:
        self._thread.start()
        wait_until(lambda: self.recorder.counts.capture.frames > 0 or not self._thread.is_alive() or self._is_waiting())
        return self

    def __exit__(self, *_: object) -> None:
        self.recorder.stop()
        self.join()

    def join(self, seconds: float = 20.0) -> None:
        """Wait until it has ended by itself."""
        self._thread.join(seconds)
        assert not self._thread.is_alive()
        if self.errors:
            raise self.errors[0]

    def wait_events(self, count: int) -> None:
        wait_until(lambda: self.recorder.counts.events >= count)

    def wait_notice(self, text: str) -> None:
        wait_until(lambda: any(text in notice for notice in self.notices))

    def read(self) -> SessionReader:
        return SessionReader(self.writer.path)

    def _is_waiting(self) -> bool:
        return self.recorder.counts.paused is not None

    def _run(self) -> None:
        try:
            with self.writer:
                self.recorder.run(lambda: self.notices.extend(self.recorder.read_notices()))
        except Exception as error:  # noqa: BLE001 - handed to the test
            self.errors.append(error)
        finally:
            self._devices.close()


def undated(events: Any) -> list[Any]:
    """Events without their times, as (type, values)."""
    return [
        (type(event).__name__, *(getattr(event, name) for name in event.__dataclass_fields__ if name != "t_ns"))
        for event in events
    ]
