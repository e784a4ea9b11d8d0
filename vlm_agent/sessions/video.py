"""Pictures to H.264 packets and back, and the pictures of a video by their time.

`PictureEncoder` is tuned for screens: near-lossless, one packet for each picture at once (no look-ahead, so nothing
waits in the encoder when the recorder is killed), one thread (so the bytes do not depend on the machine).
`ClusteredVideo` reads our own files and checks each cluster before decoding it; `ForeignVideo` reads those of other
recorders, without checksums. Knows no messages and no session clock.
"""

from __future__ import annotations

import io
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

import av
import numpy as np
from av.codec.context import Flags
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from vlm_agent.errors import DataError
from vlm_agent.regular_files import open_regular
from vlm_agent.sessions.damage import DamagedError
from vlm_agent.sessions.matroska import (
    CLUSTER,
    CUES,
    EBML_HEAD,
    INFO,
    MAX_CLUSTER_BYTES,
    SEEK_HEAD,
    SEGMENT,
    TRACKS,
    VOID,
    Block,
    decode_cluster,
    read_head,
)
from vlm_agent.sessions.upright import Orientation, read_orientation, turn_upright
from vlm_agent.sessions.video_files import limit_pixels, open_video

Picture = NDArray[np.uint8]

Preset = Literal["veryfast", "superfast", "ultrafast"]

_MILLISECOND = Fraction(1, 1000)
_BT601, _LIMITED = 5, 1
"""ffmpeg's numbers for the colour conversion both ways; without them decoders guess by picture size."""
_PEEK_BYTES = 64
_PTS_TOLERANCE_NS = 1_000_000
"""Matroska rounds to a millisecond; messages of other recorders hold the time before rounding."""


class Video(Protocol):
    """A video whose pictures are fetched by time, cheapest in rising order."""

    def picture(self, pts_ns: int) -> Picture:
        """Return the picture at a presentation time, (height, width, 3) uint8; DataError if there is none."""

    def close(self) -> None:
        """Release the file."""


