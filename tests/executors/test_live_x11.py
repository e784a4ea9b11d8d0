"""A live executor in its own process, on a real X server: what is asked for arrives, and what must stop it does."""

from __future__ import annotations

import itertools
import json
import os
import signal
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from x_server import ListeningWindow, read_keys_down
from Xlib import X
from Xlib.ext import xtest

from tests.executors.acting import SPEC, TITLE, encode, live, play_live, policy_process, wait_for
from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.actions.types import Click, Key, Move, Scroll
from vlm_agent.desktop.x11 import connect
from vlm_agent.desktop.x11_clients import X11Clients
from vlm_agent.desktop.x11_keys import KeyTable
from vlm_agent.errors import ConfigError
from vlm_agent.executors.client import ExecutorConnection, wait_for_state
from vlm_agent.executors.stopping import ask_all


def audit_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]


class Person:
    """A second program that injects, which the executor can't tell from a real device."""

    def __init__(self, display_name: str) -> None:
        self.display = connect(display_name)
        self.keys = KeyTable(self.display)

    def key(self, name: str, *, up: bool = True) -> int:
        code = self.keys.find_code(name)
        xtest.fake_input(self.display, X.KeyPress, code)
        self.display.sync()
        pressed_ns = time.monotonic_ns()
        if up:
            xtest.fake_input(self.display, X.KeyRelease, code)
            self.display.sync()
        return pressed_ns

    def move(self, x: int, y: int) -> None:
        xtest.fake_input(self.display, X.MotionNotify, x=x, y=y)
        self.display.sync()


def test_every_kind_of_event_arrives_as_sent(x_display, tmp_path):
    table = KeyTable(connect(x_display))
    with ListeningWindow(x_display, TITLE, x=37, y=51) as window, live(tmp_path) as client:
        answer = play_live(
            client,
            Move(60, 390, 20),
            Click(60, 390, 20),
            Click(60, 20, 280, "right"),
            Click(60, 20, 280, "middle", "down"),
            Move(40, 100, 100),
            Click(40, 100, 100, "middle", "up"),
            Scroll(60, 100, 100, 2),
        )
        assert answer["ok"], answer
        time.sleep(0.7)
        assert play_live(client, Scroll(40, 100, 100, -1), Key(60, "a"), Key(60, "shift", "down"), Key(40, "w"))["ok"]
        time.sleep(0.3)
        assert play_live(client, Key(40, "shift", "up"))["ok"]
        time.sleep(0.2)
    codes = {name: table.find_code(name) for name in ("a", "shift", "w")}
    presses = [(one.kind, one.detail) for one in window.heard if one.kind != "MotionNotify"]
    buttons = [(kind, detail) for kind, detail in presses if kind.startswith("Button")]
    assert buttons == [(f"Button{kind}", number) for number in (1, 3, 2, 4, 4, 5) for kind in ("Press", "Release")]
    keys = [(kind, detail) for kind, detail in presses if kind.startswith("Key")]
    assert keys == [
        ("KeyPress", codes["a"]),
        ("KeyRelease", codes["a"]),
        ("KeyPress", codes["shift"]),
        ("KeyPress", codes["w"]),
        ("KeyRelease", codes["w"]),
        ("KeyRelease", codes["shift"]),
    ]
    points = {detail: (one.x, one.y) for one in window.heard for detail in [one.detail] if one.kind == "ButtonPress"}
    assert points == {1: (390, 20), 3: (20, 280), 2: (20, 280), 4: (100, 100), 5: (100, 100)}
    assert client.counts is not None
    assert client.counts["dropped"] == {}
    sent = [line for line in audit_lines(tmp_path) if line["type"] == "sent"]
    assert len(sent) == sum(client.counts["sent"].values())


CORNERS_AND_MIDDLE = [(0, 0), (399, 0), (0, 299), (399, 299), (200, 150)]


