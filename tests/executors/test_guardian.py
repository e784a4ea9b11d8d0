"""What a guardian releases: what is down when its pipe ends, and what is down for too long."""

from __future__ import annotations

import os
import signal
import time

import pytest
from x_server import read_keys_down

from tests.executors.acting import wait_for
from vlm_agent.desktop.x11 import connect
from vlm_agent.errors import ConfigError
from vlm_agent.executors.devices import Control, GuardianLostError
from vlm_agent.executors.guardian import Guardian, Watchkeeper, release_all
from vlm_agent.executors.leases import LeaseTerms
from vlm_agent.executors.xtest import XTestDevice

TERMS = LeaseTerms(lease_ms=700, most_ms=5000)


@pytest.mark.parametrize(
    ("lines", "down"),
    [
        ([], []),
        (["+key w\n"], [Control("key", "w")]),
        (["+key w\n", "-key w\n"], []),
        (["+key w\n", "+button left\n", "-key w\n"], [Control("button", "left")]),
        (["+key w\n", "bye\n"], [Control("key", "w")]),
        (["+key w\n", "-key w\n", "bye\n"], []),
        (["+key w\n", "+ke"], [Control("key", "w")]),
        (["+key w\n", ""], [Control("key", "w")]),
    ],
)
def test_what_is_down_at_the_end(lines, down):
    keeper = Watchkeeper(TERMS)
    for line in lines:
        keeper.hear(line, 1.0)
    assert keeper.down == down
    assert keeper.is_over == ("bye\n" in lines)


def test_what_is_down_for_too_long_or_without_a_sign_of_life_is_overdue():
    keeper = Watchkeeper(TERMS)
    assert keeper.next_s is None
    keeper.hear("+key w 25\n", 10.0)
    keeper.hear("+button left 1\n", 10.5)
    assert keeper.next_s == pytest.approx(11.4)
    for tenth in range(5, 50):
        keeper.hear(".\n", 10 + tenth / 10)
        assert keeper.take_overdue(10 + tenth / 10) == []
    # The longest time of the first comes before the lease that the last sign of life began.
    assert keeper.take_overdue(15.19) == []
    [overdue] = keeper.take_overdue(15.2)
    assert (overdue, overdue.code) == (Control("key", "w"), 25)
    assert keeper.take_overdue(15.6) == []
    assert keeper.take_overdue(15.8) == [Control("button", "left")]
    assert keeper.next_s is None


def test_who_freezes_while_the_desktop_is_held_is_stuck():
    keeper = Watchkeeper(TERMS)
    keeper.hear("client 77\n", 1.0)
    keeper.hear("(\n", 2.0)
    assert (keeper.client, keeper.next_s, keeper.is_stuck(2.4), keeper.is_stuck(2.5)) == (77, 2.5, False, True)
    keeper.hear(")\n", 2.4)
    assert not keeper.is_stuck(9.0)
    keeper.hear("+key w 25\n", 9.0)
    keeper.hear("(\n", 9.0)
    assert keeper.is_stuck(9.5)
    assert keeper.cut() == [Control("key", "w")]
    assert (keeper.next_s, keeper.is_stuck(99.0)) == (None, False)


def test_it_releases_twice():
    class Device:
        def __init__(self):
            self.released = []

        def release(self, control):
            self.released.append((time.monotonic(), control.name))

    device = Device()
    release_all(device, [Control("key", "w"), Control("key", "a")])
    assert [name for _, name in device.released] == ["w", "a", "w", "a"]
    assert device.released[2][0] - device.released[1][0] >= 0.09


def test_it_releases_a_real_key_when_its_pipe_breaks(x_display):
    guardian = Guardian()
    device = XTestDevice()
    guardian.warn(Control("key", "w"), True)
    device.press(Control("key", "w"))
    wait_for(lambda: read_keys_down(x_display))
    assert device.is_down(Control("key", "w"))
    guardian._process.stdin.close()
    wait_for(lambda: not read_keys_down(x_display), 1.0)
    guardian._process.wait(5)
    with pytest.raises(GuardianLostError):
        guardian.warn(Control("key", "a"), True)
    guardian.close()
    device.close()


def test_it_ignores_what_would_end_it_and_says_goodbye(x_display):
    guardian = Guardian()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guardian.pid, number)
    guardian.warn(Control("key", "w"), True)
    guardian.warn(Control("key", "w"), False)
    guardian.close()
    assert guardian._process.returncode == 0


def test_one_that_does_not_start_is_an_error(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":987")
    with pytest.raises(ConfigError, match="guardian process did not start"):
        Guardian()


def test_a_silent_executors_key_is_let_go_and_it_is_told(x_display):
    guardian = Guardian(LeaseTerms(lease_ms=200, most_ms=400))
    device = XTestDevice()
    key = device.find(Control("key", "w"))
    guardian.warn(key, True)
    device.press(key)
    for _ in range(3):
        time.sleep(0.1)
        assert not guardian.pulse()
        assert device.is_down(key)
    wait_for(lambda: not read_keys_down(x_display), 1.0)
    assert guardian.read_released() == [key]
    assert guardian.pulse()
    assert not guardian.pulse()
    guardian.close()
    device.close()


def test_a_server_that_a_frozen_executor_holds_is_freed(x_display):
    guardian = Guardian(LeaseTerms(lease_ms=200, most_ms=400))
    device = XTestDevice()
    frozen = connect(x_display)
    guardian.name_client(frozen.screen().root.create_gc().id)
    key = device.find(Control("key", "w"))
    guardian.warn(key, True)
    device.press(key)
    guardian.tell_hold(True)
    frozen.grab_server()
    frozen.sync()
    # Nobody else is answered until the server is free again.
    assert read_keys_down(x_display) == []
    guardian.close()
    device.close()
