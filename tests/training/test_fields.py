"""Losses are told apart and weighed by field: hand-made tables, and sums that must come out."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import tyro
from hypothesis import HealthCheck, given, settings
from rich.console import Console

from tests.actions.tokenizers_for_tests import qwen, small_bpe
from tests.strategies import specs_with_chunks
from tests.training.killed_run import CONFIG
from tests.training.synthetic import (
    load_with_lora,
    make_examples,
    make_features,
    make_material,
    make_rows,
    shake_lora,
    write_dataset,
)
from vlm_agent.actions import ActionChunk, ActionSpec, Key, Move, make_codec
from vlm_agent.actions.automaton import ActionAutomaton
from vlm_agent.actions.labelling import label_answer
from vlm_agent.dataset.store import open_dataset
from vlm_agent.errors import ConfigError, ModelError
from vlm_agent.models.adapters import attach_lora
from vlm_agent.models.encoding import IGNORED_LABEL
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training import loop as loop_module
from vlm_agent.training.adapters import train_adapter
from vlm_agent.training.batches import lay_out
from vlm_agent.training.checkpoints import list_checkpoints
from vlm_agent.training.command import TrainArgs
from vlm_agent.training.config import EvaluationSettings, RecipeSettings, TrainConfig
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.fields import (
    FIELDS,
    NO_FIELD,
    FieldLabeler,
    FieldLoss,
    TokenWeights,
    find_actions,
    find_worst,
    join_losses,
    sum_fields,
)
from vlm_agent.training.layouts import build_rows
from vlm_agent.training.loop import TrainingLoop
from vlm_agent.training.metrics import METRICS_FILE, MetricsLog
from vlm_agent.training.moments import find_steps
from vlm_agent.training.passes import MeasuredLoss, add_gradients, find_losses, measure_loss
from vlm_agent.training.progress import ProgressWatcher, SilentWatcher
from vlm_agent.training.windows import FrameLoader, choose_recipe, encode_windows

pytestmark = pytest.mark.model

SPEC = ActionSpec(1000, 1000, keys=("space", "escape"), buttons=("left", "right"), max_actions=4)
CHUNK = ActionChunk((Key(220, "space"), Move(340, 54, 100)))
END = 1_000_000
"""Stands for the end of the turn: no vocabulary here is as large."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("fields") / "tiny")


def _label(codec_name, chunk, weights=None, tokenizer=None):
    tokenizer = tokenizer or qwen()
    automaton = ActionAutomaton(SPEC, codec_name, tokenizer)
    ids = tokenizer.encode(make_codec(codec_name).encode(chunk, SPEC))
    tokens = FieldLabeler(automaton, weights or TokenWeights()).label_actions((*ids, END))
    texts = [*(tokenizer.decode([one]) for one in ids), "END"]
    return list(zip(texts, (FIELDS[field].value for field in tokens.fields), tokens.weights.tolist(), strict=True))


def test_what_each_token_is_about_by_hand():
    labeled = [(text, field) for text, field, _ in _label("line", CHUNK)]
    assert labeled == [
        ("2", "dt"), ("2", "dt"), ("0", "dt"), (" key", "event"), (" space", "key"), ("\n", "stop"),
        ("3", "dt"), ("4", "dt"), ("0", "dt"), (" move", "event"), (" ", "structure"),
        ("5", "x"), ("4", "x"), (" ", "x"), ("1", "y"), ("0", "y"), ("0", "y"), (".", "stop"), ("END", "structure"),
    ]  # fmt: skip
    told = {field for _, field, _ in _label("json", CHUNK)}
    assert told == {"structure", "stop", "event", "dt", "key", "x", "y"}
    empty = [field for _, field, _ in _label("json", ActionChunk())]
    assert empty.count("stop") == 1
    assert set(empty) == {"stop", "structure"}


