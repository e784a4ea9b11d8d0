"""OWAMcap: the copy holds what the reader finds in the original, event for event."""

from __future__ import annotations

import base64
import json
import shutil

import numpy as np
import pytest

from tests.importing.made_imports import import_at, import_one, picture, save_picture
from tests.importing.test_import_limits import png_of_size
from tests.sessions.made_sessions import write_session
from vlm_agent.actions.events import KeyChanged, PointerMoved
from vlm_agent.errors import DataError
from vlm_agent.importing.limits import MAX_SIDE_PX
from vlm_agent.sessions.appending import AppendedFile
from vlm_agent.sessions.mcap_writer import ChannelSpec, LoggedMessage, McapWriter
from vlm_agent.sessions.plain_json import MAX_JSON_DEPTH
from vlm_agent.sessions.reader import SessionReader

VERSIONS = ("0.4.2", "0.5.1")


@pytest.fixture(scope="module")
def imported(shared_data, tmp_path_factory):
    return import_at(shared_data / "owamcap", tmp_path_factory.mktemp("owamcap"))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_copy_holds_the_original(shared_data, imported, version):
    reports, readers = imported
    report, copy = next(pair for pair in zip(reports, readers, strict=True) if pair[0].session == version)
    original = SessionReader(shared_data / "owamcap" / f"{version}.mcap")
    assert list(copy.events()) == list(original.events())
    assert copy.frame_size == original.frame_size
    assert report.read["events"] == len(list(original.events()))
    assert report.read["frames"] == original.info().frames
    away = {"0.4.2": (4, 1), "0.5.1": (96, 1)}[version]  # the recorder was stopped in a terminal
    assert tuple(report.left_out[f"{what}_while_another_window_was_active"] for what in ("input", "picture")) == away
    assert sum(report.left_out.values()) == sum(away)
    for ours, theirs in zip(copy.frames(), original.frames(), strict=True):
        assert ours.t_ns == theirs.t_ns
        assert np.abs(ours.rgb.astype(int) - theirs.rgb).mean() < 2


def test_a_damaged_recording_is_refused(shared_data, tmp_path):
    data = (shared_data / "owamcap" / "0.5.1.mcap").read_bytes()
    (tmp_path / "a.mcap").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="repair"):
        import_one(tmp_path / "a.mcap", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_video_that_is_something_else_is_not_opened(shared_data, tmp_path):
    shutil.copy(shared_data / "owamcap" / "0.5.1.mcap", tmp_path / "a.mcap")
    (tmp_path / "0.5.1.mkv").write_text("ffconcat version 1.0\nfile /etc/hostname\n")
    with pytest.raises(DataError, match="no Matroska or MP4"):
        import_one(tmp_path / "a.mcap", tmp_path / "out")


def test_a_missing_video_is_refused(shared_data, tmp_path):
    shutil.copy(shared_data / "owamcap" / "0.5.1.mcap", tmp_path / "a.mcap")
    with pytest.raises(DataError, match="is not a file"):
        import_one(tmp_path / "a.mcap", tmp_path / "out")


def test_a_session_of_ours_is_refused(tmp_path):
    path = write_session(tmp_path / "mine")
    with pytest.raises(DataError, match="already"):
        import_one(path, tmp_path / "out")


# Containers that no recorder wrote.


def write_container(path, messages):
    """Write (time, topic, message) as another recorder would; a message may be JSON text."""
    file = AppendedFile(path)
    writer = McapWriter(file, profile="owa", library="another recorder")
    for t_ns, topic, message in messages:
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        writer.add(LoggedMessage(ChannelSpec(topic, f"desktop/{topic}", b"{}"), t_ns, data))
    writer.flush()
    writer.finish()
    file.finish()
    return path


def still(uri):
    return {"utc_ns": 0, "media_ref": {"uri": uri}}


def embedded(data):
    return still("data:image/png;base64," + base64.b64encode(data).decode())


def test_stills_beside_and_inside_the_container(tmp_path):
    (tmp_path / "in").mkdir()
    save_picture(tmp_path / "in" / "one.png", picture(1))
    save_picture(tmp_path / "in" / "wide.png", picture(2, (98, 64)))
    inside = (tmp_path / "in" / "one.png").read_bytes()
    messages = [(1, "screen", still("one.png")), (2, "screen", embedded(inside)), (3, "screen", still("wide.png"))]
    report, reader = import_one(write_container(tmp_path / "in" / "a.mcap", messages), tmp_path / "out")
    assert report.read == {"frames": 2}
    assert report.left_out == {"picture_of_another_size": 1}
    assert [frame.t_ns for frame in reader.frames()] == [1, 2]


@pytest.mark.parametrize(
    "message",
    [
        embedded(png_of_size(MAX_SIDE_PX + 1, 1)),
        embedded(b"no picture"),
        still("data:image/png;base64,!!!"),
        still("../one.png"),
        still("http://localhost/one.png"),
        still("nowhere.png"),
        {"media_ref": {"uri": "one.png", "pts_ns": 5}},
    ],
    ids=["huge", "none", "no base64", "outside", "address", "missing", "a picture as a video"],
)
def test_a_picture_that_may_not_be_read_is_refused(tmp_path, message):
    save_picture(tmp_path / "one.png", picture(1))
    save_picture(tmp_path / "in" / "one.png", picture(1))
    with pytest.raises(DataError):
        import_one(write_container(tmp_path / "in" / "a.mcap", [(1, "screen", message)]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_odd_input_is_left_out_and_counted(tmp_path):
    messages = [
        (1, "keyboard", {"event_type": "press", "vk": 65}),
        (2, "keyboard", {"event_type": "press", "vk": 70_000}),
        (3, "mouse", {"event_type": "move", "x": 10**30, "y": 1}),
        (4, "mouse", {"event_type": "scroll", "x": 1, "y": 1, "dx": 0, "dy": 12 * 10**8}),
        (5, "mouse", {"event_type": "click", "x": 1, "y": 1, "button": "ninth", "pressed": True}),
        (6, "mouse", {"event_type": "move", "x": -4, "y": 1}),
        (7, "mouse/raw", {"last_x": 10**12, "last_y": 0}),
        (8, "gamestate", b'{"a": [NaN, 1]}'),
        (2**63, "mouse", {"event_type": "move", "x": 1, "y": 1}),
    ]
    report, reader = import_one(write_container(tmp_path / "a.mcap", messages), tmp_path / "out")
    assert list(reader.events()) == [KeyChanged(1, "a", True), PointerMoved(6, -4, 1)]
    assert list(reader.game_states()) == [(8, {"a": [None, 1]})]
    assert report.left_out == {"unknown_key": 1, "number_too_large": 3, "unknown_button": 1, "impossible_time": 1}
    assert report.repaired == {"number_that_is_not_finite_in_a_state": 1}


@pytest.mark.parametrize("depth", [MAX_JSON_DEPTH + 1, 900, 960, 990, 5000])
def test_a_state_that_is_too_deep_is_refused(tmp_path, depth):
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    with pytest.raises(DataError):
        import_one(write_container(tmp_path / "a.mcap", [(1, "gamestate", deep)]), tmp_path / "out")
