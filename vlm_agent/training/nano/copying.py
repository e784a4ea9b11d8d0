"""Looking a name up in a list and copying its place: the skill behind reading a game state, taught on its own.

In play most places can be guessed from habit, and a small model guesses for thousands of steps before it learns to
read. Here names and places are drawn at random, so reading is the only thing that helps. An *echo* writes a short list
three times, each time in another order: from the second time on every place can be looked up, which makes one exercise
every ten tokens. Beside them stand questions in the form of play. Lists grow from two entries to many.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from random import Random

from vlm_agent.actions.types import ActionChunk, Click, Move
from vlm_agent.chat import PromptInput, Recipe, render_answer, render_prompt
from vlm_agent.games.ringcraft.goals import GOALS
from vlm_agent.models.encoding import IGNORED_LABEL, ChatEncoder, Encoded
from vlm_agent.training.nano.tree import TreeSequence

ENTRIES_MIN, ENTRIES_MAX = 2, 20
"""Shortest and longest list."""
FIRST_GROWTH_STEP, GROWTH_STEPS = 250, 25
"""Lists stay short until the first of these steps, and grow by one entry every so many steps from there."""
ECHOES = 3
"""How often a list stands in an echo."""
ECHO_ENTRIES = 200
"""Entries a step in echoes, all lists together and each counted once."""
QUESTIONS_MAX = 5
"""Questions about one list."""
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
_LITTLE_WORDS = frozenset({"a", "an", "and", "at", "for", "from", "in", "of", "on", "or", "the", "to", "up", "your"})

Places = dict[str, tuple[int, int]]
"""Names with their places in thousandths."""


@lru_cache(maxsize=1)
def _words() -> tuple[str, ...]:
    texts = (text for goal in GOALS.values() for text in (goal.text, *goal.paraphrases))
    return tuple(sorted({word for text in texts for word in text.split() if word.isalpha()} - _LITTLE_WORDS))


def longest_list(step: int) -> int:
    """Return how many entries the lists of a step have at most."""
    return min(ENTRIES_MIN + max(step - FIRST_GROWTH_STEP, 0) // GROWTH_STEPS, ENTRIES_MAX)


def make_echoes(seed: int, step: int, encoder: ChatEncoder, entries: int = ECHO_ENTRIES) -> list[TreeSequence]:
    """Return the echoes of a step as sequences without branches; the places after the first time are learnt."""
    rng, longest = Random(f"echo {seed} {step}"), longest_list(step)
    count = max(4, entries // (2 * longest))
    return [_write_echo(draw_places(rng, rng.randint(longest // 2, longest)), rng, encoder) for _ in range(count)]


def _write_echo(places: Places, rng: Random, encoder: ChatEncoder) -> TreeSequence:
    ids: list[int] = []
    learnt: list[int] = []
    for echo in range(ECHOES):
        entries = list(places.items())
        rng.shuffle(entries)
        for name, (x, y) in entries:
            known = encoder.encode_text(f" {name} @")
            told = encoder.encode_text(f"{x},{y};")
            ids += known + told
            learnt += [IGNORED_LABEL] * len(known) + (told if echo else [IGNORED_LABEL] * len(told))
    return TreeSequence(tuple(ids), (*learnt[1:], IGNORED_LABEL), branch=(0,) * len(ids), order=tuple(range(len(ids))))


def make_questions(seed: int, step: int, row: int, recipe: Recipe, encoder: ChatEncoder) -> list[Encoded]:
    """Return a few questions about one random list, as conversations without system text or picture."""
    rng = Random(f"copy {seed} {step} {row}")
    places = draw_places(rng, rng.randint(1, longest_list(step)))
    text = write_list(places, rng)
    asked = rng.sample(sorted(places), min(len(places), QUESTIONS_MAX))
    return [_ask(name, places[name], text, rng, recipe, encoder) for name in asked]


def draw_places(rng: Random, count: int) -> Places:
    """Return random names of one or two words, each with a random place."""
    names: set[str] = set()
    while len(names) < count:
        names.add(" ".join(rng.sample(_words(), rng.choice((1, 1, 2)))))
    return {name: (rng.randrange(1000), rng.randrange(1000)) for name in sorted(names)}


def write_list(places: Places, rng: Random) -> str:
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
    x, y = place
    actions: Sequence[Move | Click] = (Click(250, x, y),)
    if rng.random() < 0.3:
        actions = (Move(250, x, y), Click(60, x, y))
    answer = render_answer(ActionChunk(tuple(actions)), recipe)
    prompt = render_prompt(PromptInput((), rng.choice(_VERBS).format(name), text), recipe)[1:]
    return encoder.encode_training(prompt, answer)
