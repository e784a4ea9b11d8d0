"""Canonical key names and the virtual key codes that OWAMcap stores, both ways.

Names are the lower-case ones of `actions`: letters, digits, `space`, `escape`, `left`, `shift`, `f1`, and punctuation
by the word for what it types on a US layout (`minus`), for an ActionSpec has no room for signs. A code without a name
becomes `vk_<code>`, so that no key press of a recording is lost. Windows' codes end at 255; 512 and up are key codes
of an X server for which no number below is left.
Codes: https://learn.microsoft.com/en-us/windows/win32/inputdev/virtual-key-codes
"""

from __future__ import annotations

from vlm_agent.errors import DataError

_NAMED = {
    "backspace": 0x08,
    "tab": 0x09,
    "clear": 0x0C,
    "enter": 0x0D,
    "shift": 0x10,
    "ctrl": 0x11,
    "alt": 0x12,
    "pause": 0x13,
    "capslock": 0x14,
    "hangul": 0x15,
    "escape": 0x1B,
    "space": 0x20,
    "pageup": 0x21,
    "pagedown": 0x22,
    "end": 0x23,
    "home": 0x24,
    "left": 0x25,
    "up": 0x26,
    "right": 0x27,
    "down": 0x28,
    "printscreen": 0x2C,
    "insert": 0x2D,
    "delete": 0x2E,
    "leftmeta": 0x5B,
    "rightmeta": 0x5C,
    "menu": 0x5D,
    "numpad_multiply": 0x6A,
    "numpad_add": 0x6B,
    "numpad_subtract": 0x6D,
    "numpad_decimal": 0x6E,
    "numpad_divide": 0x6F,
    "numlock": 0x90,
    "scrolllock": 0x91,
    "leftshift": 0xA0,
    "rightshift": 0xA1,
    "leftctrl": 0xA2,
    "rightctrl": 0xA3,
    "leftalt": 0xA4,
    "rightalt": 0xA5,
    "semicolon": 0xBA,
    "equal": 0xBB,
    "comma": 0xBC,
    "minus": 0xBD,
    "period": 0xBE,
    "slash": 0xBF,
    "grave": 0xC0,
    "bracketleft": 0xDB,
    "backslash": 0xDC,
    "bracketright": 0xDD,
    "apostrophe": 0xDE,
}

KEY_CODES: dict[str, int] = {
    **_NAMED,
    **{chr(code + 32): code for code in range(ord("A"), ord("Z") + 1)},
    **{chr(code): code for code in range(ord("0"), ord("9") + 1)},
    **{f"numpad_{digit}": 0x60 + digit for digit in range(10)},
    **{f"f{number}": 0x6F + number for number in range(1, 25)},
}
"""Canonical name -> virtual key code."""

_SIGN_CODES = {
    sign: code for signs, first in ((";=,-./`", 0xBA), ("[\\]'", 0xDB)) for code, sign in enumerate(signs, first)
}
_KEY_NAMES = {code: name for name, code in KEY_CODES.items()}
SIGN_NAMES: dict[str, str] = {sign: _KEY_NAMES[code] for sign, code in _SIGN_CODES.items()}
"""Sign -> canonical name of the key that types it on a US layout; a person or another recorder may write the sign."""
_UNNAMED = "vk_"
FIRST_FOREIGN = 512
"""Where the numbers of keys begin that are none of Windows'."""
_END, _FOREIGN_END = 256, FIRST_FOREIGN + 256


def key_code(name: str) -> int:
    """Return the virtual key code of a canonical key name, or of the sign that a key of punctuation types.

    Raises:
        DataError: If no such key exists.
    """
    code = KEY_CODES.get(SIGN_NAMES.get(name, name))
    if code is not None:
        return code
    digits = name.removeprefix(_UNNAMED)
    if name.startswith(_UNNAMED) and digits.isascii() and digits.isdigit() and len(digits) <= 3:
        number = int(digits)
        if number < _END or FIRST_FOREIGN <= number < _FOREIGN_END:
            return number
    raise DataError(f"expected a canonical key name such as 'space' or 'a', got {name!r}")


def key_name(code: int) -> str:
    """Return the canonical name of a virtual key code."""
    return _KEY_NAMES.get(code, f"{_UNNAMED}{code}")
