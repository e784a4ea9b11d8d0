"""`vlm-agent likeness`: files, words, and one line for every mistake."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.evaluation.likeness.players import Hand, record_all
from vlm_agent import cli
from vlm_agent.errors import ConfigError, run_guarded
from vlm_agent.evaluation.likeness.command import LikenessConfig, find_sessions


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sessions")
    record_all(folder / "player", Hand(seconds=6.0), range(100, 110))
    record_all(folder / "agent" / "tuned", Hand(path="line", seconds=6.0), range(6), who="agent", policy="tuned")
    record_all(folder / "agent" / "base", Hand(path="jump", seconds=6.0), range(6), who="agent", policy="base")
    return folder


def run(*arguments: str) -> int:
    return run_guarded(lambda: cli.run_command(["likeness", *arguments]))


def test_it_writes_numbers_and_words_and_says_them(folders, tmp_path, capsys) -> None:
    out = tmp_path / "out"
    arguments = ["--agent", str(folders / "agent"), "--player", str(folders / "player"), "--out", str(out)]
    assert run(*arguments, "--policy", "tuned", "--splits", "20", "--permutations", "500") == 0
    value = json.loads((out / "likeness.json").read_text())
    assert (value["policy"], value["agent"]["sessions"], value["player"]["sessions"]) == ("tuned", 6, 10)
    text = (out / "likeness.md").read_text()
    assert text.startswith("## Like the player: movement and timing\n")
    printed = " ".join(capsys.readouterr().out.split())
    assert "From 6 agent sessions and 10 player sessions" in printed
    assert "From 6 agent sessions and 10 player sessions" in text
    assert [path.name for path in sorted(out.iterdir())] == ["likeness.json", "likeness.md"]


@pytest.mark.parametrize(
    ("agent", "player", "more", "line"),
    [
        ("agent", "player", [], "--agent holds episodes of base, tuned: name one with --policy"),
        ("agent", "player", ["--policy", "best"], "no episodes of 'best' (--policy), there are those of base, tuned"),
        ("agent/tuned", "agent/base", [], "expected a session of a human, got an agent's"),
        ("player", "player", [], "expected a session of an agent, got a human's"),
        ("nowhere", "player", [], "nowhere: expected a folder of recorded sessions, and it is none"),
        ("agent/tuned", "player", ["--permutations", "99"], "--permutations must be at least 500, got 99"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(folders, tmp_path, capsys, agent, player, more, line) -> None:
    out = tmp_path / "out"
    paths = ["--agent", str(folders / agent), "--player", str(folders / player), "--out", str(out)]
    assert run(*paths, *more) == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.count("\n") == 1
    assert not out.exists()


def test_too_few_sessions_and_empty_folders_are_one_line(folders, tmp_path, capsys) -> None:
    few = tmp_path / "few"
    record_all(few, Hand(seconds=6.0), range(3), who="agent")
    assert run("--agent", str(few), "--player", str(folders / "player"), "--out", str(tmp_path / "out")) == 2
    assert "likeness needs at least 4 sessions of each side, got 3" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run("--agent", str(tmp_path / "empty"), "--player", str(few)) == 2
    assert "found none" in capsys.readouterr().err


def test_a_damaged_session_is_named(folders, tmp_path, capsys) -> None:
    hurt = tmp_path / "hurt"
    paths = record_all(hurt, Hand(seconds=6.0), range(5), who="agent")
    paths[2].write_bytes(paths[2].read_bytes()[:-200])
    assert run("--agent", str(hurt), "--player", str(folders / "player"), "--out", str(tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert str(paths[2]) in error
    assert "vlm-agent repair" in error


def test_sessions_are_found_in_order_and_spread_evenly(folders) -> None:
    paths = find_sessions(folders / "agent", "--agent")
    assert len(paths) == 12
    assert paths == sorted(paths)


def test_settings_that_ask_nobody_are_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="--splits must be at least 20, got 3"):
        LikenessConfig(agent=tmp_path, player=tmp_path, splits=3)
    with pytest.raises(ConfigError, match="--most-sessions must be at least 4, got 1"):
        LikenessConfig(agent=tmp_path, player=tmp_path, most_sessions=1)


def test_help_needs_neither_scipy_nor_scikit_learn() -> None:
    code = (
        "import sys; from vlm_agent import cli\n"
        "try: cli.run_command(['likeness', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('scipy', 'sklearn', 'matplotlib', 'torch', 'av')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
