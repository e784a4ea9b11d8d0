"""Instructions with a condition: the words say what the state decides."""

from __future__ import annotations

import re
from random import Random

import pytest

from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.goals import GOALS, LONG_GOAL, applicable_goals
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.state import Stack
from vlm_agent.training.nano import scenes
from vlm_agent.training.nano.batches import drop_text
from vlm_agent.training.nano.conditions import draw_choice, draw_order
from vlm_agent.training.nano.samples import CONDITIONAL

WORDINGS = {wording: goal for goal in GOALS.values() for wording in (goal.text, *goal.paraphrases)}


def _carry(*items: str) -> Ringcraft:
    game = Ringcraft(3)
    game.state.inventory[: len(items)] = [Stack(item) for item in items]
    return game


@pytest.mark.parametrize("seed", range(40))
def test_the_first_branch_whose_condition_holds_is_taken(seed: int) -> None:
    state = _carry("ring_mould", "ruby").state
    choice = draw_choice(state, applicable_goals(state), Random(seed))
    assert choice is not None
    words, chosen = choice
    *guarded, last = words.split("; ")
    for part in guarded:
        condition, branch = part.removeprefix("if ").split(", ", 1)
        if _holds(condition):
            break
    else:
        branch = last.removeprefix("else ")
    assert WORDINGS.get(branch) is chosen


def _holds(condition: str) -> bool:
    """Read a condition as a person would who idles before no window with a mould and a ruby."""
    if " and " in condition:
        return all(_holds(part) for part in condition.split(" and "))
    if counted := re.fullmatch(r"you (do not )?have (\d+) (ring mould|rub(?:y|ies))", condition):
        return (counted.group(2) == "1") != (counted.group(1) is not None)
    if " open" in condition or "quantity" in condition:
        return " not " in condition
    if condition.startswith(("you are", "the player is")):
        return condition.endswith("idle")
    names = [name for key in ("ring_mould", "ruby") for name in (RULES.items[key].name.lower(), RULES.items[key].many)]
    carried = any(condition.removesuffix(" in the inventory").endswith(f" {name}") for name in names)
    return carried != (" no " in condition)


def test_in_the_bank_the_first_thing_missing_is_fetched() -> None:
    game = _carry("ring_mould", "ruby")
    game.state.mode = "bank"
    goals = applicable_goals(game.state)
    drawn = [choice for seed in range(200) if (choice := draw_order(game.state, goals, Random(seed)))]
    assert len({words for words, _ in drawn}) > 50
    carried = [RULES.items[key].many for key in ("ring_mould", "ruby")]
    for words, chosen in drawn:
        items = words.split(" ", 1)[1].split(", then ")[0].split(" and ")
        missing = [item for item in items if item not in carried]
        if missing:
            assert chosen is GOALS[f"withdraw {missing[0]}"]
        else:
            assert WORDINGS[words.split(", then ")[1]] is chosen


def test_with_too_few_goals_or_without_the_bank_nothing_is_asked() -> None:
    state = _carry("ring_mould").state
    assert draw_choice(state, [GOALS["open the bank"]], Random(1)) is None
    assert draw_order(state, applicable_goals(state), Random(1)) is None


def test_samples_hold_them_until_their_text_is_dropped() -> None:
    samples = [scenes.make_sample(11, index, draw=False) for index in range(6)]
    words = [question.goal for sample in samples for question in sample.questions if question.kind == CONDITIONAL]
    assert len(words) > 20
    assert not any(LONG_GOAL in goal for goal in words)
    for seed in range(60):
        dropped = drop_text(samples[0], Random(seed))
        has_conditions = any(question.kind == CONDITIONAL for question in dropped.questions)
        assert has_conditions == (dropped.state_text == samples[0].state_text)
        assert dropped.questions
