import copy
from dataclasses import replace

import pytest

from vlm_agent.games.ringcraft.config import RingcraftConfig
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.geometry import topmost_at
from vlm_agent.games.ringcraft.goals import GOALS
from vlm_agent.games.ringcraft.interface import options_at
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.plan import Step, choose_step, foresee, locate, turn_needed
from vlm_agent.games.ringcraft.sight import find_object, minimap_rect, reachable_rect
from vlm_agent.games.ringcraft.skill import Habits
from vlm_agent.games.ringcraft.state import Crafting, Errand, Menu, MenuOption, Stack, State

HABITS = Habits()


def make_state(mode="none", seed=3, **carried) -> State:
    state = Ringcraft(seed, RingcraftConfig(mould_chance=1.0)).state
    state.mode = mode
    state.bank_quantity = "X"
    state.furnace_quantity = "All"
    state.inventory = [None] * 28
    state.inventory[0] = Stack("ring_mould")
    slot = 1
    for item, count in carried.items():
        for _ in range(count):
            state.inventory[slot] = Stack(item)
            slot += 1
    return state


def step_name(state, habits=HABITS):
    return choose_step(state, habits).name


def item_at(state, step):
    return state.bank[step.index].item if step.place == "bank_slot" else state.inventory[step.index].item


def test_a_trip_goes_from_bank_to_furnace_and_back():
    assert step_name(make_state()) in ("go to the bank", "come nearer")
    state = make_state("bank")
    assert item_at(state, choose_step(state, HABITS)) == "gold_bar"
    state = make_state("bank", gold_bar=13)
    assert item_at(state, choose_step(state, HABITS)) == "sapphire"
    assert choose_step(make_state("bank", gold_bar=13, sapphire=13), HABITS).label == "escape"
    assert choose_step(make_state(gold_bar=13, sapphire=13), HABITS).goal == "use the furnace"
    assert step_name(make_state("furnace", gold_bar=13, sapphire=13)) == "make sapphire rings"
    crafting = make_state(gold_bar=12, sapphire=12, sapphire_ring=1)
    crafting.crafting = Crafting("sapphire_ring", 12, 3)
    assert choose_step(crafting, HABITS).kind == "wait"
    assert choose_step(make_state(sapphire_ring=13), HABITS).goal == "open the bank"
    state = make_state("bank", sapphire_ring=13)
    assert choose_step(state, HABITS) == Step("put away", "deposit the sapphire rings", "click", "inventory", 1)


def test_habits_decide_what_is_taken_first_and_how_windows_are_closed():
    other = Habits(first_item="sapphire", closes_with="button")
    state = make_state("bank")
    assert item_at(state, choose_step(state, other)) == "sapphire"
    close = choose_step(make_state("bank", gold_bar=13, sapphire=13), other)
    assert locate(make_state("bank"), close) == LAYOUT.bank.close


@pytest.mark.parametrize(
    "carried",
    [
        {"gold_bar": 5},
        {"gold_bar": 26},
        {"sapphire": 13, "rope": 1},
        {"sapphire_ring": 4, "gold_bar": 9, "sapphire": 9},
    ],
)
def test_a_bag_in_a_mess_is_emptied_whole(carried):
    state = make_state("bank", **carried)
    step = choose_step(state, HABITS)
    assert step.goal == "deposit the inventory"
    assert locate(state, step) == LAYOUT.bank.deposit_inventory
    after = choose_step(foresee(state, step), HABITS)
    assert after.goal == "withdraw ring mould"


def test_the_quantity_is_chosen_before_anything_moves():
    state = make_state("bank", sapphire_ring=13)
    state.bank_quantity = "1"
    assert step_name(state) == "choose X"
    state = make_state("furnace", gold_bar=13, sapphire=13)
    state.furnace_quantity = "5"
    assert step_name(state) == "choose All"


def test_a_mould_that_was_banked_is_taken_back():
    state = make_state("bank", gold_bar=13, sapphire=13)
    state.inventory[0] = None
    state.bank.append(Stack("ring_mould"))
    assert item_at(state, choose_step(state, HABITS)) == "ring_mould"
    state.mode = "none"
    assert choose_step(state, HABITS).goal == "open the bank"


def test_an_empty_bank_ends_the_work():
    state = make_state("bank")
    state.bank = [Stack("rope", 4)]
    assert choose_step(state, HABITS).name == "nothing left to make"


