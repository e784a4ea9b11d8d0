"""From the screen into the file: capture, encoding and writing, each in its own thread.

Frames wait in a short queue: when encoder or disk can't keep up, frames are dropped and counted. Everything else waits
in a queue without end: an event is never dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import Empty, Full, Queue, SimpleQueue
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.placement import Placement
from vlm_agent.recording.clock import SessionClock
from vlm_agent.recording.screens import Grabber
from vlm_agent.recording.workers import Workers
from vlm_agent.sessions.writer import EncodedFrame, SessionWriter

WAITING_FRAMES = 4
"""Captured frames that may wait for the encoder: 25 MB at 1920x1080."""
_UNWRITTEN_FRAMES = 16
"""Encoded frames that may wait for the disk."""
_IDLE_S = 0.2
_GLANCE_PX = 16
"""Every so many-th row and column is compared to tell whether the picture changed."""

Action = Callable[[SessionWriter], object]


class _Captured(NamedTuple):
    t_ns: int
    rgb: NDArray[np.uint8]


@dataclass
class CaptureState:
    """How capture goes; read by other threads."""

    frames: int = 0
    """Frames written."""
    dropped: int = 0
    """Frames that were due and could not be taken, encoded or written in time."""
    grab_began_ns: int | None = None
    """Since when the screen is being grabbed; None between two pictures."""
    changed_ns: int | None = None
    """When the picture last differed from the one before; None while nothing is captured."""


class Pipeline:
    """Feeds one session's writer, which no other thread may touch meanwhile."""

    def __init__(
        self,
        writer: SessionWriter,
        workers: Workers,
        clock: SessionClock,
        *,
        fps: float,
        open_grabber: Callable[[], Grabber],
        look: Callable[[], Placement | None],
    ) -> None:
        """Start nothing yet.

        Args:
            writer: an open session.
            workers: who runs the threads.
            clock: dates the frames.
            fps: frames wanted a second.
            open_grabber: called in the thread that captures.
            look: where the frame is on the screen now; None while nothing is to be captured.
        """
        self.state = CaptureState()
        self._writer = writer
        self._workers = workers
        self._clock = clock
        self._period_ns = round(1e9 / fps)
        self._open_grabber = open_grabber
        self._look = look
        self._is_stopping = threading.Event()
        self._frames: Queue[_Captured | None] = Queue(WAITING_FRAMES)
        self._actions: SimpleQueue[Action | None] = SimpleQueue()
        self._room = threading.Semaphore(_UNWRITTEN_FRAMES)
        self._glance: NDArray[np.uint8] | None = None

    def start(self) -> None:
        """Start the three threads."""
        self._capturing = self._workers.start(self._capture)
        self._encoding = self._workers.start(self._encode)
        self._writing = self._workers.start(self._write)

    def put(self, action: Action) -> None:
        """Have something written, after all that was put before; never waits."""
        self._actions.put(action)

    @property
    def waiting(self) -> int:
        """How many things wait to be written."""
        return self._actions.qsize()

    def stop_frames(self) -> None:
        """Capture no more, and wait until every captured frame is encoded."""
        self._is_stopping.set()
        self._capturing.exception()
        while not self._encoding.done():
            try:
                self._frames.put(None, timeout=_IDLE_S)
                break
            except Full:
                continue
        self._encoding.exception()

    def stop(self) -> None:
        """Wait until everything that was put is written."""
        self.stop_frames()
        self._actions.put(None)
        self._writing.exception()

    def _capture(self) -> None:
        grabber = self._open_grabber()
        try:
            due_ns = self._clock.now_ns()
            while not self._is_over():
                wait_ns = due_ns - self._clock.now_ns()
                if wait_ns > 0 and self._is_stopping.wait(wait_ns / 1e9):
                    return
                self._take(grabber)
                # Frames whose time went by meanwhile are missing from the session, and counted.
                missed = max(self._clock.now_ns() - due_ns, 0) // self._period_ns
                if self.state.changed_ns is not None:
                    self.state.dropped += missed
                due_ns += (missed + 1) * self._period_ns
        finally:
            grabber.close()

    def _take(self, grabber: Grabber) -> None:
        placement = self._look()
        if placement is None:
            self.state.changed_ns = None
            return
        self.state.grab_began_ns = self._clock.now_ns()
        rgb = grabber.grab_frame(placement)
        # Dated when it is here: a frame must never show what an event of a later time did.
        t_ns = self._clock.now_ns()
        self.state.grab_began_ns = None
        glance = rgb[::_GLANCE_PX, ::_GLANCE_PX].copy()
        if self.state.changed_ns is None or self._glance is None or not np.array_equal(glance, self._glance):
            self.state.changed_ns = t_ns
        self._glance = glance
        try:
            self._frames.put_nowait(_Captured(t_ns, rgb))
        except Full:
            self.state.dropped += 1

    def _encode(self) -> None:
        while not self._workers.failed.is_set():
            try:
                captured = self._frames.get(timeout=_IDLE_S)
            except Empty:
                continue
            if captured is None:
                return
            frame = self._writer.encode_frame(*captured)
            # While the disk is behind, the encoder waits here, its queue fills, and capture drops.
            while not self._room.acquire(timeout=_IDLE_S):
                if self._workers.failed.is_set():
                    return
            self._actions.put(partial(self._write_frame, frame))

    def _write_frame(self, frame: EncodedFrame, writer: SessionWriter) -> None:
        self._room.release()
        writer.write_encoded(frame)
        self.state.frames += 1

    def _write(self) -> None:
        while True:
            try:
                action = self._actions.get(timeout=_IDLE_S)
            except Empty:
                # Nothing happens, so nobody else hands over what there is.
                self._writer.pass_time(self._clock.now_ns())
                continue
            if action is None:
                return
            action(self._writer)

    def _is_over(self) -> bool:
        return self._is_stopping.is_set() or self._workers.failed.is_set()
