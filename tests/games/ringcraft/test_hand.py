import math

import numpy as np
import pytest

from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved
from vlm_agent.games.ringcraft.hand import SAMPLE_MS, Hand, draw_endpoint, fitts_time_ms, plan_stroke
from vlm_agent.games.ringcraft.layout import Rect
from vlm_agent.games.ringcraft.skill import Motor, Reaction, draw_skill, slow_down

FRAME = (765, 503)


def make_hand(seed=0, position=(300, 200), motor=None):
    return Hand(motor or Motor(), np.random.default_rng(seed), position=position, frame_size_px=FRAME)


def drain(hand, until_ms=60_000):
    events = []
    for tick in range(0, until_ms, SAMPLE_MS):
        due = hand.release_due((tick + SAMPLE_MS) * 1_000_000)
        assert all(e.t_ns < (tick + SAMPLE_MS) * 1_000_000 for e in due)
        events += due
    return events


def random_strokes(num, motor=None, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(num):
        start, end = rng.uniform((0, 0), FRAME), rng.uniform((0, 0), FRAME)
        width = float(rng.choice([8, 16, 32, 64]))
        distance = math.dist(start, end)
        if distance > width:
            yield start, end, width, plan_stroke(tuple(start), tuple(end), width, motor or Motor(), rng)


def path_length(start, path):
    points = np.vstack([start, path])
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def test_movement_times_follow_fitts_law():
    motor = Motor(fitts_intercept_ms=100.0, fitts_slope_ms=140.0)
    bits, times = [], []
    for start, end, width, stroke in random_strokes(800, motor):
        bits.append(math.log2(math.dist(start, end) / width + 1))
        times.append(SAMPLE_MS * len(stroke.path))
    slope, intercept = np.polyfit(bits, times, 1)
    assert slope == pytest.approx(140.0, rel=0.06)
    assert intercept == pytest.approx(100.0 + SAMPLE_MS / 2, abs=20.0)


def test_paths_are_a_little_longer_than_straight_lines():
    ratios = [
        path_length(start, stroke.path) / math.dist(start, end)
        for start, end, _, stroke in random_strokes(400)
        if math.dist(start, end) > 60
    ]
    assert 1.02 < np.mean(ratios) < 1.3
    assert np.quantile(ratios, 0.95) < 1.3
    assert min(ratios) >= 1.0


def test_a_movement_is_fastest_before_its_middle_and_slow_at_its_ends():
    peaks = []
    for start, _, _, stroke in random_strokes(200):
        speed = np.linalg.norm(np.diff(np.vstack([start, stroke.path]), axis=0), axis=1)
        if len(speed) >= 10:
            peaks.append(int(np.argmax(speed)) / len(speed))
            assert speed[0] < 0.5 * speed.max()
            assert speed[-1] < 0.5 * speed.max()
    assert 0.3 < np.mean(peaks) < 0.5


def test_some_movements_overshoot_and_come_back():
    past = [
        float(((stroke.path - start) @ (end - start)).max() / np.dot(end - start, end - start))
        for start, end, width, stroke in random_strokes(300)
        if math.dist(start, end) > 10 * width
    ]
    share = np.mean(np.asarray(past) > 1.01)
    assert 0.05 < share < 0.3


def test_endpoints_stay_on_the_target_unless_they_miss():
    rng = np.random.default_rng(3)
    aim = Rect(100, 50, 24, 12)
    hits = np.array([draw_endpoint(aim, Motor(), rng) for _ in range(500)])
    assert all(aim.contains(*point) for point in hits)
    assert hits[:, 0].std() == pytest.approx(0.16 * 24, rel=0.15)
    assert hits[:, 1].std() == pytest.approx(0.16 * 12, rel=0.15)
    misses = [draw_endpoint(aim, Motor(), rng, misses=True) for _ in range(200)]
    assert not any(aim.contains(*point) for point in misses)


def test_every_press_is_released_and_events_are_in_order():
    hand = make_hand()
    now = 0
    for index in range(40):
        arrival = hand.point(Rect(40 + 15 * index, 400 - 9 * index, 32, 32), now)
        now = hand.click(arrival + 50_000_000)
        now = hand.tap("space", now + 100_000_000) + 10_000_000
    events = drain(hand)
    assert [e.t_ns for e in events] == sorted(e.t_ns for e in events)
    presses = [e for e in events if not isinstance(e, PointerMoved)]
    assert len(presses) == 160
    for down, up in zip(presses[::2], presses[1::2], strict=True):
        assert type(down) is type(up)
        assert down.pressed
        assert not up.pressed
        assert 35_000_000 <= up.t_ns - down.t_ns <= 200_000_000


def test_holds_have_the_times_of_a_person():
    hand = make_hand()
    now = 0
    for _ in range(300):
        now = hand.click(now) + 1_000_000
    events = drain(hand)
    holds = [(up.t_ns - down.t_ns) / 1e6 for down, up in zip(events[::2], events[1::2], strict=True)]
    assert np.mean(holds) == pytest.approx(85, abs=5)
    assert np.std(holds) == pytest.approx(24, abs=5)


def test_a_click_lands_where_the_pointer_arrives():
    hand = make_hand()
    aim = Rect(600, 300, 36, 32)
    hand.click(hand.point(aim, 0))
    events = drain(hand)
    down = next(e for e in events if isinstance(e, ButtonChanged))
    moves = [e for e in events if isinstance(e, PointerMoved)]
    assert aim.contains(down.x, down.y)
    assert (moves[-1].x, moves[-1].y) == (down.x, down.y)
    assert hand.position == (down.x, down.y)
    assert len(moves) > 10


def test_events_stay_inside_the_frame():
    hand = make_hand(position=(3, 3), motor=Motor(curvature=0.3, lateral_noise=0.2))
    now = 0
    for index in range(60):
        corner = Rect(0, 0, 4, 4) if index % 2 else Rect(761, 499, 4, 4)
        now = hand.click(hand.point(corner, now, misses=index % 3 == 0))
    for event in drain(hand):
        assert 0 <= event.x < 765
        assert 0 <= event.y < 503


def test_dropped_plans_release_what_is_down_and_nothing_else():
    hand = make_hand()
    hand.hold("left", 0, 400_000_000)
    arrival = hand.point(Rect(600, 400, 20, 20), 0)
    hand.click(arrival + 500_000_000)
    begun = hand.release_due(100_000_000)
    assert isinstance(begun[0], KeyChanged)
    assert begun[0].pressed
    hand.drop_plans()
    rest = drain(hand)
    assert rest == [KeyChanged(400_000_000, "left", False)]
    assert not hand.is_busy


def test_a_held_key_and_a_movement_overlap():
    hand = make_hand()
    hand.hold("left", 0, 300_000_000)
    hand.point(Rect(600, 400, 20, 20), 50_000_000)
    kinds = [type(e) for e in drain(hand)]
    released = max(i for i, kind in enumerate(kinds) if kind is KeyChanged)
    assert PointerMoved in kinds[:released]
    assert PointerMoved in kinds[released:]


def test_the_same_seed_moves_the_same_way():
    def play(seed):
        hand = make_hand(seed)
        hand.click(hand.point(Rect(600, 400, 20, 20), 0))
        return drain(hand)

    assert play(4) == play(4)
    assert play(4) != play(5)


def test_reaction_times_have_a_mean_of_a_quarter_second_and_a_tail():
    rng = np.random.default_rng(0)
    times = np.array([Reaction().draw_ms(rng) for _ in range(4000)])
    assert times.mean() == pytest.approx(250, abs=10)
    assert 60 < times.std() < 90
    assert times.min() >= 100
    assert times.mean() > np.median(times)


def test_sessions_differ_in_speed_and_share_the_players_habits():
    one, other = draw_skill(1), draw_skill(2)
    assert one == draw_skill(1)
    assert one.motor != other.motor
    assert one.habits == other.habits
    assert {draw_skill(1, player=p).habits.closes_with for p in range(12)} == {"key", "button"}


def test_a_slow_player_takes_longer():
    slow = slow_down(draw_skill(1), 2.0)
    assert fitts_time_ms(slow.motor, 300, 20) == pytest.approx(2 * fitts_time_ms(draw_skill(1).motor, 300, 20))
