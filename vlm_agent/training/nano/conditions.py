"""Instructions with a condition: "if you carry rubies, click the well, else open the stats tab".

What to do next depends on the game's state in every game, so a base model should know how to look at a state before it
chooses. Conditions and goals are paired at random: nothing here says when a player of any game does what.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from vlm_agent.games.ringcraft.commands import count_items
from vlm_agent.games.ringcraft.goal_families import GameGoal
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.state import QUANTITIES, Player, State

Condition = tuple[str, bool]
"""A condition in words, and whether it holds."""
Choice = tuple[str, GameGoal | None]
"""An instruction in words, and the goal it comes to in the present state; none means to wait."""

WAIT_SHARE = 0.2
"""Share of instructions whose two branches include waiting."""
LONGEST = 4
"""Most branches of one instruction."""
BOTH_SHARE = 0.15
"""Share of conditions that join two: "you have rubies and the bank is open"."""
_CARRYING = ("you have {}", "you carry {}", "there is {} in the inventory")
_LACKING = ("you have no {}", "you carry no {}", "there is no {} in the inventory")
_ACTIVITIES = ("idle", "moving", "crafting")
_WAITING = ("wait", "do nothing", "stay as you are")


def draw_choice(state: State, goals: Sequence[GameGoal], rng: Random) -> Choice | None:
    """Return an instruction over some of these goals with conditions, or None if there are too few goals.

    Args:
        state: the present moment.
        goals: single-step goals that make sense now.
        rng: source of chance; the order of the goals and the conditions are drawn.
    """
    count = rng.choice((2, 2, 3, LONGEST))
    if len(goals) < count:
        return None
    branches: list[GameGoal | None] = list(rng.sample(goals, count))
    if rng.random() < WAIT_SHARE:
        branches[rng.randrange(count)] = None
    conditions = [draw_condition(state, rng) for _ in range(count - 1)]
    held = [branch for (_, holds), branch in zip(conditions, branches, strict=False) if holds]
    chosen = held[0] if held else branches[-1]
    words = [_word(branch, rng) for branch in branches]
    parts = [f"if {condition}, {branch}" for (condition, _), branch in zip(conditions, words, strict=False)]
    return f"{'; '.join(parts)}; else {words[-1]}", chosen


def draw_order(state: State, goals: Sequence[GameGoal], rng: Random) -> Choice | None:
    """Return "get A and B, then C": the first of two items that is not carried yet, or what comes after them.

    Only while the bank is open; C is drawn from the goals.
    """
    if state.mode != "bank" or not goals:
        return None
    offered = {stack.item for stack in state.bank} | {stack.item for stack in state.inventory if stack}
    items = rng.sample(sorted(offered), 2)
    missing = [item for item in items if not count_items(state, item)]
    last = rng.choice(goals)
    names = [RULES.items[item].many for item in items]
    words = f"{rng.choice(('withdraw', 'get', 'take'))} {names[0]} and {names[1]}, then {_word(last, rng)}"
    if not missing:
        return words, last
    withdrawals = {goal.text: goal for goal in goals}
    wanted = withdrawals.get(f"withdraw {RULES.items[missing[0]].many}")
    return None if wanted is None else (words, wanted)


def _word(goal: GameGoal | None, rng: Random) -> str:
    return rng.choice(_WAITING if goal is None else (goal.text, *goal.paraphrases))


def draw_condition(state: State, rng: Random) -> Condition:
    """Return a condition in words, and whether it holds in this state."""
    words, holds = rng.choice(_KINDS)(state, rng)
    if rng.random() >= BOTH_SHARE:
        return words, holds
    others, others_hold = rng.choice(_KINDS)(state, rng)
    return f"{words} and {others}", holds and others_hold


def _carries(state: State, rng: Random) -> Condition:
    carried = sorted({stack.item for stack in state.inventory if stack is not None})
    # Half of the time something that is there: most things never are.
    item = rng.choice(carried) if carried and rng.random() < 0.5 else rng.choice(sorted(RULES.items))
    name = rng.choice((RULES.items[item].many, RULES.items[item].name.lower()))
    is_carried = count_items(state, item) > 0
    if rng.random() < 0.4:
        return rng.choice(_LACKING).format(name), not is_carried
    return rng.choice(_CARRYING).format(name), is_carried


def _carries_so_many(state: State, rng: Random) -> Condition:
    carried = sorted({stack.item for stack in state.inventory if stack is not None})
    if not carried:
        return _carries(state, rng)
    item = rng.choice(carried)
    count = count_items(state, item)
    asked = count if rng.random() < 0.5 else rng.choice((1, 5, 10, 13, rng.randint(1, 27)))
    words = f"{asked} {RULES.items[item].many if asked > 1 else RULES.items[item].name.lower()}"
    if rng.random() < 0.3:
        return f"you do not have {words}", asked != count
    return f"you have {words}", asked == count


def _does(state: State, rng: Random) -> Condition:
    doing = _activity(state.player)
    asked = doing if rng.random() < 0.5 else rng.choice(_ACTIVITIES)
    return rng.choice(("you are {}", "the player is {}")).format(asked), asked == doing


def _activity(player: Player) -> str:
    if player.animation == "smelt":
        return "crafting"
    return "moving" if player.path or player.trail else "idle"


def _shows(state: State, rng: Random) -> Condition:
    mode, name = rng.choice((("bank", "bank"), ("furnace", "furnace window")))
    if rng.random() < 0.3:
        return f"the {name} is not open", state.mode != mode
    return f"the {name} is open", state.mode == mode


def _counts(state: State, rng: Random) -> Condition:
    chosen = {"bank": state.bank_quantity, "furnace": state.furnace_quantity}.get(state.mode)
    asked = chosen if chosen and rng.random() < 0.5 else rng.choice(QUANTITIES)
    if rng.random() < 0.4:
        return f"the quantity is not {asked}", asked != chosen
    return f"the quantity is {asked}", asked == chosen


_KINDS: tuple[Callable[[State, Random], Condition], ...] = (
    *(_carries,) * 4,
    _carries_so_many,
    *(_does,) * 2,
    _shows,
    _counts,
)
