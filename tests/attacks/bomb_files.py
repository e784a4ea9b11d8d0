"""Small files that are large, endless or somebody else's once they are opened, for the tests and `bombs.py`."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import lz4.frame
import zstandard

MAGIC = b"\x89MCAP0\r\n"
MESSAGE_HEAD = struct.Struct("<HIQQ")
START_NS = 1_700_000_000 * 10**9


def record(opcode: int, content: bytes) -> bytes:
    return struct.pack("<BQ", opcode, len(content)) + content


def text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode()


def channel(number: int, topic: str) -> bytes:
    return record(4, struct.pack("<HH", number, 0) + text(topic) + text("json") + struct.pack("<I", 0))


def message(number: int, t_ns: int, data: bytes) -> bytes:
    return record(5, MESSAGE_HEAD.pack(number, 0, t_ns, t_ns) + data)


def chunk(records: bytes, start_ns: int, end_ns: int, compression: str = "zstd") -> bytes:
    packed = {"zstd": zstandard.ZstdCompressor(1).compress, "lz4": lz4.frame.compress, "": bytes}[compression](records)
    head = struct.pack("<QQQI", start_ns, end_ns, len(records), zlib.crc32(records))
    return record(6, head + text(compression) + struct.pack("<Q", len(packed)) + packed)


def write_mcap(path: Path, chunks: Iterable[bytes]) -> Path:
    with path.open("wb") as file:
        file.write(MAGIC + record(1, text("") + text("a stranger")))
        for one in chunks:
            file.write(one)
        file.write(record(15, struct.pack("<I", 0)) + record(2, struct.pack("<QQI", 0, 0, 0)) + MAGIC)
    return path


TOPICS = ("screen", "keyboard", "mouse", "gamestate", "goal")
CHANNELS = b"".join(channel(number, topic) for number, topic in enumerate(TOPICS))


def write_session(path: Path, messages: list[tuple[int, str, object]]) -> Path:
    """Write a file whose messages lie in one chunk, as another recorder does."""
    records = CHANNELS + b"".join(
        message(TOPICS.index(topic), t_ns, value if isinstance(value, bytes) else json.dumps(value).encode())
        for t_ns, topic, value in messages
    )
    times = [t_ns for t_ns, _, _ in messages]
    return write_mcap(path, [chunk(records, min(times), max(times))])


def shown(uri: str, number: int = 3, **more: object) -> list[tuple[int, str, object]]:
    """Some screen messages of one picture, and a key."""
    ref = {"media_ref": {"uri": uri, **more}}
    key = {"event_type": "press", "vk": 65}
    return [
        *((START_NS + step * 10**9, "screen", ref) for step in range(number)),
        (START_NS + 5 * 10**8, "keyboard", key),
    ]


def overlapping(path: Path, total_bytes: int, compression: str, size: int = 32 << 20) -> Path:
    """Chunks that all lie at the same time, and hold little when packed."""
    records = CHANNELS + message(3, START_NS + 10**9, b'{"a":"' + b"a" * (size - 8) + b'"}')
    one = chunk(records, START_NS, START_NS + 10**9, compression)
    return write_mcap(path, (one for _ in range(total_bytes // size)))


def tiny_messages(path: Path, number: int) -> Path:
    """So many messages of two letters."""
    records = CHANNELS + message(3, START_NS, b"{}") * number
    return write_mcap(path, [chunk(records, START_NS, START_NS)])


def late_message(path: Path) -> Path:
    """Two messages with all of time between them."""
    picture = "data:image/png;base64," + small_png()
    return write_session(path, [*shown(picture), (2**63 - 1, "gamestate", {"tick": 1})])


def small_png() -> str:
    import base64

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (32, 32)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def png_of(width_px: int, height_px: int) -> bytes:
    """A black picture of any size, packed row by row."""

    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * width_px)
    packed = b"".join(packer.compress(row) for _ in range(height_px)) + packer.flush()
    head = struct.pack(">IIBBBBB", width_px, height_px, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", packed) + part(b"IEND", b"")


def large_png(path: Path, side_px: int) -> Path:
    """A session whose stills are one large picture."""
    (path.parent / "big.png").write_bytes(png_of(side_px, side_px))
    return write_session(path, shown("big.png"))


def deep_json(path: Path, depth: int) -> Path:
    """A state of lists in lists."""
    picture = "data:image/png;base64," + small_png()
    return write_session(
        path, [*shown(picture), (START_NS, "gamestate", b'{"a":' + b"[" * depth + b"]" * depth + b"}")]
    )


def wide_json(path: Path, number: int) -> Path:
    """A state of so many empty lists: three letters each, and fifty times that in memory."""
    picture = "data:image/png;base64," + small_png()
    state = b'{"a":[' + b"[]," * number + b"0]}"
    return write_session(path, [*shown(picture), (START_NS, "gamestate", state)])


def make_pipe(path: Path) -> Path:
    """A named pipe that nobody writes to."""
    os.mkfifo(path)
    return path


def write_video(
    path: Path, width_px: int = 64, height_px: int = 48, frames: int = 40, container: str = "matroska"
) -> Path:
    """A real video, ten frames a second."""
    import av
    import numpy as np

    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        picture = np.zeros((height_px, width_px, 3), np.uint8)
        for _ in range(frames):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode())
    return path


def large_video(path: Path, width_px: int, height_px: int) -> Path:
    """A session of a video whose frames are large."""
    write_video(path.parent / "big.mkv", width_px, height_px, 2)
    return write_session(path, shown("big.mkv", 2, pts_ns=0))
