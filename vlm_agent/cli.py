"""`vlm-agent`: one command a stage. A stage's code is imported when its command is given, not before.

Settings are dataclasses beside the stage they belong to, and their field texts are the help; this module only knows
where they are. A user's mistake is one line and exit code 2, Ctrl-C one line and 130 (see `errors.run_program`); so
that this holds from the first moment on, nothing but the standard library is imported before.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vlm_agent.errors import ConfigError, run_program
from vlm_agent.visible import say

if TYPE_CHECKING:
    from labeling.stage import LabelArgs
    from vlm_agent.training.planning.config import PlanConfig


class Stage(NamedTuple):
    """Where a command's settings and its function are, each as `module:name`."""

    help: str
    """One line."""
    config: str
    """The settings' dataclass; importing its module must be light."""
    function: str
    """Takes the settings."""

    def load(self) -> tuple[Any, Callable[[Any], object]]:
        """Import the stage; return its settings' class and its function."""
        return _find(self.config), _find(self.function)


def _find(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def _stage(help_line: str, module: str, config: str, function: str = "run") -> Stage:
    return Stage(help_line, f"{module}:{config}", f"{module}:{function}")


_SESSIONS = "vlm_agent.session_commands"

STAGES = {
    "play": _stage("play ringcraft yourself in a window, and record it", _SESSIONS, "PlayConfig", "play"),
    "record": Stage(
        "record yourself at a window, a part of the screen or a monitor: pictures, mouse, keyboard, game state",
        "vlm_agent.recording.config:RecordConfig",
        "vlm_agent.recording.command:run",
    ),
    "record-demo": _stage("let the demonstrator play, and record it", _SESSIONS, "RecordDemoConfig", "record_demo"),
    "import": _stage("make sessions of another program's recordings", "vlm_agent.importing.command", "ImportArgs"),
    "info": _stage("say what a session holds", _SESSIONS, "InfoConfig", "info"),
    "repair": _stage("save what is intact of a damaged or unfinished session", _SESSIONS, "RepairConfig", "repair"),
    "label": Stage("cut and label sessions, and build a dataset", "labeling.stage:LabelArgs", f"{__name__}:label"),
    "plan": Stage(
        "say before training whether it fits, how long it takes, and if the agent is quick enough; exit code 1 is a no",
        "vlm_agent.training.planning.config:PlanConfig",
        f"{__name__}:plan",
    ),
    "train": _stage("train an adapter on a dataset", "vlm_agent.training.command", "TrainArgs"),
    "export": _stage(
        "write a dataset as JSON lines and pictures for other trainers", "vlm_agent.training.exports", "ExportArgs"
    ),
    "run": _stage("play a goal with a model, and record the episode", "vlm_agent.rollouts.command", "RunConfig"),
    "stop": _stage("stop every agent that acts on this desktop", "vlm_agent.executors.stopping", "StopConfig", "stop"),
    "resume": _stage(
        "let agents that were stopped or paused go on", "vlm_agent.executors.stopping", "ResumeConfig", "resume"
    ),
    "compare": _stage("compare a tuned model with its base", "vlm_agent.evaluation.compare", "CompareConfig"),
    "eval": _stage(
        "hold a model's answers to recorded windows against what the player did",
        "vlm_agent.evaluation.offline.command",
        "EvalConfig",
    ),
    "audit": _stage(
        "see which of the things it is shown a model's answers hang on",
        "vlm_agent.evaluation.offline.audit_command",
        "AuditConfig",
    ),
    "likeness": _stage(
        "say in what an agent moves and times its input like the player, and in what not",
        "vlm_agent.evaluation.likeness.command",
        "LikenessConfig",
    ),
    "curve": _stage(
        "train on fewer and on more sessions, and see which play better",
        "vlm_agent.evaluation.curves.command",
        "CurveConfig",
    ),
    "doctor": _stage(
        "say whether this machine can record, train and act, and draw where a click would land",
        "vlm_agent.doctor.command",
        "DoctorConfig",
    ),
    "demo": _stage("do all of it on the bundled game with the bundled model", "vlm_agent.demo", "DemoConfig"),
    "desktop-demo": _stage(
        "record the bundled game's window from outside, and let the tuned model play it through mouse and keyboard",
        "vlm_agent.desktop_demo",
        "DesktopDemoConfig",
    ),
    "pretrain-nano": Stage(
        "train the bundled model from nothing",
        "vlm_agent.training.nano.config:PretrainConfig",
        "vlm_agent.training.nano.pretrain:run",
    ),
}
"""By the name of the command."""


def label(args: LabelArgs) -> None:
    """Cut, label, build; show what came of it."""
    from labeling.stage import label_and_build
    from vlm_agent.dataset.statistics import statistics_table
    from vlm_agent.terminal import PlainConsole

    report = label_and_build(args, console=PlainConsole("error"))
    console = PlainConsole()
    console.print(statistics_table(report.dataset.statistics))
    console.print(report.describe())


def plan(config: PlanConfig) -> None:
    """Make a plan and print it."""
    from vlm_agent.rollouts.pace import time_decisions
    from vlm_agent.training.planning.command import run

    run(config, time_decisions)


def make_usage() -> str:
    """Return the help of `vlm-agent` itself."""
    width = max(map(len, STAGES))
    lines = [f"  {name:{width}}  {stage.help}" for name, stage in STAGES.items()]
    return "\n".join(
        [
            "usage: vlm-agent COMMAND [OPTIONS]",
            "",
            "Record yourself playing, and get an agent that plays like you.",
            "",
            *lines,
            "",
            "vlm-agent COMMAND --help tells a command's options.",
        ]
    )


def run_command(arguments: Sequence[str]) -> None:
    """Run one command line, program name left out.

    Raises:
        VlmAgentError: the user's mistake, in this line or in the stage.
    """
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        say(*make_usage().splitlines())
        return
    stage = STAGES.get(name)
    if stage is None:
        raise ConfigError(f"unknown command {name!r}; there are {', '.join(STAGES)}")
    import tyro

    config, function = stage.load()
    function(
        tyro.cli(config, args=rest, prog=f"vlm-agent {name}", description=f"{stage.help[0].upper()}{stage.help[1:]}.")
    )


def main() -> None:
    """Run the command line that the program was started with."""
    run_program(lambda: run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
