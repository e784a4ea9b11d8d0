"""Making a whole session out of a damaged or unfinished one.

Kept is what checksums confirm: complete chunks of messages, complete clusters of video as far as their keyframe is
intact, and of the `screen` messages those whose frame is kept. Everything kept is as it was recorded; the one thing
rewritten is the video's name in the `screen` messages. The damaged files stay where they are.
"""

from __future__ import annotations

import base64
import contextlib
import json
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from vlm_agent.errors import DataError
from vlm_agent.locks import is_locked
from vlm_agent.sessions.appending import PART_SUFFIX, REPAIR_SUFFIX, AppendedFile, check_unlocked, part_path
from vlm_agent.sessions.damage import DamagedError
from vlm_agent.sessions.matroska import MatroskaWriter, read_codec_private
from vlm_agent.sessions.mcap_scan import McapIndex
from vlm_agent.sessions.mcap_writer import LoggedMessage, McapWriter
from vlm_agent.sessions.pictures import PictureSource
from vlm_agent.sessions.salvage import ChunkSalvage, ClusterSalvage, Mapped
from vlm_agent.sessions.topics import FORMAT_VERSION, LIBRARY, PROFILE, ScreenRef, decode_screen, encode_json
from vlm_agent.sessions.types import RepairReport
from vlm_agent.sessions.writer import make_channel, session_paths

_ALONE_SUFFIX = ".repairing-alone"
"""Of the output of a repair that writes no video; what stands beside it is somebody else's."""
_HEAD_BYTES = 4096
"""More than the header of any of our videos."""


@dataclass
class _Tally:
    messages: int = 0
    frames: int = 0
    dropped: int = 0


def repair(path: Path, out: Path | None = None) -> RepairReport:
    """Save what is intact of a session.

    Args:
        path: A damaged `.mcap`, or the `.mcap.part` that a killed recorder left.
        out: The repaired `.mcap`; default: the name the recorder would have given, or `<id>.repaired.mcap`.

    Raises:
        DataError: If nothing is intact, or the result can't be written; no half-written result is left.
    """
    source = _find_source(path)
    if is_locked(source):
        raise DataError(f"{source} is being written by another process; end that one first")
    for left in [out] if out else _possible_outs(source):
        _clear_killed(left)
    out = out or _default_out(source)
    if out.suffix != ".mcap":
        raise DataError(f"the repaired session must end in .mcap, got {out}")
    stem = source.name.removesuffix(PART_SUFFIX).removesuffix(".mcap")
    video = _find_video(source.with_name(stem + ".mkv"))
    with _naming(source), _mapped(source) as data, _mapped(video) as video_data:
        _check_limits(source)
        salvage, clusters = ChunkSalvage(data), ClusterSalvage(video_data) if len(video_data) else None
        session = _find_session(salvage)
        kept_ms = _recoverable_times(clusters) if clusters else array("Q")
        if session is None and not kept_ms:
            return _repair_foreign(source, out, salvage)
        reason = _fault(source, clusters)
        if reason is None:
            return _report(
                source, None, salvage, clusters, _count(salvage), "the session is sound; nothing was written"
            )
        if session is None:
            session = _rebuild_session(salvage, video_data[:_HEAD_BYTES])
            reason += "; the session's own description was lost"
            if "codec_private" not in session:
                reason += ", and with it the video"
                kept_ms = array("Q")
        try:
            tally = _rewrite(out, salvage, clusters, session, kept_ms)
        except DamagedError as error:
            raise DataError(f"{source}: {error}") from error
    return _report(source, out, salvage, clusters, tally, reason)


def _find_source(path: Path) -> Path:
    source = path if path.exists() else part_path(path)
    if source.exists() and not source.is_file() and not source.is_dir():
        raise DataError(f"{path} is no file; name a session's .mcap or .mcap.part file")
    if not source.is_file():
        raise DataError(f"{path} does not exist; name a session's .mcap or .mcap.part file")
    if not source.name.removesuffix(PART_SUFFIX).endswith(".mcap"):
        raise DataError(f"{path} is not a session's .mcap or .mcap.part file")
    return source


def _possible_outs(source: Path) -> list[Path]:
    stem = source.name.removesuffix(PART_SUFFIX).removesuffix(".mcap")
    return [source.with_name(f"{stem}.mcap"), source.with_name(f"{stem}.repaired.mcap")]


