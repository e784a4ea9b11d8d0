"""The C library's heap, which gives every thread an arena of its own unless it is told not to.

Passes that run side by side take and free blocks of megabytes. What one arena has free another can't use, so that two
threads held a half more memory than with one heap, and the system cleared pages in vain.
"""

from __future__ import annotations

import ctypes
import sys

_M_ARENA_MAX = -8
"""From glibc's malloc.h."""


def share_one_heap() -> bool:
    """Let threads that begin from now on take memory from the heap of the main one; return whether that can be had.

    Only glibc is known to do so. Threads that have an arena keep it, so this comes before any work.
    """
    if sys.platform != "linux":
        return False
    try:
        set_option = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(set_option(_M_ARENA_MAX, 1))
