"""Scores of single windows against tables worked out by hand, and against scikit-learn where it has the same."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score

from tests.evaluation.offline.cases import NOTHING, click, key, move, predict, random_predictions
from vlm_agent.actions.types import ActionChunk, Click, Key, Move
from vlm_agent.errors import ConfigError
from vlm_agent.evaluation.offline.estimates import confusion_of, macro_f1
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.scores import KINDS, edit_distance, score, tally_sessions
from vlm_agent.evaluation.offline.tallies import NONE, Tally

CONFIG = ScoreConfig()
BOX = (90.0, 90.0, 20.0, 20.0)


def ratio(tally, metric):
    return tally.sums[metric] / tally.counts[metric]


@pytest.mark.parametrize(
    ("target", "answer", "want"),
    [
        (NOTHING, NOTHING, {"idle_right": 1, "actions": 0, "player_actions": 0}),
        (click(), click(), {"event_right": 1, "f1_click": 1, "f1_detail": 1, "distance_px": 0, "exact": 1}),
        (
            click(),
            NOTHING,
            {
                "event_right": 0,
                "acts_when_player_does": 0,
                "f1_click": 0,
                "f1_kind": 0,
                "f1_detail": 0,
                "button_right": 0,
                "within_25_px": 0,
                "count_error": 1,
                "edit_distance": 1,
                "sequence_exact": 0,
                "exact": 0,
            },
        ),
        (key(), NOTHING, {"event_right": 0, "key_right": 0, "f1_key": 0}),
        (
            NOTHING,
            click(),
            {"idle_right": 0, "f1_click": 0, "f1_kind": 0, "f1_detail": 0, "edit_distance": 1, "actions": 1},
        ),
        (
            click(),
            click(103, 104),
            {"distance_px": 5, "within_5_px": 1, "f1_detail": 1, "sequence_exact": 1, "exact": 0},
        ),
        (click(), click(100, 111), {"within_10_px": 0, "within_25_px": 1, "f1_detail": 0, "f1_kind": 1}),
        (click(), click(dt_ms=260), {"time_error_ms": 60, "f1_detail": 1}),
        (click(dt_ms=100), click(dt_ms=500), {"event_right": 0, "f1_kind": 0, "sequence_exact": 1}),
        (click(), click(button="right"), {"button_right": 0, "f1_kind": 1, "f1_detail": 0, "sequence_exact": 0}),
        (
            click(),
            key(),
            {"event_right": 0, "acts_when_player_does": 1, "f1_click": 0, "f1_key": 0, "edit_distance": 1},
        ),
        # An action too many is wrong where the player acts too.
        (
            click(),
            ActionChunk((*click().actions, *key().actions)),
            {"event_right": 0.5, "f1_kind": 2 / 3, "f1_detail": 2 / 3, "count_error": 1},
        ),
        (key(), key("escape"), {"event_right": 1, "key_right": 0, "f1_key": 1, "f1_detail": 0}),
        (move(), move(100, 140), {"f1_move": 1, "distance_px": 40, "within_25_px": 0}),
    ],
)
def test_one_action(target, answer, want):
    tally = score(predict(target, answer), CONFIG)
    assert {metric: ratio(tally, metric) for metric in want} == pytest.approx(want)


ABOUT_ACTING = (
    "event_right",
    "acts_when_player_does",
    "sequence_exact",
    "exact",
    "count_error",
    "key_right",
    "button_right",
    "within_5_px",
    "within_10_px",
    "within_25_px",
    "click_in_bounds",
    "time_error_ms",
    "distance_px",
)
"""What says how well the player's actions are met: a window without any has no part in it."""
SHARES_OF_ACTIONS = ABOUT_ACTING[:4] + ABOUT_ACTING[5:11] + ("f1_kind", "f1_detail", "f1_click", "f1_key", "f1_move")


@pytest.mark.parametrize("answer", [NOTHING, None, ActionChunk(done=True)])
def test_an_idle_window_that_is_answered_without_actions_counts_for_nothing_but_waiting(answer):
    tally = score(predict(NOTHING, answer), CONFIG)
    # Neither what can't be read nor saying that the goal is reached is waiting.
    assert ratio(tally, "idle_right") == (answer == NOTHING)
    assert ratio(tally, "valid") == (answer is not None)
    assert not tally.confusion
    assert not {metric for metric in ABOUT_ACTING if tally.counts.get(metric, 0)}
    assert not {metric for metric in tally.counts if metric.startswith(("f1", "edit")) and tally.counts[metric]}


def test_what_is_made_up_in_an_idle_window_is_told_but_not_as_what_the_player_did():
    tally = score(predict(NOTHING, click()), CONFIG)
    assert tally.confusion == {(NONE, "CLICK"): 1}
    assert not {metric for metric in ABOUT_ACTING if metric in tally.counts}


