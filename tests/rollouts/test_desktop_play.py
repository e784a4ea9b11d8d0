"""A window of a real X server as an environment: what is seen, done, late, recorded and told."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from x_server import ListeningWindow, read_keys_down

from tests.canned_play import CannedPolicy, say
from vlm_agent.actions.events import ButtonChanged, KeyChanged
from vlm_agent.actions.placement import Rect
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key
from vlm_agent.cli import run_command
from vlm_agent.desktop.screen import ScreenGrabber
from vlm_agent.desktop.types import WindowInfo
from vlm_agent.desktop.windows import choose_window, open_desktop
from vlm_agent.errors import ConfigError
from vlm_agent.executors.client import ExecutorClient
from vlm_agent.executors.focus import Target
from vlm_agent.executors.process import ExecutorSettings
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.policies import Decision, ScriptedPolicy
from vlm_agent.rollouts.command import RunConfig, run
from vlm_agent.rollouts.desktop import DesktopEnvironment, View
from vlm_agent.rollouts.desktop_command import find_frame_size
from vlm_agent.rollouts.desktop_settings import DesktopSettings
from vlm_agent.rollouts.live_states import LiveState
from vlm_agent.rollouts.playing import EpisodeConfig
from vlm_agent.rollouts.running import RolloutPlan, play_recorded
from vlm_agent.sessions.reader import SessionReader

TITLE = "My game"
SPEC = ActionSpec(200, 150, keys=("a", "w"), horizon_ms=300)
CLICK = ActionChunk((Click(150, 10, 20), Key(50, "a")))
HOLD = ActionChunk((Key(150, "w", "down"),))


@pytest.fixture(autouse=True)
def own_endpoints(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="va-") as folder:
        monkeypatch.setenv("VLM_AGENT_RUNTIME_DIR", folder)
        yield


@contextmanager
def desktop_env(tmp_path: Path, *, is_live: bool = True, **view) -> Iterator[tuple[DesktopEnvironment, list[str]]]:
    desktop, told = open_desktop(), []
    settings = ExecutorSettings(
        Target(TITLE), SPEC, (200, 150), is_live=is_live, audit=tmp_path / f"{time.monotonic_ns()}.jsonl"
    )
    opened = View(desktop, choose_window(desktop, TITLE), ScreenGrabber(), **view)
    env = DesktopEnvironment(ExecutorClient(settings), opened, SPEC, wait_s=2.0, tell=told.append)
    try:
        yield env, told
    finally:
        env.close()


class SlowPolicy(CannedPolicy):
    """Really takes the time that its decisions say."""

    def decide(self, observation) -> Decision:
        decision = super().decide(observation)
        time.sleep(decision.latency.total_ms / 1000)
        return decision


def play(env, policy, tmp_path, ticks=3):
    plan = RolloutPlan(
        "mine", lambda: env, lambda: policy, "win", (1,), EpisodeConfig(ticks, "real"), sessions=tmp_path
    )
    return play_recorded(plan, env, policy, 1)


def test_an_episode_is_played_and_recorded_as_it_happened(x_display, tmp_path):
    with ListeningWindow(x_display, TITLE, x=50, y=60) as window:
        with desktop_env(tmp_path, read_state=lambda: {"hp": 7, "mouse": "none"}) as (env, _):
            episode = play(env, SlowPolicy(say(CLICK, ms=60)), tmp_path)
        heard = [(one.kind, one.x, one.y) for one in window.heard if one.kind != "MotionNotify"]
    assert episode.counts.outcomes == {"executed": 3}
    assert 850 < episode.duration_ms < 1500
    # A frame of 200x150 shows a window of 400x300: the middle of each of its pixels.
    assert heard[0] == ("ButtonPress", 21, 41)
    assert {kind for kind, *_ in heard} == {"ButtonPress", "ButtonRelease", "KeyPress", "KeyRelease"}
    assert len(heard) == 12
    reader = SessionReader(tmp_path / "mine-1.mcap")
    events = [event for event in reader.events() if isinstance(event, ButtonChanged | KeyChanged)]
    assert len(events) == 12
    assert (events[0].x, events[0].y) == (10, 20)
    assert abs(events[0].t_ns - time.time_ns()) < 60e9
    states = [state for _, state in reader.game_states()]
    assert states[0] == {"hp": 7, "mouse": "none"}
    frames = list(reader.frames())
    assert len(frames) == 4
    assert np.abs(frames[0].rgb[75, 100].astype(int) - (0x33, 0x66, 0x99)).max() < 12
    gaps = np.diff([frame.t_ns for frame in frames]) / 1e6
    assert np.all(np.abs(gaps - 300) < 120)


def test_what_is_decided_too_late_is_not_done(x_display, tmp_path):
    with ListeningWindow(x_display, TITLE) as window, desktop_env(tmp_path) as (env, _):
        late = SlowPolicy(say(CLICK, ms=170), say(CLICK, ms=350), say(ActionChunk()))
        episode = play(env, late, tmp_path, ticks=4)
        pressed = [one.kind for one in window.heard if one.kind.endswith("Press")]
    assert episode.counts.outcomes == {"executed": 1, "late": 1, "empty": 1}
    assert episode.num_late_actions == 3
    assert pressed == ["KeyPress"]


def test_a_dry_run_injects_nothing_and_the_session_has_no_events(x_display, tmp_path):
    with ListeningWindow(x_display, TITLE) as window, desktop_env(tmp_path, is_live=False) as (env, _):
        episode = play(env, SlowPolicy(say(CLICK, ms=40)), tmp_path)
        assert window.heard == []
    assert episode.num_actions == 6
    assert env.counts is not None
    assert env.counts["sent"]["button"] == 6
    assert not list(SessionReader(tmp_path / "mine-1.mcap").events())


def test_a_stop_ends_the_episode_and_a_pause_waits_for_resume(x_display, tmp_path, capsys):
    with ListeningWindow(x_display, TITLE), desktop_env(tmp_path) as (env, told):

        def decide(observation, spec):
            if observation.t_ms > 900:
                run_command(["stop"])
            return HOLD

        episode = play(env, ScriptedPolicy(decide), tmp_path, ticks=40)
        assert read_keys_down(x_display) == []
    assert episode.duration_ms < 2500
    assert told == ["stopped: command"]
    assert f"{TITLE} (process" in capsys.readouterr().out


def test_pausing_is_told_and_resume_goes_on(x_display, tmp_path, capsys):
    with ListeningWindow(x_display, TITLE) as window, desktop_env(tmp_path) as (env, told):
        env.reset()
        with ListeningWindow(x_display, "another", x=700):
            *_, info = env.step(HOLD)
            assert info["events"] == ()
            while not told:  # on a busy machine the executor's word comes a tick later
                env.step(HOLD)
        window.do("set_input_focus", revert_to=1, time=0)
        env.step(HOLD)
        run_command(["resume"])
        *_, info = env.step(HOLD)
        assert [type(event) for event in info["events"]] == [KeyChanged]
    assert told == ["paused: focus_lost; `vlm-agent resume` lets it go on"]
    with pytest.raises(ConfigError, match="none is running"):
        run_command(["resume"])


def test_it_waits_for_the_focus_and_says_so(x_display, tmp_path):
    with (
        ListeningWindow(x_display, TITLE) as window,
        ListeningWindow(x_display, "another", x=700),
        desktop_env(tmp_path) as (env, told),
    ):
        timer = threading.Timer(0.5, lambda: window.do("set_input_focus", revert_to=1, time=0))
        timer.start()
        env.reset()
        timer.join()
        assert len(told) == 1
        assert told[0].startswith("waiting: the window has not got the focus")


def test_without_the_focus_it_gives_up_in_one_line(x_display, tmp_path):
    with (
        ListeningWindow(x_display, TITLE),
        ListeningWindow(x_display, "another", x=700),
        desktop_env(tmp_path) as (env, _),
        pytest.raises(ConfigError, match="click into it"),
    ):
        env.reset()


def test_a_closed_window_ends_the_episode(x_display, tmp_path):
    with ListeningWindow(x_display, TITLE) as window, desktop_env(tmp_path) as (env, told):
        env.reset()
        window.do("unmap")
        *_, is_over, _, _ = env.step(CLICK)
        assert is_over
        assert "window_closed" in told[-1] or "is closed" in told[-1]


@pytest.mark.model
def test_the_command_plays_on_a_window(x_display, tmp_path, capsys):
    model = write_tiny_checkpoint(tmp_path / "tiny", "qwen3_vl")
    with ListeningWindow(x_display, TITLE) as window:
        desktop = DesktopSettings(window=TITLE, keys=("a",), live=True)
        episode = run(
            RunConfig(
                goal="win", model=str(model), env="desktop", max_ticks=2, temperature=1.0, out=tmp_path, desktop=desktop
            )
        )
        # As in its own help: without --live nothing is injected, and it says so.
        window.heard.clear()
        run(
            RunConfig(
                goal="win",
                model=str(model),
                env="desktop",
                max_ticks=1,
                out=tmp_path,
                desktop=DesktopSettings(window=TITLE, keys=("a",)),
            )
        )
        assert window.heard == []
    told = capsys.readouterr().out
    assert "stop it with f12 or ctrl+alt+q, `vlm-agent stop`" in told
    assert "dry run on 'My game': everything is decided and checked, nothing is injected" in told
    assert told.count("executor (") == 2
    assert told.count("dry run, would have sent") == 1
    assert episode.clock == "real"
    first, second = sorted(tmp_path.glob("*.audit.jsonl"))
    assert [json.loads(path.read_text().splitlines()[0])["is_live"] for path in (second, first)] == [True, False]
    assert len(list(tmp_path.glob("tiny-0*.mcap"))) == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"env": "desktop"}, "--env desktop expects --window"),
        ({"desktop": DesktopSettings(window="x")}, "are for --env desktop"),
        ({"env": "desktop", "desktop": DesktopSettings(window="no such thing")}, "names no window"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(x_display, tmp_path, changes, says):
    with pytest.raises(ConfigError, match=says):
        run(RunConfig(**{"goal": "win", "out": tmp_path / "episodes", **changes}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("carried", "size"), [({"frame_px": [765, 503]}, (765, 503)), ({}, (800, 600))])
def test_frames_have_the_size_of_the_recordings_or_of_the_window(carried, size):
    window = WindowInfo(1, TITLE, Rect(0, 0, 800, 600))
    assert find_frame_size(SimpleNamespace(loaded=SimpleNamespace(record=carried)), window) == size
    assert find_frame_size(SimpleNamespace(loaded=SimpleNamespace(record=None)), window) == (800, 600)


def test_a_size_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="1280x720"):
        DesktopSettings(frame="big")
    assert DesktopSettings(frame="1280x720").frame_size == (1280, 720)


class Exporter(BaseHTTPRequestHandler):
    body = b'{"hp": 3}'

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


def wait_for_state(state: LiveState, wanted: object) -> None:
    until = time.monotonic() + 5
    while state() != wanted:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_state_comes_from_an_address_or_a_file(tmp_path):
    server = HTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state = LiveState(f"http://127.0.0.1:{server.server_port}/state")
    wait_for_state(state, {"hp": 3})
    state.close()
    server.shutdown()
    server.server_close()
    path = tmp_path / "state.json"
    state = LiveState(str(path))
    assert state() is None
    path.write_text('{"hp": ')  # half-written
    time.sleep(0.25)
    assert state() is None
    path.write_text('{"hp": 4}')
    wait_for_state(state, {"hp": 4})
    path.write_text("[" * 100_000)
    time.sleep(0.25)
    assert state() == {"hp": 4}
    state.close()
    with pytest.raises(ConfigError, match="--gamestate"):
        LiveState("ftp://somewhere/state")
