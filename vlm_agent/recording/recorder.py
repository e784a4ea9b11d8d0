"""One recording: devices through the gate, frames through the pipeline, game states beside them, into one session.

Who does what: one thread captures, one encodes, one writes, one takes devices' events, one polls the game; whoever
calls `run` watches over them. What a player discards or pauses is told as an `excluded` span, because pieces of the
file are handed to the system each half second and can't be called back.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged
from vlm_agent.actions.placement import Placement
from vlm_agent.recording.clock import SessionClock
from vlm_agent.recording.game_states import FeedState, GameStateFeed
from vlm_agent.recording.gate import DISCARD_NS, Gate, Kept
from vlm_agent.recording.goal_marks import GoalMarks
from vlm_agent.recording.hotkeys import HotkeyAction, Hotkeys
from vlm_agent.recording.pipeline import CaptureState, Pipeline
from vlm_agent.recording.screens import Grabber
from vlm_agent.recording.state_sources import Exported, StateSource
from vlm_agent.recording.stream import DeviceItem, DeviceSource
from vlm_agent.recording.surroundings import WindowSurroundings
from vlm_agent.recording.targets import Target
from vlm_agent.recording.watch import Vitals, Watch, WatchLimits
from vlm_agent.recording.workers import Workers
from vlm_agent.sessions.plain_json import mend_text
from vlm_agent.sessions.types import Excluded, Goal, RawMotion
from vlm_agent.sessions.writer import SessionWriter

READ_S = 0.05
"""How long devices are waited for at a time."""
TICK_S = 0.1
"""How often the recording is looked after."""
PAUSED, HIDDEN, OFF_SCREEN, DISCARDED = "paused", "hidden", "off_screen", "discarded"


@dataclass(frozen=True)
class Parts:
    """What a recording is made of."""

    target: Target
    """What is recorded."""
    clock: SessionClock
    """The session's clock."""
    devices: DeviceSource
    """Mouse, keyboard and window."""
    open_grabber: Callable[[], Grabber]
    """Gives the screen to the thread that captures."""
    states: StateSource | None = None
    """The game's export."""


@dataclass(frozen=True)
class Plan:
    """How it is recorded."""

    fps: float
    """Frames a second."""
    hotkeys: Hotkeys
    """The keys that steer it."""
    goals: tuple[str, ...] = ()
    """Goals to mark one after another."""
    goal: str | None = None
    """The goal of the whole play."""
    is_waiting: bool = False
    """Begin paused."""
    seconds: float | None = None
    """Stop after so long."""
    state_ms: float = 100.0
    """How often the game is polled."""
    state_time: str | None = None
    """Field with the exporter's time."""
    limits: WatchLimits = field(default_factory=WatchLimits)
    """What is told when it happens."""


class Counts:
    """How a recording goes; written by the recorder's threads, read by anyone."""

    def __init__(self, capture: CaptureState, states: FeedState) -> None:
        """Begin at nothing."""
        self.capture = capture
        """Frames."""
        self.states = states
        """Game states."""
        self.left_out: Counter[str] = Counter()
        """Input that was not recorded though it was in the frame, by reason."""
        self.events = 0
        """Input events written, raw motion not counted."""
        self.raw_motions = 0
        """Raw motions written."""
        self.paused: str | None = None
        """Why nothing is recorded at the moment."""
        self.is_asking = False
        """A goal is to be typed."""


