"""The guard executes a chunk whole or refuses it whole, and looks back across chunks."""

from __future__ import annotations

import pytest

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key, Move, Scroll
from vlm_agent.errors import ConfigError
from vlm_agent.safety.guard import Guard
from vlm_agent.safety.rules import DANGEROUS_COMBOS, Refusal, Region, SafetyRules

SPEC = ActionSpec(765, 503, keys=("a", "alt", "f4", "space", "win"))
LOGOUT = Region(700, 470, 765, 503)


def review(*chunks, rules=None, spec=SPEC):
    """Review chunks 600 ms apart; return what the guard said to each."""
    guard = Guard(spec, rules or SafetyRules(denied_regions=(LOGOUT,)))
    return [guard.review(ActionChunk(actions), index * 600) for index, actions in enumerate(chunks)]


def test_an_allowed_chunk_passes():
    assert review((Move(0, 10, 10), Click(100, 10, 10), Key(50, "space"), Scroll(0, 4, 4, -1)), ()) == [None, None]


def test_done_passes():
    assert Guard(SPEC).review(ActionChunk(done=True), 0) is None


@pytest.mark.parametrize(
    "actions", [(Click(0, 765, 0),), (Key(0, "q"),), (Click(0, 1, 1, "thumb"),), (Key(400, "a"), Key(300, "a"))]
)
def test_out_of_spec(actions):
    assert review(actions) == [Refusal.OUT_OF_SPEC]


@pytest.mark.parametrize(("x", "y", "is_refused"), [(699, 480, False), (700, 470, True), (764, 502, True)])
def test_denied_region_is_half_open(x, y, is_refused):
    expected = Refusal.REGION_DENIED if is_refused else None
    assert review((Click(0, x, y),), (Scroll(0, x, y, 1),)) == [expected, expected]


def test_hovering_over_a_denied_region_is_fine_dragging_is_not():
    assert review((Move(0, 710, 480),)) == [None]
    assert review((Click(0, 10, 10, "left", "down"),), (Move(0, 710, 480),)) == [None, Refusal.REGION_DENIED]
    release = (Click(0, 10, 10, "left", "up"),)
    assert review((Click(0, 10, 10, "left", "down"),), release, (Move(0, 710, 480),)) == [None, None, None]


def test_keys_together():
    assert review((Key(0, "alt"), Key(0, "f4"))) == [Refusal.COMBO_DENIED]
    assert review((Key(0, "alt"), Key(100, "f4"))) == [None]
    assert review((Key(0, "alt", "down"),), (Key(0, "f4"),)) == [None, Refusal.COMBO_DENIED]
    assert review((Key(0, "alt", "down"), Key(100, "alt", "up")), (Key(0, "f4"),)) == [None, None]
    assert review((Key(0, "win"),)) == [Refusal.COMBO_DENIED]


# What a denied combination's keys may be called: sides, other programs' names, codes, capitals.
CALLED = {
    "ctrl": ("ctrl", "leftctrl", "rightctrl", "control", "ctrl_r", "lctrl", "control_l", "vk_17", "vk_163"),
    "alt": ("alt", "leftalt", "rightalt", "alt_l", "ralt", "altgr", "option", "vk_18", "vk_165"),
    "shift": ("shift", "leftshift", "rightshift", "shift_r", "lshift", "vk_16", "vk_161"),
    "super": ("super", "win", "leftmeta", "rightmeta", "meta", "cmd", "command", "super_l", "rwin", "vk_91", "vk_92"),
    "delete": ("delete", "del", "vk_46"),
    "w": ("w", "vk_87"),
    "escape": ("escape", "esc", "vk_27"),
}


def review_keys(combo, *chunks):
    """Review chunks of keys as (dt_ms, key, state), with one combination denied."""
    names = tuple(dict.fromkeys(key for chunk in chunks for _, key, _ in chunk))
    rules = SafetyRules(denied_combos=(frozenset(combo),))
    return review(
        *(tuple(Key(*key) for key in chunk) for chunk in chunks), rules=rules, spec=ActionSpec(9, 9, keys=names)
    )


@pytest.mark.parametrize(
    ("modifier", "key", "called_modifier", "called_key"),
    [
        (modifier, key, called_modifier, called_key)
        for modifier, key in (("ctrl", "w"), ("alt", "delete"), ("shift", "escape"), ("super", "w"))
        for called_modifier in CALLED[modifier]
        for called_key in CALLED[key]
    ],
)
def test_a_denied_combination_is_denied_whatever_its_keys_are_called(modifier, key, called_modifier, called_key):
    denied = {modifier, key}
    first, second = (called_modifier, called_key), (called_key, called_modifier)
    for one, other in (first, second):
        assert review_keys(denied, [(0, one, None), (0, other, None)]) == [Refusal.COMBO_DENIED]
        assert review_keys(denied, [(0, one, "down"), (500, other, None)]) == [Refusal.COMBO_DENIED]
        assert review_keys(denied, [(0, one, "down")], [(0, other, "down")]) == [None, Refusal.COMBO_DENIED]
        assert review_keys(denied, [(0, one, "down"), (10, one, "up"), (0, other, None)]) == [None]
        assert review_keys({called_modifier, called_key}, [(0, modifier, "down"), (0, key, None)])[0] is not None


