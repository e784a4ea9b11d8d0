"""Finding what is intact in damaged bytes: MCAP chunks and Matroska clusters, each confirmed by its own checksum.

Nothing about the rest of the file is believed: candidates are found by what they must look like, wherever they lie, and
kept only if their checksum holds. Works on a memory map, so a file of any size needs no memory of its own.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import mmap
from typing import TypeAlias

from mcap.opcode import Opcode
from mcap.records import Schema

from vlm_agent.sessions.damage import DamagedError
from vlm_agent.sessions.limits import MAX_CHUNK_BYTES, check_unpacked
from vlm_agent.sessions.matroska import (
    CLUSTER,
    CUES,
    EBML,
    EBML_HEAD,
    INFO,
    SEEK_HEAD,
    SEGMENT,
    TRACKS,
    VOID,
    Block,
    decode_cluster,
    is_checked,
    read_head,
)
from vlm_agent.sessions.mcap_scan import Channels, learn, read_messages, unpack_chunk
from vlm_agent.sessions.mcap_writer import MAGIC, LoggedMessage

Mapped: TypeAlias = mmap | bytes
"""A file's bytes; an empty file can't be mapped, and is just empty bytes."""

_RECORD_HEAD = struct.Struct("<BQ")
_COMPRESSION_MARKS = (b"\x04\x00\x00\x00zstd", b"\x03\x00\x00\x00lz4")
_MARK_OFFSET = 37
"""From a chunk record's first byte to its compression name."""
_FOOTER_BYTES = 37
"""A footer record and the magic after it."""
_CLUSTER_MARK = CLUSTER.to_bytes(4, "big")
_EMPTY_VIDEO = [EBML_HEAD, SEGMENT, VOID, INFO, TRACKS, VOID]
_PLAIN_RECORDS = frozenset(Opcode) - {Opcode.CHUNK}


@dataclass
class ChunkSalvage:
    """Reads the intact chunks of a file; the counts are complete when `chunks` is exhausted."""

    data: Mapped
    """The file."""
    num_chunks: int = 0
    """Intact chunks found."""
    bytes_lost: int = 0
    """Bytes that belong to no intact record."""
    _channels: Channels = field(default_factory=dict)
    _unpacked_bytes: int = 0

    def chunks(self) -> Iterator[list[LoggedMessage]]:
        """Yield the messages of each intact chunk, in file order.

        Raises:
            DataError: They unpack to more than a session may.
        """
        self.num_chunks = self.bytes_lost = self._unpacked_bytes = 0
        self._channels = _summary_channels(self.data)
        position, sound_until = 0, 0
        while True:
            found = self._next_candidate(position)
            if found is None:
                break
            start, stop = found
            messages = self._read(start, stop)
            if messages is None:
                position = start + _MARK_OFFSET + 1
                continue
            self._judge_gap(sound_until, start)
            self.num_chunks += 1
            check_unpacked(self._unpacked_bytes, len(self.data))
            yield messages
            position = sound_until = stop
        self._judge_gap(sound_until, len(self.data))

    def _next_candidate(self, position: int) -> tuple[int, int] | None:
        marks = [self.data.find(mark, position) for mark in _COMPRESSION_MARKS]
        for mark in sorted(mark for mark in marks if mark >= 0):
            start = max(mark - _MARK_OFFSET, 0)
            opcode, length = _RECORD_HEAD.unpack_from(self.data[start : start + _RECORD_HEAD.size])
            stop = start + _RECORD_HEAD.size + length
            if mark >= _MARK_OFFSET and opcode == Opcode.CHUNK and stop <= len(self.data):
                return start, stop
            return start, start
        return None

    def _read(self, start: int, stop: int) -> list[LoggedMessage] | None:
        if not 0 < stop - start <= MAX_CHUNK_BYTES:
            return None
        try:
            records = unpack_chunk(self.data[start + _RECORD_HEAD.size : stop])
            self._unpacked_bytes += len(records)
            return list(read_messages(records, self._channels))
        except DamagedError:
            return None

    def _judge_gap(self, start: int, stop: int) -> None:
        """Count the bytes between two intact chunks as lost unless they are records one after another."""
        position = start
        if position == 0 and self.data[: len(MAGIC)] == MAGIC:
            position = len(MAGIC)
        while position < stop and stop - position >= _RECORD_HEAD.size:
            opcode, length = _RECORD_HEAD.unpack(self.data[position : position + _RECORD_HEAD.size])
            if opcode not in _PLAIN_RECORDS or position + _RECORD_HEAD.size + length > stop:
                break
            position += _RECORD_HEAD.size + length
        if stop - position != len(MAGIC) or self.data[position:stop] != MAGIC:
            self.bytes_lost += stop - position