@pytest.mark.parametrize("codec_name", ["json", "line"])
def test_weights_of_fields_and_of_events_multiply(codec_name):
    weights = TokenWeights(by_field={"dt": 0.5, "event": 3.0}, by_event={"MOVE": 0.25})
    labeled = _label(codec_name, CHUNK, weights)
    key, move = _split(labeled)
    by_field = {"dt": 0.5, "event": 3.0}
    assert all(weight == by_field.get(field, 1.0) for _, field, weight in key)
    # The end of the turn is of no action.
    assert all(weight == 0.25 * by_field.get(field, 1.0) for _, field, weight in move[:-1])
    assert move[-1][2] == 1.0
    assert {field for _, field, _ in key} >= {"dt", "event", "key"}
    assert {field for _, field, _ in move} >= {"dt", "event", "x", "y"}
    assert all(weight == 1.0 for _, _, weight in _label(codec_name, CHUNK))


def _split(labeled):
    # The second of two that say that an action follows begins the second action.
    first, second = [index for index, (_, field, _) in enumerate(labeled) if field == "stop"][:2]
    border = second if labeled[0][1] == "structure" else first
    return labeled[:border], labeled[border:]


@pytest.mark.parametrize("codec_name", ["json", "line"])
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=specs_with_chunks(num_chunks=8))
def test_actions_follow_one_another_and_hold_their_own_tokens(codec_name, case):
    spec, chunks = case
    automaton = ActionAutomaton(spec, codec_name, small_bpe())
    for chunk in chunks:
        answer = label_answer(automaton, small_bpe().encode(make_codec(codec_name).encode(chunk, spec)))
        found = find_actions(answer)
        assert [event for _, _, event in found] == [type(action).__name__.upper() for action in chunk.actions]
        assert all(stop == start for (_, stop, _), (start, _, _) in itertools.pairwise(found))
        for start, stop, event in found:
            values = dict(said for token in answer.tokens[start:stop] for said in token.settled)
            assert values["event"] == event
            assert sum(said == ("stop", "more") for t in answer.tokens[start:stop] for said in t.settled) == 1


def test_sums_by_field_by_hand():
    fields = np.array([0, 1, NO_FIELD, 1], np.int8)
    first = sum_fields(np.array([0.5, 1.0, 9.0, 2.0]), fields)
    assert first == {"event": FieldLoss(0.5, 1), "dt": FieldLoss(3.0, 2)}
    both = join_losses([first, {"x": FieldLoss(4.0, 1), "event": FieldLoss(1.5, 3)}])
    assert both == {"event": FieldLoss(2.0, 4), "dt": FieldLoss(3.0, 2), "x": FieldLoss(4.0, 1)}
    assert find_worst(both, 2) == [("x", 4.0), ("dt", 1.5)]


@pytest.fixture(scope="module")
def steps_case(model, tmp_path_factory):
    folder = write_dataset(tmp_path_factory.mktemp("steps") / "dataset", num_ticks=9, with_validation=False)
    loaded = load_with_lora(model, CONFIG)
    shake_lora(loaded)
    store = open_dataset(folder)
    recipe = choose_recipe(loaded, store, RecipeSettings(names_steps=True))
    windows = list(store.windows("train"))
    return loaded, windows, recipe, folder


PLAIN = TrainConfig(batch_windows=2)


def _rows(case, config=PLAIN, layout="shared"):
    loaded, windows, recipe, _ = case
    examples = encode_windows(loaded.encoder, windows, recipe, find_steps(windows, recipe), config)
    return build_rows(examples, loaded.encoder, layout, config)


def _features(case):
    loaded, _, recipe, folder = case
    return FeatureCache(loaded, FrameLoader(folder, recipe), 1 << 22)


def test_losses_by_field_add_up_and_steps_are_their_own_field(steps_case):
    loaded, rows, features = steps_case[0], _rows(steps_case), _features(steps_case)
    measured = measure_loss(loaded, [lay_out(rows[:4], "shared"), lay_out(rows[4:], "packed")], features)
    assert sum(loss.num_tokens for loss in measured.by_field.values()) == sum(row.num_target_tokens for row in rows)
    total = sum(loss.nats for loss in measured.by_field.values())
    assert total / sum(row.num_target_tokens for row in rows) == pytest.approx(measured.mean, rel=1e-6)
    end = loaded.encoder.end_of_turn_id
    step_ids = [*loaded.encoder.encode_text("press short"), end]
    assert measured.by_field["step"].num_tokens == 9 * len(step_ids)
    assert measured.by_field["event"].num_tokens == 2 * 6  # a click and a key in six of nine ticks
    alone = measure_loss(loaded, [[row] for row in _rows(steps_case, layout="rows")], features)
    for name, loss in measured.by_field.items():
        assert alone.by_field[name].num_tokens == loss.num_tokens
        assert alone.by_field[name].mean == pytest.approx(loss.mean, rel=1e-4)


