"""What a guardian releases: what was down when its pipe ended without a goodbye."""

from __future__ import annotations

import os
import signal
import time

import pytest
from x_server import read_keys_down

from tests.executors.acting import wait_for
from vlm_agent.errors import ConfigError
from vlm_agent.executors.devices import Control, GuardianLostError
from vlm_agent.executors.guardian import Guardian, follow, release_all
from vlm_agent.executors.xtest import XTestDevice


@pytest.mark.parametrize(
    ("lines", "down"),
    [
        ([], []),
        (["+key w\n"], [Control("key", "w")]),
        (["+key w\n", "-key w\n"], []),
        (["+key w\n", "+button left\n", "-key w\n"], [Control("button", "left")]),
        (["+key w\n", "bye\n"], []),
        (["+key w\n", "+ke"], [Control("key", "w")]),
        (["+key w\n", ""], [Control("key", "w")]),
    ],
)
def test_what_is_down_at_the_end(lines, down):
    assert follow(lines) == down


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
