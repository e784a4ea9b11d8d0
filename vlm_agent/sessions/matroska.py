"""Writing and reading the Matroska files of sessions: one video track, every cluster whole and checked.

A cluster is appended in one piece and carries the CRC-32 element of the Matroska standard over all it holds, so
damage is seen before a decoder turns it into a wrong picture. Players read these files as any other; this reader reads
only these (other programs' videos go through PyAV). The header has a fixed length and is rewritten once, on finishing,
with duration and index. Knows no codec beyond its private bytes. Format: https://www.rfc-editor.org/rfc/rfc9559
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from mmap import mmap
from typing import NamedTuple

from vlm_agent.sessions.appending import AppendedFile
from vlm_agent.sessions.damage import DamagedError

EBML_HEAD = 0x1A45DFA3
SEGMENT = 0x18538067
SEEK_HEAD = 0x114D9B74
INFO = 0x1549A966
TRACKS = 0x1654AE6B
CLUSTER = 0x1F43B675
CUES = 0x1C53BB6B
VOID = 0xEC
_CRC = 0xBF
_TIMESTAMP = 0xE7
_SIMPLE_BLOCK = 0xA3
_TRACK_ENTRY, _CODEC_PRIVATE = 0xAE, 0x63A2
_UNKNOWN_SIZE = (1 << 56) - 1
_CRC_HEAD = struct.pack(">BQ", _CRC, 1 << 56 | 4)
_CRC_BYTES = len(_CRC_HEAD) + 4
_HEAD_BYTES = 12
"""A four-byte element name and an eight-byte size: how every element of the top levels is written."""
MAX_CLUSTER_BYTES = 1 << 28
"""No cluster of ours comes near; a greater size is damage."""


class Block(NamedTuple):
    """One encoded picture."""

    pts_ms: int
    """Presentation time since the start of the video, milliseconds."""
    is_keyframe: bool
    """Whether it can be decoded without the blocks before it."""
    data: bytes
    """The encoded picture, NAL units with four-byte lengths."""


class Element(NamedTuple):
    """Where an element's content lies."""

    name: int
    """Its EBML id."""
    start: int
    """First byte of the content."""
    stop: int
    """One past the last byte of the content."""


