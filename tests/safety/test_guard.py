"""The guard executes a chunk whole or refuses it whole, and looks back across chunks."""

from __future__ import annotations

import pytest

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key, Move, Scroll
from vlm_agent.errors import ConfigError
from vlm_agent.safety.guard import Guard
from vlm_agent.safety.rules import Refusal, Region, SafetyRules

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
