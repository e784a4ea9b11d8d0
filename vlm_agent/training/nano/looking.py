"""Teaching nano where to look: which token of the picture an answer must be read from is told during training.

Left alone, a small model takes very long to find out that a place can be seen: while its attention over a picture is
even, what it reads there is noise, and while that is noise nothing tells it where to attend. The game knows where
everything is. So beside the answers four things are learnt, each with a loss of its own, on screens whose game-state
text is withheld:

- the vision tower tells what lies in every patch and where (see `dense`);
- so do the picture's tokens in the middle of the language layers, to a linear reader: what attention can use;
- the tokens in front of a place tell, to another one, what is looked for;
- heads set aside for it attend from there to the token of the picture that holds the thing, their queries and keys
  near to the code of the name that they are about.

A merged token covers four patches, which may hold four things. Rotary position encoding leaves 16 of a key's 32
dimensions for what a token is rather than where, too few for four names at once; so every quarter of a token has a key
head of its own, which attends outside the picture when no such thing lies in that quarter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.qwen3_vl.modeling_qwen3_vl import rotate_half

from vlm_agent.training.nano.dense import DIGITS, NOTHING, PATCHES_PER_TOKEN, balance, weigh_patches
from vlm_agent.training.nano.sights import Sight
from vlm_agent.training.nano.tree import TreeBatch

LOOKERS = ((3, 0), (3, 1), (4, 0), (4, 1))
"""Layer and key head that look for things in each quarter of a token: upper left, upper right, lower left, right."""
LAYERS = tuple(sorted({layer for layer, _ in LOOKERS}))
LAST_LAYER = LAYERS[-1] + 1
"""The layer behind them, which gets what they found."""
HEAD_DIM = 32
"""Width of nano's heads."""
QUERY_HEADS = 2
"""Query heads of each of those key heads that are told where to look; the others go on as they like."""
FIRST_WEIGHT = 6.0
"""In front of a place's first digit nothing but the thing's name tells where it is; later ones follow from it too."""
ATTEND_WEIGHT, CODE_WEIGHT, THERE_WEIGHT, ASKED_WEIGHT, PLACE_WEIGHT, TOLD_WEIGHT = 1.0, 2.0, 0.6, 0.4, 2.0, 2.0
"""What the losses of looking count beside that of the answers."""
FIRST_SLOW_PAIR = 8
"""From this rotary pair on a turn takes longer than a prompt: those dimensions tell what a token is."""
LEAST_LOG_SHARE = -20.0
"""Less attention than this counts as this: a single hopeless case must not decide a step."""


class Readers(nn.Module):
    """Linear readers in the middle of the language layers; thrown away after training."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        outputs = PATCHES_PER_TOKEN * (num_classes + 2 * DIGITS * 10)
        self.codes: Tensor
        self.register_buffer("codes", spread_codes(num_classes, HEAD_DIM), persistent=False)
        self.there = nn.ModuleList(nn.Linear(width, outputs) for _ in LAYERS)
        self.asked = nn.ModuleList(nn.Linear(width, num_classes) for _ in LAYERS)
        self.places = nn.ModuleList(nn.Linear(HEAD_DIM, 2 * DIGITS * 10) for _ in LOOKERS)
        self.told = nn.Linear(width, 2 * DIGITS * 10)


def spread_codes(count: int, head_dim: int) -> Tensor:
    """Return a unit vector for each name, as far apart as a few hundred steps bring them, (count, head_dim).

    They are 0 where rotary encoding turns fast; always the same for the same sizes.
    """
    half = head_dim // 2
    slow = torch.arange(head_dim) % half >= FIRST_SLOW_PAIR
    codes = torch.randn(count, int(slow.sum()), generator=torch.Generator().manual_seed(count))
    for _ in range(300):
        codes = codes / codes.norm(dim=-1, keepdim=True)
        pull = (8.0 * (codes @ codes.T - 2.0 * torch.eye(count))).exp()
        codes = codes - 0.1 * pull @ codes / pull.sum(-1, keepdim=True)
    whole = torch.zeros(count, head_dim)
    whole[:, slow] = codes / codes.norm(dim=-1, keepdim=True)
    return whole


Watched = dict[int, tuple[Tensor, tuple[Tensor, Tensor]]]
"""By layer: what its attention was given, (1, tokens, hidden), and cosines and sines, each (1, tokens, head_dim)."""


@contextmanager
def watch_attention(model: Any) -> Iterator[Watched]:
    """Within the context, keep what the layers that look were given last."""
    watched: Watched = {}

    def keep(layer: int, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        watched[layer] = kwargs["hidden_states"], kwargs["position_embeddings"]

    hooks = [
        model.model.language_model.layers[layer].self_attn.register_forward_pre_hook(
            partial(keep, layer), with_kwargs=True
        )
        for layer in (*LAYERS, LAST_LAYER)
    ]
    try:
        yield watched
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Seen:
    """What there is to learn about looking in a batch."""

    tree: TreeBatch
    """The batch."""
    sights: Sequence[Sight]
    """What is asked for and can be seen."""
    classes: Tensor
    """What is in each patch, (pictures, tokens, 4)."""
    digits: Tensor
    """And the digits of its centre, (pictures, tokens, 4, 6)."""
    pictures: tuple[int, ...]
    """Every picture's first token."""


