"""Keys and buttons as other recorders name them."""

from __future__ import annotations

import pytest

from vlm_agent.importing.key_names import from_button, from_minecraft, from_pynput


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("key.keyboard.w", "w"),
        ("key.keyboard.9", "9"),
        ("key.keyboard.left.shift", "leftshift"),
        ("key.keyboard.right.shift", "rightshift"),
        ("key.keyboard.left.control", "leftctrl"),
        ("key.keyboard.right.control", "rightctrl"),
        ("key.keyboard.left.alt", "leftalt"),
        ("key.keyboard.right.alt", "rightalt"),
        ("key.keyboard.left.win", "leftmeta"),
        ("key.keyboard.right.win", "rightmeta"),
        ("key.keyboard.left.bracket", "bracketleft"),
        ("key.keyboard.right.bracket", "bracketright"),
        ("key.keyboard.keypad.7", "numpad_7"),
        ("key.keyboard.keypad.add", "numpad_add"),
        ("key.keyboard.keypad.subtract", "numpad_subtract"),
        ("key.keyboard.page.up", "pageup"),
        ("key.keyboard.page.down", "pagedown"),
        ("key.keyboard.left", "left"),
        ("key.keyboard.right", "right"),
        ("key.keyboard.grave.accent", "grave"),
        ("key.mouse.left", None),
        ("key.keyboard.unheard.of", None),
        ("w", None),
    ],
)
def test_minecrafts_keys(written: str, name: str | None) -> None:
    assert from_minecraft(written) == name


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("\x01", "a"),
        ("\x1a", "z"),
        ("~", "grave"),
        ("_", "minus"),
        ("?", "slash"),
        ("<0>", None),
        ("<255>", "vk_255"),
        ("<256>", None),
        ("'\"'", "apostrophe"),
        ("Key.shift", "shift"),
        ("é", None),
        ("", None),
    ],
)
def test_pynputs_keys(written: str, name: str | None) -> None:
    assert from_pynput(written) == name


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("1", "left"),
        ("2", "right"),
        ("3", "middle"),
        ("Button.left", "left"),
        (" Right ", "right"),
        ("button8", "x1"),
        ("button9", "x2"),
        ("4", None),
        ("", None),
    ],
)
def test_buttons(written: str, name: str | None) -> None:
    assert from_button(written) == name
