"""`vlm-agent desktop-demo`: the bundled game as a program like any other, on a screen of its own.

Ringcraft runs in a window under Xvfb. The demonstrator plays it through the screen's own mouse and keyboard while
`vlm-agent record` records the window from outside and the game records itself from inside; what a model would learn
from the two is held against each other. Then the tuned model of the demo plays the window through an executor, on the
real clock. Every part is a command that a user types, in a process of its own; this module names files and reads what
came out of them.

    OUT/inside/, OUT/outside/   the two recordings, each with its dataset
    OUT/episodes/               the agent's episode, and the audit of what was pressed
    OUT/figures.json            all figures
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_agent.errors import ConfigError, VlmAgentError
from vlm_agent.files import write_text
from vlm_agent.locks import only_writer

if TYPE_CHECKING:
    from rich.console import Console

    from vlm_agent.evaluation.agreement import Agreement, PressAgreement, Spread
    from vlm_agent.terminal import PlainConsole, TextTable

GOAL = "craft sapphire rings"
"""What demonstrator and agent are after."""
_BEGINS_WITHIN_S = 60.0
_UNCUT_MS = 24 * 3_600_000
"""Longer than any recording."""
_ENDS_WITHIN_S = 60.0


class StageFailedError(VlmAgentError):
    """A command of the demo ended with an error; what it said is in its log."""


@dataclass(frozen=True, kw_only=True)
class DesktopDemoConfig:
    """Record the bundled game's window from outside, and let the tuned model play it through mouse and keyboard."""

    out: Path = Path("desktop-demo")
    """Folder for recordings, episodes and figures."""
    run: Path = Path("demo/run")
    """The tuned model; where it is not there, it is trained as in the demo, in the folder above it."""
    seconds: float = 60.0
    """How long the demonstrator plays."""
    seed: int = 7
    """The demonstrator's scene."""
    agent_seed: int = 10_003
    """The agent's scene, one that nobody has recorded."""
    ticks: int = 150
    """Decisions of the agent, 600 ms each."""
    temperature: float = 0.5
    """How the agent chooses tokens; see the demo's."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a play without a moment."""
        if self.seconds < 5 or self.ticks < 1:
            raise ConfigError(
                f"--seconds must be at least 5 and --ticks at least 1, got {self.seconds:g} and {self.ticks}"
            )


def run(config: DesktopDemoConfig) -> None:
    """Run every stage in turn, print the figures and keep them in `config.out`.

    Raises:
        ConfigError: there is no Xvfb.
        StageFailedError: a command ended with an error.
    """
    from vlm_agent.desktop.virtual import require_virtual_screen
    from vlm_agent.terminal import PlainConsole

    require_virtual_screen()
    with only_writer(config.out):
        _run_stages(config, PlainConsole())


def _run_stages(config: DesktopDemoConfig, console: PlainConsole) -> None:
    from vlm_agent.desktop.virtual import open_virtual_screen
    from vlm_agent.evaluation.agreement import measure_presses
    from vlm_agent.sessions.reader import SessionReader

    console.rule("1/3 record: the demonstrator plays the window, recorded from inside and from outside", align="left")
    with open_virtual_screen() as display, console.status(f"playing for {config.seconds:g} s"):
        inside, outside = _record_twice(config, display)
    presses = measure_presses(*(list(SessionReader(session).events()) for session in (inside, outside)))
    agreement = _compare(inside, outside)
    console.print(_tabulate_agreement(presses, agreement))
    console.rule("2/3 train: the tuned model", align="left")
    _train_if_missing(config, console)
    console.rule("3/3 play: the agent plays the window through an executor, on the real clock", align="left")
    with open_virtual_screen() as display, console.status(f"playing for {config.ticks * 0.6:.0f} s"):
        played = _play(config, display)
    console.print(_tabulate_play(played))
    figures = {"presses": presses.to_json(), "agreement": agreement.to_json(), "play": played}
    path = config.out / "figures.json"
    write_text(path, json.dumps(figures, indent=2) + "\n")
    console.print(f"figures: {path}")


