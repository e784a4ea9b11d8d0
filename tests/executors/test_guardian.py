"""What a guardian releases: what was down when its pipe ended without a goodbye."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time

import pytest
from x_server import read_keys_down

from tests.executors.acting import wait_for
from vlm_agent.errors import ConfigError
from vlm_agent.executors.devices import Control, GuardianLostError
from vlm_agent.executors.endpoints import close_endpoint, find_endpoints, find_folder, open_endpoint
from vlm_agent.executors.guardian import Guardian, follow, release_all
from vlm_agent.executors.stopping import ask_all
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


def test_endpoints_are_private_and_a_dead_one_is_passed_over():
    endpoint, listening = open_endpoint("A game", is_live=True)
    assert find_endpoints() == [endpoint]
    assert stat.S_IMODE(endpoint.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(endpoint.path.parent.stat().st_mode) == 0o700
    listening.close()
    (endpoint.path.parent / "executor-1.json").write_text("{")
    assert ask_all("stop") == []
    close_endpoint(endpoint)
    assert find_endpoints() == []


def test_a_folder_that_others_can_open_is_refused(own_endpoints):
    find_folder().chmod(0o755)
    with pytest.raises(ConfigError, match="only you can open"):
        find_folder()


def test_stop_without_an_executor_is_one_line(own_endpoints):
    result = subprocess.run(
        [sys.executable, "-m", "vlm_agent.cli", "stop"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "none is running" in result.stderr