@pytest.mark.parametrize(("answer", "right"), [(NOTHING, 0), (None, 0), (click(), 0), (ActionChunk(done=True), 1)])
def test_a_goal_that_is_reached_is_no_waiting(answer, right):
    tally = score(predict(ActionChunk(done=True), answer), CONFIG)
    assert ratio(tally, "done_right") == ratio(tally, "exact") == ratio(tally, "sequence_exact") == right
    assert not {"idle_right", "event_right", "acts_when_player_does"} & tally.counts.keys()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_who_answers_nothing_is_right_about_nothing_but_waiting_and_more_idle_windows_help_nobody(seed):
    made = random_predictions(seed, sessions=2, windows=12)
    idle = [predict(NOTHING, NOTHING, session="s0", number=100 + number) for number in range(200)]
    silent = [predict(one.target, NOTHING, session=one.session, number=n) for n, one in enumerate(made)] + idle

    def whole(predictions):
        found = Tally()
        for tally in tally_sessions(predictions, CONFIG).values():
            found.merge(tally)
        return found

    of_silent, few, many = whole(silent), whole(made), whole(made + idle)
    assert ratio(of_silent, "idle_right") == 1
    assert {metric for metric in SHARES_OF_ACTIONS if of_silent.sums.get(metric, 0)} == set()
    assert of_silent.counts.get("time_error_ms", 0) == of_silent.counts.get("distance_px", 0) == 0
    assert of_silent.sums["edit_distance"] == of_silent.counts["edit_distance"]
    # 200 windows in which nothing is done and nothing answered change no number but that of waiting.
    for metric in (*ABOUT_ACTING, "f1_kind", "f1_detail", "edit_distance", "consistent", "pairing", "stutter"):
        assert many.sums.get(metric, 0) == few.sums.get(metric, 0)
        assert many.counts.get(metric, 0) == few.counts.get(metric, 0)
    assert many.confusion == few.confusion
    assert many.counts["idle_right"] == few.counts.get("idle_right", 0) + 200


def test_what_is_missed_is_wrong_in_every_share_and_has_no_error():
    # One of two clicks is answered, to the pixel: half of the points are within 5 px, and the error is of that one.
    target = ActionChunk((Click(100, 10, 10), Click(400, 300, 300), Key(0, "space")))
    tally = score(predict(target, ActionChunk((Click(110, 10, 10),))), CONFIG)
    assert [ratio(tally, metric) for metric in ("within_5_px", "button_right")] == [0.5, 0.5]
    assert ratio(tally, "key_right") == 0
    assert (tally.sums["time_error_ms"], tally.counts["time_error_ms"]) == (10, 1)
    assert (tally.sums["distance_px"], tally.counts["distance_px"]) == (0, 1)


def test_the_rule_of_matching_is_the_one_that_is_given():
    late = predict(click(dt_ms=100), click(103, 104, dt_ms=250))
    near = score(late, ScoreConfig(tolerance_ms=150, near_px=5))
    assert (ratio(near, "f1_click"), ratio(near, "f1_detail")) == (1, 1)
    strict = score(late, ScoreConfig(tolerance_ms=149, near_px=5))
    assert (ratio(strict, "f1_click"), ratio(strict, "within_25_px")) == (0, 0)
    apart = score(late, ScoreConfig(tolerance_ms=150, near_px=4.9))
    assert (ratio(apart, "f1_click"), ratio(apart, "f1_detail")) == (1, 0)


@pytest.mark.parametrize("given", [{"tolerance_ms": -1}, {"near_px": -0.5}, {"tolerance_ms": inf}, {"near_px": nan}])
def test_a_rule_that_can_not_be_meant_is_refused(given):
    with pytest.raises(ConfigError, match="must be finite and not negative"):
        ScoreConfig(**given)


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
    # Boxes are those of the clicks, whatever else is done between them.
    both = ActionChunk((Key(50, "space"), Click(50, 100, 100), Move(50, 300, 300), Click(50, 300, 300)))
    tally = score(predict(both, both, boxes=(BOX, (290.0, 290.0, 20.0, 20.0))), CONFIG)
    assert (tally.sums["click_in_bounds"], tally.counts["click_in_bounds"]) == (2, 2)


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
        metrics = ("event_right", "exact", "sequence_exact") if one.target.actions else ("idle_right",)
        for metric in (*metrics, "valid"):
            assert ratio(same, metric) == 1
        assert same.sums["edit_distance"] == same.sums.get("count_error", 0) == same.sums.get("distance_px", 0) == 0
        other = score(one, CONFIG)
        assert all(other.sums[metric] >= 0 for metric in other.sums)
        assert other.sums["f1_detail"] <= other.sums["f1_kind"] + 1e-9
