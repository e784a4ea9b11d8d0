"""The executor's process: the only one that may inject input into a real screen.

It is started with its settings as one JSON line on standard input, answers with one line (where it is reached, or why
it does not start), and ends with a line of counts. Standard input stays open as a lifeline: when it ends, or the
parent dies, everything is released and the process ends.
For the user's own games and programs; it hides nothing from anti-cheat systems and is not for games that have them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.desktop.types import Desktop
from vlm_agent.desktop.windows import open_desktop
from vlm_agent.errors import ConfigError, VlmAgentError
from vlm_agent.executors.audit import AuditLog
from vlm_agent.executors.clock import RealClock
from vlm_agent.executors.devices import Control, DryDevice, InjectionDevice, find_missing, join_controls, list_controls
from vlm_agent.executors.endpoints import close_endpoint, open_endpoint
from vlm_agent.executors.focus import FocusGuard, Target
from vlm_agent.executors.guardian import Guardian
from vlm_agent.executors.kill_switch import KillSwitch, StopReason
from vlm_agent.executors.leases import LeaseTerms
from vlm_agent.executors.opening import find_losses, open_device, open_listener, open_reach
from vlm_agent.executors.performer import Performer
from vlm_agent.executors.server import Server, SocketServer
from vlm_agent.executors.terms import Surroundings, Terms
from vlm_agent.executors.watching import DEFAULT_HOTKEYS, PersonWatch, SentLog, Signal, check_hotkeys, read_hotkey
from vlm_agent.safety.rules import plain_key

_SWITCH_S = 0.0005
"""How long a thread may keep the others from running: the one that hears the kill key must not wait 5 ms for it."""
_PR_SET_PDEATHSIG, _PR_SET_TIMERSLACK = 1, 29


@dataclass(frozen=True)
class ExecutorSettings:
    """What an executor is started with; nothing of it can be changed by what is said to it later."""

    target: Target
    """The window."""
    spec: ActionSpec
    """What may be asked for, in pixels of the frame."""
    frame_size: tuple[int, int]
    """Width and height of the frames, pixels."""
    is_live: bool = False
    """Whether anything is injected."""
    audit: Path | None = None
    """File of the audit."""
    hotkeys: tuple[str, ...] = DEFAULT_HOTKEYS
    """Keys with which a person stops it."""
    person_stops: bool = True
    """Whether any input of a person's stops it."""
    leases: LeaseTerms = field(default_factory=LeaseTerms)
    """How long something may be held."""
    session_s: float = 3600.0
    """Longest session."""

    def __post_init__(self) -> None:
        """Raise ConfigError where the model may press what stops it, or could not be stopped by a key."""
        alone = {key for keys in map(read_hotkey, self.hotkeys) if len(keys) == 1 for key in keys}
        taken = sorted(key for key in self.spec.keys if plain_key(key) in alone)
        if taken:
            raise ConfigError(f"--stop-keys: the model may press {', '.join(taken)} itself; give another key")
        if not self.hotkeys:
            raise ConfigError("--stop-keys expects at least one key, got none")
        if not self.session_s > 0:
            raise ConfigError(f"a session must last longer than 0 s, got {self.session_s}")

    @property
    def reserved(self) -> frozenset[str]:
        """Keys that are the person's."""
        return frozenset(key for keys in map(read_hotkey, self.hotkeys) if len(keys) == 1 for key in keys)

    @property
    def controls(self) -> list[Control]:
        """All that the model may press."""
        return list_controls(self.spec)

    def to_json(self) -> dict[str, Any]:
        """Return the plain-data form."""
        return {**asdict(self), "spec": self.spec.to_json(), "audit": str(self.audit) if self.audit else None}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ExecutorSettings:
        """Rebuild them from `to_json`."""
        rebuilt = {
            "target": Target(**value["target"]),
            "spec": ActionSpec.from_json(value["spec"]),
            "frame_size": tuple(value["frame_size"]),
            "audit": Path(value["audit"]) if value["audit"] else None,
            "hotkeys": tuple(value["hotkeys"]),
            "leases": LeaseTerms(**value["leases"]),
        }
        return cls(**{**value, **rebuilt})