def test_fields_stand_where_their_tokens_are_learnt(steps_case):
    loaded, rows = steps_case[0], _rows(steps_case)
    digits = {loaded.encoder.encode_text(str(digit))[0] for digit in range(10)}
    numbers = {FIELDS.index(name) for name in ("dt", "x", "y")}
    for row in rows:
        assert row.num_windows == 2
        assert ((row.fields == NO_FIELD) == (row.targets == IGNORED_LABEL)).all()
        is_digit = np.isin(row.targets, list(digits))
        assert set(row.fields[is_digit]) <= numbers
        assert row.target_fields.tolist() == row.fields[row.targets != IGNORED_LABEL].tolist()


def test_weights_change_the_loss_and_not_what_fields_cost(steps_case):
    loaded, features = steps_case[0], _features(steps_case)
    config = replace(PLAIN, step_weight=2.0, field_weights=("x=3",), event_weights=("KEY=0.5",))
    even, weighed = _rows(steps_case), _rows(steps_case, config)
    plain, heavy = (measure_loss(loaded, [rows], features) for rows in (even, weighed))
    assert plain.by_field == heavy.by_field
    with torch.no_grad():
        losses, factors = find_losses(loaded, weighed, features)
    assert set(factors.tolist()) == {0.5, 1.0, 2.0, 3.0}
    assert heavy.mean == pytest.approx(float((losses * factors).sum() / factors.sum()), rel=1e-5)
    assert heavy.mean != pytest.approx(plain.mean, rel=1e-3)
    loaded.model.train()
    trained, _ = add_gradients(loaded, [weighed], features, 0)
    assert np.isfinite(trained)


def test_a_row_that_nobody_labeled_is_weighed_evenly(model):
    loaded = load_with_lora(model, CONFIG)
    rows = make_rows(loaded, make_examples(loaded, 3))
    assert all((row.fields == NO_FIELD).all() for row in rows)
    assert set(np.concatenate([row.weights for row in rows]).tolist()) == {0.0, 1.0}
    assert measure_loss(loaded, [rows], make_features(loaded)).by_field == {}


def test_a_run_writes_losses_by_field_down_and_shows_the_worst(model, tmp_path):
    dataset = write_dataset(tmp_path / "dataset", num_ticks=6)
    config = TrainConfig(evaluation=EvaluationSettings(every_steps=1), max_steps=2, event_weights=("KEY=0.5",))
    console = Console(file=(tmp_path / "shown").open("w"), width=200)
    with ProgressWatcher(console) as watcher:
        train_adapter(dataset, load_model(model, device="cpu"), config, tmp_path / "run", watcher=watcher)
    console.file.close()
    evaluations = [line for line in MetricsLog(tmp_path / "run" / METRICS_FILE).read() if "eval_loss" in line]
    assert [line["step"] for line in evaluations] == [0, 1, 2]
    for line in evaluations:
        by_field = line["eval_loss_by_field"]
        assert set(by_field) == {"event", "dt", "x", "y", "button", "key", "stop", "structure", "state"} & set(by_field)
        assert {"event", "dt", "x", "y", "stop", "structure"} <= set(by_field)
        assert all(loss["loss"] > 0 and loss["tokens"] > 0 for loss in by_field.values())
    worst = max(evaluations[1]["eval_loss_by_field"].items(), key=lambda item: item[1]["loss"])
    shown = (tmp_path / "shown").read_text()
    assert f"best; {worst[0]} {worst[1]['loss']:.2f}, " in shown
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["event_weights"] == ["KEY=0.5"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"field_weights": ("colour=2",)}, "--train.field-weights.*colour=2"),
        ({"field_weights": ("x=2", "x=3")}, "--train.field-weights.*x=3"),
        ({"field_weights": ("x",)}, "--train.field-weights: expected a number behind x="),
        ({"field_weights": ("x=0",)}, "--train.field-weights must be above 0 for x"),
        ({"field_weights": ("x=nan",)}, "--train.field-weights must be above 0 for x"),
        ({"event_weights": ("move=0.3",)}, "--train.event-weights.*CLICK, KEY, SCROLL, MOVE"),
    ],
)
def test_weights_that_cannot_be_meant(changes, told):
    with pytest.raises(ConfigError, match=told) as caught:
        TrainConfig(**changes)
    assert "\n" not in str(caught.value)


