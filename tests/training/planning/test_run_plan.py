"""`vlm-agent plan` as its user meets it: what it prints, when it says no, and what it says to change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.planning.bare_models import copy_bare, write_bare, write_large
from tests.training.synthetic import SPEC, write_dataset
from vlm_agent.cli import main, run_command
from vlm_agent.errors import ConfigError, DataError, ModelError
from vlm_agent.models.images import ImageSettings
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.adapters import train_adapter
from vlm_agent.training.config import EvaluationSettings, RecipeSettings, TrainConfig

pytestmark = pytest.mark.model

SLOW = ["--assume.layer-call-ms", "0.25", "--assume.share-of-bandwidth", "0.5", "--assume.prepare-ms", "10"]
"""A decision of an 8B model takes a little over 600 ms on a small card, and with shorter answers a little less."""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("plan") / "tiny")


@pytest.fixture(scope="module")
def bare(model, tmp_path_factory) -> Path:
    return copy_bare(model, tmp_path_factory.mktemp("plan") / "bare")


@pytest.fixture(scope="module")
def small_pictures(bare, tmp_path_factory) -> Path:
    """A model for which a frame of these tests need not be enlarged."""
    folder = copy_bare(bare, tmp_path_factory.mktemp("plan") / "small")
    settings = ImageSettings(min_pixels=1_024).to_preprocessor_json()
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    return write_large(tmp_path_factory.mktemp("plan") / "large")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    state = {"player": {"animation": -1}}
    return write_dataset(tmp_path_factory.mktemp("plan-data") / "dataset", num_ticks=9, state=state)


def _plan(capsys, dataset, model, *more, code: int | None = 0) -> dict:
    """Return what the command says; none as its exit code takes any, where this machine's speed decides."""
    line = ["plan", "--dataset", str(dataset), "--model", str(model), "--device", "cpu", "--json", *more]
    ended = 0
    try:
        run_command(line)
    except SystemExit as ending:
        ended = ending.code
    assert code is None or ended == code
    return json.loads(capsys.readouterr().out)


def _verdicts(plan) -> list:
    return [verdict["is_go"] for verdict in plan["verdicts"]]


def test_a_model_that_is_here_is_measured(capsys, dataset, model):
    before = {path: path.read_bytes() for path in [*dataset.rglob("*"), *model.rglob("*")] if path.is_file()}
    plan = _plan(capsys, dataset, model, "--probe-steps", "3", "--decisions", "2", code=None)
    *others, decision = _verdicts(plan)
    assert others == [True] * 4
    assert decision is (plan["outcomes"][0]["decision_ms"]["slow"] <= 600)
    given = plan["outcomes"][0]
    assert given["run_s"] > 0
    assert given["decision_ms"]["slow"] >= given["decision_ms"]["usual"] > 0
    assert any("measured here: 2 training steps and 2 decisions" in note for note in plan["notes"])
    assert {path: path.read_bytes() for path in [*dataset.rglob("*"), *model.rglob("*")] if path.is_file()} == before


def test_tokens_by_part_and_what_other_settings_take(capsys, dataset, small_pictures):
    plan = _plan(capsys, dataset, small_pictures)
    parts = plan["tokens"]["actions"]
    total = parts.pop("total")
    names = {"system", "picture", "game state", "recent actions", "goal", "chat format", "answer", "earlier turns"}
    assert set(parts) == names
    assert parts["earlier turns"]["largest"] == 0
    assert sum(part["p50"] for part in parts.values()) == pytest.approx(total["p50"], abs=8)
    given, *others = plan["outcomes"]
    by_change = {outcome["change"]: outcome for outcome in others}
    assert given["window"] == total
    assert by_change["--recipe.codec line"]["answer"]["p50"] < given["answer"]["p50"]
    assert by_change["--recipe.history-ticks 0"]["window"]["p50"] < given["window"]["p50"]
    pictures = [outcome for change, outcome in by_change.items() if change.startswith("--recipe.image-max-tokens")]
    assert len(pictures) > 1
    assert [outcome["picture_tokens"] for outcome in pictures] == sorted(
        (outcome["picture_tokens"] for outcome in pictures), reverse=True
    )
    for outcome in pictures:
        spared = given["picture_tokens"] - outcome["picture_tokens"]
        assert given["window"]["p50"] - outcome["window"]["p50"] == spared > 0
        assert outcome["memory_total_bytes"]["training"] < given["memory_total_bytes"]["training"]
    assert plan["work"]["windows"] == 12


