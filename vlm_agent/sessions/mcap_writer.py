"""Writing MCAP so that every chunk can be read without any other part of the file.

The `mcap` library's own writer names schemas and channels in the first chunk only; lose that one and the rest is
unreadable. Here each chunk repeats those it uses, carries its checksum, and is appended in one piece together with its
message indexes. The file is ordinary MCAP 1.0 with data-section and summary checksums. Knows nothing of sessions.
Format: https://mcap.dev/spec
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    Message,
    MessageIndex,
    Schema,
    Statistics,
    SummaryOffset,
)

from vlm_agent.sessions.appending import AppendedFile

MAGIC = b"\x89MCAP0\r\n"


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """A topic and how its messages are written; equal specs are one channel."""

    topic: str
    """Name of the topic."""
    schema_name: str
    """Name of the message type."""
    schema_data: bytes
    """The schema itself."""
    schema_encoding: str = "jsonschema"
    """How the schema is written."""
    message_encoding: str = "json"
    """How the messages are written."""


class LoggedMessage(NamedTuple):
    """One message as the file holds it."""

    channel: ChannelSpec
    """Its channel."""
    t_ns: int
    """Log time, nanoseconds."""
    data: bytes
    """The encoded message."""
    publish_ns: int | None = None
    """Publish time where it differs from the log time."""
    sequence: int = 0
    """Number given by the publisher, 0 where unused."""


class McapWriter:
    """Collects messages and appends them as chunks."""

    def __init__(self, file: AppendedFile, *, profile: str, library: str) -> None:
        """Write the file's header."""
        self._file = file
        self._pending: list[LoggedMessage] = []
        self._ids: dict[ChannelSpec, int] = {}
        self._counts: Counter[int] = Counter()
        self._span_ns: tuple[int, int] | None = None
        self.pending_bytes = 0
        """Size of the messages of the chunk in progress."""
        self.num_chunks = 0
        """Chunks appended so far."""
        # Kept as bytes: an hour of chunks would otherwise hold some ten megabytes of small objects.
        self._chunk_indexes = bytearray()
        self._data_crc = 0
        self._append(MAGIC + _encode(Header(profile, library)))

    def add(self, message: LoggedMessage) -> None:
        """Put a message into the chunk in progress."""
        self._pending.append(message)
        self.pending_bytes += len(message.data)

    def flush(self) -> None:
        """Append the chunk in progress, if it holds anything.

        Raises:
            DataError: If it can't be written; the file keeps every earlier chunk.
        """
        if not self._pending:
            return
        messages = sorted(self._pending, key=lambda message: message.t_ns)
        self._pending, self.pending_bytes = [], 0
        records, indexes = self._build_chunk(messages)
        start_ns, end_ns = messages[0].t_ns, messages[-1].t_ns
        data = zstandard.compress(records)
        chunk = _encode(Chunk("zstd", data, end_ns, start_ns, zlib.crc32(records), len(records)))
        offset = self._file.size_bytes
        index_offsets: dict[int, int] = {}
        tail = b""
        for channel_id, entries in indexes.items():
            index_offsets[channel_id] = offset + len(chunk) + len(tail)
            tail += _encode(MessageIndex(channel_id, entries))
        self._append(chunk + tail)
        self.num_chunks += 1
        self._chunk_indexes += _encode(
            ChunkIndex(
                chunk_length=len(chunk),
                chunk_start_offset=offset,
                compression="zstd",
                compressed_size=len(data),
                message_end_time=end_ns,
                message_index_length=len(tail),
                message_index_offsets=index_offsets,
                message_start_time=start_ns,
                uncompressed_size=len(records),
            )
        )
        self._count(messages, start_ns, end_ns)

    def finish(self) -> None:
        """Append what is pending and the summary; the file itself stays open.

        Raises:
            DataError: If it can't be written.
        """
        self.flush()
        self._append(_encode(DataEnd(self._data_crc)))
        self._file.append(self._build_summary(self._file.size_bytes))

    def _append(self, piece: bytes) -> None:
        self._file.append(piece)
        self._data_crc = zlib.crc32(piece, self._data_crc)

    def _count(self, messages: list[LoggedMessage], start_ns: int, end_ns: int) -> None:
        self._counts.update(self._ids[message.channel] for message in messages)
        first_ns, last_ns = self._span_ns or (start_ns, end_ns)
        self._span_ns = min(first_ns, start_ns), max(last_ns, end_ns)

    def _build_chunk(self, messages: list[LoggedMessage]) -> tuple[bytes, dict[int, list[tuple[int, int]]]]:
        builder = RecordBuilder()
        indexes: dict[int, list[tuple[int, int]]] = {}
        for message in messages:
            channel_id = self._ids.setdefault(message.channel, len(self._ids) + 1)
            if channel_id not in indexes:
                indexes[channel_id] = []
                for record in _describe(channel_id, message.channel):
                    record.write(builder)
            indexes[channel_id].append((message.t_ns, builder.count))
            publish_ns = message.t_ns if message.publish_ns is None else message.publish_ns
            Message(channel_id, message.t_ns, message.data, publish_ns, message.sequence).write(builder)
        return builder.end(), indexes

    def _build_summary(self, start: int) -> bytes:
        described = [_describe(channel_id, spec) for spec, channel_id in self._ids.items()]
        first_ns, last_ns = self._span_ns or (0, 0)
        statistics = Statistics(
            attachment_count=0,
            channel_count=len(self._ids),
            channel_message_counts=dict(self._counts),
            chunk_count=self.num_chunks,
            message_count=self._counts.total(),
            message_end_time=last_ns,
            message_start_time=first_ns,
            metadata_count=0,
            schema_count=len(self._ids),
        )
        groups = (
            (Opcode.SCHEMA, b"".join(_encode(schema) for schema, _ in described)),
            (Opcode.CHANNEL, b"".join(_encode(channel) for _, channel in described)),
            (Opcode.STATISTICS, _encode(statistics)),
            (Opcode.CHUNK_INDEX, bytes(self._chunk_indexes)),
        )
        body, offsets = b"", b""
        for opcode, group in groups:
            if group:
                offsets += _encode(SummaryOffset(opcode, start + len(body), len(group)))
            body += group
        offsets_start = start + len(body)
        crc = zlib.crc32(body + offsets)
        crc = zlib.crc32(struct.pack("<BQQQ", Opcode.FOOTER, 20, start, offsets_start), crc)
        return body + offsets + _encode(Footer(start, offsets_start, crc)) + MAGIC


def _describe(channel_id: int, spec: ChannelSpec) -> tuple[Schema, Channel]:
    schema = Schema(channel_id, spec.schema_data, spec.schema_encoding, spec.schema_name)
    return schema, Channel(channel_id, spec.topic, spec.message_encoding, {}, channel_id)


def _encode(record: McapRecord) -> bytes:
    builder = RecordBuilder()
    record.write(builder)
    return bytes(builder.end())
