"""Where executors are found: private folders with a file for each, and a socket that only this user can reach.

A Unix socket in the first folder where it has room, or where there is none (Windows) a port of the loopback interface.
Both ask for the token that stands in the file. The file is in every folder that another environment of the same user
(cron, `su`, a container's shell, another TMPDIR) might look in, as the agent has to be stopped from all of them.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from vlm_agent.errors import ConfigError, DataError

_PREFIX = "executor-"
OWN_FOLDER = "VLM_AGENT_RUNTIME_DIR"
"""Variable that names the one folder to tell of executors in, and to look for them in."""


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
    others: tuple[Path, ...] = ()
    """Further files that tell of it; known to the executor alone."""

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


def list_folders(environment: Mapping[str, str] = os.environ, user: int | None = None) -> list[Path]:
    """Return every folder in which executors of a user may be told of, made or not.

    Args:
        environment: the variables that name some of them. Where `VLM_AGENT_RUNTIME_DIR` names one, it is the only one.
        user: whose; None for who runs this.
    """
    only = environment.get(OWN_FOLDER)
    if only:
        return [Path(only)]
    name = f"vlm-agent-{_find_user() if user is None else user}"
    bases = [environment.get("XDG_RUNTIME_DIR"), environment.get("LOCALAPPDATA")]
    session = Path(f"/run/user/{_find_user() if user is None else user}")
    folders = [Path(base) / "vlm-agent" for base in [*bases, session if session.is_dir() else None] if base]
    temporary = [environment.get("TMPDIR"), environment.get("TEMP"), tempfile.gettempdir()]
    temporary += ["/tmp"] if os.name == "posix" else []
    folders += [Path(base) / name for base in temporary if base]
    return list(dict.fromkeys(folders))


def check_folder(folder: Path, user: int | None = None) -> None:
    """Raise ConfigError where a folder is not private to a user (None: who runs this), or not there."""
    if not hasattr(os, "getuid"):
        return
    try:
        found = folder.lstat()
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}") from error
    is_theirs = found.st_uid == (_find_user() if user is None else user)
    if not is_theirs or found.st_mode & 0o077 or not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{folder} must be a folder that only you can open; remove it, or chmod 700 it")


def open_endpoint(title: str, *, is_live: bool) -> tuple[Endpoint, socket.socket]:
    """Return a new endpoint, told of in its files, and its listening socket.

    Raises:
        ConfigError: no folder can be used.
    """
    folders, problems = _make_folders()
    name = f"{_PREFIX}{os.getpid()}"
    address, listening = _listen(folders, name, problems)
    if listening is None:
        raise ConfigError(
            f"expected a folder in which an agent can be told of, so that it can be stopped: {problems[0]}"
        )
    listening.listen(socket.SOMAXCONN)
    paths = tuple(folder / f"{name}.json" for folder in folders)
    endpoint = Endpoint(paths[0], address, secrets.token_hex(16), os.getpid(), title, is_live, paths[1:])
    told = {name: value for name, value in asdict(endpoint).items() if name not in ("path", "others")}
    for path in paths:
        path.unlink(missing_ok=True)  # of a dead process that had our number
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(told, file)
    return endpoint, listening


def close_endpoint(endpoint: Endpoint) -> None:
    """Remove an endpoint's files."""
    for path in (endpoint.path, *endpoint.others):
        path.unlink(missing_ok=True)
    if not endpoint.address.startswith("127.0.0.1:"):
        Path(endpoint.address).unlink(missing_ok=True)


def read_endpoint(path: Path) -> Endpoint:
    """Return the endpoint of a file; raises DataError if it is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return Endpoint(**{**value, "path": path})
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not an executor's endpoint ({error})") from error


def find_endpoints(folders: Iterable[tuple[Path, int | None]]) -> tuple[list[Endpoint], list[str]]:
    """Return those there are in folders, dead ones too, each once; and what kept us from looking into a folder.

    Args:
        folders: each with the user that it must be private to; None for who runs this.
    """
    endpoints: dict[tuple[str, str], Endpoint] = {}
    problems = []
    for folder, user in folders:
        if not folder.exists():
            continue
        try:
            check_folder(folder, user)
        except ConfigError as error:
            problems.append(str(error))
            continue
        for path in sorted(folder.glob(f"{_PREFIX}*.json")):
            with contextlib.suppress(DataError):
                endpoint = read_endpoint(path)
                endpoints.setdefault((endpoint.address, endpoint.token), endpoint)
    return list(endpoints.values()), problems


def _find_user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _make_folders() -> tuple[list[Path], list[str]]:
    """Return the folders that can be used, and what is wrong with the others."""
    folders, problems = [], []
    for folder in list_folders():
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            check_folder(folder)
            folders.append(folder)
        except ConfigError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{folder}: {error.strerror}")
    return folders, problems


def _listen(folders: list[Path], name: str, problems: list[str]) -> tuple[str, socket.socket | None]:
    """Return the address of a new socket in the first folder that has room for one, and the socket."""
    if not hasattr(socket, "AF_UNIX"):
        listening = socket.create_server(("127.0.0.1", 0))
        return f"127.0.0.1:{listening.getsockname()[1]}", listening
    for folder in folders:
        path = folder / f"{name}.sock"
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            path.unlink(missing_ok=True)
            listening.bind(str(path))
        except OSError as error:  # the path is longer than a socket's may be, most likely
            listening.close()
            problems.insert(0, f"{path}: {error.strerror or error}")
            continue
        return str(path), listening
    return "", None
