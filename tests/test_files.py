"""Files and folders are flushed before they have their name, and what fails leaves the old one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vlm_agent import files
from vlm_agent.files import write_folder, write_text


@pytest.fixture
def happened(monkeypatch) -> list[tuple[str, str]]:
    """What is flushed and renamed, in order."""
    events: list[tuple[str, str]] = []
    fsync, rename, replace = os.fsync, Path.rename, Path.replace

    def note_flush(number: int) -> None:
        events.append(("flushed", Path(f"/proc/self/fd/{number}").readlink().name))
        fsync(number)

    monkeypatch.setattr(files.os, "fsync", note_flush)
    for name, move in (("rename", rename), ("replace", replace)):
        monkeypatch.setattr(
            Path, name, lambda self, to, move=move: (events.append(("named", Path(to).name)), move(self, to))[1]
        )
    return events


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells which file is flushed on Linux alone")
def test_all_of_a_folder_is_flushed_before_it_has_its_name(tmp_path, happened):
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "old").write_text("1")

    def fill(beside: Path) -> None:
        assert (tmp_path / "step" / "old").exists()
        (beside / "a").write_text("1")
        (beside / "b").write_text("2")

    assert write_folder(tmp_path / "step", fill) == tmp_path / "step"
    assert sorted(happened[:3]) == [("flushed", "a"), ("flushed", "b"), ("flushed", "step.partial")]
    assert happened[3:] == [("named", "step.old"), ("named", "step"), ("flushed", tmp_path.name)]
    assert sorted(path.name for path in (tmp_path / "step").iterdir()) == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["step"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="tells which file is flushed on Linux alone")
def test_a_file_is_flushed_before_it_has_its_name(tmp_path, happened):
    write_text(tmp_path / "run.json", "new")
    assert happened == [("flushed", "run.json.partial"), ("named", "run.json"), ("flushed", tmp_path.name)]
    assert (tmp_path / "run.json").read_text() == "new"


def test_what_can_not_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "old").write_text("1")
    (tmp_path / "run.json").write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_folder(tmp_path / "step", fail)
    monkeypatch.setattr(files, "_flush", fail)
    with pytest.raises(OSError, match="No space"):
        write_folder(tmp_path / "step", lambda beside: (beside / "a").touch())
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "run.json", "new")
    assert (tmp_path / "run.json").read_text() == "old"
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["run.json", "step", "step/old"]


def test_a_left_over_of_a_kill_is_written_over(tmp_path):
    (tmp_path / "step.partial").mkdir()
    (tmp_path / "step.partial" / "half").touch()
    write_folder(tmp_path / "step", lambda beside: (beside / "a").touch())
    assert [path.name for path in (tmp_path / "step").iterdir()] == ["a"]


def test_a_kill_between_the_two_names_of_a_folder_loses_neither(tmp_path, monkeypatch):
    write_folder(tmp_path / "step", lambda beside: (beside / "old").touch())
    rename = Path.rename

    def die(self: Path, to: Path) -> Path:
        if self.name == "step.partial":
            raise KeyboardInterrupt
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", die)
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path / "step", lambda beside: (beside / "new").touch())
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["step.old"]

    def fail(beside: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_folder(tmp_path / "step", fail)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["step", "step/old"]


def test_many_files_are_flushed_together(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(files.os, "sync", lambda: flushed.append(sorted(path.name for path in tmp_path.iterdir())))
    write_folder(tmp_path / "many", lambda beside: [(beside / str(number)).touch() for number in range(300)])
    assert flushed == [["many.partial"]]


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "new" / "comparison.json"
    write_text(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half a text, then \ud800")
    assert path.read_text() == "before"
    assert list(path.parent.iterdir()) == [path]
