"""`vlm-agent eval` on a small dataset: contenders that are known, a kill in the middle, and numbers without a model."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from tests.training.synthetic import SPEC, write_dataset
from vlm_agent.actions.types import ActionChunk
from vlm_agent.chat import make_recipe
from vlm_agent.cli import run_command
from vlm_agent.dataset.manifest import SessionRecord
from vlm_agent.dataset.store import open_dataset
from vlm_agent.errors import ConfigError, DataError, ModelError
from vlm_agent.evaluation.offline import answering, command
from vlm_agent.evaluation.offline import contenders as contenders_module
from vlm_agent.evaluation.offline.baselines import MarginalPolicy, NearestPolicy
from vlm_agent.evaluation.offline.command import EvalConfig, choose_windows, find_trained_sessions
from vlm_agent.evaluation.offline.evaluation import evaluate, read_evaluation
from vlm_agent.evaluation.offline.lines import LineFile
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.predictions import PredictionStore
from vlm_agent.evaluation.offline.reading import choose_moments, plan_readings
from vlm_agent.evaluation.offline.word_index import WordIndex
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.observations import Observation, Observer
from vlm_agent.policies import NoOpPolicy, ScriptedPolicy

STATE = {"player": {"animation": -1}, "inventory": {"emptySlots": 28}}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_dataset(tmp_path_factory.mktemp("data") / "dataset", num_ticks=12, state=STATE))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "qwen3_vl")


def observe(window, dataset):
    return Observation(dataset.frame(window), window.goal, 0, window.state)


def ask(policy, dataset, path):
    windows = list(dataset.windows("validation"))
    store = PredictionStore(path, {"name": "x"}, dataset.spec)
    answering.answer_windows(policy, Observer(dataset), windows, store)
    return list(store.done.values())


def test_one_who_does_what_the_player_did_is_right_and_one_who_does_nothing_is_not(dataset, tmp_path):
    targets = {(window.t_ns // 1_000_000, window.goal): window.target for window in dataset.windows("validation")}
    player = ScriptedPolicy(lambda seen, spec: targets[seen.t_ms, seen.goal])
    predictions = {
        "player": ask(player, dataset, tmp_path / "player.jsonl"),
        "nothing": ask(NoOpPolicy(), dataset, tmp_path / "nothing.jsonl"),
    }
    evaluation = evaluate(predictions, {}, ScoreConfig())
    player_row, nothing = evaluation.answerers
    assert player_row.estimates["exact"].value == player_row.estimates["f1_detail"].value == 1
    idle = sum(target == ActionChunk() for target in targets.values()) / len(targets)
    assert 0 < idle < 1
    # Who does nothing is right about waiting, and that is told apart from what the player does.
    assert nothing.estimates["idle_right"].value == player_row.estimates["idle_right"].value == 1
    assert nothing.estimates["idle_right"].count == pytest.approx(idle * len(targets))
    for metric in ("exact", "sequence_exact", "event_right", "acts_when_player_does", "f1_click", "f1_detail"):
        assert nothing.estimates[metric].value == 0
        assert player_row.estimates[metric].value == 1
    assert nothing.estimates["exact"].count == pytest.approx((1 - idle) * len(targets))
    assert evaluation.goal_sources == {"game": len(targets)}
    with pytest.raises(DataError, match="other windows"):
        evaluate({**predictions, "less": predictions["nothing"][1:]}, {}, ScoreConfig())


def test_the_nearest_window_answers_by_goal_and_state(dataset):
    windows = list(dataset.windows("train"))
    first = windows[0]
    bank = {**STATE, "bank": {"bankOpen": True}}
    odd = replace(first, goal="close the bank", state=bank, target=next(w.target for w in windows if w.target.actions))
    known = [replace(first, target=ActionChunk()), odd]
    nearest = NearestPolicy(known)
    for window in known:
        assert nearest.decide(observe(window, dataset)).chunk == window.target
    # A goal never seen, in a state that was.
    assert nearest.decide(replace(observe(odd, dataset), goal="leave")).chunk == odd.target
    with pytest.raises(DataError, match="needs training windows"):
        NearestPolicy([])


def test_alike_is_the_share_of_common_words():
    # The long list holds all three words, among many more; the short one two of its three.
    long = frozenset("abcdefghijklm")
    index = WordIndex([long, frozenset("abz")])
    assert index.rank(frozenset("abc")) == [1, 0]
    assert index.rank(long) == [0, 1]
    # Words that are asked for and not held count too.
    assert WordIndex([frozenset("a"), frozenset("abcd")]).rank(frozenset("abcde")) == [1, 0]


def test_each_window_has_its_own_chance_and_always_the_same(dataset):
    seeds = []

    class Noting(NoOpPolicy):
        def begin(self, goal, spec, seed):
            seeds.append(seed)

    for _ in range(2):
        answering.answer_windows(
            Noting(), Observer(dataset), list(dataset.windows("validation")), answering.KeptAnswers()
        )
    half = len(seeds) // 2
    assert seeds[:half] == seeds[half:]
    assert len(set(seeds)) == half > 2


def test_the_marginal_answers_with_the_player_s_own_mix(dataset):
    windows = list(dataset.windows("train"))
    marginal = MarginalPolicy(windows)
    drawn = set()
    for seed in range(200):
        marginal.begin("x", SPEC, seed)
        drawn.add(marginal.decide(observe(windows[0], dataset)).chunk)
    assert drawn == {window.target for window in windows}


@pytest.mark.model
def test_killed_in_the_middle_it_gives_the_same_numbers_and_again_without_a_model(
    dataset, checkpoint, tmp_path, monkeypatch
):
    def config(out, **changes):
        given = {"dataset": dataset.folder, "model": str(checkpoint), "out": tmp_path / out, "temperature": 1.0}
        return EvalConfig(**{**given, **changes})

    command.run(config("whole"))
    whole = (tmp_path / "whole" / "evaluation.json").read_bytes()
    add, added = LineFile.add, []

    def add_some(self, value):
        # First among the base's answers, then among its read-outs.
        if len(added) in (7, 16):
            added.append(value)
            raise KeyboardInterrupt
        added.append(value)
        add(self, value)

    with monkeypatch.context() as patch:
        patch.setattr(LineFile, "add", add_some)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                command.run(config("killed"))
    assert (tmp_path / "killed" / "readouts" / "base.jsonl").exists()
    command.run(config("killed"))
    assert (tmp_path / "killed" / "evaluation.json").read_bytes() == whole
    schema = Path(command.__file__).with_name("evaluation.schema.json")
    jsonschema.validate(json.loads(whole), json.loads(schema.read_text()))
    contenders = json.loads(whole)["contenders"]
    assert list(contenders) == ["base", "base_few", "nothing", "repeat", "marginal", "nearest"]
    forced = json.loads(whole)["teacher_forced"]
    assert list(forced["contenders"]) == ["base", "base_few"]
    assert forced["windows"] == json.loads(whole)["windows"]
    assert contenders["base"]["metrics"]["valid"]["value"] == 1
    for name in ("base_few", "base"):
        command.ask_ahead(config("ahead"), [name])
    monkeypatch.setattr(contenders_module, "make_model", None)
    # All that needs a model is there, whoever asked for it: it is not loaded again.
    command.run(config("ahead"))
    assert (tmp_path / "ahead" / "evaluation.json").read_bytes() == whole
    (tmp_path / "killed" / "evaluation.json").unlink()
    run_command(["eval", "--rescore", "--out", str(tmp_path / "killed")])
    again = json.loads((tmp_path / "killed" / "evaluation.json").read_text())
    assert list(again["contenders"].items()) == list(contenders.items())
    assert again["teacher_forced"] == forced
    assert read_evaluation(tmp_path / "killed" / "evaluation.json").to_json() == again
    assert "| base |" in (tmp_path / "killed" / "evaluation.md").read_text()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dataset": "nowhere"}, DataError, "is not a folder"),
        ({"split": "test"}, DataError, "no split 'test'"),
        ({"model": "nowhere"}, ModelError, "no such model folder"),
    ],
)
def test_a_mistake_is_one_line(dataset, checkpoint, tmp_path, changes, error, message):
    given = {"dataset": dataset.folder, "model": str(checkpoint), "out": tmp_path / "eval", **changes}
    given["dataset"] = tmp_path / given["dataset"]
    with pytest.raises(error, match=message):
        command.run(EvalConfig(**given))
    assert not (tmp_path / "eval" / "evaluation.json").exists()


@pytest.mark.parametrize(
    ("also", "message"),
    [
        (("base=x",), "'base' is taken"),
        (("a=x", "a=y"), "--also a=y: 'a' is taken"),
        (("a",), "takes NAME=RUN"),
        (("A b=x",), "takes NAME=RUN"),
        (("../x=y",), "takes NAME=RUN"),
        (("a=",), "takes NAME=RUN"),
    ],
)
def test_names_of_further_models_are_checked_before_anything_is_loaded(also, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        EvalConfig(dataset=Path("x"), also=also)
    assert "\n" not in str(error.value)


@pytest.mark.model
def test_further_models_are_asked_under_their_own_names(dataset, checkpoint, tmp_path):
    given = EvalConfig(
        dataset=dataset.folder,
        model=str(checkpoint),
        out=tmp_path,
        max_windows=4,
        readout_windows=0,
        few_shot=0,
        also=(f"second={checkpoint}", f"first={checkpoint}"),
    )
    made = command.run(given)
    assert [one.name for one in made.answerers][:3] == ["base", "first", "second"]
    assert made.forced is None
    assert made.answerers[0].estimates == made.answerers[1].estimates
    again = command.run(EvalConfig(rescore=True, out=tmp_path))
    assert [one.name for one in again.answerers] == [one.name for one in made.answerers]
    with pytest.raises(ModelError, match="no such model folder"):
        command.run(replace(given, also=("other=nowhere",)))


def test_moments_are_chosen_whole_and_long_windows_are_read_for_their_step(dataset):
    windows = list(dataset.windows("validation"))
    few = choose_moments(windows, 4)
    assert [window.goal_level for window in few] == ["long", "short", "long", "short"]
    assert choose_moments(windows, None) == choose_moments(windows, 100) == windows
    assert [(one.step, one.has_actions) for one in plan_readings(few, None, windows)] == [(None, True)] * 4
    recipe = make_recipe(dataset.spec, image_width_px=96, image_height_px=64)
    naming = replace(recipe, long_goals=("press long",), steps=("press short",))
    plan = plan_readings(few, naming, windows)
    assert [(one.step, one.has_actions) for one in plan] == [("press short", False), (None, True)] * 2
    # Alone, a long window's actions are read given the step; where none is known there is nothing to be read.
    long = [window for window in few if window.goal_level == "long"]
    assert [(one.step, one.has_actions) for one in plan_readings(long, naming, windows)] == [("press short", True)] * 2
    assert plan_readings(long, naming, long) == []


def test_nothing_to_evaluate_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--dataset names the dataset"):
        EvalConfig()
    with pytest.raises(DataError, match="holds no predictions"):
        command.run(EvalConfig(rescore=True, out=tmp_path))


def test_windows_are_chosen_by_goal_and_spread(dataset):
    every = choose_windows(EvalConfig(dataset=dataset.folder), dataset)
    long = choose_windows(EvalConfig(dataset=dataset.folder, goals="long"), dataset)
    few = choose_windows(EvalConfig(dataset=dataset.folder, max_windows=4), dataset)
    assert len(every) == 2 * len(long)
    assert {window.goal_level for window in long} == {"long"}
    assert [every.index(window) for window in few] == [0, len(every) // 4, len(every) // 2, len(every) * 3 // 4]


def test_sessions_that_were_learnt_from_in_another_dataset_are_named(dataset):
    windows = list(dataset.windows("validation"))
    asked = SessionRecord(windows[0].session, "validation", "a" * 64, 1)
    alone, other = SessionRecord("alone", "by time", "b" * 64, 1), SessionRecord("other", "train", "c" * 64, 1)
    manifest = replace(dataset.manifest, sessions=(asked, alone, other))
    assert manifest.trained_sessions == ["b" * 64, "c" * 64]
    run = {"dataset": {"sha256": "of another dataset", "sessions": ["a" * 64, "c" * 64]}}
    assert find_trained_sessions(run, manifest, windows) == [asked.session]
    assert find_trained_sessions(run, manifest, []) == []
    assert find_trained_sessions({}, manifest, windows) == []
    # In the dataset that it learnt from the splits keep them apart.
    assert find_trained_sessions({"dataset": {**run["dataset"], "sha256": manifest.sha256}}, manifest, windows) == []
