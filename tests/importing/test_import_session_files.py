"""From entries to a session: counted, within bounds, and published all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vlm_agent.actions.events import KeyChanged, PointerMoved
from vlm_agent.errors import DataError
from vlm_agent.importing.limits import MAX_SPAN_NS
from vlm_agent.importing.report import NO_DATASET, SessionReport
from vlm_agent.importing.session_files import (
    Decision,
    Entry,
    Incoming,
    State,
    publish,
    size_without_frames,
    staging,
    with_goal,
    write_session,
)
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.types import Frame, Goal, RawMotion

MS = 1_000_000


def picture(level: int) -> np.ndarray[Any, Any]:
    return np.full((24, 32, 3), level, np.uint8)


def write(stem: Path, *entries: Entry) -> tuple[SessionReport, list[float]]:
    report, told = SessionReport("a", "made", "here"), []
    write_session(stem, Incoming(32, 24, 10.0, iter(entries), {}), report, told.append)
    return report, told


@pytest.mark.parametrize(
    ("reach", "size"),
    [((0, 0), (16, 16)), ((15, 16), (16, 17)), ((764, 502), (765, 503)), ((9999, 4096), (4096, 4096))],
)
def test_without_pictures_the_window_holds_what_the_pointer_reached(reach: Any, size: Any) -> None:
    assert size_without_frames(reach) == size


def test_the_goal_of_the_whole_play_comes_with_the_first_entry() -> None:
    first, second = Entry(7, KeyChanged(7, "a", True)), Entry(9, KeyChanged(9, "a", False))
    assert list(with_goal(iter([first, second]), "walk")) == [
        Entry(7, Goal(7, "walk", "long", "human")),
        first,
        second,
    ]
    assert list(with_goal(iter([first]), "")) == [first]
    assert list(with_goal(iter([]), "walk")) == []


def test_everything_is_written_once_and_counted_by_what_it_is(tmp_path: Path) -> None:
    report, _ = write(
        tmp_path / "a",
        Entry(0, Frame(0, picture(0))),
        Entry(0, Goal(0, "walk", "short", "model")),
        Entry(1 * MS, PointerMoved(1 * MS, 31, 23)),
        Entry(2 * MS, PointerMoved(2 * MS, 32, 0)),
        Entry(3 * MS, PointerMoved(3 * MS, 0, -1)),
        Entry(4 * MS, RawMotion(4 * MS, 5, 6)),
        Entry(5 * MS, State({"tick": 1})),
        Entry(6 * MS, Decision({"text": "[]"})),
        Entry(7 * MS, "agent"),
        Entry(8 * MS, Frame(8 * MS, picture(9))),
        Entry(8 * MS, Frame(8 * MS, picture(99))),
    )
    assert report.read == {"frames": 2, "goals": 1, "events": 3, "raw_motions": 1, "states": 1, "decisions": 1}
    assert report.kept == {"position_outside_the_frame": 2}
    assert report.left_out == {"frame_at_the_time_of_another": 1}
    assert report.notes == []
    reader = SessionReader(tmp_path / "a.mcap")
    assert reader.info().frames == 2
    assert list(reader.controls()) == [(7 * MS, "agent")]
    assert [frame.rgb.mean() < 20 for frame in reader.frames()] == [True, True]


def test_a_day_is_the_most_and_progress_is_told_in_seconds_of_play(tmp_path: Path) -> None:
    times_ns = [5, 5 + 10**10, 5 + 3 * 10**10, 5 + MAX_SPAN_NS, 6 + MAX_SPAN_NS]
    report, told = write(tmp_path / "a", *[Entry(t_ns, KeyChanged(t_ns, "a", True)) for t_ns in times_ns])
    assert report.read["events"] == 4
    assert report.left_out == {"later_than_24_hours_after_the_start": 1}
    assert told == [10.0, 20.0, MAX_SPAN_NS / 1e9 - 30]
    assert report.notes == [NO_DATASET]


def test_a_recording_of_nothing_is_refused_by_what_was_left_out(tmp_path: Path) -> None:
    report = SessionReport("a", "made", "here")
    report.left_out["broken_line"] += 2
    with pytest.raises(DataError, match=r"here: nothing usable is in it \(2 broken line\)"):
        write_session(tmp_path / "a", Incoming(32, 24, 10.0, iter(()), {}), report)


def test_a_sessions_messages_are_moved_after_its_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made").mkdir()
    for name in ("a", "b"):
        write(tmp_path / "made" / name, Entry(0, Frame(0, picture(0))))
    moved: list[str] = []
    rename = Path.rename

    def note(self: Path, target: Path) -> Path:
        moved.append(target.name)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", note)
    publish(tmp_path / "made", tmp_path, ["a", "b"])
    assert moved == [".imported-made", "a.mkv", "a.mcap", "b.mkv", "b.mcap"]


def test_what_killed_imports_left_is_put_right_by_the_next(tmp_path: Path) -> None:
    half, whole = tmp_path / ".importing-abc", tmp_path / ".imported-xyz"
    half.mkdir()
    (half / "b.mcap.part").write_text("half")
    whole.mkdir()
    for name in ("a", "c"):
        write(whole / name, Entry(0, Frame(0, picture(0))))
    (whole / "c.mkv").rename(tmp_path / "c.mkv")  # killed between two of its moves
    with staging(tmp_path) as folder:
        there = sorted(path.name for path in tmp_path.iterdir() if path.suffix in (".mcap", ".mkv"))
        assert there == ["a.mcap", "a.mkv", "c.mcap", "c.mkv"]
        assert not half.exists()
        assert not whole.exists()
        assert folder.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == there


def test_a_full_disk_names_what_is_still_there(tmp_path: Path) -> None:
    def fill() -> None:
        with staging(tmp_path / "out") as folder:
            try:
                raise OSError(28, "No space left on device")
            except OSError as error:
                raise DataError(f"can't write {folder}/a.mcap.part: full; `vlm-agent repair {folder}`") from error

    with pytest.raises(
        DataError, match=r"out: can't write it \(No space left on device\); nothing was imported"
    ) as told:
        fill()
    assert ".importing" not in str(told.value)
    assert list(tmp_path.iterdir()) == []
