"""Hotkeys: heard once, with their modifiers, and never let through."""

from __future__ import annotations

import pytest

from vlm_agent.actions.events import KeyChanged
from vlm_agent.errors import ConfigError
from vlm_agent.recording.hotkeys import Hotkey, Hotkeys, parse_hotkey


def hear(hotkeys: Hotkeys, *keys: str) -> list[tuple[bool, str | None]]:
    return [tuple(hotkeys.hear(KeyChanged(0, key[1:], pressed=key[0] == "+"))) for key in keys]


@pytest.mark.parametrize(
    ("text", "hotkey"),
    [
        ("f10", Hotkey("f10")),
        ("Ctrl+Shift+F9", Hotkey("f9", frozenset(("ctrl", "shift")))),
        ("alt+minus", Hotkey("minus", frozenset(("alt",)))),
        ("none", None),
    ],
)
def test_what_a_hotkey_is_called(text: str, hotkey: Hotkey | None) -> None:
    assert parse_hotkey(text, "--hotkey-stop") == hotkey


@pytest.mark.parametrize("text", ["", "f99", "ctrl", "ctrl+", "meta+f9", "f9+ctrl", "f9+f10", "+"])
def test_what_is_no_hotkey(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--hotkey-stop expects a key such as f10"):
        parse_hotkey(text, "--hotkey-stop")


def test_a_held_hotkey_asks_once_and_is_swallowed_whole() -> None:
    hotkeys = Hotkeys({"stop": Hotkey("f10"), "discard": None})
    assert hear(hotkeys, "+f10", "+f10", "-f10", "-f10") == [(True, "stop"), (True, None), (True, None), (False, None)]


def test_modifiers_must_be_held_and_no_others() -> None:
    hotkeys = Hotkeys({"goal": Hotkey("g", frozenset(("ctrl",))), "stop": Hotkey("g", frozenset(("ctrl", "shift")))})
    assert hear(hotkeys, "+g", "-g") == [(False, None), (False, None)]
    assert hear(hotkeys, "+ctrl", "+g", "-ctrl", "-g")[1:] == [(True, "goal"), (False, None), (True, None)]
    assert hear(hotkeys, "+ctrl", "+shift", "+g", "-g", "+alt", "+g", "-g")[2:] == [
        (True, "stop"),
        (True, None),
        (False, None),
        (False, None),
        (False, None),
    ]


def test_one_key_for_two_things_is_refused() -> None:
    with pytest.raises(ConfigError, match="--hotkey-stop and --hotkey-start are the same key"):
        Hotkeys({"start": Hotkey("f9"), "stop": Hotkey("f9")})
