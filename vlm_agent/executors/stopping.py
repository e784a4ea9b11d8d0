"""`vlm-agent stop` and `vlm-agent resume`: a person's word to every executor of this user.

Looked for are the files in every folder that some environment of this user may name, and the processes themselves. An
executor that runs and does not answer is ended by a signal: a stop that did not reach it would be worse than none.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlm_agent.errors import ConfigError
from vlm_agent.executors.client import ExecutorConnection, ExecutorLostError
from vlm_agent.executors.endpoints import Endpoint, find_endpoints, list_folders
from vlm_agent.executors.processes import ExecutorProcess, end_executor, find_executors
from vlm_agent.visible import say

_ANSWER_S = 1.0
_TRIES = 3
"""A stranger may have hung us up to make room."""


@dataclass(frozen=True)
class StopConfig:
    """Stop every agent that acts on this desktop: at once, and latched until it is resumed."""


@dataclass(frozen=True)
class ResumeConfig:
    """Let stopped or paused agents go on, once their window has the focus and nobody touches mouse or keyboard."""


@dataclass
class Reached:
    """What came of a word to all executors."""

    answers: list[tuple[Endpoint, dict[str, Any]]] = field(default_factory=list)
    """Those that answered, and what."""
    silent: list[ExecutorProcess] = field(default_factory=list)
    """Those that run and did not."""
    looked_in: list[Path] = field(default_factory=list)
    """Folders that were looked into."""
    problems: list[str] = field(default_factory=list)
    """Why a folder was not."""


def stop(_: StopConfig) -> None:
    """Stop all executors of this user.

    Raises:
        ConfigError: there is none, or one that can't be stopped.
    """
    reached = ask_all("stop")
    _tell(reached, "stopped")
    left = []
    for process in reached.silent:
        try:
            number = end_executor(process.pid)
        except OSError as error:
            left.append(f"could not reach process {process.pid} ({error}); end it with `kill -9 {process.pid}`")
            continue
        if number is not None:
            say(f"process {process.pid} did not answer: ended by {number}")
    if left:
        raise ConfigError("; ".join(left))


def resume(_: ResumeConfig) -> None:
    """Resume all executors of this user.

    Raises:
        ConfigError: there is none, or one that does not answer.
    """
    reached = ask_all("resume")
    _tell(reached, "may go on")
    if reached.silent:
        numbers = ", ".join(str(process.pid) for process in reached.silent)
        raise ConfigError(f"could not reach process {numbers}, which does not answer; `vlm-agent stop` ends it")


def ask_all(kind: str) -> Reached:
    """Say something to all executors of this user that live; as root to everybody's."""
    processes = find_executors()
    folders: dict[Path, int | None] = dict.fromkeys(list_folders(), None)
    users = {os.environ.get("SUDO_UID", "")} if hasattr(os, "getuid") and os.getuid() == 0 else set()
    for user in (int(one) for one in users if one.isdecimal()):
        folders |= dict.fromkeys(list_folders({}, user), user)
    for process in processes:
        folders |= dict.fromkeys(list_folders(process.environment, process.user), process.user)
    endpoints, problems = find_endpoints(folders.items())
    reached = Reached(looked_in=list(folders), problems=problems)
    answered = set()
    for endpoint in endpoints:
        told = _ask(endpoint, kind)
        if told is not None:
            pid, answer = told
            answered.add(pid)
            reached.answers.append((endpoint, answer))
    reached.silent = [process for process in processes if process.pid not in answered]
    return reached


def _ask(endpoint: Endpoint, kind: str) -> tuple[int, dict[str, Any]] | None:
    """Return the number of the process that answers, as seen from here, and its answer."""
    for _ in range(_TRIES):
        try:
            connection = ExecutorConnection(endpoint, _ANSWER_S)
        except ExecutorLostError:
            continue
        try:
            return connection.peer_pid or endpoint.pid, connection.ask(kind)
        except ExecutorLostError:
            continue
        finally:
            connection.close()
    return None


def _tell(reached: Reached, done: str) -> None:
    for endpoint, answer in reached.answers:
        what = done if answer["ok"] else f"refused: {answer['reason']}"
        say(f"{endpoint.title} (process {endpoint.pid}): {what}")
    if not reached.answers and not reached.silent:
        where = ", ".join(map(str, reached.looked_in))
        but = f"; not into: {'; '.join(reached.problems)}" if reached.problems else ""
        raise ConfigError(
            "expected an agent that acts on a desktop, none is running for this user"
            f" (looked through its processes and into {where}{but})"
        )
