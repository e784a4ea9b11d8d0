"""The latest state that a game exports, read beside the agent loop so that a slow exporter never holds it up."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from vlm_agent.errors import ConfigError

_EVERY_S = 0.2
_TIMEOUT_S = 1.0
_MOST_BYTES = 8 << 20
_STALE_S = 5.0
"""A state older than this says nothing about now."""


class LiveState:
    """Asks an address or a file a few times a second; call it for the latest state."""

    def __init__(self, source: str) -> None:
        """Begin to ask.

        Raises:
            ConfigError: it is neither an http(s) address nor a file in a folder that exists.
        """
        self._source = source
        self._is_address = source.startswith(("http://", "https://"))
        if not self._is_address and ("://" in source or not Path(source).parent.is_dir()):
            raise ConfigError(f"--gamestate expects an http(s) address or a JSON file, got {source!r}")
        self._latest: tuple[float, dict[str, Any]] | None = None
        self._is_closing = threading.Event()
        # An exporter is on this machine or near it, never behind a proxy.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._thread = threading.Thread(target=self._follow, name="game state", daemon=True)
        self._thread.start()

    def __call__(self) -> dict[str, Any] | None:
        """Return the latest state; None where there is none of the last seconds."""
        latest = self._latest
        return latest[1] if latest is not None and time.monotonic() - latest[0] < _STALE_S else None

    def close(self) -> None:
        """Ask no more; harmless the second time."""
        self._is_closing.set()
        self._thread.join(2 * _TIMEOUT_S)

    def _follow(self) -> None:
        while True:
            # Not there, half-written, or not JSON: the next time may do, and until then the last one grows stale.
            with contextlib.suppress(OSError, ValueError, RecursionError):
                state = json.loads(self._read())
                if isinstance(state, dict):
                    self._latest = (time.monotonic(), state)
            if self._is_closing.wait(_EVERY_S):
                return

    def _read(self) -> bytes:
        if not self._is_address:
            return Path(self._source).read_bytes()
        with self._opener.open(self._source, timeout=_TIMEOUT_S) as answer:
            body: bytes = answer.read(_MOST_BYTES)
            return body
