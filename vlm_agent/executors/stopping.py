"""`vlm-agent stop` and `vlm-agent resume`: a person's word to every executor of this user."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from vlm_agent.errors import ConfigError
from vlm_agent.executors.client import ExecutorConnection, ExecutorLostError
from vlm_agent.executors.endpoints import Endpoint, find_endpoints
from vlm_agent.visible import say


@dataclass(frozen=True)
class StopConfig:
    """Stop every agent that acts on this desktop: at once, and latched until it is resumed."""


@dataclass(frozen=True)
class ResumeConfig:
    """Let stopped or paused agents go on, once their window has the focus and nobody touches mouse or keyboard."""


def stop(_: StopConfig) -> None:
    """Stop all executors of this user.

    Raises:
        ConfigError: there is none.
    """
    _tell_all("stop", "stopped")


def resume(_: ResumeConfig) -> None:
    """Resume all executors of this user.

    Raises:
        ConfigError: there is none.
    """
    _tell_all("resume", "may go on")


def ask_all(kind: str) -> list[tuple[Endpoint, dict[str, Any]]]:
    """Say something to all executors of this user that live, and return what they answered."""
    answers = []
    for endpoint in find_endpoints():
        with contextlib.suppress(ExecutorLostError):
            connection = ExecutorConnection(endpoint)
            answers.append((endpoint, connection.ask(kind)))
            connection.close()
    return answers


def _tell_all(kind: str, done: str) -> None:
    answers = ask_all(kind)
    if not answers:
        raise ConfigError("expected an agent that acts on a desktop, none is running for this user")
    for endpoint, answer in answers:
        what = done if answer["ok"] else f"refused: {answer['reason']}"
        say(f"{endpoint.title} (process {endpoint.pid}): {what}")
