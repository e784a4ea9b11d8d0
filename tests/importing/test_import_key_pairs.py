"""Keys that are pressed by one character and released by another are one key; what lost its release comes up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.importing.made_imports import EPOCH_MS, MS, import_one, row, write_log
from vlm_agent.importing.key_pairs import PairFinder

SHIFT, ALT_GR = "shift", "alt_gr"
LAYOUTS = {
    "de": {
        **dict(zip('!"§$%&/()=', "1234567890", strict=True)),
        **{"*": "+", ";": ",", ":": ".", "_": "-", "'": "#", ">": "<"},
    },
    "uk": {**dict(zip('!"£$%^&*()', "1234567890", strict=True)), "@": "'", "~": "#", ":": ";", "<": ","},
    "fr": {**dict(zip("1234567890", "&é\"'(-è_çà", strict=True)), "?": ",", ".": ";", "/": ":", "§": "!"},
    "nordic": {**dict(zip('!"#¤%&/()=', "1234567890", strict=True)), "?": "+", ";": ",", "*": "'"},
    "us": dict(zip('!@#$%^&*()_+{}|:"<>?~', "1234567890-=[]\\;',./`", strict=True)),
}


def typed(*changes):
    """Rows of (key, down), 50 ms apart."""
    return [
        row(EPOCH_MS + 50 * n, "key_press" if pressed else "key_release", key=key)
        for n, (key, pressed) in enumerate(changes)
    ]


def shifted(down, up, modifier=SHIFT):
    return [(modifier, True), (down, True), (modifier, False), (up, False)]


def keys_of(tmp_path, rows):
    report, reader = import_one(write_log(tmp_path / "tree", rows), tmp_path / "out")
    return report, [(event.key, event.pressed) for event in reader.events()]


@pytest.mark.parametrize(
    ("down", "up", "key"),
    [('"', "2", "2"), ("1", "&", "1"), ("@", "q", "q"), ("€", "e", "e"), ("*", "+", "equal"), (";", ",", "comma")],
)
def test_both_characters_are_one_key(tmp_path, down, up, key):
    report, keys = keys_of(tmp_path, typed(*shifted(down, up)))
    assert keys == [("shift", True), (key, True), ("shift", False), (key, False)]
    assert not report.repaired
    assert not report.kept
    assert report.decided["keyboard layout"].startswith(f"not the US one: {down!r} and {up!r}")


def test_shift_that_goes_down_while_the_key_is(tmp_path):
    _, keys = keys_of(tmp_path, typed(("2", True), (SHIFT, True), ('"', False), (SHIFT, False)))
    assert keys == [("2", True), ("shift", True), ("2", False), ("shift", False)]


def test_other_signs_of_the_number_row_follow(tmp_path):
    whole = [(SHIFT, True), ("&", True), ("&", False), (SHIFT, False)]
    _, keys = keys_of(tmp_path, typed(*whole, *shifted("§", "3")))
    assert keys[1] == ("6", True)  # German; 7 on a US keyboard
    _, keys = keys_of(tmp_path / "us", typed(*whole))
    assert keys[1] == ("7", True)


def test_angle_brackets_on_one_key_are_the_key_that_us_keyboards_lack(tmp_path):
    assert keys_of(tmp_path, typed(*shifted(">", "<")))[1][1] == ("vk_226", True)


def test_a_key_that_comes_up_by_itself_is_not_paired(tmp_path):
    changes = [(SHIFT, True), ('"', True), (SHIFT, False), ("2", False), ('"', False)]
    report, keys = keys_of(tmp_path, typed(*changes))
    assert keys[1] == ("apostrophe", True)
    assert report.kept == {"release_without_press": 1}
    assert "keyboard layout" not in report.decided


def test_letters_and_digits_are_never_one_key(tmp_path):
    report, keys = keys_of(tmp_path, typed((SHIFT, True), ("w", True), (SHIFT, False), ("2", False), ("w", False)))
    assert ("w", False) in keys
    assert report.kept == {"release_without_press": 1}


@given(st.sampled_from(sorted(LAYOUTS)), st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=20))
@settings(max_examples=100, deadline=None)
def test_no_key_stays_down(layout, strokes):
    finder = PairFinder()
    pairs = sorted(LAYOUTS[layout].items())
    changes = []
    for number, shift_first in strokes:
        down, up = pairs[number % len(pairs)]
        order = [(SHIFT, False), (up, False)] if shift_first else [(down, False), (SHIFT, False)]
        changes += [(SHIFT, True), (down, True), *order]
    for time, (key, pressed) in enumerate(changes):
        finder.see(time, key, pressed=pressed)
    found = finder.finish()
    assert not found.lost
    down = set()
    for key, pressed in changes:
        name = found.name(key)
        (down.add if pressed else down.discard)(name)
    assert down <= {None}  # such a key is left out, pressed and released, and counted


def test_a_key_without_a_name_is_left_out_whole(tmp_path):
    report, keys = keys_of(tmp_path, typed(*shifted("§", "!"), ("!", True), ("!", False)))
    assert {key for key, _ in keys} == {"shift"}
    assert report.left_out == {"unknown_key": 4}


def test_a_release_that_is_missing_comes_where_the_key_was_last_heard_of(tmp_path):
    rows = [row(EPOCH_MS + ms, "key_press", key="w") for ms in (0, 500, 533, 566)]
    rows += [row(EPOCH_MS + 100 * n, "move", n, 1) for n in range(10, 400)]
    report, reader = import_one(write_log(tmp_path / "tree", rows), tmp_path / "out")
    [up] = [event for event in reader.events() if getattr(event, "pressed", None) is False]
    assert up.t_ns == (EPOCH_MS + 566 + 80) * MS
    assert report.repaired == {"lost_key_release": 1}


def test_a_key_that_others_are_held_as_long_as_is_down_until_the_end(tmp_path):
    rows = [row(EPOCH_MS, "key_press", key="w"), row(EPOCH_MS + 9000, "key_release", key="w")]
    rows += [row(EPOCH_MS + 10_000, "key_press", key="w")]
    rows += [row(EPOCH_MS + 10_000 + 100 * n, "move", n, 1) for n in range(150)]
    report, _ = import_one(write_log(tmp_path / "tree", rows), tmp_path / "out")
    assert report.repaired == {"let_go_at_the_end": 1}