def test_pictures_no_smaller_than_the_processor_makes_them_are_told(capsys, dataset, bare):
    small, plain = (_plan(capsys, dataset, bare, "--recipe.image-max-tokens", count) for count in ("8", "64"))
    assert "pictures take at least 64 tokens" in " ".join(small["notes"])
    assert "pictures take at least" not in " ".join(plain["notes"])
    for plan in (small, plain):
        assert {outcome["picture_tokens"] for outcome in plan["outcomes"]} == {70}


def test_a_config_and_a_tokenizer_are_enough(capsys, dataset, bare, model):
    plan = _plan(capsys, dataset, bare)
    assert _verdicts(plan) == [True, True, True, None, None]
    assert plan["is_go"]
    assert "no weights here" in " ".join(plan["notes"])
    measured = _plan(capsys, dataset, model, "--probe-steps", "1", "--decisions", "1", code=None)
    assert measured["tokens"] == plan["tokens"]
    assert measured["shape"] == plan["shape"]


def test_an_8b_model_on_a_card_that_is_not_here(capsys, dataset, large):
    plan = _plan(capsys, dataset, large, "--gpu", "RTX 4090")
    assert plan["place"] == "rtx-4090"
    assert _verdicts(plan) == [True] * 5
    training = plan["outcomes"][0]["training"]
    assert training["weights"] == pytest.approx(7.2e9, rel=0.02)
    kept = plan["outcomes"][0]["memory_total_bytes"]["training"]
    assert 18e9 < kept < 23e9
    # Layers are run again where the card is too small for what they compute, or if asked for.
    for more in (["--gpu", "rtx-4080"], ["--gpu", "rtx-4090", "--train.recompute", "on"]):
        again = _plan(capsys, dataset, large, *more, "--hours", "1000", "--assume.layer-call-ms", "0.1")
        assert 8e9 < again["outcomes"][0]["memory_total_bytes"]["training"] < 12e9
        assert "layers are run again in the backward pass (--train.recompute)" in again["notes"]
    tight = _plan(capsys, dataset, large, "--gpu", "rtx-4080", "--train.recompute", "off", code=1)
    assert tight["outcomes"][0]["memory_total_bytes"]["training"] == kept
    assert "predicted, not measured" in " ".join(plan["notes"])


def test_a_no_go_says_what_to_change_and_ends_with_1(capsys, dataset, large):
    slow = ["--gpu", "rtx-3060", *SLOW]
    plan = _plan(capsys, dataset, large, *slow, code=1)
    assert not plan["is_go"]
    decision = plan["verdicts"][-1]
    assert decision["is_go"] is False
    mended = next(outcome for outcome in plan["outcomes"] if outcome["change"] == decision["mend"])
    assert mended["decision_ms"]["slow"] <= 600 < plan["outcomes"][0]["decision_ms"]["slow"]
    assert decision["mend"] == "--recipe.codec line"


def test_the_change_that_is_named_mends_it(capsys, dataset, large):
    slow = ["--gpu", "rtx-3060", *SLOW]
    _plan(capsys, dataset, large, *slow, code=1)
    mended = _plan(capsys, dataset, large, *slow, "--recipe.codec", "line")
    assert mended["is_go"]


def test_a_run_that_is_too_long_and_a_card_that_is_too_small(capsys, dataset, large):
    plan = _plan(capsys, dataset, large, "--gpu", "l4", "--hours", "0.0001", code=1)
    assert _verdicts(plan)[3] is False
    assert "% of the steps" in plan["verdicts"][3]["mend"]
    plan = _plan(capsys, dataset, large, "--gpu", "rtx-3060", "--quantization", "none", code=1)
    assert _verdicts(plan)[:3] == [True, False, False]
    assert "a smaller model" in plan["verdicts"][1]["mend"]


def test_windows_longer_than_the_context(capsys, dataset, tmp_path):
    folder = write_bare(tmp_path / "short")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["text_config"]["max_position_embeddings"] = 300
    path.write_text(json.dumps(config))
    plan = _plan(capsys, dataset, folder, code=1)
    assert _verdicts(plan)[0] is False
    longest = max(plan["tokens"][question]["total"]["largest"] for question in plan["tokens"])
    assert f"{longest} of 300 tokens" in plan["verdicts"][0]["told"]


def test_a_sample_is_drawn_by_pictures_and_told(capsys, dataset, bare):
    plan = _plan(capsys, dataset, bare, "--sample", "4")
    assert "4 of 12 windows were tokenized" in " ".join(plan["notes"])
    assert plan["work"]["windows"] == 12
    assert _plan(capsys, dataset, bare, "--sample", "4")["tokens"] == plan["tokens"]


