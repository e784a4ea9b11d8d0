"""The audit is whole to its last line, on a full disk too."""

from __future__ import annotations

import json

import pytest

from vlm_agent.errors import DataError
from vlm_agent.executors.audit import AuditFailedError, AuditLog


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


class FullDisk:
    """Takes so many bytes, and the rest only once the reserve was given up."""

    def __init__(self, log, room):
        self.log, self.file, self.room = log, log._file, room
        self.name = self.file.name
        log._file = self

    def write(self, data):
        if self.log._reserve is None:
            return self.file.write(data)
        if not self.room:
            raise OSError(28, "No space left on device")
        written = self.file.write(data[: self.room])
        self.room -= written
        return written

    def close(self):
        self.file.close()


def test_on_a_full_disk_the_line_is_completed_and_the_counts_are_kept(tmp_path):
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    FullDisk(log, 120)
    log.write_sent({"kind": "key", "key": "a"}, 1, 2)
    with pytest.raises(AuditFailedError, match="No space left"):
        log.write_sent({"kind": "key", "key": "b"}, 3, 4)
    log.write_release("key b", 5, "stopped")
    log.close()
    log.close()
    lines = read(path)
    assert [line["type"] for line in lines] == ["begin", "sent", "sent", "released", "end"]
    assert lines[-1]["sent"] == {"key": 2}
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_stays_full_ends_it_without_a_word_more(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl")
    disk = FullDisk(log, 0)
    disk.log = type("", (), {"_reserve": True})
    with pytest.raises(AuditFailedError):
        log.write_note("state", 1)
    log.close()


def test_it_is_never_written_over(tmp_path):
    path = tmp_path / "audit.jsonl"
    AuditLog(path).close()
    with pytest.raises(DataError, match="give another --out"):
        AuditLog(path)


def test_it_is_not_begun_where_there_is_no_room_to_end_it(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vlm_agent.executors.audit.tempfile.TemporaryFile", fail)
    with pytest.raises(DataError, match=r"can't be begun \(No space left"):
        AuditLog(tmp_path / "audit.jsonl")
    assert list(tmp_path.iterdir()) == []
