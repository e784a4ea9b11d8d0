"""Recording a session: one `.mcap` of messages and one `.mkv` of frames beside it.

Both grow as `.part` files by whole, checksummed pieces of half a second and get their names only on `close`, the
`.mcap` last: where `<id>.mcap` exists, the session is whole. Pieces go straight to the operating system, so a killed
recorder loses less than a second of the session; what a power cut costs is said in `appending`. `vlm-agent repair`
turns the `.part` files of a killed recorder into a session.

Where a piece ends is told by the session's clock alone, at whole half seconds from its first message: the same messages
in the same order are the same bytes, however long writing them took.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged
from vlm_agent.actions.placement import Placement
from vlm_agent.errors import DataError
from vlm_agent.sessions.appending import AppendedFile, part_path
from vlm_agent.sessions.keys import FIRST_FOREIGN, key_code
from vlm_agent.sessions.matroska import Block, MatroskaWriter
from vlm_agent.sessions.mcap_writer import ChannelSpec, LoggedMessage, McapWriter
from vlm_agent.sessions.topics import (
    FORMAT_VERSION,
    LIBRARY,
    PROFILE,
    SCHEMAS,
    encode_event,
    encode_goal,
    encode_json,
    encode_placement,
)
from vlm_agent.sessions.types import Controller, Excluded, Goal, RawMotion
from vlm_agent.sessions.video import PictureEncoder, Preset

FLUSH_NS = 500_000_000
"""A piece is at most this long, on the session's clock."""
PIECE_BYTES = 32 << 20
"""A piece whose messages are larger ends early; readers refuse pieces of 256 MiB."""
KEYFRAME_NS = 1_000_000_000
"""Seeking costs at most this much decoding, and a damaged piece at most this many frames."""
STATE_NS = 1_000_000_000
"""How often `keyboard/state`, `mouse/state`, `window` and `placement` are told, as OWAMcap recorders do."""


def session_paths(stem: Path) -> tuple[Path, Path]:
    """Return the `.mcap` and the `.mkv` of a session; a dot in the stem's name is kept."""
    return stem.with_name(stem.name + ".mcap"), stem.with_name(stem.name + ".mkv")


def make_channel(topic: str) -> ChannelSpec:
    """Return the channel of one of our topics."""
    name, schema = SCHEMAS[topic]
    return ChannelSpec(topic, name, encode_json(schema))


class EncodedFrame(NamedTuple):
    """A frame as the video holds it."""

    t_ns: int
    """When it was captured."""
    block: Block
    """Its packet; each depends on those before it."""


