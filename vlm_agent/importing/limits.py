"""How much an importer reads of a file that anyone may have made; beyond it the input is refused or left out.

What any session may hold is told by `sessions.limits`.
"""

from __future__ import annotations

from vlm_agent.sessions.limits import MAX_PICTURE_BYTES as MAX_PICTURE_BYTES
from vlm_agent.sessions.limits import MAX_PICTURE_PX as MAX_PICTURE_PX
from vlm_agent.sessions.limits import MAX_SIDE_PX as MAX_SIDE_PX
from vlm_agent.sessions.limits import MAX_SPAN_NS as MAX_SPAN_NS
from vlm_agent.sessions.limits import MAX_T_NS as MAX_T_NS

MAX_STREAM_BYTES = 64 << 30
"""Of a file that is read piece by piece: a log, a video, a container."""
MAX_CSV_LINE_BYTES = 1 << 12
"""Of one line of a log; they have about fifty."""
MAX_JSON_LINE_BYTES = 1 << 20
"""Of one line of JSON; a tick with all statistics of a long game has some tens of thousands."""
MAX_FILES = 1_000_000
"""In one folder; 24 hours at ten frames a second are 864 000."""
MAX_SESSIONS = 1_000
"""In one import."""
MAX_FOLDERS_DEEP = 3
"""Below the path that was given: `dataset/labeled_segments/<segment>`."""
MAX_POSITION_PX = 1_000_000
"""Farthest pointer position from the frame's corner, either way."""
MAX_NOTCHES = 10_000
"""Of the wheel, in one event."""
MAX_UNPACKED_LOG_BYTES = 4 << 30
"""Of a log that was packed; a day of a mouse that reports 1000 times a second."""