def test_steps_are_a_question_of_their_own(capsys, dataset, model):
    names = ["--recipe.names-steps", "--recipe.steps-from-state"]
    plan = _plan(capsys, dataset, model, *names, "--probe-steps", "1", "--decisions", "3")
    assert set(plan["tokens"]) == {"actions", "step"}
    step = plan["tokens"]["step"]
    assert step["picture"]["largest"] == step["system"]["largest"] == 0
    assert step["total"]["largest"] < plan["tokens"]["actions"]["total"]["p50"]


def test_a_history_of_pictures_is_counted(capsys, dataset, small_pictures):
    one, two = (_plan(capsys, dataset, small_pictures, "--recipe.history-frames", str(count)) for count in (1, 2))
    single = one["outcomes"][0]["picture_tokens"]
    assert one["tokens"]["actions"]["picture"]["largest"] == single
    assert two["tokens"]["actions"]["picture"]["p50"] == 2 * single
    assert two["work"]["picture_visits"] > one["work"]["picture_visits"]
    smaller = next(outcome for outcome in two["outcomes"] if outcome["change"].startswith("--recipe.image-max-tokens"))
    spared = single - smaller["picture_tokens"]
    assert two["outcomes"][0]["window"]["p50"] - smaller["window"]["p50"] == 2 * spared


def test_conversations_are_planned_as_they_are_trained(capsys, dataset, model, tmp_path):
    asked = ["--recipe.conversation-turns", "3", "--train.max-steps", "1"]
    plan = _plan(capsys, dataset, model, *asked, "--probe-steps", "1", "--decisions", "3")
    parts = plan["tokens"]["actions"]
    assert parts["earlier turns"]["largest"] > 0
    assert parts["recent actions"]["largest"] == 0
    single = plan["outcomes"][0]["picture_tokens"]
    assert parts["picture"]["largest"] == 3 * single
    assert any("laid out as: conversation" in note for note in plan["notes"])
    assert plan["outcomes"][0]["decision_ms"]["usual"] > 0
    changes = [outcome["change"] for outcome in plan["outcomes"]]
    talks = [change for change in changes if "conversation-turns 1" not in change]
    assert not any("history-ticks" in change or "batch-windows" in change for change in talks)
    assert "--recipe.conversation-turns 2" in talks
    settings = RecipeSettings(conversation_turns=3)
    config = TrainConfig(evaluation=EvaluationSettings(every_steps=0), max_steps=1)
    result = train_adapter(dataset, load_model(model, device="cpu"), config, tmp_path / "run", settings=settings)
    assert (result.layout, result.num_steps) == ("conversation", plan["work"]["steps"])
    [step] = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert step["windows"] == plan["work"]["windows"] == 12


@pytest.mark.parametrize(("flag", "given", "fewer"), [("history-frames", 4, [2, 1]), ("conversation-turns", 4, [2, 1])])
def test_fewer_pictures_are_tried_and_take_what_a_plan_of_them_says(capsys, dataset, bare, flag, given, fewer):
    plan = _plan(capsys, dataset, bare, f"--recipe.{flag}", str(given))
    by_change = {outcome["change"]: outcome for outcome in plan["outcomes"]}
    tried = [by_change[f"--recipe.{flag} {count}"] for count in fewer]
    totals = [plan["outcomes"][0], *tried]
    tokens = [outcome["window"]["largest"] for outcome in totals]
    memory = [outcome["memory_total_bytes"]["training"] for outcome in totals]
    assert tokens == sorted(tokens, reverse=True)
    assert memory == sorted(memory, reverse=True)
    assert memory[0] > memory[-1]
    for count, outcome in zip(fewer, tried, strict=True):
        alone = _plan(capsys, dataset, bare, f"--recipe.{flag}", str(count))["outcomes"][0]
        assert {**outcome, "change": ""} == alone
    assert plan["outcomes"][-1]["change"].startswith(f"--recipe.{flag} 1 --recipe.codec line")


def test_a_context_too_small_for_a_history_is_mended_by_a_shorter_one(capsys, dataset, tmp_path):
    folder = write_bare(tmp_path / "short")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    two = _plan(capsys, dataset, folder, "--recipe.history-frames", "2")["outcomes"][0]["longest"]
    config["text_config"]["max_position_embeddings"] = two - 1
    path.write_text(json.dumps(config))
    plan = _plan(capsys, dataset, folder, "--recipe.history-frames", "2", "--recipe.codec", "line", code=0)
    assert plan["is_go"]
    plan = _plan(capsys, dataset, folder, "--recipe.history-frames", "4", "--recipe.codec", "line", code=1)
    assert plan["verdicts"][0]["mend"].startswith("--recipe.history-")