class SessionWriter:
    """Writes one session; a context manager that closes it, whatever ends the block.

    Events may come a little out of order; frames must rise in time. One thread writes; `encode_frame` alone may be
    called by another, always the same.
    """

    def __init__(
        self,
        stem: Path,
        *,
        width_px: int,
        height_px: int,
        fps: float,
        meta: dict[str, Any] | None = None,
        preset: Preset = "veryfast",
    ) -> None:
        """Create both files.

        Args:
            stem: Path without suffix; `sessions/a` gives `sessions/a.mcap` and `sessions/a.mkv`.
            width_px: Width of the frames.
            height_px: Height of the frames.
            fps: About how many frames come in a second; a hint for the encoder.
            meta: Plain JSON data to keep with the session, such as game and seed; `title` names the window.
            preset: How much work the encoder puts into the size of the video.

        Raises:
            DataError: If the session exists, was left unfinished, or can't be created.
        """
        self.path, video_path = session_paths(stem)
        self._size = (width_px, height_px)
        self._encoder = PictureEncoder(width_px, height_px, fps, preset)
        self._meta = meta or {}
        self._session = {
            "format": FORMAT_VERSION,
            "width_px": width_px,
            "height_px": height_px,
            "fps": fps,
            "meta": self._meta,
            "codec_private": base64.b64encode(self._encoder.codec_private).decode(),
        }
        encode_json(self._session)
        self._channels = {topic: make_channel(topic) for topic in SCHEMAS}
        self._open_files(video_path)
        self._video_name = video_path.name
        self._blocks: list[Block] = []
        self._last_ns: int | None = None
        self._start_ns = self._piece = 0
        self._keyframe_ns = self._state_ns = 0
        self._video_start_ns: int | None = None
        self._video_ms = -1
        self._frame_ns = -1
        self._keys: set[int] = set()
        self._buttons: set[str] = set()
        self._pointer = (0, 0)
        self._title = str(self._meta.get("title", ""))
        self._placement: Placement | None = None
        self._is_open = True

    @property
    def size_bytes(self) -> int:
        """Bytes of both files so far."""
        return self._mcap_file.size_bytes + self._video_file.size_bytes

    def write_frame(self, t_ns: int, rgb: NDArray[np.uint8]) -> None:
        """Add a frame, (height, width, 3) uint8, later than the one before.

        Raises:
            DataError: If the disk is full or fails.
            ValueError: If shape, dtype or time is wrong.
        """
        self.write_encoded(self.encode_frame(t_ns, rgb))

    def encode_frame(self, t_ns: int, rgb: NDArray[np.uint8]) -> EncodedFrame:
        """Encode a frame, (height, width, 3) uint8, later than the one before; every one must then be written.

        Raises:
            ValueError: If shape, dtype or time is wrong.
        """
        width_px, height_px = self._size
        if rgb.shape != (height_px, width_px, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"expected a ({height_px}, {width_px}, 3) uint8 frame, got {rgb.shape} {rgb.dtype}")
        if t_ns <= self._frame_ns:
            raise ValueError(f"frames must rise in time, got {t_ns} after {self._frame_ns}")
        is_first = self._video_start_ns is None
        start_ns = t_ns if self._video_start_ns is None else self._video_start_ns
        is_keyframe = is_first or t_ns - self._keyframe_ns >= KEYFRAME_NS
        if is_keyframe:
            self._keyframe_ns = t_ns
        self._video_start_ns, self._frame_ns = start_ns, t_ns
        self._video_ms = max((t_ns - start_ns) // 1_000_000, self._video_ms + 1)
        return EncodedFrame(t_ns, self._encoder.encode(rgb, self._video_ms, is_keyframe=is_keyframe))

    def write_encoded(self, frame: EncodedFrame) -> None:
        """Add a frame that `encode_frame` returned, in its order.

        Raises:
            DataError: If the disk is full or fails.
        """
        t_ns = frame.t_ns
        self._advance(t_ns)
        if frame.block.is_keyframe:
            # A cluster starts with its keyframe, so that seeking never has to look inside one.
            self._guard(self._flush_video)
        self._blocks.append(frame.block)
        media_ref = {"uri": self._video_name, "pts_ns": frame.block.pts_ms * 1_000_000}
        size = list(self._size)
        self._add("screen", t_ns, {"utc_ns": t_ns, "source_shape": size, "shape": size, "media_ref": media_ref})

    def write_event(self, event: InputEvent) -> None:
        """Add a mouse or keyboard event, in frame pixels.

        Raises:
            DataError: If the key has no name we know, or the disk is full or fails.
        """
        topic, message = encode_event(event)
        self._advance(event.t_ns)
        self._follow(event)
        self._add(topic, event.t_ns, message)

    def write_raw_motion(self, motion: RawMotion) -> None:
        """Add relative motion of the mouse itself."""
        self._write("mouse/raw", motion.t_ns, {"last_x": motion.dx, "last_y": motion.dy})

    def write_game_state(self, t_ns: int, state: dict[str, Any], *, seen_ns: int | None = None) -> None:
        """Add the game's exported state, plain JSON data, of a time; `seen_ns` is when it came, where that differs."""
        self._advance(t_ns)
        self._mcap.add(LoggedMessage(self._channels["gamestate"], t_ns, encode_json(state), seen_ns))

    def write_goal(self, t_ns: int, goal: Goal) -> None:
        """Add a goal that holds from `t_ns`; the goal's own time is not read."""
        self._write("goal", t_ns, encode_goal(goal))

    def write_control(self, t_ns: int, who: Controller) -> None:
        """Say who acts from now on."""
        self._write("control", t_ns, {"who": who})

    def write_decision(self, t_ns: int, decision: dict[str, Any]) -> None:
        """Add what a policy said and what became of it, plain JSON data."""
        self._write("decision", t_ns, decision)

    def write_placement(self, t_ns: int, placement: Placement, title: str) -> None:
        """Say where the frame is on the screen from now on, and what stands over the window; told again each second.

        Raises:
            DataError: If the disk is full or fails.
        """
        self._placement, self._title = placement, title
        self._write("placement", t_ns, encode_placement(placement))

    def write_excluded(self, excluded: Excluded) -> None:
        """Leave out of the session what it holds in a span; readers do, the file keeps it."""
        self._write("excluded", excluded.stop_ns, excluded._asdict())

    def pass_time(self, now_ns: int) -> None:
        """Say that it is so late by the session's clock though nothing is written: ends the piece that is over by then.

        Raises:
            DataError: If the disk is full or fails; the session stays unfinished, for `vlm-agent repair`.
        """
        if self._last_ns is not None:
            self._end_piece(now_ns)

    def flush(self) -> None:
        """Hand everything so far to the operating system, which ends a piece; writing does so every half second.

        Raises:
            DataError: If the disk is full or fails; the session stays unfinished, for `vlm-agent repair`.
        """
        # Video first: a message on the disk always finds its frame.
        self._guard(self._flush_video, self._mcap.flush)

    def close(self) -> None:
        """Finish both files and give them their names; does nothing the second time.

        Raises:
            DataError: If the disk is full or fails; the session stays unfinished, for `vlm-agent repair`.
        """
        if not self._is_open:
            return
        if self._last_ns is None:
            self._begin(0)
        self._write_states()
        self.flush()
        self._guard(self._video.finish, self._mcap.finish, self._video_file.finish, self._mcap_file.finish)
        self._is_open = False

    def discard(self) -> None:
        """Remove both files, unless they are finished: half of it is of no use to anybody."""
        if self._is_open:
            self._is_open = False
            self._mcap_file.discard()
            self._video_file.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        # What was recorded up to the error is true; and the error must not be hidden by a second one.
        with contextlib.suppress(DataError):
            self.close()

    def _open_files(self, video_path: Path) -> None:
        self._mcap_file = AppendedFile(self.path)
        try:
            self._video_file = AppendedFile(video_path)
        except DataError:
            self._mcap_file.discard()
            raise
        try:
            self._mcap = McapWriter(self._mcap_file, profile=PROFILE, library=LIBRARY)
            self._video = MatroskaWriter(
                self._video_file,
                width_px=self._encoder.width_px,
                height_px=self._encoder.height_px,
                codec_private=self._encoder.codec_private,
                app=LIBRARY,
            )
        except DataError as error:
            self._mcap_file.discard()
            self._video_file.discard()
            raise DataError(f"can't begin {self.path}: {error.__cause__}") from error

    def _write(self, topic: str, t_ns: int, message: dict[str, Any]) -> None:
        self._advance(t_ns)
        self._add(topic, t_ns, message)

    def _add(self, topic: str, t_ns: int, message: dict[str, Any]) -> None:
        self._mcap.add(LoggedMessage(self._channels[topic], t_ns, encode_json(message)))

    def _advance(self, t_ns: int) -> None:
        if not self._is_open:
            raise DataError(f"{self.path} is closed; nothing more can be recorded into it")
        if t_ns < 0:
            raise ValueError(f"times are nanoseconds from 0 up, got {t_ns}")
        if self._last_ns is None:
            self._begin(t_ns)
        self._end_piece(t_ns)
        if t_ns - self._state_ns >= STATE_NS:
            self._write_states()
            self._state_ns = t_ns
        # What comes late must not take the clock back.
        self._last_ns = max(t_ns, self._last_ns or 0)

    def _end_piece(self, t_ns: int) -> None:
        piece = (t_ns - self._start_ns) // FLUSH_NS
        if piece > self._piece:
            self._piece = piece
            self.flush()
        elif self._mcap.pending_bytes > PIECE_BYTES:
            self.flush()

    def _begin(self, t_ns: int) -> None:
        self._last_ns = self._start_ns = self._state_ns = t_ns
        self._add("session", t_ns, self._session)
        self._write_states()

    def _write_states(self) -> None:
        t_ns = self._last_ns or 0
        width_px, height_px = self._size
        # Events are in frame pixels, so the window by which OWAMcap's tools shift them is the frame itself.
        self._add("window", t_ns, {"title": self._title, "rect": [0, 0, width_px, height_px], "hWnd": 0})
        if self._placement is not None:
            self._add("placement", t_ns, encode_placement(self._placement))
        # OWAMcap's tools take no other codes than Windows' there.
        self._add("keyboard/state", t_ns, {"buttons": sorted(code for code in self._keys if code < FIRST_FOREIGN)})
        x, y = self._pointer
        self._add("mouse/state", t_ns, {"x": x, "y": y, "buttons": sorted(self._buttons)})

    def _follow(self, event: InputEvent) -> None:
        if isinstance(event, KeyChanged):
            change = self._keys.add if event.pressed else self._keys.discard
            change(key_code(event.key))
            return
        self._pointer = (event.x, event.y)
        if isinstance(event, ButtonChanged):
            (self._buttons.add if event.pressed else self._buttons.discard)(event.button)

    def _flush_video(self) -> None:
        if self._blocks:
            blocks, self._blocks = self._blocks, []
            self._video.append(blocks)

    def _guard(self, *steps: Callable[[], None]) -> None:
        try:
            for step in steps:
                step()
        except DataError as error:
            self._is_open = False
            if not self._mcap.num_chunks:
                self._mcap_file.discard()
                self._video_file.discard()
                raise
            self._mcap_file.abandon()
            self._video_file.abandon()
            part = part_path(self.path)
            raise DataError(f"{error}; what was complete is kept: make room, then `vlm-agent repair {part}`") from error
