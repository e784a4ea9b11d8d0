"""`vlm-agent import`: what it prints, all or nothing, one line for a mistake."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.importing.made_imports import EPOCH_MS, row, tick, write_log, write_raw_frames, write_ticks, write_tree
from tests.line_support import read_tree, small_disk, type_in_shell, type_line
from vlm_agent.errors import DataError
from vlm_agent.importing import session_files
from vlm_agent.importing.command import import_recordings
from vlm_agent.importing.kinds import find_sources
from vlm_agent.importing.options import ImportOptions
from vlm_agent.importing.report import SessionReport
from vlm_agent.sessions.reader import SessionReader

ROWS = [row(EPOCH_MS, "move", 1, 1), row(EPOCH_MS + 10, "click", 1, 1, btn="left"), row("nan", "move", 1, 1)]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_table_says_what_was_read_mended_and_left_out(tmp_path):
    write_tree(tmp_path / "tree", ROWS, seconds=1)
    ended = type_line("vlm-agent", "import", "tree")
    assert ended.code == 0, ended.err
    for words in (
        "tree (ilbot)",
        "events",
        "frames",
        "release made up",
        "no time",
        "presses only",
        "sessions/tree.mcap",
    ):
        assert words in ended.out
    assert sorted(path.name for path in (tmp_path / "sessions").iterdir()) == ["tree.mcap", "tree.mkv"]


def test_json_says_the_same(tmp_path):
    write_tree(tmp_path / "tree", ROWS, seconds=1)
    ended = type_line("vlm-agent", "import", "tree", "--out", "elsewhere", "--json", "--goal", "cut wood")
    assert ended.err == ""
    [told] = json.loads(ended.out)["sessions"]
    assert told == {
        "session": "tree",
        "kind": "ilbot",
        "source": "tree/actions.csv",
        "out": "elsewhere/tree.mcap",
        "read": {"events": 3, "frames": 5, "goals": 1, "states": 2},
        "repaired": {"release_made_up": 1},
        "kept": {},
        "left_out": {"no_time": 1},
        "decided": {
            "form": "10 columns, dated by timestamp",
            "times": "ms since 1970",
            "clicks": "presses only",
        },
        "notes": [],
    }
    info = json.loads(type_line("vlm-agent", "info", "elsewhere/tree.mcap", "--json").out)
    assert info["frames"] == 5
    assert info["meta"]["imported"] == {"kind": "ilbot", "source": "actions.csv"}


def test_every_report_counts_by_reason():
    report = SessionReport("a", "ilbot", "b", left_out=Counter(no_time=3))
    assert report.to_json()["left_out"] == {"no_time": 3}
    assert report.to_table().row_count == 1


def test_importing_again_is_refused_in_one_line(tmp_path):
    write_tree(tmp_path / "tree", ROWS, seconds=1)
    assert type_line("vlm-agent", "import", "tree").code == 0
    before = read_tree(tmp_path)
    assert "is there already" in type_line("vlm-agent", "import", "tree").error
    assert read_tree(tmp_path) == before
    (tmp_path / "sessions" / "tree.mcap").rename(tmp_path / "sessions" / "tree.mcap.part")
    assert "is there already" in type_line("vlm-agent", "import", "tree").error


def test_all_or_nothing(tmp_path):
    write_tree(tmp_path / "trees" / "a", ROWS, seconds=1)
    write_log(tmp_path / "trees" / "b", [row("nan", "move", 1, 1)])
    before = read_tree(tmp_path)
    assert "nothing usable" in type_line("vlm-agent", "import", "trees").error
    assert read_tree(tmp_path) == before
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "mine.mcap").write_text("mine")
    before = read_tree(tmp_path)
    assert "nothing usable" in type_line("vlm-agent", "import", "trees").error
    assert read_tree(tmp_path) == before


def test_two_recordings_of_one_name_are_refused(tmp_path):
    write_ticks(tmp_path / "in" / "a" / "same", [tick(["w"])], frames=0)
    write_ticks(tmp_path / "in" / "b" / "same", [tick(["w"])], frames=0)
    assert "same" in type_line("vlm-agent", "import", "in").error


def test_a_full_disk_leaves_nothing(tmp_path):
    write_log(tmp_path / "tree", (row(EPOCH_MS + 10 * n, "move", n % 91, n % 63) for n in range(20_000)))
    with small_disk(tmp_path / "small", 64) as out:
        assert "write" in type_line("vlm-agent", "import", "tree", "--out", out / "sessions").error
        assert list(out.iterdir()) == []


def test_a_failing_rename_takes_back_what_was_moved(tmp_path, monkeypatch):
    write_tree(tmp_path / "trees" / "a", ROWS, seconds=1)
    write_tree(tmp_path / "trees" / "b", ROWS, seconds=1)
    rename = session_files.Path.rename

    def refuse(self, target):
        if target.name == "b.mcap" and target.parent.name == "out":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(session_files.Path, "rename", refuse)
    with pytest.raises(DataError, match="can't finish"):
        import_recordings(find_sources(tmp_path / "trees", None), tmp_path / "out", ImportOptions())
    assert not (tmp_path / "out").exists()


def test_a_session_that_came_in_the_meantime_is_not_overwritten(tmp_path):
    write_log(tmp_path / "tree", ROWS)
    sources = find_sources(tmp_path / "tree", None)
    out = tmp_path / "out"
    with session_files.staging(out) as folder:
        (folder / "tree.mcap").write_text("ours")
        (folder / "tree.mkv").write_text("ours")
        (out / "tree.mcap").write_text("theirs")
        with pytest.raises(DataError, match="is there already"):
            session_files.publish(folder, out, [source.session for source in sources])
    assert {path.name: path.read_text() for path in out.iterdir()} == {"tree.mcap": "theirs"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "does not exist"),
        (("empty",), "holds no recording"),
        (("notes.txt",), "holds no recording"),
        (("tree", "--kind", "vpt"), "holds no recording"),
        (("tree", "--out", "notes.txt"), "--out"),
        (("tree", "--out", "notes.txt/x"), "--out"),
        (("tree", "--fix-y-offset"), "--fix-y-offset"),
        (("tree", "--frames-per-s", "0"), "--frames-per-s"),
        (("tree", "--goal", "a\nb"), "--goal"),
        (("both",), "--kind"),
        (("broken",), "header"),
        (("broken", "--kind", "ilbot"), "header"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else None,
)
def test_a_mistake_is_one_line_and_changes_nothing(tmp_path, words, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    write_log(tmp_path / "tree", ROWS)
    write_log(tmp_path / "both", ROWS)
    write_ticks(tmp_path / "both" / "a", [tick(["w"])], frames=0)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "actions.csv").write_text("time,what\n1,2\n")
    before = read_tree(tmp_path)
    ended = type_line("vlm-agent", "import", *words)
    assert ended.err == f"{ended.error}\n"
    assert said in ended.error
    assert read_tree(tmp_path) == before


def test_an_unknown_kind_is_refused_in_a_shell(tmp_path):
    ended = type_in_shell("vlm-agent", "import", "x", "--kind", "doom")
    assert ended.code == 2
    assert "Traceback" not in ended.err


def test_sessions_without_pictures_say_so(tmp_path):
    write_log(tmp_path / "tree", ROWS)
    ended = type_line("vlm-agent", "import", "tree")
    assert "no dataset can be made from it" in ended.out
    reader = SessionReader(tmp_path / "sessions" / "tree.mcap")
    assert reader.info().first_frame_ns is None
    assert "has no frames" in type_line("label_segments.py", "--sessions", "sessions", "--out", "out").error


def test_kinds_can_be_named(tmp_path):
    write_raw_frames(tmp_path / "in", [["w"], []])
    write_log(tmp_path / "in", ROWS)
    assert type_line("vlm-agent", "import", "in", "--kind", "sima2", "--out", "a").code == 0
    assert type_line("vlm-agent", "import", "in", "--kind", "ilbot", "--out", "b").code == 0
    assert [path.name for path in sorted(tmp_path.glob("?/*.mcap"))] == ["20250827_101500.mcap", "in.mcap"]
