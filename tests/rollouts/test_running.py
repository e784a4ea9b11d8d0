"""What a rollout keeps: one file for all episodes, sessions that are not written over, one policy a plan."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from tests.canned_play import CLICK, CannedPolicy, SeededPolicy, make_env, say
from vlm_agent.rollouts import running
from vlm_agent.rollouts.playing import EpisodeConfig
from vlm_agent.rollouts.running import RolloutPlan, play_recorded, run_rollout, run_rollouts
from vlm_agent.sessions.appending import TakenError
from vlm_agent.sessions.reader import SessionReader


def make_plan(**changes):
    given = {"make_policy": SeededPolicy, "seeds": (3, 1, 2), "episode": EpisodeConfig(max_ticks=2)} | changes
    return RolloutPlan(**{"name": "canned", "make_env": make_env, "goal": "click twice"} | given)


def test_recorded_episodes_have_a_frame_a_horizon(tmp_path):
    plan = make_plan(sessions=tmp_path)
    episode = play_recorded(plan, make_env(), SeededPolicy(), 3)
    assert float(SessionReader(Path(f"{episode.session}.mcap"))._session["fps"]) == pytest.approx(1000 / 600)


@pytest.mark.parametrize("suffix", [".mcap", ".mcap.part", ".mkv", ".mkv.part"])
def test_no_file_of_a_session_is_written_over(tmp_path, suffix):
    (tmp_path / f"canned-3{suffix}").write_bytes(b"old")
    (tmp_path / "canned-3-2.mcap").write_bytes(b"old")
    episode = play_recorded(make_plan(sessions=tmp_path), make_env(), SeededPolicy(), 3)
    assert episode.session == str(tmp_path / "canned-3-3")
    assert (tmp_path / f"canned-3{suffix}").read_bytes() == b"old"


def test_a_store_is_in_the_order_of_seeds_and_a_rollout_in_that_of_the_plan(tmp_path):
    store = tmp_path / "episodes.jsonl"
    rollout = run_rollout(make_plan(), store=store)
    assert [episode.seed for episode in rollout.episodes] == [3, 1, 2]
    assert [json.loads(line).get("seed") for line in store.read_text().splitlines()] == [None, 1, 2, 3]


def test_a_store_is_whole_at_every_moment(tmp_path, monkeypatch):
    """A kill while an episode is written must not cost those before it."""
    store = tmp_path / "episodes.jsonl"
    run_rollout(make_plan(seeds=(1,)), store=store)
    kept = store.read_text()

    def break_off(self, target):
        assert Path(target).read_text() == kept
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", break_off)
    with pytest.raises(KeyboardInterrupt):
        run_rollout(make_plan(seeds=(1, 2)), store=store)
    assert store.read_text() == kept
    assert list(tmp_path.iterdir()) == [store]


def test_every_plan_is_played_by_its_own_policy_and_plans_of_one_share_it():
    made = []

    def make(name):
        made.append(name)
        return CannedPolicy(*[say(CLICK)] * {"one": 1, "two": 2}[name])

    one, two = partial(make, "one"), partial(make, "two")
    plans = [make_plan(make_policy=maker, seeds=(1, 2)) for maker in (one, one, two)]
    run_rollouts(plans)
    assert made == ["one", "two"]


def test_a_rollout_of_other_settings_is_another(tmp_path):
    told = running._describe(make_plan(about={"adapter": "a"}))
    assert told["about"] == {"adapter": "a"}
    for changes in ({"about": {"adapter": "b"}}, {"goal": "x"}, {"name": "x"}, {"episode": EpisodeConfig(max_ticks=3)}):
        assert running._describe(make_plan(**{"about": {"adapter": "a"}} | changes)) != told


def test_recordings_of_episodes_that_a_kill_kept_out_of_the_store_are_made_anew(tmp_path):
    plan, store = make_plan(sessions=tmp_path / "sessions"), tmp_path / "store.jsonl"
    whole = run_rollout(plan, store=store)
    recorded = {path.name for path in plan.sessions.iterdir()}
    head, *lines = store.read_text().splitlines(keepends=True)
    store.write_text("".join([head, *lines[:-1]]))
    (plan.sessions / f"{plan.name}-{json.loads(lines[-1])['seed']}.mcap.part").write_text("half")
    assert run_rollout(plan, store=store) == whole
    assert {path.name for path in plan.sessions.iterdir()} == recorded


def test_a_name_that_another_process_takes_in_that_moment_is_left_to_it(tmp_path):
    def open_session(stem):
        if stem.name == "a":
            raise TakenError("a.mcap.part is being written by another process")
        return stem

    assert running._open_free(open_session, tmp_path / "a") == tmp_path / "a-2"
