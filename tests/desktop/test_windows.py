"""Which window is meant, and which key: with stand-ins, on any system."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vlm_agent.actions.placement import Rect
from vlm_agent.desktop.types import WindowInfo
from vlm_agent.desktop.windows import choose_window, is_wayland
from vlm_agent.errors import ConfigError

RECT = Rect(0, 0, 9, 9)
WINDOWS = [
    WindowInfo(1, "Game", RECT, "game", 70),
    WindowInfo(2, "Game - settings", RECT, "game", 70),
    WindowInfo(3, "Mail", RECT, "mail", 71),
    WindowInfo(4, "Mail", RECT, "mail", 72),
    WindowInfo(5, "", RECT, "shell", 73),
]


def choose(title: str, **which: Any) -> int:
    return choose_window(SimpleNamespace(list_windows=lambda: WINDOWS), title, **which).window_id  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("title", "which", "window_id"),
    [
        ("Game", {}, 1),  # exactly so goes before others
        ("settings", {}, 2),
        ("SETTINGS$", {}, 2),
        ("Mail", {"pid": 72}, 4),
        ("mai", {"app": "mail", "pid": 71}, 3),
    ],
)
def test_a_window_is_chosen_by_title_program_and_process(title: str, which: dict[str, Any], window_id: int) -> None:
    assert choose(title, **which) == window_id


@pytest.mark.parametrize(
    ("title", "which", "says"),
    [
        ("game", {}, r"names 2 windows \(Game, Game - settings\)"),
        ("Mail", {}, r"names 2 windows \(Mail\)"),
        ("Game", {"app": "mail"}, r"names no window; there are: Mail"),
        ("Chess", {}, "names no window; there are: Game, Game - settings, Mail"),
        ("Game", {"pid": 1}, "there are: none"),
        ("(", {}, "regular expression"),
        ("^$", {}, "names no window"),
    ],
)
def test_a_title_that_names_none_or_several_is_refused(title: str, which: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        choose(title, **which)


@pytest.mark.parametrize(
    ("variables", "is_it"),
    [
        ({}, False),
        ({"XDG_SESSION_TYPE": "x11"}, False),
        ({"XDG_SESSION_TYPE": "wayland"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({"WAYLAND_DISPLAY": ""}, False),
    ],
)
def test_a_wayland_session_is_known(variables: dict[str, str], is_it: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_SESSION_TYPE", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_wayland() == is_it
