"""The one place that decides, event by event, whether something is injected, and does it.

A performer is waiting, running, paused or stopped. Waiting ends by itself, when a chunk comes while the window has the
focus and no person has touched anything for half a second. A pause and a stop end by `resume` alone, which leads back
to waiting; both release everything that is held. Any thread may call it; events go out in the one that calls `run`.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Any

from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.events import PointerMoved, WheelTurned
from vlm_agent.actions.invalid import InvalidActionError
from vlm_agent.actions.lateness import drop_late
from vlm_agent.actions.playback import NS_PER_MS, expand
from vlm_agent.actions.types import Action, ActionChunk, Key
from vlm_agent.desktop.types import Obstacle, Place
from vlm_agent.executors.audit import AuditFailedError
from vlm_agent.executors.devices import Control, DeviceLostError, GuardianLostError
from vlm_agent.executors.focus import Aim, Misdirected
from vlm_agent.executors.kill_switch import StopReason
from vlm_agent.executors.leases import Leases
from vlm_agent.executors.limits import LimitKeeper
from vlm_agent.executors.plans import Planned, Queue, plan_offsets
from vlm_agent.executors.protocol import Chunk, Refused, RequestRefusedError
from vlm_agent.executors.terms import State, Surroundings, Terms
from vlm_agent.safety.rules import plain_key

LEAD_NS = 5 * NS_PER_MS
"""How long before its deadline an event is judged, so that the judging does not make it late. What has come between
since then is looked at once more when it is due."""
_LOOK_NS = 50 * NS_PER_MS
"""How often it is looked who gets what is held down; a change that is told of is looked at at once."""
_LATE_NS = 50 * NS_PER_MS
"""What is later than this is not injected: done then, it would be another action."""
_FUTURE_NS = 1000 * NS_PER_MS
_HANDS_OFF_NS = 500 * NS_PER_MS
_MOST_CHUNKS_PER_S = 20
_MOST_REPORTED = 4096


class Performer:
    """Injects the events of chunks at their times, as long as everything speaks for it."""

    def __init__(self, terms: Terms, around: Surroundings) -> None:
        """Begin waiting."""
        self._terms = terms
        self._around = around
        self._codec = make_codec("json")
        self._lock = threading.RLock()
        self._queue = Queue()
        self._leases = Leases(terms.leases)
        self._limits = LimitKeeper(terms.limits)
        self._num_chunks = 0
        self._num_late = 0
        self._chunk_times_ns: list[int] = []
        self._beat_ns: int | None = None
        self._began_ns: int | None = None
        self._report: list[dict[str, Any]] = []
        self._is_closing = False
        self._looked_ns = 0
        self.state = State.WAITING
        self.reason = ""
        around.kill.call_when_thrown(around.wake)

    def submit(self, chunk: Chunk) -> dict[str, Any]:
        """Plan a chunk; return how many events that makes and how many actions came too late.

        It replaces what is still planned of chunks before it, releases aside, and renews what is held.

        Raises:
            RequestRefusedError: it is not legal, not now, or not in time.
        """
        with self._lock:
            now_ns = self._around.clock.now_ns()
            self._check_pace(now_ns)
            actions = self._read(chunk)
            self._check_start(chunk.start_ns, now_ns)
            try:
                self._begin(now_ns)
                planned, num_late = self._plan(chunk, actions, now_ns)
            except DeviceLostError as error:
                self._around.kill.throw(StopReason.DEVICE_LOST)
                raise RequestRefusedError(Refused.STOPPED, str(error)) from error
            self._leases.renew(now_ns)
            for replaced in self._queue.remove(releases=False):
                self._around.audit.write_dropped(replaced.describe(), replaced.due_ns, now_ns, "replaced")
            for one in planned:
                self._queue.add(one)
            self._num_late += num_late
            self._around.audit.write_note(
                "chunk", now_ns, number=chunk.number, chunk=self._num_chunks, text=chunk.text, late_actions=num_late
            )
            self._around.wake()
            return {"events": len(planned), "late": num_late}

    def beat(self) -> None:
        """Note that the policy is alive."""
        self._beat_ns = self._around.clock.now_ns()

    def resume(self) -> None:
        """Go back to waiting after a pause or a stop."""
        with self._lock:
            self._settle()
            self._around.kill.reset()
            if self.state in (State.PAUSED, State.STOPPED):
                self._enter(State.WAITING, "")
            self._beat_ns = None

    def look(self) -> None:
        """Have it looked at once who gets what is held down, as that may have changed."""
        self._looked_ns = 0
        self._around.wake()

    def describe(self, *, events: bool = False) -> dict[str, Any]:
        """Return state and counts as plain data, with the events sent since this was last asked where wanted."""
        with self._lock:
            self._settle()
            told: dict[str, Any] = {
                "state": str(self.state),
                "reason": self.reason,
                "held": [str(control) for control in self._leases.held],
                "pending": len(self._queue),
                "late_actions": self._num_late,
                **self._around.audit.describe(),
            }
            if events:
                told["events"], self._report = self._report, []
            return told

    def is_running(self) -> bool:
        """Return whether it acts, so that a person's hand on the mouse means stop."""
        return self.state is State.RUNNING

    def run(self, sleep_until: Callable[[int], None]) -> None:
        """Inject until `close`; whatever ends it, everything is released.

        Args:
            sleep_until: sleeps to a time on the clock, or until woken.
        """
        try:
            while not self._is_closing:
                next_ns = self.step()
                sleep_until(next_ns)
        except GuardianLostError:
            self._around.kill.throw(StopReason.GUARDIAN_LOST)
        except DeviceLostError:
            self._around.kill.throw(StopReason.DEVICE_LOST)
        except AuditFailedError as error:
            self._around.kill.throw(StopReason.AUDIT_FAILED, str(error))
        finally:
            # Also for an error of ours: first of all nothing may stay down.
            self._around.kill.throw(StopReason.FAILED)
            self._let_go()

    def close(self) -> None:
        """End `run`."""
        self._is_closing = True
        self._around.wake()

    def step(self) -> int:
        """Do all that is due, and return when to come back at the latest."""
        clock = self._around.clock
        while True:
            with self._lock:
                now_ns = clock.now_ns()
                self._settle()
                if len(self._leases) and self._around.pulse():
                    self._enter(State.PAUSED, "frozen")
                self._check_times(now_ns)
                self._check_held(now_ns)
                for control in self._leases.find_expired(now_ns):
                    self._release(control, now_ns, "lease")
                due_ns = self._queue.next_ns
                if due_ns is None or due_ns > now_ns + LEAD_NS:
                    return self._find_next(now_ns)
                self._perform(self._queue.take())

    # What follows is called with the lock held.

    def _check_pace(self, now_ns: int) -> None:
        if self._around.kill.stop is not None:
            raise RequestRefusedError(Refused.STOPPED, str(self._around.kill.stop.reason))
        if self.state is State.PAUSED:
            raise RequestRefusedError(Refused.PAUSED, self.reason)
        recent = [t_ns for t_ns in self._chunk_times_ns if t_ns > now_ns - _FUTURE_NS]
        self._chunk_times_ns = [*recent, now_ns]
        if len(recent) >= _MOST_CHUNKS_PER_S:
            self._chunk_times_ns = recent
            raise RequestRefusedError(Refused.TOO_FAST, f"at most {_MOST_CHUNKS_PER_S} chunks a second")

    def _read(self, chunk: Chunk) -> ActionChunk:
        try:
            actions = self._codec.decode(chunk.text, self._terms.spec)
        except InvalidActionError as error:
            raise RequestRefusedError(Refused.BAD_CHUNK, str(error.reason)) from error
        keys = {plain_key(action.key) for action in actions.actions if isinstance(action, Key)}
        if keys & self._terms.reserved:
            raise RequestRefusedError(Refused.RESERVED_KEY, "a stop key is the person's")
        return actions

    def _check_start(self, start_ns: int, now_ns: int) -> None:
        oldest_ns = now_ns - 2 * self._terms.spec.horizon_ms * NS_PER_MS
        if not oldest_ns <= start_ns <= now_ns + _FUTURE_NS:
            raise RequestRefusedError(Refused.BAD_START, f"{(start_ns - now_ns) // NS_PER_MS} ms from now")

    def _begin(self, now_ns: int) -> None:
        if self.state is State.RUNNING:
            return
        obstacle = self._around.guard.find_obstacle()
        if obstacle is not None:
            raise RequestRefusedError(Refused.WAITING, _WORDS.get(obstacle, str(obstacle)))
        touched_ns = self._around.last_person_ns()
        if touched_ns is not None and now_ns - touched_ns < _HANDS_OFF_NS:
            raise RequestRefusedError(Refused.WAITING, "a person is using mouse or keyboard")
        self._began_ns = self._began_ns or now_ns
        self._beat_ns = now_ns
        self._enter(State.RUNNING, "")

    def _plan(self, chunk: Chunk, actions: ActionChunk, now_ns: int) -> tuple[list[Planned], int]:
        self._num_chunks += 1
        passed_ms = max(math.ceil((now_ns - chunk.start_ns) / NS_PER_MS), 0)
        ahead, num_late = drop_late(actions, passed_ms)
        if passed_ms and ahead.actions:
            # Time has passed since the frame: the path to the first point begins now.
            first = ahead.actions[0]
            ahead = ActionChunk((_sooner(first, passed_ms), *ahead.actions[1:]))
        window = self._around.guard.find()
        is_relative = self._terms.spec.pointer == "relative"
        pointer = (0, 0) if is_relative or window is None else self._around.guard.find_pointer(window)
        events = expand(
            ahead,
            start_t_ns=chunk.start_ns + passed_ms * NS_PER_MS,
            pointer=pointer,
            horizon_ms=self._terms.spec.horizon_ms,
            relative=is_relative,
        )
        offsets = plan_offsets(events, pointer)
        number, size = self._num_chunks, chunk.window
        return [Planned(event, number, size, by if is_relative else None) for event, by in offsets], num_late

    def _settle(self) -> None:
        """Bring the state in line with the kill switch."""
        stop = self._around.kill.stop
        if stop is not None and self.state is not State.STOPPED:
            self._enter(State.STOPPED, " ".join(filter(None, [str(stop.reason), stop.detail])))

    def _check_times(self, now_ns: int) -> None:
        if self.state is not State.RUNNING:
            return
        if self._beat_ns is not None and now_ns - self._beat_ns > self._terms.heartbeat_ms * NS_PER_MS:
            self._enter(State.PAUSED, "no_heartbeat")
        elif self._began_ns is not None and now_ns - self._began_ns > self._terms.session_s * 1e9:
            self._around.kill.throw(StopReason.OVER)
            self._settle()

    def _check_held(self, now_ns: int) -> None:
        """Let go where another program gets what is held down: the server would repeat a key to it."""
        if self.state is not State.RUNNING or not len(self._leases) or now_ns - self._looked_ns < _LOOK_NS:
            return
        self._looked_ns = now_ns
        obstacle = self._around.guard.find_obstacle()
        if obstacle is not None and obstacle not in _PASSING:
            self._pause(obstacle)

    def _find_next(self, now_ns: int) -> int:
        idle_ns = now_ns + 50 * NS_PER_MS
        due_ns = self._queue.next_ns
        times_ns = [idle_ns, self._leases.next_ns, None if due_ns is None else due_ns - LEAD_NS]
        return min(t_ns for t_ns in times_ns if t_ns is not None)

    def _perform(self, planned: Planned) -> None:
        control = planned.control
        if planned.is_release:
            if control is not None and control in self._leases:
                self._wait(planned.due_ns)
                self._tell(planned, None, self._inject(planned, None))
            else:
                self._drop(planned, "not_down")
            return
        aim = self._judge(planned)
        if not isinstance(aim, Aim):
            self._refuse(planned, aim)
            return
        self._wait(planned.due_ns)
        if self._is_stopped(planned):
            return
        if control is None or control not in self._leases or self._make_way(planned, control):
            self._send_aimed(planned, aim)

    def _send_aimed(self, planned: Planned, aim: Aim) -> None:
        """Inject, with a last look that nothing can come behind."""
        control = planned.control
        code = None
        if control is not None:
            self._around.warn(control, True)
            code = self._around.device.find(control).code if control.kind == "key" else None
        self._around.tell_hold(True)
        with self._around.guard.hold_still():
            why = "stopped" if self._around.kill.stop is not None else self._around.guard.confirm(aim, code)
            sent_ns = self._inject(planned, aim) if why is None else None
        self._around.tell_hold(False)
        if sent_ns is not None:
            self._tell(planned, aim, sent_ns)
        elif why is not None:
            if control is not None:
                self._around.warn(control, False)
            self._refuse(planned, why)

    def _is_stopped(self, planned: Planned) -> bool:
        if self._around.kill.stop is None:
            return False
        self._drop(planned, "stopped")
        return True

    def _refuse(self, planned: Planned, why: StrEnum | str) -> None:
        self._drop(planned, str(why))
        self._react(why, planned)

    def _make_way(self, planned: Planned, control: Control) -> bool:
        """Return whether something that is down is to be pressed again; if it is, it is up now."""
        now_ns = self._around.clock.now_ns()
        # What was to end the first press would cut the second short.
        if self._queue.remove(releases=True, before_chunk=planned.chunk, of=control):
            self._release(control, now_ns, "pressed_again")
            return True
        # It is held until it is said to be let go: saying once more that it is down changes nothing.
        self._leases.renew(now_ns)
        self._drop(planned, "already_down")
        return False

    def _judge(self, planned: Planned) -> Aim | StrEnum | str:
        if self._around.kill.stop is not None:
            return "stopped"
        now_ns = self._around.clock.now_ns()
        if now_ns - planned.due_ns > _LATE_NS:
            return "late"
        place: Place = planned.point_px
        if place is not None and self._terms.spec.pointer != "absolute":
            place = "pointer"
        aim = self._around.guard.aim(place, planned.window)
        if not isinstance(aim, Aim):
            return aim
        if planned.control is not None and self._around.device.find_missing([planned.control]):
            return "no_such_key"
        return self._limit(planned, max(now_ns, planned.due_ns)) or aim

    def _limit(self, planned: Planned, now_ns: int) -> StrEnum | None:
        if isinstance(planned.event, PointerMoved):
            return self._limits.judge_move(now_ns)
        if isinstance(planned.event, WheelTurned):
            return self._limits.judge_wheel(abs(planned.event.dx) + abs(planned.event.dy), now_ns)
        assert planned.control is not None
        down = {control.name for control in self._leases.held if control.kind == "key"} | self._around.keys_down()
        if planned.control.kind == "key":
            # A key is denied under each of its names.
            down |= self._around.list_names(planned.control)
        return self._limits.judge_press(planned.control, down, now_ns)

    def _react(self, why: StrEnum | str, planned: Planned) -> None:
        if why is Misdirected.RESIZED:
            # What was seen is not there any more; the next frame will show how it is now.
            for other in self._queue.remove(releases=False, before_chunk=planned.chunk + 1):
                self._drop(other, str(why))
        elif isinstance(why, Misdirected | Obstacle) and why not in _PASSING:
            self._pause(why)

    def _pause(self, why: Misdirected | Obstacle) -> None:
        self._enter(State.PAUSED, self._around.guard.explain_absence() if why is Misdirected.CLOSED else str(why))

    def _wait(self, until_ns: int) -> None:
        self._around.clock.wait_until(until_ns, lambda: self._around.kill.stop is not None)

    def _inject(self, planned: Planned, aim: Aim | None) -> int:
        """Do it, and return when that was."""
        device, control = self._around.device, planned.control
        point = None if aim is None or isinstance(planned.event, PointerMoved) else aim.point
        if point is not None and not self._around.guard.is_at(point):
            # The window was moved, or the mouse was nudged: a press goes where it was meant.
            device.move(*point)
        sent_ns = self._around.clock.now_ns()
        self._use_device(planned, aim)
        if control is not None and planned.is_release:
            self._leases.end(control)
        elif control is not None:
            self._leases.hold(control, sent_ns)
        return sent_ns

    def _tell(self, planned: Planned, aim: Aim | None, sent_ns: int) -> None:
        """Write down what was done; not while the desktop is held still, as a disk may keep us waiting."""
        if planned.control is not None and planned.is_release:
            self._around.warn(planned.control, False)
        told = planned.describe()
        self._report = [*self._report[-_MOST_REPORTED:], {**told, "t_ns": sent_ns}]
        where = {"screen": list(aim.point)} if aim is not None and aim.point is not None else {}
        self._around.audit.write_sent({**told, **where}, planned.due_ns, sent_ns)

    def _use_device(self, planned: Planned, aim: Aim | None) -> None:
        device, event, control = self._around.device, planned.event, planned.control
        if control is not None:
            (device.release if planned.is_release else device.press)(control)
        elif isinstance(event, WheelTurned):
            device.turn(event.dx, event.dy)
        elif planned.offset is not None:
            device.move_by(*planned.offset)
        elif aim is not None and aim.point is not None:
            device.move(*aim.point)

    def _drop(self, planned: Planned, reason: str) -> None:
        self._around.audit.write_dropped(planned.describe(), planned.due_ns, self._around.clock.now_ns(), reason)

    def _release(self, control: Control, now_ns: int, reason: str) -> None:
        self._around.device.release(control)
        self._leases.end(control)
        self._around.warn(control, False)
        self._report.append(_tell_release(control, now_ns))
        self._around.audit.write_release(str(control), now_ns, reason)

    def _enter(self, state: State, reason: str) -> None:
        now_ns = self._around.clock.now_ns()
        self.state, self.reason = state, reason
        if state in (State.PAUSED, State.STOPPED):
            for control in self._leases.held:
                self._release(control, now_ns, str(state))
            for planned in self._queue.remove(releases=True):
                self._drop(planned, str(state))
        self._around.audit.write_note("state", now_ns, state=str(state), reason=reason)

    def _let_go(self) -> None:
        with self._lock:
            try:
                self._settle()
            except (DeviceLostError, AuditFailedError):
                for control in self._leases.held:
                    with contextlib.suppress(DeviceLostError):
                        self._around.device.release(control)


_PASSING = (Obstacle.MOVED, Obstacle.HOTKEY)
"""What keeps one event from the window and says nothing of the next."""
_WORDS = {
    Obstacle.FOCUS: "the window has not got the focus",
    Obstacle.KEYBOARD: "another program has grabbed the keyboard",
    Obstacle.POINTER: "another program has grabbed the mouse",
    Misdirected.CLOSED: "the window is closed or hidden",
}


def _sooner(action: Action, by_ms: int) -> Action:
    return replace(action, dt_ms=max(action.dt_ms - by_ms, 0))


def _tell_release(control: Control, t_ns: int) -> dict[str, Any]:
    name = "key" if control.kind == "key" else "button"
    return {"kind": control.kind, name: control.name, "pressed": False, "t_ns": t_ns}
