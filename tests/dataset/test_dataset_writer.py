"""A dataset under way: what it is known by, and that nothing of it is missing when it has its place."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click
from vlm_agent.dataset import writer as writer_module
from vlm_agent.dataset.manifest import DatasetManifest
from vlm_agent.dataset.store import open_dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.dataset.writer import DatasetWriter

SPEC = ActionSpec(96, 64, keys=("a",))
WINDOW = Window("s", 0, 0, "train", "open", "long", "game", 1.0, "ab", 96, 64, ActionChunk(), state={"hp": 1})


def finish(writer: DatasetWriter, windows: dict[str, int]) -> None:
    writer.finish(DatasetManifest(SPEC, 6000, windows, writer.frames, (), writer.fingerprint()))


def fingerprint(folder: Path, *windows: Window, spec: ActionSpec = SPEC) -> str:
    with DatasetWriter(folder / "dataset", spec, 6000) as writer:
        for window in windows:
            writer.add_window(window)
        return writer.fingerprint()


def test_whatever_differs_makes_another_fingerprint(tmp_path):
    click = ((100, Click(0, 1, 2)),)
    changes = (
        {"goal": "close"}, {"state": {"hp": 2}}, {"state": None}, {"recent": click}, {"frame_id": "cd"}, {"t_ns": 1},
        {"split": "validation"}, {"target": ActionChunk(done=True)}, {"session": "t"}, {"goal_confidence": 0.5},
    )  # fmt: skip
    seen = [fingerprint(tmp_path, replace(WINDOW, **change)) for change in changes]
    seen += [fingerprint(tmp_path, WINDOW), fingerprint(tmp_path, WINDOW, WINDOW)]
    seen.append(fingerprint(tmp_path, WINDOW, spec=replace(SPEC, keys=("a", "b"))))
    assert len(set(seen)) == len(seen)
    assert fingerprint(tmp_path, WINDOW) == fingerprint(tmp_path, WINDOW)


def test_many_windows_are_written_once_each(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "_ROWS_AT_ONCE", 3)
    counts = {"train": 7, "validation": 8, "test": 1}
    with DatasetWriter(tmp_path / "dataset", SPEC, 6000) as writer:
        for split, count in counts.items():
            for number in range(count):
                writer.add_window(replace(WINDOW, split=split, t_ns=number))
        finish(writer, counts)
    dataset = open_dataset(tmp_path / "dataset")
    for split, count in counts.items():
        assert [window.t_ns for window in dataset.windows(split)] == list(range(count))


def test_a_dataset_has_its_place_when_its_last_picture_is_written(tmp_path, monkeypatch):
    write = writer_module.write_jpeg

    def write_slowly(path, rgb):
        time.sleep(0.05)
        write(path, rgb)

    monkeypatch.setattr(writer_module, "write_jpeg", write_slowly)
    with DatasetWriter(tmp_path / "dataset", SPEC, 6000) as writer:
        ids = [writer.add_frame(np.full((4, 4, 3), shade, np.uint8)) for shade in range(9)]
        writer.add_window(WINDOW)
        finish(writer, {"train": 1})
        assert {path.stem for path in (tmp_path / "dataset").rglob("*.jpg")} == set(ids)


def test_a_picture_that_can_not_be_written_is_told_by_the_end(tmp_path, monkeypatch):
    def fail(path, rgb):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer_module, "write_jpeg", fail)
    with DatasetWriter(tmp_path / "dataset", SPEC, 6000) as writer:
        writer.add_frame(np.zeros((4, 4, 3), np.uint8))
        writer.add_window(WINDOW)
        with pytest.raises(OSError, match="No space"):
            finish(writer, {"train": 1})
    assert list(tmp_path.iterdir()) == []


def test_an_old_dataset_is_there_until_the_new_one_has_its_place(tmp_path, monkeypatch):
    out = tmp_path / "dataset"
    with DatasetWriter(out, SPEC, 6000) as writer:
        writer.add_window(WINDOW)
        finish(writer, {"train": 1})
    rename = Path.rename

    def cut_off(self: Path, target: Path) -> Path:
        if Path(target) == out:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", cut_off)
    with DatasetWriter(out, SPEC, 6000) as writer:
        writer.add_window(WINDOW)
        with pytest.raises(KeyboardInterrupt):
            finish(writer, {"train": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.old"]
    assert len(open_dataset(tmp_path / "dataset.old").windows("train")) == 1