@pytest.mark.parametrize("size", [(400, 300), (640, 300), (331, 433)])
def test_points_land_on_their_pixel_after_a_move_and_after_a_resize(x_display, tmp_path, size):
    def click_all(window: ListeningWindow, client: Any, rect: Rect) -> None:
        window.heard.clear()
        placement = Placement.fit(rect, 400, 300)
        wanted = []
        for x, y in CORNERS_AND_MIDDLE:
            assert play_live(client, Click(40, x, y), window=(rect.width, rect.height))["ok"]
            time.sleep(0.14)
            screen = placement.to_screen(x, y)
            wanted.append((screen[0] - rect.x, screen[1] - rect.y))
        assert [(one.x, one.y) for one in window.heard if one.kind == "ButtonPress"] == wanted
        if (rect.width, rect.height) == (400, 300):
            assert wanted == CORNERS_AND_MIDDLE

    with ListeningWindow(x_display, TITLE, x=37, y=51) as window, live(tmp_path) as client:
        if size == (400, 300):
            click_all(window, client, Rect(37, 51, 400, 300))
            window.do("configure", x=611, y=402)
            click_all(window, client, Rect(611, 402, 400, 300))
            return
        window.do("configure", x=611, y=202, width=size[0], height=size[1])
        assert play_live(client, Click(0, 5, 5))["ok"]  # decided on a frame of before
        time.sleep(0.1)
        assert client.connection.ask("status")["dropped"] == {"window_resized": 2, "not_down": 1}
        click_all(window, client, Rect(611, 202, *size))


def measure_jitter(x_display: str, folder: Path) -> tuple[float, float]:
    """Return p95 of how far the gaps between presses, and the times themselves, are from what was asked, ms."""
    with ListeningWindow(x_display, TITLE) as window, live(folder) as client:
        for _ in range(6):
            play_live(client, *[Key(70, name) for name in ("a", "w", "a", "w", "a", "w", "a")])
            time.sleep(0.65)
        times = [one.server_ms for one in window.heard if one.kind == "KeyPress"]
    sent = [line for line in audit_lines(folder) if line["type"] == "sent"]
    off_ms = [abs(line["t_sent_ns"] - line["t_planned_ns"]) / 1e6 for line in sent]
    groups = [times[start : start + 7] for start in range(0, len(times) - 6, 7)]
    gaps = [abs(later - earlier - 70) for group in groups for earlier, later in itertools.pairwise(group)]
    assert len(gaps) >= 30
    return statistics.quantiles(gaps, n=20)[-1], statistics.quantiles(off_ms, n=20)[-1]


def test_times_between_events_are_kept_to_3_ms(x_display, tmp_path):
    # A busy machine may not let us run: the best of three counts.
    p95 = []
    for attempt in range(3):
        p95.append(measure_jitter(x_display, tmp_path / str(attempt)))
        if max(p95[-1]) < 3:
            break
    print(f"jitter p95, gaps as heard and times as sent: {p95} ms")  # noqa: T201
    assert min(map(max, p95)) < 3


def test_a_killed_policy_holds_nothing_a_second_later(x_display, tmp_path):
    with ListeningWindow(x_display, TITLE), policy_process(tmp_path, encode(Key(0, "w", "down"))) as policy:
        assert policy.stdout is not None
        executor = int(policy.stdout.readline())
        wait_for(lambda: read_keys_down(x_display))
        time.sleep(0.3)
        assert read_keys_down(x_display)
        policy.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        wait_for(lambda: not read_keys_down(x_display))
        took_ms = (time.monotonic() - killed) * 1000
        print(f"released after {took_ms:.0f} ms")  # noqa: T201
        assert took_ms < 1000
        wait_for(lambda: not is_running(executor))


