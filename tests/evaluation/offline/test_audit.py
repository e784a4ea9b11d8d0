"""The shortcut audit names what planted policies hang on, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.offline.cases import click, predict
from tests.training.synthetic import write_dataset
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click
from vlm_agent.dataset.manifest import DatasetManifest, SessionRecord
from vlm_agent.dataset.store import open_dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.dataset.writer import DatasetWriter
from vlm_agent.errors import ConfigError, DataError, ModelError
from vlm_agent.evaluation.offline import audit_command
from vlm_agent.evaluation.offline.answering import KeptAnswers, LatePolicy
from vlm_agent.evaluation.offline.audit import Finding, _find, audit
from vlm_agent.evaluation.offline.audit_command import AuditConfig, choose_sessions
from vlm_agent.evaluation.offline.audit_section import describe, is_blind, write_section
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.predictions import PredictionStore
from vlm_agent.evaluation.offline.shortcuts import CONDITIONS, answer_changed
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.observations import Observer
from vlm_agent.policies import NoOpPolicy, RepeatLastPolicy, ScriptedPolicy

SPEC = ActionSpec(96, 64, keys=("a",))
GOALS = ("open the bank", "use the furnace", "wait")
SESSIONS, TICKS = 8, 6


def press(*parts: int) -> ActionChunk:
    """A click whose place tells its parts apart."""
    return ActionChunk((Click(100, sum(part * 31 for part in parts) % 96, 10),))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Sessions in which colour, level and goal change from tick to tick, each by a rule of its own."""
    folder = tmp_path_factory.mktemp("audit") / "dataset"
    counts = 0
    with DatasetWriter(folder, SPEC, history_ms=1200) as writer:
        for session in range(SESSIONS):
            last = ActionChunk()
            for tick in range(TICKS):
                number = session * TICKS + tick
                colour, level, goal = number * 5 % 251, number * 7 % 90, number % len(GOALS)
                target = press(colour, level, goal)
                recent = tuple((500, Click(0, one.x, one.y)) for one in last.actions)
                writer.add_window(
                    Window(
                        session=f"s{session}",
                        clip=0,
                        t_ns=tick * 600_000_000,
                        split="validation",
                        goal=GOALS[goal],
                        goal_level="short",
                        goal_source="game",
                        goal_confidence=1.0,
                        frame_id=writer.add_frame(np.full((64, 96, 3), colour, np.uint8)),
                        frame_width_px=96,
                        frame_height_px=64,
                        target=target,
                        recent=recent,
                        state={"skills": {"craftingLevel": level}},
                    )
                )
                last, counts = target, counts + 1
        sessions = tuple(SessionRecord(f"s{n}", "validation", "0" * 64, TICKS) for n in range(SESSIONS))
        writer.finish(
            DatasetManifest(SPEC, 1200, {"validation": counts}, writer.frames, sessions, sha256=writer.fingerprint())
        )
    return open_dataset(folder)


def colour_of(seen) -> int:
    return round(float(seen.frame.mean()))


def level_of(seen) -> int:
    return seen.game_state["skills"]["craftingLevel"] if seen.game_state else 0


def goal_of(seen) -> int:
    return GOALS.index(seen.goal)


PLANTED = {
    "copies its history": (RepeatLastPolicy(), {"history"}),
    "only reads the state": (ScriptedPolicy(lambda seen, spec: press(level_of(seen))), {"state"}),
    "only looks": (ScriptedPolicy(lambda seen, spec: press(colour_of(seen))), {"picture"}),
    "only follows the goal": (ScriptedPolicy(lambda seen, spec: press(goal_of(seen))), {"goal"}),
    "ignores the goal": (
        ScriptedPolicy(lambda seen, spec: press(colour_of(seen), level_of(seen))),
        {"picture", "state"},
    ),
    "uses all but its history": (
        ScriptedPolicy(lambda seen, spec: press(colour_of(seen), level_of(seen), goal_of(seen))),
        {"picture", "state", "goal"},
    ),
    "always the same": (ScriptedPolicy(lambda seen, spec: press(3)), set()),
}


