"""What a model's policy does around its engine: chance, memory, time."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vlm_agent import policies
from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click
from vlm_agent.observations import Observation
from vlm_agent.policies import VlmPolicy, find_recipe

pytestmark = pytest.mark.model

SPEC = ActionSpec(160, 96, keys=("a", "space"))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    from vlm_agent.models.loading import load_model
    from vlm_agent.models.tiny import write_tiny_checkpoint

    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "qwen3_vl", "qwen3_vl")
    return load_model(folder, quantization="none", device="cpu")


class Engine:
    """Keeps what it was asked with; takes as long as it is told to say."""

    def __init__(self, *, prefill_ms: float = 1.0, decode_ms: float = 2.0) -> None:
        self.times = prefill_ms, decode_ms
        self.drawn: list[float | None] = []
        self.prompts: list[int] = []
        self.answer: tuple[int, ...] | None = None

    def decode(self, prompt, matcher, generator=None):
        self.drawn.append(None if generator is None else float(torch.rand(1, generator=generator)))
        self.prompts.append(len(prompt.encoded.input_ids))
        prefill_ms, decode_ms = self.times
        return SimpleNamespace(
            token_ids=self.answer or (),
            stop="truncated" if self.answer is None else None,
            prefill_ms=prefill_ms,
            decode_ms=decode_ms,
            mean_p_allowed=None,
        )


def make_policy(loaded, engine: Engine, **changes) -> VlmPolicy:
    policy = VlmPolicy(loaded, replace(find_recipe(loaded, SPEC), **changes))
    policy._engine = engine
    return policy


def see(t_ms: int = 0) -> Observation:
    return Observation(np.zeros((96, 160, 3), np.uint8), "open the bank", t_ms)


def test_chance_is_the_seeds_and_goes_on_within_an_episode(loaded):
    engine = Engine()
    policy = make_policy(loaded, engine)
    for seed in (1, 2, 1):
        policy.begin("open the bank", SPEC, seed)
        for t_ms in (0, 600):
            policy.decide(see(t_ms))
    first, second, again = (tuple(engine.drawn[start : start + 2]) for start in (0, 2, 4))
    assert None not in first
    assert first[0] != first[1]
    assert first == again
    assert first != second


def test_an_episode_knows_nothing_of_the_one_before(loaded):
    engine = Engine()
    policy = make_policy(loaded, engine, history_frames=3)
    for seed in (0, 1):
        policy.begin("open the bank", SPEC, seed)
        for t_ms in (0, 600, 1200):
            # The second episode begins later on the game's clock: it would fit the first one's end.
            policy.decide(see(t_ms + 1800 * seed))
    lengths = engine.prompts
    assert lengths[0] < lengths[1] < lengths[2]
    assert lengths[3:] == lengths[:3]


def test_the_time_of_a_decision_is_parted_and_adds_up_in_milliseconds(loaded, monkeypatch):
    policy = make_policy(loaded, Engine(prefill_ms=200.0, decode_ms=900.0))
    policy.begin("open the bank", SPEC, 0)
    clock = iter([10.0, 11.5])
    monkeypatch.setattr(policies.time, "perf_counter", lambda: next(clock, 99.0))
    latency = policy.decide(see()).latency
    assert (latency.prepare_ms, latency.prefill_ms, latency.decode_ms) == (400.0, 200.0, 900.0)
    assert latency.total_ms == 1500.0


def test_what_is_said_in_thousandths_is_done_in_pixels_of_the_frame(loaded):
    engine = Engine()
    policy = make_policy(loaded, engine)
    assert policy.recipe.spec.extent_width == 1000
    said = make_codec("json").encode(ActionChunk((Click(60, 500, 250),)), policy.recipe.spec)
    engine.answer = tuple(loaded.encoder.encode_text(said))
    policy.begin("open the bank", SPEC, 0)
    [click] = policy.decide(see()).chunk.actions
    assert (click.dt_ms, click.x, click.y) == (60, 80, 24)
