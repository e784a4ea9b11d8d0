"""Recovery is what was scored after a disturbance, held against the same time of the same seeds without it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from tests.evaluation.canned import canned_episode
from tests.evaluation.contestants import make_terms
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.evaluation.matches import plan_others
from vlm_agent.evaluation.recovery import (
    Aftermath,
    Recovery,
    list_recovery_plans,
    measure_recovery,
    play_recovery,
)
from vlm_agent.evaluation.recovery_section import write_section, write_sentences
from vlm_agent.rollouts.running import Rollout

WITHIN_MS = 30_000


def make_episode(seed: int, times_s: tuple[float, ...], disturbed_s: float | None = None):
    return replace(
        canned_episode(seed, len(times_s)),
        score_times_ms=tuple(round(1000 * time_s) for time_s in times_s),
        disturbed_ms=None if disturbed_s is None else round(1000 * disturbed_s),
        clock="paused",
    )


PLAIN = [(20, 22, 24), (10, 25), (), (50,)]
DISTURBED = [((20, 22, 35), 22), ((10, 65), 12), ((), 9), ((50,), None)]
"""Recovered after 13 s; too late; nothing to lose; never planted."""


def make_rollouts(name="tuned", kind="camera", plain=PLAIN, disturbed=DISTURBED) -> dict[str, Rollout]:
    return {
        name: Rollout(name, tuple(make_episode(seed, times) for seed, times in enumerate(plain))),
        f"{name}-{kind}": Rollout(
            f"{name}-{kind}", tuple(make_episode(seed, *episode) for seed, episode in enumerate(disturbed))
        ),
    }


def measure(rollouts=None, contenders=("tuned",), kinds=("camera",), **settings) -> Recovery:
    return measure_recovery(rollouts or make_rollouts(), contenders, kinds, within_ms=WITHIN_MS, **settings)


def test_a_table_worked_out_by_hand():
    [trial] = measure().trials
    assert trial.aftermaths == (
        # A ring at the very moment came before it.
        Aftermath(0, 22_000, 13_000, 1, 2_000, 1),
        Aftermath(1, 12_000, None, 0, 13_000, 1),
        Aftermath(2, 9_000, None, 0, None, 0),
    )
    assert (trial.num_episodes, trial.num_planted, trial.num_recovered, trial.num_undisturbed) == (4, 3, 1, 2)
    # Clopper and Pearson for 1 of 3.
    assert (trial.share.mean, trial.share.low, trial.share.high) == pytest.approx((1 / 3, 0.0084, 0.9057), abs=1e-4)
    assert trial.time_s.mean == pytest.approx((13 + 30 + 30) / 3)
    assert 13 <= trial.time_s.low < trial.time_s.mean < trial.time_s.high <= 30
    # A ring in half a minute is two a minute, and one of three seeds lost one.
    assert trial.pace.mean == trial.cost.mean == pytest.approx(2 / 3)
    assert 0 <= trial.cost.low < trial.cost.mean < trial.cost.high <= 2
    # Undisturbed less disturbed: what is lost is a cost, what is won is none.
    won = make_rollouts(plain=[(), ()], disturbed=[((20, 30), 15), ((16,), 15)])
    assert measure(won).trials[0].cost.mean == pytest.approx(-3)


def test_where_it_was_never_planted_nothing_is_claimed():
    rollouts = make_rollouts(disturbed=[((20,), None), ((10,), None), ((), None), ((50,), 8)])
    [trial] = measure(rollouts).trials
    assert (trial.num_planted, trial.share, trial.cost) == (1, None, None)
    section = write_section(measure(rollouts))
    assert any("tuned hardly ever came to a moment for a turned camera (1 of 4" in one for one in section.sentences)
    assert not any("No cost" in one for one in section.sentences)


def test_it_survives_json():
    recovery = measure()
    again = Recovery.from_json(json.loads(json.dumps(recovery.to_json())))
    assert again == recovery
    assert again.to_json() == recovery.to_json()
    for broken in ({}, {**recovery.to_json(), "format": 9}, {**recovery.to_json(), "trials": [{"contender": "x"}]}):
        with pytest.raises(DataError, match="recovery"):
            Recovery.from_json(broken)


def test_what_can_not_be_compared_is_refused():
    rollouts = make_rollouts()
    with pytest.raises(DataError, match="no rollout 'tuned-window'"):
        measure(rollouts, kinds=("window",))
    moved = Rollout("tuned-camera", tuple(replace(one, seed=one.seed + 1) for one in rollouts["tuned-camera"].episodes))
    with pytest.raises(DataError, match="other seeds"):
        measure({**rollouts, "tuned-camera": moved})
    real = Rollout("tuned-camera", tuple(replace(one, clock="real") for one in rollouts["tuned-camera"].episodes))
    with pytest.raises(DataError, match="clocks"):
        measure({**rollouts, "tuned-camera": real})
    with pytest.raises(ConfigError, match="contender"):
        measure(contenders=())


def make_many(disturbed_times, num_seeds=20):
    plain = [(20, 30, 40)] * num_seeds
    return make_rollouts(plain=plain, disturbed=[(disturbed_times(seed), 15) for seed in range(num_seeds)])


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (lambda _: (), "tuned never scores again after a turned camera (0 of 20; undisturbed 20"),
        (lambda seed: (20,) if seed % 4 else (), "A turned camera costs tuned"),
        (
            lambda _: (21, 31, 41),
            "No cost to tuned can be told from chance after a turned camera (20 of 20, undisturbed 20)",
        ),
        # One of twenty loses a point: a cost on average, and chance by its interval.
        (lambda seed: (21, 31, 41) if seed else (21, 31), "No cost to tuned can be told from chance"),
    ],
)
def test_sentences_say_what_the_intervals_allow(times, told):
    sentences = list(write_sentences(measure(make_many(times))))
    assert any(told in sentence for sentence in sentences), sentences
    others = ("never scores", "costs tuned", "No cost")
    assert sum(any(other in sentence for other in others) for sentence in sentences) == 1


def test_who_has_nothing_to_lose_is_not_praised():
    rollouts = make_rollouts(plain=[()] * 6, disturbed=[((), 15)] * 6)
    sentences = list(write_sentences(measure(rollouts)))
    assert not any(word in sentence for sentence in sentences for word in ("No cost", "costs", "never scores"))


def test_the_section_has_a_row_for_each_and_plots_in_both_themes():
    rollouts = {**make_rollouts(), **make_rollouts("noop", plain=[()] * 4, disturbed=[((), 9)] * 4)}
    section = write_section(measure(rollouts, ("tuned", "noop")))
    [table] = section.tables
    assert [row[0] for row in table.rows] == ["a turned camera: tuned", "a turned camera: no-op"]
    assert table.rows[0][1:4] == ("3 of 4", "33% [1, 91]", "67%")
    for plot in section.plots:
        assert plot.light != plot.dark
        assert base64.b64decode(plot.light.split(",")[1]).startswith(b"<?xml")
    assert section == write_section(measure(rollouts, ("tuned", "noop")))


def test_the_demonstrator_is_played_with_and_without_and_goes_on_after_a_kill(tmp_path):
    terms = replace(make_terms(2, max_ticks=60), seeds=(10_000, 10_001))
    plans = [plan for plan in plan_others(terms) if plan.name in ("demonstrator", "noop")]
    told = []

    def play():
        return play_recovery(
            plans,
            tmp_path,
            horizon_ms=600,
            kinds=("window", "start"),
            within_ticks=40,
            on_episode=lambda name, _: told.append(name),
        )

    recovery = play()
    assert list(dict.fromkeys(told)) == [plan.name for plan in list_recovery_plans(plans, ("window", "start"), 40)]
    assert recovery.find("demonstrator", "window").num_recovered == 1
    assert recovery.find("noop", "window").num_planted == 0
    assert [one.planted_ms for one in recovery.find("noop", "start").aftermaths] == [0, 0]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert play() == recovery
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