def _record_twice(config: DesktopDemoConfig, display: str) -> tuple[Path, Path]:
    """Play and record; return the sessions from inside and from outside."""
    inside, outside = config.out / "inside", config.out / "outside"
    for folder in (inside, outside):
        _clear(folder / "sessions")
    play = ["play", "ringcraft", "--player", "demonstrator", "--seconds", f"{config.seconds:g}"]
    where = ["--seed", str(config.seed), "--goal", GOAL, "--out", str(inside / "sessions")]
    with _open_game(config, display, [*play, *where]) as (game, url):
        record = ["record", "--window", "Ringcraft", "--gamestate", url, "--goal", GOAL, "--name", "outside"]
        with _start(config, display, "record", [*record, "--out", str(outside / "sessions")]) as recorder:
            _wait(game, config.seconds + _ENDS_WITHIN_S, "play")
            # The window is closed: the recorder ends by itself.
            _wait(recorder, _ENDS_WITHIN_S, "record")
    return next((inside / "sessions").glob("*.mcap")), next((outside / "sessions").glob("*.mcap"))


def _compare(inside: Path, outside: Path) -> Agreement:
    from labeling.stage import LabelArgs, label_and_build
    from vlm_agent.clips import CutConfig
    from vlm_agent.dataset.build import DatasetConfig
    from vlm_agent.dataset.splits import SplitConfig
    from vlm_agent.dataset.store import open_dataset
    from vlm_agent.evaluation.agreement import measure_agreement

    both = []
    # Each recording is cut by length from its own beginning; a stroke that such a cut parts would be dated otherwise in
    # the one than in the other, though both hold the same.
    uncut = CutConfig(length_ms=_UNCUT_MS)
    for session in (inside, outside):
        whole = DatasetConfig(split=SplitConfig(validation_fraction=0.0))
        out = session.parent.parent / "labeled"
        shutil.rmtree(out, ignore_errors=True)
        label_and_build(LabelArgs(sessions=session, out=out, cut=uncut, dataset=whole))
        windows = open_dataset(out).windows("train")
        both.append([window for window in windows if window.goal_level == "long"])
    return measure_agreement(*both)


def _train_if_missing(config: DesktopDemoConfig, console: Console) -> None:
    from vlm_agent.demo import DemoConfig, prepare

    if (config.run / "adapter").is_dir():
        console.print(f"{config.run} is there")
        return
    if config.run.name != "run":
        raise ConfigError(f"--run {config.run}: there is no run there; give another, or FOLDER/run to have it trained")
    prepare(DemoConfig(out=config.run.parent))


def _play(config: DesktopDemoConfig, display: str) -> dict[str, Any]:
    """Let the agent play a window; return what became of it."""
    game = ["play", "ringcraft", "--no-record", "--seed", str(config.agent_seed), "--goal", GOAL]
    with _open_game(config, display, game) as (_, url):
        before = _ask(url)
        agent = ["run", "--env", "desktop", "--window", "Ringcraft", "--live", "--gamestate", url, "--goal", GOAL]
        how = ["--model", str(config.run), "--max-ticks", str(config.ticks), "--temperature", f"{config.temperature:g}"]
        began = time.monotonic()
        with _start(config, display, "run", [*agent, *how, "--out", str(config.out / "episodes")]) as playing:
            _wait(playing, config.ticks * 1.2 + 2 * _ENDS_WITHIN_S, "run")
        minutes = (time.monotonic() - began) / 60
        rings = _ask(url)["sim"]["ringsMade"] - before["sim"]["ringsMade"]
    episode_minutes = config.ticks * 0.6 / 60
    return {
        "rings": rings,
        "minutes": round(episode_minutes, 2),
        "rings_per_minute": round(rings / episode_minutes, 2),
        "minutes_with_loading": round(minutes, 2),
    }


