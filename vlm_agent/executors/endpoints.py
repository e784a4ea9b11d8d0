"""Where executors are found: a private folder with a file for each, and a socket that only this user can reach.

A Unix socket in the folder, or where there is none (Windows) a port of the loopback interface. Both ask for the token
that stands in the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from vlm_agent.errors import ConfigError, DataError

_PREFIX = "executor-"


@dataclass(frozen=True)
class Endpoint:
    """How to reach one executor."""

    path: Path
    """The file that tells of it."""
    address: str
    """Path of a Unix socket, or `127.0.0.1:port`."""
    token: str
    """What a connection must say first."""
    pid: int
    """The executor's process."""
    title: str
    """Of the window that it acts on."""
    is_live: bool
    """Whether it injects."""

    def connect(self, timeout_s: float = 2.0) -> socket.socket:
        """Return a connection; raises OSError where nobody is there any more."""
        host, _, port = self.address.rpartition(":")
        if host == "127.0.0.1":
            return socket.create_connection((host, int(port)), timeout_s)
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        peer.settimeout(timeout_s)
        try:
            peer.connect(self.address)
        except OSError:
            peer.close()
            raise
        return peer


def find_folder() -> Path:
    """Return the private folder of this user, made if need be.

    Raises:
        ConfigError: somebody else could read or write it.
    """
    base = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("LOCALAPPDATA")
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(base) / "vlm-agent" if base else Path(tempfile.gettempdir()) / f"vlm-agent-{user}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "getuid"):
        found = folder.lstat()
        if found.st_uid != user or found.st_mode & 0o077 or not folder.is_dir() or folder.is_symlink():
            raise ConfigError(f"{folder} must be a folder that only you can open; remove it, or chmod 700 it")
    return folder


def open_endpoint(title: str, *, is_live: bool) -> tuple[Endpoint, socket.socket]:
    """Return a new endpoint, told of in its file, and its listening socket."""
    folder = find_folder()
    path = folder / f"{_PREFIX}{os.getpid()}.json"
    if hasattr(socket, "AF_UNIX"):
        address = str(path.with_suffix(".sock"))
        Path(address).unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.bind(address)
    else:
        listening = socket.create_server(("127.0.0.1", 0))
        address = f"127.0.0.1:{listening.getsockname()[1]}"
    listening.listen()
    endpoint = Endpoint(path, address, secrets.token_hex(16), os.getpid(), title, is_live)
    path.unlink(missing_ok=True)  # of a dead process that had our number
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump({**asdict(endpoint), "path": str(path)}, file)
    return endpoint, listening


def close_endpoint(endpoint: Endpoint) -> None:
    """Remove an endpoint's files."""
    endpoint.path.unlink(missing_ok=True)
    if not endpoint.address.startswith("127.0.0.1:"):
        Path(endpoint.address).unlink(missing_ok=True)


def read_endpoint(path: Path) -> Endpoint:
    """Return the endpoint of a file; raises DataError if it is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return Endpoint(**{**value, "path": path})
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not an executor's endpoint ({error})") from error


def find_endpoints() -> list[Endpoint]:
    """Return those there are, dead ones too."""
    endpoints = []
    for path in sorted(find_folder().glob(f"{_PREFIX}*.json")):
        with contextlib.suppress(DataError):
            endpoints.append(read_endpoint(path))
    return endpoints
