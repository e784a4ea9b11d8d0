"""What a pass is as tensors, and how much it counts for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.synthetic import make_examples
from vlm_agent.models.encoding import IGNORED_LABEL
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.batches import collate_rows, count_masked_pairs, count_pairs, count_tokens
from vlm_agent.training.rows import make_row

pytestmark = pytest.mark.model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Rows of one window each, the second one longer."""
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "qwen3_vl")
    loaded = load_model(folder, quantization="none", device="cpu")
    examples = make_examples(loaded, 2, goals=1)
    made = [make_row([replace(one, weight=0.5 + index)], loaded.encoder) for index, one in enumerate(examples)]
    assert len(made[0].ids) < len(made[1].ids)
    return made


def test_padding_is_no_target_and_weighs_nothing(rows):
    batch = collate_rows(rows, 99, CPU)
    short, long = (len(row.ids) for row in rows)
    assert batch.ids.shape == (2, long)
    assert batch.ids[0, short:].tolist() == [99] * (long - short)
    assert batch.targets[0, short:].tolist() == [IGNORED_LABEL] * (long - short)
    assert batch.weights[0, short:].tolist() == [0.0] * (long - short)
    for index, row in enumerate(rows):
        size = len(row.ids)
        assert batch.ids[index, :size].tolist() == list(row.ids)
        assert batch.targets[index, :size].tolist() == list(row.targets)
        assert np.array_equal(batch.positions[:, index, :size].numpy(), row.positions)
        is_target = batch.targets[index] != IGNORED_LABEL
        assert set(batch.weights[index][is_target].tolist()) == {0.5 + index}
        assert set(batch.weights[index][~is_target].tolist()) == {0.0}
    assert batch.image_keys == ("0", "1")


def test_tokens_and_pairs_count_padding(rows):
    longest = len(rows[1].ids)
    assert count_tokens(rows) == 2 * longest
    assert count_pairs(rows) == 2 * sum(range(1, longest + 1))
    assert count_masked_pairs(rows) == 2 * longest * longest
    assert count_masked_pairs(rows[1:]) == count_pairs(rows[1:]) == sum(range(1, longest + 1))