@contextmanager
def _open_game(
    config: DesktopDemoConfig, display: str, arguments: Sequence[str]
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the game in a window that shows; yield the process, and the address of its state."""
    with _start(config, display, "play", [*arguments, "--state-port", "0"]) as game:
        assert game.stdout is not None
        url = game.stdout.readline().strip()
        if not url.startswith("http://127.0.0.1:"):
            _wait(game, _ENDS_WITHIN_S, "play")
            raise StageFailedError(f"vlm-agent play told no address; see {config.out / 'play.log'}")
        yield game, url


@contextmanager
def _start(
    config: DesktopDemoConfig, display: str, name: str, arguments: Sequence[str]
) -> Iterator[subprocess.Popen[str]]:
    """Run one of our commands on a display; it is told to stop when the block ends, whatever ends it."""
    environment = {**os.environ, "DISPLAY": display, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    for variable in ("WAYLAND_DISPLAY", "XDG_SESSION_TYPE", "SDL_VIDEODRIVER"):
        environment.pop(variable, None)
    command = [sys.executable, "-m", "vlm_agent.cli", *arguments]
    with (config.out / f"{name}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(_ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[str], seconds: float, name: str) -> None:
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired as error:
        raise StageFailedError(f"vlm-agent {name} did not end within {seconds:.0f} s") from error
    if code:
        raise StageFailedError(f"vlm-agent {name} ended with exit code {code}; see its log {name}.log")


def _ask(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=_BEGINS_WITHIN_S) as answer:
        state: dict[str, Any] = json.loads(answer.read())
    return state


def _clear(folder: Path) -> None:
    """Remove the recordings of an earlier run."""
    for path in folder.glob("*"):
        if path.suffix in (".mcap", ".mkv", ".part"):
            path.unlink()


def _tabulate_agreement(presses: PressAgreement, found: Agreement) -> TextTable:
    from vlm_agent.evaluation.agreement import SAME_ACTION_MS, SAME_TICK_MS
    from vlm_agent.terminal import TextTable

    table = TextTable(
        title="the same play, recorded from inside and from outside",
        caption=f"matched: actions of one kind, key or button, within {SAME_ACTION_MS} ms, each with the nearest left; "
        f"ticks within {SAME_TICK_MS} ms; times and places are those of matched ones alone",
    )
    for heading in ("what", "value"):
        table.add_column(heading)
    rows = [
        ("presses recorded by both", f"{presses.num_same} of {presses.num_presses}, {presses.num_extra} extra"),
        ("  apart, ms", _tell(presses.ms)),
        ("  apart, px", _tell(presses.px)),
        ("windows of the same tick", f"{found.num_paired} of {found.num_windows}"),
        ("  ticks apart, ms", _tell(found.tick_ms)),
        (
            "presses in both targets",
            f"{found.num_same_presses} of {found.num_presses}, {found.num_extra_presses} extra",
        ),
        ("  apart in the window, ms", _tell(found.press_ms)),
        ("  apart in the target, px", _tell(found.press_px)),
        ("way-points in both targets", f"{found.num_same_moves} of {found.num_moves}"),
        ("  apart in the target, px", _tell(found.move_px)),
    ]
    for name, value in rows:
        table.add_row(name, value)
    return table


def _tell(spread: Spread | None) -> str:
    if spread is None:
        return "–"
    return f"median {spread.median:.1f}, 95 % {spread.p95:.1f}, at most {spread.largest:.1f}"


def _tabulate_play(played: dict[str, Any]) -> TextTable:
    from vlm_agent.terminal import TextTable

    table = TextTable(title="the tuned agent in the window")
    for heading in ("what", "value"):
        table.add_column(heading)
    table.add_row("rings", f"{played['rings']} in {played['minutes']} minutes")
    table.add_row("rings a minute", f"{played['rings_per_minute']}")
    return table
