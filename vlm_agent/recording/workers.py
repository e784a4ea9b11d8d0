"""Threads whose errors are heard."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Workers:
    """A few threads; when one fails, all are told to stop, and whoever waits for them gets its error."""

    def __init__(self, most: int = 8) -> None:
        """Make room for so many."""
        self._pool = ThreadPoolExecutor(most, thread_name_prefix="recorder")
        self._futures: list[Future[None]] = []
        self.failed = threading.Event()
        """One of them ended in an error."""

    def start(self, work: Callable[[], None]) -> Future[None]:
        """Run a function beside."""
        future = self._pool.submit(work)
        self._futures.append(future)
        future.add_done_callback(lambda done: self.failed.set() if done.exception() is not None else None)
        return future

    def join(self) -> None:
        """Wait until all have ended, and raise the first error."""
        self._pool.shutdown()
        for future in self._futures:
            future.result()
