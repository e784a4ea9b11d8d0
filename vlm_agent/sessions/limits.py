"""How much of a file that anyone may have made is read, held and unpacked: the same for every command.

Beyond a limit the input is refused in one line, before the memory is taken.
"""

from __future__ import annotations

from vlm_agent.errors import DataError

MAX_CHUNK_BYTES = 64 << 20
"""Of one chunk of messages, unpacked; ours hold half a second, those of other recorders about a megabyte."""
MAX_CHUNK_MESSAGES = 200_000
"""In one chunk."""
MAX_HELD_BYTES = 256 << 20
"""Of messages in memory together, since chunks may overlap in time."""
MAX_UNPACKED_BYTES = 16 << 30
"""Of all chunks of one session, unpacked; a day of play with a large game state has some five gigabytes."""
MAX_UNPACKED_RATIO = 1000
"""So many bytes a byte of the file may unpack to, beside `FREE_UNPACKED_BYTES`; messages of play give ten to twenty."""
FREE_UNPACKED_BYTES = 8 << 20
"""What a file of any size may unpack to."""
MAX_MESSAGES = 10_000_000
"""Of the topics that are read together; a day of a mouse that tells 125 times a second."""
MAX_CHANNELS = 1024
"""In one session; recorders have about ten."""
MAX_DESCRIPTION_BYTES = 1 << 18
"""Of the record of one channel or schema."""
MAX_JSON_PARTS = 1_000_000
"""Values in one message of JSON, by its commas and brackets; each takes a hundred bytes of memory."""
MAX_PICTURE_BYTES = 64 << 20
"""Of one image file."""
MAX_PICTURE_PX = 1 << 26
"""Width times height of one frame; an 8K screen has half."""
MAX_SIDE_PX = 16_384
"""Width or height of one frame: what the video encoder takes."""
MAX_SPAN_NS = 24 * 3600 * 10**9
"""Of one session. What is dated later is a broken clock; a grid of ticks over it would fill the memory."""
MAX_T_NS = 4_102_444_800 * 10**9
"""The year 2100."""

_MESSAGE_BYTES = 256
"""What a message takes in memory beside its data."""


def check_picture_size(width_px: int, height_px: int) -> None:
    """Raise DataError for a frame that is empty or larger than a frame may be."""
    if min(width_px, height_px) < 1 or max(width_px, height_px) > MAX_SIDE_PX or width_px * height_px > MAX_PICTURE_PX:
        raise DataError(f"a frame of {width_px}x{height_px} pixels: expected 1 to {MAX_PICTURE_PX} in all")


def check_span(start_ns: int, end_ns: int) -> None:
    """Raise DataError for a session that is dated impossibly, or lasts longer than one may."""
    if end_ns > MAX_T_NS or end_ns - start_ns > MAX_SPAN_NS:
        raise DataError(
            f"its messages are dated from {start_ns / 1e9:.0f} s to {end_ns / 1e9:.0f} s: expected at most"
            f" {MAX_SPAN_NS // 3600 // 10**9} hours, before the year 2100; its clock was broken, import it again"
        )


def check_unpacked(unpacked_bytes: int, file_bytes: int) -> None:
    """Raise DataError where the chunks of a file say that they unpack to more than a session may."""
    most = min(MAX_UNPACKED_BYTES, FREE_UNPACKED_BYTES + MAX_UNPACKED_RATIO * file_bytes)
    if unpacked_bytes > most:
        raise DataError(
            f"{file_bytes} bytes that unpack to {unpacked_bytes}: expected at most {most}; no recording of play"
        )


def check_held(data_bytes: int, num_messages: int) -> None:
    """Raise DataError where too many messages are in memory together.

    Args:
        data_bytes: sum of what they hold.
        num_messages: how many they are.
    """
    if data_bytes + num_messages * _MESSAGE_BYTES > MAX_HELD_BYTES:
        raise DataError(
            f"more than {MAX_HELD_BYTES} bytes of its messages lie at the same time: expected chunks that follow each"
            " other; no recording of play"
        )


def check_json_size(data: bytes) -> None:
    """Raise DataError for JSON that takes much more memory than its text."""
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_JSON_PARTS:
        raise DataError(f"more than {MAX_JSON_PARTS} values in one message")
