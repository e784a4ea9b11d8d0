"""The shape of the code: layers, thin scripts, quick help. A rule nobody checks is a wish."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = ("label_segments.py", "train_vision_agent.py", "agent.py")
HEAVY = ("torch", "transformers", "datasets", "pygame", "av", "matplotlib")


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    tool = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([tool, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A copy of the packages in which a test may plant a fault."""
    for name in ("vlm_agent", "labeling"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_layers_hold(planted: Path) -> None:
    result = lint_imports(planted)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", ["utils.py", "common.py", "helpers.py"])
def test_a_dumping_ground_is_refused(planted: Path, name: str) -> None:
    (planted / "vlm_agent" / name).write_text('"""Odds and ends."""\n')
    assert lint_imports(planted).returncode != 0


@pytest.mark.parametrize(
    ("lower", "line"),
    [
        ("actions/spec.py", "from vlm_agent import rollouts"),
        ("games/__init__.py", "from vlm_agent import models"),
        ("dataset/__init__.py", "from vlm_agent import games"),
        ("clips.py", "import labeling"),
        ("importing/__init__.py", "from vlm_agent import dataset"),
        ("chat.py", "import torch"),
    ],
)
def test_an_import_upward_or_sideways_is_refused(planted: Path, lower: str, line: str) -> None:
    path = planted / "vlm_agent" / lower
    path.write_text(path.read_text() + f"\n{line}\n")
    assert lint_imports(planted).returncode != 0


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_stay_thin(script: str) -> None:
    source = (ROOT / script).read_text()
    assert source.count("\n") <= 80
    loops = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.For | ast.While)]
    assert not loops


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_of_a_script_is_light(script: str) -> None:
    assert_light_help([str(ROOT / script)])


@pytest.mark.parametrize(
    "command", [[], ["compare"], ["plan"], ["train"], ["label"], ["run"], ["import"], ["info"], ["demo"]]
)
def test_help_of_the_command_is_light(command: list[str]) -> None:
    assert_light_help(["-m", "vlm_agent.cli", *command])


def assert_light_help(arguments: list[str]) -> None:
    """Run `--help` under an import log; none of the heavy libraries may appear in it."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "usage" in result.stdout.lower()
    imported = {
        line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines() if line.startswith("import time:")
    }
    assert imported.isdisjoint(HEAVY)
