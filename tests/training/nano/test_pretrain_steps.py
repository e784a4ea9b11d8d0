"""Rates, clipping and the log of nano's training, without a model."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from vlm_agent.training.nano import pretrain
from vlm_agent.training.nano.pretrain import Progressed, Run

pytestmark = pytest.mark.model


def make_run(tmp_path=None, **config) -> Run:
    run = object.__new__(Run)
    run.config = SimpleNamespace(**{"learning_rate": 0.5, "out": tmp_path, "save_every_steps": 20} | config)
    run.progress = Progressed()
    run.model = torch.nn.Linear(2, 1, bias=False)
    run.model.weight.data.zero_()
    run.head, run.readers = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    return run


def test_rates_warm_up_and_fall_to_a_tenth_and_the_vision_towers_is_a_share():
    run = make_run()
    run.optimizer = SimpleNamespace(param_groups=[{}, {}, {}])

    def rates(step: int) -> list[float]:
        run.set_rates(step, 1000, 0.25)
        return [group["lr"] for group in run.optimizer.param_groups]

    assert rates(0)[1] == pytest.approx(0.5 * 0.01)
    assert rates(49)[1] == pytest.approx(0.5 * 0.5, rel=0.01)
    assert rates(500) == pytest.approx([0.25 * 0.5 * 0.55, 0.5 * 0.55, 0.5 * 0.55])
    assert rates(1000)[1] == pytest.approx(0.5 * 0.1)
    assert rates(99)[1] > rates(300)[1] > rates(700)[1]


def test_gradients_are_clipped_to_one_and_start_anew_at_every_step():
    run = make_run()
    run.optimizer = torch.optim.SGD(run.model.parameters(), lr=1.0)
    for step in (1, 2):
        norm = run.update((run.model.weight * torch.tensor([[3.0, 4.0]])).sum())
        assert norm == pytest.approx(5.0)
        assert run.model.weight.tolist()[0] == pytest.approx([-0.6 * step, -0.8 * step], rel=1e-4)


def test_weights_of_the_tower_the_rest_and_the_heads_are_trained_each_once():
    run = make_run()
    visual, text = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    run.model = torch.nn.Module()
    run.model.model = torch.nn.Module()
    run.model.model.visual, run.model.model.text = visual, text
    groups = run._make_optimizer().param_groups
    assert [len(group["params"]) for group in groups] == [2, 2, 4]
    assert {id(p) for p in groups[0]["params"]} == {id(p) for p in visual.parameters()}
    assert {id(p) for p in groups[1]["params"]} == {id(p) for p in text.parameters()}


def test_a_step_is_counted_logged_now_and_then_and_saved_as_often_as_asked(tmp_path, monkeypatch):
    run, saved = make_run(tmp_path, save_every_steps=30), []
    monkeypatch.setattr(run, "save", lambda: saved.append(run.progress.step), raising=False)
    bar = SimpleNamespace(update=lambda *_, **__: None)
    for _ in range(61):
        pretrain._finish_step(run, bar, None, {"loss": 0.123456789})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(20, 0.12346), (40, 0.12346), (60, 0.12346)]
    assert saved == [30, 60]


def test_parts_of_answers_weigh_the_same_and_what_is_right_is_told_of_the_last():
    run = make_run()
    run.digit_ids = torch.tensor([1])
    taken = []
    run.update = lambda loss: taken.append(float(loss))
    sure = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    unsure = torch.zeros(1, 2)
    scores = pretrain._learn_answers(
        run, (unsure, torch.tensor([0])), (sure, torch.tensor([1, 1])), beside=torch.tensor(2.0)
    )
    wrong = float(torch.nn.functional.cross_entropy(sure, torch.tensor([1, 1])))
    assert taken == [pytest.approx(float(torch.log(torch.tensor(2.0))) + wrong + 2.0)]
    assert (scores["right"], scores["digits"]) == (0.5, 0.5)


def test_stages_follow_each_other():
    names = [stage for stage, _, _ in pretrain.STAGES]
    assert names == ["dense", "copy", "look", "follow"]
    assert [following for _, _, following in pretrain.STAGES] == [*names[1:], "finished"]
