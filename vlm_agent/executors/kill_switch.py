"""The kill switch: once thrown it stays thrown, whoever threw it, until it is reset on purpose."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class StopReason(StrEnum):
    """Who or what threw the switch."""

    HOTKEY = "hotkey"
    PERSON = "person"
    CORNER = "corner"
    COMMAND = "command"
    SIGNAL = "signal"
    POLICY_GONE = "policy_gone"
    LISTENER_LOST = "listener_lost"
    GUARDIAN_LOST = "guardian_lost"
    DEVICE_LOST = "device_lost"
    AUDIT_FAILED = "audit_failed"
    OVER = "session_over"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Stop:
    """A thrown switch."""

    reason: StopReason
    """Who or what."""
    detail: str = ""
    """In words."""


class KillSwitch:
    """May be thrown by any thread, but not out of a signal handler (see `process`): it takes a lock."""

    def __init__(self) -> None:
        """Begin unthrown."""
        self._lock = threading.Lock()
        self._stop: Stop | None = None
        self._listeners: list[Callable[[], None]] = []

    @property
    def stop(self) -> Stop | None:
        """The first throw since the last reset; None as long as there is none."""
        return self._stop

    def throw(self, reason: StopReason, detail: str = "") -> None:
        """Stop everything; a switch that is thrown already keeps its reason."""
        with self._lock:
            if self._stop is None:
                self._stop = Stop(reason, detail)
        for listener in self._listeners:
            listener()

    def reset(self) -> None:
        """Make it possible to go on; only ever asked for by a person."""
        with self._lock:
            self._stop = None

    def call_when_thrown(self, listener: Callable[[], None]) -> None:
        """Have something called at every throw, in the throwing thread; it must be quick and must not fail."""
        self._listeners.append(listener)
