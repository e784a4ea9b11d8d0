"""Frames that are image files, one each: which size the recording has, and the pictures in order of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vlm_agent.errors import DataError
from vlm_agent.importing.clocks import Clock
from vlm_agent.importing.dated_files import DatedFiles
from vlm_agent.importing.limits import MAX_PICTURE_BYTES
from vlm_agent.importing.reading import check_file, decode_picture, measure_picture, read_whole
from vlm_agent.importing.report import SessionReport
from vlm_agent.importing.session_files import Entry
from vlm_agent.sessions.types import Frame

_SIZE_SAMPLES = 200
_DEFAULT_FPS = 10.0


def choose_size(root: Path, paths: Iterator[Path], most: int = _SIZE_SAMPLES) -> tuple[int, int] | None:
    """Return the (width, height) that most of the first pictures have, None if none can be read.

    A path that leads out of the folder is refused here already.

    Raises:
        DataError: A picture lies outside the folder.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    for path, _ in zip(paths, range(most), strict=False):
        check_file(root, path)
        try:
            sizes[measure_picture(read_whole(root, path, MAX_PICTURE_BYTES))] += 1
        except DataError:
            continue
    return sizes.most_common(1)[0][0] if sizes else None


def read_frame(root: Path, path: Path, t_ns: int, size: tuple[int, int], report: SessionReport) -> Frame | None:
    """Return a picture as a frame of the recording, or count why it is none.

    Raises:
        DataError: It lies outside the folder.
    """
    check_file(root, path)
    try:
        data = read_whole(root, path, MAX_PICTURE_BYTES)
        is_fitting = measure_picture(data) == size
        rgb, mends = decode_picture(data) if is_fitting else (None, [])
    except DataError:
        report.left_out["broken_picture"] += 1
        return None
    # A picture may say how it is turned only behind its pixels.
    if rgb is None or (rgb.shape[1], rgb.shape[0]) != size:
        report.left_out["picture_of_another_size"] += 1
        return None
    report.repaired.update(mends)
    return Frame(t_ns, rgb)


class PictureFiles:
    """Dated image files of one folder."""

    def __init__(self, root: Path, files: DatedFiles, report: SessionReport) -> None:
        """Look at the first pictures for the size.

        Raises:
            DataError: A picture lies outside the folder.
        """
        self.files = files
        self.size = choose_size(root, (path for _, path in files))
        self._root = root
        self._report = report

    def rate(self, clock: Clock) -> float:
        """Return about how many frames come in a second."""
        times = [t_ns for number in self.files.sample() if (t_ns := clock.to_ns(number)) is not None]
        span_ns = times[-1] - times[0] if times else 0
        return min(max((len(times) - 1) / (span_ns / 1e9), 0.1), 240.0) if span_ns else _DEFAULT_FPS

    def entries(self, clock: Clock) -> Iterator[Entry]:
        """Yield the frames that can be used, in order of time; count the others.

        Raises:
            DataError: A picture lies outside the folder.
        """
        for number, path in self.files:
            t_ns = clock.to_ns(number)
            if t_ns is None:
                self._report.left_out["impossible_time"] += 1
                continue
            if self.size is None:
                self._report.left_out["broken_picture"] += 1
                continue
            frame = read_frame(self._root, path, t_ns, self.size, self._report)
            if frame is not None:
                yield Entry(t_ns, frame)
