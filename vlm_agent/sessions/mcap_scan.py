"""Reading MCAP piece by piece, believing nothing that its checksums do not confirm.

`McapIndex` opens a finished file: its record structure must hold from the first byte to the last, and where the file
carries checksums of its sections (ours do) they are verified before anything is read. `salvage` finds the intact chunks
of any bytes at all, however damaged. Both end in `DamagedError`, never in an error of a library. Knows no sessions.
Format: https://mcap.dev/spec
"""

from __future__ import annotations

import io
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from heapq import heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import lz4.frame  # type: ignore[import-untyped]
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Header, Schema, Statistics

from vlm_agent.errors import DataError
from vlm_agent.regular_files import open_regular
from vlm_agent.sessions.damage import DamagedError
from vlm_agent.sessions.limits import (
    MAX_CHANNELS,
    MAX_CHUNK_BYTES,
    MAX_CHUNK_MESSAGES,
    MAX_DESCRIPTION_BYTES,
    MAX_MESSAGES,
    check_held,
    check_unpacked,
)
from vlm_agent.sessions.mcap_writer import MAGIC, ChannelSpec, LoggedMessage

_RECORD_HEAD = struct.Struct("<BQ")
_CHUNK_HEAD = struct.Struct("<QQQII")
_MESSAGE_HEAD = struct.Struct("<HIQQ")
_FOOTER = struct.Struct("<QQI")
_MAX_CHUNK_HEAD_BYTES = 64
_TAKEN = frozenset((Opcode.CHUNK, Opcode.SCHEMA, Opcode.CHANNEL, Opcode.HEADER, Opcode.STATISTICS))
"""Records that are read whole."""
_ALL_CHANNELS = (1 << 64) - 1

Channels = dict[int, ChannelSpec]


def unpack_chunk(content: bytes | memoryview) -> bytes:
    """Return the records inside a chunk, decompressed and checked.

    Raises:
        DamagedError: If sizes, compression or checksum do not hold.
    """
    if len(content) < _CHUNK_HEAD.size + 8:
        raise DamagedError("a chunk is too short")
    _, _, size, crc, name_length = _CHUNK_HEAD.unpack_from(content)
    data_start = _CHUNK_HEAD.size + name_length + 8
    if name_length > 8 or data_start > len(content) or size > MAX_CHUNK_BYTES:
        raise DamagedError("a chunk's header is impossible")
    name = bytes(content[_CHUNK_HEAD.size : _CHUNK_HEAD.size + name_length])
    (data_length,) = struct.unpack_from("<Q", content, data_start - 8)
    if data_start + data_length != len(content):
        raise DamagedError("a chunk's lengths disagree")
    records = _decompress(name, bytes(content[data_start:]), size)
    if len(records) != size or zlib.crc32(records) != crc:
        raise DamagedError("a chunk's checksum does not match")
    return records


def _decompress(name: bytes, data: bytes, size: int) -> bytes:
    # One byte more than promised is asked for, so that a frame that grows on is seen and never unpacked whole.
    try:
        if name == b"zstd":
            with zstandard.ZstdDecompressor(max_window_size=MAX_CHUNK_BYTES).stream_reader(data) as reader:
                return bytes(reader.read(size + 1))
        if name == b"lz4":
            return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data, max_length=size + 1))
    except (zstandard.ZstdError, RuntimeError, EOFError, MemoryError) as error:
        raise DamagedError("a chunk does not decompress") from error
    if name == b"":
        return data
    raise DamagedError(f"unknown chunk compression {name!r}")