def test_a_killed_executor_holds_nothing_a_second_later(x_display, tmp_path):
    with ListeningWindow(x_display, TITLE), live(tmp_path) as client:
        assert play_live(client, Key(0, "w", "down"), Click(20, 50, 50, "left", "down"))["ok"]
        wait_for(lambda: len(read_keys_down(x_display)) == 2)
        os.kill(client.pid, signal.SIGKILL)
        killed = time.monotonic()
        wait_for(lambda: not read_keys_down(x_display))
        took_ms = (time.monotonic() - killed) * 1000
        print(f"released after {took_ms:.0f} ms")  # noqa: T201
        assert took_ms < 1000
    assert client.counts is None


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_silent_after(window: ListeningWindow, pressed_ns: int, own: int | None = None) -> None:
    """Nothing may reach the window 10 ms after a moment, but releases and the person's own key."""
    time.sleep(0.4)
    late = [
        one
        for one in window.heard
        if one.t_ns > pressed_ns + 10_000_000 and not one.kind.endswith("Release") and one.detail != own
    ]
    assert late == []


@pytest.mark.parametrize("held", [False, True])
def test_after_the_kill_key_nothing_passes_though_the_agent_presses_keys(x_display, tmp_path, held):
    person = Person(x_display)
    with ListeningWindow(x_display, TITLE) as window, live(tmp_path, person_stops=False) as client:
        keys = [Key(0, "w", "down")] if held else [Key(20, "a"), Key(50, "a")]
        assert play_live(client, *keys, Move(400, 390, 290), Key(50, "a"))["ok"]
        time.sleep(0.2)
        pressed_ns = person.key("f12")
        assert_silent_after(window, pressed_ns, person.keys.find_code("f12"))
        told = wait_for_state(client.connection, {"stopped"}, 2)
        assert (told["state"], told["reason"]) == ("stopped", "hotkey f12")
        assert play_live(client, Key(0, "a"))["reason"] == "stopped"
        assert client.connection.ask("resume")["reason"] == "is_driver"
        assert [answer["ok"] for _, answer in ask_all("resume").answers] == [True]
        time.sleep(0.6)
        assert play_live(client, Key(0, "a"))["ok"]
        time.sleep(0.2)
    assert client.counts is not None
    assert client.counts["dropped"]["stopped"] > 0


def test_a_combination_stops_too_and_the_agent_may_hold_a_part_of_it(x_display, tmp_path):
    person = Person(x_display)
    with ListeningWindow(x_display, TITLE), live(tmp_path, person_stops=False) as client:
        assert play_live(client, Key(0, "ctrl", "down"))["ok"]
        time.sleep(0.1)
        person.key("alt", up=False)
        person.key("q")
        told = wait_for_state(client.connection, {"stopped"}, 2)
        assert told["reason"] == "hotkey q"
        xtest.fake_input(person.display, X.KeyRelease, person.keys.find_code("alt"))
        person.display.sync()


@pytest.mark.parametrize("touch", ["key", "nudge", "move", "corner", "same key", "button"])
def test_a_persons_own_input_stops_the_agent(x_display, tmp_path, touch):
    person = Person(x_display)
    with ListeningWindow(x_display, TITLE, x=100, y=100), live(tmp_path) as client:
        assert play_live(client, Key(0, "w", "down"), Move(100, 200, 200))["ok"]
        time.sleep(0.3)
        if touch == "key":
            person.key("x")
        elif touch == "nudge":
            person.move(302, 301)
        elif touch == "move":
            person.move(330, 300)
        elif touch == "corner":
            person.move(1279, 0)
        elif touch == "same key":
            xtest.fake_input(person.display, X.KeyRelease, person.keys.find_code("w"))
            person.display.sync()
        else:
            xtest.fake_input(person.display, X.ButtonPress, 1)
            xtest.fake_input(person.display, X.ButtonRelease, 1)
            person.display.sync()
        told = wait_for_state(client.connection, {"stopped"}, 0.3)
        reason = {"nudge": "", "corner": "corner", "key": "person key", "same key": "person key"}
        reason |= {"move": "person move", "button": "person button"}
        assert told["reason"] == reason[touch]


