"""Capture, encoding and writing: when they can't keep up frames are dropped and counted, events never are."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from recorder_support import wait_until

from vlm_agent.actions.events import PointerMoved
from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.recording.clock import SessionClock
from vlm_agent.recording.pipeline import Pipeline
from vlm_agent.recording.workers import Workers
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.writer import EncodedFrame, SessionWriter

PLACEMENT = Placement.fit(Rect(0, 0, 64, 48), 64, 48)


class Painter:
    """A screen that is another colour each time."""

    def __init__(self, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.pictures = 0
        self._seconds = seconds
        self._error = error

    def grab_frame(self, placement: Placement) -> NDArray[np.uint8]:
        self.pictures += 1
        time.sleep(self._seconds)
        if self._error is not None and self.pictures > 3:
            raise self._error
        return np.full((48, 64, 3), self.pictures % 200, np.uint8)

    def close(self) -> None:
        """Hold nothing."""


class Recording:
    """A pipeline at work on a session."""

    def __init__(self, stem: Path, painter: Painter, *, fps: float, look: Callable[[], Placement | None]) -> None:
        self.writer = SessionWriter(stem, width_px=64, height_px=48, fps=fps)
        self.clock = SessionClock()
        self.workers = Workers()
        self.pipeline = Pipeline(
            self.writer, self.workers, self.clock, fps=fps, open_grabber=lambda: painter, look=look
        )
        self.pipeline.start()

    def finish(self) -> SessionReader:
        self.pipeline.stop()
        self.workers.join()
        self.writer.close()
        return SessionReader(self.writer.path)


def start(
    stem: Path, painter: Painter, *, fps: float = 50.0, look: Callable[[], Placement | None] = lambda: PLACEMENT
) -> Recording:
    return Recording(stem, painter, fps=fps, look=look)


def put_moves(recording: Recording, count: int) -> None:
    for step in range(count):
        event = PointerMoved(recording.clock.now_ns(), step, 0)
        recording.pipeline.put(lambda writer, event=event: writer.write_event(event))


def check_whole(recording: Recording, painter: Painter, reader: SessionReader, moves: int) -> None:
    state = recording.pipeline.state
    assert [event.x for event in reader.events()] == list(range(moves))
    frames = list(reader.frames())
    assert len(frames) == state.frames > 0
    assert [frame.t_ns for frame in frames] == sorted({frame.t_ns for frame in frames})


def test_frames_come_at_their_rate(tmp_path: Path) -> None:
    painter = Painter()
    recording = start(tmp_path / "a", painter, fps=20)
    began_s = time.monotonic()
    wait_until(lambda: recording.pipeline.state.frames >= 12)
    seconds = time.monotonic() - began_s
    put_moves(recording, 100)
    reader = recording.finish()
    check_whole(recording, painter, reader, 100)
    # Frames and those missed add up to the time that passed, whatever the machine was busy with.
    state = recording.pipeline.state
    assert abs(state.frames + state.dropped - 20 * seconds) <= 3


def test_a_slow_encoder_drops_frames_and_no_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = SessionWriter.encode_frame

    def encode_slowly(self: SessionWriter, t_ns: int, rgb: NDArray[np.uint8]) -> EncodedFrame:
        time.sleep(0.15)
        return encode(self, t_ns, rgb)

    monkeypatch.setattr(SessionWriter, "encode_frame", encode_slowly)
    painter = Painter()
    recording = start(tmp_path / "a", painter)
    put_moves(recording, 500)
    wait_until(lambda: recording.pipeline.state.frames >= 3 and recording.pipeline.state.dropped >= 10)
    put_moves(recording, 0)
    reader = recording.finish()
    check_whole(recording, painter, reader, 500)
    # What was captured is written or counted; beyond it, the times that capture itself missed.
    assert painter.pictures - recording.pipeline.state.frames <= recording.pipeline.state.dropped


def test_a_slow_disk_drops_frames_and_no_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = SessionWriter.write_encoded

    def write_slowly(self: SessionWriter, frame: EncodedFrame) -> None:
        time.sleep(0.06)
        write(self, frame)

    monkeypatch.setattr(SessionWriter, "write_encoded", write_slowly)
    painter = Painter()
    recording = start(tmp_path / "a", painter)
    wait_until(lambda: recording.pipeline.state.dropped >= 10)
    put_moves(recording, 500)
    reader = recording.finish()
    check_whole(recording, painter, reader, 500)


def test_a_slow_screen_is_counted_as_frames_missed(tmp_path: Path) -> None:
    painter = Painter(0.1)
    recording = start(tmp_path / "a", painter)
    wait_until(lambda: recording.pipeline.state.frames >= 5)
    recording.finish()
    assert recording.pipeline.state.dropped >= 4 * (recording.pipeline.state.frames - 1) - 4


def test_nothing_is_captured_while_there_is_nowhere_to_look(tmp_path: Path) -> None:
    places: list[Placement | None] = [None]
    painter = Painter()
    recording = start(tmp_path / "a", painter, look=lambda: places[0])
    time.sleep(0.2)
    assert painter.pictures == recording.pipeline.state.dropped == 0
    places[0] = PLACEMENT
    wait_until(lambda: recording.pipeline.state.frames >= 2)
    recording.finish()


def test_a_screen_that_fails_ends_the_recording_with_its_reason(tmp_path: Path) -> None:
    recording = start(tmp_path / "a", Painter(error=ConfigError("the screen can't be grabbed")))
    wait_until(recording.workers.failed.is_set)
    recording.pipeline.stop()
    with pytest.raises(ConfigError, match="can't be grabbed"):
        recording.workers.join()
    recording.writer.close()
    assert SessionReader(recording.writer.path).info().frames >= 1


def test_a_full_disk_ends_the_recording_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = start(tmp_path / "a", Painter())
    wait_until(lambda: recording.pipeline.state.frames >= 1)

    def refuse(self: SessionWriter, frame: EncodedFrame) -> None:
        raise DataError("No space left on device")

    monkeypatch.setattr(SessionWriter, "write_encoded", refuse)
    wait_until(recording.workers.failed.is_set)
    recording.pipeline.stop()
    with pytest.raises(DataError, match="No space"):
        recording.workers.join()


def test_a_still_picture_is_seen_to_be_still(tmp_path: Path) -> None:
    painter = Painter()
    recording = start(tmp_path / "a", painter)
    state = recording.pipeline.state
    wait_until(lambda: state.frames >= 3)
    assert state.changed_ns is not None
    painter.grab_frame = lambda _: np.zeros((48, 64, 3), np.uint8)  # type: ignore[method-assign]
    time.sleep(0.1)
    since_ns = state.changed_ns
    frames = state.frames
    wait_until(lambda: state.frames >= frames + 3)
    assert state.changed_ns == since_ns
    recording.finish()
