"""Key names: every one is a name that an ActionSpec takes, and signs are understood."""

from __future__ import annotations

import pytest

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.errors import DataError
from vlm_agent.sessions.keys import KEY_CODES, key_code, key_name


def test_every_key_that_can_be_recorded_can_be_said() -> None:
    names = {key_name(code) for code in range(1, 256)}
    assert ActionSpec(8, 8, keys=tuple(sorted(names))).keys
    assert {key_code(name) for name in names} == set(range(1, 256))


@pytest.mark.parametrize(("sign", "name"), [("-", "minus"), ("`", "grave"), ("[", "bracketleft"), ("'", "apostrophe")])
def test_a_sign_stands_for_the_key_that_types_it(sign: str, name: str) -> None:
    assert key_code(sign) == KEY_CODES[name]


def test_what_is_no_key_is_refused() -> None:
    with pytest.raises(DataError, match="canonical key name"):
        key_code("?")


# As Windows names them (VK_BACK, VK_TAB, ...): recordings of other programs hold these numbers.
CODES = """
08 backspace 09 tab 0c clear 0d enter 10 shift 11 ctrl 12 alt 13 pause 14 capslock 15 hangul 1b escape 20 space
21 pageup 22 pagedown 23 end 24 home 25 left 26 up 27 right 28 down 2c printscreen 2d insert 2e delete
30 0 39 9 41 a 5a z 5b leftmeta 5c rightmeta 5d menu 60 numpad_0 69 numpad_9 6a numpad_multiply 6b numpad_add
6d numpad_subtract 6e numpad_decimal 6f numpad_divide 70 f1 7b f12 87 f24 90 numlock 91 scrolllock
a0 leftshift a1 rightshift a2 leftctrl a3 rightctrl a4 leftalt a5 rightalt
ba semicolon bb equal bc comma bd minus be period bf slash c0 grave db bracketleft dc backslash dd bracketright
de apostrophe
"""


def test_names_and_codes_are_those_of_windows() -> None:
    words = CODES.split()
    for code, name in zip(words[::2], words[1::2], strict=True):
        assert (key_code(name), key_name(int(code, 16))) == (int(code, 16), name)
    assert set(words[1::2]) <= set(KEY_CODES)
    named = {name for name in KEY_CODES if len(name) > 1 and not name.startswith(("f", "numpad_"))}
    assert named <= set(words[1::2])
