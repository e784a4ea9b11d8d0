"""What a performer injects and what not, on a fake desktop and a clock that the test turns."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest

from tests.executors.acting import SPEC, WINDOW, Bench
from vlm_agent.actions.placement import Rect
from vlm_agent.actions.playback import NS_PER_MS
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import Click, Key, Move, Scroll
from vlm_agent.desktop.types import Obstacle
from vlm_agent.errors import ConfigError
from vlm_agent.executors.audit import AuditFailedError
from vlm_agent.executors.devices import DeviceLostError, GuardianLostError
from vlm_agent.executors.kill_switch import StopReason
from vlm_agent.executors.leases import LeaseTerms
from vlm_agent.executors.limits import Limits
from vlm_agent.executors.protocol import RequestRefusedError
from vlm_agent.executors.terms import State


def test_a_chunk_is_played_at_its_times_and_arrives_exactly():
    bench = Bench()
    told = bench.send(Move(100, 200, 100), Click(100, 200, 100), Key(60, "a"), Scroll(40, 200, 100, -2))
    bench.play(500)
    moves = [(t_ms, what) for t_ms, what in bench.sent if what[0] == "move"]
    assert (100, ("move", 300, 150)) in moves
    assert moves[-1][1] == ("move", 300, 150)
    assert bench.presses() == [
        (200, ("down", "left")),
        (250, ("up", "left")),
        (260, ("down", "a")),
        (300, ("turn", 0, -2)),
        (320, ("up", "a")),
    ]
    assert told == {"events": len(bench.sent), "late": 0}
    assert bench.performer.describe()["sent"] == {"move": len(moves), "button": 2, "key": 2, "wheel": 1}
    assert bench.device.down == []


def test_the_guardian_is_told_before_a_press_and_after_a_release():
    bench = Bench()
    bench.send(Key(0, "w", "down"), Key(100, "w", "up"))
    bench.play(200)
    assert bench.warned == [("w", True, 0), ("w", False, 2)]


@pytest.mark.parametrize(("chunks_at_ms", "released_ms"), [((), 700), ((500,), 1200), (range(500, 6000, 500), 5000)])
def test_a_held_key_is_released_when_its_lease_ends(chunks_at_ms, released_ms):
    bench = Bench()
    bench.send(Key(0, "w", "down"))
    for at_ms in chunks_at_ms:
        bench.play(at_ms)
        bench.send()
    bench.play(7000)
    assert bench.sent == [(0, ("down", "w")), (released_ms, ("up", "w"))]
    assert bench.performer.describe()["released"] == {"lease": 1}


def test_saying_again_that_a_key_is_down_renews_and_presses_nothing():
    bench = Bench()
    bench.send(Key(0, "w", "down"))
    bench.play(500)
    bench.send(Key(0, "w", "down"))
    bench.play(2000)
    assert bench.sent == [(0, ("down", "w")), (1200, ("up", "w"))]


def test_a_press_in_the_next_chunk_is_not_cut_short_by_the_release_of_the_last_one():
    bench = Bench()
    bench.send(Key(0, "a"))
    bench.play(40)
    bench.send(Key(0, "a"))
    bench.play(300)
    assert bench.sent == [(0, ("down", "a")), (40, ("up", "a")), (40, ("down", "a")), (100, ("up", "a"))]


def test_no_heartbeat_releases_everything_and_pauses():
    bench = Bench(leases=LeaseTerms(lease_ms=5000))
    bench.send(Key(0, "w", "down"), Key(500, "a"))
    bench.play(1500, beats=False)
    assert bench.performer.state is State.PAUSED
    assert bench.performer.reason == "no_heartbeat"
    released_ms = bench.sent[-1][0]
    assert bench.sent[-1][1] == ("up", "w")
    assert 1000 < released_ms <= 1060
    with pytest.raises(RequestRefusedError, match="paused"):
        bench.send(Key(0, "a"))
    bench.performer.resume()
    assert bench.performer.state is State.WAITING
    bench.send(Key(0, "a"))
    assert bench.performer.state is State.RUNNING


@pytest.mark.parametrize("thrown_ms", [1, 57, 98, 150.5, 199, 259])
def test_nothing_passes_after_the_kill_switch_but_releases(thrown_ms):
    bench = Bench()
    bench.send(Key(0, "w", "down"), Move(100, 200, 100), Click(0, 200, 100), Move(100, 390, 290), Key(100, "a"))
    bench.clock.at.append((bench.begin_ns + int(thrown_ms * NS_PER_MS), lambda: bench.kill.throw(StopReason.HOTKEY)))
    bench.play(800)
    after = [what for t_ms, what in bench.sent if t_ms >= thrown_ms]
    assert all(what[0] == "up" for what in after)
    assert all(t_ms <= thrown_ms + 2 for t_ms, _ in bench.sent)
    assert bench.device.down == []
    assert bench.performer.state is State.STOPPED
    with pytest.raises(RequestRefusedError, match="stopped: hotkey"):
        bench.send(Key(0, "a"))


def test_a_stop_is_latched_and_keeps_its_first_reason():
    bench = Bench()
    bench.kill.throw(StopReason.HOTKEY)
    bench.kill.throw(StopReason.COMMAND)
    assert bench.performer.describe()["reason"] == "hotkey"
    bench.play(10_000)
    assert bench.performer.state is State.STOPPED
    bench.performer.resume()
    assert bench.performer.describe()["state"] == "waiting"


def lose_focus(bench):
    bench.desktop.focused = 99


def be_covered(bench):
    bench.desktop.on_top = 99


def close_window(bench):
    bench.desktop.window = None


def hide_window(bench):
    bench.desktop.window = None
    bench.desktop.is_there = True


def make_window_anew(bench):
    bench.desktop.window = None
    bench.desktop.others = [replace(WINDOW, window_id=8), replace(WINDOW, window_id=9, title="other")]


def become_another_program(bench):
    bench.desktop.window = replace(WINDOW, pid=78)


def leave_the_screen(bench):
    bench.desktop.window = replace(WINDOW, rect=Rect(1200, 50, 400, 300))


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (lose_focus, "focus_lost"),
        (be_covered, "covered"),
        (close_window, "window_closed"),
        (hide_window, "window_closed: it is hidden or minimized"),
        (make_window_anew, "window_closed: a new one of that name is there; start again to act on it"),
        (become_another_program, "window_closed: it is another program's now"),
        (leave_the_screen, "off_screen"),
    ],
)
def test_what_would_not_reach_the_window_is_dropped_and_pauses(happens, reason):
    bench = Bench()
    bench.send(Key(0, "w", "down"), Click(300, 200, 100), Key(100, "a"))
    bench.clock.at.append((bench.begin_ns + 150 * NS_PER_MS, lambda: happens(bench)))
    bench.play(900)
    assert (bench.performer.state, bench.performer.reason) == (State.PAUSED, reason)
    assert [what for _, what in bench.presses()] == [("down", "w"), ("up", "w")]
    dropped = bench.performer.describe()["dropped"]
    assert dropped[reason.partition(":")[0]] == 1
    assert dropped["paused"] > 0


def test_a_moved_window_is_followed_and_a_resized_one_is_not():
    bench = Bench()
    bench.desktop.window = replace(WINDOW, rect=Rect(400, 300, 400, 300))
    bench.send(Click(0, 10, 20))
    bench.play(100)
    assert bench.sent[0][1] == ("move", 410, 320)
    bench.desktop.window = replace(WINDOW, rect=Rect(400, 300, 500, 300))
    bench.send(Click(100, 10, 20), Key(50, "a"), window=(400, 300))
    bench.play(600)
    assert len(bench.presses()) == 2
    assert bench.performer.describe()["dropped"]["window_resized"] >= 3
    assert bench.performer.state is State.RUNNING
    bench.send(Click(100, 399, 299), window=(500, 300))
    bench.play(1200)
    assert len(bench.presses()) == 4


def test_what_a_resized_window_was_to_get_is_gone_though_it_gets_its_size_back():
    bench = Bench()
    bench.send(Key(100, "a"), Key(100, "w"), Key(300, "space"))
    bench.clock.at.append((bench.begin_ns + 50 * NS_PER_MS, lambda: resize(bench, 500)))
    bench.clock.at.append((bench.begin_ns + 150 * NS_PER_MS, lambda: resize(bench, 400)))
    bench.play(800)
    assert bench.presses() == []
    assert bench.performer.describe()["dropped"]["window_resized"] == 3


def resize(bench, width):
    bench.desktop.window = replace(WINDOW, rect=Rect(100, 50, width, 300))


@pytest.mark.parametrize(
    ("limits", "actions", "reason", "num_presses"),
    [
        ({"clicks_per_s": 2}, [Click(60, 5, 5)] * 5, "too_many_clicks", 2),
        ({"text_per_s": 3}, [Key(40, "a"), Key(40, "w")] * 4, "too_much_text", 3),
        ({"events_per_s": 4}, [Key(40, "shift")] * 6, "too_many_events", 4),
        ({"events_per_s": 4}, [Scroll(40, 5, 5, 3)] * 3, "too_many_events", 1),
        ({"moves_per_s": 5}, [Move(600, 5, 5)], "too_many_moves", 0),
    ],
)
def test_what_is_over_a_limit_is_dropped(limits, actions, reason, num_presses):
    bench = Bench(limits=Limits(**limits))
    bench.send(*actions)
    bench.play(990)
    assert sum(what[0] in ("down", "turn") for _, what in bench.sent) == num_presses
    assert bench.performer.describe()["dropped"][reason] > 0
    assert bench.device.down == []


@pytest.mark.parametrize(
    ("actions", "keys_down", "last"),
    [
        ([Key(0, "alt", "down"), Key(50, "f4")], frozenset(), "alt"),
        ([Key(50, "f4")], frozenset({"alt"}), None),
        ([Key(0, "ctrl", "down"), Key(50, "w")], frozenset(), "ctrl"),
        ([Key(0, "leftctrl", "down"), Key(50, "w")], frozenset(), "leftctrl"),
        ([Key(0, "rightctrl", "down"), Key(50, "w")], frozenset(), "rightctrl"),
        ([Key(0, "leftalt", "down"), Key(50, "f4")], frozenset(), "leftalt"),
        ([Key(0, "rightalt", "down"), Key(50, "f4")], frozenset(), "rightalt"),
        ([Key(50, "w")], frozenset({"rightctrl"}), None),
        ([Key(0, "w", "down"), Key(50, "rightctrl")], frozenset(), "w"),
    ],
)
def test_denied_combinations_are_dropped_whoever_holds_the_rest(actions, keys_down, last):
    keys = ("leftctrl", "rightctrl", "leftalt", "rightalt")
    bench = Bench(replace(SPEC, keys=(*SPEC.keys, *keys)))
    bench.keys_down = keys_down
    bench.send(*actions)
    bench.play(400)
    assert [what[1] for _, what in bench.sent if what[0] == "down"] == ([last] if last else [])
    assert bench.performer.describe()["dropped"]["combination"] == 1


@pytest.mark.parametrize("key", ["leftmeta", "rightmeta", "win", "super"])
def test_the_super_key_is_denied_alone(key):
    bench = Bench(ActionSpec(400, 300, keys=(key,)))
    bench.send(Key(0, key))
    bench.play(100)
    assert bench.sent == []


def test_what_is_late_is_dropped_and_counted_and_not_done_later():
    bench = Bench()
    bench.play(300)
    told = bench.send(Click(100, 5, 5), Key(150, "a"), Key(150, "w"), start_ms=0)
    assert told["late"] == 2
    bench.play(600)
    assert bench.presses() == [(400, ("down", "w")), (460, ("up", "w"))]
    bench.send(Key(10, "a"))
    bench.clock.t_ns += 100 * NS_PER_MS
    bench.play(900)
    assert bench.performer.describe()["dropped"]["late"] == 1
    assert bench.performer.describe()["late_actions"] == 2


def test_a_new_chunk_replaces_what_is_left_of_the_one_before():
    bench = Bench()
    bench.send(Key(100, "a"), Key(400, "w"))
    bench.play(120)
    bench.send(Key(100, "space"))
    bench.play(900)
    assert [what for _, what in bench.sent] == [("down", "a"), ("up", "a"), ("down", "space"), ("up", "space")]
    assert bench.performer.describe()["dropped"]["replaced"] == 1


@pytest.mark.parametrize(
    ("text", "window", "offset_ms", "reason"),
    [
        ("do something", (400, 300), 0, "bad_chunk"),
        ('{"actions":[{"event":"KEY","dt":0,"key":"q"}]}', (400, 300), 0, "bad_chunk"),
        ('{"actions":[{"event":"CLICK","dt":0,"x":400,"y":0,"button":"left"}]}', (400, 300), 0, "bad_chunk"),
        ('{"actions":[]}', (400, 300), -1300, "bad_start"),
        ('{"actions":[]}', (400, 300), 1100, "bad_start"),
    ],
)
def test_chunks_that_are_not_legal_or_not_of_now_are_refused(text, window, offset_ms, reason):
    from vlm_agent.executors.protocol import Chunk

    bench = Bench()
    with pytest.raises(RequestRefusedError) as refusal:
        bench.performer.submit(Chunk(1, bench.clock.t_ns + offset_ms * NS_PER_MS, window, text))
    assert refusal.value.reason == reason


@pytest.mark.parametrize("offset_ms", [-1200, 0, 1000])
def test_a_chunk_may_be_two_horizons_old_or_a_second_ahead(offset_ms):
    bench = Bench()
    bench.play(1300)
    assert bench.send(Key(0, "a"), start_ms=1300 + offset_ms)["late"] == (offset_ms < 0)


@pytest.mark.parametrize("limit", ["events_per_s", "clicks_per_s", "text_per_s", "moves_per_s"])
def test_limits_that_allow_nothing_are_refused(limit):
    with pytest.raises(ConfigError, match="at least 1"):
        Limits(**{limit: 0})
    assert getattr(Limits(**{limit: 1}), limit) == 1


def test_a_limit_is_of_any_one_second():
    bench = Bench(limits=Limits(clicks_per_s=2))
    bench.send(Click(0, 5, 5), Click(300, 5, 5))
    bench.play(900)
    bench.send(Click(80, 5, 5), Click(40, 5, 5))
    bench.play(1400)
    # At 980 ms the first click is within the second, at 1020 ms it is not.
    assert [t_ms for t_ms, what in bench.sent if what[0] == "down"] == [0, 300, 1020]
    assert bench.performer.describe()["dropped"] == {"too_many_clicks": 1, "not_down": 1}


def test_what_was_done_is_told_once_with_what_was_let_go():
    bench = Bench()
    bench.send(Key(0, "w", "down"), Click(10, 5, 6, "right", "down"))
    bench.play(30)
    bench.kill.throw(StopReason.HOTKEY)
    told = [event for event in bench.performer.describe(events=True)["events"] if event["kind"] != "move"]
    assert [{name: value for name, value in event.items() if name not in ("t_ns", "chunk")} for event in told] == [
        {"kind": "key", "key": "w", "pressed": True},
        {"kind": "button", "button": "right", "pressed": True, "x": 5, "y": 6},
        {"kind": "key", "key": "w", "pressed": False},
        {"kind": "button", "button": "right", "pressed": False},
    ]
    assert [round((event["t_ns"] - bench.begin_ns) / NS_PER_MS) for event in told] == [0, 10, 30, 30]
    assert bench.performer.describe(events=True)["events"] == []


def open_launcher(bench):
    bench.desktop.grabbed = Obstacle.KEYBOARD


def open_menu(bench):
    bench.desktop.grabbed = Obstacle.POINTER


@pytest.mark.parametrize(("happens_ms", "is_sent"), [(94, False), (96, False), (99.999, False), (100.001, True)])
@pytest.mark.parametrize("happens", [lose_focus, open_launcher, open_menu])
@pytest.mark.parametrize("action", [Key(100, "a"), Scroll(100, 5, 5, 1), Click(100, 5, 5)])
def test_what_comes_between_a_look_and_a_press_is_seen(action, happens, happens_ms, is_sent):
    bench = Bench()
    bench.send(action)
    bench.clock.at.append((bench.begin_ns + int(happens_ms * NS_PER_MS), lambda: happens(bench)))
    bench.play(300)
    assert bool([what for what in bench.sent if what[1][0] in ("down", "turn")]) == is_sent
    assert bench.device.down == []
    assert bench.warned == [] or bench.warned[-1][1] is False


@pytest.mark.parametrize(
    ("happens", "reason"),
    [(open_launcher, "keyboard_grabbed"), (open_menu, "pointer_grabbed"), (lose_focus, "focus_lost")],
)
def test_what_is_held_is_let_go_when_another_program_would_get_it(happens, reason):
    bench = Bench(leases=LeaseTerms(lease_ms=5000))
    bench.send(Key(0, "w", "down"), Click(10, 5, 5, "left", "down"))
    bench.play(200)
    happens(bench)
    bench.performer.look()
    bench.performer.step()
    assert [what for _, what in bench.presses()][-2:] == [("up", "w"), ("up", "left")]
    assert (bench.performer.state, bench.performer.reason) == (State.PAUSED, reason)
    with pytest.raises(RequestRefusedError, match="paused"):
        bench.send(Key(0, "a"))


def test_who_gets_what_is_held_is_looked_at_without_being_told():
    bench = Bench(leases=LeaseTerms(lease_ms=5000))
    bench.send(Key(0, "w", "down"))
    bench.clock.at.append((bench.begin_ns + 300 * NS_PER_MS, lambda: open_launcher(bench)))
    bench.play(1000)
    [(_, _), (let_go_ms, what)] = bench.sent
    assert what == ("up", "w")
    assert 300 <= let_go_ms <= 360


def test_what_is_injected_is_so_while_the_desktop_is_held_still():
    bench = Bench()
    held = []
    press, move = bench.device.press, bench.device.move
    bench.device.press = lambda control: (held.append(bench.desktop.is_held), press(control))
    bench.device.move = lambda x, y: (held.append(bench.desktop.is_held), move(x, y))
    bench.send(Key(0, "w", "down"))
    bench.play(50)
    bench.send(Move(0, 5, 5))
    bench.play(100)
    assert held == [True, True]
    assert not bench.desktop.is_held


def test_a_chunk_is_not_begun_while_another_program_has_the_keyboard():
    bench = Bench()
    open_launcher(bench)
    with pytest.raises(RequestRefusedError, match="waiting: another program has grabbed the keyboard"):
        bench.send(Key(0, "a"))


def test_a_locked_pointer_is_not_moved_over_another_window():
    bench = Bench(replace(SPEC, pointer="relative"))
    be_covered(bench)
    bench.send(Move(100, 60, -20))
    bench.play(300)
    assert bench.sent == []
    assert bench.performer.reason == "covered"


@pytest.mark.parametrize("key", ["ctrl", "leftctrl", "rightctrl"])
def test_the_stop_key_is_the_persons(key):
    bench = Bench(replace(SPEC, keys=(key, "w")), reserved=frozenset({"ctrl"}))
    with pytest.raises(RequestRefusedError, match="reserved_key"):
        bench.send(Key(0, "w"), Key(0, key))
    assert bench.sent == []


class OurOwnMistakeError(Exception):
    """Stands for any error that nobody expects."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OurOwnMistakeError, "failed"),
        (GuardianLostError, "guardian_lost"),
        (DeviceLostError, "device_lost"),
        (AuditFailedError, "audit_failed"),
        (KeyboardInterrupt, "failed"),
    ],
)
def test_whatever_ends_it_nothing_stays_down(error, reason):
    bench = Bench()
    bench.send(Key(0, "w", "down"), Click(0, 5, 5, "left", "down"), Key(500, "a"))

    def sleep_until(t_ns):
        bench.clock.wait_until(t_ns, lambda: False)
        if len(bench.device.down) == 2:
            raise error

    is_ours = error in (OurOwnMistakeError, KeyboardInterrupt)
    with pytest.raises(error) if is_ours else contextlib.nullcontext():
        bench.performer.run(sleep_until)
    assert bench.device.down == []
    assert [what for _, what in bench.presses()][-2:] == [("up", "w"), ("up", "left")]
    assert (bench.performer.state, str(bench.kill.stop.reason)) == (State.STOPPED, reason)