class Recorder:
    """Records into an open session until it is stopped, or the window is closed."""

    def __init__(self, parts: Parts, plan: Plan, writer: SessionWriter) -> None:
        """Put the parts together; nothing runs yet."""
        rect = parts.target.rect
        self._parts, self._plan, self._clock = parts, plan, parts.clock
        self._started_ns = self._clock.now_ns()
        has_window = parts.target.window_id is not None
        self._gate = Gate(
            Placement.fit(rect, rect.width, rect.height),
            focus="outside" if has_window else "inside",
            is_ours=parts.devices.is_ours,
            has_window=has_window,
        )
        self._notices: SimpleQueue[str] = SimpleQueue()
        self._workers = Workers()
        self._pipeline = Pipeline(
            writer, self._workers, self._clock, fps=plan.fps, open_grabber=parts.open_grabber, look=self._look
        )
        self._feed = self._make_feed()
        self.counts = Counts(self._pipeline.state, self._feed.state if self._feed else FeedState())
        self.counts.left_out = self._gate.left_out
        self._marks = GoalMarks(plan.goals, plan.goal, self._started_ns)
        self._watch = Watch(plan.limits)
        self._surroundings = WindowSurroundings()
        self._holes: dict[str, int] = {}
        """Why nothing is recorded at the moment, and since when."""
        self._input_ns: int | None = self._started_ns
        self._typed: SimpleQueue[str] = SimpleQueue()
        self._is_stopping = threading.Event()

    def stop(self) -> None:
        """End the recording; may be called by any thread, and by a signal."""
        self._is_stopping.set()

    def type_goal(self, text: str) -> None:
        """Tell a goal that a person typed; may be called by any thread."""
        self._typed.put(mend_text(text))

    def read_notices(self) -> list[str]:
        """Return what a person should know and was not told yet."""
        told = []
        while True:
            try:
                told.append(self._notices.get_nowait())
            except Empty:
                return told

    def run(self, on_tick: Callable[[], None] = lambda: None) -> None:
        """Record until the end, then write what is left; the writer stays open, and is nobody else's meanwhile.

        Args:
            on_tick: called about ten times a second.

        Raises:
            ConfigError: the desktop went away, or the screen can't be grabbed.
            DataError: the disk is full or fails.
        """
        for note in self._parts.devices.notes:
            self._notices.put(note)
        self._begin()
        self._pipeline.start()
        routing = self._workers.start(self._route)
        feeding = self._workers.start(self._feed.run) if self._feed is not None else None
        until = None if self._plan.seconds is None else time.monotonic() + self._plan.seconds
        try:
            while not (routing.done() or self._workers.failed.is_set()):
                self._look_after()
                on_tick()
                if until is not None and time.monotonic() >= until:
                    self.stop()
                self._is_stopping.wait(TICK_S)
        finally:
            self._finish(routing, feeding)
            on_tick()
        self._workers.join()

    def _begin(self) -> None:
        self._pipeline.put(lambda writer: writer.write_control(self._started_ns, "human"))
        self._put_placement(self._started_ns)
        for goal in self._marks.told:
            self._put_goal(goal)
        if self._plan.is_waiting:
            self._close(PAUSED, self._started_ns)

    def _finish(self, routing: Future[None], feeding: Future[None] | None) -> None:
        self.stop()
        self._pipeline.stop_frames()
        if self._feed is not None and feeding is not None:
            self._feed.stop()
            feeding.exception()
        routing.exception()
        # Only now is nobody left who could put anything.
        self._pipeline.stop()

    def _route(self) -> None:
        """Take what devices tell, until the end."""
        ended_ns: int | None = None
        try:
            while not self._is_stopping.is_set() and not self._gate.is_closed and not self._workers.failed.is_set():
                self._take(self._parts.devices.read(READ_S))
                self._take_typed()
            self._is_stopping.set()
            ended_ns = self._clock.now_ns()
            # What happened before the end is in the session, however late it is told.
            self._take([item for item in self._parts.devices.stop() if item.t_ns <= ended_ns])
        finally:
            self._end(ended_ns or self._clock.now_ns())

    def _end(self, t_ns: int) -> None:
        self._put_events(self._gate.shut(t_ns))
        for reason, since_ns in self._holes.items():
            self._put_excluded(Excluded(since_ns, t_ns, reason))

    def _take(self, items: list[DeviceItem]) -> None:
        for item in items:
            if isinstance(item, KeyChanged):
                heard = self._plan.hotkeys.hear(item)
                if heard.action is not None:
                    self._act(heard.action, item.t_ns)
                if heard.is_hotkey:
                    continue
            placement, was_visible = self._gate.placement, self._gate.is_visible
            self._put_events(self._gate.feed(item))
            if self._gate.placement != placement:
                self._put_placement(item.t_ns)
            if self._gate.is_visible != was_visible:
                (self._reopen if self._gate.is_visible else self._close)(HIDDEN, item.t_ns)
            self._follow_window(item)

    def _follow_window(self, item: DeviceItem) -> None:
        told = self._surroundings.hear(item, self._gate.placement.screen)
        if told is not None:
            self._notices.put(told)
        if self._surroundings.is_off_screen != (OFF_SCREEN in self._holes):
            (self._close if self._surroundings.is_off_screen else self._reopen)(OFF_SCREEN, item.t_ns)

    def _take_typed(self) -> None:
        while True:
            try:
                text = self._typed.get_nowait()
            except Empty:
                return
            goal = self._marks.type(self._clock.now_ns(), text)
            self.counts.is_asking = self._marks.is_asking
            if goal is not None:
                self._tell_goal(goal)

    def _act(self, action: HotkeyAction, t_ns: int) -> None:
        match action:
            case "stop":
                self._put_events(self._gate.shut(t_ns))
                self.stop()
            case "start":
                (self._reopen if PAUSED in self._holes else self._close)(PAUSED, t_ns)
            case "discard":
                self._discard(t_ns)
            case "goal":
                goal = self._marks.mark(t_ns)
                self.counts.is_asking = self._marks.is_asking
                if goal is not None:
                    self._tell_goal(goal)
                elif self._marks.is_asking:
                    self._notices.put("goal marked: type it here, and press Enter")
                else:
                    self._notices.put("no goal is left in --goals")

    def _tell_goal(self, goal: Goal) -> None:
        self._put_goal(goal)
        self._notices.put(f"goal: {goal.text}")

    def _close(self, reason: str, t_ns: int) -> None:
        is_first = not self._holes
        # The releases below are of the moment itself and stay in the session.
        self._holes[reason] = t_ns + 1
        self.counts.paused = reason
        if is_first:
            self._put_events(self._gate.shut(t_ns))
            self._input_ns = None
        self._notices.put(f"{reason}: nothing is recorded")

    def _reopen(self, reason: str, t_ns: int) -> None:
        since_ns = self._holes.pop(reason, None)
        if since_ns is None:
            return
        self._put_excluded(Excluded(since_ns, t_ns, reason))
        self.counts.paused = next(iter(self._holes), None)
        if not self._holes:
            self._gate.open()
            self._input_ns = t_ns
            self._put_placement(t_ns)
            self._notices.put("recording")

    def _discard(self, t_ns: int) -> None:
        stop_ns = min([t_ns, *self._holes.values()])
        start_ns = max(stop_ns - DISCARD_NS, self._started_ns)
        self._put_excluded(Excluded(start_ns, stop_ns, DISCARDED))
        self._put_events(self._gate.discard(start_ns, stop_ns))
        if start_ns <= self._started_ns:
            self._pipeline.put(lambda writer: writer.write_control(stop_ns, "human"))
        goal = self._marks.take_back(start_ns, stop_ns)
        if goal is not None:
            self._put_goal(goal)
        self._put_placement(stop_ns)
        self._notices.put(f"discarded the last {(stop_ns - start_ns) / 1e9:.1f} s")

    def _put_events(self, events: list[Kept] | list[InputEvent]) -> None:
        for event in events:
            if isinstance(event, RawMotion):
                self._pipeline.put(partial(_write_raw_motion, event))
                self.counts.raw_motions += 1
                continue
            self._pipeline.put(partial(_write_event, event))
            self.counts.events += 1
            self._input_ns = event.t_ns
            if self._feed is not None and isinstance(event, ButtonChanged) and event.pressed:
                self._feed.add_click(event.t_ns)

    def _put_goal(self, goal: Goal) -> None:
        self._pipeline.put(lambda writer: writer.write_goal(goal.t_ns, goal))

    def _put_excluded(self, excluded: Excluded) -> None:
        self._pipeline.put(lambda writer: writer.write_excluded(excluded))

    def _put_placement(self, t_ns: int) -> None:
        placement = self._gate.placement
        self._pipeline.put(lambda writer: writer.write_placement(t_ns, placement, self._parts.target.title))

    def _put_state(self, t_ns: int, exported: Exported) -> None:
        # What was before the session began is how the game stood at its beginning.
        dated_ns = max(t_ns, self._started_ns)
        self._pipeline.put(
            lambda writer: writer.write_game_state(dated_ns, exported.state, seen_ns=exported.arrived_ns)
        )

    def _make_feed(self) -> GameStateFeed | None:
        if self._parts.states is None:
            return None
        return GameStateFeed(
            self._parts.states,
            take=self._put_state,
            say=self._notices.put,
            every_ms=self._plan.state_ms,
            stamp=self._plan.state_time,
        )

    def _look(self) -> Placement | None:
        return None if self._holes or self._gate.is_closed else self._gate.placement

    def _look_after(self) -> None:
        capture = self.counts.capture
        vitals = Vitals(self._clock.now_ns(), capture.grab_began_ns, capture.changed_ns, self._input_ns)
        for told in self._watch.look(vitals):
            self._notices.put(told)


def _write_event(event: InputEvent, writer: SessionWriter) -> None:
    writer.write_event(event)


def _write_raw_motion(motion: RawMotion, writer: SessionWriter) -> None:
    writer.write_raw_motion(motion)
