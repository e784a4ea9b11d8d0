"""The policy's side: starts an executor, and talks to it. It can ask; it can't inject."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vlm_agent.errors import ConfigError, VlmAgentError
from vlm_agent.executors.endpoints import Endpoint, read_endpoint
from vlm_agent.executors.process import ExecutorSettings
from vlm_agent.executors.protocol import write_request

_START_S = 20.0
_ANSWER_S = 5.0
_BEAT_S = 0.25


class ExecutorLostError(VlmAgentError):
    """The executor is gone, or does not answer."""


class ExecutorConnection:
    """One connection to an executor; may be used by several threads."""

    def __init__(self, endpoint: Endpoint, answer_s: float = _ANSWER_S) -> None:
        """Connect and authenticate.

        Args:
            endpoint: where.
            answer_s: how long to wait for an answer.

        Raises:
            ExecutorLostError: nobody is there, or it does not know us.
        """
        self._lock = threading.Lock()
        try:
            self._socket = endpoint.connect(answer_s)
        except OSError as error:
            raise ExecutorLostError(f"no executor answers at {endpoint.address} ({error})") from error
        self._reader = self._socket.makefile("rb")
        try:
            answer = self.ask("hello", token=endpoint.token)
            if not answer["ok"]:
                raise ExecutorLostError(f"the executor at {endpoint.address} does not know us ({answer['reason']})")
        except ExecutorLostError:
            self.close()
            raise

    @property
    def peer_pid(self) -> int | None:
        """The process at the other end, as numbered here (in a container it has another number); None if not told."""
        if not hasattr(socket, "SO_PEERCRED") or self._socket.family != socket.AF_UNIX:
            return None
        told = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", told)[0]) or None

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Say something and return the answer, whether it says yes (`ok`) or no.

        Raises:
            ExecutorLostError: there is none.
        """
        with self._lock:
            try:
                self._socket.sendall(write_request(kind, **fields))
                line = self._reader.readline()
            except (OSError, ValueError) as error:
                raise ExecutorLostError(f"the executor does not answer ({error})") from error
        if not line:
            raise ExecutorLostError("the executor is gone")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise ExecutorLostError("what answers is no executor") from error
        return answer

    def close(self) -> None:
        """Hang up; harmless the second time."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.close()
        self._socket.close()


class ExecutorClient:
    """A started executor, and the connection that drives it."""

    def __init__(self, settings: ExecutorSettings) -> None:
        """Start the process and wait until it is ready.

        Raises:
            ConfigError: it says why it does not start.
        """
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vlm_agent.executors.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the policy's process, which then ends this one in good order
        )
        self.notes: list[str] = []
        """What a person should know of this executor, a line each."""
        self.counts: dict[str, Any] | None = None
        self._is_closing = threading.Event()
        try:
            self.endpoint = self._wait_until_ready(settings)
            self.connection = ExecutorConnection(self.endpoint)
        except VlmAgentError:
            self._end()
            raise
        self._beating = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._beating.start()

    @property
    def pid(self) -> int:
        """The executor's process."""
        return self._process.pid

    def send_chunk(self, number: int, start_ns: int, window: tuple[int, int], text: str) -> dict[str, Any]:
        """Ask for a chunk to be played; see `protocol.Chunk`."""
        return self.connection.ask("chunk", number=number, start_ns=start_ns, window=list(window), text=text)

    def close(self) -> dict[str, Any] | None:
        """End the executor; return its counts, or None where it did not live to tell them."""
        if not self._is_closing.is_set():
            self._is_closing.set()
            self._beating.join(_ANSWER_S)
            self.connection.close()
            self._end()
        return self.counts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _wait_until_ready(self, settings: ExecutorSettings) -> Endpoint:
        assert self._process.stdin is not None
        line = json.dumps({**settings.to_json(), "parent": os.getpid()})
        with contextlib.suppress(OSError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        told = self._read()
        if told is None or not told.get("ready"):
            why = (told or {}).get("error", "it ended without a word")
            raise ConfigError(f"the executor did not start: {why}")
        self.notes = told["notes"]
        return read_endpoint(Path(told["endpoint"]))

    def _read(self) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        timer = threading.Timer(_START_S, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
            return json.loads(line) if line else None
        finally:
            timer.cancel()

    def _beat(self) -> None:
        while not self._is_closing.wait(_BEAT_S):
            try:
                self.connection.ask("heartbeat")
            except ExecutorLostError:
                return  # the next chunk will tell

    def _end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        told = self._read()
        self.counts = told.get("counts") if told else None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ANSWER_S)
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def wait_for_state(connection: ExecutorConnection, states: set[str], timeout_s: float) -> dict[str, Any]:
    """Return the status as soon as it is one of some, or the last one asked for."""
    until = time.monotonic() + timeout_s
    while True:
        told = connection.ask("status")
        if told["state"] in states or time.monotonic() > until:
            return told
        time.sleep(0.01)
