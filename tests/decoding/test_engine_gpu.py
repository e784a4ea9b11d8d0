"""On a GPU the engine writes what a full recomputation would write, 4-bit weights and adapter included."""

from __future__ import annotations

import pytest
import torch

from tests.decoding.tiny_prompts import DiceState, add_loud_lora, make_prompt, recompute_logits
from vlm_agent.decoding.engine import Engine
from vlm_agent.models.loading import load_model

pytestmark = [pytest.mark.gpu, pytest.mark.model]


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_greedy_is_as_good_as_full_recomputation(tiny_folder, family, quantization):
    loaded = load_model(tiny_folder(family), quantization=quantization, device="cuda")
    add_loud_lora(loaded)
    engine = Engine(loaded)
    for seed in range(2):
        prompt = make_prompt(loaded, seed, f"Goal: walk to the furnace {seed}")
        generation = engine.decode(prompt, DiceState())
        state = DiceState()
        for token in generation.token_ids:
            allowed = list(state.allowed())
            logits = recompute_logits(loaded, prompt, state.said)[allowed]
            # In bfloat16 another batch shape rounds otherwise, so near ties may fall either way; a wrong position or a
            # stale key is far outside this.
            assert logits[allowed.index(token)] >= logits.max() - 0.05
            state = state.advance(token)
        assert generation.stop is None
    assert torch.cuda.max_memory_allocated() > 0
