"""What a recorder of Ringcraft writes, and when."""

from __future__ import annotations

import pytest

from vlm_agent.games.ringcraft import demonstrator
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.rollouts.recording import DemonstrationConfig, GameRecorder, record_demonstration, record_demonstrations


class Written:
    """Stands for a session writer: keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))

    def times_ms(self, name: str) -> list[int]:
        return [call[1] // 1_000_000 for call in self.calls if call[0] == name]


def record(short_goals, ticks: int = 61, fps: float = 10.0) -> Written:
    game, written, left = Ringcraft(0), Written(), list(short_goals)
    recorder = GameRecorder(written, "craft", lambda _: left.pop(0) if left else "", fps=fps)
    for _ in range(ticks):
        recorder.write_scene(game)
        game.advance(20)
    return written


def test_frames_come_at_their_rate_and_states_at_every_world_tick():
    written = record([], ticks=61)
    assert written.times_ms("write_frame") == list(range(0, 1201, 100))
    assert written.times_ms("write_game_state") == [0, 600, 1200]


def test_a_goal_is_told_once_and_an_empty_one_changes_nothing():
    written = record(["open", "open", "", "open", "walk", "walk", "open"])
    goals = [call[2] for call in written.calls if call[0] == "write_goal"]
    assert [(goal.t_ns // 1_000_000, goal.text, goal.level) for goal in goals] == [
        (0, "craft", "long"),
        (0, "open", "short"),
        (80, "walk", "short"),
        (120, "open", "short"),
    ]


def test_a_player_has_habits_and_a_session_its_length(tmp_path, monkeypatch):
    made, played = [], []
    real = demonstrator.Demonstrator

    def make(seed, **options):
        made.append((seed, options["player"]))
        return real(seed, **options)

    monkeypatch.setattr(demonstrator, "Demonstrator", make)
    monkeypatch.setattr(demonstrator, "demonstrate", lambda game, who, ms, on_tick: played.append(ms))
    record_demonstration(tmp_path / "one", 5, DemonstrationConfig(minutes=0.5, player=3))
    assert (made, played) == ([(5, 3)], [30_000])


def test_a_session_that_was_interrupted_is_not_taken_for_a_whole_one(tmp_path, monkeypatch):
    config = DemonstrationConfig(minutes=0.02)
    write_tick, ticks = GameRecorder.write_tick, []

    def interrupt(self, game, events):
        write_tick(self, game, events)
        ticks.append(game)
        if len(ticks) == 20:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(GameRecorder, "write_tick", interrupt)
        with pytest.raises(KeyboardInterrupt):
            record_demonstrations(tmp_path, (4,), config)
    assert list(tmp_path.iterdir()) == []
    for left in ("ringcraft-4.mkv", "ringcraft-4.mcap.part"):
        (tmp_path / left).write_text("of a kill")
    record_demonstrations(tmp_path, (4,), config)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ringcraft-4.mcap", "ringcraft-4.mkv"]
