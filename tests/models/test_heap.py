"""Threads that share a heap: seen from outside, in processes of their own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from vlm_agent.models.heap import share_one_heap

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library"),
]

COUNT = """
import ctypes, threading
from vlm_agent.models.heap import share_one_heap
{call}
together = threading.Barrier(3)
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype = ctypes.c_void_p
threads = [threading.Thread(target=lambda: (libc.malloc(100_000), together.wait())) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


def _count_heaps(call: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT.format(call=call)], capture_output=True, text=True, check=True)
    return done.stdout.count("<heap nr=")


def test_threads_take_memory_from_one_heap():
    assert _count_heaps("share_one_heap()") == 1
    assert _count_heaps("") > 1


def test_it_says_whether_it_could(monkeypatch):
    assert share_one_heap()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not share_one_heap()
