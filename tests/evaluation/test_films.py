"""Films: which episodes are shown, what was done and said drawn where it was, as a strip and as a video."""

from __future__ import annotations

import io
from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image

from tests.evaluation.canned import canned_comparison
from tests.evaluation.contestants import GOAL, PRESS, make_plans, make_terms
from vlm_agent.actions.events import ButtonChanged
from vlm_agent.evaluation.clickmaps import draw_click_maps, draw_presses
from vlm_agent.evaluation.comparison import Setting, compare_rollouts
from vlm_agent.evaluation.films import RECORDED, SHOT_WIDTH_PX, Film, rank_seeds, shoot_films
from vlm_agent.evaluation.matches import SESSIONS, play_matches
from vlm_agent.evaluation.metrics import RINGS_PER_MINUTE
from vlm_agent.evaluation.ticks import Tick, choose_ticks, describe_tick
from vlm_agent.games.ringcraft.env import ACTION_SPEC
from vlm_agent.rollouts.episodes import Outcome
from vlm_agent.sessions.reader import SessionReader


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    plans = make_plans(make_terms(num_seeds=3, max_ticks=5))
    rollouts = play_matches(plans, folder, workers=1, recorded=RECORDED)
    comparison = compare_rollouts(rollouts, RINGS_PER_MINUTE, Setting("ringcraft", GOAL, 5, 600), resamples=500)
    return folder, comparison, plans, shoot_films(comparison, folder / SESSIONS, ACTION_SPEC)


def test_tuned_is_shown_at_its_best_middle_and_worst_and_others_at_the_middle(filmed) -> None:
    films = filmed[3]
    assert [(film.name, film.rank) for film in films] == [
        ("tuned", "best"),
        ("tuned", "median"),
        ("base", "median"),
        ("demonstrator", "median"),
        ("tuned", "worst"),
    ]
    assert {film.seed for film in films if film.rank == "median"} == {10_001}
    assert [film.video is not None for film in films] == [True, True, False, False, True]
    for film in films:
        assert [shot.t_s for shot in film.shots] == [0.0, 0.6, 1.2, 1.8, 2.4]
        for shot in film.shots:
            assert Image.open(io.BytesIO(shot.jpeg)).width == SHOT_WIDTH_PX


def count_marked(picture: np.ndarray) -> int:
    """Pixels near the press of the planted player that have the colour of what was done."""
    scale = SHOT_WIDTH_PX / 765
    x, y = round(PRESS.x * scale), round(PRESS.y * scale)
    around = picture.astype(int)[y - 16 : y + 16, x - 16 : x + 16]
    red, green, blue = around[..., 0], around[..., 1], around[..., 2]
    return int(((red > 170) & (green < 110) & (blue > 60)).sum())


def test_films_tell_what_was_done_and_draw_it_where_it_was(filmed) -> None:
    tuned, base = filmed[3][1], filmed[3][2]
    assert [shot.words for shot in base.shots] == ["waits"] * 5
    assert [shot.words for shot in tuned.shots] == ["waits", "click 300, 200", "waits", "click 300, 200", "waits"]
    shots = [np.asarray(Image.open(io.BytesIO(shot.jpeg)).convert("RGB")) for shot in tuned.shots]
    assert count_marked(shots[1]) > 40
    assert count_marked(shots[0]) == 0


def test_a_video_holds_every_horizon_with_its_marks(filmed) -> None:
    with av.open(io.BytesIO(filmed[3][1].video)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 6)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 5
    assert [count_marked(frame) > 40 for frame in frames] == [False, True, False, True, False]


def test_recorded_episodes_are_not_played_again(filmed) -> None:
    folder, comparison, plans, films = filmed
    before = {path: path.stat().st_mtime_ns for path in (folder / SESSIONS).iterdir()}
    assert len(before) == 3 * 3 * 2
    again = play_matches(plans, folder, workers=1, recorded=RECORDED)
    assert compare_rollouts(again, RINGS_PER_MINUTE, comparison.setting, resamples=500).seeds == comparison.seeds
    assert {path: path.stat().st_mtime_ns for path in (folder / SESSIONS).iterdir()} == before
    for first, second in zip(films, shoot_films(comparison, folder / SESSIONS, ACTION_SPEC), strict=True):
        assert replace(second, video=None) == replace(first, video=None)
        assert show_video(second) == show_video(first)