@dataclass(frozen=True)
class _Hands:
    """What acts, and what stops it; in a dry run only the first, which does nothing."""

    device: InjectionDevice
    watch: PersonWatch | None = None
    guardian: Guardian | None = None
    missing: tuple[Control, ...] = ()
    """What the model may press and this desktop does not have."""


class Executor:
    """All parts of the process, put together."""

    def __init__(self, settings: ExecutorSettings, stack: ExitStack) -> None:
        """Open everything.

        Args:
            settings: what it may do.
            stack: closes everything, the last opened first.

        Raises:
            ConfigError: something that live use needs is not to be had.
        """
        self._clock = RealClock()
        self._on_change: Callable[[], None] = lambda: None
        self.kill = KillSwitch()
        desktop = open_desktop()
        stack.callback(desktop.close)
        reach = None
        if settings.is_live:
            reach = open_reach(desktop, lambda: self._on_change())
            stack.callback(reach.close)
        guard = FocusGuard(desktop, settings.target, settings.frame_size, reach, find_losses())
        hands = _open_hands(settings, desktop, self.kill, stack) if settings.is_live else _Hands(DryDevice())
        if hands.guardian is not None and reach is not None and reach.client is not None:
            hands.guardian.name_client(reach.client)
        about = {"window": guard.window.title, "is_live": settings.is_live, "frame_size": list(settings.frame_size)}
        audit = stack.enter_context(AuditLog(settings.audit, about))
        terms = Terms(settings.spec, leases=settings.leases, reserved=settings.reserved, session_s=settings.session_s)
        around = Surroundings(hands.device, guard, self.kill, audit, self._clock, wake=self._clock.wake, **_ask(hands))
        self.performer = Performer(terms, around)
        self._on_change = self.performer.look
        if hands.watch is not None:
            hands.watch.is_armed = self.performer.is_running
        self.notes = _note_missing(hands.missing)
        """What a person should know of it, a line each."""
        self.endpoint, listening = open_endpoint(guard.window.title, is_live=settings.is_live)
        stack.callback(close_endpoint, self.endpoint)
        self._server = SocketServer(Server(self.performer, self.kill, self.endpoint.token), listening)
        stack.callback(self._server.close)
        self._is_over = False

    def serve(self, source: int) -> None:
        """Play and answer until the lifeline ends or a signal says so; then release everything.

        Args:
            source: file descriptor of the lifeline.
        """
        player = threading.Thread(target=self.performer.run, args=(self._clock.sleep_until,), name="player")
        threading.Thread(target=self._follow_lifeline, args=(source,), name="lifeline", daemon=True).start()
        with self._signals():
            player.start()
            try:
                while player.is_alive() and not self._is_over:
                    self._server.serve_once(0.05)
            finally:
                self.performer.close()
                player.join()

    def _follow_lifeline(self, source: int) -> None:
        with contextlib.suppress(OSError):
            while os.read(source, 4096):
                pass
        self._end(StopReason.POLICY_GONE)

    def _end(self, reason: StopReason) -> None:
        self.kill.throw(reason)
        self._is_over = True

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        # A handler runs between any two instructions, so it only leaves a byte; the loop throws the switch.
        calls: dict[int, Callable[[], None]] = {}
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            if hasattr(signal, name):
                calls[getattr(signal, name)] = lambda: self._end(StopReason.SIGNAL)
        if hasattr(signal, "SIGUSR1"):
            calls[signal.SIGUSR1] = lambda: self.kill.throw(StopReason.SIGNAL)
        reader, writer = socket.socketpair()
        for side in (reader, writer):
            side.setblocking(False)
        for number in calls:
            signal.signal(number, lambda *_: None)
        before = signal.set_wakeup_fd(writer.fileno())

        def read() -> None:
            for number in reader.recv(64):
                calls.get(number, lambda: None)()

        self._server.watch(reader, read)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            reader.close()
            writer.close()


