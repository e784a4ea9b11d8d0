"""What the desktop recorder costs, what it drops, and how true its times are, on an X server of its own (Xvfb).

    python bench/recording.py [--json] [--seconds 10]

A window scrolls another picture at 60 frames a second while a hand in another process moves and clicks 50 times a
second. CPU is user and system seconds of the recorder's process for each second of play (1 is one whole core); Xvfb,
the window and the hand are other processes. The limit beside it is mss alone, grabbing the same rectangle as often and
throwing the picture away. `off` compares the time of each recorded event with the server's own, as the window
under the pointer was told it; `injected_off` (p95) with the moment in which the hand asked, a round trip earlier.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _measuring import Shown, Stopwatch, make_parser, print_rows, say

from vlm_agent.actions.events import PointerMoved
from vlm_agent.actions.placement import Rect
from vlm_agent.desktop.windows import choose_window, open_desktop
from vlm_agent.recording.clock import SessionClock
from vlm_agent.recording.devices_x11 import X11Devices
from vlm_agent.recording.hotkeys import Hotkeys
from vlm_agent.recording.probing import probe_encoder
from vlm_agent.recording.recorder import Parts, Plan, Recorder
from vlm_agent.recording.screens import open_grabber
from vlm_agent.recording.targets import Target
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.writer import SessionWriter

TITLE = "scrolling"
SIZES = ((765, 503), (1920, 1080))
RATES = (10.0, 30.0)
MOVES_PER_S = 50


@dataclass(frozen=True)
class Row:
    """One size at one rate."""

    benchmark: str
    what: str
    preset: str
    """How hard the encoder worked, as the recorder's probe chose."""
    cpu: float
    """User and system seconds of the recorder for each second."""
    mss_cpu: float
    """The same of mss that grabs as often and does nothing else."""
    frames: int
    dropped: int
    made: int
    recorded: int
    off_p50_ms: float
    off_p95_ms: float
    off_max_ms: float
    injected_off_ms: float
    mb_min: float


