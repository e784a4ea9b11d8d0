"""What a desktop does not have, what a key is called besides, and codes that outlive a layout: with stand-ins."""

from __future__ import annotations

import pytest

from tests.executors.acting import Bench
from vlm_agent.actions.types import Key
from vlm_agent.errors import ConfigError
from vlm_agent.executors.devices import Control, DryDevice, find_missing
from vlm_agent.executors.guardian import Watchkeeper
from vlm_agent.executors.leases import LeaseTerms
from vlm_agent.executors.watching import check_hotkeys


def test_what_is_missing_is_left_out_unless_nothing_is_left():
    device = DryDevice()
    controls = [Control("key", "a"), Control("key", "vk_175")]
    device.find_missing = lambda asked: [control for control in asked if control.name == "vk_175"]
    assert find_missing(device, controls) == [Control("key", "vk_175")]
    assert find_missing(device, []) == []
    with pytest.raises(ConfigError, match="may press key vk_175, and this desktop has none of it"):
        find_missing(device, controls[1:])


def test_a_key_that_goes_away_while_it_runs_is_counted_and_the_others_go_on():
    bench = Bench()
    bench.send(Key(0, "w"), Key(100, "a"))
    bench.device.find_missing = lambda asked: [control for control in asked if control.name == "w"]
    bench.play(300)
    assert [what for _, what in bench.presses()] == [("down", "a"), ("up", "a")]
    assert bench.audit.describe()["dropped"] == {"no_such_key": 1, "not_down": 1}


def test_a_combination_is_denied_under_any_name_of_its_keys():
    bench = Bench()
    bench.keys_down = frozenset(("ctrl",))
    bench.list_names = lambda control: frozenset((control.name, "q"))  # a letter of another script, where q is
    bench.send(Key(0, "a"))
    bench.play(200)
    assert bench.presses() == []
    assert bench.audit.describe()["dropped"]["combination"] == 1


def test_stop_keys_must_be_on_the_keyboard():
    check_hotkeys(("f12", "ctrl+alt+q"), lambda name: True)
    with pytest.raises(ConfigError, match=r"no key q, so ctrl\+alt\+q could not stop the agent; give keys that it has"):
        check_hotkeys(("f12", "ctrl+alt+q"), lambda name: name != "q")
    with pytest.raises(ConfigError, match="no key super"):
        check_hotkeys(("leftmeta+f1",), lambda name: name == "f1")


def test_the_guardian_lets_go_by_the_code_with_which_a_key_was_pressed():
    keeper = Watchkeeper(LeaseTerms())
    for line in ("+key a 38\n", "+key w 25\n", "-key w 24\n", "+button left 1\n", "+key s\n"):
        keeper.hear(line, 1.0)
    assert [control.code for control in keeper.down] == [38, 1, None]
