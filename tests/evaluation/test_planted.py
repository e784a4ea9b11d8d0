"""The whole of `vlm-agent compare` on planted agents: the verdict says of each what it is.

Model folders are real (a tiny one, with an adapter of noise or of zeros); who answers in their place is planted, in
play and on recorded windows alike.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from labeling.stage import LabelArgs, label_and_build
from tests.evaluation.tiny_runs import make_tiny_recipe, write_run
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click
from vlm_agent.errors import ModelError
from vlm_agent.evaluation import matches
from vlm_agent.evaluation.compare import CompareConfig, PartsConfig, run
from vlm_agent.evaluation.comparison import read_schema
from vlm_agent.evaluation.offline import contenders
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.observations import Observation
from vlm_agent.policies import NoOpPolicy, Policy, ScriptedPolicy
from vlm_agent.rollouts.recording import DemonstrationConfig, record_demonstrations

pytestmark = pytest.mark.model

FIRST_SEED, SEEDS = 10_000, 12


def open_bank(seen: Observation, _: ActionSpec, *, looks: bool, on_days: tuple[int, ...] = (0, 1)) -> ActionChunk:
    """Click the nearest bank booth of the state if that is asked for; whoever looks sees nothing in the dark."""
    state = seen.game_state or {}
    things = [*state.get("closestGameObjects", []), *state.get("closestNPCs", [])]
    booths = [thing for thing in things if "Bank" in thing["actions"] and "clickbox" in thing]
    is_dark = looks and not seen.frame.any()
    seed = state.get("sim", {}).get("seed", 0)
    rests = seed >= FIRST_SEED and seed % 2 not in on_days
    if not booths or is_dark or rests or "bank" not in seen.goal:
        return ActionChunk()
    box = booths[0]["clickbox"]
    x, y = box["x"] + box["width"] // 2, box["y"] + box["height"] // 2
    return ActionChunk((Click(100, x, y),)) if 0 <= x < 512 and 0 <= y < 334 else ActionChunk()


def make_opener(**settings: Any) -> Policy:
    return ScriptedPolicy(partial(open_bank, **settings))


GOOD = partial(make_opener, looks=True)
BLIND = partial(make_opener, looks=False)
EVEN, ODD = (partial(make_opener, looks=True, on_days=(day,)) for day in (0, 1))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(scope="module")
def dataset(root: Path) -> Path:
    settings = DemonstrationConfig(minutes=0.05, fps=5 / 3, starts="anywhere")
    record_demonstrations(root / "sessions", range(12), settings)
    label_and_build(LabelArgs(sessions=root / "sessions", out=root / "labeled", labeler="game"))
    return root / "labeled" / "dataset"


@pytest.fixture(scope="module")
def base(root: Path) -> Path:
    return write_tiny_checkpoint(root / "base")


@pytest.fixture(scope="module")
def tuned(root: Path, base: Path) -> Path:
    return write_run(root / "tuned", base, recipe=make_tiny_recipe())


def compare_planted(
    monkeypatch, places: tuple[Path, Path, Path, Path], play_base: Any, play_tuned: Any, **parts: Any
) -> dict[str, Any]:
    base, tuned, dataset, out = places

    def make(side_or_name: Any, *_: Any) -> Policy:
        name = str(getattr(side_or_name, "name", side_or_name))
        return (play_tuned if name == str(tuned) else play_base)()

    monkeypatch.setattr(matches, "_make_model", make)
    monkeypatch.setattr(contenders, "make_model", make)
    config = CompareConfig(
        base=str(base),
        tuned=str(tuned),
        goal="open the bank",
        first_seed=FIRST_SEED,
        seeds=SEEDS,
        max_ticks=8,
        workers=1,
        device="cpu",
        bootstrap_resamples=500,
        out=out,
        parts=PartsConfig(dataset=dataset, windows=20, readout_windows=0, few_shot=0, audit_windows=20, **parts),
    )
    run(config)
    value: dict[str, Any] = json.loads((out / "comparison.json").read_text())
    jsonschema.validate(value, read_schema())
    # The demonstrator does not know this goal, so that there is nobody to be like.
    assert [reason.split(":")[0] for reason in value["missing"]] == ["likeness"]
    return value


@pytest.mark.parametrize(
    ("play_base", "play_tuned", "finding", "is_blind", "words"),
    [
        (NoOpPolicy, GOOD, "better", False, "It stands above every trivial baseline"),
        (EVEN, ODD, "not_distinguishable", False, "may be chance"),
        (GOOD, NoOpPolicy, "worse", True, "Tuning did harm"),
        (NoOpPolicy, BLIND, "better", True, "and not on the picture"),
    ],
    ids=["better", "equal", "worse", "blind"],
)
def test_the_verdict_says_what_was_planted(
    base, tuned, dataset, tmp_path, monkeypatch, play_base, play_tuned, finding, is_blind, words
) -> None:
    value = compare_planted(monkeypatch, (base, tuned, dataset, tmp_path / "report"), play_base, play_tuned)
    verdict = value["verdict"]
    assert (verdict["finding"], verdict["is_blind"]) == (finding, is_blind), verdict
    assert words in verdict["text"]
    assert ("does not look" in verdict["headline"]) is is_blind
    page = (tmp_path / "report" / "index.html").read_text()
    assert verdict["headline"] in page
    assert verdict["text"].split(".")[0] in (tmp_path / "report" / "report.md").read_text()
    assert value["tuned"]["success"]["mean"] == (
        0 if play_tuned is NoOpPolicy else pytest.approx(value["tuned"]["mean"])
    )


def test_further_goals_tell_what_was_gained_and_forgotten(base, tuned, dataset, tmp_path, monkeypatch) -> None:
    places = (base, tuned, dataset, tmp_path / "report")
    goals = ("open the bank", "open the prayer tab")
    value = compare_planted(monkeypatch, places, NoOpPolicy, GOOD, goals=goals, goal_seeds=10, goal_ticks=12)
    bank, prayer = value["parts"]["goals"]
    assert (bank["goal"], prayer["goal"]) == goals
    assert bank["n_seeds"] == len(bank["tuned"]["per_seed"]) == 10
    assert bank["max_ticks"] == 12
    assert bank["tuned"]["mean"] > 0.5 > bank["base"]["mean"] == prayer["tuned"]["mean"] == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Of 2 further goals tuned is better than base for sure on 1, worse on 0." in page
    assert (tmp_path / "report" / "goals" / "00-open-the-bank" / "tuned.jsonl").exists()


def test_an_adapter_that_was_never_applied_is_told_as_that(base, root, dataset, tmp_path, monkeypatch) -> None:
    zeros = write_run(root / "zeros", base, noise=0.0)
    with pytest.raises(ModelError, match="changes nothing"):
        compare_planted(monkeypatch, (base, zeros, dataset, tmp_path / "report"), NoOpPolicy, GOOD)
    value = json.loads((tmp_path / "report" / "comparison.json").read_text())
    jsonschema.validate(value, read_schema())
    assert value["verdict"]["finding"] == "not_applied"
    assert "base" not in value