def _open_hands(settings: ExecutorSettings, desktop: Desktop, kill: KillSwitch, stack: ExitStack) -> _Hands:
    """Open what live use takes; fails where a person could not stop it, or nobody would clear up after it."""
    sent = SentLog()
    watch = PersonWatch(sent, kill, desktop.screen, hotkeys=settings.hotkeys, person_stops=settings.person_stops)
    guardian = Guardian(settings.leases)
    stack.callback(guardian.close)
    device = open_device(sent, desktop)
    stack.callback(device.close)
    missing = find_missing(device, settings.controls)

    def hear(heard: Signal, now_ns: int) -> None:
        if not heard.is_down and heard.kind != "move":
            # What the guardian lets go of is no person's doing; it says so before it does.
            for control in guardian.read_released():
                sent.note(Signal(control.kind, control.code or 0), now_ns)
        watch.hear(heard, now_ns)

    listener = open_listener(hear)
    check_hotkeys(settings.hotkeys, listener.hears)
    listener.on_lost = lambda: kill.throw(StopReason.LISTENER_LOST)
    stack.callback(listener.close)
    if not listener.is_alive:
        raise ConfigError("input is not heard any more, so nobody could stop the agent; it is not used live")
    return _Hands(device, watch, guardian, tuple(missing))


def _note_missing(missing: tuple[Control, ...]) -> list[str]:
    if not missing:
        return []
    names = join_controls(list(missing))
    return [
        f"{names} can't be pressed on this desktop: what the model does with it is left out, and counted as no_such_key"
    ]


def _ask(hands: _Hands) -> dict[str, Any]:
    asked: dict[str, Any] = {"list_names": hands.device.list_names}
    device, watch, guardian = hands.device, hands.watch, hands.guardian
    if watch is not None:
        asked |= {"keys_down": lambda: watch.keys_down, "last_person_ns": lambda: watch.last_person_ns}
    if guardian is not None:
        asked |= {"tell_hold": guardian.tell_hold, "pulse": guardian.pulse}
        asked["warn"] = lambda control, is_down: guardian.warn(device.find(control) if is_down else control, is_down)
    return asked


def die_with_parent(parent: int) -> None:
    """Have the system end this process when its parent ends (Linux); elsewhere the lifeline alone does it."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise ConfigError("whoever started the executor is gone")


def run_first() -> None:
    """Ask to be run before other processes, whose work would make events late; it may not be granted."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # else a sleep may end 50 us late
        with contextlib.suppress(OSError):
            # Threads started from here on inherit it. Niceness would count within this session alone.
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def main() -> int:
    """Be an executor; returns the exit code."""
    lifeline = sys.stdin.fileno()
    line = _read_line(lifeline)
    sys.setswitchinterval(_SWITCH_S)
    run_first()
    try:
        value = json.loads(line)
        die_with_parent(value.pop("parent"))
        with ExitStack() as stack:
            executor = Executor(ExecutorSettings.from_json(value), stack)
            _tell({"ready": True, "endpoint": str(executor.endpoint.path), "notes": executor.notes})
            executor.serve(lifeline)
            counts = executor.performer.describe()
        _tell({"counts": counts})
    except VlmAgentError as error:
        _tell({"ready": False, "error": " ".join(str(error).split())})
        return 2
    return 0


def _read_line(source: int) -> bytes:
    # Byte by byte: a buffered reader would take more than the line from the lifeline.
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(source, 1)
        if not byte:
            break
        line += byte
    return line


def _tell(value: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # nobody may be left to read it
        os.write(sys.stdout.fileno(), json.dumps(value).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