def test_the_agents_own_input_is_never_a_persons(x_display, tmp_path):
    with ListeningWindow(x_display, TITLE), live(tmp_path) as client:
        for number in range(4):
            # Longer than the server's delay before it repeats a key.
            play_live(client, Key(0, "w", "down"), Move(200, 10 + number, 290), Click(100, 390, 5), Scroll(90, 9, 9, 2))
            time.sleep(0.6)
        told = client.connection.ask("status")
        assert (told["state"], told["held"]) == ("running", ["key w"])
        assert told["sent"]["move"] > 40


@pytest.mark.parametrize("how", ["command", "SIGUSR1", "SIGTERM"])
def test_commands_and_signals_stop_within_10_ms(x_display, tmp_path, how):
    with ListeningWindow(x_display, TITLE) as window, live(tmp_path) as client:
        other = ExecutorConnection(client.endpoint)
        assert play_live(client, Key(0, "w", "down"), Move(500, 390, 290))["ok"]
        time.sleep(0.2)
        asked_ns = time.monotonic_ns()
        if how == "command":
            assert other.ask("stop")["ok"]
        else:
            os.kill(client.pid, getattr(signal, how))
        assert_silent_after(window, asked_ns)
        assert read_keys_down(x_display) == []
        if how != "SIGTERM":
            assert client.connection.ask("status")["state"] == "stopped"
        other.close()
    assert client.counts is not None
    assert client.counts["reason"] == ("command" if how == "command" else "signal")


def test_a_lost_focus_drops_and_pauses_until_resumed(x_display, tmp_path):
    with ListeningWindow(x_display, TITLE) as window, live(tmp_path) as client:
        assert play_live(client, Key(0, "w", "down"), Key(300, "a"), Key(100, "a"))["ok"]
        time.sleep(0.1)
        with ListeningWindow(x_display, "another", x=600, y=400) as other:
            told = wait_for_state(client.connection, {"paused"}, 2)
            assert told["reason"] == "focus_lost"
            assert told["released"] == {"paused": 1}
            assert told["dropped"]["paused"] == 4
            time.sleep(0.4)
            assert not [one for one in other.heard if one.kind == "KeyPress" and one.detail == 38]
        assert play_live(client, Key(0, "a"))["reason"] == "paused"
        window.do("set_input_focus", revert_to=X.RevertToParent, time=X.CurrentTime)
        assert play_live(client, Key(0, "a"))["reason"] == "paused"
        ask_all("resume")
        window.heard.clear()
        assert play_live(client, Key(0, "a"))["ok"]
        window.wait_for(2)


def test_a_dry_run_does_everything_but_inject(x_display, tmp_path):
    with ListeningWindow(x_display, TITLE) as window, live(tmp_path, is_live=False) as client:
        assert play_live(client, Click(50, 10, 10), Key(50, "a"))["ok"]
        time.sleep(0.3)
        assert window.heard == []
    assert client.counts is not None
    assert client.counts["sent"]["button"] == 2
    assert audit_lines(tmp_path)[0]["is_live"] is False


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hotkeys": ("w",)}, "model may press w itself"),
        ({"hotkeys": ()}, "at least one key"),
        ({"session_s": 0.0}, "longer than 0 s"),
    ],
)
def test_settings_that_leave_nobody_to_stop_it_are_refused(changes, says, tmp_path):
    with pytest.raises(ConfigError, match=says), live(tmp_path, **changes):
        pass


def test_it_does_not_start_without_its_window(x_display, tmp_path):
    with pytest.raises(ConfigError, match="names no window"), live(tmp_path):
        pass
    assert not (tmp_path / "audit.jsonl").exists()


