"""`agent.py`: from a goal to a recorded episode, and one line for every mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from vlm_agent.errors import ConfigError, ModelError, run_guarded
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.rollouts.command import RunConfig, make_table, run
from vlm_agent.rollouts.episodes import DecisionCounts, Episode, Outcome
from vlm_agent.sessions.reader import SessionReader

ROOT = Path(__file__).parent.parent
GOAL = "craft sapphire rings"


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_5_vl"])
def tiny(request, tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / request.param, request.param)


@pytest.mark.model
def test_a_checkpoints_path_is_all_it_takes(tiny, tmp_path, capsys):
    episode = run(RunConfig(goal=GOAL, model=str(tiny), max_ticks=2, temperature=1.0, out=tmp_path))
    assert episode.counts.total in (1, 2)
    decisions = [decision for _, decision in SessionReader(tmp_path / f"{tiny.name}-0.mcap").decisions()]
    assert len(decisions) == episode.counts.total
    assert decisions[0]["num_prompt_tokens"] > 100
    told = capsys.readouterr().out
    for word in ("invalid", "refused", "late", "p95", "a minute"):
        assert word in told


def test_counts_are_told_apart():
    counts = DecisionCounts()
    for outcome, reason in [
        (Outcome.INVALID, "truncated"),
        (Outcome.INVALID, "timeout"),
        (Outcome.REFUSED, "region_denied"),
        (Outcome.LATE, None),
        (Outcome.EXECUTED, None),
    ]:
        counts.add(outcome, reason)
    episode = Episode(3, GOAL, 30_000, 4.0, True, counts, 2, (10.0, 20.0, 400.0), 0.97)
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(make_table(episode))
    told = console.export_text()
    for text in ("4 (8.00 a minute)", "2 (timeout 1, truncated 1)", "1 (region_denied 1)", "p50 20 ms, p95 362 ms"):
        assert text in told


@pytest.mark.parametrize(
    ("changes", "error", "word"),
    [
        ({"goal": "bake a cake"}, ConfigError, "unknown goal"),
        ({"env": "chess"}, ConfigError, "unknown environment"),
        ({"max_ticks": 0}, ConfigError, "max-ticks"),
        ({"temperature": -1.0}, ConfigError, "temperature"),
        ({"model": "/no/such/model"}, ModelError, "no such model"),
    ],
)
def test_mistakes_leave_nothing_behind(tmp_path, changes, error, word):
    with pytest.raises(error, match=word):
        run(RunConfig(**{"goal": GOAL, "out": tmp_path / "episodes", **changes}))
    assert not (tmp_path / "episodes").exists()


def test_a_folder_that_cant_be_written_is_one_line_that_names_it(tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.write_text("a file")
    config = RunConfig(goal=GOAL, model="nano", max_ticks=1, out=taken)
    assert run_guarded(lambda: run(config)) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith("error: ")
    assert str(taken) in told
    assert taken.read_text() == "a file"
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_the_script_ends_with_one_line_and_exit_code_2():
    result = subprocess.run(
        [sys.executable, "agent.py", "--goal", "bake a cake"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: unknown goal")
