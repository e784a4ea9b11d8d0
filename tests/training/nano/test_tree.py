"""A tree of questions must train exactly as the questions would one by one."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from vlm_agent.models.encoding import IGNORED_LABEL, ChatEncoder, Encoded
from vlm_agent.models.forward import apply_head, rope_positions, run_language
from vlm_agent.models.nano_config import IMAGE_SETTINGS
from vlm_agent.training.nano import batches, build, scenes
from vlm_agent.training.nano.samples import NanoSample
from vlm_agent.training.nano.tree import common_prefix, grow_tree, mrope_positions

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def nano() -> tuple[object, object]:
    build_small = build.train_tokenizer(build.corpus(0, num_samples=12))
    return build.build_nano(0, build_small), build_small


@pytest.fixture(scope="module")
def sample() -> NanoSample:
    whole = scenes.make_sample(0, 5)
    return NanoSample(whole.frame, whole.state_text, whole.recent, whole.questions[:3], whole.things)


def test_common_prefix() -> None:
    assert common_prefix([[1, 2, 3], [1, 2, 4, 5]]) == 2
    assert common_prefix([[1, 2], [1, 2, 3]]) == 2


def test_positions_are_those_of_the_model(nano, sample) -> None:
    _, tokenizer = nano
    encoder = ChatEncoder(tokenizer, IMAGE_SETTINGS)
    encoded = batches.encode_question(sample, sample.questions[0], scenes.nano_recipe(), encoder)
    tree = grow_tree([encoded], 4096)
    assert tree.ids == encoded.input_ids
    ours = mrope_positions(tree, encoder.image_token_id, batches.ROWS // 2, batches.COLUMNS // 2)
    assert torch.equal(ours, rope_positions(encoded, IMAGE_SETTINGS, encoder.image_token_id))


def test_loss_and_gradients_equal_those_of_separate_sequences(nano, sample) -> None:
    model, tokenizer = nano
    recipe = scenes.nano_recipe()
    encoder = ChatEncoder(tokenizer, IMAGE_SETTINGS)
    batch = batches.encode_follow([sample], recipe, tokenizer)
    logits, labels = batches.follow_logits(model, batch)
    tree_loss = functional.cross_entropy(logits, labels, reduction="sum")
    model.zero_grad()
    tree_loss.backward()
    tree_gradient = model.model.language_model.layers[0].mlp.up_proj.weight.grad.clone()
    model.zero_grad()
    total = torch.zeros(())
    for question in sample.questions:
        encoded = batches.encode_question(sample, question, recipe, encoder)
        positions = rope_positions(encoded, IMAGE_SETTINGS, encoder.image_token_id)[:, None]
        features = batches.vision_features(model, batch.frames)
        hidden = run_language(model, torch.tensor([encoded.input_ids]), positions, [features])
        wanted = torch.tensor([*encoded.labels[1:], IGNORED_LABEL])
        total = total + functional.cross_entropy(
            apply_head(model, hidden)[0], wanted, ignore_index=IGNORED_LABEL, reduction="sum"
        )
    total.backward()
    gradient = model.model.language_model.layers[0].mlp.up_proj.weight.grad
    assert tree_loss.item() == pytest.approx(total.item(), rel=1e-5)
    assert torch.allclose(tree_gradient, gradient, rtol=1e-3, atol=1e-5)


def _talk(prompt: list[int], answer: list[int]) -> Encoded:
    return Encoded((*prompt, *answer), len(prompt), ())


FIRST, SECOND, THIRD = _talk([1, 2, 3, 4], [5, 6]), _talk([1, 2, 3, 7, 8], [9, 10, 11]), _talk([1, 2, 3], [4])
"""Two tokens are shared by all: the last one of a prompt, which tells the first of its answer, is each one's own."""


@pytest.mark.parametrize(
    ("longest", "ids", "branch"),
    [
        (1, [1, 2, 3, 4, 5, 6], [0, 0, 1, 1, 1, 1]),  # never the first
        (11, [1, 2, 3, 4, 5, 6], [0, 0, 1, 1, 1, 1]),
        (12, [1, 2, 3, 4, 5, 6, 3, 7, 8, 9, 10, 11], [0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]),
        (13, [1, 2, 3, 4, 5, 6, 3, 7, 8, 9, 10, 11], [0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]),
        (14, [1, 2, 3, 4, 5, 6, 3, 7, 8, 9, 10, 11, 3, 4], [0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3]),
    ],
)
def test_a_tree_holds_what_its_length_has_room_for(longest, ids, branch) -> None:
    tree = grow_tree([FIRST, SECOND, THIRD], longest)
    assert list(tree.ids) == ids
    assert list(tree.branch) == branch
    none = IGNORED_LABEL
    # A token's label is the one behind it in its own branch, where that is of an answer.
    learnt = [none, none, none, 5, 6, none, none, none, 9, 10, 11, none, 4, none]
    assert list(tree.labels) == learnt[: len(ids)]
    assert list(tree.order) == [0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 6, 7, 2, 3][: len(ids)]
