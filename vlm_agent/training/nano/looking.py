"""Teaching nano where to look: which token of the picture an answer must be read from is told during training.

Left alone, a small model takes very long to find out that a place can be seen: while its attention over a picture is
even, what it reads there is noise, and while that is noise nothing tells it where to attend. The game knows where
everything is. So beside the answers four things are learnt, each with a loss of its own, on screens whose game-state
text is withheld:

- the vision tower tells what lies in every patch and where (see `dense`);
- so do the picture's tokens in the middle of the language layers, to a linear reader: what attention can use;
- the tokens in front of a place tell, to another one, what is looked for;
- heads set aside for it attend from there to the token of the picture that holds the thing.

A merged token covers four patches, which may hold four things. Rotary position encoding leaves about 14 of a key's 32
dimensions for what a token is rather than where, too few for four names at once; so every quarter of a token has a key
head of its own, in which it is matched, and attends outside the picture when the thing lies in another quarter.
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

from vlm_agent.actions.types import Click
from vlm_agent.training.nano.dense import DIGITS, NOTHING, PATCHES_PER_TOKEN, weigh_patches
from vlm_agent.training.nano.samples import Question
from vlm_agent.training.nano.tree import TreeBatch, TreeSequence

LOOKERS = ((3, 0), (3, 1), (4, 0), (4, 1))
"""Layer and key head that look for things in each quarter of a token: upper left, upper right, lower left, right."""
LAYERS = tuple(sorted({layer for layer, _ in LOOKERS}))
QUERY_HEADS = 2
"""Query heads of each of those key heads that are told where to look; the others go on as they like."""
FIRST_WEIGHT = 6.0
"""In front of a place's first digit nothing but the thing's name tells where it is; later ones follow from it too."""
ATTEND_WEIGHT, THERE_WEIGHT, ASKED_WEIGHT = 1.0, 0.3, 0.4
"""What the three losses of looking count beside that of the answers."""
LEAST_LOG_SHARE = -20.0
"""Less attention than this counts as this: a single hopeless case must not decide a step."""


@dataclass(frozen=True)
class Sight:
    """A place in an answer that can be seen on the screen."""

    tokens: tuple[int, ...]
    """Those in front of the digits of x and y, counted over the whole batch."""
    seen: tuple[tuple[int, int], ...]
    """The spans of the batch that these tokens see: the shared part, and their own branch."""
    picture: int
    """The picture's first token."""
    token: int
    """Which of the picture's tokens holds the place."""
    quarter: int
    """Which of its four patches does."""
    name: int
    """Class of the thing there (see `dense`)."""


def find_sights(
    trees: Sequence[TreeSequence],
    questions: Sequence[Sequence[Question]],
    classes: Tensor,
    *,
    digit_ids: Sequence[int],
    image_token_id: int,
    grid: tuple[int, int],
) -> list[Sight]:
    """Return the first place of every answer that names one.

    Args:
        trees: of a batch, in order.
        questions: those of each tree, in the order of its branches.
        classes: what is in each patch, (trees, tokens, 4).
        digit_ids: tokens of 0 to 9.
        image_token_id: the picture's placeholder.
        grid: rows and columns of patches.
    """
    sights, first = [], 0
    for tree, asked, there in zip(trees, questions, classes, strict=True):
        shared = tree.branch.count(0)
        picture = tree.ids.index(image_token_id)
        for branch in range(1, max(tree.branch) + 1):
            click = next((action for action in asked[branch - 1].answer.actions if isinstance(action, Click)), None)
            if click is None:
                continue
            own = [place for place, number in enumerate(tree.branch) if number == branch]
            digits = [place for place in own if tree.labels[place] in digit_ids]
            time, length = len(str(click.dt_ms)), len(f"{click.x}{click.y}")
            token, quarter = locate(click.x, click.y, *grid)
            sights.append(
                Sight(
                    tokens=tuple(first + place for place in digits[time : time + length]),
                    seen=((first, first + shared), (first + own[0], first + own[-1] + 1)),
                    picture=first + picture,
                    token=token,
                    quarter=quarter,
                    name=int(there[token, quarter]),
                )
            )
        first += len(tree.ids)
    return sights


