"""The built-in environments by name. Each is imported when it is asked for."""

from __future__ import annotations

from vlm_agent.errors import ConfigError
from vlm_agent.executors.in_game import Environment

ENVIRONMENTS = ("ringcraft",)
"""Names that `make_environment` knows."""


def make_environment(name: str, *, max_ticks: int = 1000, is_shown: bool = False) -> Environment:
    """Return a new environment.

    Args:
        name: one of `ENVIRONMENTS`.
        max_ticks: the environment ends an episode after so many.
        is_shown: open a window; otherwise everything is drawn off screen.

    Raises:
        ConfigError: there is no such environment.
    """
    check_environment(name)
    from vlm_agent.games.ringcraft.env import RingcraftEnv

    return RingcraftEnv(max_ticks=max_ticks, render_mode="human" if is_shown else "rgb_array")


def check_environment(name: str) -> None:
    """Raise ConfigError unless there is an environment of that name."""
    if name not in ENVIRONMENTS:
        raise ConfigError(f"unknown environment {name!r}; there is {', '.join(ENVIRONMENTS)}")


def check_goal(env_name: str, goal: str) -> None:
    """Raise ConfigError unless the environment knows the goal; the message names the nearest ones."""
    check_environment(env_name)
    from vlm_agent.games.ringcraft.goals import find_goal

    find_goal(goal)
