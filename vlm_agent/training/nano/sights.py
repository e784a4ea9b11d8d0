"""Which places in answers can be seen on the screen, and where: what nano is taught to look for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlm_agent.actions.types import Click
from vlm_agent.training.nano.by_eye import topmost
from vlm_agent.training.nano.dense import NOTHING, patch_of, place_digits
from vlm_agent.training.nano.samples import NanoSample
from vlm_agent.training.nano.tree import TreeSequence


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
    digits: tuple[int, ...]
    """Three of x, three of y, in thousandths of the screen."""


def find_sights(
    trees: Sequence[TreeSequence],
    samples: Sequence[NanoSample],
    names: dict[str, int],
    *,
    digit_ids: Sequence[int],
    image_token_id: int,
    grid: tuple[int, int],
) -> list[Sight]:
    """Return the first place of every answer that names one.

    Args:
        trees: of a batch, in order.
        samples: what each tree was grown from; its branches are the first of the questions.
        names: classes of things.
        digit_ids: tokens of 0 to 9.
        image_token_id: the picture's placeholder.
        grid: rows and columns of patches.
    """
    sights, first = [], 0
    for tree, sample in zip(trees, samples, strict=True):
        shared = tree.branch.count(0)
        picture = tree.ids.index(image_token_id)
        for branch in range(1, max(tree.branch) + 1):
            actions = sample.questions[branch - 1].answer.actions
            click = next((action for action in actions if isinstance(action, Click)), None)
            if click is None:
                continue
            own = [place for place, number in enumerate(tree.branch) if number == branch]
            digits = [place for place in own if tree.labels[place] in digit_ids]
            time, length = len(str(click.dt_ms)), len(f"{click.x}{click.y}")
            token, quarter = locate(click.x, click.y, *grid)
            thing = topmost(click.x, click.y, sample.things)
            sights.append(
                Sight(
                    tokens=tuple(first + place for place in digits[time : time + length]),
                    seen=((first, first + shared), (first + own[0], first + own[-1] + 1)),
                    picture=first + picture,
                    token=token,
                    quarter=quarter,
                    name=names.get(thing.name, NOTHING) if thing else NOTHING,
                    digits=tuple(place_digits(click.x, click.y)),
                )
            )
        first += len(tree.ids)
    return sights


def locate(x: int, y: int, rows: int, columns: int) -> tuple[int, int]:
    """Return the merged token that holds a place in thousandths, and which of its patches."""
    row, column = patch_of(x, y, rows, columns)
    return row // 2 * (columns // 2) + column // 2, row % 2 * 2 + column % 2
