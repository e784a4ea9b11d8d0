"""Every layout gives the losses and gradients of windows alone, and no window sees another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.synthetic import load_shaken, make_examples, make_features, make_rows
from vlm_agent.errors import ConfigError
from vlm_agent.models.compat import enable_activation_checkpointing
from vlm_agent.models.encoding import IGNORED_LABEL
from vlm_agent.models.forward import run_language
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.batches import collate_rows, lay_out
from vlm_agent.training.config import LoraSettings, TrainConfig
from vlm_agent.training.flops import count_training, measure_flops
from vlm_agent.training.layouts import build_rows, pick_layout
from vlm_agent.training.order import plan_epoch
from vlm_agent.training.passes import add_gradients, measure_loss
from vlm_agent.training.planning.shapes import shape_of
from vlm_agent.training.rows import LEAST_SHARED, NO_PICTURE, Example, join_rows, make_row, merge_rows
from vlm_agent.training.windows import weigh_example

pytestmark = pytest.mark.model

STILL = TrainConfig(lora=LoraSettings(rank=4, dropout=0.0), batch_windows=4)
RULES = "Answer with what you see, and with nothing else, in one line of JSON. "
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_5_vl"])
def loaded(request, tmp_path_factory):
    return load_shaken(write_tiny_checkpoint(tmp_path_factory.mktemp("layouts"), request.param), STILL)


def _ask(loaded, pictures: tuple[str, ...], words: str, answer: str) -> Example:
    """A window with the system text that all have, as many pictures as asked, and words after them."""
    side = loaded.encoder.images.factor_px
    messages = [
        {"role": "system", "content": [{"type": "text", "text": RULES * 2}]},
        {"role": "user", "content": [*({"type": "image"} for _ in pictures), {"type": "text", "text": words}]},
    ]
    sizes = [(2 * side, 2 * side)] * len(pictures)
    return Example(loaded.encoder.encode_training(messages, answer, sizes), pictures)


def _windows(loaded) -> list[Example]:
    """Windows that share a picture, two pictures, the first of two pictures, only the system text, and nothing."""
    state = "State: at the bank, with four rings and a bar of gold. "
    return [
        _ask(loaded, ("1",), state + "Goal: craft", '{"colour":7}'),
        _ask(loaded, ("1",), state + "Goal: wait", "[]"),
        _ask(loaded, ("2", "3"), "Goal: craft", '{"colour":1,"again":1}'),
        _ask(loaded, ("2", "3"), "Goal: leave", '{"colour":2}'),
        _ask(loaded, ("2", "1"), "Goal: leave", '{"colour":3}'),
        _ask(loaded, (), "Which step?", "craft"),
        *make_examples(loaded, 1, goals=2),
    ]


def _gradients(loaded, passes) -> tuple[float, dict[str, torch.Tensor]]:
    loaded.peft.zero_grad(set_to_none=True)
    loaded.peft.train()
    loss, _ = add_gradients(loaded, passes, make_features(loaded), seed=0)
    return loss, {name: p.grad.clone() for name, p in loaded.peft.named_parameters() if p.grad is not None}


def _assert_same(got, want) -> None:
    assert got[0] == pytest.approx(want[0], rel=1e-5)
    assert got[1].keys() == want[1].keys()
    for name, gradient in want[1].items():
        torch.testing.assert_close(
            got[1][name], gradient, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: name + text
        )
    assert max(float(gradient.abs().max()) for gradient in want[1].values()) > 1e-3


@pytest.mark.parametrize("layout", ["rows", "packed", "shared"])
def test_every_layout_equals_windows_alone(loaded, layout):
    examples = _windows(loaded)
    alone = [[make_row([example], loaded.encoder)] for example in examples]
    rows = build_rows(examples, loaded.encoder, layout, STILL)
    laid_out = [lay_out(rows[:3], layout), lay_out(rows[3:], layout)]
    assert len(laid_out[0]) == (3 if layout == "rows" else 1)
    _assert_same(_gradients(loaded, laid_out), _gradients(loaded, alone))
    together, apart = (measure_loss(loaded, passes, make_features(loaded)) for passes in (laid_out, alone))
    assert together.mean == pytest.approx(apart.mean, rel=1e-5)


def test_recomputed_activations_change_nothing(loaded, tmp_path):
    kind = loaded.model.config.model_type
    other = load_shaken(write_tiny_checkpoint(tmp_path / kind, kind), STILL)
    rows = lay_out([make_row(_windows(other), other.encoder)], "shared")
    plain = _gradients(other, [rows])
    enable_activation_checkpointing(other.model)
    _assert_same(_gradients(other, [rows]), plain)


@pytest.mark.parametrize("layout", ["packed", "shared"])
@pytest.mark.parametrize("is_training", [True, False])
def test_no_window_sees_another(loaded, layout, is_training):
    """What one window says and shows is changed; hidden states on all other paths keep their bits."""
    loaded.peft.train(is_training)
    examples = _windows(loaded)
    changed = [
        *examples[:3],
        replace(_ask(loaded, ("2", "9"), "Goal: xxxxx", '{"colour":9}'), weight=1.0),
        *examples[4:],
    ]
    [before], [after] = (
        lay_out([make_row([one], loaded.encoder) for one in some], layout) for some in (examples, changed)
    )
    hidden = [_run(loaded, row) for row in (before, after)]
    paths = [[_tokens_of(row, leaf) for leaf in row.tree.leaves] for row in (before, after)]
    by_ids = [{tuple(row.ids[path]): path for path in some} for row, some in zip((before, after), paths, strict=True)]
    kept = by_ids[0].keys() & by_ids[1].keys()
    assert len(kept) == len(examples) - 1
    for ids in kept:
        torch.testing.assert_close(hidden[0][by_ids[0][ids]], hidden[1][by_ids[1][ids]], rtol=1e-5, atol=1e-5)


def _tokens_of(row, leaf) -> np.ndarray:
    return np.concatenate([np.arange(start, stop) for start, stop in row.tree.path(leaf)])


def _run(loaded, row) -> torch.Tensor:
    batch = collate_rows([row], 0, CPU)
    features = make_features(loaded).get(batch.image_keys)
    with torch.no_grad():
        return run_language(loaded.model, batch.ids, batch.positions, features, tree=batch.tree)[0]


def test_what_is_in_common_is_there_once(loaded):
    first, second, third, *_ = _windows(loaded)
    alone = [make_row([example], loaded.encoder) for example in (first, second, third)]
    row = merge_rows(alone)
    assert row.image_keys == ("1", "2", "3")
    assert row.num_windows == 3
    root, picture = row.tree.spans[:2]
    decoded = loaded.encoder.decode_text(row.ids[slice(*root)])
    assert decoded.count(RULES) == 2
    assert (row.pictures[slice(*root)] == NO_PICTURE).all()
    assert set(row.pictures[slice(*picture)]) == {0, NO_PICTURE}
    assert "bar of gold" in loaded.encoder.decode_text(row.ids[slice(*picture)])
    assert "Goal" not in decoded
    num_apart = sum(len(one.ids) for one in alone)
    assert len(row.ids) == num_apart - 2 * (root[1] - root[0]) - (picture[1] - picture[0])


def test_splitting_undoes_merging_and_joining(loaded):
    alone = [make_row([example], loaded.encoder) for example in _windows(loaded)]
    for laid_out in (merge_rows(alone), join_rows(alone), join_rows([merge_rows(alone[:3]), merge_rows(alone[3:])])):
        found = {row.ids.tobytes() + str(row.image_keys).encode(): row for row in laid_out.split()}
        assert len(found) == len(alone)
        for row in alone:
            other = found[row.ids.tobytes() + str(row.image_keys).encode()]
            for name in ("targets", "weights", "positions", "pictures"):
                np.testing.assert_array_equal(getattr(other, name), getattr(row, name))


def test_windows_that_are_the_same_keep_an_answer_each(loaded):
    example = _windows(loaded)[0]
    row = make_row([example] * 3, loaded.encoder)
    targets = row.targets != IGNORED_LABEL
    assert (row.num_windows, targets.sum()) == (3, 3 * example.encoded.num_target_tokens)
    assert row.tree.bounds[1] == example.encoded.num_prompt_tokens - 1


def test_a_tree_counts_the_pairs_that_see_each_other(loaded):
    row = make_row(_windows(loaded), loaded.encoder)
    sees = np.zeros((len(row.ids), len(row.ids)), bool)
    for leaf in row.tree.leaves:
        tokens = _tokens_of(row, leaf)
        sees[np.ix_(tokens, tokens)] |= np.tri(len(tokens), dtype=bool)
    assert row.tree.count_pairs() == sees.sum()


@given(texts=st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=4), min_size=1, max_size=6))
def test_any_windows_come_back_from_a_tree(texts):
    """Blocks of tokens stand for texts that begin alike in many ways, some the start of others."""
    windows = [_plain_row(np.repeat(np.asarray(blocks) + 1, LEAST_SHARED)) for blocks in texts]
    tree = merge_rows(windows)
    assert sorted(row.ids.tobytes() for row in tree.split()) == sorted(row.ids.tobytes() for row in windows)
    assert tree.num_windows == len(windows)
    prefixes = {tuple(blocks[:depth]) for blocks in texts for depth in range(1, len(blocks) + 1)}
    if len(windows) > 1:
        assert len(tree.ids) == LEAST_SHARED * len(prefixes) + 2 * len(windows)


def _plain_row(prompt: np.ndarray):
    from vlm_agent.models.token_trees import NO_PARENT, TokenTree
    from vlm_agent.training.rows import Row

    ids = np.concatenate([prompt, [7, 8]]).astype(np.int32)
    targets = np.full(len(ids), IGNORED_LABEL, np.int32)
    targets[-2] = 8
    nothing = np.full(len(ids), NO_PICTURE, np.int16)
    positions = np.tile(np.arange(len(ids), dtype=np.int32), (3, 1))
    tree = TokenTree((0, len(ids)), (NO_PARENT,))
    return Row(ids, targets, np.ones(len(ids), np.float32), positions, nothing, (), nothing.astype(np.int8), tree)


def test_by_windows_an_empty_answer_counts_as_much_as_a_busy_one(loaded):
    examples = _windows(loaded)[:3]
    alone = [measure_loss(loaded, [[make_row([one], loaded.encoder)]], make_features(loaded)).mean for one in examples]
    weighed = [make_row([weigh_example(one, "windows")], loaded.encoder) for one in examples]
    for passes in ([weighed], [weighed[:1], weighed[1:]]):
        loss, _ = _gradients(loaded, passes)
        assert loss == pytest.approx(sum(alone) / 3, rel=1e-5)
    counts = [one.encoded.num_target_tokens for one in examples]
    by_tokens, _ = _gradients(loaded, [[make_row([one], loaded.encoder) for one in examples]])
    assert by_tokens == pytest.approx(np.average(alone, weights=counts), rel=1e-5)
    assert by_tokens != pytest.approx(loss, rel=1e-3)


@pytest.mark.parametrize("layout", ["rows", "packed", "shared"])
def test_no_pass_has_more_tokens_than_allowed(loaded, layout):
    examples = make_examples(loaded, 12, goals=4)
    longest = max(len(example.encoded.input_ids) for example in examples)
    config = replace(STILL, batch_tokens=3 * longest, batch_windows=1, accumulation=2)
    rows = build_rows(examples, loaded.encoder, layout, config)
    assert sum(row.num_windows for row in rows) == len(examples)
    plan = plan_epoch(rows, config, 0)
    assert sorted(index for step in plan for indices in step for index in indices) == list(range(len(rows)))
    sizes = []
    for indices in (indices for step in plan for indices in step):
        laid_out = lay_out([rows[index] for index in indices], layout)
        sizes.append(max(len(row.ids) for row in laid_out) * len(laid_out))
    assert max(sizes) <= config.batch_tokens
    assert np.mean(sizes) > 0.6 * config.batch_tokens
    with pytest.raises(
        ConfigError, match=f"--train.batch-tokens {longest - 1}: the longest window takes {longest} tokens"
    ):
        build_rows(examples, loaded.encoder, layout, replace(config, batch_tokens=longest - 1))


def test_auto_shares_where_there_is_something_to_share(loaded):
    flops, encoder = measure_flops(loaded), loaded.encoder
    auto = replace(STILL, layout="auto")
    alike = make_examples(loaded, 4, goals=4)
    assert pick_layout(alike, encoder, auto, flops) == "shared"
    assert pick_layout(alike, encoder, replace(auto, batch_windows=1), flops) == "rows"
    assert pick_layout(alike, encoder, replace(auto, layout="packed"), flops) == "packed"
    single = [_ask(loaded, (), "x" * 11 * index, "a") for index in range(1, 9)]
    unlike = [
        Example(replace(one.encoded, input_ids=(index, *one.encoded.input_ids[1:])), ())
        for index, one in enumerate(single)
    ]
    assert pick_layout(unlike, encoder, auto, flops) == "packed"
    even = [
        unlike[0],
        replace(unlike[0], encoded=replace(unlike[0].encoded, input_ids=(99, *unlike[0].encoded.input_ids[1:]))),
    ]
    assert pick_layout(even, encoder, auto, flops) == "rows"


def test_the_formula_counts_the_matrices_of_the_tiny_model(loaded):
    flops = measure_flops(loaded)
    hidden, inner, layers, rank = 64, 128, 3, 4
    head_dim, heads, key_heads = hidden // 4, 4, 2
    sides = [(hidden, heads * head_dim), (hidden, key_heads * head_dim), (hidden, key_heads * head_dim)]
    sides += [(heads * head_dim, hidden), (hidden, inner), (hidden, inner), (inner, hidden)]
    frozen = layers * sum(rows * columns for rows, columns in sides)
    adapters = layers * sum(rank * (rows + columns) for rows, columns in sides)
    assert flops.per_token == 4 * frozen + 6 * adapters
    assert flops.per_pair == 3.5 * 4 * heads * head_dim * layers
    [one], [two] = ([make_row([example], loaded.encoder)] for example in make_examples(loaded, 2, goals=1))
    longer = max(len(one.ids), len(two.ids))
    padded = flops.count([one, two])
    assert padded == 2 * longer * flops.per_token + longer * (longer + 1) * flops.per_pair + flops.per_target * (
        one.num_target_tokens + two.num_target_tokens
    )


def test_a_mask_over_padded_rows_computes_every_pair(loaded):
    flops = measure_flops(loaded)
    [one], [two] = ([make_row([example], loaded.encoder)] for example in make_examples(loaded, 2, goals=1))
    longer = max(len(one.ids), len(two.ids))
    assert len(one.ids) != len(two.ids)
    more = longer**2 - longer * (longer + 1) // 2
    assert flops.count([one, two], is_masked=True) - flops.count([one, two]) == 2 * more * flops.per_pair
    assert flops.count([one, one], is_masked=True) == flops.count([one, one])


def test_the_formula_counts_the_vision_tower_and_full_training(loaded):
    visual = loaded.model.model.visual
    matrices = {
        name: m.weight.numel() for name, m in visual.named_modules() if getattr(m, "weight", torch.ones(1)).ndim > 1
    }
    mergers = sum(size for name, size in matrices.items() if name.startswith(("merger", "deepstack_merger")))
    tables = sum(size for name, size in matrices.items() if name == "pos_embed")
    expected = sum(matrices.values()) - tables - mergers + mergers / loaded.encoder.images.merge**2
    flops = measure_flops(loaded)
    assert mergers > 0
    assert flops.per_patch == 2 * expected
    shape = shape_of(loaded.family, loaded.model.config)
    whole = count_training(shape, 0, full=True)
    assert whole.per_token == 6 * shape.matrices > flops.per_token
    assert whole.per_target == 1.5 * flops.per_target
    assert measure_flops(replace(loaded, peft=None)) == whole


def test_a_budget_below_one_is_refused():
    with pytest.raises(ConfigError, match=r"--train.batch-tokens must be at least 1"):
        TrainConfig(batch_tokens=0)


def test_shared_rows_of_two_windows_are_shorter_than_apart(loaded):
    pair = make_rows(loaded, make_examples(loaded, 1, goals=2))
    assert [row.num_windows for row in pair] == [2]
