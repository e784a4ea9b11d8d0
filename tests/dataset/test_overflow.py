"""Too many actions in a window: presses and releases stay together, across windows and between them."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from vlm_agent.actions.types import Action, Click, Key
from vlm_agent.dataset.events import Timeline
from vlm_agent.dataset.overflow import fit_actions

SPANS = [(0, 600), (600, 1200), (1500, 2100), (2100, 2700)]


def fit(timed: list[tuple[int, Action]], most: int = 4):
    return fit_actions(Timeline([t for t, _ in timed], [action for _, action in timed]), SPANS, most)


def hold(key: str, down: int, up: int) -> list[tuple[int, Action]]:
    return [(down, Key(0, key, "down")), (up, Key(0, key, "up"))]


def taps(*times: int) -> list[tuple[int, Action]]:
    return [(t, Key(0, "space")) for t in times]


def in_order(*timed: list[tuple[int, Action]]) -> list[tuple[int, Action]]:
    return sorted((item for items in timed for item in items), key=lambda item: item[0])


def test_a_hold_over_many_presses_keeps_its_end():
    fitted = fit(in_order(hold("shift", 0, 500), taps(10, 20, 30, 40)))
    assert fitted.windows[0] == in_order(hold("shift", 0, 500), taps(10, 20))
    assert (fitted.overflow, fitted.between) == (2, 0)


def test_a_hold_that_does_not_fit_is_left_out_whole_and_nothing_after_it_is_said():
    fitted = fit(in_order(taps(1, 2, 3), hold("shift", 10, 30), taps(20), taps(700)))
    assert fitted.windows[:2] == [taps(1, 2, 3), taps(700)]
    assert fitted.overflow == 3


def test_what_is_held_longer_is_let_go_of_where_the_player_did():
    fitted = fit(in_order(hold("w", 500, 1100), taps(*range(600, 610))))
    assert fitted.windows[1] == [*taps(600, 601, 602), (1100, Key(0, "w", "up"))]
    # A press that was cut off is not let go of either.
    fitted = fit(in_order(taps(*range(5)), hold("w", 500, 1100), taps(1150)))
    assert fitted.windows[:2] == [taps(0, 1, 2, 3), taps(1150)]
    assert fitted.overflow == 3


def test_between_windows_a_release_is_said_before_and_a_press_is_left_out_whole():
    button = [(500, Click(0, 1, 2, "left", "down")), (1300, Click(0, 5, 6, "left", "up"))]
    fitted = fit(in_order(button, hold("w", 1250, 1600), hold("a", 1260, 1270), taps(1650)))
    assert fitted.windows == [button[:1], [(1199, button[1][1])], taps(1650), []]
    assert (fitted.overflow, fitted.between) == (0, 4)


def test_no_more_is_held_than_one_window_can_let_go_of():
    keys = [hold(key, place, 700 + place) for place, key in enumerate("abc")]
    fitted = fit(in_order(*keys), most=2)
    assert fitted.windows[:2] == [in_order(*keys)[:2], in_order(*keys)[3:5]]
    assert fitted.overflow == 2


@st.composite
def plays(draw):
    """What people do: keys and buttons go down and up in any order, and some are never let go of."""
    timed: list[tuple[int, Action]] = []
    down: set[str] = set()
    for t in sorted(draw(st.sets(st.integers(0, 2699), max_size=50))):
        name = draw(st.sampled_from("abcde "))
        if name == " ":
            timed.append((t, Key(0, "space")))
            continue
        state = "up" if name in down else "down"
        down ^= {name}
        timed.append((t, Click(0, 1, 1, name, state) if name < "c" else Key(0, name, state)))
    return timed


@given(plays(), st.integers(1, 6))
def test_whatever_is_played_every_press_that_is_said_ends_as_it_did(timed, most):
    fitted = fit(timed, most)
    held: Counter[str] = Counter()
    for (start, stop), said in zip(SPANS, fitted.windows, strict=True):
        assert len(said) <= most
        assert [t for t, _ in said] == sorted(t for t, _ in said)
        assert all(start <= t < stop for t, _ in said)
        for _, action in said:
            name = getattr(action, "button", None) or action.key
            held[name] += {"down": 1, "up": -1, None: 0}[action.state]
            assert held[name] in (0, 1)
    # What is down at the end is what the player never let go of.
    last = {getattr(a, "button", None) or a.key: a.state for _, a in timed}
    assert all(last[name] == "down" for name, count in held.items() if count)
    assert sum(map(len, fitted.windows)) + fitted.overflow + fitted.between == len(timed)
    if len(timed) <= most:
        assert fitted.overflow == 0
