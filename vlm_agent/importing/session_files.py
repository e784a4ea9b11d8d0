"""From what an importer yields to whole sessions: written out of sight, and given their names all at once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, assert_never

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.errors import DataError
from vlm_agent.files import flush_folder
from vlm_agent.importing.limits import MAX_SPAN_NS
from vlm_agent.importing.report import NO_DATASET, SessionReport
from vlm_agent.locks import only_writer
from vlm_agent.sessions.types import Controller, Excluded, Frame, Goal, RawMotion
from vlm_agent.sessions.writer import SessionWriter, session_paths

_STAGED, _WHOLE = ".importing-", ".imported-"
"""Begin the names of folders of sessions that are being written, and that only have to be moved to their place."""
_PROGRESS_NS = 10 * 10**9
_NO_FRAME_LEAST_PX, _NO_FRAME_MOST_PX = 16, 4096


class State(NamedTuple):
    """A game state."""

    value: dict[str, Any]
    """Plain JSON data."""


class Decision(NamedTuple):
    """What a policy said."""

    value: dict[str, Any]
    """Plain JSON data."""


class Entry(NamedTuple):
    """One thing of a recording; entries come in order of time."""

    t_ns: int
    """When."""
    item: InputEvent | RawMotion | Frame | State | Goal | Controller | Decision | Excluded
    """What."""


@dataclass(frozen=True)
class Incoming:
    """A recording, opened."""

    width_px: int
    """Width of its frames; of what the pointer reached where there are none."""
    height_px: int
    """Height of the same."""
    fps: float
    """About how many frames come in a second."""
    entries: Iterator[Entry]
    """All of it in order of time; reading them counts in the report."""
    meta: dict[str, Any]
    """Kept with the session."""


def size_without_frames(reach: tuple[int, int]) -> tuple[int, int]:
    """Return the size of a session without pictures: what the pointer reached is at least inside the window.

    Args:
        reach: the greatest x and y of any event.
    """
    width_px, height_px = (min(max(most + 1, _NO_FRAME_LEAST_PX), _NO_FRAME_MOST_PX) for most in reach)
    return width_px, height_px


def keep_near(entries: Iterator[Entry], near_ns: int | None, report: SessionReport) -> Iterator[Entry]:
    """Yield the entries within 24 hours of a moment of the recording, all where none is known.

    One state of a loading screen, dated 1970, must not be the beginning of a session.
    """
    for entry in entries:
        if near_ns is not None and abs(entry.t_ns - near_ns) > MAX_SPAN_NS:
            report.left_out["more_than_24_hours_from_the_rest"] += 1
        else:
            yield entry


def with_goal(entries: Iterator[Entry], text: str) -> Iterator[Entry]:
    """Yield entries, and before the first the goal of the whole play, if there is one."""
    for place, entry in enumerate(entries):
        if place == 0 and text:
            yield Entry(entry.t_ns, Goal(entry.t_ns, text, "long", "human"))
        yield entry


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Give a folder beside the sessions that are to come; nothing is left of it, nor of a new `out` that stays empty.

    One import at a time writes into `out`, the next one waits. What a killed one left is put right first.

    Raises:
        DataError: `out` can't be made or written.
    """
    with only_writer(out, waits=True):
        for left in out.glob(f"{_WHOLE}*"):
            _move_out(left, out, [])
        for left in out.glob(f"{_STAGED}*"):
            shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=_STAGED, dir=out))
        try:
            yield folder
        except DataError as error:
            if str(folder) not in str(error):
                raise
            # What it names, and says how to save, is gone in a moment.
            reason = error.__cause__ or error.__context__ or error
            told = getattr(reason, "strerror", None) or str(reason).rpartition(": ")[2]
            raise DataError(f"{out}: can't write it ({told}); nothing was imported, make room and try again") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def refuse_existing(out: Path, sessions: Sequence[str]) -> None:
    """Raise DataError if a session of one of these names is there, whole or unfinished, or two have the same name."""
    twice = sorted({name for name in sessions if sessions.count(name) > 1})
    if twice:
        raise DataError(
            f"two recordings would become the session {twice[0]!r}: import them one by one, into two folders"
        )
    for name in sessions:
        for path in session_paths(out / name):
            for there in (path, path.with_name(f"{path.name}.part")):
                if there.exists():
                    raise DataError(f"{there} is there already: delete it, or give another --out")


