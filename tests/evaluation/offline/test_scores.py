"""Scores of single windows against tables worked out by hand, and against scikit-learn where it has the same."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score

from tests.evaluation.offline.cases import NOTHING, click, key, move, predict, random_predictions
from vlm_agent.actions.types import ActionChunk, Click, Key, Move
from vlm_agent.evaluation.offline.estimates import confusion_of, macro_f1
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.scores import KINDS, edit_distance, score, tally_sessions
from vlm_agent.evaluation.offline.tallies import NONE

CONFIG = ScoreConfig()
BOX = (90.0, 90.0, 20.0, 20.0)


def ratio(tally, metric):
    return tally.sums[metric] / tally.counts[metric]


@pytest.mark.parametrize(
    ("target", "answer", "want"),
    [
        (NOTHING, NOTHING, {"event_right": 1, "acts_when_player_does": 1, "exact": 1, "sequence_exact": 1}),
        (click(), click(), {"event_right": 1, "f1_click": 1, "f1_detail": 1, "distance_px": 0, "exact": 1}),
        (click(), NOTHING, {"event_right": 0, "f1_click": 0, "f1_kind": 0, "count_error": 1, "edit_distance": 1}),
        (NOTHING, click(), {"event_right": 0, "f1_click": 0, "acts_when_player_does": 0, "exact": 0}),
        (
            click(),
            click(103, 104),
            {"distance_px": 5, "within_5_px": 1, "f1_detail": 1, "sequence_exact": 1, "exact": 0},
        ),
        (click(), click(100, 111), {"within_10_px": 0, "within_25_px": 1, "f1_detail": 0, "f1_kind": 1}),
        (click(), click(dt_ms=260), {"time_error_ms": 60, "f1_detail": 1}),
        (click(dt_ms=100), click(dt_ms=500), {"event_right": 0, "f1_kind": 0, "sequence_exact": 1}),
        (click(), click(button="right"), {"button_right": 0, "f1_kind": 1, "f1_detail": 0, "sequence_exact": 0}),
        (click(), key(), {"event_right": 0, "f1_click": 0, "f1_key": 0, "edit_distance": 1}),
        (key(), key("escape"), {"event_right": 1, "key_right": 0, "f1_key": 1, "f1_detail": 0}),
        (move(), move(100, 140), {"f1_move": 1, "distance_px": 40, "within_25_px": 0}),
    ],
)
def test_one_action(target, answer, want):
    tally = score(predict(target, answer), CONFIG)
    assert {metric: ratio(tally, metric) for metric in want} == pytest.approx(want)


def test_an_answer_that_can_not_be_read_is_not_doing_nothing():
    tally = score(predict(NOTHING, None), CONFIG)
    assert (ratio(tally, "valid"), ratio(tally, "exact"), ratio(tally, "sequence_exact")) == (0, 0, 0)


@pytest.mark.parametrize("answer", [None, ActionChunk(done=True)])
def test_neither_silence_nor_saying_done_counts_as_waiting(answer):
    tally = score(predict(NOTHING, answer), CONFIG)
    for metric in ("event_right", "acts_when_player_does", "sequence_exact", "exact"):
        assert ratio(tally, metric) == 0


def test_lists_are_matched_so_that_most_pairs_are_found_whatever_their_order():
    # Taking the nearest first would pair the keys at 200 and leave the other two alone.
    target = ActionChunk((Key(0, "space"), Key(200, "space")))
    answer = ActionChunk((Key(200, "space"), Key(250, "space")))
    tally = score(predict(target, answer), CONFIG)
    assert ratio(tally, "f1_key") == 1
    assert ratio(tally, "time_error_ms") == pytest.approx((200 + 250) / 2)


def test_a_click_is_held_against_the_bounds_that_the_player_clicked_into():
    hits = [
        score(predict(click(), answer, boxes=(BOX,)), CONFIG)
        for answer in (click(109, 109), click(110, 100), key(), NOTHING, None)
    ]
    assert [ratio(tally, "click_in_bounds") for tally in hits] == [1, 0, 0, 0, 0]
    assert "click_in_bounds" not in score(predict(click(), click(), boxes=(None,)), CONFIG).counts


def test_several_actions_by_hand():
    target = ActionChunk((Move(50, 10, 10), Click(100, 10, 10), Key(100, "space")))
    answer = ActionChunk((Click(160, 13, 14), Key(90, "escape"), Key(10, "space")))
    tally = score(predict(target, answer), CONFIG)
    # The click meets the click and the key at 260 the one at 250; for the move no move is left.
    assert ratio(tally, "f1_kind") == pytest.approx(2 * 2 / 6)
    assert ratio(tally, "f1_detail") == pytest.approx(2 * 2 / 6)
    assert ratio(tally, "f1_move") == 0
    assert ratio(tally, "edit_distance") == pytest.approx(2 / 3)
    assert tally.counts["time_error_ms"] == 2


@pytest.mark.parametrize(
    ("left", "right", "want"),
    [("", "", 0), ("abc", "", 3), ("", "ab", 2), ("kitten", "sitting", 3), ("flaw", "lawn", 2), ("abc", "abc", 0)],
)
def test_edit_distance(left, right, want):
    assert edit_distance(list(left), list(right)) == want


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_confusion_matrix_is_scikit_learn_s(seed):
    tallies = tally_sessions(random_predictions(seed, sessions=2, windows=15), CONFIG)
    ours = confusion_of(tallies)
    names = [*KINDS, NONE]
    wanted, said = [], []
    for tally in tallies.values():
        for (want, answer), count in tally.confusion.items():
            wanted += [want] * count
            said += [answer] * count
    theirs = confusion_matrix(wanted, said, labels=names)
    assert [[ours[row][column] for column in names] for row in names] == theirs.tolist()
    present = [kind for kind in KINDS if kind in wanted or kind in said]
    if present:
        assert macro_f1(ours) == pytest.approx(f1_score(wanted, said, labels=present, average="macro", zero_division=0))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_player_against_himself_is_perfect_and_errors_are_never_negative(seed):
    made = random_predictions(seed, sessions=1, windows=8)
    for one in made:
        same = score(predict(one.target, one.target), CONFIG)
        for metric in ("event_right", "exact", "sequence_exact", "valid"):
            assert ratio(same, metric) == 1
        assert same.sums["edit_distance"] == same.sums["count_error"] == same.sums.get("distance_px", 0) == 0
        other = score(one, CONFIG)
        assert all(other.sums[metric] >= 0 for metric in other.sums)
        assert other.sums["f1_detail"] <= other.sums["f1_kind"] + 1e-9
