"""What a player of Ringcraft can be asked to do, and how to tell from the state that it was done.

`GOALS` holds every goal by its text: those of one press or a few from `goal_families`, and the long one. Each has other
wordings, a test whether it makes sense now, a test whether it was reached, and the press that comes next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from vlm_agent.errors import ConfigError
from vlm_agent.games.ringcraft import goal_families as family
from vlm_agent.games.ringcraft import side_goals
from vlm_agent.games.ringcraft.commands import count_items, lacking
from vlm_agent.games.ringcraft.goal_families import GameGoal as GameGoal
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.games.ringcraft.state import QUANTITIES, State
from vlm_agent.games.ringcraft.targets import Target

LONG_GOAL = "craft sapphire rings"
TABS = ("inventory", "stats", "equipment", "prayer", "magic", "quest", "friends", "options", "music")
RING = "sapphire_ring"
RING_INDEX = next(index for index, product in enumerate(RULES.products) if product.key == RING)


@dataclass(frozen=True)
class CraftRings(GameGoal):
    """Trip after trip: withdraw, smelt, deposit. Reached with the first ring, scored by all of them."""

    @property
    def is_long(self) -> bool:
        """It doesn't end."""
        return True

    def applicable(self, state: State) -> bool:
        """As long as there is anything to make rings of."""
        return all(
            count_items(state, item) or any(stack.item == item for stack in state.bank)
            for item in RULES.products[RING_INDEX].inputs
        )

    def is_done(self, before: State, after: State) -> bool:
        """At least one ring was made."""
        return after.rings_made > before.rings_made

    def target(self, state: State) -> Target:
        """The press of the short goal that comes next."""
        return GOALS[next_step(state)].target(state)


def next_step(state: State) -> str:
    """Return the text of the short goal that takes a player nearest to more sapphire rings."""
    if state.mode == "levelup":
        return "continue the dialog"
    if state.mode == "bank":
        return _next_in_bank(state)
    if state.mode == "furnace":
        return _next_at_furnace(state)
    if state.crafting.product:
        return "wait until the rings are done"
    return "open the bank" if lacking(state, RING_INDEX) else "use the furnace"


def _next_in_bank(state: State) -> str:
    product = RULES.products[RING_INDEX]
    kept = (product.tool, *product.inputs)
    for stack in state.inventory:
        if stack is not None and stack.item not in kept:
            return f"deposit the {RULES.items[stack.item].many}"
    missing = [item for item in kept if not count_items(state, item)]
    if not missing:
        return "close the bank"
    if missing[0] != product.tool and state.bank_quantity != "X":
        return "select quantity X"
    return f"withdraw {RULES.items[missing[0]].many}"


def _next_at_furnace(state: State) -> str:
    if lacking(state, RING_INDEX):
        return "close the furnace window"
    return "make sapphire rings" if state.furnace_quantity == "All" else "select quantity All"