def locate(x: int, y: int, rows: int, columns: int) -> tuple[int, int]:
    """Return the merged token that holds a place in thousandths, and which of its patches."""
    row, column = min(y * rows // 1000, rows - 1), min(x * columns // 1000, columns - 1)
    return row // 2 * (columns // 2) + column // 2, row % 2 * 2 + column % 2


class Readers(nn.Module):
    """Linear readers in the middle of the language layers; thrown away after training."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        outputs = PATCHES_PER_TOKEN * (num_classes + 2 * DIGITS * 10)
        self.there = nn.ModuleList(nn.Linear(width, outputs) for _ in LAYERS)
        self.asked = nn.ModuleList(nn.Linear(width, num_classes) for _ in LAYERS)


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
        for layer in LAYERS
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
    """At least one."""
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
    attend, found = attention_loss(model, watched, seen)
    places = torch.tensor([place for sight in seen.sights for place in sight.tokens if sight.name != NOTHING])
    names = torch.tensor([sight.name for sight in seen.sights for _ in sight.tokens if sight.name != NOTHING])
    # Gathered before anything is read: there are far fewer of them than tokens.
    cells = torch.arange(seen.classes.shape[1])
    asked = there = torch.zeros(())
    right = []
    for index, layer in enumerate(LAYERS):
        hidden = watched[layer][0][0]
        raw = readers.there[index](hidden[torch.tensor(seen.pictures)[:, None] + cells])
        there_loss, told = _read_patches(raw.unflatten(-1, (PATCHES_PER_TOKEN, -1)), readers.num_classes, seen)
        there = there + there_loss / len(LAYERS)
        logits = readers.asked[index](hidden[places])
        asked = asked + functional.cross_entropy(logits, names) / len(LAYERS)
        right.append((told, (logits.argmax(-1) == names).float().mean().item()))
    scores = {"found": found, "there": right[0][0], "asked": right[0][1]}
    return ATTEND_WEIGHT * attend + THERE_WEIGHT * there + ASKED_WEIGHT * asked, scores


def _read_patches(raw: Tensor, num_classes: int, seen: Seen) -> tuple[Tensor, float]:
    class_logits, digit_logits = raw[..., :num_classes], raw[..., num_classes:].unflatten(-1, (2 * DIGITS, 10))
    is_there = seen.classes != NOTHING
    digits = functional.cross_entropy(digit_logits[is_there].flatten(0, -2), seen.digits[is_there].flatten())
    told = (class_logits.argmax(-1) == seen.classes)[is_there].float().mean().item()
    return weigh_patches(class_logits, seen.classes) + 2.0 * digits, told


def attention_loss(model: Any, watched: Watched, seen: Seen) -> tuple[Tensor, float]:
    """Return what looking elsewhere costs, and the mean attention on the right token in front of first digits.

    For a head whose quarter holds the thing: half the cross entropy of the token, half that of all tokens with a thing
    of that name in this quarter (the name is found before it is known which of several is meant). For any other head:
    the cross entropy of attending outside the picture.
    """
    queries = torch.tensor([place for sight in seen.sights for place in sight.tokens])
    owner = torch.tensor([index for index, sight in enumerate(seen.sights) for _ in sight.tokens])
    first = torch.tensor([place == sight.tokens[0] for sight in seen.sights for place in sight.tokens])
    weights = torch.where(first, FIRST_WEIGHT, 1.0)
    keys = torch.arange(seen.tree.ids.shape[1])
    visible = torch.stack([_within(keys, sight.seen) for sight in seen.sights])[owner] & (keys <= queries[:, None])
    exact, alike, picture = (
        torch.stack(masks)[owner] for masks in zip(*(_mark(keys, sight, seen) for sight in seen.sights), strict=True)
    )
    quarters = torch.tensor([sight.quarter for sight in seen.sights])[owner]
    loss, found = torch.zeros(()), []
    for quarter, (layer, head) in enumerate(LOOKERS):
        shares = attend(model, watched, layer, head, queries, visible)
        mine = quarters == quarter
        on_thing, on_name = _log_share(shares[mine], exact[mine]), _log_share(shares[mine], alike[mine])
        elsewhere = _log_share(shares[~mine], (visible & ~picture)[~mine])
        loss = loss - _mean(0.5 * (on_thing + on_name), weights[mine]) - _mean(elsewhere, weights[~mine])
        found.append(on_thing[first[mine]].exp().detach().flatten())
    return loss / len(LOOKERS), torch.cat(found).mean().item()


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of (queries, heads); 0 of none."""
    return (values.mean(-1) * weights).sum() / weights.sum().clamp(min=1.0)


def _log_share(log_shares: Tensor, wanted: Tensor) -> Tensor:
    """Log of the attention on wanted keys, (queries, heads)."""
    share = log_shares.masked_fill(~wanted[:, None], float("-inf")).logsumexp(-1)
    return share.clamp(min=LEAST_LOG_SHARE)


def _within(keys: Tensor, spans: Sequence[tuple[int, int]]) -> Tensor:
    return torch.stack([(keys >= start) & (keys < stop) for start, stop in spans]).any(0)


def _mark(keys: Tensor, sight: Sight, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
    """The token that holds the thing, those with such a thing in the same quarter, and the whole picture."""
    there = seen.classes[seen.pictures.index(sight.picture)]
    picture = (keys >= sight.picture) & (keys < sight.picture + len(there))
    exact = keys == sight.picture + sight.token
    alike = exact.clone()
    if sight.name != NOTHING:
        alike[picture] |= there[:, sight.quarter] == sight.name
    return exact, alike, picture


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
    attention = model.model.language_model.layers[layer].self_attn
    hidden, (cos, sin) = watched[layer][0][0], (part[0] for part in watched[layer][1])
    group, width = attention.num_key_value_groups, attention.head_dim
    asking = attention.q_norm(attention.q_proj(hidden[queries]).unflatten(-1, (-1, width)))
    asking = asking[:, head * group : head * group + QUERY_HEADS]
    offered = attention.k_norm(attention.k_proj(hidden).unflatten(-1, (-1, width)))[:, head]
    asking = asking * cos[queries][:, None] + _rotate_half(asking) * sin[queries][:, None]
    offered = offered * cos + _rotate_half(offered) * sin
    scores = torch.einsum("qhd,kd->qhk", asking, offered) * attention.scaling
    return scores.masked_fill(~visible[:, None], float("-inf")).log_softmax(-1)


def _rotate_half(values: Tensor) -> Tensor:
    one, other = values.chunk(2, dim=-1)
    return torch.cat([-other, one], dim=-1)