@contextmanager
def run_x_server() -> Iterator[None]:
    """Run a server of a full-HD screen, and make it this program's display."""
    program = shutil.which("Xvfb")
    assert program is not None
    reader, writer = os.pipe()
    arguments = ["-screen", "0", "1920x1080x24", "-nolisten", "tcp", "-noreset", "-displayfd", str(writer)]
    server = subprocess.Popen([program, *arguments], pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    try:
        with os.fdopen(reader) as numbers:
            os.environ["DISPLAY"] = f":{numbers.readline().strip()}"
        yield
    finally:
        server.terminate()
        server.wait(10)


@contextmanager
def run_game(width_px: int, height_px: int) -> Iterator[subprocess.Popen[str]]:
    """Run the window and the hand in a process of their own; told a line, they play until told another."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--play", f"{width_px}x{height_px}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def play(size: str) -> None:
    """Be the window and the hand: scroll, move, click, and at the end print what the window was told."""
    from Xlib import X, display

    width_px, height_px = map(int, size.split("x"))
    server, hand = display.Display(), display.Display()
    screen = server.screen()
    mask = X.PointerMotionMask | X.ButtonPressMask | X.ButtonReleaseMask
    window = screen.root.create_window(0, 0, width_px, height_px, 0, screen.root_depth, event_mask=mask)
    window.set_wm_name(TITLE)
    window.map()
    window.set_input_focus(X.RevertToParent, X.CurrentTime)
    paint = _make_painter(server, window, width_px, height_px)
    server.sync()
    print("ready", flush=True)
    begun, ended = threading.Event(), threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        begun.set()
        sys.stdin.readline()
        ended.set()

    threading.Thread(target=listen, daemon=True).start()
    told_ms: list[int] = []
    injected_ns: list[int] = []
    step, next_move = 0, 0.0
    while not ended.is_set():
        paint(step)
        step += 1
        if begun.is_set() and time.perf_counter() >= next_move:
            next_move = max(next_move + 1 / MOVES_PER_S, time.perf_counter())
            injected_ns.append(_act(hand, len(injected_ns), width_px))
        told_ms += _read_times(server)
        time.sleep(1 / 60)
    server.sync()
    told_ms += _read_times(server)
    print(json.dumps({"told_ms": told_ms, "injected_ns": injected_ns}), flush=True)


def _act(hand: Any, count: int, width_px: int) -> int:
    """Move, with every tenth move click; return when."""
    from Xlib import X
    from Xlib.ext import xtest

    now_ns = time.perf_counter_ns()
    xtest.fake_input(hand, X.MotionNotify, x=count % width_px, y=count // width_px % 400)
    if count % 10 == 9:
        xtest.fake_input(hand, X.ButtonPress, 1)
        xtest.fake_input(hand, X.ButtonRelease, 1)
    hand.sync()
    return now_ns


def _read_times(server: Any) -> list[int]:
    """Return the server's times of the input that the window was told since the last call."""
    from Xlib import X

    events = [server.next_event() for _ in range(server.pending_events())]
    return [event.time for event in events if event.type in (X.MotionNotify, X.ButtonPress, X.ButtonRelease)]


def _make_painter(server: Any, window: Any, width_px: int, height_px: int) -> Any:
    """Return what shows another part of a picture twice as high: blocks of colour, as crisp as a screen is."""
    root = server.screen().root
    context = window.create_gc()
    picture = root.create_pixmap(width_px, 2 * height_px, server.screen().root_depth)
    rng = np.random.default_rng(0)
    for row in range(0, 2 * height_px, 16):
        for column in range(0, width_px, 24):
            context.change(foreground=int(rng.integers(1 << 24)))
            picture.fill_rectangle(context, column, row, int(rng.integers(4, 25)), int(rng.integers(4, 17)))

    def paint(step: int) -> None:
        window.copy_area(context, picture, 0, step * 3 % height_px, width_px, height_px, 0, 0)
        server.flush()

    return paint


def measure_mss(rect: Rect, fps: float, seconds: float) -> float:
    """Return the CPU seconds a second of mss alone."""
    import mss

    place = {"left": rect.x, "top": rect.y, "width": rect.width, "height": rect.height}
    with mss.MSS() as screen, Stopwatch() as watch:
        for due in range(round(seconds * fps)):
            if due == 0:
                begun = time.perf_counter()
            screen.grab(place)
            time.sleep(max(begun + (due + 1) / fps - time.perf_counter(), 0))
    return watch.cpu_s / watch.wall_s


def measure(width_px: int, height_px: int, fps: float, seconds: float) -> Row:
    """Record one size at one rate."""
    say(f"{width_px}x{height_px} at {fps:g} fps")
    with run_game(width_px, height_px) as game, tempfile.TemporaryDirectory() as folder:
        assert game.stdin is not None
        assert game.stdout is not None
        desktop = open_desktop()
        window = choose_window(desktop, TITLE)
        desktop.close()
        mss_cpu = measure_mss(window.rect, fps, seconds / 2)
        clock = SessionClock()
        devices = X11Devices(clock, window.window_id)
        target = Target(window.rect, window.title, window.app, window.window_id)
        preset = probe_encoder(width_px, height_px, fps).preset
        with SessionWriter(
            Path(folder) / "a", width_px=width_px, height_px=height_px, fps=fps, preset=preset
        ) as writer:
            parts = Parts(target, clock, devices, open_grabber)
            recorder = Recorder(parts, Plan(fps, Hotkeys({})), writer)
            answer: list[str] = []

            def conduct() -> None:
                game.stdin.write("begin\n")
                game.stdin.flush()
                time.sleep(seconds)
                game.stdin.write("end\n")
                game.stdin.flush()
                answer.append(game.stdout.readline())
                recorder.stop()

            conductor = threading.Thread(target=conduct)
            with Stopwatch() as watch:
                conductor.start()
                recorder.run()
            conductor.join()
            size_bytes = writer.size_bytes
        events = list(SessionReader(writer.path).events())
        made = json.loads(answer[0])
        base_ns = clock.of_monotonic(0)
        # To the microsecond: what the server tells within one of its milliseconds is kept apart by a nanosecond each.
        times_ms = [(event.t_ns - base_ns) // 1000 / 1000 for event in events]
        off_ms = np.abs(np.subtract(times_ms, made["told_ms"])) if times_ms else np.zeros(1)
        moved_ms = [t_ms for t_ms, event in zip(times_ms, events, strict=True) if isinstance(event, PointerMoved)]
        injected_ms = np.abs(np.subtract(moved_ms, np.divide(made["injected_ns"], 1e6)))
        state = recorder.counts.capture
        return Row(
            benchmark="recording",
            what=f"{width_px}x{height_px} at {fps:g} fps",
            preset=preset,
            cpu=round(watch.cpu_s / watch.wall_s, 3),
            mss_cpu=round(mss_cpu, 3),
            frames=state.frames,
            dropped=state.dropped,
            made=len(made["told_ms"]),
            recorded=len(events),
            off_p50_ms=float(np.percentile(off_ms, 50)),
            off_p95_ms=float(np.percentile(off_ms, 95)),
            off_max_ms=float(off_ms.max()),
            injected_off_ms=float(np.percentile(injected_ms, 95)),
            mb_min=size_bytes / 1e6 / watch.wall_s * 60,
        )


def main() -> None:
    """Print the figures, one row a size and rate."""
    parser = make_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each recording")
    parser.add_argument("--play", help="be the window of that size, used by the benchmark itself")
    args = parser.parse_args()
    if args.play:
        play(args.play)
        return
    if shutil.which("Xvfb") is None:
        say("no Xvfb here (Debian: apt-get install xvfb): nothing measured")
        return
    with run_x_server():
        rows = [measure(*size, fps, args.seconds) for size in SIZES for fps in RATES]
    shown = Shown(
        f"Recording a window that changes with every frame, Xvfb, {os.cpu_count()} cores",
        "cpu: user and system seconds a second, 1 is one core; mss cpu: mss alone, grabbing as often and nothing else",
    )
    print_rows(rows, shown, as_json=args.json)


if __name__ == "__main__":
    main()