def publish(folder: Path, out: Path, sessions: Sequence[str]) -> None:
    """Move whole sessions to their place, the `.mcap` of each last; none is overwritten.

    From the moment that the folder has its new name all of them are imported: the next import moves what a kill left.

    Raises:
        DataError: One has come to be there in the meantime, or the disk refuses.
    """
    refuse_existing(out, sessions)
    whole = folder.with_name(_WHOLE + folder.name.removeprefix(_STAGED))
    moved: list[Path] = []
    try:
        folder.rename(whole)
        _move_out(whole, out, moved)
    except (OSError, DataError) as error:
        for path in moved:
            path.unlink(missing_ok=True)
        shutil.rmtree(whole, ignore_errors=True)
        raise DataError(f"can't finish {out}: {getattr(error, 'strerror', error)}") from error


def _move_out(whole: Path, out: Path, moved: list[Path]) -> None:
    """Give sessions their place, and tell which have it; raises DataError where another has come to be there."""
    for source in sorted(whole.iterdir(), key=lambda path: (path.stem, path.suffix == ".mcap")):
        target = out / source.name
        if target.exists():
            raise DataError(f"{target} is there already, and another one of that name in {whole}; remove one of them")
        source.rename(target)
        moved.append(target)
    flush_folder(out)
    whole.rmdir()


def write_session(
    stem: Path, incoming: Incoming, report: SessionReport, advance: Callable[[float], None] = lambda seconds: None
) -> None:
    """Write a recording as a session.

    Args:
        stem: path without suffix; in a folder that is thrown away if this fails.
        incoming: the recording.
        report: counts what is read; reading the entries counts the rest.
        advance: told now and then how many seconds of play are written.

    Raises:
        DataError: the recording is damaged or holds nothing, or the disk is full.
    """
    size = incoming.width_px, incoming.height_px
    with SessionWriter(stem, width_px=size[0], height_px=size[1], fps=incoming.fps, meta=incoming.meta) as writer:
        first_ns: int | None = None
        frame_ns = told_ns = -1
        for t_ns, item in incoming.entries:
            if first_ns is None:
                first_ns = told_ns = t_ns
            if t_ns - first_ns > MAX_SPAN_NS:
                report.left_out["later_than_24_hours_after_the_start"] += 1
                continue
            if isinstance(item, Frame):
                if t_ns <= frame_ns:
                    report.left_out["frame_at_the_time_of_another"] += 1
                    continue
                frame_ns = t_ns
            _write(writer, t_ns, item, size, report)
            if t_ns - told_ns >= _PROGRESS_NS:
                advance((t_ns - told_ns) / 1e9)
                told_ns = t_ns
    if sum(report.read.values()) <= report.left_out["later_than_24_hours_after_the_start"]:
        raise DataError(f"{report.source}: {_say_empty(report)}")
    if not report.read["frames"]:
        report.notes.append(NO_DATASET)


def _write(writer: SessionWriter, t_ns: int, item: Any, size: tuple[int, int], report: SessionReport) -> None:
    match item:
        case Frame():
            writer.write_frame(t_ns, item.rgb)
            report.read["frames"] += 1
        case State():
            writer.write_game_state(t_ns, item.value)
            report.read["states"] += 1
        case Goal():
            writer.write_goal(t_ns, item)
            report.read["goals"] += 1
        case RawMotion():
            writer.write_raw_motion(item)
            report.read["raw_motions"] += 1
        case Decision():
            writer.write_decision(t_ns, item.value)
            report.read["decisions"] += 1
        case Excluded():
            writer.write_excluded(item)
            report.kept[f"span_{item.reason}"] += 1
        case str():
            writer.write_control(t_ns, "agent" if item == "agent" else "human")
        case KeyChanged() | PointerMoved() | ButtonChanged() | WheelTurned():
            writer.write_event(item)
            report.read["events"] += 1
            if not isinstance(item, KeyChanged) and not (0 <= item.x < size[0] and 0 <= item.y < size[1]):
                report.kept["position_outside_the_frame"] += 1
        case _:
            assert_never(item)


def _say_empty(report: SessionReport) -> str:
    reasons = ", ".join(
        f"{count} {reason.replace('_', ' ')}" for reason, count in report.left_out.most_common(5) if count
    )
    return f"nothing usable is in it ({reasons or 'it is empty'})"