def find_goal(text: str) -> GameGoal:
    """Return the goal of a text or of one of its paraphrases, whatever its capitals.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    wanted = " ".join(text.lower().split())
    if wanted in _BY_WORDING:
        return _BY_WORDING[wanted]
    near = get_close_matches(wanted, _BY_WORDING, n=3, cutoff=0.4) or list(dict.fromkeys([LONG_GOAL, *GOALS]))[:4]
    raise ConfigError(f"unknown goal: expected one of {', '.join(repr(one) for one in near)}, …; got {text!r}")


def reached_between(before: State, after: State) -> list[GameGoal]:
    """Return the short goals that were reached between two states and made sense at the first."""
    reached = (goal for goal in GOALS.values() if not goal.is_long and goal.is_done(before, after))
    return [goal for goal in reached if goal.applicable(before)]


def applicable_goals(state: State) -> list[GameGoal]:
    """Return the short goals that make sense now."""
    return [goal for goal in GOALS.values() if not goal.is_long and goal.applicable(state)]


def _goals_of_windows() -> Iterator[GameGoal]:
    yield family.OpenWindow(
        "open the bank",
        ("click the bank booth", "use the bank", "go to the bank and open it", "bring up your bank"),
        "bank_booth",
        "bank",
    )
    yield family.OpenWindow(
        "use the furnace",
        ("click the furnace", "open the furnace", "smelt at the furnace", "go to the furnace and use it"),
        "furnace",
        "furnace",
    )
    yield family.CloseWindow(
        "close the bank", ("close the bank window", "shut the bank", "leave the bank", "exit the bank"), "bank"
    )
    yield family.CloseWindow(
        "close the furnace window",
        ("close the crafting window", "shut the furnace window", "leave the furnace window", "exit the furnace window"),
        "furnace",
    )
    yield family.CloseWindow(
        "continue the dialog",
        ("click here to continue", "dismiss the level up message", "continue", "close the level up dialog"),
        "levelup",
    )
    yield family.CloseMenu("close the menu", ("cancel the menu", "choose cancel", "dismiss the right-click menu"))
    for kind, name in (("bank_booth", "bank"), ("furnace", "furnace")):
        yield family.WalkTo(
            f"walk to the {name}",
            (f"go to the {name}", f"move to the {name}", f"get over to the {name}", f"run to the {name}"),
            kind,
        )


def _goals_of_items() -> Iterator[GameGoal]:
    for key, item in RULES.items.items():
        many, one = item.many, item.name.lower()
        yield family.Withdraw(
            f"withdraw {many}",
            (f"withdraw the {many}", f"take {many} out of the bank", f"get {many} from the bank", f"grab some {many}"),
            key,
        )
        yield family.Deposit(
            f"deposit the {many}",
            (f"deposit {many}", f"put the {many} into the bank", f"bank the {many}", f"put away the {many}"),
            key,
        )
        yield side_goals.UseItem(
            f"use the {one}",
            (f"click the {one} in the inventory", f"select the {one}", f"pick the {one}"),
            key,
        )
    yield family.DepositInventory(
        "deposit the inventory",
        ("deposit inventory", "deposit everything", "bank everything", "empty your inventory into the bank"),
    )


def _goals_of_making() -> Iterator[GameGoal]:
    for index, product in enumerate(RULES.products):
        many = RULES.items[product.key].many
        yield family.Make(
            f"make {many}",
            (f"click the {many} in the furnace window", f"choose the {many}", f"smelt {many}", f"start making {many}"),
            index,
        )
    yield family.AwaitRings(
        "wait until the rings are done",
        (
            "wait for the rings",
            "let the crafting finish",
            "wait while you craft",
            "do nothing until the rings are made",
        ),
    )
    for quantity in QUANTITIES:
        yield family.SelectQuantity(
            f"select quantity {quantity}",
            (f"choose quantity {quantity}", f"set the quantity to {quantity}", f"click the {quantity} button"),
            quantity,
        )


def _goals_of_world() -> Iterator[GameGoal]:
    for kind, thing in RULES.objects.items():
        if kind in ("furnace", "bank_booth"):
            continue
        name, option = thing.name.lower(), thing.options[0].lower()
        yield side_goals.ClickObject(
            f"click the {name}", (f"{option} the {name}", f"go to the {name}", f"use the {name}"), kind
        )
    for kind, thing in RULES.objects.items():
        name = thing.name.lower()
        yield side_goals.Examine(
            f"examine the {name}", (f"right-click the {name} and examine it", f"inspect the {name}"), kind
        )
    for kind, npc in RULES.npcs.items():
        name = npc.name.lower()
        wordings = (f"speak to the {name}", f"click the {name}", f"greet the {name}")
        yield side_goals.TalkTo(f"talk to the {name}", wordings, kind)


def _goals_of_frame() -> Iterator[GameGoal]:
    for tab in TABS:
        wordings = (f"open the {tab}", f"show the {tab}", f"click the {tab} tab", f"look at your {tab}")
        yield side_goals.OpenTab(f"open the {tab} tab", wordings, tab)
    for key, verb in (("left", "turn"), ("right", "turn"), ("up", "tilt"), ("down", "tilt")):
        yield side_goals.TurnCamera(
            f"{verb} the camera {key}",
            (f"press the {key} arrow key", f"{verb} the view {key}", f"rotate the camera {key}"),
            key,
        )
    yield side_goals.LookNorth("look north", ("click the compass", "face north", "point the camera north"))
    yield side_goals.ToggleRun(
        "start running", ("turn on running", "switch run on", "click the run orb to run"), runs=True
    )
    yield side_goals.ToggleRun("stop running", ("turn off running", "switch run off", "start walking"), runs=False)


def _collect() -> dict[str, GameGoal]:
    long_goal = CraftRings(
        LONG_GOAL,
        (
            "make as many sapphire rings as you can",
            "keep crafting sapphire rings",
            "train crafting with sapphire rings",
        ),
    )
    goals: dict[str, GameGoal] = {LONG_GOAL: long_goal}
    for goals_of in (_goals_of_windows, _goals_of_items, _goals_of_making, _goals_of_world, _goals_of_frame):
        for goal in goals_of():
            goals[goal.text] = goal
    return goals


GOALS: dict[str, GameGoal] = _collect()
"""Every goal by its text; the long one first."""
_BY_WORDING = {wording.lower(): goal for goal in GOALS.values() for wording in (goal.text, *goal.paraphrases)}
