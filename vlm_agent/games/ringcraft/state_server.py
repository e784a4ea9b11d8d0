"""The game's state over HTTP on this machine, as game-state exporters of other games offer it.

`GET` on any path answers the state of the last world tick. The server listens on loopback only; the game's loop feeds
it and it never touches the game itself, so that a slow reader can't hold the game up.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from vlm_agent.errors import ConfigError

_SLOWEST_READER_S = 5.0


class StateServer:
    """Answers with the state that was published last; a context manager that stops it."""

    def __init__(self, port: int = 0) -> None:
        """Listen on loopback.

        Args:
            port: TCP port; 0 takes a free one.

        Raises:
            ConfigError: the port is taken, or may not be used.
        """
        self._body = b"{}"
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), _make_handler(self))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"--state-port {port}: can't listen there ({error}); give another one") from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the state is to be had."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/state"

    def publish(self, state: dict[str, Any]) -> None:
        """Answer with this state, plain JSON data, from now on."""
        self._body = json.dumps(state, separators=(",", ":"), allow_nan=False).encode()

    def read(self) -> bytes:
        """Return what is answered now."""
        return self._body

    def close(self) -> None:
        """Stop listening; harmless the second time."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _make_handler(server: StateServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SLOWEST_READER_S

        def do_GET(self) -> None:
            body = server.read()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Requests come several times a second; nobody wants to read that."""

    return Handler
