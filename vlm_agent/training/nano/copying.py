"""Looking a name up in a list and copying its place: the skill behind reading a game state, taught on its own.

In play most places can be guessed from habit, and a small model guesses for a long time before it learns to read. Here
names and places are drawn at random, so reading is the only thing that helps. Lists grow from one entry to many.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from random import Random

from vlm_agent.actions.types import ActionChunk, Click, Move
from vlm_agent.chat import PromptInput, Recipe, render_answer, render_prompt
from vlm_agent.games.ringcraft.goals import GOALS
from vlm_agent.models.encoding import ChatEncoder, Encoded

ENTRIES_MAX = 14
"""Longest list."""
GROWTH_STEPS = 300
"""Steps over which lists grow to their full length."""
QUESTIONS = 7
_VERBS = (
    "click the {}",
    "use the {}",
    "withdraw the {}s",
    "deposit the {}s",
    "make {}s",
    "walk to the {}",
    "{}",
    "take {}s",
)
_HEADS = ("near: ", "inv: ", "bank: ", "furnace window: ", "on the minimap: ", "bank buttons: ")
_NOT_NAMES = frozenset(
    [
        "a",
        "an",
        "and",
        "at",
        "by",
        "do",
        "for",
        "from",
        "in",
        "into",
        "it",
        "of",
        "on",
        "or",
        "out",
        "over",
        "some",
        "the",
        "to",
        "up",
        "you",
        "your",
        "with",
    ]
)


@lru_cache(maxsize=1)
def _words() -> tuple[str, ...]:
    texts = (text for goal in GOALS.values() for text in (goal.text, *goal.paraphrases))
    return tuple(sorted({word for text in texts for word in text.split() if word.isalpha()} - _NOT_NAMES))


def make_list(seed: int, step: int, row: int, recipe: Recipe, encoder: ChatEncoder) -> list[Encoded]:
    """Return a few questions about one random list, as conversations without system text or picture."""
    rng = Random(f"copy {seed} {step} {row}")
    longest = 1 + min(step, GROWTH_STEPS) * (ENTRIES_MAX - 1) // GROWTH_STEPS
    places = draw_places(rng, rng.randint(1, longest))
    text = write_list(places, rng)
    asked = rng.sample(sorted(places), min(len(places), QUESTIONS))
    return [_ask(name, places[name], text, rng, recipe, encoder) for name in asked]


def draw_places(rng: Random, count: int) -> dict[str, tuple[int, int]]:
    """Return random names of one or two words, each with a random place in thousandths."""
    names: set[str] = set()
    while len(names) < count:
        names.add(" ".join(rng.sample(_words(), rng.choice((1, 1, 2)))))
    return {name: (rng.randrange(1000), rng.randrange(1000)) for name in sorted(names)}


def write_list(places: dict[str, tuple[int, int]], rng: Random) -> str:
    """Return the entries in random order on a few lines, in the form of the game-state text."""
    entries = [
        f"{name} @{x},{y}{rng.choice(('', f' {rng.randint(1, 15)}', f' x{rng.randint(1, 4000)}'))}"
        for name, (x, y) in places.items()
    ]
    rng.shuffle(entries)
    lines: list[list[str]] = [[]]
    for entry in entries:
        if lines[-1] and rng.random() < 0.25:
            lines.append([])
        lines[-1].append(entry)
    return "\n".join(rng.choice(_HEADS) + "; ".join(line) for line in lines)


def _ask(name: str, place: tuple[int, int], text: str, rng: Random, recipe: Recipe, encoder: ChatEncoder) -> Encoded:
    goal = rng.choice(_VERBS).format(name)
    x, y = place
    actions: Sequence[Move | Click] = (Click(250, x, y),)
    if rng.random() < 0.3:
        actions = (Move(250, x, y), Click(60, x, y))
    answer = render_answer(ActionChunk(tuple(actions)), recipe)
    return encoder.encode_training(render_prompt(PromptInput((), goal, text), recipe)[1:], answer)