def looking_loss(model: Any, readers: Readers, watched: Watched, seen: Seen) -> tuple[Tensor, dict[str, float]]:
    """Return the weighted loss of everything about looking but the vision tower's own, and scores as plain numbers.

    `found` is the attention on the right token in front of the first digit, `asked` the share of names looked for that
    are told, `there` that of names in the picture.
    """
    if all(sight.name == NOTHING for sight in seen.sights):  # on few screens, all of them blank, say
        return torch.zeros(()), {}
    attend, found = attention_loss(model, watched, seen)
    codes = code_loss(model, watched, seen, readers.codes)
    places = torch.tensor([place for sight in seen.sights for place in sight.tokens if sight.name != NOTHING])
    names = torch.tensor([sight.name for sight in seen.sights for _ in sight.tokens if sight.name != NOTHING])
    # Gathered before anything is read: there are far fewer of them than tokens.
    cells = torch.arange(seen.classes.shape[1])
    asked = there = torch.zeros(())
    right = []
    for index, layer in enumerate(LAYERS):
        hidden = watched[layer][0][0]
        raw = readers.there[index](hidden[torch.tensor(seen.pictures)[:, None] + cells]).float()
        there_loss, told = _read_patches(raw.unflatten(-1, (PATCHES_PER_TOKEN, -1)), readers.num_classes, seen)
        there = there + there_loss / len(LAYERS)
        logits = readers.asked[index](hidden[places]).float()
        asked = asked + functional.cross_entropy(logits, names) / len(LAYERS)
        right.append((told, (logits.argmax(-1) == names).float().mean().item()))
    places, placed = place_loss(model, readers, watched, seen)
    told_loss, told = _read_found(readers, watched, seen)
    scores = {"found": found, "there": right[0][0], "asked": right[0][1], "placed": placed, "told": told}
    loss = ATTEND_WEIGHT * attend + CODE_WEIGHT * codes + THERE_WEIGHT * there + ASKED_WEIGHT * asked
    return loss + PLACE_WEIGHT * places + TOLD_WEIGHT * told_loss, scores


def _read_found(readers: Readers, watched: Watched, seen: Seen) -> tuple[Tensor, float]:
    """Whether a token in front of a digit knows all digits of the place, once it has looked."""
    queries = torch.tensor([place for sight in seen.sights for place in sight.tokens])
    digits = torch.tensor([sight.digits for sight in seen.sights for _ in sight.tokens])
    logits = readers.told(watched[LAST_LAYER][0][0][queries]).float().unflatten(-1, (2 * DIGITS, 10))
    right = (logits.argmax(-1) == digits).float().mean().item()
    return functional.cross_entropy(logits.flatten(0, 1), digits.flatten()), right