def test_a_device_that_is_lost_at_the_end_is_asked_to_let_go_of_everything():
    bench = Bench()
    bench.send(Key(0, "w", "down"), Key(0, "space", "down"))
    bench.play(50)
    asked = []

    def release(control):
        asked.append(control.name)
        raise DeviceLostError("gone")

    bench.device.release = release
    bench.performer.close()
    bench.performer.run(lambda t_ns: None)
    assert asked == ["w", "w", "space"]


def test_playing_begins_when_the_window_has_the_focus_and_hands_are_off():
    bench = Bench()
    bench.desktop.focused = 99
    with pytest.raises(RequestRefusedError, match="waiting"):
        bench.send(Key(0, "a"))
    bench.desktop.focused = WINDOW.window_id
    bench.touched_ns = bench.clock.t_ns
    bench.play(499)
    with pytest.raises(RequestRefusedError, match="waiting"):
        bench.send(Key(0, "a"))
    bench.play(501)
    bench.send(Key(0, "a"))


def test_too_many_chunks_are_refused():
    bench = Bench()
    for _ in range(20):
        bench.send()
    with pytest.raises(RequestRefusedError, match="too_fast"):
        bench.send()
    bench.play(1001)
    bench.send()


def test_a_session_ends_after_its_time():
    bench = Bench(session_s=2.0, leases=LeaseTerms(lease_ms=5000))
    bench.send(Key(0, "w", "down"))
    bench.play(3000)
    assert bench.performer.describe()["reason"] == "session_over"
    assert bench.device.down == []
    assert 2000 <= bench.sent[-1][0] <= 2060


