"""`vlm-agent`: help without weight, every command there, one line for a mistake."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys

import pytest

from vlm_agent.cli import STAGES, make_usage, run_command
from vlm_agent.errors import ConfigError, run_guarded
from vlm_agent.rollouts.recording import DemonstrationConfig, record_demonstrations

HEAVY = ("torch", "transformers", "peft", "datasets", "pygame", "av", "matplotlib", "numpy")


def test_help_is_light():
    code = (
        "import sys; from vlm_agent.cli import run_command; run_command(['--help'])\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_the_usage_names_every_command():
    usage = make_usage()
    for name, stage in STAGES.items():
        assert f"  {name} " in usage
        assert stage.help in usage


COMMANDS = (
    "play record record-demo import info repair label plan train export run stop resume compare eval audit likeness"
    " curve doctor demo desktop-demo pretrain-nano"
)


def test_these_are_the_commands():
    assert " ".join(STAGES) == COMMANDS


@pytest.mark.parametrize("name", STAGES)
def test_a_command_finds_its_stage_and_its_stage_takes_its_settings(name):
    config, function = STAGES[name].load()
    assert dataclasses.is_dataclass(config)
    # Annotations are kept as text: the settings' class by its name.
    [taken] = inspect.signature(function).parameters.values()
    assert taken.annotation == config.__name__


def test_an_unknown_command_is_one_error():
    with pytest.raises(ConfigError, match="there are play, record, record-demo"):
        run_command(["recrod"])


def test_no_command_tells_the_usage(capsys):
    run_command([])
    assert "usage: vlm-agent COMMAND" in capsys.readouterr().out


def test_info_prints_json(tmp_path, capsys):
    [path] = record_demonstrations(tmp_path, (4,), DemonstrationConfig(minutes=0.02))
    run_command(["info", str(path), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["frames"] == 12
    assert told["topics"]["screen"] == 12
    assert told["duration_s"] == pytest.approx(1.1, abs=0.1)
    run_command(["repair", str(path), "--json"])
    assert json.loads(capsys.readouterr().out)["out"] is None


@pytest.mark.parametrize(
    "line",
    [["info", "/no/such.mcap"], ["repair", "/no/such.mcap"], ["play", "chess"], ["record-demo", "--minutes", "0"]],
)
def test_a_mistake_is_one_line_and_exit_code_2(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_guarded(lambda: run_command(line)) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_record_demo_records(tmp_path, capsys):
    run_command(
        ["record-demo", "--out", str(tmp_path), "--num-sessions", "1", "--minutes", "0.01", "--first-seed", "9"]
    )
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["ringcraft-9.mcap", "ringcraft-9.mkv"]
    assert "1 sessions" in capsys.readouterr().out
