"""Datasets that others wrote, or that were changed by hand: one line, never a traceback, nothing outside of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.attacks.bomb_files import png_of
from tests.training.synthetic import write_dataset
from vlm_agent.dataset.pictures import frame_path, read_jpeg
from vlm_agent.dataset.store import open_dataset
from vlm_agent.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "dataset")


def read_all(folder: Path) -> int:
    """Read every window and its picture; return how many windows there are."""
    dataset = open_dataset(folder)
    windows = [window for split in dataset.splits for window in dataset.windows(split)]
    for window in windows:
        dataset.frame(window)
    return len(windows)


def change_table(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    path = folder / "windows" / "train.parquet"
    table = change(pq.read_table(path))
    path.unlink()
    pq.write_table(table, path)


def set_column(name: str, values: pa.Array) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(
        table.schema.names.index(name), name, [pa.concat_arrays([values] * len(table))]
    )


def test_the_dataset_is_read(folder: Path) -> None:
    assert read_all(folder) == 24


CHANGES = {
    "no column": lambda table: table.drop_columns(["target"]),
    "numbers for text": set_column("target", pa.array([5])),
    "text for numbers": set_column("t_ns", pa.array(["x"])),
    "lists": set_column("goal", pa.array([["x"]])),
    "no answer": set_column("target", pa.array(["nonsense"])),
    "nothing": set_column("target", pa.array([None], pa.string())),
    "deep state": set_column("state", pa.array(["[" * 100_000])),
    "large frames": set_column("frame_width_px", pa.array([-5], pa.int32())),
    "a path": set_column("frame", pa.array(["../../../etc/passwd"])),
    "an absolute path": set_column("frame", pa.array(["/etc/passwd"])),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_tables_of_another_form_are_one_line(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    change_table(folder, change)
    with pytest.raises(DataError):
        read_all(folder)


FIELDS: dict[str, Any] = {
    "windows": [{"train": "x"}, {"../../x": 1}, {"train": -1}, 5, None, {"train": 10**400}],
    "spec": [5, {}, {"keys": 5}],
    "sessions": [5, [{"a": 1}], [5]],
    "copies": [5, [5]],
    "history_ms": ["x", None],
    "statistics": [{"train": 5}],
    "clip_drops": [{"idle": "x"}],
    "format": [None, 10**9, "x"],
    "unknown": [1],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in FIELDS.items() for value in values])
def test_manifests_that_cant_be_are_one_line(folder: Path, name: str, value: Any) -> None:
    path = folder / "dataset.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, name: value}))
    with pytest.raises(DataError):
        read_all(folder)


@pytest.mark.parametrize("text", ["[" * 10**6, "5", "[]", '"x"', ""])
def test_manifests_that_are_none_are_one_line(folder: Path, text: str) -> None:
    (folder / "dataset.json").write_text(text)
    with pytest.raises(DataError):
        read_all(folder)


@pytest.mark.parametrize("name", ["dataset.json", "windows/train.parquet"])
def test_pipes_are_refused_at_once(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(DataError):
        read_all(folder)


def test_pictures_are_bounded(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(png_of(8, 8))
    os.mkfifo(tmp_path / "b.jpg")
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        with pytest.raises(DataError, match=name):
            read_jpeg(tmp_path / name)
    with pytest.raises(DataError, match="names the picture"):
        frame_path(tmp_path, "../../../x")
