"""What of a model a run trains, and how much memory it keeps pictures in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch

from vlm_agent.training import adapters
from vlm_agent.training.adapters import make_trainable
from vlm_agent.training.config import LoraSettings, TrainConfig

pytestmark = pytest.mark.model

CONFIG = TrainConfig(lora=LoraSettings(rank=3, alpha=5, dropout=0.25), seed=11)


@dataclass(frozen=True)
class Loaded:
    model: object = "model"
    peft: object = None
    library: str = "hf"
    device: torch.device | None = None
    encoder: object = None
    context_tokens: int = 4096


@pytest.mark.parametrize("vision", [False, True])
def test_a_fresh_adapter_is_made_by_the_settings_and_the_runs_seed(monkeypatch, vision):
    asked = []
    monkeypatch.setattr(adapters, "attach_lora", lambda model, **options: asked.append((model, options)) or "wrapped")
    config = replace(CONFIG, lora=replace(CONFIG.lora, vision=vision))
    assert make_trainable(Loaded(), config).peft == "wrapped"
    assert asked == [("model", {"rank": 3, "alpha": 5, "dropout": 0.25, "seed": 11, "vision": vision})]


def test_an_adapter_that_is_there_is_trained_on(monkeypatch):
    monkeypatch.setattr(adapters, "attach_lora", lambda *_, **__: pytest.fail("a second adapter"))
    loaded = Loaded(peft="mine")
    assert make_trainable(loaded, CONFIG) is loaded


@pytest.mark.parametrize("vision", [False, True])
def test_full_training_leaves_the_vision_tower_unless_told(vision):
    model = torch.nn.ModuleDict({"visual": torch.nn.Linear(1, 1), "language": torch.nn.Linear(1, 1)})
    wrapped = torch.nn.ModuleDict({"model": model})
    wrapped.requires_grad_(False)
    make_trainable(Loaded(model=wrapped), replace(CONFIG, full=True, lora=LoraSettings(vision=vision)))
    trained = {name for name, parameter in wrapped.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[1] for name in trained} == ({"visual", "language"} if vision else {"language"})


@pytest.mark.parametrize(
    ("cache_mb", "device", "expected"), [(None, "cpu", 1_024_000_000), (None, "meta", 0), (3, "meta", 3_000_000)]
)
def test_memory_for_features_is_in_megabytes(monkeypatch, cache_mb, device, expected):
    limits = []
    prepared = SimpleNamespace(train=[], validation=[], layout="rows")
    for name, stub in {
        "prepare_rows": lambda *_: prepared,
        "measure_flops": lambda *_: None,
        "check_context": lambda *_: None,
        "Augmentation": lambda *_: None,
        "ChangedFrames": lambda *_: None,
        "FeatureCache": lambda loaded, load, limit, *_: limits.append(limit),
    }.items():
        monkeypatch.setattr(adapters, name, stub)
    chosen = SimpleNamespace(train=[])
    loaded = Loaded(device=torch.device(device))
    adapters._prepare(
        loaded,
        SimpleNamespace(folder=None),
        SimpleNamespace(spec=None),
        replace(CONFIG, feature_cache_mb=cache_mb),
        chosen,
    )
    assert limits == [expected]
