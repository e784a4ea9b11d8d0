"""OWAMcap recordings, 0.3 to 0.6: `sessions.reader` reads them; this makes a checked copy in our own format.

Everything is read once through, so a copy that is finished says that every message and every picture was sound.
Frames are encoded again, since ours carry checksums. Positions become frame pixels, as the reader gives them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from heapq import merge
from pathlib import Path
from typing import Any

from vlm_agent.actions.events import InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.errors import ConfigError, DataError, LeftOutError
from vlm_agent.importing.limits import (
    MAX_NOTCHES,
    MAX_PICTURE_BYTES,
    MAX_POSITION_PX,
    MAX_STREAM_BYTES,
    MAX_T_NS,
)
from vlm_agent.importing.options import ImportOptions, Source
from vlm_agent.importing.reading import check_file, check_picture_size, follow, measure_picture, read_whole
from vlm_agent.importing.report import SessionReport
from vlm_agent.importing.session_files import Decision, Entry, Incoming, State, size_without_frames, with_goal
from vlm_agent.importing.videos import check_video
from vlm_agent.sessions.foreign_input import InputCounts, InputSurvey
from vlm_agent.sessions.keys import key_code
from vlm_agent.sessions.plain_json import check_json, check_text
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.topics import ScreenRef
from vlm_agent.sessions.types import RawMotion

OWN_LIBRARY = "vlm-agent"
_DATA_URI = "data:"
_SHAPE_SHARE = 0.02
"""By so much the shape of a picture may change before it looks odd."""
_BUTTONS = ("left", "right", "middle", "x1", "x2", "unknown")


def open_recording(source: Source, options: ImportOptions, report: SessionReport) -> Incoming:
    """Return the recording of a container.

    Raises:
        DataError: It is damaged, refers to what is not there or not its own, or is a session of ours already.
    """
    if check_file(source.root, source.path).stat().st_size > MAX_STREAM_BYTES:
        raise DataError(f"{source.path} is larger than {MAX_STREAM_BYTES} bytes")
    reader = SessionReader(source.path, options.game_window)
    _check_media(source, reader.every_screen())
    info = reader.info()
    if info.library.startswith(OWN_LIBRARY):
        raise DataError(f"{source.path} is a session of this program already: copy its .mcap and .mkv")
    size = reader.frame_size or size_without_frames(_reach(reader))
    check_picture_size(*size)
    report.decided["written by"] = info.library
    if not reader.is_own:
        _tell_input(reader.input, size, report)
    counts = InputCounts(report.repaired, report.left_out)
    streams: list[Iterator[Entry]] = [
        (Entry(goal.t_ns, goal) for goal in reader.goals()),
        (Entry(t_ns, who) for t_ns, who in reader.controls()),
        (Entry(t_ns, State(value)) for t_ns, value in _plain(reader.game_states(), "state", report)),
        (Entry(t_ns, Decision(value)) for t_ns, value in _plain(reader.decisions(), "decision", report)),
        _frames(reader, size, report),
        (Entry(motion.t_ns, motion) for motion in reader.raw_motions(counts) if _is_near(motion, report)),
        _events(reader, counts, report),
        (Entry(span.stop_ns, span) for span in reader.excluded),
    ]
    entries = (entry for entry in merge(*streams, key=lambda entry: entry.t_ns) if _is_dated(entry, report))
    return Incoming(
        *size,
        min(max(info.frames / max(info.duration_s, 0.1), 0.1), 240.0),
        with_goal(entries, options.goal),
        {"title": source.session, "imported": {"kind": source.kind, "source": source.path.name}},
    )


def _frames(reader: SessionReader, size: tuple[int, int], report: SessionReport) -> Iterator[Entry]:
    reader.mended_pictures.clear()  # the size was read off the first
    for frame in reader.frames():
        if (frame.rgb.shape[1], frame.rgb.shape[0]) == size:
            yield Entry(frame.t_ns, frame)
        else:
            report.left_out["picture_of_another_size"] += 1
    report.repaired.update(reader.mended_pictures)


def _events(reader: SessionReader, counts: InputCounts, report: SessionReport) -> Iterator[Entry]:
    for event in reader.events(counts):
        reason = _problem(event)
        if reason is None:
            yield Entry(event.t_ns, event)
        else:
            report.left_out[reason] += 1


def _tell_input(found: InputSurvey, size: tuple[int, int], report: SessionReport) -> None:
    """Say what the recording tells of its input, and how it is read.

    Raises:
        ConfigError: It does not tell whose window's input is meant.
    """
    owner = found.ownership
    if owner.unclear:
        raise ConfigError(f"{report.source}: {owner.unclear}: say which with --game-window TITLE, or --game-window '*'")
    report.decided["game window"] = owner.told
    report.left_out["input_while_another_window_was_active"] += owner.inputs
    report.left_out["picture_while_another_window_was_active"] += owner.pictures
    if owner.spans:
        report.notes.append(
            "the active window is told about once a second: what was typed right before another one was told may be in"
        )
    if found.source is not None and found.source != size:
        report.decided["positions"] = f"scaled from {_by(found.source)} to {_by(size)} pixels"
        if abs(found.source[0] * size[1] - found.source[1] * size[0]) > _SHAPE_SHARE * found.source[0] * size[1]:
            report.notes.append(
                f"pictures of {_by(found.source)} pixels became {_by(size)}: were borders added to them?"
            )
    if found.raw_buttons or found.raw_wheel:
        where = "" if found.has_pointer else ", at the middle of the frame, for no message tells where the pointer is"
        what = " and ".join(["buttons"] * found.raw_buttons + ["wheel"] * found.raw_wheel)
        report.decided[what] = f"from raw messages{where}"
    if found.units_a_notch != 1:
        report.decided["wheel"] = f"{found.units_a_notch} units a notch"


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _problem(event: InputEvent) -> str | None:
    if isinstance(event, KeyChanged):
        try:
            key_code(event.key)
        except DataError:
            return "unknown_key"
        return None
    if max(abs(event.x), abs(event.y)) > MAX_POSITION_PX:
        return "number_too_large"
    if isinstance(event, WheelTurned):
        return "number_too_large" if max(abs(event.dx), abs(event.dy)) > MAX_NOTCHES else None
    return None if isinstance(event, PointerMoved) or event.button in _BUTTONS else "unknown_button"


def _is_near(motion: RawMotion, report: SessionReport) -> bool:
    is_near = max(abs(motion.dx), abs(motion.dy)) <= MAX_POSITION_PX
    report.left_out["number_too_large"] += not is_near
    return is_near


def _is_dated(entry: Entry, report: SessionReport) -> bool:
    is_dated = 0 <= entry.t_ns <= MAX_T_NS
    report.left_out["impossible_time"] += not is_dated
    return is_dated


def _plain(
    values: Iterator[tuple[int, dict[str, Any]]], what: str, report: SessionReport
) -> Iterator[tuple[int, dict[str, Any]]]:
    for t_ns, value in values:
        try:
            plain, not_finite = check_json(value)
            check_text(plain)
        except LeftOutError as error:
            report.left_out[f"{what}_{error.reason}"] += 1
            continue
        report.repaired[f"number_that_is_not_finite_in_a_{what}"] += not_finite
        yield t_ns, plain


def _reach(reader: SessionReader) -> tuple[int, int]:
    width_px = height_px = 0
    for event in reader.events():
        if not isinstance(event, KeyChanged):
            width_px, height_px = max(width_px, event.x), max(height_px, event.y)
    return width_px, height_px


def _check_media(source: Source, screens: Iterator[ScreenRef]) -> None:
    """Look at every file that frames refer to once, before the video library opens it.

    That library guesses what a file is from its content, and some contents (play lists) make it open other files.
    """
    seen: set[str] = set()
    for screen in screens:
        if screen.uri in seen:
            continue
        if screen.uri.startswith(_DATA_URI):
            _measure(source.path, _decode_base64(screen.uri.partition(",")[2]))
            continue
        path = check_file(source.root, follow(source.root, source.path.parent, screen.uri))
        if screen.pts_ns is None:
            _measure(path, read_whole(source.root, path, MAX_PICTURE_BYTES))
            continue  # stills are many: not remembered
        seen.add(screen.uri)
        check_video(source.root, path)


def _measure(where: Path, picture: bytes) -> None:
    try:
        measure_picture(picture)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"a frame's picture is not base64 ({error})") from error
