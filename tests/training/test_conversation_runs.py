"""Whole runs on conversations: a kill loses nothing, and settings that contradict each other are one error."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from tests.training.synthetic import write_dataset
from vlm_agent.errors import ConfigError
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.adapters import train_adapter
from vlm_agent.training.config import EvaluationSettings, LoraSettings, RecipeSettings, TrainConfig

pytestmark = pytest.mark.model

STATE = {"inventory": {"free": 3}, "chat": ["Welcome to the bank, with four rings and a bar of gold."]}
CONFIG = TrainConfig(
    lora=LoraSettings(rank=4, dropout=0.0),
    evaluation=EvaluationSettings(every_steps=2),
    accumulation=1,
    max_steps=4,
    save_every_steps=1,
    epochs=2,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


@pytest.fixture(scope="module")
def talk_dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("talks") / "dataset", num_ticks=12, state=STATE)


SETTINGS = RecipeSettings(conversation_turns=3)


class KilledError(Exception):
    pass


class _Killer:
    def __init__(self, at_step: int) -> None:
        self._at_step = at_step

    def on_begin(self, *args) -> None:
        pass

    def on_step(self, step, num_steps, loss) -> None:
        if step == self._at_step:
            raise KilledError

    def on_evaluation(self, *args, **kwargs) -> None:
        pass


def test_a_killed_run_goes_on_to_the_same_weights(checkpoint, talk_dataset, tmp_path):
    def train(name: str, **more):
        base = load_model(checkpoint, device="cpu")
        return train_adapter(talk_dataset, base, CONFIG, tmp_path / name, settings=SETTINGS, **more)

    whole = train("whole")
    assert (whole.layout, whole.num_steps) == ("conversation", 4)
    assert whole.best_loss is not None
    with pytest.raises(KilledError):
        train("killed", watcher=_Killer(3))
    again = train("killed")
    weights = [(one.adapter / "adapter_model.safetensors").read_bytes() for one in (whole, again)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"layout": "shared"}, SETTINGS, r"--train.layout shared: windows are shown in conversations of up to 3 turns"),
        ({"layout": "conversation"}, RecipeSettings(), r"--train.layout conversation: windows are shown alone"),
        ({"hide_recent": 0.5}, SETTINGS, r"--train.hide-recent: conversations show no recent actions"),
        ({"crop": 0.05}, SETTINGS, r"--train.crop can't be had with --recipe.conversation-turns"),
        ({"jitter": ("brightness=0.1",)}, RecipeSettings(history_frames=2), r"--train.jitter can't be had with"),
        ({"hide_answers": 0.5}, RecipeSettings(), r"--train.hide-answers needs --recipe.conversation-turns"),
    ],
)
def test_settings_that_contradict_each_other_are_one_error(
    checkpoint, talk_dataset, tmp_path, changes, settings, message
):
    base = load_model(checkpoint, device="cpu")
    with pytest.raises(ConfigError, match=message) as caught:
        train_adapter(talk_dataset, base, replace(CONFIG, **changes), tmp_path / "run", settings=settings)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_numbers_weights_and_a_curriculum_go_with_conversations(checkpoint, talk_dataset, tmp_path):
    config = replace(
        CONFIG,
        soft_points=20.0,
        gaussian_weight=0.5,
        window_weights=("idle=0.5",),
        curriculum=("moves=0.25", "clicks=0.5"),
    )
    base = load_model(checkpoint, device="cpu")
    result = train_adapter(talk_dataset, base, config, tmp_path / "run", settings=SETTINGS)
    assert (result.layout, result.num_steps) == ("conversation", 4)
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(math.isfinite(step.get("loss", 0.0)) for step in steps)