def test_it_does_not_start_live_where_nobody_could_stop_it(x_display, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_SESSION_TYPE", "wayland")
    with (
        ListeningWindow(x_display, TITLE),
        pytest.raises(ConfigError, match="a person could not stop"),
        live(tmp_path),
    ):
        pass


def test_the_window_must_be_the_named_programs(x_display, tmp_path):
    from vlm_agent.executors.focus import Target

    with (
        ListeningWindow(x_display, TITLE),
        pytest.raises(ConfigError, match="names no window"),
        live(tmp_path, target=Target(TITLE, app="other")),
    ):
        pass


def test_without_its_guardian_it_stops(x_display, tmp_path):
    with ListeningWindow(x_display, TITLE), live(tmp_path) as client:
        children = Path(f"/proc/{client.pid}/task/{client.pid}/children").read_text().split()
        [guardian] = [int(child) for child in children]
        os.kill(guardian, signal.SIGTERM)  # that alone it outlives
        time.sleep(0.1)
        assert play_live(client, Key(0, "w", "down"))["ok"]
        time.sleep(0.1)
        os.kill(guardian, signal.SIGKILL)
        wait_for(lambda: not is_running(guardian))
        play_live(client, Key(0, "a"))
        wait_for(lambda: read_keys_down(x_display) == [])
    assert client.counts is not None
    assert client.counts["reason"] == "guardian_lost"


def test_a_locked_pointer_is_moved_by_offsets_and_they_are_the_agents_own(x_display, tmp_path):
    person = Person(x_display)
    spec = replace(SPEC, pointer="relative")
    with ListeningWindow(x_display, TITLE), live(tmp_path, spec=spec) as client:
        person.move(200, 150)
        time.sleep(0.6)  # hands off
        text = encode(Move(150, 60, -20), Click(50, 0, 0), Move(100, -10, 0), spec=spec)
        assert client.send_chunk(1, time.perf_counter_ns() + 20_000_000, (400, 300), text)["ok"]
        time.sleep(0.5)
        pointer = person.display.screen().root.query_pointer()
        assert (pointer.root_x, pointer.root_y) == (250, 130)
        assert client.connection.ask("status")["state"] == "running"


def test_a_policy_that_hangs_is_taken_for_dead(x_display, tmp_path):
    with ListeningWindow(x_display, TITLE), policy_process(tmp_path, encode(Key(20, "w", "down"))) as policy:
        assert policy.stdout is not None
        policy.stdout.readline()
        wait_for(lambda: read_keys_down(x_display))
        policy.send_signal(signal.SIGSTOP)
        wait_for(lambda: not read_keys_down(x_display), 1.5)
        wait_for(lambda: any(line.get("reason") == "no_heartbeat" for line in audit_lines(tmp_path)), 2)


def test_a_frozen_executor_holds_nothing_for_longer_than_it_may_and_knows_it_afterwards(x_display, tmp_path):
    with ListeningWindow(x_display, TITLE), live(tmp_path) as client:
        assert play_live(client, Key(0, "w", "down"), Click(20, 50, 50, "left", "down"))["ok"]
        wait_for(lambda: len(read_keys_down(x_display)) == 2)
        os.kill(client.pid, signal.SIGSTOP)
        frozen = time.monotonic()
        wait_for(lambda: not read_keys_down(x_display))
        took_ms = (time.monotonic() - frozen) * 1000
        print(f"released after {took_ms:.0f} ms")  # noqa: T201
        assert took_ms < 2000
        os.kill(client.pid, signal.SIGCONT)
        told = wait_for_state(client.connection, {"paused", "stopped"}, 2)
        assert (told["state"], told["reason"], told["held"]) == ("paused", "frozen", [])
        assert read_keys_down(x_display) == []
        [answer] = ask_all("resume").answers
        assert answer[1]["ok"]


def test_an_executor_that_is_cut_off_from_its_server_stops_and_its_guardian_lets_go(x_display, tmp_path):
    person = connect(x_display)
    clients = X11Clients(person)
    with ListeningWindow(x_display, TITLE) as window, live(tmp_path) as client:
        windows = [int(one.id) for one in person.screen().root.query_tree().children]
        [own] = [one for one in windows if clients.find_pid(clients.find_client(one)) == client.pid]
        assert play_live(client, Key(0, "w", "down"))["ok"]
        window.wait_for(1)
        person.create_resource_object("resource", own).kill_client()
        person.sync()
        wait_for(lambda: not read_keys_down(x_display))
    assert client.counts is not None
    assert client.counts["reason"] == "device_lost"
    person.close()