def read_messages(records: bytes, channels: Channels, topics: frozenset[str] | None = None) -> Iterator[LoggedMessage]:
    """Yield messages of an unpacked chunk in file order, of all topics or some; adds the channels it describes.

    Raises:
        DamagedError: If a record breaks the format or a message names an unknown channel.
    """
    schemas: dict[int, Schema] = {}
    count = 0
    for opcode, start, stop in _split(records):
        if opcode == Opcode.MESSAGE:
            count += 1
            if count > MAX_CHUNK_MESSAGES:
                raise DamagedError(f"a chunk holds more than {MAX_CHUNK_MESSAGES} messages")
            if stop - start < _MESSAGE_HEAD.size:
                raise DamagedError("a message is too short")
            channel_id, sequence, t_ns, publish_ns = _MESSAGE_HEAD.unpack_from(records, start)
            if channel_id not in channels:
                raise DamagedError(f"a message names channel {channel_id}, which the file does not describe")
            channel = channels[channel_id]
            if topics is None or channel.topic in topics:
                yield LoggedMessage(channel, t_ns, records[start + _MESSAGE_HEAD.size : stop], publish_ns, sequence)
        elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
            learn(opcode, records[start:stop], schemas, channels)


def learn(opcode: int, content: bytes, schemas: dict[int, Schema], channels: Channels) -> None:
    """Add what a schema or channel record describes.

    Raises:
        DamagedError: If the record breaks the format.
    """
    if len(content) > MAX_DESCRIPTION_BYTES or len(channels) >= MAX_CHANNELS:
        raise DamagedError("more channels, or longer descriptions of them, than a session may have")
    record = _parse_description(opcode, content)
    if isinstance(record, Schema):
        schemas[record.id] = record
        return
    known = schemas.get(record.schema_id) or Schema(id=0, data=b"", encoding="", name="")
    channels[record.id] = ChannelSpec(record.topic, known.name, known.data, known.encoding, record.message_encoding)


@lru_cache(maxsize=256)
def _parse_description(opcode: int, content: bytes) -> Schema | Channel:
    # Our files repeat these in every chunk, so the same bytes come thousands of times.
    stream = ReadDataStream(io.BytesIO(content))
    try:
        record: Schema | Channel = Schema.read(stream) if opcode == Opcode.SCHEMA else Channel.read(stream)
    except (McapError, struct.error, ValueError) as error:
        raise DamagedError("a schema or channel record is malformed") from error
    return record


def _split(records: bytes) -> Iterator[tuple[int, int, int]]:
    position = 0
    while position < len(records):
        if position + _RECORD_HEAD.size > len(records):
            raise DamagedError("a chunk ends inside a record")
        opcode, length = _RECORD_HEAD.unpack_from(records, position)
        start = position + _RECORD_HEAD.size
        position = start + length
        if position > len(records):
            raise DamagedError("a record reaches past its chunk")
        yield opcode, start, position


