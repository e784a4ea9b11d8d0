"""Where a game's exported state comes from: an HTTP endpoint, a file, a folder of files, or a program's output.

What an exporter sends is bounded in size and time, and never trusted to be whole: a half-written file waits. A
state that can't be kept is an `Odd` one with its reason, the same that an import tells; a source that has none is a
`SourceProblem`.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import stat
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import deque
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from vlm_agent.errors import ConfigError, LeftOutError
from vlm_agent.recording.clock import SessionClock
from vlm_agent.sessions.game_states import NOT_JSON, parse_state
from vlm_agent.sessions.plain_json import MAX_JSON_BYTES

HTTP_TIMEOUT_S = 2.0
"""How long an endpoint may take."""
HALF_WRITTEN_S = 2.0
"""A file that is no JSON for longer is broken, not half-written."""
_MAX_FILES = 50
"""New files of a folder that are read at a time: as many as the exporters keep."""
_MAX_WAITING_BYTES = 4 * MAX_JSON_BYTES
"""Lines of a program that wait to be read; a state is polled ten times a second."""
MISSED = "state_came_too_fast"
"""Reason of a state that was gone before it could be read."""
_NO_CONTENT = 204


class SourceProblem(Exception):  # noqa: N818 - it is told to a person, and the recording goes on
    """Why there is no state at the moment; the recording goes on."""


class Exported(NamedTuple):
    """A state as it came."""

    state: dict[str, Any]
    """A JSON object, as sessions keep it."""
    arrived_ns: int
    """When it was here, on the session's clock."""
    original: dict[str, Any]
    """What the exporter wrote, where its own time is."""
    not_finite: int = 0
    """Numbers of it that were none, or infinite, and are null now."""


class Odd(NamedTuple):
    """A state that can't be kept."""

    reason: str
    """Why, as an import's report names it."""
    told: str
    """Why and whose, for a person."""
    states: int = 1
    """How many."""


class StateSource(Protocol):
    """Asked every so often, by one thread."""

    def poll(self) -> list[Exported | Odd]:
        """Return the states that are new since the last call, oldest first, and what came in place of some.

        Raises:
            SourceProblem: there is none, for a reason that a person should know.
        """

    def close(self) -> None:
        """Give back what it holds."""


def open_source(text: str, clock: SessionClock) -> StateSource:
    """Return the source that `--gamestate` names.

    Raises:
        ConfigError: it names none, or a program that can't be started.
    """
    if text.startswith("cmd:"):
        return CommandSource(text.removeprefix("cmd:"), clock)
    if text.startswith(("http://", "https://")):
        return HttpSource(text, clock)
    if "://" in text:
        raise ConfigError(f"--gamestate reads http://, https://, a file, a folder or cmd:PROGRAM, got {text!r}")
    path = Path(text)
    if path.is_dir():
        return FolderSource(path, clock)
    if not path.parent.is_dir():
        raise ConfigError(f"--gamestate {text}: its folder {path.parent} does not exist")
    return FileSource(path, clock)


class HttpSource:
    """Asks an endpoint each time; a state that is the same as the last is not new."""

    def __init__(self, url: str, clock: SessionClock) -> None:
        """Take the address; nothing is asked yet.

        Raises:
            ConfigError: it is no address.
        """
        try:
            host = urllib.parse.urlsplit(url).hostname
        except ValueError as error:
            raise ConfigError(f"--gamestate {url}: {error}") from error
        if not host:
            raise ConfigError(f"--gamestate expects an address such as http://127.0.0.1:8081/events, got {url!r}")
        self._url = url
        self._clock = clock
        # An exporter is on this machine or near it, never behind a proxy.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._last = b""

    def poll(self) -> list[Exported | Odd]:
        """Ask once; an endpoint that says 204 (nobody is logged in) has no state."""
        try:
            with self._opener.open(self._url, timeout=HTTP_TIMEOUT_S) as answer:
                body = b"" if answer.status == _NO_CONTENT else _read_answer(answer)
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise SourceProblem(f"{self._url} does not answer: {reason}") from error
        arrived_ns = self._clock.now_ns()
        if not body or body == self._last:
            return []
        self._last = body
        return [_read_state(body, self._url, arrived_ns)]

    def close(self) -> None:
        """Hold nothing."""


class FileSource:
    """Reads a file again whenever it has changed."""

    def __init__(self, path: Path, clock: SessionClock) -> None:
        """Take the path; the file need not exist yet."""
        self._path = path
        self._clock = clock
        self._seen: tuple[int, int, int] | None = None
        self._broken_since_ns: int | None = None

    def poll(self) -> list[Exported | Odd]:
        """Read the file if it has changed; one that is no JSON yet waits for the next call."""
        try:
            status = self._path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise SourceProblem(f"{self._path} is no file")
            seen = status.st_mtime_ns, status.st_size, status.st_ino
            if seen == self._seen:
                return []
            body = _read(self._path)
        except OSError as error:
            raise SourceProblem(f"{self._path}: {error.strerror}") from error
        now_ns = self._clock.now_ns()
        found = _read_state(body, str(self._path), now_ns)
        if isinstance(found, Odd) and found.reason == NOT_JSON:
            self._broken_since_ns = self._broken_since_ns or now_ns
            if now_ns - self._broken_since_ns <= HALF_WRITTEN_S * 1e9:
                return []
        self._seen, self._broken_since_ns = seen, None
        return [found]

    def close(self) -> None:
        """Hold nothing."""


