"""Names of keys: each leads back to its key, whatever the layout."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from x_server import run_x_server
from Xlib import XK

from vlm_agent.desktop.x11 import connect
from vlm_agent.desktop.x11_keys import _NAMES, _NUMBERS, KeyNames, KeyTable
from vlm_agent.desktop.xkb import KeyMap, KeySymbols, XkbConnection, parse_names, parse_symbols
from vlm_agent.sessions.keys import KEY_CODES, key_code, key_name

needs_setxkbmap = pytest.mark.skipif(
    shutil.which("setxkbmap") is None, reason="no setxkbmap here (Debian: apt-get install x11-xkb-utils)"
)
FIRST_CODE = 8
ROWS = [
    ["Escape"],
    ["a", "A"],
    ["q", "Q", "a"],  # an `a` with another key held
    ["Control_L"],
    ["Control_R"],
    ["Alt_L", "Meta_L"],
    ["ISO_Level3_Shift"],
    ["Super_L"],
    ["KP_Enter"],
    ["Return"],
    ["minus", "underscore"],
    ["less", "greater"],
    ["NoSymbol"],
    ["NoSymbol", "Alt_L"],
]
LAYOUTS = ["us", "de", "fr", "br", "ru", "gr", "il", "us,ru,gr"]
NEVER_PRESSED = {124, 150, 160, 213, 245, 246, 254, 255}
"""Power, sleep, screen lock, suspend, and what switches radios off."""
SEVERAL = {"shift", "ctrl", "alt", "enter", "rightalt", "leftmeta", "printscreen"}
"""Names of several keys that do the same."""


def make_names(rows: list[list[str]], places: dict[int, str] | None = None, group: int = 0) -> KeyNames:
    symbols = [tuple(XK.string_to_keysym(name) for name in row) for row in rows]
    keys = {code: KeySymbols((row,)) for code, row in enumerate(symbols, FIRST_CODE)}
    return KeyNames(KeyMap(keys, places or {}), group)


@pytest.mark.parametrize(
    ("name", "row", "heard"),
    [
        ("escape", 0, "escape"),
        ("a", 1, "a"),
        ("q", 2, "q"),
        ("ctrl", 3, "ctrl"),  # without a side: the left one
        ("leftctrl", 3, "ctrl"),
        ("rightctrl", 4, "ctrl"),
        ("alt", 5, "alt"),
        ("rightalt", 6, "rightalt"),
        ("leftmeta", 7, "leftmeta"),
        ("enter", 9, "enter"),
        ("minus", 10, "minus"),
        ("vk_226", 11, "vk_226"),
    ],
)
def test_a_key_is_pressed_by_its_unshifted_symbol_and_heard_without_its_side(name: str, row: int, heard: str) -> None:
    names = make_names(ROWS, {FIRST_CODE + 9: "RTRN"})
    assert names.find_code(name) == FIRST_CODE + row
    assert names.find_name(FIRST_CODE + row) == heard


def test_a_symbol_that_is_not_known_or_not_there_is_never_a_key() -> None:
    assert XK.NoSymbol not in _NAMES
    assert {"rightalt", "hangul", "enter", "vk_226"} <= set(_NAMES.values())
    names = make_names(ROWS)
    silent = names.find_name(FIRST_CODE + 12)
    assert silent is not None
    assert silent.startswith("vk_")
    assert names.find_code(silent) == FIRST_CODE + 12
    assert names.find_name(FIRST_CODE + 13) == "alt"
    assert names.find_code("f1") is None


def test_a_key_of_another_script_is_called_by_its_place_and_found_by_its_old_number() -> None:
    places = {FIRST_CODE: "AD01", FIRST_CODE + 1: "AD11", FIRST_CODE + 2: "AB09", FIRST_CODE + 3: "AB10"}
    names = make_names([["Cyrillic_shorti"], ["udiaeresis"], ["Greek_alpha"], ["period"]], places)
    assert [names.find_name(FIRST_CODE + row) for row in range(4)] == ["q", "bracketleft", _NUMBERS[10], "period"]
    assert names.find_code(_NUMBERS[FIRST_CODE]) == FIRST_CODE
    assert names.list_names(FIRST_CODE) == {"q", _NUMBERS[FIRST_CODE]}
    assert "slash" in names.list_names(FIRST_CODE + 3)
    assert names.find_code("slash") is None


SYMBOLS = st.sampled_from([0, *_NAMES, 0x6CA, 0xFC, 0x1008FF13, 0x7C1])


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.integers(8, 255),
        st.lists(st.lists(SYMBOLS, max_size=3).map(tuple), max_size=3).map(tuple),
        min_size=1,
        max_size=60,
    ),
    st.randoms(use_true_random=False),
    st.integers(0, 3),
)
def test_every_key_of_any_map_has_a_name_that_leads_back(
    keys: dict[int, tuple[tuple[int, ...], ...]], random: object, group: int
) -> None:
    codes = sorted(keys)
    spots = ["AD01", "AD02", "AC01", "AE01", "LSGT", "RALT", "BKSL", "FK13", "I120"]
    places = {random.choice(codes): spot for spot in spots}  # type: ignore[attr-defined]
    names = KeyNames(KeyMap({code: KeySymbols(groups) for code, groups in keys.items()}, places), group)
    by_name = {code: names.find_name(code) for code in codes}
    for code, name in by_name.items():
        assert name is not None
        assert key_name(key_code(name)) == name
        found = names.find_code(name)
        assert name in names.list_names(code)
        if found != code:
            assert by_name.get(found) in (name, "rightalt", "alt"), (code, name, found)
            assert keys[code], "a key without a symbol has a name of its own"
            assert len(name) > 1, "two keys are one letter"


@needs_setxkbmap
def test_on_every_layout_each_key_has_a_name_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with run_x_server() as name:
        display = connect(name)
        for layout in LAYOUTS:
            subprocess.run(["setxkbmap", "-display", name, layout], check=True)
            table = KeyTable(display)
            counted = Counter(table.find_name(code) for code in range(8, 256))
            assert {key for key, count in counted.items() if count > 1} <= SEVERAL, layout
            for code in range(8, 256):
                key = table.find_name(code)
                assert key is not None
                found = None if code in NEVER_PRESSED else code
                assert key in SEVERAL or table.find_code(key) == found, (layout, code, key)
            # Windows' number of a key that makes it louder; 245 is what an older recorder called the power key.
            assert table.find_code("vk_175") == 123
            assert table.find_code("vk_245") is None
            # Names that were recorded before these keys had better ones.
            for code in {"ru": [24, 34], "de": [34, 108]}.get(layout, []):
                assert table.find_code(_NUMBERS[code % len(_NUMBERS)]) == code
            # Both stop keys are there.
            assert {"q", "f12", "leftctrl", "leftalt"} <= {key for key in KEY_CODES if table.find_code(key)}, layout
            assert table.find_code("q") == (38 if layout == "fr" else 24), layout
            table.close()
        display.close()


def test_replies_of_the_extension_are_read_by_their_layout() -> None:
    head = bytes(2) + bytes([8, 9]) + bytes(5) + bytes([8]) + bytes(2) + bytes([2]) + bytes(19)
    assert len(head) == 32
    first = bytes(4) + bytes([2, 2]) + (4).to_bytes(2, "little")
    symbols = b"".join(symbol.to_bytes(4, "little") for symbol in (97, 65, 0x6C6, 0x6E6))
    second = bytes(4) + bytes([0, 0]) + bytes(2)
    assert parse_symbols(head + first + symbols + second) == {
        8: KeySymbols(((97, 65), (0x6C6, 0x6E6)), 2),
        9: KeySymbols((), 0),
    }
    names_head = bytes(10) + bytes([8, 2]) + bytes(12)
    assert parse_names(names_head + b"AD01" + bytes(4)) == {8: "AD01"}


@pytest.mark.parametrize(
    ("beyond", "found"), [(2, (1,)), (2 | 0x40, (2,)), (2 | 0x80 | 1 << 4, (2,)), (2 | 0x80, (1,))]
)
def test_a_group_that_a_key_does_not_have_is_found_as_the_key_says(beyond: int, found: tuple[int, ...]) -> None:
    assert KeySymbols(((1, 0), (2, 0)), beyond).in_group(2) == found


def test_a_server_without_the_extension_is_asked_by_the_core_protocol() -> None:
    rows = [[97, 65, 97, 65], [0, 0, 0, 0], [0xFC, 0xDC]]
    display = SimpleNamespace(
        query_extension=lambda name: SimpleNamespace(present=0),
        display=SimpleNamespace(info=SimpleNamespace(min_keycode=8, max_keycode=10)),
        get_keyboard_mapping=lambda first, count: rows if (first, count) == (8, 3) else [],
        sync=lambda: None,
        pending_events=lambda: 0,
    )
    connection = XkbConnection(display)
    assert (connection.ask_group(), connection.take_changes()) == (0, False)
    names = KeyNames(connection.read())
    assert [names.find_name(code) for code in (8, 9, 10)] == ["a", _NUMBERS[9], _NUMBERS[10]]


@needs_setxkbmap
def test_a_map_is_read_anew_only_where_it_has_changed(x_display: str) -> None:
    display = connect()
    table = KeyTable(display)
    first = table.in_group(0)
    table.reload()
    assert table.in_group(0) is first
    subprocess.run(["setxkbmap", "us"], check=True)  # told as a change, and none
    table.follow()
    assert table.find_code("a") == 38
    subprocess.run(["setxkbmap", "fr"], check=True)
    assert table.find_code("a") == 38
    table.follow()
    assert table.find_code("a") == 24
    assert table.in_group(0) is not first
    table.close()
    display.close()