class McapIndex:
    """A finished file: its channels, counts, and where its chunks are."""

    def __init__(self, path: Path) -> None:
        """Read the structure of the whole file and verify its section checksums.

        Raises:
            DamagedError: If the file is not a finished, undamaged MCAP file.
        """
        self._path = path
        self.library = ""
        self.channels: Channels = {}
        self.statistics: Statistics | None = None
        # Parallel arrays, 48 bytes a chunk: an index of objects would grow by megabytes an hour.
        self._offsets, self._lengths, self._sizes = array("Q"), array("Q"), array("Q")
        self._starts_ns, self._ends_ns, self._masks = array("Q"), array("Q"), array("Q")
        self._schemas: dict[int, Schema] = {}
        with open_regular(path) as file:
            self._file, self._size = file, file.seek(0, io.SEEK_END)
            self._read_structure()
        check_unpacked(sum(self._sizes), self._size)
        self._check_overlap()

    @property
    def num_chunks(self) -> int:
        """Number of chunks."""
        return len(self._offsets)

    def messages(self, topics: frozenset[str] | None = None) -> Iterator[LoggedMessage]:
        """Yield messages in time order; equal times keep the file's order.

        Only chunks that overlap in time are in memory together.

        Raises:
            DataError: If more of it lies at one time, or in all, than a session may hold.
            DamagedError: If a chunk breaks the format or its checksum.
        """
        waiting: list[tuple[int, int, int, LoggedMessage]] = []
        num_messages = 0
        with open_regular(self._path) as file:
            for chunk_index in self._in_time_order():
                if not self._may_hold(chunk_index, topics):
                    continue
                # Nothing from here on is earlier than this chunk's start.
                ready = bisect_left(waiting, (self._starts_ns[chunk_index],))
                yield from (message for *_, message in waiting[:ready])
                waiting = waiting[ready:]
                check_held(sum(len(message.data) for *_, message in waiting), len(waiting))
                messages = self._chunk_messages(file, chunk_index, topics)
                num_messages += len(messages)
                if num_messages > MAX_MESSAGES:
                    raise DataError(f"more than {MAX_MESSAGES} messages; no recording of play")
                # Time first, then the place in the file; the message itself is never compared.
                waiting += [(m.t_ns, chunk_index, place, m) for place, m in enumerate(messages)]
                waiting.sort()
        yield from (message for *_, message in waiting)

    def messages_as_written(self) -> Iterator[LoggedMessage]:
        """Yield all messages in the file's order.

        Raises:
            DamagedError: If a chunk breaks the format or its checksum.
        """
        with self._path.open("rb") as file:
            for chunk_index in range(self.num_chunks):
                yield from self._chunk_messages(file, chunk_index, None)

    def has_topic(self, topic: str) -> bool:
        """Return whether the file describes a channel of this topic."""
        return any(spec.topic == topic for spec in self.channels.values())

    def last_time_ns(self, topic: str) -> int | None:
        """Return the time of the latest message of a topic, reading from the end; None without one.

        Raises:
            DamagedError: If a chunk breaks the format or its checksum.
        """
        latest_ns: int | None = None
        wanted = frozenset((topic,))
        with open_regular(self._path) as file:
            for chunk_index in sorted(range(self.num_chunks), key=self._ends_ns.__getitem__, reverse=True):
                if latest_ns is not None and self._ends_ns[chunk_index] <= latest_ns:
                    break
                if self._may_hold(chunk_index, wanted):
                    times_ns = [message.t_ns for message in self._chunk_messages(file, chunk_index, wanted)]
                    latest_ns = max([*times_ns, latest_ns or 0]) if times_ns else latest_ns
        return latest_ns

    def _check_overlap(self) -> None:
        """Raise DataError where chunks would be in memory together that unpack to too much."""
        open_chunks: list[tuple[int, int]] = []
        held_bytes = 0
        for chunk_index in self._in_time_order():
            while open_chunks and open_chunks[0][0] < self._starts_ns[chunk_index]:
                held_bytes -= heappop(open_chunks)[1]
            heappush(open_chunks, (self._ends_ns[chunk_index], self._sizes[chunk_index]))
            held_bytes += self._sizes[chunk_index]
            check_held(held_bytes, 0)

    def _in_time_order(self) -> Sequence[int]:
        starts_ns = self._starts_ns
        if all(earlier <= later for earlier, later in pairwise(starts_ns)):
            return range(self.num_chunks)
        return sorted(range(self.num_chunks), key=starts_ns.__getitem__)

    def _may_hold(self, chunk_index: int, topics: frozenset[str] | None) -> bool:
        if topics is None:
            return True
        mask = self._masks[chunk_index]
        ids = (channel_id for channel_id, spec in self.channels.items() if spec.topic in topics)
        return mask == _ALL_CHANNELS or any(channel_id < 64 and mask >> channel_id & 1 for channel_id in ids)

    def _chunk_messages(self, file: BinaryIO, chunk_index: int, topics: frozenset[str] | None) -> list[LoggedMessage]:
        file.seek(self._offsets[chunk_index])
        records = unpack_chunk(file.read(self._lengths[chunk_index]))
        return list(read_messages(records, self.channels, topics))

    def _read_structure(self) -> None:
        head = self._read(0, len(MAGIC))
        if head != MAGIC:
            raise DamagedError("not an MCAP file")
        position, closed = len(MAGIC), False
        while not closed:
            opcode, length = _RECORD_HEAD.unpack(self._read(position, _RECORD_HEAD.size))
            start = position + _RECORD_HEAD.size
            if start + length > self._size:
                raise DamagedError("the file ends inside a record; it was cut off or never finished")
            self._take(opcode, start, length)
            closed = opcode == Opcode.FOOTER
            if opcode == Opcode.DATA_END:
                self._check_data(start, position)
            position = start + length
        self._check_footer(position)

    def _take(self, opcode: int, start: int, length: int) -> None:
        most = MAX_CHUNK_BYTES + _MAX_CHUNK_HEAD_BYTES if opcode == Opcode.CHUNK else MAX_DESCRIPTION_BYTES
        if length > most and opcode in _TAKEN:
            raise DamagedError(f"a record of {length} bytes: expected at most {most}")
        match opcode:
            case Opcode.CHUNK:
                start_ns, end_ns, unpacked_bytes, *_ = _CHUNK_HEAD.unpack(self._read(start, _CHUNK_HEAD.size))
                self._sizes.append(unpacked_bytes)
                self._offsets.append(start)
                self._lengths.append(length)
                self._starts_ns.append(start_ns)
                self._ends_ns.append(end_ns)
                self._masks.append(0)
            case Opcode.MESSAGE_INDEX:
                (channel_id,) = struct.unpack("<H", self._read(start, 2))
                if self._masks:
                    self._masks[-1] |= 1 << channel_id if channel_id < 64 else _ALL_CHANNELS
            case Opcode.MESSAGE:
                raise DamagedError("messages outside chunks are not supported")
            case Opcode.SCHEMA | Opcode.CHANNEL:
                learn(opcode, self._read(start, length), self._schemas, self.channels)
            case Opcode.HEADER | Opcode.STATISTICS:
                self._take_single(opcode, self._read(start, length))

    def _take_single(self, opcode: int, content: bytes) -> None:
        stream = ReadDataStream(io.BytesIO(content))
        try:
            if opcode == Opcode.HEADER:
                self.library = Header.read(stream).library
            else:
                self.statistics = Statistics.read(stream)
        except (McapError, struct.error, ValueError) as error:
            raise DamagedError("a header or statistics record is malformed") from error

    def _check_data(self, start: int, stop: int) -> None:
        (crc,) = struct.unpack("<I", self._read(start, 4))
        if crc and crc != self._crc(0, stop):
            raise DamagedError("the checksum of the data does not match")

    def _check_footer(self, stop: int) -> None:
        summary_start, _, crc = _FOOTER.unpack(self._read(stop - _FOOTER.size, _FOOTER.size))
        first = summary_start or stop - _FOOTER.size - _RECORD_HEAD.size
        if first > stop or (crc and crc != self._crc(first, stop - 4)):
            raise DamagedError("the checksum of the summary does not match")
        if self._read(stop, len(MAGIC)) != MAGIC or stop + len(MAGIC) != self._size:
            raise DamagedError("the end of the file is not where it should be")
        # A chunk without message indexes may hold any channel.
        for chunk_index, mask in enumerate(self._masks):
            self._masks[chunk_index] = mask or _ALL_CHANNELS

    def _crc(self, start: int, stop: int) -> int:
        self._file.seek(start)
        crc, left = 0, stop - start
        while left > 0:
            block = self._file.read(min(left, 1 << 20))
            if not block:
                raise DamagedError("the file became shorter while it was read")
            crc, left = zlib.crc32(block, crc), left - len(block)
        return crc

    def _read(self, start: int, length: int) -> bytes:
        self._file.seek(start)
        data = self._file.read(length)
        if len(data) != length:
            raise DamagedError("the file ends too early; it was cut off or never finished")
        return data
