"""`vlm-agent record` as it is typed: ended by signals, killed, refused; and a dataset of what it recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from recorder_support import Hand, wait_until
from x_server import ListeningWindow, run_x_server

from vlm_agent.cli import run_command
from vlm_agent.clips import CutConfig
from vlm_agent.dataset.build import build_dataset
from vlm_agent.dataset.recordings import choose_spec, cut_recording, read_recording
from vlm_agent.errors import ConfigError
from vlm_agent.recording.command import run
from vlm_agent.recording.config import RecordConfig
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.repair import repair

RECORD = [sys.executable, "-m", "vlm_agent.cli", "record", "--window", "A game", "--name", "a"]


@pytest.fixture
def window(x_display: str) -> Iterator[ListeningWindow]:
    with ListeningWindow(x_display, title="A game", x=100, y=80, width=200, height=160) as window:
        yield window


def start(out: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*RECORD, "--out", str(out), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def wait_for_size(path: Path, size: int) -> None:
    wait_until(lambda: path.exists() and path.stat().st_size > size, seconds=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_recording_well(window: ListeningWindow, tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path)
    wait_for_size(tmp_path / "a.mkv.part", 800)
    hand = Hand()
    hand.move(150, 100)
    hand.click()
    hand.sync()
    window.wait_for(3)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    hand.close()
    assert process.returncode == 0, err
    assert out.strip() == str(tmp_path / "a.mcap")
    assert "3 events" in err
    reader = SessionReader(tmp_path / "a.mcap")
    assert len(list(reader.events())) == 3
    assert len(list(reader.frames())) == reader.info().frames > 0
    assert not list(tmp_path.glob("*.part"))


def test_a_killed_recorder_loses_a_second_at_most(window: ListeningWindow, tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for_size(tmp_path / "a.mkv.part", 800)
    hand = Hand()
    # Half-idle play: the last event before the kill is what may be lost, and for how long.
    times_s = []
    for step in range(30):
        hand.move(110 + step, 100)
        hand.sync()
        times_s.append(time.time())
        time.sleep(0.08)
    process.kill()
    killed_s = time.time()
    process.communicate(timeout=30)
    hand.close()
    report = repair(tmp_path / "a.mcap.part")
    assert report.out is not None
    reader = SessionReader(Path(report.out))
    saved = [event.t_ns / 1e9 for event in reader.events()]
    # A busy machine delays the pieces themselves; the second is the recorder's, the rest the machine's.
    assert killed_s - max(saved) < 1.0 + 0.5
    assert len(saved) >= sum(time_s < killed_s - 1.5 for time_s in times_s)
    frames = list(reader.frames())
    assert killed_s - frames[-1].t_ns / 1e9 < 1.0 + 0.5


def test_a_strangers_game_can_be_cut_and_built_without_an_action_spec(window: ListeningWindow, tmp_path: Path) -> None:
    process = start(tmp_path, "--goal", "craft a ring", "--gamestate", f"cmd:{sys.executable} -u -c {GAME!r}")
    wait_for_size(tmp_path / "a.mkv.part", 800)
    hand = Hand()
    for step in range(12):
        hand.move(110 + 5 * step, 100 + step)
        hand.click(1 + 2 * (step % 2))
        hand.strike(("minus", "w")[step % 2])
        hand.sync()
        time.sleep(0.15)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    hand.close()
    assert process.returncode == 0, err
    recording = read_recording(tmp_path / "a.mcap", 600)
    assert recording.spec is None
    spec = choose_spec([recording], 600)
    assert (spec.extent_width, spec.extent_height, spec.pointer) == (200, 160, "absolute")
    assert spec.keys == ("minus", "w")
    assert spec.buttons == ("left", "right")
    clips = cut_recording(recording, CutConfig())
    manifest = build_dataset([(recording, clips)], tmp_path / "dataset", spec)
    assert sum(manifest.windows.values()) >= 1
    assert not manifest.event_drops
    assert len(list(SessionReader(tmp_path / "a.mcap").game_states())) >= 10


GAME = "import itertools, json, time; [(print(json.dumps({'tick': n})), time.sleep(.05)) for n in itertools.count()]"


def test_a_part_of_the_screen_and_a_monitor_are_recorded_too(window: ListeningWindow, tmp_path: Path) -> None:
    for name, arguments in {"rect": {"rect": "90,70,80,60"}, "monitor": {"monitor": 1}}.items():
        path = run(RecordConfig(**arguments, out=tmp_path, name=name, seconds=0.4))
        reader = SessionReader(path)
        size = (80, 60) if name == "rect" else (1280, 800)
        assert reader.frame_size == size
        assert reader.meta["recorder"]["target"] == "screen"
        assert len(list(reader.frames())) >= 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--window", "Nothing"], "names no window; there are: A game"),
        (["--rect", "5000,0,10,10"], "lies outside the screen"),
        (["--rect", "1,2,3"], "X,Y,W,H"),
        (["--monitor", "3"], "there are 1 to 1"),
        (["--window", "a", "--monitor", "1"], "exclude each other"),
        (["--fps", "0"], "--fps"),
        (["--hotkey-stop", "banana"], "--hotkey-stop"),
        (["--hotkey-stop", "f9"], "same key"),
        (["--window", "A game", "--goals", "missing.txt"], "can't be read"),
        (["--window", "A game", "--gamestate", "ftp://x"], "--gamestate reads"),
        (["--window", "A game", "--gamestate", "cmd:/no/such/program"], "can't be started"),
        (["--window", "A game", "--gamestate", "no/such/folder/state.json"], "does not exist"),
    ],
)
def test_what_cannot_be_recorded_is_one_line_and_leaves_nothing(
    window: ListeningWindow, tmp_path: Path, arguments: list[str], says: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(ConfigError, match=says) as caught:
        run_command(["record", *arguments, "--out", str(out)])
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_a_screen_that_can_not_be_seen_is_refused_before_there_is_a_session(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with run_x_server(400, 300, depth=30) as name, ListeningWindow(name, title="A game"):
        monkeypatch.setenv("DISPLAY", name)
        for arguments in (["--window", "A game"], ["--rect", "0,0,50,50"], []):
            with pytest.raises(ConfigError, match="not 30; set it to a color depth of 24"):
                run_command(["record", *arguments, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_of_a_recording_of_nothing(
    window: ListeningWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="nothing was recorded"):
        run(RecordConfig(window="A game", out=tmp_path / "a", seconds=0.3, wait=True))
    monkeypatch.setattr("vlm_agent.desktop.screen.ScreenGrabber.grab_frame", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(RecordConfig(window="A game", out=tmp_path / "a", seconds=5))
    assert not list((tmp_path / "a").iterdir())


def test_words_with_half_a_character_are_mended(window: ListeningWindow, tmp_path: Path) -> None:
    path = run(RecordConfig(window="A game", out=tmp_path, seconds=0.4, goal="chop \udcff trees \ud83d"))
    assert [goal.text for goal in SessionReader(path).goals()] == ["chop \ufffd trees \ufffd"]


def test_wayland_says_what_to_do(window: ListeningWindow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_SESSION_TYPE", "wayland")
    # A whole X server inside the session can be recorded; the session's own XWayland, and no X server, can't.
    run(RecordConfig(window="A game", out=tmp_path / "nested", seconds=0.2))
    monkeypatch.setattr("vlm_agent.desktop.x11.is_xwayland", lambda display: True)
    for _ in range(2):
        with pytest.raises(ConfigError, match="log in with an Xorg session"):
            run(RecordConfig(window="A game", out=tmp_path / "out"))
        monkeypatch.delenv("DISPLAY", raising=False)
    assert not (tmp_path / "out").exists()