def _summary_channels(data: Mapped) -> Channels:
    """Return the channels that an undamaged summary describes; other recorders name them in one chunk only."""
    channels: Channels = {}
    if len(data) < _FOOTER_BYTES or data[-len(MAGIC) :] != MAGIC:
        return channels
    footer = len(data) - _FOOTER_BYTES
    start, _, crc = struct.unpack("<QQI", data[footer + _RECORD_HEAD.size : footer + _RECORD_HEAD.size + 20])
    if not 0 < start < footer or zlib.crc32(data[start : len(data) - len(MAGIC) - 4]) != crc:
        return channels
    schemas: dict[int, Schema] = {}
    summary, position = data[start:footer], 0
    while position + _RECORD_HEAD.size <= len(summary):
        opcode, length = _RECORD_HEAD.unpack_from(summary, position)
        content = summary[position + _RECORD_HEAD.size : position + _RECORD_HEAD.size + length]
        if opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
            learn(opcode, content, schemas, channels)
        position += _RECORD_HEAD.size + length
    return channels


@dataclass
class ClusterSalvage:
    """Reads the intact clusters of one of our videos; the counts are complete when `clusters` is exhausted."""

    data: Mapped
    """The file."""
    bytes_lost: int = 0
    """Bytes that belong to no intact element, or to clusters that need a lost one."""
    is_head_sound: bool = True
    """Whether everything around the clusters is as a finished file has it."""

    def clusters(self) -> Iterator[list[Block]]:
        """Yield the blocks of each cluster that is intact and whose keyframe is too."""
        self.bytes_lost, self.is_head_sound = 0, True
        position, is_chained, names = 0, False, []
        while position < len(self.data):
            stop, blocks, name = self._read(position)
            if name is None:
                self.bytes_lost += stop - position
                is_chained = False
            elif blocks is not None:
                is_chained = is_chained or blocks[0].is_keyframe
                if is_chained:
                    yield blocks
                else:
                    self.bytes_lost += stop - position
            if blocks is None and name is not None:
                names.append(name)
            position = stop
        if names[:5] != [EBML_HEAD, SEGMENT, SEEK_HEAD, INFO, TRACKS] and names != _EMPTY_VIDEO:
            self.is_head_sound = False

    def _read(self, position: int) -> tuple[int, list[Block] | None, int | None]:
        """Return where the element at a position stops, its blocks if it is a cluster, and its name if it is intact."""
        try:
            found = read_head(self.data, position)
            if found.name == SEGMENT:
                self.is_head_sound &= found.stop == len(self.data)
                return found.start, None, SEGMENT
            if found.stop > len(self.data):
                raise DamagedError("cut off")
            content = self.data[found.start : found.stop]
            if found.name == CLUSTER:
                return found.stop, decode_cluster(content), CLUSTER
            if found.name in (SEEK_HEAD, INFO, TRACKS, CUES) and is_checked(content):
                return found.stop, None, found.name
            if self.data[position : found.stop] == EBML or found.name == VOID:
                return found.stop, None, found.name
        except DamagedError:
            pass
        following = self.data.find(_CLUSTER_MARK, position + 1)
        return (following if following >= 0 else len(self.data)), None, None