def test_a_loss_on_unseen_sessions_that_is_no_number_names_the_last_good_checkpoint(model, tmp_path, monkeypatch):
    true_measure, calls = loop_module.measure_loss, []

    def poisoned(*args):
        calls.append(1)
        measured = true_measure(*args)
        return MeasuredLoss(float("nan"), measured.by_field) if len(calls) == 3 else measured

    monkeypatch.setattr(loop_module, "measure_loss", poisoned)
    loaded = load_with_lora(model, CONFIG)
    with pytest.raises(ModelError, match=r"at step 8 \(loss nan on unseen sessions\).*step-000006") as caught:
        TrainingLoop(loaded, make_material(loaded), CONFIG, tmp_path, SilentWatcher()).run()
    assert "\n" not in str(caught.value)
    assert [path.name for path in list_checkpoints(tmp_path / "checkpoints")] == ["step-000003", "step-000006"]


@pytest.mark.parametrize(("save_every", "told"), [(2, "step-000004"), (50, "no good checkpoint yet")])
def test_weights_that_are_no_numbers_are_not_saved(model, tmp_path, save_every, told):
    class Spoil(SilentWatcher):
        def on_step(self, step: int, num_steps: int, loss: float) -> None:
            if step == 5:
                next(p for p in loaded.peft.parameters() if p.requires_grad).data.fill_(float("inf"))

    loaded = load_with_lora(model, CONFIG)
    config = replace(CONFIG, evaluation=EvaluationSettings(every_steps=0), save_every_steps=save_every)
    with pytest.raises(ModelError, match=rf"at step 6 \(loss nan.*{told}"):
        TrainingLoop(loaded, make_material(loaded), config, tmp_path, Spoil()).run()
    assert all(int(path.name[-6:]) <= 4 for path in list_checkpoints(tmp_path / "checkpoints"))


def test_a_model_whose_layers_have_other_names_is_one_line():
    class Other(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4)])

    with pytest.raises(ModelError, match="Other: has no layers that an adapter can be put on") as caught:
        attach_lora(Other(), rank=4, alpha=4, dropout=0.0, seed=0)
    assert "\n" not in str(caught.value)


def test_a_run_from_before_there_were_weights_goes_on(model, tmp_path):
    dataset = write_dataset(tmp_path / "dataset", num_ticks=3)
    config = TrainConfig(evaluation=EvaluationSettings(every_steps=0), max_steps=1)
    result = train_adapter(dataset, load_model(model, device="cpu"), config, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    numbers = ("soft_points", "soft_dt_ms", "pinball_weight", "gaussian_weight")
    for name in ("field_weights", "event_weights", "window_weights", "curriculum", "jitter", "crop", *numbers):
        assert record["config"].pop(name) is None
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    again = train_adapter(dataset, load_model(model, device="cpu"), config, tmp_path / "run")
    assert again.num_steps == result.num_steps


def test_weights_are_given_on_the_command_line():
    line = ["--dataset", "d", "--out", "o", "--train.field-weights", "event=2", "dt=0.5"]
    config = tyro.cli(TrainArgs, args=[*line, "--train.event-weights", "MOVE=0.3"]).train
    assert config.read_field_weights() == {"event": 2.0, "dt": 0.5}
    assert config.read_event_weights() == {"MOVE": 0.3}
    assert tyro.cli(TrainArgs, args=["--dataset", "d", "--out", "o"]).train == TrainConfig()