def _read_patches(raw: Tensor, num_classes: int, seen: Seen) -> tuple[Tensor, float]:
    class_logits, digit_logits = raw[..., :num_classes], raw[..., num_classes:].unflatten(-1, (2 * DIGITS, 10))
    is_there = seen.classes != NOTHING
    digits = functional.cross_entropy(digit_logits[is_there].flatten(0, -2), seen.digits[is_there].flatten())
    told = (class_logits.argmax(-1) == seen.classes)[is_there].float().mean().item()
    return weigh_patches(class_logits, seen.classes) + 2.0 * digits, told


def attention_loss(model: Any, watched: Watched, seen: Seen) -> tuple[Tensor, float]:
    """Return what looking elsewhere costs, and the mean attention on the right token in front of first digits.

    For a head whose quarter holds the thing: half the cross entropy of its token, half that of all tokens with a thing
    of that name in this quarter (the name is found before it is known which of several is meant). For a head whose
    quarter holds no such thing anywhere: the cross entropy of attending outside the picture.
    """
    queries = torch.tensor([place for sight in seen.sights for place in sight.tokens])
    owner = torch.tensor([index for index, sight in enumerate(seen.sights) for _ in sight.tokens])
    first = torch.tensor([place == sight.tokens[0] for sight in seen.sights for place in sight.tokens])
    weights = torch.where(first, FIRST_WEIGHT, 1.0)
    keys = torch.arange(seen.tree.ids.shape[1])
    visible = torch.stack([_within(keys, sight.seen) for sight in seen.sights])[owner] & (keys <= queries[:, None])
    picture = torch.stack([_within(keys, [_span(sight, seen)]) for sight in seen.sights])[owner]
    exact = torch.stack([keys == sight.picture + sight.token for sight in seen.sights])[owner]
    quarters = torch.tensor([sight.quarter for sight in seen.sights])[owner]
    loss, found = torch.zeros(()), []
    for quarter, (layer, head) in enumerate(LOOKERS):
        shares = attend(model, watched, layer, head, queries, visible)
        named = torch.stack([_find_named(keys, sight, seen, quarter) for sight in seen.sights])[owner]
        mine = quarters == quarter
        idle = ~mine & ~named.any(-1)
        on_thing, on_name = _log_share(shares[mine], exact[mine]), _log_share(shares[mine], (exact | named)[mine])
        elsewhere = _log_share(shares[idle], (visible & ~picture)[idle])
        loss = loss - _mean(0.5 * (on_thing + on_name), weights[mine]) - _mean(elsewhere, weights[idle])
        found.append(on_thing[first[mine]].exp().detach().flatten())
    return loss / len(LOOKERS), torch.cat(found).mean().item()


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of (queries, heads); 0 of none."""
    return (values.mean(-1) * weights).sum() / weights.sum().clamp(min=1.0)


def code_loss(model: Any, watched: Watched, seen: Seen, codes: Tensor) -> Tensor:
    """Return how far queries and keys of the heads that look are from the code of the name they are about.

    Left to find a language of their own for some eighty names, queries and keys take thousands of steps: neither
    learns before the other. Given one, each learns it as a reader would. It is one minus the cosine, before they are
    turned by their positions.

    Args:
        model: a Qwen3-VL.
        watched: what its layers were given.
        seen: what is where, and what is looked for.
        codes: one for each class, (classes, head_dim).
    """
    asking = torch.tensor([place for sight in seen.sights for place in sight.tokens if sight.name != NOTHING])
    asked = torch.tensor([sight.name for sight in seen.sights for _ in sight.tokens if sight.name != NOTHING])
    cells = torch.tensor(seen.pictures)[:, None] + torch.arange(seen.classes.shape[1])
    loss = torch.zeros(())
    for quarter, (layer, head) in enumerate(LOOKERS):
        queries = _query(model, watched, layer, head, asking)
        keys = _key(model, watched, layer, head)[cells]
        names = seen.classes[:, :, quarter]
        weights = balance(names, len(codes))
        off = 1 - functional.cosine_similarity(keys, codes[names], dim=-1)
        loss = loss + (off * weights).sum() / weights.sum()
        loss = loss + (1 - functional.cosine_similarity(queries, codes[asked][:, None], dim=-1)).mean()
    return loss / len(LOOKERS)


def place_loss(model: Any, readers: Readers, watched: Watched, seen: Seen) -> tuple[Tensor, float]:
    """Return how badly the values of the heads that look tell where things are, and their share of right digits.

    A value is what a token of the answer gets of what it attends to: each head's has to hold the digits of its quarter.
    """
    cells = torch.tensor(seen.pictures)[:, None] + torch.arange(seen.classes.shape[1])
    loss, right = torch.zeros(()), []
    for quarter, (layer, head) in enumerate(LOOKERS):
        is_there = seen.classes[:, :, quarter] != NOTHING
        values = _value(model, watched, layer, head)[cells[is_there]]
        logits = readers.places[quarter](values).float().unflatten(-1, (2 * DIGITS, 10)).flatten(0, -2)
        digits = seen.digits[:, :, quarter][is_there].flatten()
        if len(digits):
            loss = loss + functional.cross_entropy(logits, digits) / len(LOOKERS)
            right.append((logits.argmax(-1) == digits).float().mean().item())
    return loss, sum(right) / max(len(right), 1)


def _log_share(log_shares: Tensor, wanted: Tensor) -> Tensor:
    """Log of the attention on wanted keys, (queries, heads)."""
    share = log_shares.masked_fill(~wanted[:, None], float("-inf")).logsumexp(-1)
    return share.clamp(min=LEAST_LOG_SHARE)


def _within(keys: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    return torch.stack([(keys >= start) & (keys < stop) for start, stop in spans]).any(0)


def _span(sight: Sight, seen: Seen) -> tuple[int, int]:
    return sight.picture, sight.picture + seen.classes.shape[1]


def _find_named(keys: Tensor, sight: Sight, seen: Seen, quarter: int) -> Tensor:
    """Which tokens have a thing of the name that is looked for in a quarter, (tokens,)."""
    named = torch.zeros_like(keys, dtype=torch.bool)
    if sight.name != NOTHING:
        named[slice(*_span(sight, seen))] = seen.classes[seen.pictures.index(sight.picture), :, quarter] == sight.name
    return named


def attend(model: Any, watched: Watched, layer: int, head: int, queries: Tensor, visible: Tensor) -> Tensor:
    """Return the log attention of a key head's first query heads, (queries, `QUERY_HEADS`, tokens), as the model's.

    Args:
        model: a Qwen3-VL.
        watched: what its layers were given.
        layer: the layer.
        head: the key head.
        queries: indices of tokens, (queries,).
        visible: what each of them sees, (queries, tokens) bool.
    """
    cos, sin = (part[0] for part in watched[layer][1])
    asking = _query(model, watched, layer, head, queries)
    offered = _key(model, watched, layer, head)
    asking = asking * cos[queries][:, None] + rotate_half(asking) * sin[queries][:, None]
    offered = offered * cos + rotate_half(offered) * sin
    scores = torch.einsum("qhd,kd->qhk", asking, offered) * model.model.language_model.layers[layer].self_attn.scaling
    return scores.float().masked_fill(~visible[:, None], float("-inf")).log_softmax(-1)


def _query(model: Any, watched: Watched, layer: int, head: int, queries: Tensor) -> Tensor:
    """A key head's first query heads before they are turned, (queries, `QUERY_HEADS`, head_dim)."""
    attention = model.model.language_model.layers[layer].self_attn
    asking = attention.q_proj(watched[layer][0][0][queries]).unflatten(-1, (-1, attention.head_dim))
    first = head * attention.num_key_value_groups
    turned: Tensor = attention.q_norm(asking[:, first : first + QUERY_HEADS])
    return turned


def _key(model: Any, watched: Watched, layer: int, head: int) -> Tensor:
    """A key head's keys before they are turned, (tokens, head_dim)."""
    attention = model.model.language_model.layers[layer].self_attn
    offered = attention.k_proj(watched[layer][0][0]).unflatten(-1, (-1, attention.head_dim))
    normed: Tensor = attention.k_norm(offered[:, head])
    return normed


def _value(model: Any, watched: Watched, layer: int, head: int) -> Tensor:
    """A key head's values, (tokens, head_dim)."""
    attention = model.model.language_model.layers[layer].self_attn
    values: Tensor = attention.v_proj(watched[layer][0][0]).unflatten(-1, (-1, attention.head_dim))[:, head]
    return values