class FolderSource:
    """Reads each new file of a folder; of those that were there before, only the newest."""

    def __init__(self, folder: Path, clock: SessionClock) -> None:
        """Take the folder."""
        self._folder = folder
        self._clock = clock
        self._read_up_to: tuple[int, str] | None = None
        self._open: tuple[tuple[int, str], FileSource] | None = None

    def poll(self) -> list[Exported | Odd]:
        """Read what is new, oldest first; at a half-written file it stops, so that none is passed over."""
        found: list[Exported | Odd] = []
        places = self._list_new()
        if len(places) > _MAX_FILES:
            found.append(_missed(str(self._folder), len(places) - _MAX_FILES))
        for place in places[-_MAX_FILES:]:
            if self._open is None or self._open[0] != place:
                self._open = place, FileSource(self._folder / place[1], self._clock)
            try:
                states = self._open[1].poll()
            except SourceProblem as problem:
                # Deleted before it was read: it must not stand in the way of those after it.
                self._read_up_to = place
                found.append(Odd(MISSED, str(problem)))
                continue
            if not states:
                break
            found += states
            self._read_up_to = place
        return found

    def close(self) -> None:
        """Hold nothing."""

    def _list_new(self) -> list[tuple[int, str]]:
        places = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    # An exporter may delete its old files at any moment.
                    with contextlib.suppress(FileNotFoundError):
                        if entry.name.endswith(".json") and entry.is_file():
                            places.append((entry.stat().st_mtime_ns, entry.name))
        except OSError as error:
            raise SourceProblem(f"{self._folder}: {error.strerror}") from error
        places.sort()
        if self._read_up_to is None:
            return places[-1:]
        return [place for place in places if place > self._read_up_to]


class CommandSource:
    """Reads JSON lines that a program prints."""

    def __init__(self, command: str, clock: SessionClock) -> None:
        """Start the program.

        Raises:
            ConfigError: it can't be started.
        """
        try:
            arguments = shlex.split(command)
            self._process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        except (OSError, ValueError, IndexError) as error:
            raise ConfigError(f"--gamestate cmd:{command} can't be started: {error}") from error
        self._command = command
        self._clock = clock
        self._lines: deque[tuple[bytes, int]] = deque()
        self._waiting_bytes = self._missed = 0
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read_lines, name="game state", daemon=True)
        self._reader.start()

    def poll(self) -> list[Exported | Odd]:
        """Return the lines that were printed since the last call."""
        # Asked first: a program's last lines may still be read when it has ended.
        is_read = not self._reader.is_alive()
        with self._lock:
            lines, missed = list(self._lines), self._missed
            self._lines.clear()
            self._waiting_bytes = self._missed = 0
        found: list[Exported | Odd] = [_missed(self._command, missed)] if missed else []
        found += [_read_state(line, self._command, arrived_ns) for line, arrived_ns in lines]
        if not found and is_read and self._process.poll() is not None:
            raise SourceProblem(f"{self._command} ended with exit code {self._process.returncode}")
        return found

    def close(self) -> None:
        """End the program."""
        self._process.terminate()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(1)
        # A program of its own may have left one behind that holds the pipe: closing would wait for it.
        if self._process.stdout is not None and not self._reader.is_alive():
            self._process.stdout.close()

    def _read_lines(self) -> None:
        output = self._process.stdout
        assert output is not None
        while line := output.readline(MAX_JSON_BYTES + 1):
            arrived_ns = self._clock.now_ns()
            if len(line) > MAX_JSON_BYTES and not line.endswith(b"\n"):
                _skip_line(output)
            if not line.strip():
                continue
            with self._lock:
                self._lines.append((line, arrived_ns))
                self._waiting_bytes += len(line)
                while self._waiting_bytes > _MAX_WAITING_BYTES and len(self._lines) > 1:
                    self._waiting_bytes -= len(self._lines.popleft()[0])
                    self._missed += 1


def _read_state(body: bytes, where: str, arrived_ns: int) -> Exported | Odd:
    try:
        read = parse_state(body)
    except LeftOutError as error:
        return Odd(error.reason, f"{where}: {error}")
    return Exported(read.state, arrived_ns, read.original, read.not_finite)


def _missed(where: str, count: int) -> Odd:
    return Odd(MISSED, f"{where}: states come faster than they can be read", count)


def _skip_line(lines: IO[bytes]) -> None:
    while piece := lines.readline(1 << 16):
        if piece.endswith(b"\n"):
            return


def _read_answer(answer: http.client.HTTPResponse) -> bytes:
    """Return a body; one that trickles in for longer than the timeout is given up."""
    until = time.monotonic() + HTTP_TIMEOUT_S
    body = b""
    while len(body) <= MAX_JSON_BYTES and (piece := answer.read1(1 << 16)):
        body += piece
        if time.monotonic() > until:
            raise TimeoutError(f"the answer takes longer than {HTTP_TIMEOUT_S:g} s")
    return body


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_JSON_BYTES + 1)
