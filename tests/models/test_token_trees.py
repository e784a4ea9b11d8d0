"""Attention along a tree is attention under the mask that the tree means; without a tree nothing changes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from vlm_agent.errors import ModelError
from vlm_agent.models.token_trees import ATTENTION, NO_PARENT, TokenTree, attend, enable_token_trees

pytestmark = pytest.mark.model

#      0 ── 1 ── 2      a root with two children, one of them with two of its own; and a root apart
#       └── 4   └ 3     5
FAMILY = TokenTree((0, 3, 5, 6, 9, 11, 15), (NO_PARENT, 0, 1, 1, 0, NO_PARENT))
LAYER = SimpleNamespace(num_key_value_groups=2, is_causal=True)


def _visible(tree: TokenTree) -> torch.Tensor:
    """Who sees whom, written down from parents alone."""
    segment = [k for k, (start, stop) in enumerate(tree.spans) for _ in range(start, stop)]
    above: list[set[int]] = []
    for parent in tree.parents:
        above.append(set() if parent == NO_PARENT else {parent} | above[parent])
    sees = torch.zeros(len(segment), len(segment), dtype=torch.bool)
    for i, mine in enumerate(segment):
        for j, theirs in enumerate(segment):
            sees[i, j] = theirs in above[mine] or (theirs == mine and j <= i)
    return sees


@st.composite
def _trees(draw) -> TokenTree:
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=7))
    parents = [draw(st.integers(NO_PARENT, k - 1)) for k in range(len(sizes))]
    return TokenTree(tuple(sum(sizes[:k]) for k in range(len(sizes) + 1)), tuple(parents))


def test_paths_leaves_and_pairs():
    assert FAMILY.leaves == (2, 3, 4, 5)
    assert FAMILY.path(2) == [(0, 6)]
    assert FAMILY.path(3) == [(0, 5), (6, 9)]
    assert FAMILY.path(4) == [(0, 3), (9, 11)]
    assert FAMILY.path(5) == [(11, 15)]
    assert FAMILY.count_pairs() == 6 + (6 + 3) + (5 + 1) + (15 + 6) + (6 + 3) + 10


@given(tree=_trees(), seed=st.integers(0, 9))
def test_values_and_gradients_are_those_under_the_mask(tree, seed):
    generator = torch.Generator().manual_seed(seed)
    length = tree.bounds[-1]
    query, key, value = (
        torch.randn(1, heads, length, 8, generator=generator, requires_grad=True) for heads in (4, 2, 2)
    )
    got, _ = attend(LAYER, query, key, value, None, token_tree=tree, scaling=0.4)
    want = scaled_dot_product_attention(
        query,
        key.repeat_interleave(2, 1),
        value.repeat_interleave(2, 1),
        attn_mask=_visible(tree),
        scale=0.4,
    ).transpose(1, 2)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    assert tree.count_pairs() == int(_visible(tree).sum())
    weights = torch.randn(got.shape, generator=generator)
    gradients = [torch.autograd.grad((result * weights).sum(), (query, key, value)) for result in (got, want)]
    for left, right in zip(*gradients, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)


def test_without_a_tree_it_is_the_attention_of_transformers():
    query, key, value = (torch.randn(2, heads, 7, 8) for heads in (4, 2, 2))
    got, _ = attend(LAYER, query, key, value, None, scaling=0.4)
    want, _ = sdpa_attention_forward(LAYER, query, key, value, None, scaling=0.4)
    assert got.equal(want)


def test_another_attention_is_refused():
    config = SimpleNamespace(_attn_implementation="sdpa")
    model = SimpleNamespace(model=SimpleNamespace(language_model=SimpleNamespace(config=config)))
    for _ in range(2):
        enable_token_trees(model)
        assert config._attn_implementation == ATTENTION
    config._attn_implementation = "eager"
    with pytest.raises(ModelError, match="loaded with sdpa attention, got eager"):
        enable_token_trees(model)