def test_a_locked_pointer_is_moved_by_offsets():
    spec = replace(SPEC, pointer="relative")
    bench = Bench(spec)
    bench.send(Move(100, 60, -20), Click(50, 0, 0), Move(100, -10, 0))
    bench.play(600)
    offsets = [what[1:] for _, what in bench.sent if what[0] == "by"]
    assert tuple(map(sum, zip(*offsets, strict=True))) == (50, -20)
    assert not any(what[0] == "move" for _, what in bench.sent)


def test_a_press_goes_where_it_was_meant_though_the_mouse_was_nudged():
    bench = Bench()
    bench.send(Move(0, 200, 100), Click(100, 200, 100))
    bench.clock.at.append(
        (bench.begin_ns + 50 * NS_PER_MS, lambda: bench.device.desktop.__setattr__("pointer", (3, 4)))
    )
    bench.play(300)
    assert [what for t_ms, what in bench.sent if t_ms == 100] == [("move", 300, 150), ("down", "left")]


def test_every_event_has_a_line_in_the_audit(tmp_path):
    bench = Bench(audit=tmp_path / "audit.jsonl")
    bench.send(Click(100, 20, 30), Key(50, "a"))
    bench.play(220)
    bench.kill.throw(StopReason.COMMAND)
    bench.play(300)
    bench.audit.close()
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    sent = [line for line in lines if line["type"] == "sent"]
    assert len(sent) == len(bench.sent)
    assert all(line["t_sent_ns"] == line["t_planned_ns"] for line in sent if line["t_sent_ns"] > bench.begin_ns + 2e6)
    press = next(line for line in sent if line["kind"] == "button")
    told = {"type": "sent", "kind": "button", "button": "left", "pressed": True, "x": 20, "y": 30, "screen": [120, 80]}
    assert {name: press[name] for name in told} == told
    assert lines[0]["type"] == "begin"
    states = [(line["state"], line["reason"]) for line in lines if line["type"] == "state"]
    assert states == [("running", ""), ("stopped", "command")]
    [chunk] = [line for line in lines if line["type"] == "chunk"]
    assert (chunk["number"], chunk["chunk"], chunk["late_actions"]) == (1, 1, 0)
    assert lines[-1]["type"] == "end"
    assert lines[-1]["sent"] == bench.performer.describe()["sent"]
    assert lines[-1]["dropped"] == bench.performer.describe()["dropped"]