def _default_out(source: Path) -> Path:
    named, beside = _possible_outs(source)
    # A recorder killed between its last two steps has named its video already. Where both have their names, all of it
    # was repaired before, and a second copy is not made unasked.
    is_name_free = named.exists() or not named.with_suffix(".mkv").exists()
    return named if source.suffix == PART_SUFFIX and is_name_free else beside


def _clear_killed(out: Path) -> None:
    """Remove what a killed repair left where the next one writes; raises TakenError where one is under way."""
    video = session_paths(out.with_suffix(""))[1]
    half = out.with_name(out.name + REPAIR_SUFFIX)
    if half.exists():
        # Files of both kinds were begun together, so the one that has its name already is of the same repair.
        check_unlocked(half)
        video.unlink(missing_ok=True)
    for left in (video.with_name(video.name + REPAIR_SUFFIX), half, out.with_name(out.name + _ALONE_SUFFIX)):
        check_unlocked(left)
        left.unlink(missing_ok=True)


def _find_video(path: Path) -> Path | None:
    return next((candidate for candidate in (path, part_path(path)) if candidate.is_file()), None)


@contextlib.contextmanager
def _naming(source: Path) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise (error if str(source) in str(error) else DataError(f"{source}: {error}")) from error


@contextlib.contextmanager
def _mapped(path: Path | None) -> Iterator[Mapped]:
    if path is None or path.stat().st_size == 0:
        yield b""
        return
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        yield data


def _check_limits(source: Path) -> None:
    """Raise DataError for a finished file that holds more than a session may; what is damaged is no matter."""
    if source.suffix != PART_SUFFIX:
        with contextlib.suppress(DamagedError):
            McapIndex(source)


def _fault(source: Path, clusters: ClusterSalvage | None) -> str | None:
    """Return what is wrong in one line; None if both files are as their writer left them."""
    if source.suffix == PART_SUFFIX:
        return "the recording was not finished"
    try:
        for _ in McapIndex(source).messages():
            pass
    except DamagedError as error:
        return str(error)
    if clusters is None:
        return "the video is missing or empty"
    if clusters.bytes_lost or not clusters.is_head_sound:
        return "the video is damaged"
    return None


def _find_session(salvage: ChunkSalvage) -> dict[str, Any] | None:
    for message in _messages(salvage):
        if message.channel.topic == "session":
            value = json.loads(message.data)
            return value if isinstance(value, dict) else None
    return None


def _messages(salvage: ChunkSalvage) -> Iterator[LoggedMessage]:
    for chunk in salvage.chunks():
        yield from chunk


def _recoverable_times(clusters: ClusterSalvage) -> array[int]:
    return array("Q", (block.pts_ms for blocks in clusters.clusters() for block in blocks))


def _rebuild_session(salvage: ChunkSalvage, video_head: bytes) -> dict[str, Any]:
    """Return a description from what the other messages and the video's header still tell."""
    session: dict[str, Any] = {"format": FORMAT_VERSION, "meta": {}}
    for message in _messages(salvage):
        ref = _screen(message)
        if ref and ref.width_px and ref.height_px:
            session |= {"width_px": ref.width_px, "height_px": ref.height_px}
            with contextlib.suppress(DamagedError):
                session["codec_private"] = base64.b64encode(read_codec_private(video_head)).decode()
            break
    return session


def _screen(message: LoggedMessage) -> ScreenRef | None:
    if message.channel.topic != "screen":
        return None
    try:
        return decode_screen(message.t_ns, json.loads(message.data))
    except (DataError, TypeError, ValueError):
        return None


def _rewrite(
    out: Path, salvage: ChunkSalvage, clusters: ClusterSalvage | None, session: dict[str, Any], kept_ms: array[int]
) -> _Tally:
    """Write both files of the repaired session, or none."""
    out, video_out = session_paths(out.with_suffix(""))
    files: list[AppendedFile] = []
    try:
        if "codec_private" in session:
            files += [AppendedFile(video_out, suffix=REPAIR_SUFFIX)]
        files += [AppendedFile(out, suffix=REPAIR_SUFFIX if files else _ALONE_SUFFIX)]
        if "codec_private" in session:
            _rewrite_video(files[0], clusters, session)
        tally = _rewrite_messages(files[-1], salvage, session, kept_ms, video_out.name)
        if not tally.messages:
            raise DamagedError("no complete chunk of messages is intact")
        for file in files:
            file.finish()
    except (DataError, KeyboardInterrupt):
        for file in files:
            file.discard()
        raise
    return tally