def show_video(film: Film) -> list[bytes]:
    """The pictures of a film's video: the bytes of the video itself may differ for the same pictures."""
    if film.video is None:
        return []
    with av.open(io.BytesIO(film.video)) as container:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]


def test_recordings_say_who_acted(filmed) -> None:
    for name, who in (("tuned", "agent"), ("demonstrator", "human")):
        session = filmed[0] / SESSIONS / f"{name}-10000.mcap"
        assert [one for _, one in SessionReader(session).controls()] == [who]


def test_episodes_without_a_recording_are_left_out(filmed, tmp_path) -> None:
    comparison = filmed[1]
    assert shoot_films(comparison, tmp_path, ACTION_SPEC) == []
    assert draw_click_maps(comparison, tmp_path) == []
    rows = {
        name: replace(row, episodes=tuple(replace(episode, session=None) for episode in row.episodes))
        for name, row in comparison.rows.items()
    }
    assert shoot_films(replace(comparison, rows=rows), filmed[0] / SESSIONS, ACTION_SPEC) == []


def test_click_maps_count_all_presses_of_everyone(filmed) -> None:
    base, tuned, demonstrator = draw_click_maps(filmed[1], filmed[0] / SESSIONS)
    assert (base.presses, tuned.presses, tuned.episodes) == (0, 6, 3)
    assert demonstrator.presses > 0
    assert count_marked(np.asarray(Image.open(io.BytesIO(tuned.jpeg)).convert("RGB"))) > 10
    assert count_marked(np.asarray(Image.open(io.BytesIO(base.jpeg)).convert("RGB"))) == 0


def test_presses_glow_where_they_are_and_more_where_they_repeat() -> None:
    frame = np.full((80, 120, 3), 100, np.uint8)
    assert (draw_presses(frame, []) == 45).all()
    picture = draw_presses(frame, [(30, 20)] + [(90, 60)] * 9 + [(500, 500)]).astype(int)
    assert picture.shape == frame.shape
    assert picture[20, 30].sum() > picture[20, 90].sum() == 135
    assert picture[60, 90, 1] > picture[20, 30, 1]


@pytest.mark.parametrize(
    ("values", "ranks"),
    [
        ((9, 4, 0, 5, 4), [(10_000, "best"), (10_001, "median"), (10_002, "worst")]),
        ((9, 9, 0, 9, 0), [(10_000, "best"), (10_001, "median"), (10_002, "worst")]),
        ((0, 0, 0, 0, 0), [(10_000, "best"), (10_001, "median"), (10_002, "worst")]),
        ((1, 3), [(10_001, "best, median"), (10_000, "worst")]),
        ((2, 2), [(10_000, "best, worst"), (10_001, "median")]),
    ],
)
def test_seeds_are_ranked_by_value_and_each_is_shown_once(values, ranks) -> None:
    assert rank_seeds(canned_comparison((0,) * len(values), values)) == ranks


def test_shots_prefer_moments_with_a_press() -> None:
    press = ButtonChanged(0, 1, 2, "left", True)
    ticks = [Tick(index, {}, [press] if index in (1, 6) else []) for index in range(8)]
    assert [tick.t_ns for tick in choose_ticks(ticks, 2)] == [1, 6]
    assert [tick.t_ns for tick in choose_ticks(ticks[2:6], 2)] == [3, 5]
    assert len(choose_ticks(ticks, 20)) == 8
    assert choose_ticks([], 4) == []


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        ({"outcome": "invalid", "reason": "truncated"}, "invalid: truncated"),
        ({"outcome": "refused", "reason": "rate_exceeded"}, "refused: rate_exceeded"),
        ({"outcome": "late", "reason": None}, "late"),
        ({"outcome": Outcome.DONE}, "says it is done"),
        ({"outcome": "empty"}, "waits"),
    ],
)
def test_failures_are_told_as_what_they_are(decision: dict[str, object], words: str) -> None:
    assert describe_tick(Tick(0, decision)) == words
