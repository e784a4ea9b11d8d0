"""A dataset on disk.

    DATASET/dataset.json           the manifest
    DATASET/README.md              tells `datasets.load_dataset(DATASET)` where the splits are
    DATASET/windows/SPLIT.parquet  one row a window; actions as the text of the `json` codec, in frame pixels
    DATASET/frames/ab/abcd….jpg    every picture once, named by its content, as captured

Two windows of one tick, and ticks between which the screen stood still, share one picture. `writer` writes all this;
here it is read, lazily.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.dataset.manifest import MANIFEST_NAME, DatasetManifest, read_manifest
from vlm_agent.dataset.pictures import frame_path, read_jpeg
from vlm_agent.dataset.rows import WindowCodec, row_schema
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import DataError
from vlm_agent.regular_files import open_regular

if TYPE_CHECKING:
    import pyarrow as pa

    from vlm_agent.chat import RgbFrame


class Dataset:
    """A dataset on disk; windows are parsed and pictures are read only when asked for."""

    def __init__(self, folder: Path, manifest: DatasetManifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._codec = WindowCodec(manifest.spec, manifest.history_ms)

    @property
    def spec(self) -> ActionSpec:
        """What the player could do, over the largest captured frame."""
        return self.manifest.spec

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that hold windows."""
        return tuple(self.manifest.windows)

    def windows(self, split: str) -> WindowTable:
        """Return the windows of a split, in order of session and time.

        Raises:
            DataError: there is no such split, or its file is broken.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.folder / "windows" / f"{split}.parquet"
        if split not in self.splits:
            raise DataError(f"{self.folder} has no split {split!r}, only {', '.join(self.splits) or 'none'}")
        try:
            open_regular(path).close()
            table = pq.read_table(path, memory_map=True)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path} can't be read: {error}") from error
        found = {field.name: field.type for field in table.schema}
        wrong = [field.name for field in row_schema() if found.get(field.name) != field.type]
        if wrong:
            raise DataError(f"{path} holds no windows: the columns {', '.join(wrong)} are missing or of another type")
        return WindowTable(table, self._codec)

    def frame(self, window: Window) -> RgbFrame:
        """Return a window's picture, (height, width, 3) uint8 RGB.

        Raises:
            DataError: the picture is missing or broken.
        """
        return read_jpeg(self.frame_path(window))

    def frame_path(self, window: Window) -> Path:
        """Return the file of a window's picture."""
        return frame_path(self.folder, window.frame_id)


class WindowTable(Sequence[Window]):
    """The windows of a split; each is parsed when it is taken."""

    def __init__(self, table: pa.Table, codec: WindowCodec) -> None:
        self._table = table
        self._codec = codec

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> Window: ...

    @overload
    def __getitem__(self, index: slice) -> WindowTable: ...

    def __getitem__(self, index: int | slice) -> Window | WindowTable:
        if isinstance(index, slice):
            return WindowTable(self._table.take(list(range(len(self)))[index]), self._codec)
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        return self._codec.from_row(self._table.slice(place, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Window]:
        for batch in self._table.to_batches(max_chunksize=256):
            yield from map(self._codec.from_row, batch.to_pylist())


def open_dataset(path: Path, *, spec: ActionSpec | None = None) -> Dataset:
    """Return the dataset in a folder, or in its `dataset/` subfolder.

    Args:
        path: the folder that `label_segments.py --out` named, or the dataset itself.
        spec: if given, the dataset must have been built for it; the extent does not matter.

    Raises:
        DataError: there is no dataset, it is of another format, or of another spec.
    """
    if not path.is_dir():
        raise DataError(f"{path} is not a folder; name the dataset that label_segments.py wrote")
    inner = path / "dataset"
    folder = inner if not (path / MANIFEST_NAME).is_file() and (inner / MANIFEST_NAME).is_file() else path
    manifest = read_manifest(folder)
    if spec is not None:
        check_same_spec(manifest.spec, spec, folder)
    return Dataset(folder, manifest)


def check_same_spec(stored: ActionSpec, wanted: ActionSpec, folder: Path) -> None:
    """Raise DataError unless two specs differ in nothing but the extent; the message names what differs."""
    left = stored.with_extent(1, 1).to_json()
    right = wanted.with_extent(1, 1).to_json()
    differing = [f"{key} {left[key]!r} (wanted {right[key]!r})" for key in left if left[key] != right[key]]
    if differing:
        raise DataError(f"{folder} was built for another action spec: {'; '.join(differing)}; build it again")
