"""What is found at a path: by content, not by name; nothing outside the path is touched."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from tests.importing.made_imports import (
    COLUMNS_8,
    EPOCH_MS,
    import_at,
    import_one,
    picture,
    row,
    save_picture,
    tick,
    write_log,
    write_raw_frames,
    write_segment,
    write_ticks,
    write_tree,
)
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.importing.kinds import find_sources, sniff

ROWS = [row(EPOCH_MS, "move", 1, 1)]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\x89MCAP0\r\n\x01", "owamcap"),
        (",".join(COLUMNS_8).encode() + b"\r\n1,2", "ilbot"),
        (b"timestamp,event_type\n", None),
        (json.dumps(tick()).encode() + b"\n{", "vpt"),
        (b'{"action_sequence": ["none"]}', "sima2"),
        (b'{\n  "messages": []\n}', "sima2"),
        (b'{"mouse": 1, "keyboard": 2}', None),
        (b'{"a": 1}', None),
        (b"{" * 5000, None),
        (b"[" * 100_000, None),
        (b"", None),
        (b"\x00\xff" * 100, None),
    ],
)
def test_a_kind_is_seen_in_the_first_bytes(head, kind):
    assert sniff(head) == kind


def test_names_do_not_matter(tmp_path):
    write_log(tmp_path / "a", ROWS, name="movie.mcap")
    write_ticks(tmp_path / "b" / "x", [tick(["w"])], frames=0).rename(tmp_path / "b" / "actions.csv")
    write_raw_frames(tmp_path / "c", [["w"]])
    found = {source.path.name: source.kind for name in "abc" for source in find_sources(tmp_path / name, None)}
    assert found == {"movie.mcap": "ilbot", "actions.csv": "vpt", "c": "sima2"}


def test_a_folder_of_trees(tmp_path):
    for name in ("20250827_101500", "20250828_101500"):
        write_tree(tmp_path / "recording_sessions" / name, ROWS, seconds=1)
    reports, readers = import_at(tmp_path, tmp_path / "out")
    assert [report.session for report in reports] == ["20250827_101500", "20250828_101500"]
    assert [len(list(reader.frames())) for reader in readers] == [5, 5]


def test_several_kinds_need_a_word(tmp_path):
    write_log(tmp_path, ROWS)
    write_ticks(tmp_path / "a", [tick(["w"])], frames=0)
    with pytest.raises(ConfigError, match="--kind"):
        find_sources(tmp_path, None)
    assert [source.path.name for source in find_sources(tmp_path, "vpt")] == ["a.jsonl"]
    assert [source.path.name for source in find_sources(tmp_path, "ilbot")] == ["actions.csv"]


def test_two_logs_in_a_folder(tmp_path):
    write_log(tmp_path, ROWS, name="one.csv")
    write_log(tmp_path, ROWS, name="two.csv")
    with pytest.raises(DataError, match="2 action logs"):
        find_sources(tmp_path, None)
    write_log(tmp_path, ROWS)
    assert [source.path.name for source in find_sources(tmp_path, None)] == ["actions.csv"]


@pytest.mark.parametrize("kind", [None, "ilbot", "sima2", "owamcap", "vpt"])
def test_nothing_is_said_in_one_line(tmp_path, kind):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="holds no recording"):
        find_sources(tmp_path, kind)
    with pytest.raises(DataError, match="holds no recording"):
        find_sources(tmp_path / "notes.txt", kind)
    with pytest.raises(DataError, match="does not exist"):
        find_sources(tmp_path / "nowhere", kind)


def test_the_label_of_one_frame_is_no_recording(tmp_path):
    write_raw_frames(tmp_path, [["w"]])
    with pytest.raises(DataError, match="name its folder"):
        find_sources(next(tmp_path.glob("*.json")), None)


@pytest.mark.parametrize("name", ["../..", "...", "a b/ü", "-x"])
def test_a_session_has_a_plain_name(tmp_path, name):
    folder = tmp_path / "in" / name.replace("..", "__dots__")
    write_log(folder, ROWS, name="..log.csv")
    session = find_sources(folder / "..log.csv", None)[0].session
    assert session == "log"


# Nothing leads out.


@pytest.fixture
def outside(tmp_path):
    """A picture, a state and a log that belong to someone else."""
    folder = tmp_path / "outside"
    save_picture(folder / "secret.png", picture(3))
    (folder / "secret.json").write_text('{"bank": {}, "gameState": "x"}')
    return write_tree(folder, ROWS, seconds=1)


def is_refused(path, out, match):
    with pytest.raises(DataError, match=match):
        import_at(path, out)
    assert not out.exists()


def test_linked_files_are_refused(tmp_path, outside):
    for name, target in (
        (f"runelite_screenshots/{EPOCH_MS + 1}.png", "secret.png"),
        (f"gamestates/{EPOCH_MS + 1}.json", "secret.json"),
    ):
        tree = write_tree(tmp_path / "tree", ROWS, seconds=1)
        (tree / name).symlink_to(outside / target)
        is_refused(tree, tmp_path / "out", "links out of")
        shutil.rmtree(tree)


def test_a_linked_folder_of_pictures_is_refused(tmp_path, outside):
    tree = write_log(tmp_path / "tree", ROWS).parent
    (tree / "runelite_screenshots").symlink_to(outside / "runelite_screenshots")
    is_refused(tree, tmp_path / "out", "links out of")


def test_a_linked_log_is_refused(tmp_path, outside):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "actions.csv").symlink_to(outside / "actions.csv")
    is_refused(tmp_path / "tree", tmp_path / "out", "links out of")


def test_a_linked_tree_is_refused(tmp_path, outside):
    (tmp_path / "trees").mkdir()
    (tmp_path / "trees" / "one").symlink_to(outside)
    is_refused(tmp_path / "trees", tmp_path / "out", "links out of")


def test_a_linked_video_is_refused(tmp_path, outside):
    log = write_ticks(tmp_path / "vpt" / "a", [tick(["w"])])
    (tmp_path / "b.mp4").write_bytes(log.with_suffix(".mp4").read_bytes())
    log.with_suffix(".mp4").unlink()
    log.with_suffix(".mp4").symlink_to(tmp_path / "b.mp4")
    is_refused(log, tmp_path / "out", "links out of")


def test_links_within_a_recording_are_followed(tmp_path):
    tree = write_tree(tmp_path / "tree", ROWS, seconds=1)
    shots = tree / "runelite_screenshots"
    (shots / f"{EPOCH_MS + 50}.png").symlink_to(shots / f"{EPOCH_MS}.png")
    assert import_one(tree, tmp_path / "out")[0].read["frames"] == 6


@pytest.mark.parametrize(
    "name", ["../outside/secret.png", "/etc/passwd", "file:///etc/passwd", "..\\x.png", "https://a/b"]
)
def test_a_label_that_names_a_file_elsewhere_is_refused(tmp_path, outside, name):
    folder = write_segment(tmp_path / "a_seg000", [["w"]] * 2)
    label = folder / "frame_0001.json"
    label.write_text(label.read_text().replace("frame_0001.jpg", name.replace("\\", "\\\\")))
    is_refused(folder, tmp_path / "out", "own folder")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    tree = write_tree(tmp_path / "tree", ROWS, seconds=1)
    os.mkfifo(tree / "gamestates" / f"{EPOCH_MS + 7}.json")
    is_refused(tree, tmp_path / "out", "not a file")


def test_a_link_in_a_circle_is_refused(tmp_path):
    tree = write_tree(tmp_path / "tree", ROWS, seconds=1)
    loop = tree / "gamestates" / f"{EPOCH_MS + 7}.json"
    loop.symlink_to(loop)
    is_refused(tree, tmp_path / "out", "can't be followed|not a file")