def test_of_several_changes_the_one_that_mattered_most_is_told():
    little = Finding("noise", "picture noisy", "picture", 20, 20, 0.3, 0.5, 0.4, None)
    much = replace(little, name="blank", label="picture blanked", changed=0.8)
    for findings in ([little, much], [much, little]):
        (sentence,) = describe(findings)
        assert "picture blanked, 80 %" in sentence


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_policy_is_named_rightly(dataset, planted):
    policy, hangs_on = PLANTED[planted]
    findings = audit(policy, Observer(dataset), list(dataset.windows("validation")), ScoreConfig())
    assert {finding.asks for finding in findings if finding.matters} == hangs_on
    opening = {
        "picture": ("It looks", "It does not look"),
        "state": ("It reads", "It does not read"),
        "goal": ("It follows", "It ignores"),
        "history": ("It leans", "It does not copy"),
    }
    sentences = describe(findings)
    assert [
        sentence.startswith(opening[asks][asks not in hangs_on])
        for asks, sentence in zip(opening, sentences, strict=True)
    ] == [True] * 4
    assert is_blind(findings) is ("picture" not in hangs_on)
    section = write_section(findings, ScoreConfig(tolerance_ms=200, near_px=7))
    assert "In detail: kind, key or button, within 200 ms and 7 px." in section.tables[0].caption
    gist = section.gist
    nouns = {
        "picture": "the picture",
        "state": "the game state",
        "goal": "the goal",
        "history": "what was done before",
    }
    hangs, _, not_hangs = gist.replace("on nothing that it is shown: not", ", and not").partition(", and not")
    assert {asks for asks, noun in nouns.items() if noun in hangs} == hangs_on
    assert {asks for asks, noun in nouns.items() if noun in not_hangs} == nouns.keys() - hangs_on


@pytest.mark.parametrize(
    ("changed", "blind"), [((0.0, 0.0), True), ((0.5, 0.0), False), ((0.0, 0.5), False), ((0.5, 0.5), False)]
)
def test_who_minds_one_change_of_the_picture_is_not_blind(changed, blind):
    state = Finding("no_state", "no state", "state", 20, 20, 0.9, 0.5, 0.5, None)
    pictures = [Finding(f"p{share}", "a picture", "picture", 20, 20, share, 0.5, 0.5, None) for share in changed]
    assert is_blind([state, *pictures]) is blind
    assert not is_blind([state])


def test_waiting_before_and_after_does_not_hide_what_answers_hang_on(dataset):
    # It acts in two of 48 windows, by the picture: of all answers 4 % change, of those that do something all.
    windows = list(dataset.windows("validation"))
    policy = ScriptedPolicy(lambda seen, spec: press(1) if colour_of(seen) in (50, 120) else ActionChunk())
    found = {one.name: one for one in audit(policy, Observer(dataset), windows, ScoreConfig())}
    blank = found["blank_picture"]
    assert (blank.windows, blank.acting, blank.changed) == (SESSIONS * TICKS, 2, 1.0)
    assert not is_blind(list(found.values()))
    assert found["no_state"].changed == 0
    assert found["no_state"].acting == 2


def test_its_own_history_goes_back_as_far_as_the_players(dataset):
    shown: list[tuple[int, ...]] = []

    def press_always(seen, spec):
        shown.append(tuple(one.age_ms for one in seen.recent))
        return press(3)

    windows = list(dataset.windows("validation"))
    answers = answer_changed(ScriptedPolicy(press_always), Observer(dataset), windows, CONDITIONS[-1], KeptAnswers())
    assert len(answers) == SESSIONS * TICKS
    # Pressed 100 ms into each window of 600 ms; the dataset keeps 1200 ms, and each session begins with nothing.
    assert shown[:TICKS] == [(), (500,), *[(1100, 500)] * (TICKS - 2)]
    assert shown == shown[:TICKS] * SESSIONS


def test_who_never_does_anything_hangs_on_nothing_and_says_so(dataset):
    findings = audit(NoOpPolicy(), Observer(dataset), list(dataset.windows("validation")), ScoreConfig())
    assert {(one.acting, one.changed, one.before, one.loss) for one in findings} == {(0, 0.0, 0.0, None)}
    assert is_blind(findings)
    told = describe(findings)[0]
    assert told == "It does not look: with picture blanked, as without, no answer to 48 windows does anything."
    assert write_section(findings, ScoreConfig()).tables[0].rows[0][:4] == ("picture blanked", "48", "0", "0")


