"""The executor's ear: connections that speak `protocol`, one of which drives.

The first authenticated connection whose chunk is taken drives, and nobody else may; when it ends, everything ends. All
may ask and stop; who never played may resume. Room is made for newcomers: whoever says no hello within two seconds is
hung up, and where all seats are taken the one goes that has been silent longest. `Connection` knows no socket, so that
it can be fed anything.
"""

from __future__ import annotations

import contextlib
import hmac
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any

from vlm_agent.executors.kill_switch import KillSwitch, StopReason
from vlm_agent.executors.performer import Performer
from vlm_agent.executors.protocol import (
    MAX_LINE_BYTES,
    Chunk,
    Heartbeat,
    Hello,
    Refused,
    Request,
    RequestRefusedError,
    Resume,
    Status,
    StopRequest,
    read_request,
    write_answer,
)

MAX_CONNECTIONS = 16
"""Seats for those who said the token."""
_MOST_STRANGERS = 64
"""Seats for those who did not, yet."""
_HELLO_S = 2.0
"""How long a connection may say nothing of who it is."""
_MOST_UNREAD_BYTES = 1 << 20
_PARTIAL_S = 5.0
_MOST_REFUSALS = 200
"""A connection that only talks nonsense is closed."""


class Server:
    """Answers requests; made to be called by one thread."""

    def __init__(self, performer: Performer, kill: KillSwitch, token: str) -> None:
        """Take what plays, what stops it, and what a connection must know."""
        self._performer = performer
        self._kill = kill
        self._token = token.encode()
        self._driver: Connection | None = None

    def connect(self) -> Connection:
        """Return a new connection."""
        return Connection(self)

    def knows(self, token: str) -> bool:
        """Return whether a token is ours."""
        return hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._token)

    def answer(self, connection: Connection, request: Request) -> dict[str, Any]:
        """Do what is asked, and return what to say.

        Raises:
            RequestRefusedError: it is not done.
        """
        is_driver = connection is self._driver
        match request:
            case Chunk():
                if self._driver is not None and not is_driver:
                    raise RequestRefusedError(Refused.NOT_DRIVER, "another process plays")
                connection.has_played = True
                answer = {"number": request.number, **self._performer.submit(request)}
                self._driver = connection  # not for a chunk that is refused
                return answer
            case Heartbeat():
                if is_driver:
                    self._performer.beat()
                return {}
            case StopRequest():
                self._kill.throw(StopReason.COMMAND)
                return {}
            case Status():
                return self._performer.describe(events=request.events and is_driver)
            case Resume():
                if connection.has_played:
                    raise RequestRefusedError(Refused.IS_DRIVER, "going on is a person's to say")
                self._performer.resume()
                return {}
            case Hello():
                return {}

    def is_driver(self, connection: Connection) -> bool:
        """Return whether a connection plays."""
        return connection is self._driver

    def forget(self, connection: Connection) -> None:
        """Note that a connection has ended; without its driver the executor stops."""
        if connection is self._driver:
            self._kill.throw(StopReason.POLICY_GONE)