def _rewrite_video(file: AppendedFile, clusters: ClusterSalvage | None, session: dict[str, Any]) -> None:
    width_px, height_px = session["width_px"], session["height_px"]
    writer = MatroskaWriter(
        file,
        width_px=width_px + width_px % 2,
        height_px=height_px + height_px % 2,
        codec_private=base64.b64decode(session["codec_private"]),
        app=LIBRARY,
    )
    for blocks in clusters.clusters() if clusters else ():
        writer.append(blocks)
    writer.finish()


def _rewrite_messages(
    file: AppendedFile, salvage: ChunkSalvage, session: dict[str, Any], kept_ms: array[int], video_name: str
) -> _Tally:
    writer, tally, is_described = McapWriter(file, profile=PROFILE, library=LIBRARY), _Tally(), False
    for chunk in salvage.chunks():
        is_described = is_described or any(message.channel.topic == "session" for message in chunk)
        if not is_described:
            writer.add(LoggedMessage(make_channel("session"), chunk[0].t_ns, encode_json(session)))
            is_described = True
        for message in chunk:
            if message.channel.topic == "screen":
                found = _point_to(message, kept_ms, video_name)
                tally.frames += found is not None
                tally.dropped += found is None
            else:
                found = message
            if found:
                writer.add(found)
                tally.messages += 1
        writer.flush()
    writer.finish()
    return tally


def _point_to(message: LoggedMessage, kept_ms: array[int], video_name: str) -> LoggedMessage | None:
    """Return a `screen` message that names the repaired video; None if its frame is lost."""
    ref = _screen(message)
    if ref is None or ref.pts_ns is None:
        return None
    pts_ms = ref.pts_ns // 1_000_000
    place = bisect_left(kept_ms, pts_ms)
    if place == len(kept_ms) or kept_ms[place] != pts_ms:
        return None
    if ref.uri == video_name:
        return message
    value = json.loads(message.data)
    value["media_ref"]["uri"] = video_name
    return message._replace(data=encode_json(value))


def _repair_foreign(source: Path, out: Path, salvage: ChunkSalvage) -> RepairReport:
    """Repair another recorder's session: its video has no checksums of ours and stays as it is."""
    reason = _foreign_fault(source)
    if reason is None:
        return _report(source, None, salvage, None, _count(salvage), "the messages are sound; nothing was written")
    if out.parent.resolve() != source.parent.resolve():
        raise DataError(f"{out}: another recorder's session is repaired in its own folder, beside its video")
    tally = _Tally()
    file = AppendedFile(out, suffix=_ALONE_SUFFIX)
    try:
        writer = McapWriter(file, profile=PROFILE, library=f"{LIBRARY}, repaired")
        with PictureSource(source.parent, None, Counter()) as pictures:
            for chunk in salvage.chunks():
                for message in chunk:
                    _copy_foreign(message, writer, pictures, tally)
                writer.flush()
        if not tally.messages:
            raise DataError(f"{source}: {reason}; nothing in it is intact")
        writer.finish()
        file.finish()
    except (DataError, KeyboardInterrupt):
        file.discard()
        raise
    return _report(source, out, salvage, None, tally, f"{reason}; the video has no checksums and was left as it is")


def _foreign_fault(source: Path) -> str | None:
    try:
        for _ in McapIndex(source).messages():
            pass
    except DamagedError as error:
        return str(error)
    return None


def _copy_foreign(message: LoggedMessage, writer: McapWriter, pictures: PictureSource, tally: _Tally) -> None:
    ref = _screen(message)
    if message.channel.topic == "screen":
        try:
            if ref is None:
                raise DataError("unreadable")
            pictures.fetch(ref)
            tally.frames += 1
        except DataError:
            tally.dropped += 1
            return
    writer.add(message)
    tally.messages += 1


def _count(salvage: ChunkSalvage) -> _Tally:
    tally = _Tally()
    for message in _messages(salvage):
        tally.messages += 1
        tally.frames += message.channel.topic == "screen"
    return tally


def _report(
    source: Path,
    out: Path | None,
    salvage: ChunkSalvage,
    clusters: ClusterSalvage | None,
    tally: _Tally,
    reason: str,
) -> RepairReport:
    return RepairReport(
        source=str(source),
        out=str(out) if out else None,
        messages=tally.messages,
        chunks=salvage.num_chunks,
        frames=tally.frames,
        messages_dropped=tally.dropped,
        bytes_lost=salvage.bytes_lost,
        video_bytes_lost=clusters.bytes_lost if clusters else 0,
        reason=reason,
    )
