"""Hotkeys: heard once, with their modifiers, and never let through."""

from __future__ import annotations

import pytest

from vlm_agent.actions.events import KeyChanged
from vlm_agent.errors import ConfigError
from vlm_agent.recording.hotkeys import Hotkey, Hotkeys, parse_hotkey
from vlm_agent.recording.stream import KeyHeard


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


def hear_codes(hotkeys: Hotkeys, *keys: tuple[str, int, bool]) -> list[str | None]:
    return [hotkeys.hear(KeyHeard(0, name, pressed, code)).action for name, code, pressed in keys]


def test_a_modifier_is_held_until_both_of_its_keys_are_up() -> None:
    hotkeys = Hotkeys({"stop": Hotkey("f9", frozenset(("shift",)))})
    both = [("shift", 50, True), ("shift", 62, True), ("shift", 50, False)]
    assert hear_codes(hotkeys, *both, ("f9", 75, True), ("f9", 75, False))[3] == "stop"
    assert hear_codes(hotkeys, ("shift", 62, False), ("f9", 75, True)) == [None, None]


def test_a_hotkey_is_heard_under_any_name_of_its_key_and_swallowed_though_the_layout_changes() -> None:
    hotkeys = Hotkeys({"stop": Hotkey("q", frozenset(("alt",)))})
    press = KeyHeard(0, "semicolon", True, 24, frozenset(("semicolon", "q")))
    assert not hotkeys.hear(press).is_hotkey
    hotkeys.hear(KeyHeard(0, "rightalt", True, 108))
    assert hotkeys.hear(press) == (True, "stop")
    assert hotkeys.hear(KeyHeard(0, "a", False, 24)).is_hotkey
    assert not hotkeys.hear(KeyHeard(0, "rightalt", False, 108)).is_hotkey
    assert hotkeys.hear(press) == (False, None)


def test_a_hotkey_that_the_keyboard_does_not_have_is_refused_by_name() -> None:
    hotkeys = Hotkeys({"stop": Hotkey("f10"), "goal": Hotkey("f13", frozenset(("ctrl",))), "start": None})
    hotkeys.check(lambda name: True)
    with pytest.raises(ConfigError, match="--hotkey-goal: this keyboard has no key f13; give one that it has"):
        hotkeys.check(lambda name: name != "f13")
