"""Reading a session: ours, and OWAMcap recordings of versions 0.3 to 0.6.

Everything streams in time order, in memory that does not grow with the session. Damage is found by checksums before
anything wrong is handed out and ends in one `DataError` that names the file; `vlm-agent repair` saves what is intact.
Times are the log times of the messages. What lies in a span that was excluded (`SessionReader.excluded`) is in no
stream and no count.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from vlm_agent.actions.events import InputEvent, WheelTurned
from vlm_agent.actions.placement import Placement
from vlm_agent.errors import DataError
from vlm_agent.sessions.appending import PART_SUFFIX, part_path
from vlm_agent.sessions.damage import DamagedError
from vlm_agent.sessions.foreign_input import (
    INPUT_TOPICS,
    ForeignEventReader,
    InputCounts,
    InputSurvey,
    check_clock,
    survey,
)
from vlm_agent.sessions.limits import check_json_size
from vlm_agent.sessions.mcap_scan import McapIndex
from vlm_agent.sessions.mcap_writer import LoggedMessage
from vlm_agent.sessions.pictures import PictureSource
from vlm_agent.sessions.topics import (
    FORMAT_VERSION,
    ScreenRef,
    WheelReport,
    decode_excluded,
    decode_goal,
    decode_key,
    decode_placement,
    decode_pointer,
    decode_raw_mouse,
    decode_screen,
    is_raw_mouse,
)
from vlm_agent.sessions.types import Controller, Excluded, Frame, Goal, RawMotion, SessionInfo

_ALWAYS_READ = frozenset(("session", "excluded"))
"""Topics that tell of the session itself, wherever in it they lie."""

_T = TypeVar("_T")


class SessionReader:
    """One session's messages and frames, each stream read from the start whenever it is asked for."""

    def __init__(self, path: Path, game_window: str = "") -> None:
        """Open a session's `.mcap` and check its structure.

        Args:
            path: the file.
            game_window: of another recorder's file, a part of the title of the window whose input is meant, or `*` for
                all windows; empty to find it.

        Raises:
            DataError: If it is missing, unfinished, damaged, or of a later format.
        """
        self.path = path
        self._game_window = game_window
        self.mended_pictures: Counter[str] = Counter()
        """Stills that were mended while frames were read, by what was done, see `stills`."""
        with self._naming():
            self._index = McapIndex(self._find(path))
        self.is_own = self._index.has_topic("session")
        """Whether its form is ours; else it is another recorder's."""
        self._session = self._read_session()

    @property
    def meta(self) -> dict[str, Any]:
        """The plain data that the recorder kept with the session; empty for other recorders' files."""
        meta = self._session.get("meta")
        return meta if isinstance(meta, dict) else {}

    def info(self) -> SessionInfo:
        """Return what the session holds, counted.

        Raises:
            DataError: If the file is damaged.
        """
        topics, start_ns, end_ns = self._count()
        first = next(self.screens(), None)
        last_frame_ns = self._last_frame_ns() if first else None
        width_px, height_px = self.frame_size or (None, None)
        return SessionInfo(
            path=str(self.path),
            library=self._index.library,
            start_ns=start_ns,
            end_ns=end_ns,
            topics=dict(sorted(topics.items())),
            frames=topics.get("screen", 0),
            first_frame_ns=first.t_ns if first else None,
            last_frame_ns=last_frame_ns,
            width_px=width_px,
            height_px=height_px,
            video=first.uri if first and first.pts_ns is not None else None,
        )

    def events(self, counts: InputCounts | None = None) -> Iterator[InputEvent]:
        """Yield mouse and keyboard events in time order, in frame pixels.

        Other recorders store pixels of the screen, and what was done in every window: see `foreign_input`.

        Args:
            counts: counts what other recorders' events needed.

        Raises:
            DataError: If a message breaks the format, or it is not clear whose window's input is meant.
        """
        if self.is_own:
            return self._own_events()
        unclear = self.input.ownership.unclear
        if unclear:
            raise DataError(f"{self.path}: {unclear}: import it, and say which with --game-window TITLE, or * for all")
        reader = ForeignEventReader(self.input, self.frame_size, counts or InputCounts())
        return self._parsed(reader.read(self._decoded(*INPUT_TOPICS)))

    def raw_motions(self, counts: InputCounts | None = None) -> Iterator[RawMotion]:
        """Yield the mouse's own relative motion in time order; absolute devices are left out and counted."""
        for message, value in self._decoded("mouse/raw", *(() if self.is_own else ("mouse",))):
            if not is_raw_mouse(value):
                continue
            raw = self._parse(decode_raw_mouse, value)
            if raw.motion is None:
                (counts or InputCounts()).left_out["motion_of_an_absolute_device"] += 1
            elif any(raw.motion) or not (raw.buttons or any(raw.wheel)):
                yield RawMotion(message.t_ns, *raw.motion)

    def game_states(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (time in ns, exported state) in time order."""
        return self._timed("gamestate")

    def goals(self) -> Iterator[Goal]:
        """Yield goals in time order."""
        for message, value in self._decoded("goal"):
            yield self._parse(decode_goal, message.t_ns, value)

    def controls(self) -> Iterator[tuple[int, Controller]]:
        """Yield (time in ns, who acts from then on) in time order."""
        for t_ns, value in self._timed("control"):
            yield t_ns, "agent" if value.get("who") == "agent" else "human"

    def decisions(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (time in ns, what the policy said) in time order."""
        return self._timed("decision")

    def placements(self) -> Iterator[tuple[int, Placement]]:
        """Yield (time in ns, where the frame is on the screen from then on) in time order; none in others' files."""
        for t_ns, value in self._timed("placement"):
            yield t_ns, self._parse(decode_placement, value)

    @cached_property
    def excluded(self) -> tuple[Excluded, ...]:
        """The spans that do not belong to the session, in order of their start; they may overlap."""
        if not self.is_own:
            return self.input.ownership.spans
        if not self._index.has_topic("excluded"):
            return ()
        return tuple(sorted(self._parse(decode_excluded, value) for _, value in self._decoded("excluded")))

    def screens(self) -> Iterator[ScreenRef]:
        """Yield the reference of each frame in time order, without decoding it."""
        for message, value in self._decoded("screen"):
            yield self._parse(decode_screen, message.t_ns, value)

    def every_screen(self) -> Iterator[ScreenRef]:
        """Yield the same for all frames that the file holds, in excluded spans too."""
        for message, value in self._decode(self._index.messages(frozenset(("screen",)))):
            yield self._parse(decode_screen, message.t_ns, value)

    def frames(self) -> Iterator[Frame]:
        """Yield all frames in time order.

        Raises:
            DataError: If a frame is missing or damaged.
        """
        return self._fetch(self.screens())

    def frames_at(self, times_ns: Iterable[int]) -> Iterator[Frame]:
        """Yield for each time the latest frame at or before it; decodes only what these need.

        Args:
            times_ns: Times in rising order.

        Raises:
            DataError: If a time lies before the first frame, or a frame is missing or damaged.
            ValueError: If the times fall.
        """
        return self._fetch(self._latest(times_ns))

    def recent_frames_at(self, times_ns: Iterable[int], max_age_ns: int) -> Iterator[Frame | None]:
        """Yield for each time the latest frame at or before it, or None where that is older than it may be.

        A recorder that knows the screen to be unchanged writes its picture again; where none was written nobody knows.

        Args:
            times_ns: Times in rising order.
            max_age_ns: How old a frame may be.

        Raises:
            DataError: If a frame is missing or damaged.
            ValueError: If the times fall.
        """
        is_recent: list[bool] = []

        def recent() -> Iterator[ScreenRef]:
            for t_ns, ref in self._latest_or_none(times_ns):
                is_recent.append(ref is not None and t_ns - ref.t_ns <= max_age_ns)
                if ref is not None and is_recent[-1]:
                    yield ref

        for frame in self._fetch(recent()):
            yield from (None for _ in is_recent[:-1])
            is_recent.clear()
            yield frame
        yield from (None for _ in is_recent)

    @cached_property
    def input(self) -> InputSurvey:
        """What another recorder's file tells of its mouse and keyboard, see `foreign_input`.

        Raises:
            ConfigError: If no window is named as the user says.
            DataError: If its clock was set back while it ran, or a message breaks the format.
        """
        with self._naming():
            check_clock(self._index.messages_as_written())
        stop_ns = max((message.t_ns for message in self._index.messages()), default=0) + 1
        decoded = self._decode(self._index.messages(INPUT_TOPICS))
        return self._parse(survey, decoded, stop_ns, self.frame_size, self._game_window)

    @cached_property
    def frame_size(self) -> tuple[int, int] | None:
        """(width, height) of the frames in pixels; None without frames."""
        width_px, height_px = self._session.get("width_px"), self._session.get("height_px")
        if isinstance(width_px, int) and isinstance(height_px, int):
            return width_px, height_px
        first = next(self.every_screen(), None)
        if first is None:
            return None
        told = (first.width_px, first.height_px) if first.width_px and first.height_px else None
        try:
            frame = next(self._fetch(iter([first])))
        except DataError:
            if told is None:
                raise
            return told
        # What the picture is counts, not what is told of it.
        return frame.rgb.shape[1], frame.rgb.shape[0]

    def messages(self, topics: frozenset[str] | None = None) -> Iterator[LoggedMessage]:
        """Yield the undecoded messages of some topics, or all, in time order.

        Raises:
            DataError: If the file is damaged.
        """
        is_whole = topics is not None and topics <= _ALWAYS_READ
        hole = _Hole(() if is_whole else self.excluded)
        with self._naming():
            for message in self._index.messages(topics):
                if not hole.holds(message.t_ns) or message.channel.topic in _ALWAYS_READ:
                    yield message

    def _find(self, path: Path) -> Path:
        if path.suffix == PART_SUFFIX or (not path.exists() and part_path(path).exists()):
            part = path if path.suffix == PART_SUFFIX else part_path(path)
            raise DataError(f"is not finished; save what it holds with `vlm-agent repair {part}`")
        if path.is_dir():
            raise DataError("is a folder; name one .mcap file in it")
        if not path.exists():
            raise DataError("does not exist")
        return path

    def _read_session(self) -> dict[str, Any]:
        if not self._index.has_topic("session"):
            return {}
        _, value = next(self._decoded("session"), (None, {}))
        version = value.get("format")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise DataError(
                f"{self.path}: session format {version!r} is newer than this program reads ({FORMAT_VERSION})"
            )
        return value

    @cached_property
    def _codec_private(self) -> bytes | None:
        text = self._session.get("codec_private")
        if text is None:
            return None
        with self._naming():
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, TypeError, ValueError) as error:
                raise DataError("the session message is malformed") from error

    def _own_events(self) -> Iterator[InputEvent]:
        for message, value in self._decoded("mouse", "keyboard"):
            if message.channel.topic == "keyboard":
                yield self._parse(decode_key, message.t_ns, value)
                continue
            event = self._parse(decode_pointer, message.t_ns, value)
            yield WheelTurned(*event[:3], int(event.dx), int(event.dy)) if isinstance(event, WheelReport) else event

    def _parsed(self, events: Iterator[InputEvent]) -> Iterator[InputEvent]:
        while (event := self._parse(next, events, None)) is not None:
            yield event

    def _count(self) -> tuple[Counter[str], int, int]:
        statistics = None if self.excluded else self._index.statistics
        topics: Counter[str] = Counter()
        if statistics is not None:
            for channel_id, count in statistics.channel_message_counts.items():
                if channel_id in self._index.channels:
                    topics[self._index.channels[channel_id].topic] += count
            return topics, statistics.message_start_time, statistics.message_end_time
        start_ns = end_ns = 0
        for message in self.messages():
            start_ns = start_ns if topics else message.t_ns
            end_ns = message.t_ns
            topics[message.channel.topic] += 1
        return topics, start_ns, end_ns

    def _last_frame_ns(self) -> int | None:
        if self.excluded:
            return max((ref.t_ns for ref in self.screens()), default=None)
        with self._naming():
            return self._index.last_time_ns("screen")

    def _latest(self, times_ns: Iterable[int]) -> Iterator[ScreenRef]:
        for t_ns, ref in self._latest_or_none(times_ns):
            if ref is None:
                raise DataError(f"{self.path}: there is no frame at or before {t_ns} ns")
            yield ref

    def _latest_or_none(self, times_ns: Iterable[int]) -> Iterator[tuple[int, ScreenRef | None]]:
        refs = self.screens()
        latest: ScreenRef | None = None
        following = next(refs, None)
        before_ns: int | None = None
        for t_ns in times_ns:
            if before_ns is not None and t_ns < before_ns:
                raise ValueError(f"times must rise, got {t_ns} after {before_ns}")
            before_ns = t_ns
            while following is not None and following.t_ns <= t_ns:
                latest, following = following, next(refs, None)
            yield t_ns, latest

    def _fetch(self, refs: Iterator[ScreenRef]) -> Iterator[Frame]:
        shown: tuple[ScreenRef, Frame] | None = None
        with PictureSource(self.path.parent, self._codec_private, self.mended_pictures) as source:
            for ref in refs:
                if shown is None or shown[0] is not ref:
                    with self._naming():
                        shown = ref, Frame(ref.t_ns, source.fetch(ref))
                yield shown[1]

    def _timed(self, topic: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for message, value in self._decoded(topic):
            yield message.t_ns, value

    def _decoded(self, *topics: str) -> Iterator[tuple[LoggedMessage, dict[str, Any]]]:
        return self._decode(self.messages(frozenset(topics)))

    def _decode(self, messages: Iterable[LoggedMessage]) -> Iterator[tuple[LoggedMessage, dict[str, Any]]]:
        for message in messages:
            try:
                with self._naming():
                    check_json_size(message.data)
                value = json.loads(message.data)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{self.path}: a {message.channel.topic} message is not JSON") from error
            if not isinstance(value, dict):
                raise DataError(f"{self.path}: a {message.channel.topic} message is not a JSON object")
            yield message, value

    def _parse(self, decode: Callable[..., _T], *arguments: Any) -> _T:
        with self._naming():
            try:
                return decode(*arguments)
            except (TypeError, ValueError) as error:
                raise DataError(f"a message breaks the format: {error}") from error

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            text = str(error)
            if isinstance(error, DamagedError):
                text += f"; save what is intact with `vlm-agent repair {self.path}`"
            raise DataError(text if text.startswith(str(self.path)) else f"{self.path}: {text}") from error
        except OSError as error:
            raise DataError(f"{self.path}: {error.strerror}") from error


class _Hole:
    """Tells of rising times whether they lie in an excluded span."""

    def __init__(self, spans: tuple[Excluded, ...]) -> None:
        self._waiting = list(reversed(spans))
        self._stop_ns = 0

    def holds(self, t_ns: int) -> bool:
        """Return whether a time, not before the one asked last, lies in a span."""
        while self._waiting and self._waiting[-1].start_ns <= t_ns:
            self._stop_ns = max(self._stop_ns, self._waiting.pop().stop_ns)
        return t_ns < self._stop_ns
