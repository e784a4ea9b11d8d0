"""Playing a comparison: everyone under the same terms, resumed after a kill, the demonstrator as good as ever."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.canned import canned_comparison
from tests.evaluation.contestants import GOAL, PRESS, make_plans, make_terms
from vlm_agent.actions.events import ButtonChanged
from vlm_agent.actions.types import ActionChunk
from vlm_agent.errors import DataError
from vlm_agent.evaluation.comparison import Setting, compare_rollouts
from vlm_agent.evaluation.demonstrated import DemonstratedEnv
from vlm_agent.evaluation.films import (
    FILMED,
    SHOT_WIDTH_PX,
    Tick,
    choose_ticks,
    describe_tick,
    find_typical_seed,
    shoot_films,
)
from vlm_agent.evaluation.matches import plan_others, play_matches
from vlm_agent.evaluation.metrics import RINGS_PER_MINUTE
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.demonstrator import Demonstrator, demonstrate
from vlm_agent.rollouts.running import Rollout


def without_times(rollouts: list[Rollout]) -> list[object]:
    """Episodes as numbers that must be the same every time; decision times never are."""
    return [{**e.to_json(), "latencies_ms": None} for rollout in rollouts for e in rollout.episodes]


def test_everyone_plays_the_same_seeds_and_a_kill_costs_only_what_was_missing(tmp_path: Path) -> None:
    terms = make_terms()
    plans = make_plans(terms)
    whole = play_matches(plans, tmp_path / "whole", workers=1)
    assert [rollout.name for rollout in whole] == ["base", "tuned", "demonstrator", "noop", "random", "repeat"]
    assert all(tuple(e.seed for e in rollout.episodes) == terms.seeds for rollout in whole)

    class KilledError(Exception):
        pass

    played: list[tuple[str, int]] = []

    def die_at_the_fifth(name: str, episode: object) -> None:
        played.append((name, episode.seed))
        if len(played) == 5:
            raise KilledError

    with pytest.raises(KilledError):
        play_matches(plans, tmp_path / "cut", workers=1, on_episode=die_at_the_fifth)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "cut").iterdir()}
    resumed = play_matches(plans, tmp_path / "cut", workers=1)
    assert without_times(resumed) == without_times(whole)
    # What had been finished was read, not played again: its times are still those of the first attempt.
    assert (tmp_path / "cut" / "base.jsonl").read_bytes() == kept["base.jsonl"]


def test_processes_beside_play_the_same(tmp_path: Path) -> None:
    plans = make_plans(make_terms(num_seeds=2, max_ticks=3))[1:3]
    assert without_times(play_matches(plans, tmp_path / "two", workers=2)) == without_times(
        play_matches(plans, tmp_path / "one", workers=1)
    )


def test_episodes_of_another_comparison_are_refused(tmp_path: Path) -> None:
    play_matches(make_plans(make_terms(2, 2))[:1], tmp_path, workers=1)
    with pytest.raises(DataError, match="another rollout"):
        play_matches(make_plans(make_terms(2, 3))[:1], tmp_path, workers=1)


def test_the_demonstrator_stays_away_from_goals_it_does_not_know() -> None:
    terms = make_terms()
    short = type(terms)(terms.env, "open the bank", terms.seeds, terms.max_ticks, is_long_goal=False)
    assert [plan.name for plan in plan_others(short)] == ["noop", "random", "repeat"]
    assert plan_others(short)[0].episode.stops_when_done
    assert not plan_others(terms)[0].episode.stops_when_done


def test_the_demonstrator_plays_as_it_does_when_it_is_recorded() -> None:
    env = DemonstratedEnv(max_ticks=80)
    env.reset(seed=10_000, options={"goal": GOAL})
    is_over, score, num_presses = False, 0, 0
    while not is_over:
        _, _, _, is_over, info = env.step(ActionChunk())
        score = info["score"]
        num_presses += sum(isinstance(e, ButtonChanged) and e.pressed for e in info["events"])
    game = Ringcraft(10_000)
    demonstrate(game, Demonstrator(10_000), 80 * 600)
    assert env.core.hash() == game.hash()
    assert score == game.state.rings_made > 5
    assert num_presses > 10


@pytest.fixture(scope="module")
def filmed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    terms = make_terms(num_seeds=2, max_ticks=5)
    plans = make_plans(terms)
    rollouts = play_matches(plans, folder / "episodes", workers=1)
    comparison = compare_rollouts(rollouts, RINGS_PER_MINUTE, Setting("ringcraft", GOAL, 5, 600), resamples=500)
    return folder, comparison, plans, shoot_films(comparison, plans, folder / "films", workers=1)


def test_films_show_one_episode_of_each(filmed) -> None:
    _, comparison, _, films = filmed
    assert tuple(film.name for film in films) == FILMED
    assert {film.seed for film in films} == {find_typical_seed(comparison)}
    for film in films:
        assert [shot.t_s for shot in film.shots] == [0.0, 0.6, 1.2, 1.8, 2.4]
        for shot in film.shots:
            assert Image.open(io.BytesIO(shot.jpeg)).width == SHOT_WIDTH_PX


def test_films_tell_what_was_done_and_draw_it_where_it_was(filmed) -> None:
    base, tuned, _ = filmed[3]
    assert [shot.words for shot in base.shots] == ["waits"] * 5
    assert [shot.words for shot in tuned.shots] == ["waits", "click 300, 200", "waits", "click 300, 200", "waits"]
    scale = SHOT_WIDTH_PX / 765
    x, y = round(PRESS.x * scale), round(PRESS.y * scale)

    def count_marked(jpeg: bytes) -> int:
        picture = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)[y - 16 : y + 16, x - 16 : x + 16]
        red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
        return int(((red > 170) & (green < 110) & (blue > 60)).sum())

    assert count_marked(tuned.shots[1].jpeg) > 40
    assert count_marked(tuned.shots[0].jpeg) == 0


def test_recorded_episodes_are_not_played_again(filmed) -> None:
    folder, comparison, plans, films = filmed
    before = sorted(path.name for path in (folder / "films").iterdir())
    assert shoot_films(comparison, plans, folder / "films", workers=1) == films
    assert sorted(path.name for path in (folder / "films").iterdir()) == before


def test_the_typical_seed_is_that_of_the_median() -> None:
    comparison = canned_comparison((0,) * 5, (9, 4, 0, 5, 4))
    assert find_typical_seed(comparison) == 10_001


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
        ({"outcome": "done"}, "says it is done"),
        ({"outcome": "empty"}, "waits"),
    ],
)
def test_failures_are_told_as_what_they_are(decision: dict[str, object], words: str) -> None:
    assert describe_tick(Tick(0, decision)) == words
