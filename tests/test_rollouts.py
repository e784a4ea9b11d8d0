"""Nothing that happens in an episode is hidden behind another number, and a rollout is the same however it is run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.canned_play import CLICK, SPEC, CannedPolicy, CountingEnv, SeededPolicy, make_env, say
from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key
from vlm_agent.dataset.recordings import read_recording
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.policies import NoOpPolicy, RandomPolicy
from vlm_agent.rollouts.environments import check_goal, make_environment
from vlm_agent.rollouts.episodes import Episode
from vlm_agent.rollouts.playing import EpisodeConfig, run_episode
from vlm_agent.rollouts.recording import DemonstrationConfig, record_demonstrations
from vlm_agent.rollouts.running import RolloutPlan, play_recorded, run_rollout
from vlm_agent.safety.rules import Region, SafetyRules
from vlm_agent.sessions.reader import SessionReader

LOGOUT = SafetyRules(denied_regions=(Region(0, 40, 64, 48),))


def play(*decisions, max_ticks=None, env=None, **config):
    env, policy = env or CountingEnv(), CannedPolicy(*decisions)
    config = EpisodeConfig(max_ticks=max_ticks or len(decisions), **config)
    return run_episode(env, policy, "click twice", 7, config), env, policy


def test_every_outcome_is_counted_apart():
    decisions = (
        say(CLICK),
        say(ActionChunk()),
        say(None, "truncated"),
        say(None, "timeout"),
        say(None, "truncated"),
        say(ActionChunk((Click(0, 5, 45),))),
        say(ActionChunk((Key(0, "alt"), Key(0, "f4")))),
        say(ActionChunk((Click(0, 64, 0),))),
        say(ActionChunk(done=True)),
    )
    episode, env, _ = play(*decisions, rules=LOGOUT, stops_when_done=False)
    counts = episode.counts
    assert counts.outcomes == {"executed": 1, "empty": 1, "invalid": 3, "refused": 3, "done": 1}
    assert counts.invalid_reasons == {"truncated": 2, "timeout": 1}
    assert counts.refused_reasons == {"region_denied": 1, "combo_denied": 1, "out_of_spec": 1}
    assert env.played == [CLICK] + [ActionChunk()] * 8
    assert (counts.total, episode.num_actions, episode.duration_ms) == (9, 1, 5400)


def test_saying_done_is_not_success_and_success_needs_no_saying():
    liar, env, _ = play(say(ActionChunk(done=True)), max_ticks=50)
    assert (liar.is_success, liar.counts.total, len(env.played)) == (False, 1, 1)
    doer, _, _ = play(say(CLICK), max_ticks=3)
    assert (doer.is_success, doer.score, doer.counts.outcomes) == (True, 3.0, {"executed": 3})


def test_garbage_never_succeeds():
    episode, env, _ = play(say(None, "not_json"), max_ticks=20)
    assert not episode.is_success
    assert episode.counts.outcomes == {"invalid": 20}
    assert all(not chunk.actions for chunk in env.played)


def test_the_environment_ends_the_episode():
    episode, _, _ = play(say(CLICK), max_ticks=50, env=CountingEnv(length=4))
    assert episode.counts.total == 4


def test_a_policy_sees_what_it_did_and_when():
    _, _, policy = play(say(ActionChunk((Click(100, 20, 10), Key(50, "space")))), say(ActionChunk()), max_ticks=3)
    first, second, third = policy.seen
    assert first.recent == ()
    assert [(past.age_ms, past.action) for past in second.recent] == [(500, Click(0, 20, 10)), (450, Key(0, "space"))]
    assert [past.age_ms for past in third.recent] == [1100, 1050]
    assert [seen.t_ms for seen in policy.seen] == [0, 600, 1200]
    assert [seen.game_state["tick"] for seen in policy.seen] == [0, 1, 2]
    assert second.frame.max() == 1


def test_refused_and_invalid_actions_are_not_remembered():
    _, _, policy = play(say(ActionChunk((Click(0, 5, 45),))), say(None, "x"), say(ActionChunk()), rules=LOGOUT)
    assert policy.seen[-1].recent == ()


def test_late_counts_only_on_a_real_clock():
    slow = say(CLICK, ms=1500)
    paused, _, _ = play(slow, max_ticks=6)
    assert paused.counts.outcomes == {"executed": 6}
    assert paused.latencies_ms == (1500.0,) * 6
    real, env, _ = play(slow, max_ticks=6, clock="real")
    # 1.5 s of thinking is three horizons in which the game went on and the agent did nothing.
    assert real.counts.outcomes == {"late": 2}
    assert env.played == [ActionChunk()] * 6
    assert real.duration_ms == 3600


def test_an_episode_survives_json():
    episode, _, _ = play(say(CLICK), say(None, "timeout"))
    assert Episode.from_json(json.loads(json.dumps(episode.to_json()))) == episode
    with pytest.raises(DataError, match="not an episode"):
        Episode.from_json({"seed": 1})


def make_plan(seeds=(1, 2, 3), **changes):
    settings = {"episode": EpisodeConfig(max_ticks=4), **changes}
    return RolloutPlan("seeded", make_env, SeededPolicy, "click twice", tuple(seeds), **settings)


def test_a_rollout_is_the_same_in_one_process_and_in_many(tmp_path):
    here = run_rollout(make_plan())
    beside = run_rollout(make_plan(), workers=2, store=tmp_path / "episodes.jsonl")
    assert here == beside
    assert [episode.score for episode in here.episodes] == [4, 8, 12]


def test_a_rollout_goes_on_where_it_stopped(tmp_path):
    store = tmp_path / "out" / "episodes.jsonl"
    run_rollout(make_plan(seeds=(1, 2)), store=store)
    told, played = [], []

    class Watched(SeededPolicy):
        def begin(self, goal, spec, seed):
            played.append(seed)
            super().begin(goal, spec, seed)

    plan = RolloutPlan("seeded", make_env, Watched, "click twice", (3, 2, 1), EpisodeConfig(max_ticks=4))
    rollout = run_rollout(plan, store=store, on_episode=lambda episode: told.append(episode.seed))
    assert played == [3]
    assert sorted(told) == [1, 2, 3]
    assert [episode.seed for episode in rollout.episodes] == [3, 2, 1]
    assert len(store.read_text().splitlines()) == 4
    assert list(store.parent.iterdir()) == [store]


@pytest.mark.parametrize(
    "changed", [{"episode": EpisodeConfig(max_ticks=5)}, {"about": {"prompt": "other"}}, {"goal": "x"}]
)
def test_episodes_of_another_rollout_are_not_mixed_in(tmp_path, changed):
    store = tmp_path / "episodes.jsonl"
    run_rollout(make_plan(seeds=(1,)), store=store)
    goal = changed.pop("goal", "click twice")
    settings = {"episode": EpisodeConfig(max_ticks=4), **changed}
    with pytest.raises(DataError, match="another rollout"):
        run_rollout(RolloutPlan("seeded", make_env, SeededPolicy, goal, (1,), **settings), store=store)


def test_a_broken_store_is_one_error(tmp_path):
    store = tmp_path / "episodes.jsonl"
    for text in ("", "{", '{"rollout": 3}\n'):
        store.write_text(text)
        with pytest.raises(DataError, match=r"episodes\.jsonl"):
            run_rollout(make_plan(), store=store)


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_must_be_told_each_once(seeds):
    with pytest.raises(ConfigError, match="seed"):
        make_plan(seeds=seeds)


def test_an_episode_is_recorded_as_a_session(tmp_path):
    decisions = (say(CLICK), say(None, "truncated"), say(ActionChunk((Click(0, 5, 45),))), say(ActionChunk()))
    plan = make_plan(sessions=tmp_path, episode=EpisodeConfig(max_ticks=4, rules=LOGOUT), about={"model": "canned"})
    episode = play_recorded(plan, CountingEnv(), CannedPolicy(*decisions), 7)
    reader = SessionReader(tmp_path / "seeded-7.mcap")
    assert episode.session == str(tmp_path / "seeded-7")
    assert reader.meta["model"] == "canned"
    assert [who for _, who in reader.controls()] == ["agent"]
    assert [(goal.text, goal.level, goal.source) for goal in reader.goals()] == [("click twice", "long", "human")]
    told = [decision for _, decision in reader.decisions()]
    assert [(one["outcome"], one["reason"]) for one in told] == [
        ("executed", None),
        ("invalid", "truncated"),
        ("refused", "region_denied"),
        ("empty", None),
    ]
    assert make_codec("json").decode(told[0]["chunk"], SPEC) == CLICK
    assert told[0]["latency_ms"] == {"prepare": 0, "prefill": 0, "decode": 5}
    assert len(list(reader.frames())) == len(list(reader.game_states())) == 5
    presses = [event for event in reader.events() if hasattr(event, "button")]
    assert [(event.t_ns // 1_000_000, event.x, event.y, event.pressed) for event in presses] == [
        (100, 20, 10, True),
        (160, 20, 10, False),
    ]
    # Readable by the label stage like a person's session, with what the game allows.
    assert read_recording(tmp_path / "seeded-7.mcap", 600).spec == SPEC


def test_an_episode_played_again_does_not_overwrite(tmp_path):
    plan = make_plan(sessions=tmp_path)
    stems = [play_recorded(plan, CountingEnv(), SeededPolicy(), 1).session for _ in range(2)]
    assert stems == [str(tmp_path / "seeded-1"), str(tmp_path / "seeded-1-2")]


def test_ringcraft_was_fed_exactly_the_recorded_events(tmp_path):
    from vlm_agent.games.ringcraft.core import Ringcraft

    env = make_environment("ringcraft")
    plan = RolloutPlan(
        "random",
        lambda: env,
        lambda: RandomPolicy(3.0),
        "craft sapphire rings",
        (5,),
        EpisodeConfig(max_ticks=12),
        sessions=tmp_path,
    )
    run_rollout(plan)
    reader = SessionReader(tmp_path / "random-5.mcap")
    states = [state for _, state in reader.game_states()]
    game = Ringcraft(5)
    events = list(reader.events())
    assert len(events) > 20
    for expected in states[1:]:
        game.feed([event for event in events if game.now_ns <= event.t_ns < game.now_ns + 600_000_000])
        game.advance(600)
        assert game.export() == expected


def test_noop_makes_no_ring():
    episode = run_episode(make_environment("ringcraft"), NoOpPolicy(), "craft sapphire rings", 3, EpisodeConfig(5))
    assert (episode.score, episode.is_success, episode.counts.outcomes) == (0.0, False, {"empty": 5})


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match="ringcraft"):
        make_environment("chess")
    with pytest.raises(ConfigError, match="craft sapphire rings"):
        check_goal("ringcraft", "craft saphire ring")


def test_demonstrations_are_recorded_once_and_alike(tmp_path):
    config = DemonstrationConfig(minutes=0.05)
    told = []
    paths = record_demonstrations(tmp_path / "a", (1, 2), config, on_session=told.append)
    assert paths == told == [tmp_path / "a" / "ringcraft-1.mcap", tmp_path / "a" / "ringcraft-2.mcap"]
    before = paths[0].stat()
    # A recorder that was killed leaves parts; its session is recorded again, the finished one is kept.
    paths[1].unlink()
    (tmp_path / "a" / "ringcraft-2.mcap.part").write_bytes(b"cut off")
    record_demonstrations(tmp_path / "a", (1, 2), config)
    assert paths[0].stat().st_mtime_ns == before.st_mtime_ns
    [again] = record_demonstrations(tmp_path / "b", (2,), config)
    one, two = SessionReader(paths[1]), SessionReader(again)
    assert list(one.events()) == list(two.events())
    assert list(one.game_states()) == list(two.game_states())
    info = one.info()
    assert (info.frames, info.topics["gamestate"]) == (30, 5)
    # The last frame is taken at 2.9 s; an event may come after it.
    assert 2.9 <= info.duration_s < 3.0
    assert [who for _, who in one.controls()] == ["human"]
    assert ActionSpec.from_json(one.meta["action_spec"]).keys


@pytest.mark.parametrize(("fps", "frames"), [(5.0, 15), (10.0, 30), (50.0, 150)])
def test_recordings_have_as_many_frames_as_asked_and_one_at_each_decision(tmp_path, fps, frames):
    [path] = record_demonstrations(tmp_path, (2,), DemonstrationConfig(minutes=0.05, fps=fps))
    times_ms = [frame.t_ns // 1_000_000 for frame in SessionReader(path).frames()]
    assert len(times_ms) == frames
    assert set(range(0, 3_000, 600)) <= set(times_ms)


def test_recordings_may_begin_anywhere_on_a_trip(tmp_path):
    config = DemonstrationConfig(minutes=0.02, fps=5)
    fresh = record_demonstrations(tmp_path / "fresh", range(8), config)
    anywhere = record_demonstrations(tmp_path / "anywhere", range(8), replace(config, starts="anywhere"))
    held = [[_num_carried(path) for path in paths] for paths in (fresh, anywhere)]
    assert max(held[0]) <= 1
    assert len(set(held[1])) > 3


def _num_carried(path):
    _, state = next(SessionReader(path).game_states())
    return 28 - state["inventory"]["emptySlots"]


@pytest.mark.parametrize("fps", [0, 51])
def test_a_frame_rate_that_cannot_be_had_is_refused(fps):
    with pytest.raises(ConfigError, match="--fps"):
        DemonstrationConfig(fps=fps)