class PictureEncoder:
    """H.264 for screens."""

    def __init__(self, width_px: int, height_px: int, fps: float, preset: Preset = "veryfast") -> None:
        """Open the encoder; odd sizes are padded by one pixel that repeats the edge.

        Args:
            width_px: Width of the pictures.
            height_px: Height of the pictures.
            fps: About how many pictures come in a second.
            preset: How much work goes into size; the pictures are as good with each.
        """
        self._pad = (height_px % 2, width_px % 2)
        context = av.CodecContext.create("libx264", "w")
        context.width, context.height = width_px + width_px % 2, height_px + height_px % 2
        context.pix_fmt = "yuv420p"
        context.time_base = _MILLISECOND
        context.framerate = Fraction(fps).limit_denominator(1000)
        context.colorspace, context.color_range = _BT601, _LIMITED
        context.flags |= Flags.global_header
        context.thread_count = 1
        context.options = {
            "preset": preset,
            "tune": "zerolatency",
            "crf": "18",
            # Keyframes are set by time in `encode`; x264 must not add its own ones between them.
            "g": "100000",
            "sc_threshold": "0",
            "forced-idr": "1",
        }
        context.open()
        self._context = context
        self._to_yuv = VideoReformatter()
        self.width_px: int = context.width
        self.height_px: int = context.height
        self.codec_private = _configuration_record(bytes(context.extradata))

    def encode(self, rgb: Picture, pts_ms: int, *, is_keyframe: bool) -> Block:
        """Return the packet of a picture, (height, width, 3) uint8."""
        if any(self._pad):
            rgb = np.pad(rgb, ((0, self._pad[0]), (0, self._pad[1]), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        frame = self._to_yuv.reformat(
            frame, format="yuv420p", dst_colorspace=_BT601, dst_color_range=_LIMITED, threads=1
        )
        frame.pts, frame.time_base = pts_ms, _MILLISECOND
        frame.pict_type = PictureType.I if is_keyframe else PictureType.NONE
        (packet,) = self._context.encode(frame)
        return Block(pts_ms, bool(packet.is_keyframe), _with_lengths(bytes(packet)))


def _nal_units(data: bytes) -> Iterator[bytes]:
    # A unit never holds three bytes 0 0 1 (the encoder escapes them) and never ends in a zero.
    for unit in data.split(b"\x00\x00\x01")[1:]:
        yield unit.rstrip(b"\x00")


def _with_lengths(data: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in _nal_units(data))


def _configuration_record(extradata: bytes) -> bytes:
    """Return the `avcC` box (ISO 14496-15, 5.3.3.1) that Matroska stores for H.264."""
    units = list(_nal_units(extradata))
    sequence = next(unit for unit in units if unit[0] & 31 == 7)
    picture = next(unit for unit in units if unit[0] & 31 == 8)
    record = b"\x01" + sequence[1:4] + b"\xff\xe1" + len(sequence).to_bytes(2, "big") + sequence
    record += b"\x01" + len(picture).to_bytes(2, "big") + picture
    if sequence[1] in (100, 110, 122, 144):
        record += b"\xfd\xf8\xf8\x00"  # 4:2:0, 8 bits a sample
    return record


class _ToRgb:
    """Converts decoded frames; kept, because a frame's own converter starts new threads for every frame."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> Picture:
        return np.asarray(self._reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray(), dtype=np.uint8)


class BlockDecoder:
    """Decodes blocks of one keyframe chain in order."""

    def __init__(self, codec_private: bytes) -> None:
        """Open the decoder."""
        context = av.CodecContext.create("h264", "r")
        context.extradata = codec_private
        context.thread_count = 1
        context.flags |= Flags.low_delay
        limit_pixels(context)
        self._context = context

    def decode(self, block: Block) -> av.VideoFrame:
        """Return the frame of a block.

        Raises:
            DamagedError: If the decoder refuses it.
        """
        packet = av.Packet(block.data)
        packet.pts = packet.dts = block.pts_ms
        packet.time_base = _MILLISECOND
        try:
            frames = self._context.decode(packet)
        except av.error.FFmpegError as error:
            raise DamagedError(f"the picture at {block.pts_ms / 1000:.3f} s does not decode") from error
        if len(frames) != 1 or frames[0].pts != block.pts_ms:
            raise DamagedError(f"the picture at {block.pts_ms / 1000:.3f} s does not decode")
        return frames[0]


class ClusteredVideo:
    """One of our own videos; seeks by keyframe, decodes only checked clusters."""

    def __init__(self, path: Path, codec_private: bytes) -> None:
        """Open the file and find its clusters.

        Raises:
            DamagedError: If its structure is broken.
        """
        self._codec_private = codec_private
        self._file = open_regular(path)
        self._offsets, self._sizes = array("Q"), array("Q")
        self._keys_ms, self._key_clusters = array("Q"), array("Q")
        try:
            self._find_clusters()
        except DamagedError:
            self._file.close()
            raise
        self._to_rgb = _ToRgb()
        self._decoder: BlockDecoder | None = None
        self._blocks: Iterator[Block] = iter(())
        self._at_ms = -1
        self._frame: av.VideoFrame | None = None

    def picture(self, pts_ns: int) -> Picture:
        """Return the picture at a presentation time.

        Raises:
            DamagedError: If there is none, or its cluster is damaged.
        """
        pts_ms = pts_ns // 1_000_000
        key = bisect_right(self._keys_ms, pts_ms) - 1
        if key < 0:
            raise DamagedError(f"the video has no picture at {pts_ms / 1000:.3f} s")
        if self._frame is None or not self._keys_ms[key] <= self._at_ms <= pts_ms:
            self._decoder = BlockDecoder(self._codec_private)
            self._blocks = self._read_blocks(self._key_clusters[key])
            self._at_ms = -1
        while self._at_ms < pts_ms:
            self._step(pts_ms)
        if self._at_ms != pts_ms or self._frame is None:
            raise DamagedError(f"the video has no picture at {pts_ms / 1000:.3f} s")
        return self._to_rgb(self._frame)

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _step(self, pts_ms: int) -> None:
        block = next(self._blocks, None)
        if block is None or self._decoder is None:
            raise DamagedError(f"the video has no picture at {pts_ms / 1000:.3f} s")
        self._frame = self._decoder.decode(block)
        self._at_ms = block.pts_ms

    def _read_blocks(self, first_cluster: int) -> Iterator[Block]:
        for cluster in range(first_cluster, len(self._offsets)):
            self._file.seek(self._offsets[cluster])
            yield from decode_cluster(self._file.read(self._sizes[cluster]))

    def _find_clusters(self) -> None:
        size = self._file.seek(0, io.SEEK_END)
        position = 0
        while position < size:
            self._file.seek(position)
            peek = self._file.read(_PEEK_BYTES)
            found = read_head(peek)
            start, stop = position + found.start, position + found.stop
            if found.name == SEGMENT:
                position = start
                continue
            if found.name not in (EBML_HEAD, SEEK_HEAD, INFO, TRACKS, CLUSTER, CUES, VOID) or stop > size:
                raise DamagedError(f"the video's structure is broken at byte {position}")
            if found.name == CLUSTER:
                self._note_cluster(start, stop - start, peek[found.start :])
            position = stop

    def _note_cluster(self, start: int, size: int, peek: bytes) -> None:
        # A glance at time and keyframe flag, not yet checked: a wrong one ends in a missing picture, never a wrong one.
        if size > MAX_CLUSTER_BYTES or len(peek) < 43:
            raise DamagedError(f"the video's structure is broken at byte {start}")
        first_ms = int.from_bytes(peek[22:30], "big")
        if peek[42] & 0x80:
            self._keys_ms.append(first_ms)
            self._key_clusters.append(len(self._offsets))
        self._offsets.append(start)
        self._sizes.append(size)


class ForeignVideo:
    """Another recorder's video, through PyAV; pictures are asked for in rising order."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            DataError: If it is no video.
        """
        self._path = path
        self._orientation: Orientation | None = None
        self._to_rgb = _ToRgb()
        self._container = open_video(path)
        self._rewind()

    def picture(self, pts_ns: int) -> Picture:
        """Return the picture at a presentation time, within the millisecond Matroska rounds to.

        Raises:
            DataError: If there is none.
        """
        if self._frame is not None and pts_ns < self._at_ns - _PTS_TOLERANCE_NS:
            self._container.seek(0)
            self._rewind()
        while self._frame is None or self._at_ns < pts_ns - _PTS_TOLERANCE_NS:
            self._step(pts_ns)
        if abs(self._at_ns - pts_ns) > _PTS_TOLERANCE_NS:
            raise DataError(f"{self._path} has no picture at {pts_ns / 1e9:.3f} s")
        if self._orientation is None:
            self._orientation = read_orientation(self._frame)
        return turn_upright(self._to_rgb(self._frame), self._orientation)

    def close(self) -> None:
        """Release the file."""
        self._container.close()

    def _rewind(self) -> None:
        self._frames = self._container.decode(video=0)
        self._frame: av.VideoFrame | None = None
        self._at_ns = -1

    def _step(self, pts_ns: int) -> None:
        try:
            frame = next(self._frames, None)
        except av.error.FFmpegError as error:
            raise DataError(f"{self._path} does not decode before {pts_ns / 1e9:.3f} s ({error})") from error
        if frame is None:
            raise DataError(f"{self._path} has no picture at {pts_ns / 1e9:.3f} s")
        self._frame = frame
        self._at_ns = round(frame.pts * frame.time_base * 1_000_000_000) if frame.pts is not None else self._at_ns
