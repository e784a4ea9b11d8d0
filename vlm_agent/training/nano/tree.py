"""Several questions on one screen in one sequence: the shared prompt once, then a branch for each question.

Every branch sees the shared part and itself, never another branch, and its positions go on from the shared part, so
the loss is the one of separate sequences at a fraction of the tokens. It does not know what the questions mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch

from vlm_agent.models.encoding import IGNORED_LABEL, Encoded
from vlm_agent.models.token_trees import NO_PARENT, TokenTree


@dataclass(frozen=True)
class TreeSequence:
    """One screen with its questions as a token tree."""

    ids: tuple[int, ...]
    """Tokens: the shared part, then each branch."""
    labels: tuple[int, ...]
    """For each token the next token in its own branch where that is to be learnt, else `IGNORED_LABEL`."""
    branch: tuple[int, ...]
    """0 for the shared part, k for branch k."""
    order: tuple[int, ...]
    """Index of each token in its own conversation (shared part + its branch)."""


def common_prefix(conversations: Sequence[Sequence[int]]) -> int:
    """Return how many leading tokens all conversations share."""
    shortest = min(len(ids) for ids in conversations)
    first = conversations[0]
    for index in range(shortest):
        if any(ids[index] != first[index] for ids in conversations):
            return index
    return shortest


def grow_tree(conversations: Sequence[Encoded], max_tokens: int) -> TreeSequence:
    """Merge tokenised conversations about one screen into a tree; their answers are learnt.

    Conversations that would make it longer than `max_tokens` are left out, but never the first.
    """
    shared = min(
        common_prefix([one.input_ids for one in conversations]), min(one.num_prompt_tokens for one in conversations) - 1
    )
    ids, branch, order = list(conversations[0].input_ids[:shared]), [0] * shared, list(range(shared))
    labels = [IGNORED_LABEL] * shared
    for number, one in enumerate(conversations, 1):
        if number > 1 and len(ids) + len(one.input_ids) - shared > max_tokens:
            break
        ids += one.input_ids[shared:]
        branch += [number] * (len(one.input_ids) - shared)
        order += range(shared, len(one.input_ids))
        labels += [*one.labels[shared + 1 :], IGNORED_LABEL]
    return TreeSequence(tuple(ids), tuple(labels), tuple(branch), tuple(order))


@dataclass(frozen=True)
class TreeBatch:
    """Trees one behind the other in one sequence, ready for the language model; none sees another."""

    ids: torch.Tensor
    """(1, tokens) int64."""
    labels: torch.Tensor
    """(tokens,) int64."""
    positions: torch.Tensor
    """(3, 1, tokens) int64: time, height, width of M-RoPE."""
    tree: TokenTree
    """Shared parts are roots, branches hang from them."""


def batch_trees(trees: Sequence[TreeSequence], image_token_id: int, merged_height: int, merged_width: int) -> TreeBatch:
    """Put trees one behind the other; each holds one image or none."""
    bounds, parents = [0], list[int]()
    for tree in trees:
        root = len(parents)
        for branch, run in groupby(tree.branch):
            bounds.append(bounds[-1] + len(list(run)))
            parents.append(root if branch else NO_PARENT)
    positions = [mrope_positions(tree, image_token_id, merged_height, merged_width) for tree in trees]
    return TreeBatch(
        torch.tensor([[token for tree in trees for token in tree.ids]]),
        torch.tensor([label for tree in trees for label in tree.labels]),
        torch.cat(positions, dim=1)[:, None],
        TokenTree(tuple(bounds), tuple(parents)),
    )


def mrope_positions(tree: TreeSequence, image_token_id: int, merged_height: int, merged_width: int) -> torch.Tensor:
    """Return (3, length) positions as Qwen3-VL counts them: an image, if any, takes max(height, width) steps."""
    order = torch.tensor(tree.order)
    if image_token_id not in tree.ids:
        return order.expand(3, -1)
    start = tree.ids.index(image_token_id)
    image_tokens = merged_height * merged_width
    shift = max(merged_height, merged_width) - image_tokens
    positions = torch.where(order >= start + image_tokens, order + shift, order).expand(3, -1).clone()
    cells = torch.arange(image_tokens)
    span = slice(start, start + image_tokens)
    positions[0, span] = start
    positions[1, span] = start + cells // merged_width
    positions[2, span] = start + cells % merged_width
    return positions
