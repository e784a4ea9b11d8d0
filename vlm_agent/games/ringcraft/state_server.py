"""The game's state over HTTP on this machine, as game-state exporters of other games offer it.

`GET` on any path answers the state of the last world tick. The server listens on loopback only; the game's loop feeds
it and it never touches the game itself, so that a slow reader can't hold the game up. Only who asks for this machine by
its own name is answered: a page in a browser could else point a name of its own here, and read along. A request has a
bounded time in all, and few are heard at once.
"""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from vlm_agent.errors import ConfigError

LONGEST_REQUEST_S = 5.0
"""From its connection to its answer; a reader that sends or takes a byte now and then is let go too."""
MOST_REQUESTS = 16
"""Heard at once; whoever comes then is hung up on."""

_OWN_NAMES = ("127.0.0.1", "localhost", "[::1]")


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
            self._server = _BoundedServer(("127.0.0.1", port), _make_handler(self))
        except (OSError, OverflowError) as error:
            raise ConfigError(f"--state-port {port}: can't listen there ({error}); give another one") from error
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


class _BoundedServer(ThreadingHTTPServer):
    """A thread for each request, but only so many, and each for a bounded time."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._free = threading.BoundedSemaphore(MOST_REQUESTS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        # Python's own timeout is for each read; a peer that drips would hold its thread for ever.
        ending = threading.Timer(LONGEST_REQUEST_S, _hang_up, (request,))
        ending.daemon = True
        ending.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            ending.cancel()
            self._free.release()

    def handle_error(self, *_: object) -> None:
        """A reader that was hung up on is no matter."""


def _hang_up(request: socket.socket) -> None:
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is gone


def _is_own(host: str | None) -> bool:
    """Return whether a Host header names this machine, with any port."""
    name, _, port = (host or "").rpartition(":")
    return (name if port.isdecimal() else host) in _OWN_NAMES


def _make_handler(server: StateServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = LONGEST_REQUEST_S

        def do_GET(self) -> None:
            if len(self.headers.get_all("Host", ())) != 1 or not _is_own(self.headers["Host"]):
                self.send_error(403, "ask for 127.0.0.1 or localhost")
                return
            body = server.read()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Requests come several times a second; nobody wants to read that."""

    return Handler
