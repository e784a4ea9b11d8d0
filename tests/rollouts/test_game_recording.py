"""What a recorder of Ringcraft writes, and when."""

from __future__ import annotations

from vlm_agent.games.ringcraft import demonstrator
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.rollouts.recording import DemonstrationConfig, GameRecorder, record_demonstration


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
