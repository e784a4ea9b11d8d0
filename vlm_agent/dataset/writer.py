"""Writes a dataset beside its place, and puts it there when it is whole (see `store` for the layout)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.dataset.manifest import MANIFEST_NAME, DatasetManifest
from vlm_agent.dataset.pictures import frame_path, name_picture, write_jpeg
from vlm_agent.dataset.rows import WindowCodec, row_schema
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import DataError
from vlm_agent.files import begin_folder, publish_folder
from vlm_agent.locks import only_maker

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from vlm_agent.chat import RgbFrame

_ROWS_AT_ONCE = 1000
_PICTURES_AT_ONCE = 32
"""Pictures that may wait to be written; a full HD one takes 6 MB."""
_CARD = """---
configs:
- config_name: default
  data_files:
{files}
---
Windows of recorded play, written by vlm-agent. `dataset.json` tells what they hold; pictures are in `frames/`.
"""


class DatasetWriter(AbstractContextManager["DatasetWriter"]):
    """Writes a dataset beside its place; `finish` puts it there, leaving the block without it removes all traces."""

    def __init__(self, out: Path, spec: ActionSpec, history_ms: int) -> None:
        """Take the place of the dataset, and what its windows need to be written; entering begins it."""
        self._out = out
        self._codec = WindowCodec(spec, history_ms)
        self._tables: dict[str, pq.ParquetWriter] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._digests: dict[str, Any] = {}
        self._spec = spec
        self._frame_ids: set[str] = set()
        # Compressing a picture takes longer than decoding it, and lets other threads run meanwhile.
        self._writers = ThreadPoolExecutor(os.cpu_count(), "picture")
        self._unwritten: deque[Future[None]] = deque()
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Begin an empty dataset.

        Raises:
            DataError: something that is not a dataset is in its place.
            BusyError: another process writes it.
        """
        with ExitStack() as held:
            held.enter_context(only_maker(self._out))
            is_empty = self._out.is_dir() and not any(self._out.iterdir())
            if self._out.exists() and not is_empty and not (self._out / MANIFEST_NAME).is_file():
                raise DataError(f"{self._out} exists and is not a dataset; name another folder")
            self._building = begin_folder(self._out)
            held.callback(shutil.rmtree, self._building, ignore_errors=True)
            held.callback(self._writers.shutdown, cancel_futures=True)
            (self._building / "windows").mkdir()
            self._held = held.pop_all()
        return self

    @property
    def frames(self) -> int:
        """Pictures stored so far."""
        return len(self._frame_ids)

    def add_frame(self, rgb: RgbFrame) -> str:
        """Store a picture, (height, width, 3) uint8, if it is new; return its identifier.

        It is written while others are added: that it can't be is raised by a later call.
        """
        frame_id = name_picture(rgb)
        if frame_id not in self._frame_ids:
            path = frame_path(self._building, frame_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._await_pictures(_PICTURES_AT_ONCE - 1)
            self._unwritten.append(self._writers.submit(write_jpeg, path, rgb))
            self._frame_ids.add(frame_id)
        return frame_id

    def add_window(self, window: Window) -> None:
        """Store a window; its picture must have been added."""
        row = self._codec.to_row(window)
        rows = self._rows.setdefault(window.split, [])
        rows.append(row)
        digest = self._digests.setdefault(window.split, hashlib.sha256())
        digest.update(json.dumps(row, sort_keys=True).encode() + b"\n")
        if len(rows) >= _ROWS_AT_ONCE:
            self._write_rows(window.split)

    def fingerprint(self) -> str:
        """Return the hash of all that was added so far: spec, windows, and through their names the pictures."""
        parts = {split: digest.hexdigest() for split, digest in self._digests.items()}
        text = json.dumps({"spec": self._spec.to_json(), "windows": parts}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def finish(self, manifest: DatasetManifest) -> None:
        """Write what is left and put the dataset in its place, instead of the one that was there."""
        self._await_pictures(0)
        for split in self._rows:
            self._write_rows(split)
        for table in self._tables.values():
            table.close()
        files = "\n".join(f"  - split: {split}\n    path: windows/{split}.parquet" for split in self._tables)
        (self._building / "README.md").write_text(_CARD.format(files=files), encoding="utf-8")
        text = json.dumps(manifest.to_json(), indent=1, sort_keys=False)
        (self._building / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")
        publish_folder(self._building, self._out)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.__exit__(kind, error, trace)

    def _await_pictures(self, left: int) -> None:
        while len(self._unwritten) > left:
            self._unwritten.popleft().result()

    def _write_rows(self, split: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = self._rows[split]
        if not rows:
            return
        table = pa.Table.from_pylist(rows, schema=row_schema())
        if split not in self._tables:
            path = self._building / "windows" / f"{split}.parquet"
            self._tables[split] = pq.ParquetWriter(path, table.schema, compression="zstd")
        self._tables[split].write_table(table)
        rows.clear()
