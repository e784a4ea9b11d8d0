"""Rows that share a start give the losses and gradients of separate rows; how rows are cut into passes is no matter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.training.synthetic import load_with_lora, make_examples, make_features, make_rows, shake_lora, write_dataset
from vlm_agent.dataset.store import open_dataset
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.models.encoding import IGNORED_LABEL
from vlm_agent.models.images import pixel_values
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.config import LoraSettings, RecipeSettings, TrainConfig
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.layouts import build_rows
from vlm_agent.training.moments import find_steps
from vlm_agent.training.passes import add_gradients, sum_losses
from vlm_agent.training.rows import group_examples
from vlm_agent.training.windows import FrameLoader, choose_recipe, encode_window, encode_windows

pytestmark = pytest.mark.model

STILL = TrainConfig(lora=LoraSettings(rank=4, dropout=0.0))


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_5_vl"])
def loaded(request, tmp_path_factory):
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("rows"), request.param)
    model = load_with_lora(folder, STILL)
    shake_lora(model)
    return model


def _gradients(loaded, rows, step) -> tuple[float, dict[str, torch.Tensor]]:
    loaded.peft.zero_grad(set_to_none=True)
    loaded.peft.train()
    passes = [[rows[index] for index in indices] for indices in step]
    loss, _ = add_gradients(loaded, passes, make_features(loaded), seed=0)
    return loss, {name: p.grad.clone() for name, p in loaded.peft.named_parameters() if p.grad is not None}


def _same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=1e-4, atol=1e-6)


def test_a_step_is_the_mean_over_tokens_of_the_whole_models_own_loss(loaded):
    examples = make_examples(loaded, 4)
    losses, num_tokens = [], 0
    features = make_features(loaded)
    for example in examples:
        encoded = example.encoded
        ids, labels = torch.tensor([encoded.input_ids]), torch.tensor([encoded.labels])
        frame = features._pictures._load_frame(example.image_keys[0])
        loaded.model.eval()
        with torch.no_grad():
            logits = loaded.model(
                input_ids=ids,
                mm_token_type_ids=loaded.encoder.token_types(ids),
                pixel_values=pixel_values([frame], loaded.encoder.images),
                image_grid_thw=encoded.grid_tensor(),
            ).logits
        losses.append(cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=IGNORED_LABEL, reduction="sum"))
        num_tokens += encoded.num_target_tokens
    rows = make_rows(loaded, examples)
    loss, _ = _gradients(loaded, rows, [[0, 1], [2], [3]])
    assert loss == pytest.approx(float(sum(losses)) / num_tokens, rel=1e-5)


def test_weighed_tokens_count_as_often_as_their_weight_says(loaded):
    heavy, *light = make_examples(loaded, 3, goals=2)
    assert all(one.encoded.num_target_tokens == heavy.encoded.num_target_tokens for one in light)
    alone = [_gradients(loaded, make_rows(loaded, [one]), [[0]])[0] for one in (heavy, *light)]
    rows = make_rows(loaded, [replace(heavy, weight=3.0), *light])
    loss, _ = _gradients(loaded, rows, [[0, 1], [2]])
    assert loss == pytest.approx((3 * alone[0] + sum(alone[1:])) / (3 + len(light)), rel=1e-5)


def test_shared_rows_equal_separate_rows(loaded):
    examples = make_examples(loaded, 3, goals=3)
    apart = make_rows(loaded, examples, max_windows=1)
    together = make_rows(loaded, examples, max_windows=3)
    assert (len(apart), len(together)) == (9, 3)
    assert sum(len(row.ids) for row in together) < 0.7 * sum(len(row.ids) for row in apart)
    loss_apart, gradients_apart = _gradients(loaded, apart, [[index] for index in range(9)])
    loss_together, gradients_together = _gradients(loaded, together, [[0, 1], [2]])
    assert loss_together == pytest.approx(loss_apart, rel=1e-5)
    _same(gradients_together, gradients_apart)


def test_accumulation_equals_one_big_batch(loaded):
    rows = make_rows(loaded, make_examples(loaded, 4))
    loss_big, big = _gradients(loaded, rows, [[0, 1, 2, 3]])
    loss_cut, cut = _gradients(loaded, rows, [[3], [0, 2], [1]])
    assert loss_cut == pytest.approx(loss_big, rel=1e-5)
    _same(cut, big)
    assert any(gradient.abs().max() > 1e-4 for gradient in big.values())


def test_only_answers_and_their_stop_tokens_are_targets(loaded):
    for row in make_rows(loaded, make_examples(loaded, 2, goals=2)):
        targets = row.targets[row.targets != IGNORED_LABEL]
        stops = int((targets == loaded.encoder.end_of_turn_id).sum())
        assert stops == row.num_windows == 2
        assert loaded.encoder.decode_text(targets.tolist()).count("colour") == 2


def test_padding_adds_no_loss(loaded):
    rows = make_rows(loaded, make_examples(loaded, 4))
    assert len({len(row.ids) for row in rows}) > 1
    features = make_features(loaded)
    loaded.model.eval()
    with torch.no_grad():
        alone = sum(sum_losses(loaded, [row], features).item() for row in rows)
        padded = sum_losses(loaded, rows, features).item()
    assert padded == pytest.approx(alone, rel=1e-5)


def test_features_are_computed_once_and_are_the_same_bits_without_memory(loaded):
    kept, none = make_features(loaded), make_features(loaded, limit_bytes=0)
    keys = ["1", "2", "1"]
    for _ in range(2):
        for left, right in zip(kept.get(keys), none.get(keys), strict=True):
            assert left.tokens.equal(right.tokens)
            assert all(map(torch.equal, left.deepstack, right.deepstack))
    assert (kept.num_computed, none.num_computed) == (2, 4)
    first, second, again = kept.get(keys)
    assert first.tokens.equal(again.tokens)
    assert not first.tokens.equal(second.tokens)
    one = make_features(loaded, limit_bytes=kept.num_bytes // 2)
    one.get(keys)
    assert one.num_bytes == kept.num_bytes // 2


def test_groups_keep_every_example_once(loaded):
    examples = make_examples(loaded, 3, goals=5)
    groups = group_examples(examples, 2)
    assert [len(group) for group in groups] == [2, 2, 1] * 3
    assert sorted(id(example) for group in groups for example in group) == sorted(map(id, examples))


def test_a_long_goal_is_answered_by_the_step_and_the_step_by_actions(tmp_path, loaded):
    dataset = open_dataset(write_dataset(tmp_path / "dataset", num_ticks=4))
    recipe = choose_recipe(loaded, dataset, RecipeSettings(names_steps=True))
    assert (recipe.long_goals, recipe.steps) == (("press long",), ("press short",))
    windows = list(dataset.windows("train"))
    steps = find_steps(windows, recipe)
    rows = build_rows(encode_windows(loaded.encoder, windows, recipe, steps), loaded.encoder, "shared", STILL)
    assert [row.num_windows for row in rows] == [2] * (len(windows) // 2)
    for window in windows:
        encoded = encode_window(loaded.encoder, window, recipe, "press short").encoded
        said = loaded.encoder.decode_text([label for label in encoded.labels if label != IGNORED_LABEL])
        assert said == "press short" if window.goal_level == "long" else said.startswith('{"actions":[')
    heavy = encode_windows(loaded.encoder, windows, recipe, steps, replace(STILL, step_weight=3.0))
    plain_row = encode_windows(loaded.encoder, windows, recipe, steps, STILL)
    for window, heavy_one, plain_one in zip(windows, heavy, plain_row, strict=True):
        want = 3.0 if window.goal_level == "long" else 1.0
        assert (heavy_one.tokens.weights == want * plain_one.tokens.weights).all()
    plain = choose_recipe(loaded, dataset, RecipeSettings())
    assert (plain.long_goals, plain.steps) == ((), ())


def test_steps_named_from_the_state_see_no_picture_and_stand_alone(tmp_path, loaded):
    dataset = open_dataset(write_dataset(tmp_path / "dataset", num_ticks=4, state={"player": {"animation": -1}}))
    recipe = choose_recipe(loaded, dataset, RecipeSettings(names_steps=True, steps_from_state=True))
    windows = list(dataset.windows("train"))
    examples = encode_windows(loaded.encoder, windows, recipe, find_steps(windows, recipe))
    rows = build_rows(examples, loaded.encoder, "shared", STILL)
    assert [row.num_windows for row in rows] == [1] * len(windows)
    for window, row in zip(windows, rows, strict=True):
        shown = loaded.encoder.decode_text(row.ids)
        assert ("now: idle" in shown, bool(row.image_keys)) == (True, window.goal_level == "short")
        assert ("Actions:" in shown) == (window.goal_level == "short")
    features = FeatureCache(loaded, FrameLoader(dataset.folder, recipe), 1 << 20)
    together = sum_losses(loaded, rows[:2], features)
    alone = [sum_losses(loaded, [row], features) for row in rows[:2]]
    torch.testing.assert_close(together, sum(alone), rtol=1e-4, atol=1e-4)


def test_steps_can_not_be_named_from_a_state_that_is_not_there(tmp_path, loaded):
    dataset = open_dataset(write_dataset(tmp_path / "dataset", num_ticks=4))
    with pytest.raises(DataError, match="needs a game state in every window"):
        choose_recipe(loaded, dataset, RecipeSettings(names_steps=True, steps_from_state=True))
    with pytest.raises(ConfigError, match="needs --recipe"):
        RecipeSettings(steps_from_state=True)
