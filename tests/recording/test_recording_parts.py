"""The small parts of a recorder: clocks, the server's time, wire formats, the watch, the encoder's probe, dxcam."""

from __future__ import annotations

import io
import struct
import time
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.desktop.x11 import is_xwayland
from vlm_agent.errors import ConfigError
from vlm_agent.recording import x11_wire
from vlm_agent.recording.clock import SessionClock
from vlm_agent.recording.game_states import FeedState
from vlm_agent.recording.pipeline import CaptureState
from vlm_agent.recording.probing import probe_encoder
from vlm_agent.recording.recorder import Counts
from vlm_agent.recording.screens import DxcamGrabber
from vlm_agent.recording.status import Status, describe
from vlm_agent.recording.watch import NS_PER_S, Vitals, Watch, WatchLimits
from vlm_agent.recording.x11_time import ServerClock, ServerTime

MS = 1_000_000


def test_the_session_clock_is_utc_and_never_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SessionClock()
    assert abs(clock.now_ns() - time.time_ns()) < NS_PER_S
    before_ns = clock.now_ns()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert before_ns <= clock.now_ns() < before_ns + 60 * NS_PER_S
    assert clock.of_monotonic(time.perf_counter_ns()) <= clock.now_ns()


def make_readings(offset_ns: int, rng: np.random.Generator, start_ns: int) -> list[ServerTime]:
    """What a server whose clock is behind ours by an offset would answer."""
    readings, now_ns = [], start_ns
    for _ in range(12):
        before_ns = now_ns
        asked_ns = before_ns + int(rng.integers(20_000, 400_000))
        now_ns = asked_ns + int(rng.integers(20_000, 400_000))
        readings.append(ServerTime((asked_ns - offset_ns) // MS % (1 << 32), before_ns, now_ns))
        now_ns += int(rng.integers(100_000, 1_500_000))
    return readings


@given(st.integers(0, 1 << 50), st.integers(0, 2**32), st.integers(-(10**9), 10**12))
def test_a_server_on_our_clock_is_known_and_its_times_are_exact(start_ns: int, seed: int, later_ns: int) -> None:
    clock = ServerClock(make_readings(0, np.random.default_rng(seed), start_ns + 10**9))
    assert clock.is_ours
    t_ns = start_ns + 2 * 10**9 + later_ns
    server_ms = t_ns // MS % (1 << 32)
    assert clock.to_monotonic_ns(server_ms) == t_ns // MS * MS


@given(st.integers(3 * MS, 1 << 55), st.integers(0, 2**32))
def test_another_clock_is_aligned_within_a_millisecond(offset_ns: int, seed: int) -> None:
    start_ns = 1 << 56
    # Millisecond counters that differ by a whole turn of 32 bits are the same.
    if min(offset_ns // MS % (1 << 32), -offset_ns // MS % (1 << 32)) < 3:
        return
    clock = ServerClock(make_readings(offset_ns, np.random.default_rng(seed), start_ns))
    assert not clock.is_ours
    t_ns = start_ns + 5 * NS_PER_S
    told_ns = clock.to_monotonic_ns((t_ns - offset_ns) // MS % (1 << 32))
    assert abs(told_ns - t_ns) <= 2 * MS
    assert clock.uncertainty_ns <= MS


def test_the_server_of_the_tests_is_on_our_clock(x_display: str) -> None:
    from vlm_agent.desktop.x11 import connect

    display = connect()
    assert ServerClock.measure(display).is_ours
    display.close()


class XServer:
    """A server with some extensions and one output."""

    def __init__(self, extensions: set[str], output: str) -> None:
        self._extensions, self._output = extensions, output

    def has_extension(self, name: str) -> bool:
        return name in self._extensions

    def screen(self) -> SimpleNamespace:
        resources = SimpleNamespace(outputs=[1], config_timestamp=0)
        return SimpleNamespace(root=SimpleNamespace(xrandr_get_screen_resources=lambda: resources))

    def xrandr_get_output_info(self, output: int, timestamp: int) -> SimpleNamespace:
        return SimpleNamespace(name=self._output)


@pytest.mark.parametrize(
    ("extensions", "output", "expected"),
    [
        ({"RANDR", "XWAYLAND"}, "eDP-1", True),
        ({"RANDR"}, "XWAYLAND0", True),
        ({"RANDR"}, "eDP-1", False),
        (set(), "", False),
    ],
)
def test_xwayland_is_told_from_other_servers(extensions: set[str], output: str, expected: bool) -> None:
    assert is_xwayland(XServer(extensions, output)) == expected


def raw_event(values: dict[int, float], *, words: int = 2, source: int = 9) -> bytes:
    mask = sum(1 << axis for axis in values)
    fixed = b"".join(struct.pack("=iI", int(np.floor(v)), round((v - np.floor(v)) * 2**32)) for v in values.values())
    head = struct.pack("=HIIHHI4x", 2, 1234, 0, source, words, 0)
    accelerated = struct.pack("=iI", 999, 0) * len(values)
    return head + mask.to_bytes(4 * words, "little") + accelerated + fixed


@given(st.dictionaries(st.integers(0, 40), st.integers(-(2**20), 2**20).map(lambda n: n / 256), max_size=6))
def test_raw_motion_is_read_without_acceleration(values: dict[int, float]) -> None:
    values = dict(sorted(values.items()))
    assert x11_wire.parse_raw(raw_event(values)) == x11_wire.RawValues(1234, 9, values)


def test_a_raw_event_that_is_cut_short_is_none() -> None:
    whole = raw_event({0: 1.0, 1: -2.5})
    for length in range(len(whole)):
        assert x11_wire.parse_raw(whole[:length]) is None


@pytest.mark.parametrize(
    ("kind", "detail", "mode", "is_root", "focus"),
    [
        (9, 3, 0, False, "inside"),
        (10, 3, 0, False, "outside"),
        (10, 2, 0, False, "inside"),
        # A window manager grabs the keyboard to switch windows, and gives it back.
        (10, 3, 1, False, "outside"),
        (9, 3, 2, False, "inside"),
        (10, 3, 3, False, None),
        (9, 5, 0, False, None),
        (9, 6, 0, True, "pointer"),
        (10, 6, 0, True, "outside"),
        (9, 7, 0, True, "outside"),
        (10, 7, 0, True, None),
        (9, 2, 0, True, None),
    ],
)
def test_where_keys_go(kind: int, detail: int, mode: int, is_root: bool, focus: str | None) -> None:
    event = struct.pack("=BBHIB23x", kind, detail, 0, 77, mode)
    assert x11_wire.parse_focus(event, is_root=is_root) == focus
    assert x11_wire.subject_of(event) == 77


def test_a_window_managers_word_is_told_from_the_servers() -> None:
    fields = (0, 0, 5, 5, 0, 30, -40, 200, 100, 3, 0)
    for kind, is_sent in ((22, False), (22 | 0x80, True)):
        event = struct.pack("=BBHIIIhhHHHB5x", kind, *fields)
        assert x11_wire.parse_configure(event) == x11_wire.Configured(Rect(33, -37, 200, 100), is_sent)


def vitals(now_s: float, **since_s: float | None) -> Vitals:
    values = {name: None if s is None else round(s * NS_PER_S) for name, s in since_s.items()}
    return Vitals(round(now_s * NS_PER_S), values.get("grab"), values.get("still"), values.get("input"))


def test_the_watch_tells_each_trouble_once_and_its_end() -> None:
    watch = Watch(WatchLimits(grab_s=1, still_s=5, input_s=10))
    assert watch.look(vitals(100, grab=99.5, still=99, input=99)) == []
    assert watch.look(vitals(101, grab=99.5)) == ["grabbing the screen takes 1.5 s"]
    assert watch.look(vitals(104, grab=99.5)) == []
    assert watch.look(vitals(105, grab=None, still=104.9)) == ["the screen answers again, after 5.5 s"]
    [still] = watch.look(vitals(110, still=104.9, input=105))
    assert still == "the picture has not changed for 5 s"
    [nobody] = watch.look(vitals(116, still=104.9, input=105))
    assert nobody.startswith("no input for 11 s")
    # A pause is no trouble, and ends what there was.
    assert len(watch.look(vitals(117))) == 2
    assert Watch(WatchLimits(0, 0, 0)).look(vitals(999, grab=0.0, still=0.0, input=0.0)) == []


@pytest.mark.parametrize(("name", "limit_s"), [("grab", 1.0), ("still", 20.0), ("input", 60.0)])
def test_a_trouble_begins_beyond_its_limit(name: str, limit_s: float) -> None:
    assert Watch(WatchLimits()).look(vitals(100, **{name: 100 - limit_s})) == []
    [told] = Watch(WatchLimits()).look(vitals(100.5, **{name: 100 - limit_s}))
    assert told.startswith({"grab": "grabbing", "still": "the picture", "input": "no input"}[name])


def test_the_probe_of_the_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    for width_px, height_px in ((65, 47), (2, 1), (765, 503)):
        probe = probe_encoder(width_px, height_px, 0.5)
        assert probe.preset == "veryfast"
        assert probe.each_ms > 0
    # Nothing is quick enough for a million frames a second, so it is the quickest.
    assert probe_encoder(65, 47, 1e6).preset == "ultrafast"
    with pytest.raises(ConfigError, match="can't be encoded here"):
        probe_encoder(20_000, 16, 10)
    monkeypatch.setattr(
        av.CodecContext, "create", lambda *_: (_ for _ in ()).throw(av.error.EncoderNotFoundError(1, "x"))
    )
    with pytest.raises(ConfigError, match="reinstall the package av"):
        probe_encoder(64, 48, 10)


class Camera:
    """What dxcam gives: the first monitor, and None while nothing is drawn."""

    width, height = 100, 80

    def __init__(self) -> None:
        self.answers: list[np.ndarray | None] = []
        self.regions: list[tuple[int, ...]] = []

    def grab(self, region: tuple[int, ...]) -> np.ndarray | None:
        self.regions.append(region)
        return self.answers.pop(0)

    def release(self) -> None:
        self.answers = []


def test_dxcam_keeps_the_last_picture_and_leaves_other_monitors_to_mss() -> None:
    camera = Camera()
    beyond = SimpleNamespace(grab_frame=lambda placement: np.full((20, 30, 3), 9, np.uint8), close=lambda: None)
    grabber = DxcamGrabber(SimpleNamespace(create=lambda output_color: camera), beyond)  # type: ignore[arg-type]
    camera.answers = [None, np.full((20, 30, 3), 1, np.uint8), None, np.full((40, 60, 3), 3, np.uint8)]
    inside = Placement.fit(Rect(10, 10, 30, 20), 30, 20)
    assert [int(grabber.grab_frame(inside).mean()) for _ in range(3)] == [9, 1, 1]
    assert camera.regions[0] == (10, 10, 40, 30)
    assert grabber.grab_frame(Placement.fit(Rect(0, 0, 60, 40), 30, 20)).shape == (20, 30, 3)
    assert int(grabber.grab_frame(Placement.fit(Rect(90, 10, 30, 20), 30, 20)).mean()) == 9
    assert len(camera.regions) == 4
    grabber.close()


def test_the_status_line_counts_and_notices_stand_above_it() -> None:
    counts = Counts(CaptureState(frames=12, dropped=3), FeedState(states=4))
    counts.events, counts.raw_motions, counts.is_asking = 56, 7, True
    line = "recording 1:05 · 12 frames (3 dropped) · 56 events · 7 raw motions · 4 states · 1.2 MB"
    assert describe(counts, 65.4, 1_234_567) == f"{line} · type the goal, then Enter"
    counts.paused = "hidden"
    assert describe(counts, 0, 0).startswith("hidden 0:00")
    notices = [["the picture has not changed for 20 s"], []]
    recorder = SimpleNamespace(read_notices=lambda: notices.pop(0), counts=counts)
    for is_terminal in (True, False):
        notices[:] = [["the picture has not changed for 20 s"], []]
        out = io.StringIO()
        console = Console(file=out, force_terminal=is_terminal, width=150)
        with Status(console, recorder, lambda: 1_234_567) as status:  # type: ignore[arg-type]
            status.update()
            status.update()
        assert out.getvalue().count("the picture has not changed") == 1
        assert ("12 frames (3 dropped)" in out.getvalue()) == is_terminal