FULL = ["--quantization", "none", "--train.full", "--train.recompute", "on", "--hours", "1000"]


def test_all_weights_of_an_8b_model_need_several_cards(capsys, dataset, large):
    """Weights, gradients of the step and of a pass, and two averages, 4 bytes each; beside them 2 for products."""
    plan = _plan(capsys, dataset, large, "--gpu", "h200", *FULL, code=1)
    given, *others = plan["outcomes"]
    trained = plan["shape"]["language"] + plan["shape"]["embedding"] + plan["shape"]["head"]
    assert given["training"]["weights"] == 4 * (trained + plan["shape"]["vision"])
    assert given["training"]["adapter"] == 16 * trained
    assert given["play"]["weights"] == given["training"]["weights"] // 2
    by_change = {outcome["change"]: outcome["training"] for outcome in others}
    assert by_change["--train.optimizer adamw-8bit"]["adapter"] == pytest.approx((8 + 2 + 1 / 32) * trained, rel=1e-6)
    assert plan["verdicts"][1]["mend"] == "an adapter, without --train.full"
    small = _plan(capsys, dataset, large, "--gpu", "h200", *FULL, "--train.optimizer", "adamw-8bit", code=1)
    assert small["outcomes"][0]["training"] == by_change["--train.optimizer adamw-8bit"]
    shared = _plan(capsys, dataset, large, "--gpu", "h200", *FULL, "--train.shard", "--processes", "4")
    assert shared["is_go"]
    assert shared["outcomes"][0]["training"]["adapter"] == 12 * trained // 4
    assert shared["outcomes"][0]["run_s"] == pytest.approx(given["run_s"] / 4)


def test_an_earlier_run_brings_its_recipe(capsys, dataset, model, tmp_path):
    config = TrainConfig(evaluation=EvaluationSettings(every_steps=0), max_steps=1)
    train_adapter(dataset, load_model(model, device="cpu"), config, tmp_path / "run")
    plan = _plan(capsys, dataset, tmp_path / "run", "--recipe.codec", "line", "--probe-steps", "1", "--decisions", "1")
    assert any(outcome["change"] == "--recipe.codec line" for outcome in plan["outcomes"])
    assert "an earlier run brings its own recipe" in " ".join(plan["notes"])
    other = write_dataset(tmp_path / "other", replace(SPEC, keys=("a", "space", "w")), 3)
    with pytest.raises(DataError, match="another action spec") as caught:
        run_command(["plan", "--dataset", str(other), "--model", str(tmp_path / "run")])
    assert "\n" not in str(caught.value)


def test_the_tables_are_for_people(capsys, dataset, large):
    run_command(["plan", "--dataset", str(dataset), "--model", str(large), "--gpu", "h100"])
    shown = capsys.readouterr().out
    for words in ("Tokens of a window", "8.77 B parameters, h100", "as given", "--recipe.codec line", "all in all"):
        assert words in shown
    assert " go " in shown
    assert "no-go" not in shown


@pytest.mark.parametrize(
    ("more", "error", "told"),
    [
        (["--gpu", "abacus"], ConfigError, "--gpu abacus: not in the table"),
        (["--sample", "0"], ConfigError, "--sample"),
        (["--hours", "0"], ConfigError, "--hours"),
        (["--train.full"], ConfigError, "--train.full needs --quantization none"),
        (["--train.shard", "--quantization", "none"], ConfigError, "say how many: --processes 2"),
        (["--train.field-weights", "colour=2"], ConfigError, "colour=2"),
    ],
)
def test_settings_that_cannot_be_meant(dataset, bare, more, error, told):
    with pytest.raises(error, match=told):
        run_command(["plan", "--dataset", str(dataset), "--model", str(bare), *more])


def test_a_model_that_is_none(dataset, bare, tmp_path, capsys, monkeypatch):
    folder = copy_bare(bare, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    with pytest.raises(ModelError, match="expected a qwen2_5_vl or qwen3_vl checkpoint, got model_type 'llama'"):
        run_command(["plan", "--dataset", str(dataset), "--model", str(folder)])
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").unlink()
    monkeypatch.setattr("sys.argv", ["vlm-agent", "plan", "--dataset", str(dataset), "--model", str(folder)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
