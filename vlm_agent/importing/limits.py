"""How much an importer reads of a file that anyone may have made; beyond it the input is refused or left out."""

from __future__ import annotations

MAX_STREAM_BYTES = 64 << 30
"""Of a file that is read piece by piece: a log, a video, a container."""
MAX_CSV_LINE_BYTES = 1 << 12
"""Of one line of a log; they have about fifty."""
MAX_JSON_LINE_BYTES = 1 << 20
"""Of one line of JSON; a tick with all statistics of a long game has some tens of thousands."""
MAX_PICTURE_BYTES = 64 << 20
"""Of one image file."""
MAX_PICTURE_PX = 1 << 26
"""Width times height of one frame; an 8K screen has half."""
MAX_SIDE_PX = 16_384
"""Width or height of one frame: what the video encoder takes."""
MAX_FILES = 1_000_000
"""In one folder; 24 hours at ten frames a second are 864 000."""
MAX_SESSIONS = 1_000
"""In one import."""
MAX_FOLDERS_DEEP = 3
"""Below the path that was given: `dataset/labeled_segments/<segment>`."""
MAX_SPAN_NS = 24 * 3600 * 10**9
"""Of one session. What is dated later is a broken clock; a grid of ticks over it would fill the memory."""
MAX_T_NS = 4_102_444_800 * 10**9
"""The year 2100."""
MAX_POSITION_PX = 1_000_000
"""Farthest pointer position from the frame's corner, either way."""
MAX_NOTCHES = 10_000
"""Of the wheel, in one event."""
