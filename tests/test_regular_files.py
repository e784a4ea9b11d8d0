"""Files are opened by their kind and read up to a size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vlm_agent.regular_files import open_regular, read_bounded, read_json


def test_a_file_and_a_link_to_it_are_opened(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\r\nab")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with open_regular(tmp_path / "b") as file:
        assert file.read() == b"\r\nab"
    assert read_bounded(tmp_path / "a", 4) == b"\r\nab"


def test_other_kinds_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name, kind in (("pipe", "a named pipe"), ("device", "a device"), (".", "a folder")):
        with pytest.raises(OSError, match=f"is {kind}: expected a file"):
            open_regular(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


def test_what_is_too_large_or_too_deep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" * 10**6 + "]" * 10**6)
    with pytest.raises(OSError, match="larger than 1000 bytes"):
        read_json(path, 1000)
    with pytest.raises(ValueError, match="too deep"):
        read_json(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="utf-8"):
        read_json(path)
