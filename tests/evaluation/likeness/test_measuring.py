"""Planted agents: the player's double is not told apart, and every other is told apart by what was planted."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.evaluation.likeness.players import MS, Hand, minimum_jerk, play, record, record_all
from vlm_agent.actions.events import ButtonChanged, PointerMoved
from vlm_agent.errors import DataError
from vlm_agent.evaluation.likeness.contrasts import Effort
from vlm_agent.evaluation.likeness.features import MOVEMENT_COLUMNS, Aim, level_movements, measure_session
from vlm_agent.evaluation.likeness.likeness import Likeness
from vlm_agent.evaluation.likeness.measuring import count_steps, fit_fitts, measure_likeness
from vlm_agent.evaluation.likeness.streams import read_stream

QUICK = Effort(splits=30, resamples=20, permutations=399, refits=24, halves=5)
SHAPE = {"path_ratio", "bow", "peak_place", "submovements", "smoothness"}


@pytest.fixture(scope="module")
def player(tmp_path_factory):
    return record_all(tmp_path_factory.mktemp("player"), Hand(), range(100, 120))


@pytest.fixture
def measure(tmp_path, player):
    """Measure an agent with a given hand."""

    def run(hand: Hand) -> Likeness:
        agent = record_all(tmp_path / "agent", hand, range(10), who="agent", policy="tuned")
        return measure_likeness(agent, player, effort=QUICK)

    return run


def apart(likeness: Likeness) -> set[str]:
    return {one.feature.key for one in likeness.features if one.is_apart}


def telling(likeness: Likeness, about: str):
    (found,) = [one for one in likeness.tellings if one.about == about]
    return found


def test_the_players_double_is_not_told_from_the_player(measure) -> None:
    likeness = measure(Hand())
    assert apart(likeness) == set()
    ratios = [one.contrast.ratio for one in likeness.ranked if one.contrast]
    assert len(ratios) >= 17
    assert sorted(ratios)[len(ratios) // 2] == pytest.approx(1.0, abs=0.35)
    for about in ("movements", "presses"):
        assert telling(likeness, about).auc == pytest.approx(0.5, abs=0.1)
        assert telling(likeness, about).floor == pytest.approx(0.5, abs=0.06)
        assert telling(likeness, about).p > 0.05
    assert likeness.policy == "tuned"
    assert (likeness.agent.sessions, likeness.player.sessions) == (10, 20)
    assert likeness.agent.minutes == pytest.approx(10 * 20 / 60, rel=0.02)


def test_straight_lines_at_constant_speed_are_told_by_their_shape(measure) -> None:
    likeness = measure(replace(Hand(), path="line"))
    assert {"path_ratio", "bow", "peak_place", "smoothness", "peak_px_s"} <= apart(likeness)
    assert not apart(likeness) & {"button_hold_ms", "key_hold_ms", "click_interval_ms", "distance_px"}
    assert telling(likeness, "movements").auc > 0.98
    assert telling(likeness, "movements").p == pytest.approx(1 / 25)
    assert telling(likeness, "movements").best_alone in {"bow", "path_ratio", "peak_place", "peak_px_s"}


def test_a_teleporting_pointer_is_told_by_shape_and_pace(measure) -> None:
    likeness = measure(replace(Hand(), path="jump"))
    assert {"path_ratio", "bow", "peak_place", "movement_ms", "peak_px_s", "rest_ms"} <= apart(likeness)
    assert not apart(likeness) & {"button_hold_ms", "click_interval_ms", "distance_px", "left_clicks_min"}
    assert telling(likeness, "movements").auc > 0.99


def test_the_same_hand_twice_as_slow_differs_in_timing_alone(measure) -> None:
    likeness = measure(replace(Hand(), pace=2.0))
    assert not apart(likeness) & SHAPE
    assert {"movement_ms", "peak_px_s", "rest_ms", "click_interval_ms", "button_hold_ms", "idle_ms"} <= apart(likeness)


@pytest.mark.parametrize("step_ms", [8, 50])
def test_another_mouse_is_not_another_player(measure, step_ms: int) -> None:
    likeness = measure(replace(Hand(), step_ms=step_ms))
    assert likeness.interval_ms == max(20, step_ms)
    assert apart(likeness) == set()
    assert telling(likeness, "movements").auc == pytest.approx(0.5, abs=0.1)


def test_longer_recordings_are_not_another_player(tmp_path, player) -> None:
    # Pauses of two seconds can't be seen in recordings of three: without cutting, the long ones would look slower.
    short = record_all(tmp_path / "short", replace(Hand(), seconds=4.0), range(200, 240), who="agent")
    likeness = measure_likeness(short, player, effort=QUICK)
    assert likeness.piece_s == pytest.approx(4.0, abs=0.1)
    assert likeness.player.pieces == 20 * 5
    assert not apart(likeness) & {"click_interval_ms", "idle_ms", "movement_ms", "moves_min", "left_clicks_min"}


def test_the_same_seed_gives_the_same_numbers_and_every_step_is_told(tmp_path, player) -> None:
    agent = record_all(tmp_path, Hand(), range(5), who="agent")
    steps: list[str] = []
    little = Effort(splits=20, resamples=20, permutations=20, refits=5, halves=2)
    one = measure_likeness(agent, player[:8], effort=little, seed=3, on_step=steps.append)
    assert len(steps) == count_steps(5 + 8)
    assert one == measure_likeness(agent, player[:8], effort=little, seed=3)
    assert one != measure_likeness(agent, player[:8], effort=little, seed=4)


def test_an_agent_that_does_nothing_is_no_error(tmp_path, player) -> None:
    agent = [record(tmp_path / f"still-{seed}", [], who="agent") for seed in range(5)]
    likeness = measure_likeness(agent, player, effort=QUICK)
    assert likeness.tellings == ()
    assert likeness.agent.profile is None
    assert likeness.agent.fitts is None
    by_key = {one.feature.key: one for one in likeness.features}
    assert by_key["bow"].contrast is None
    assert by_key["bow"].agent_count == 0


def test_fitts_law_by_hand() -> None:
    aims = [Aim(difficulty, 90 + 120 * difficulty) for difficulty in (1.0, 1.5, 2.0, 3.0, 4.0) for _ in range(5)]
    line = fit_fitts([*aims, Aim(2.0, 2_000.0)])  # one that changed its mind on the way
    assert line is not None
    assert (line.count, line.intercept_ms, line.slope_ms_bit) == pytest.approx((26, 90, 120))
    assert fit_fitts(aims[:19]) is None
    assert fit_fitts([Aim(2.0, 300.0)] * 30) is None


def test_the_targets_width_is_that_of_the_smallest_thing_under_the_press(tmp_path, player) -> None:
    box = {"x": 0, "y": 0, "width": 800, "height": 600}
    agent = []
    for seed in range(4):
        events = play(Hand(), seed)
        presses = [event for event in events if isinstance(event, ButtonChanged) and event.pressed]
        things = [{"x": one.x - 10, "y": one.y - 15, "width": 20, "height": 30} for one in presses]
        states = ((0, {"things": [box, *things]}),)
        agent.append(record(tmp_path / f"aims-{seed}", events, who="agent", states=states))
    line = measure_likeness(agent, player, effort=QUICK).agent.fitts
    assert line is not None
    assert line.count > 40
    # The made-up hand takes 250 ms and half a millisecond a pixel: more for what is far, on targets of one width.
    assert 40 < line.slope_ms_bit < 160


def test_a_targets_difficulty_is_that_of_its_distance_in_widths(tmp_path) -> None:
    moves = [PointerMoved((1000 + 20 * i) * MS, 100 + round(320 * float(minimum_jerk(i / 20))), 300) for i in range(21)]
    click = [ButtonChanged((1500 + 80 * up) * MS, 420, 300, "left", not up) for up in (0, 1)]
    thing = {"x": 410, "y": 280, "width": 20, "height": 40}
    path = record(tmp_path / "one", [*moves, *click], who="agent", states=((0, {"things": [thing]}),))
    (aim,) = measure_session(read_stream(path, "agent"), interval_ms=20, piece_ms=10_000).aims
    assert aim.difficulty_bit == pytest.approx(math.log2(320 / 20 + 1), abs=0.01)


def test_too_few_sessions_are_one_line(tmp_path, player) -> None:
    agent = record_all(tmp_path, Hand(), range(4), who="agent")
    with pytest.raises(DataError, match="--agent: likeness needs at least 4 sessions of each side, got 3"):
        measure_likeness(agent[:3], player)
    with pytest.raises(DataError, match="--player: likeness needs at least 4 sessions of each side, got 2"):
        measure_likeness(agent, player[:2])


def test_sides_policies_and_frame_sizes_are_not_mixed_up(tmp_path, player) -> None:
    agent = record_all(tmp_path / "a", Hand(), range(4), who="agent", policy="tuned")
    other = record_all(tmp_path / "b", Hand(), range(4), who="agent", policy="base")
    with pytest.raises(DataError, match="expected a session of a human, got an agent's"):
        measure_likeness(agent, [*player, agent[0]])
    with pytest.raises(DataError, match="--agent holds episodes of base, tuned: name one with --policy"):
        measure_likeness([*agent, *other], player)
    wide = [
        record(tmp_path / f"wide-{seed}", play(Hand(), seed), who="agent", stop_ns=20_000 * MS, width_px=1600)
        for seed in range(4)
    ]
    with pytest.raises(DataError, match="frames of --agent are 1600x600 pixels, of --player 800x600"):
        measure_likeness(wide, player)


def test_the_classifier_is_not_told_how_far_a_movement_went(tmp_path, player) -> None:
    def measure_some(path):
        return measure_session(read_stream(path, "human"), interval_ms=20.0, piece_ms=20_000.0)

    sessions = [measure_some(path) for path in player[:6]]
    still = measure_some(record(tmp_path / "still", []))
    levelled = level_movements([*sessions, still])
    assert [len(rows) for rows in levelled] == [*(len(one.movements) for one in sessions), 0]
    before, after = np.concatenate([one.movements for one in sessions]), np.concatenate(levelled[:-1])
    distances_px = np.concatenate([one.distances_px for one in sessions])
    column = MOVEMENT_COLUMNS.index("movement_ms")
    assert spearmanr(before[:, column], distances_px).statistic > 0.6
    assert abs(spearmanr(after[:, column], distances_px).statistic) < 0.15
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert [len(rows) for rows in level_movements([still, still])] == [0, 0]