def test_what_is_in_the_way_is_removed_first():
    state = make_state("bank")
    state.tab = "stats"
    assert step_name(state) == "show the inventory"
    state.menu = Menu(300, 200, 100, [MenuOption("Walk here", "", "walk"), MenuOption("Cancel", "", "cancel")])
    step = choose_step(state, HABITS)
    assert step.name == "close the menu"
    point = locate(state, step).centre
    assert topmost_at(state, *point).index == 1
    state = make_state("levelup", gold_bar=4, sapphire=4)
    assert choose_step(state, HABITS).label == "space"
    state = make_state()
    state.selected_slot = 0
    assert locate(state, choose_step(state, HABITS)) == LAYOUT.inventory[0]
    assert step_name(make_state("furnace")) == "close the window"


def test_running_is_switched_back_on_by_a_player_who_runs():
    state = make_state()
    state.player.is_running = False
    assert step_name(state, Habits(runs=True)) == "set the pace"
    assert step_name(state) != "set the pace"


def test_a_walk_to_the_right_place_is_waited_for_and_another_is_not():
    state = make_state(gold_bar=13, sapphire=13)
    furnace, booth = find_object(state, "furnace"), find_object(state, "bank_booth")
    state.player.errand = Errand("interact", furnace, "Smelt")
    assert choose_step(state, HABITS).kind == "wait"
    state.player.errand = Errand("interact", booth, "Bank")
    assert choose_step(state, HABITS).kind == "click"


def states_of_many_seeds():
    for seed in range(30):
        state = make_state(seed=seed, gold_bar=13, sapphire=13)
        for yaw in range(0, 2048, 512):
            yield replace(state, camera=replace(state.camera, yaw=yaw))


def test_pointing_anywhere_on_a_reachable_rectangle_hits_the_object():
    seen = 0
    for state in states_of_many_seeds():
        index = find_object(state, "furnace")
        rect = reachable_rect(state, index)
        if rect is None:
            continue
        seen += 1
        for x, y in [rect.centre, (rect.x, rect.y), (rect.right - 1, rect.bottom - 1)]:
            option = options_at(state, x, y)[0]
            assert (option.verb, option.index) == ("interact", index)
    assert seen > 30


def test_what_is_out_of_view_is_reached_by_the_minimap_or_by_turning():
    hidden = 0
    for state in states_of_many_seeds():
        index = find_object(state, "furnace")
        if reachable_rect(state, index) is not None:
            continue
        hidden += 1
        step = choose_step(state, HABITS)
        if step.kind == "click":
            assert step.place == "minimap"
            assert options_at(state, *minimap_rect(state, index).centre)[0].verb == "walk"
        else:
            assert step.kind == "turn"
        turning = choose_step(state, Habits(turns_camera=True))
        assert turning.kind in ("turn", "click")
        if turning.name == "turn to it":
            assert turning.label == ("left" if turn_needed(state, index) > 0 else "right")
    assert hidden > 10


def test_turning_by_what_is_needed_points_the_camera_at_the_object():
    for state in states_of_many_seeds():
        index = find_object(state, "furnace")
        state.camera.yaw = (state.camera.yaw + turn_needed(state, index)) % 2048
        assert abs(turn_needed(state, index)) <= 1
        middle = LAYOUT.minimap.centre[0]
        assert abs(minimap_rect(state, index).centre[0] - middle) <= 5


def test_foresight_walks_through_a_whole_trip_without_touching_the_state():
    state = make_state("bank", sapphire_ring=13)
    before = copy.deepcopy(state)
    names = []
    seen = state
    for _ in range(5):
        step = choose_step(seen, HABITS)
        names.append(step.name)
        seen = foresee(seen, step)
    assert names[:4] == ["put away", "take", "take", "close the window"]
    assert choose_step(seen, HABITS).goal == "use the furnace"
    at_furnace = foresee(make_state("furnace", gold_bar=13, sapphire=13), Step("make sapphire rings", "", "click"))
    assert choose_step(at_furnace, HABITS).goal == "open the bank"
    assert state == before


def test_every_goal_of_a_step_is_a_goal_of_the_game():
    states = [
        make_state(), make_state("bank"), make_state("bank", sapphire_ring=13), make_state("bank", rope=2),
        make_state("bank", gold_bar=13), make_state("bank", gold_bar=13, sapphire=13), make_state("levelup"),
        make_state(gold_bar=13, sapphire=13), make_state("furnace"), make_state("furnace", gold_bar=1, sapphire=1),
    ]  # fmt: skip
    states += [replace(state, bank_quantity="1", furnace_quantity="1") for state in states]
    states += [replace(states[0], **change) for change in ({"selected_slot": 0}, {"tab": "stats"})]
    states += [replace(states[0], crafting=Crafting("sapphire_ring", 4, 2))]
    for state in states:
        for habits in (HABITS, Habits(runs=False), Habits(runs=True)):
            assert choose_step(state, habits).goal in GOALS
