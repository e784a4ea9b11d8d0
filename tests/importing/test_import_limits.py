"""Every bound holds, and memory does not grow with a recording."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.importing.made_imports import (
    EPOCH_MS,
    import_one,
    row,
    tick,
    write_log,
    write_raw_frames,
    write_ticks,
    write_tree,
)
from vlm_agent.errors import DataError
from vlm_agent.importing import dated_files, kinds, log_text, reading
from vlm_agent.importing.command import open_source
from vlm_agent.importing.limits import MAX_PICTURE_PX, MAX_SIDE_PX
from vlm_agent.importing.options import ImportOptions
from vlm_agent.importing.report import SessionReport
from vlm_agent.sessions import plain_json
from vlm_agent.sessions.plain_json import MAX_JSON_BYTES, MAX_JSON_DEPTH

ROWS = [row(EPOCH_MS, "move", 1, 1)]


def png_of_size(width_px, height_px):
    """A picture that says it is large and holds nothing."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "size",
    [(MAX_SIDE_PX + 1, 1), (1, MAX_SIDE_PX + 1), (MAX_SIDE_PX, MAX_PICTURE_PX // MAX_SIDE_PX + 1), (60_000, 60_000)],
)
def test_a_huge_picture_is_not_decoded(size):
    tracemalloc.start()
    with pytest.raises(DataError):
        reading.decode_picture(png_of_size(*size))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_picture_that_ends_early():
    data = io.BytesIO()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(data, "PNG")
    for end in range(0, len(data.getvalue()) - 20, 7):
        with pytest.raises(DataError):
            reading.decode_picture(data.getvalue()[:end])


def test_only_png_and_jpeg_are_pictures():
    data = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(data, "BMP")
    with pytest.raises(DataError):
        reading.decode_picture(data.getvalue())


def test_json_has_a_depth():
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        body = b"1" if opening != b"[" else b""
        plain_json.parse_json(opening * MAX_JSON_DEPTH + body + closing * MAX_JSON_DEPTH)
        for depth in (MAX_JSON_DEPTH + 1, 500, 200_000):
            with pytest.raises(DataError):
                plain_json.parse_json(opening * depth + body + closing * depth)


def test_json_that_can_not_be_written_again():
    assert plain_json.parse_json(b'{"a": [NaN, 1e999, -Infinity, 1.5]}') == ({"a": [None, None, None, 1.5]}, 3)
    assert plain_json.parse_json(b"NaN") == (None, 1)
    for data in (b'"\\ud800"', b"\xff", b'{"a": ' + b"9" * 5000 + b"}", b" " * (MAX_JSON_BYTES + 1), b""):
        with pytest.raises(DataError):
            plain_json.parse_json(data)
    assert plain_json.parse_json(b'"\\ud83d\\ude00"') == ("\N{GRINNING FACE}", 0)


def test_lines_have_a_length(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"ab\r\n" + b"x" * 10 + b"\n" + b"y" * 11 + b"\n" + b"z" * 5000 + b"\n\nlast")
    assert list(reading.read_lines(tmp_path, path, 10)) == [b"ab", b"x" * 10, None, None, b"", b"last"]


def test_a_small_file_has_a_size(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 11)
    with pytest.raises(DataError, match="larger than 10 bytes"):
        reading.read_whole(tmp_path, tmp_path / "a", 10)
    assert reading.read_whole(tmp_path, tmp_path / "a", 11) == b"x" * 11


def test_a_folder_holds_so_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(dated_files, "MAX_FILES", 3)
    write_tree(tmp_path / "tree", ROWS, seconds=1)
    with pytest.raises(DataError, match="more than 3 files"):
        import_one(tmp_path / "tree", tmp_path / "out")


def test_an_import_holds_so_many_recordings(tmp_path, monkeypatch):
    monkeypatch.setattr(kinds, "MAX_SESSIONS", 2)
    for number in range(3):
        write_log(tmp_path / str(number), ROWS)
    with pytest.raises(DataError, match="more than 2 recordings"):
        kinds.find_sources(tmp_path, None)


def test_a_stream_has_a_size(tmp_path, monkeypatch):
    monkeypatch.setattr(log_text, "MAX_STREAM_BYTES", 100)
    log = write_log(tmp_path, ROWS * 10)
    with pytest.raises(DataError, match="larger than 100 bytes"):
        import_one(log, tmp_path / "out")


def test_a_state_has_a_size(tmp_path):
    tree = write_tree(tmp_path / "tree", ROWS, seconds=1)
    (tree / "gamestates" / f"{EPOCH_MS + 1}.json").write_bytes(b'"' + b"x" * MAX_JSON_BYTES + b'"')
    report, _ = import_one(tree, tmp_path / "out")
    assert report.left_out == {"unreadable_game_state": 1}


# Memory.


def read_all(source):
    """Everything that an importer does but writing: the writer has its own tests, and keeps an index of its pieces."""
    report = SessionReport(source.session, source.kind, str(source.path))
    return sum(1 for _ in open_source(source, ImportOptions(), report).entries)


def peak_of(path):
    [source] = kinds.find_sources(path, None)
    read_all(source)  # what is loaded once is not counted
    tracemalloc.start()
    count = read_all(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return count, peak


def write_long_log(folder, count):
    return write_log(folder, (row(EPOCH_MS + 10 * n, "move", n % 90, n % 60) for n in range(count)))


def write_long_ticks(folder, count):
    return write_ticks(folder / "a", [tick(["w"] if n % 3 else [], dx=n % 5) for n in range(count)], frames=count // 10)


def write_long_frames(folder, count):
    return write_raw_frames(folder, [["w"] if n % 3 else [] for n in range(count)])


@pytest.mark.parametrize(
    ("write", "least", "size"),
    [(write_long_log, 4000, 16000), (write_long_ticks, 500, 2000), (write_long_frames, 100, 400)],
    ids=["log", "ticks", "frames"],
)
def test_memory_does_not_grow_with_length(tmp_path, write, least, size):
    few, low = peak_of(write(tmp_path / "short", least))
    many, high = peak_of(write(tmp_path / "long", size))
    assert many > 3 * few
    assert high < 1.1 * low + 20_000, (low, high)
