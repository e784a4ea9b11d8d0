"""What the parts of a model give."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from vlm_agent.models.compat import join_pictures
from vlm_agent.models.forward import ImageFeatures, apply_head

pytestmark = pytest.mark.model


def test_logits_are_in_float32_whatever_the_model_computes_in():
    model = SimpleNamespace(lm_head=torch.nn.Linear(4, 6, dtype=torch.bfloat16))
    assert apply_head(model, torch.ones(2, 4, dtype=torch.bfloat16)).dtype == torch.float32


def test_features_weigh_what_their_values_do():
    tokens, level = torch.zeros(3, 8), torch.zeros(3, 8, dtype=torch.bfloat16)
    assert ImageFeatures(tokens, (level, level)).num_bytes == 3 * 8 * (4 + 2 + 2)


def test_pictures_are_joined_in_order_however_a_release_gives_them():
    parts = [torch.zeros(2, 4), torch.ones(3, 4)]
    joined = torch.cat(parts)
    assert join_pictures(parts).equal(joined)
    assert join_pictures(joined) is joined
