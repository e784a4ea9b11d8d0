"""The bundled game as a program like any other: played by a screen's own mouse, recorded from inside and outside."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest

from vlm_agent import desktop_demo
from vlm_agent.actions.events import ButtonChanged
from vlm_agent.desktop_demo import DesktopDemoConfig, StageFailedError, run
from vlm_agent.errors import ConfigError
from vlm_agent.evaluation.agreement import Spread, measure_presses
from vlm_agent.sessions.reader import SessionReader


def test_both_recordings_of_the_same_play_teach_the_same(x_display: str, tmp_path: Path) -> None:
    config = DesktopDemoConfig(out=tmp_path, seconds=20.0)
    inside, outside = desktop_demo._record_twice(config, x_display)
    presses = measure_presses(*(list(SessionReader(session).events()) for session in (inside, outside)))
    assert presses.num_presses >= 5
    assert (presses.num_same, presses.num_extra) == (presses.num_presses, 0)
    assert presses.px == Spread(0.0, 0.0, 0.0)
    assert presses.ms is not None
    assert presses.ms.largest <= 60
    found = desktop_demo._compare(inside, outside)
    assert found.num_paired >= 0.9 * found.num_windows >= 20
    assert found.num_same_presses >= 5
    # A press within some milliseconds of a tick may fall into the window beside it.
    assert found.num_same_presses >= found.num_presses - 2
    assert found.num_extra_presses <= 2
    assert found.press_px is not None
    assert found.press_px.largest <= 1
    assert found.press_ms is not None
    assert found.press_ms.p95 <= 60
    state = next(iter(SessionReader(outside).game_states()))[1]
    assert state["sim"]["seed"] == config.seed


def test_the_demonstrator_s_hand_lets_go_and_the_state_is_told_while_it_plays(x_display: str, tmp_path: Path) -> None:
    config = DesktopDemoConfig(out=tmp_path)
    play = ["play", "ringcraft", "--player", "demonstrator", "--seconds", "8", "--out", str(tmp_path), "--seed", "7"]
    with desktop_demo._open_game(config, x_display, play) as (game, url):
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert json.loads(answer.read())["gameState"] == "LOGGED_IN"
        assert game.wait(60) == 0
    reader = SessionReader(tmp_path / "ringcraft-me-7.mcap")
    assert reader.meta["player"] == "demonstrator 0"
    assert any(isinstance(event, ButtonChanged) for event in reader.events())


def test_a_command_that_fails_is_named_with_its_log(x_display: str, tmp_path: Path) -> None:
    config = DesktopDemoConfig(out=tmp_path)
    game = ["play", "ringcraft", "--goal", "no such goal"]
    says = r"vlm-agent play ended with exit code 2; see its log play\.log"
    with pytest.raises(StageFailedError, match=says), desktop_demo._open_game(config, x_display, game):
        pass
    assert "no such goal" in (tmp_path / "play.log").read_text(encoding="utf-8")


def test_what_can_not_be_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="--seconds must be at least 5"):
        DesktopDemoConfig(seconds=1.0)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="apt-get install xvfb"):
        run(DesktopDemoConfig(out=tmp_path / "demo"))
    assert not (tmp_path / "demo").exists()