def test_an_answer_that_says_done_or_can_not_be_read_is_another():
    wait, done = predict(click(), ActionChunk()), predict(click(), ActionChunk(done=True))
    unread, act = predict(click(), None), predict(click(), click())
    condition = CONDITIONS[0]
    for before, after, acting, changed in (
        (wait, wait, 0, 0),
        (unread, unread, 0, 0),
        (wait, done, 1, 1),
        (done, done, 1, 0),
        (wait, unread, 1, 1),
        (act, unread, 1, 1),
        (act, predict(click(), click(104, 104, dt_ms=260)), 1, 0),
        (act, predict(click(), click(104, 104, dt_ms=560)), 1, 1),
        (act, predict(click(), ActionChunk((*click().actions, *click().actions))), 1, 1),
    ):
        found = _find(condition, [before], [after], ScoreConfig())
        assert (found.acting, found.changed) == (acting, changed), (before.answer, after.answer)


def test_answers_that_are_there_are_not_asked_for_again(dataset, tmp_path):
    policy, _ = PLANTED["copies its history"]
    windows = list(dataset.windows("validation"))

    class KilledError(Exception):
        pass

    class Dying:
        """Answers so often, then no more."""

        def __init__(self, answers):
            self.left = answers

        def begin(self, goal, spec, seed):
            policy.begin(goal, spec, seed)

        def decide(self, observation):
            self.left -= 1
            if self.left < 0:
                raise KilledError
            return policy.decide(observation)

    def keep(folder):
        return lambda name: PredictionStore(folder / f"{name}.jsonl", {"name": name}, dataset.spec)

    whole = audit(policy, Observer(dataset), windows, ScoreConfig(), keep=keep(tmp_path / "whole"))
    # Within the windows as they are, within a change, and within its own history, which is built on earlier answers.
    for answers in (20, 90, 190):
        with pytest.raises(KilledError):
            audit(Dying(answers), Observer(dataset), windows, ScoreConfig(), keep=keep(tmp_path / "cut"))
    assert audit(policy, Observer(dataset), windows, ScoreConfig(), keep=keep(tmp_path / "cut")) == whole
    assert audit(policy, Observer(dataset), windows, ScoreConfig()) == whole

    def never():
        raise AssertionError("all answers are there")

    assert audit(LatePolicy(never), Observer(dataset), windows, ScoreConfig(), keep=keep(tmp_path / "cut")) == whole


def test_what_costs_much_is_found_for_sure_and_what_costs_nothing_is_not(dataset):
    policy, _ = PLANTED["uses all but its history"]
    found = {
        one.name: one for one in audit(policy, Observer(dataset), list(dataset.windows("validation")), ScoreConfig())
    }
    assert found["own_history"].loss is None
    for name in ("blank_picture", "other_state"):
        assert found[name].loss.interval.low > 0
        assert found[name].loss.p <= found[name].loss.p_holm < 0.05
        assert (found[name].before, found[name].windows) == (pytest.approx(1.0, abs=0.2), SESSIONS * TICKS)


def test_windows_are_taken_by_whole_sessions(dataset):
    config = AuditConfig(dataset=dataset.folder, model="x", max_windows=TICKS * 3)
    windows = choose_sessions(config, dataset)
    assert len(windows) == TICKS * 3
    assert [window.session for window in windows[::TICKS]] == ["s0", "s2", "s5"]
    assert len(choose_sessions(AuditConfig(dataset=dataset.folder, model="x", max_windows=9999), dataset)) == 48


@pytest.mark.model
def test_a_model_is_audited_and_the_findings_are_written(dataset, tmp_path, capsys):
    base = write_tiny_checkpoint(tmp_path / "tiny")
    out = tmp_path / "audit"
    audit_command.run(AuditConfig(dataset=dataset.folder, model=str(base), out=out, max_windows=12))
    value = json.loads((out / "audit.json").read_text())
    assert [finding["name"] for finding in value["findings"]] == [
        "blank_picture",
        "other_picture",
        "no_state",
        "other_state",
        "other_goal",
        "own_history",
    ]
    assert len(value["sentences"]) == 4
    assert value["sentences"][0] in (out / "audit.md").read_text()
    assert "findings:" in capsys.readouterr().out


def test_mistakes_are_one_line(dataset, tmp_path):
    lone = write_dataset(tmp_path / "lone", num_ticks=4)
    with pytest.raises(DataError, match="an audit needs two sessions"):
        audit_command.run(AuditConfig(dataset=lone, model="base", out=tmp_path / "out"))
    with pytest.raises(ModelError, match="no such model folder"):
        audit_command.run(AuditConfig(dataset=dataset.folder, model="nowhere", out=tmp_path / "out"))
    with pytest.raises(ConfigError, match="at least 2"):
        AuditConfig(dataset=dataset.folder, model="base", max_windows=1)
    assert not (tmp_path / "out").exists()
