"""Key and button names of other recorders, as canonical ones (see `sessions.keys`).

pynput writes a key as its character (`a`, `A`, `!`, control characters while Ctrl is down), as its name (`ctrl_l`,
`Key.esc`), or as its code (`<96>`), with and without quotes. Minecraft writes `key.keyboard.left.shift`. A character is
taken for the key of a US layout that types it. What has no name gives None.
"""

from __future__ import annotations

import re

from vlm_agent.sessions.keys import KEY_CODES, SIGN_NAMES, key_name

_SHIFTED = dict(zip('~!@#$%^&*()_+{}|:"<>?', "`1234567890-=[]\\;',./", strict=True))
_PYNPUT = {
    "alt_gr": "rightalt",
    "alt_l": "leftalt",
    "alt_r": "rightalt",
    "caps_lock": "capslock",
    "cmd": "leftmeta",
    "cmd_l": "leftmeta",
    "cmd_r": "rightmeta",
    "ctrl_l": "leftctrl",
    "ctrl_r": "rightctrl",
    "esc": "escape",
    "num_lock": "numlock",
    "page_down": "pagedown",
    "page_up": "pageup",
    "print_screen": "printscreen",
    "return": "enter",
    "scroll_lock": "scrolllock",
    "shift_l": "leftshift",
    "shift_r": "rightshift",
}
_MINECRAFT = {
    "caps.lock": "capslock",
    "grave.accent": "grave",
    "keypad.add": "numpad_add",
    "keypad.decimal": "numpad_decimal",
    "keypad.divide": "numpad_divide",
    "keypad.multiply": "numpad_multiply",
    "keypad.subtract": "numpad_subtract",
    "left.alt": "leftalt",
    "left.bracket": "bracketleft",
    "left.control": "leftctrl",
    "left.shift": "leftshift",
    "left.win": "leftmeta",
    "num.lock": "numlock",
    "page.down": "pagedown",
    "page.up": "pageup",
    "print.screen": "printscreen",
    "right.alt": "rightalt",
    "right.bracket": "bracketright",
    "right.control": "rightctrl",
    "right.shift": "rightshift",
    "right.win": "rightmeta",
    "scroll.lock": "scrolllock",
    **{f"keypad.{digit}": f"numpad_{digit}" for digit in range(10)},
}
_MINECRAFT_PREFIX = "key.keyboard."
_CODE = re.compile(r"<([0-9]{1,3})>")
_CONTROL_LETTERS = 26
_BUTTONS = {
    "left": "left",
    "right": "right",
    "middle": "middle",
    "x1": "x1",
    "x2": "x2",
    "button8": "x1",
    "button9": "x2",
    "1": "left",
    "2": "right",
    "3": "middle",
}


def only_character(text: str) -> str | None:
    """Return the character of a key that pynput prints as one, letters lower; None for a key that has a name."""
    if len(text) == 3 and text[0] == text[2] and text[0] in "'\"":
        text = text[1]
    return text.lower() if len(text) == 1 else None


def from_pynput(text: str) -> str | None:
    """Return the canonical name of a key as pynput prints it."""
    character = only_character(text)
    if character is not None:
        return _from_character(character)
    code = _CODE.fullmatch(text)
    if code:
        return key_name(int(code[1])) if 0 < int(code[1]) < 256 else None
    name = text.strip().lower().removeprefix("key.")
    name = _PYNPUT.get(name, name)
    return name if name in KEY_CODES and len(name) > 1 else None


def from_minecraft(text: str) -> str | None:
    """Return the canonical name of a key as Minecraft names it."""
    if not text.startswith(_MINECRAFT_PREFIX):
        return None
    name = text.removeprefix(_MINECRAFT_PREFIX)
    name = _MINECRAFT.get(name, name)
    return name if name in KEY_CODES else None


def from_button(text: str) -> str | None:
    """Return the name of a mouse button: `left`, `Button.left`, `LEFT`, or the number of IL_bot's tables."""
    return _BUTTONS.get(text.strip().lower().removeprefix("button."))


def _from_character(character: str) -> str | None:
    if 1 <= ord(character) <= _CONTROL_LETTERS:  # Ctrl is down: Ctrl+A types character 1
        return chr(ord("a") - 1 + ord(character))
    if character == " ":
        return "space"
    name = _SHIFTED.get(character, character.lower())
    name = SIGN_NAMES.get(name, name)
    return name if name in KEY_CODES else None