def element(name: int, content: bytes) -> bytes:
    """Return an EBML element; sizes always take eight bytes, so that lengths never depend on values."""
    name_bytes = name.to_bytes((name.bit_length() + 7) // 8, "big")
    return name_bytes + struct.pack(">Q", 1 << 56 | len(content)) + content


def checked_element(name: int, content: bytes) -> bytes:
    """Return a master element that starts with the CRC-32 of its content."""
    return element(name, element(_CRC, struct.pack("<I", zlib.crc32(content))) + content)


EBML = element(
    EBML_HEAD,
    element(0x4286, b"\x01")
    + element(0x42F7, b"\x01")
    + element(0x42F2, b"\x04")
    + element(0x42F3, b"\x08")
    + element(0x4282, b"matroska")
    + element(0x4287, b"\x04")
    + element(0x4285, b"\x02"),
)
"""How every one of our files begins."""


def encode_cluster(blocks: list[Block]) -> bytes:
    """Return a cluster of blocks in time order, none more than 32 s after the first."""
    first_ms = blocks[0].pts_ms
    content = element(_TIMESTAMP, struct.pack(">Q", first_ms))
    for block in blocks:
        head = struct.pack(">BhB", 0x81, block.pts_ms - first_ms, 0x80 if block.is_keyframe else 0)
        content += element(_SIMPLE_BLOCK, head + block.data)
    return checked_element(CLUSTER, content)


def is_checked(content: bytes) -> bool:
    """Return whether a master element's content starts with its checksum, and the checksum holds."""
    if content[:9] != _CRC_HEAD or len(content) < _CRC_BYTES:
        return False
    (crc,) = struct.unpack_from("<I", content, len(_CRC_HEAD))
    return bool(crc == zlib.crc32(memoryview(content)[_CRC_BYTES:]))


def decode_cluster(content: bytes) -> list[Block]:
    """Return the blocks of a cluster's content.

    Raises:
        DamagedError: If the checksum or the structure does not hold.
    """
    if not is_checked(content):
        raise DamagedError("a video cluster's checksum does not match")
    first_ms, blocks = 0, []
    for part in _split(content, _CRC_BYTES):
        if part.name == _TIMESTAMP and part.stop - part.start == 8:
            (first_ms,) = struct.unpack_from(">Q", content, part.start)
        elif part.name == _SIMPLE_BLOCK and part.stop - part.start > 4:
            _, offset_ms, flags = struct.unpack_from(">BhB", content, part.start)
            blocks.append(Block(first_ms + offset_ms, bool(flags & 0x80), content[part.start + 4 : part.stop]))
        else:
            raise DamagedError("a video cluster holds something else than pictures")
    if not blocks:
        raise DamagedError("a video cluster holds no pictures")
    return blocks


def read_head(data: bytes | mmap, position: int = 0) -> Element:
    """Return the element whose head is at `position` of `data`; its content may reach past the data.

    Raises:
        DamagedError: If there is no element head.
    """
    if position >= len(data):
        raise DamagedError("the video ends too early")
    name_length = 9 - data[position].bit_length()
    size_start = position + name_length
    if name_length > 4 or size_start + 8 > len(data) or data[size_start] != 1:
        raise DamagedError("the video's structure is broken")
    name = int.from_bytes(data[position:size_start], "big")
    size = int.from_bytes(data[size_start + 1 : size_start + 8], "big")
    return Element(name, size_start + 8, size_start + 8 + size)


def _split(content: bytes, position: int = 0) -> Iterator[Element]:
    while position < len(content):
        found = read_head(content, position)
        if found.stop > len(content):
            raise DamagedError("a video element reaches past its parent")
        yield found
        position = found.stop


def read_codec_private(head: bytes) -> bytes:
    """Return the codec's private bytes from the first bytes of a file, wherever its undamaged tracks lie in them.

    Raises:
        DamagedError: If they are not there.
    """
    mark = TRACKS.to_bytes(4, "big")
    position = head.find(mark)
    while position >= 0:
        # The name occurs in the table of contents too, where no element head follows it.
        with contextlib.suppress(DamagedError):
            found = read_head(head, position)
            content = head[found.start : found.stop]
            if is_checked(content):
                (track,) = _split(content, _CRC_BYTES)
                entry = content[track.start : track.stop]
                return next(entry[part.start : part.stop] for part in _split(entry) if part.name == _CODEC_PRIVATE)
        position = head.find(mark, position + 1)
    raise DamagedError("the video's description of its codec is lost")


class MatroskaWriter:
    """Appends clusters of one video track."""

    def __init__(self, file: AppendedFile, *, width_px: int, height_px: int, codec_private: bytes, app: str) -> None:
        """Write the header."""
        self._file = file
        self._app = app.encode()
        self._tracks = _tracks(width_px, height_px, codec_private)
        self._cues = bytearray()
        self._end_ms = 0
        self._head_bytes = len(self._head())
        file.append(self._head())

    def append(self, blocks: list[Block]) -> None:
        """Append a cluster.

        Raises:
            DataError: If it can't be written; the file keeps every earlier cluster.
        """
        if blocks[0].is_keyframe:
            place = self._file.size_bytes - self._segment_start
            positions = element(0xF7, b"\x01") + element(0xF1, struct.pack(">Q", place))
            self._cues += element(0xBB, element(0xB3, struct.pack(">Q", blocks[0].pts_ms)) + element(0xB7, positions))
        self._file.append(encode_cluster(blocks))
        self._end_ms = blocks[-1].pts_ms

    def finish(self) -> None:
        """Append the index and complete the header; the file itself stays open.

        Raises:
            DataError: If it can't be written.
        """
        cues_start = self._file.size_bytes
        self._file.append(checked_element(CUES, bytes(self._cues)) if self._cues else element(VOID, b""))
        size = self._file.size_bytes - self._segment_start
        head = self._head(size, cues_start - self._segment_start if self._cues else None)
        self._file.patch(0, head)

    @property
    def _segment_start(self) -> int:
        return len(EBML) + _HEAD_BYTES

    def _head(self, size: int = _UNKNOWN_SIZE, cues_place: int | None = None) -> bytes:
        info = checked_element(
            INFO,
            element(0x2AD7B1, struct.pack(">Q", 1_000_000))
            + element(0x4489, struct.pack(">d", self._end_ms))
            + element(0x4D80, self._app)
            + element(0x5741, self._app),
        )
        seek_length = len(_seek_head(0, 0, 0))
        info_place, tracks_place = seek_length, seek_length + len(info)
        if cues_place is None:
            seek = element(VOID, bytes(seek_length - 9))
        else:
            seek = _seek_head(info_place, tracks_place, cues_place)
        segment = struct.pack(">IQ", SEGMENT, 1 << 56 | size)
        return EBML + segment + seek + info + self._tracks


def _seek_head(info_place: int, tracks_place: int, cues_place: int) -> bytes:
    entries = b"".join(
        element(0x4DBB, element(0x53AB, struct.pack(">I", name)) + element(0x53AC, struct.pack(">Q", place)))
        for name, place in ((INFO, info_place), (TRACKS, tracks_place), (CUES, cues_place))
    )
    return checked_element(SEEK_HEAD, entries)


def _tracks(width_px: int, height_px: int, codec_private: bytes) -> bytes:
    # BT.601, limited range: what the encoder converts to and writes into its own headers.
    colour = element(0x55B1, b"\x06") + element(0x55B9, b"\x01")
    video = element(0xB0, struct.pack(">I", width_px)) + element(0xBA, struct.pack(">I", height_px))
    entry = (
        element(0xD7, b"\x01")
        + element(0x73C5, b"\x01")
        + element(0x83, b"\x01")
        + element(0x9C, b"\x00")
        + element(0x86, b"V_MPEG4/ISO/AVC")
        + element(_CODEC_PRIVATE, codec_private)
        + element(0xE0, video + element(0x55B0, colour))
    )
    return checked_element(TRACKS, element(_TRACK_ENTRY, entry))
