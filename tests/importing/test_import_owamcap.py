"""OWAMcap: the copy holds what the reader finds in the original, event for event."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from tests.importing.made_imports import import_at, import_one
from tests.sessions.made_sessions import write_session
from vlm_agent.errors import DataError
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
    assert not report.left_out
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
