"""Playing a comparison: everyone under the same terms, resumed after a kill, the demonstrator as good as ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.contestants import GOAL, make_plans, make_terms
from vlm_agent.actions.events import ButtonChanged
from vlm_agent.actions.types import ActionChunk
from vlm_agent.errors import DataError
from vlm_agent.evaluation.demonstrated import DemonstratedEnv
from vlm_agent.evaluation.matches import plan_others, play_matches
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
