"""Reading a game state, taught on its own: what holds at a moment, and which step that asks for. Text alone.

In play a choice between steps hangs on one fact ("is there gold in the bag?") among many habits, and shows in one token
of twenty, so a small model guesses for thousands of steps before it looks. Two exercises ask for nothing else:

- *statements*: "you have rubies:", true or false? Half of them are true. Looking is learnt within some hundred steps.
- *choices*: an instruction with conditions (see `conditions`), answered by the name of the step it comes to.

Every question is a branch of its own, so none can be answered by copying the answer to another.
"""

from __future__ import annotations

from random import Random

from vlm_agent.chat import PromptInput, render_step_prompt
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.models.encoding import IGNORED_LABEL, ChatEncoder, Encoded
from vlm_agent.training.nano import scenes
from vlm_agent.training.nano.conditions import draw_choice, draw_condition, draw_order
from vlm_agent.training.nano.tree import TreeSequence

STATEMENTS = 60
"""Statements about one moment."""
TRIES = 6
"""A condition that holds (or doesn't) as wanted is drawn so many times at most; some always do."""
TRUE, FALSE = " true", " false"
"""Answers to a statement; only the first token of each is learnt."""
CHOICES, ORDERS = 20, 8
"""Instructions with conditions about one moment, and with an order of things while the bank is open."""
WAIT = "wait"
"""The step where nothing is to be done."""


def make_statements(seed: int, step: int, row: int, encoder: ChatEncoder) -> TreeSequence:
    """Return statements about one random moment; whether each is true is learnt."""
    rng = Random(f"statements {seed} {step} {row}")
    core = random_scene(rng)
    ids = encoder.encode_text(scenes.read_state(core) + "\n")
    shared = len(ids)
    branch, order, labels = [0] * shared, list(range(shared)), [IGNORED_LABEL] * shared
    answers = {holds: encoder.encode_text(word)[0] for holds, word in ((True, TRUE), (False, FALSE))}
    for number in range(1, STATEMENTS + 1):
        words, holds = _draw_statement(core, rng)
        told = encoder.encode_text(f"{words}:")
        ids += told
        branch += [number] * len(told)
        order += range(shared, shared + len(told))
        labels += [IGNORED_LABEL] * (len(told) - 1) + [answers[holds]]
    return TreeSequence(tuple(ids), tuple(labels), tuple(branch), tuple(order))


def _draw_statement(core: Ringcraft, rng: Random) -> tuple[str, bool]:
    wanted = rng.random() < 0.5
    for _ in range(TRIES):
        words, holds = draw_condition(core.state, rng)
        if holds == wanted:
            break
    return words, holds


def make_choices(seed: int, step: int, row: int, encoder: ChatEncoder) -> list[Encoded]:
    """Return instructions about one random moment, as conversations without system text or picture."""
    rng = Random(f"choices {seed} {step} {row}")
    core = random_scene(rng)
    goals = list(scenes.possible_goals(core.state, rng))
    asked = [draw_order(core.state, goals, rng) for _ in range(ORDERS)]
    asked += [draw_choice(core.state, goals, rng) for _ in range(CHOICES)]
    rng.shuffle(asked)
    recipe, text = scenes.nano_recipe(), scenes.read_state(core)
    return [
        encoder.encode_training(
            render_step_prompt(PromptInput((), words, text), recipe)[1:], goal.text if goal else WAIT
        )
        for words, goal in filter(None, asked)
    ]