def test_a_modifier_is_down_until_both_sides_are_up():
    held = [(0, "leftctrl", "down"), (0, "rightctrl", "down")]
    one_up = [*held, (10, "leftctrl", "up"), (10, "w", None)]
    both_up = [*held, (10, "leftctrl", "up"), (10, "rightctrl", "up"), (10, "w", None)]
    assert review_keys({"ctrl", "w"}, one_up) == [Refusal.COMBO_DENIED]
    assert review_keys({"ctrl", "w"}, both_up) == [None]


@pytest.mark.parametrize("combo", DANGEROUS_COMBOS, ids=lambda combo: "+".join(sorted(combo)))
def test_dangerous_combinations_are_denied_by_default(combo):
    keys = tuple(sorted(combo))
    [said] = review(tuple(Key(0, key) for key in keys), rules=SafetyRules(), spec=ActionSpec(9, 9, keys=keys))
    assert said is Refusal.COMBO_DENIED


def test_the_dangerous_combinations_are_these():
    told = {"+".join(sorted(combo)) for combo in DANGEROUS_COMBOS}
    assert told == {"alt+f4", "alt+tab", "alt+ctrl+delete", "ctrl+q", "ctrl+w", "super", "win"}


def test_other_keys_together_are_fine():
    assert review_keys({"ctrl", "w"}, [(0, "leftshift", "down"), (0, "leftalt", "down"), (0, "w", None)]) == [None]
    assert review_keys({"ctrl", "w"}, [(0, "rightctrl", "down"), (0, "e", None)]) == [None]


@pytest.mark.parametrize(("apart_ms", "is_together"), [(50, True), (60, False)])
def test_two_presses_are_together_for_as_long_as_a_press_lasts(apart_ms, is_together):
    expected = Refusal.COMBO_DENIED if is_together else None
    assert review_keys({"ctrl", "w"}, [(0, "ctrl", None), (apart_ms, "w", None)]) == [expected]
    assert review_keys({"ctrl", "w"}, [(550, "ctrl", None)], [(apart_ms - 50, "w", None)]) == [None, expected]


@pytest.mark.parametrize("point", [(99, 100), (150, 100), (100, 99), (100, 120), (200, 110), (110, 300)])
def test_what_lies_beside_a_denied_region_is_allowed(point):
    rules = SafetyRules(denied_regions=(Region(100, 100, 150, 120),))
    assert review((Click(0, *point),), rules=rules) == [None]
    assert review((Click(0, 149, 119),), rules=rules) == [Refusal.REGION_DENIED]


def test_a_relative_pointer_has_no_place_to_be_denied():
    rules = SafetyRules(denied_regions=(Region(0, 0, 9, 9),))
    assert review((Click(0, 0, 0),), rules=rules, spec=ActionSpec(9, 9, pointer="relative")) == [None]


def test_either_button_drags():
    pressed = (Click(0, 10, 10, "left", "down"), Click(0, 10, 10, "right", "down"), Click(0, 10, 10, "left", "up"))
    assert review(pressed, (Move(0, 710, 480),)) == [None, Refusal.REGION_DENIED]


def test_the_limits_are_met_exactly_and_forgotten_after_a_second():
    rules = SafetyRules(max_presses_per_s=2, max_actions_per_s=3)
    both = (Click(0, 1, 1), Click(390, 1, 1))
    assert review(both, (Move(0, 1, 1),), rules=rules) == [None, None]
    # At 1000 ms the first press is a second old and does not count; at 990 ms it does.
    assert review(both, (Click(400, 1, 1),), rules=rules) == [None, None]
    assert review(both, (Click(390, 1, 1),), rules=rules) == [None, Refusal.RATE_EXCEEDED]
    # A release is an action and no press.
    held = (Click(0, 1, 1, "left", "down"), Click(10, 1, 1, "left", "up"), Click(10, 1, 1))
    assert review(held, rules=rules) == [None]
    assert review(held, (Move(0, 1, 1),), rules=rules) == [None, Refusal.RATE_EXCEEDED]


def test_the_default_limits_are_those_of_a_hand():
    assert (SafetyRules().max_actions_per_s, SafetyRules().max_presses_per_s) == (30, 12)
    presses = tuple(Click(40, 1, 1) for _ in range(8))
    assert review(presses, presses[:4]) == [None, None]
    assert review(presses, presses[:5]) == [None, Refusal.RATE_EXCEEDED]


def test_presses_within_any_second_are_counted_across_chunks():
    rules = SafetyRules(max_presses_per_s=3)
    two = (Click(0, 1, 1), Click(100, 1, 1))
    assert review(two, two, rules=rules) == [None, Refusal.RATE_EXCEEDED]
    assert review(two, (Move(0, 1, 1),), two, rules=rules) == [None, None, None]


def test_moves_count_as_actions():
    rules = SafetyRules(max_actions_per_s=5)
    assert review(tuple(Move(10, x, 1) for x in range(6)), rules=rules) == [Refusal.RATE_EXCEEDED]


def test_a_refused_chunk_leaves_no_trace():
    guard = Guard(SPEC, SafetyRules(max_presses_per_s=2))
    assert guard.review(ActionChunk((Key(0, "alt", "down"), Key(0, "a"), Key(0, "a"))), 0) is Refusal.RATE_EXCEEDED
    # Had alt stayed down, or the two presses counted, one of these would be refused.
    assert guard.review(ActionChunk((Key(0, "f4"), Key(100, "a"))), 0) is None


def test_rules_that_deny_nothing_by_mistake_are_refused():
    with pytest.raises(ConfigError, match="area"):
        Region(10, 10, 10, 20)
    with pytest.raises(ConfigError, match="at least 1"):
        SafetyRules(max_presses_per_s=0)
