"""The engine writes what a full recomputation under the same mask would write."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tests.decoding.tiny_prompts import DiceState, make_prompt, recompute_logits
from vlm_agent.decoding.engine import DecodeConfig, Engine, Stop
from vlm_agent.decoding.sampling import SamplingConfig
from vlm_agent.decoding.stacks import TransformersStack
from vlm_agent.errors import ConfigError

pytestmark = pytest.mark.model


def recompute(loaded, prompt):
    """Greedy answer, one full forward pass a token, nothing skipped."""
    state = DiceState()
    while not state.is_complete:
        allowed = state.allowed()
        logits = recompute_logits(loaded, prompt, state.said)
        state = state.advance(allowed[int(logits[list(allowed)].argmax())])
    return state.said


@pytest.mark.parametrize("stack", ["faster", "transformers"])
def test_greedy_equals_full_recomputation(loaded, stack):
    engine = Engine(loaded, stack=TransformersStack(loaded.model) if stack == "transformers" else None)
    for seed in range(2):
        prompt = make_prompt(loaded, seed, f"Goal: {'walk ' * seed}to the furnace {seed}")
        generation = engine.decode(prompt, DiceState())
        assert generation.token_ids == recompute(loaded, prompt)
        assert generation.stop is None
        # The second prompt takes its system text from the first: otherwise this test would not see a stale cache.
        assert (generation.num_reused_tokens > 10) == (seed > 0)


def test_forced_tokens_cost_no_choice(loaded):
    generation = Engine(loaded).decode(make_prompt(loaded, 0), DiceState())
    assert len(generation.token_ids) == 24
    assert generation.num_choices < 24


def test_mass_on_the_mask_is_measured(loaded):
    prompt = make_prompt(loaded, 0)
    state = DiceState(length=1, said=())
    while len(state.allowed()) == 1:
        state = dataclasses.replace(state, vocabulary=state.vocabulary - 1)
    generation = Engine(loaded).decode(prompt, state)
    probabilities = recompute_logits(loaded, prompt, ()).softmax(-1)
    assert generation.mean_p_allowed == pytest.approx(float(probabilities[list(state.allowed())].sum()), abs=1e-5)


def test_a_new_picture_is_seen_behind_the_same_text(loaded):
    engine = Engine(loaded)
    answers = {engine.decode(make_prompt(loaded, seed), DiceState()).token_ids for seed in range(4)}
    assert len(answers) > 1


def test_limits_are_reported_not_hidden(loaded):
    prompt = make_prompt(loaded, 0)
    cut = Engine(loaded, DecodeConfig(max_tokens=6)).decode(prompt, DiceState())
    assert cut.stop is Stop.TRUNCATED
    late = Engine(loaded, DecodeConfig(deadline_ms=1e-6)).decode(prompt, DiceState())
    assert late.stop is Stop.TIMEOUT


def test_sampling_is_seeded(loaded):
    engine = Engine(loaded, DecodeConfig(SamplingConfig(temperature=1.5, top_p=0.95)))
    prompt = make_prompt(loaded, 0)
    answers = [engine.decode(prompt, DiceState(), torch.Generator().manual_seed(seed)).token_ids for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]


def test_write_stops_at_an_end_token(loaded):
    engine = Engine(loaded)
    prompt = make_prompt(loaded, 0)
    tokens = engine.write(prompt, (), 8)
    assert len(tokens) == 8
    assert engine.write(prompt, (tokens[5],), 8) == tokens[: tokens.index(tokens[5])]
    greedy: tuple[int, ...] = ()
    for _ in range(3):
        greedy = (*greedy, int(recompute_logits(loaded, prompt, greedy).argmax()))
    assert tokens[:3] == greedy


def test_impossible_limits_are_refused():
    with pytest.raises(ConfigError, match="max_tokens"):
        DecodeConfig(max_tokens=0)
    with pytest.raises(ConfigError, match="deadline_ms"):
        DecodeConfig(deadline_ms=0)