class Connection:
    """One peer: bytes in, bytes out."""

    def __init__(self, server: Server) -> None:
        """Begin unauthenticated."""
        self._server = server
        self._buffer = b""
        self._is_known = False
        self._num_refusals = 0
        self.has_played = False
        """Whether it ever sent a chunk while nobody else played."""
        self.heard_s = time.monotonic()
        """When it last completed a request that was taken; at first, when it came."""
        self.partial_since: float | None = None
        self.is_closing = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes in, and return the answers to the lines that they complete."""
        answers = b""
        self._buffer += data
        while not self.is_closing:
            line, newline, rest = self._buffer.partition(b"\n")
            if not newline:
                if len(line) > MAX_LINE_BYTES:
                    answers += self._refuse(RequestRefusedError(Refused.TOO_LONG), "?")
                    self.is_closing = True
                break
            self._buffer = rest
            answers += self._answer(line + newline)
        if self.is_closing:
            self._buffer = b""
        self.partial_since = (self.partial_since or time.monotonic()) if self._buffer else None
        return answers

    @property
    def is_known(self) -> bool:
        """Whether it said the token."""
        return self._is_known

    @property
    def is_driver(self) -> bool:
        """Whether it plays."""
        return self._server.is_driver(self)

    def close(self) -> None:
        """Note that the peer is gone."""
        self.is_closing = True
        self._server.forget(self)

    def _answer(self, line: bytes) -> bytes:
        kind = "?"
        try:
            request = read_request(line)
            kind = type(request).__name__.lower().removesuffix("request")
            self._check_known(request)
            answer = write_answer({"type": kind, "ok": True, **self._server.answer(self, request)})
            self.heard_s = time.monotonic()
            return answer
        except RequestRefusedError as error:
            return self._refuse(error, kind)

    def _check_known(self, request: Request) -> None:
        if isinstance(request, Hello):
            if not self._server.knows(request.token):
                self.is_closing = True
                raise RequestRefusedError(Refused.BAD_TOKEN)
            self._is_known = True
        elif not self._is_known:
            self.is_closing = True
            raise RequestRefusedError(Refused.NO_HELLO)

    def _refuse(self, error: RequestRefusedError, kind: str) -> bytes:
        self._num_refusals += 1
        if self._num_refusals > _MOST_REFUSALS and kind == "?":
            self.is_closing = True
        return write_answer({"type": kind, "ok": False, "reason": str(error.reason), "detail": error.detail})


class SocketServer:
    """Connections over a listening socket, in one thread; none can make another wait."""

    def __init__(self, server: Server, listening: socket.socket) -> None:
        """Take a bound and listening socket; it is closed with this."""
        self._server = server
        self._selector = selectors.DefaultSelector()
        self._listening = listening
        listening.setblocking(False)
        self._selector.register(listening, selectors.EVENT_READ, None)
        self._peers: dict[socket.socket, tuple[Connection, bytearray]] = {}

    def watch(self, source: Any, call: Callable[[], None]) -> None:
        """Have something called whenever a file can be read."""
        self._selector.register(source, selectors.EVENT_READ, call)

    def serve_once(self, timeout_s: float) -> None:
        """Wait for something to happen, and answer it."""
        for key, events in self._selector.select(timeout_s):
            if key.data is not None:
                key.data()
            elif key.fileobj is self._listening:
                self._accept()
            elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peers:
                self._talk(key.fileobj, events)
        now_s = time.monotonic()
        for peer, (connection, _) in list(self._peers.items()):
            is_slow = connection.partial_since is not None and connection.partial_since < now_s - _PARTIAL_S
            if is_slow or (not connection.is_known and connection.heard_s < now_s - _HELLO_S):
                self._close(peer)

    def close(self) -> None:
        """Close everything."""
        for peer in list(self._peers):
            self._close(peer)
        self._selector.close()
        self._listening.close()

    def _accept(self) -> None:
        try:
            peer, _ = self._listening.accept()
        except OSError:
            return  # it is gone again
        self._make_room(_MOST_STRANGERS - 1, are_known=False)
        peer.setblocking(False)
        self._peers[peer] = (self._server.connect(), bytearray())
        self._selector.register(peer, selectors.EVENT_READ, None)

    def _make_room(self, most: int, *, are_known: bool) -> None:
        """Hang up on those who have been silent longest, until no more than so many are left of them."""
        silent = [(one.heard_s, peer) for peer, (one, _) in self._peers.items() if one.is_known is are_known]
        silent.sort(key=lambda other: other[0])
        for _, peer in silent[: max(len(silent) - most, 0)]:
            if not self._peers[peer][0].is_driver:
                self._close(peer)

    def _talk(self, peer: socket.socket, events: int) -> None:
        connection, unsent = self._peers[peer]
        try:
            if events & selectors.EVENT_READ:
                data = peer.recv(65_536)
                if not data:
                    self._close(peer)
                    return
                was_known = connection.is_known
                unsent += connection.feed(data)
                if connection.is_known and not was_known:
                    self._make_room(MAX_CONNECTIONS, are_known=True)
            if unsent:
                with contextlib.suppress(BlockingIOError):
                    del unsent[: peer.send(unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._close(peer)
            return
        if len(unsent) > _MOST_UNREAD_BYTES or (connection.is_closing and not unsent):
            self._close(peer)
            return
        wanted = (0 if connection.is_closing else selectors.EVENT_READ) | (selectors.EVENT_WRITE if unsent else 0)
        self._selector.modify(peer, wanted, None)

    def _close(self, peer: socket.socket) -> None:
        connection, _ = self._peers.pop(peer)
        self._selector.unregister(peer)
        connection.close()
        peer.close()
