"""Published checkpoints through every command: works, or the one line that it says; a Markdown table.

    python -m tests.models.published_table [--sources FOLDER] [--only TEXT] [--json]

The folders have the real configs, tokenizers, templates and tensor names, small sizes and random weights (see
`tests.models.published`); the commands are the real ones, typed in this process so that libraries are loaded once.
Sessions are recorded from the bundled game. Plan may say that a decision takes too long on this machine: that is an
answer and counts as `works`, with what it said.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.line_support import Ended, type_line
from tests.models.published import PUBLISHED, write_published
from vlm_agent.training.planning.config import EXIT_NO_GO

COMMANDS = ("doctor", "plan", "label", "train", "agent", "agent (tuned)", "compare")
SMALL_PROMPT = ("--recipe.image-max-tokens", 48, "--recipe.state-text-max-chars", 120)
SHORT = ("--train.max-steps", 2, "--train.batch-windows", 2, "--train.accumulation", 1)
FEW = ("--train.evaluation.max-windows", 2)


def try_checkpoint(folder: Path, sessions: Path, dataset: Path, out: Path) -> dict[str, str]:
    """Return what each command says of a checkpoint: `works`, or its one line; `TRACEBACK` where it is none.

    Args:
        folder: of the checkpoint.
        sessions: a recorded session.
        dataset: built from such sessions.
        out: for what the commands write.
    """
    out.mkdir(parents=True)
    run = out / "run"
    plan = ("vlm-agent", "plan", "--dataset", dataset, "--model", folder, *SMALL_PROMPT, *SHORT)
    lines: dict[str, tuple[object, ...]] = {
        "doctor": ("vlm-agent", "doctor", "--model", folder, "--out", out / "aim.png", "--json"),
        "plan": (*plan, "--sample", 16, "--decisions", 1, "--probe-s", 0.2),
        "label": ("label_segments.py", "--sessions", sessions, "--out", out / "labels", "--labeler", folder),
        "train": (
            *("train_vision_agent.py", "--dataset", dataset, "--out", run, "--model", folder),
            *(*SMALL_PROMPT, *SHORT, *FEW),
        ),
        "agent": ("agent.py", "--goal", "open the bank", "--model", folder, "--max-ticks", 2, "--out", out / "base"),
        "agent (tuned)": (
            *("agent.py", "--goal", "open the bank", "--model", run, "--max-ticks", 2, "--out", out / "tuned"),
        ),
        "compare": (
            *("vlm-agent", "compare", "--base", folder, "--tuned", run, "--seeds", 2, "--max-ticks", 2),
            *("--workers", 1, "--bootstrap-resamples", 100, "--out", out / "report"),
            *("--parts.windows", 2, "--parts.readout-windows", 2, "--parts.audit-windows", 2),
            *("--parts.few-shot", 0, "--parts.disturbed-seeds", 0, "--parts.no-likeness"),
        ),
    }
    return {name: _read(name, _type(words), folder) for name, words in lines.items()}


def _type(words: tuple[object, ...]) -> Ended | str:
    try:
        return type_line(*words)
    except Exception as error:  # noqa: BLE001 (a traceback is what is looked for)
        return f"TRACEBACK {type(error).__name__}: {str(error).splitlines()[0][:120]}"


def _read(name: str, ended: Ended | str, folder: Path) -> str:
    if isinstance(ended, str):
        return ended
    if name == "doctor":
        if not ended.out:
            return _shorten(ended.error.removeprefix("error: "), folder)
        check = next(check for check in json.loads(ended.out)["checks"] if check["name"].startswith("model "))
        return "works" if check["state"] == "ok" else _shorten(check["found"], folder)
    if ended.code == 0 or (name == "plan" and ended.code == EXIT_NO_GO):
        return "works"
    return _shorten(ended.error.removeprefix("error: "), folder)


def _shorten(line: str, folder: Path) -> str:
    return line.replace(str(folder.resolve()), "FOLDER").replace(str(folder.parent), "…")


def prepare(root: Path) -> tuple[Path, Path]:
    """Record two short sessions of the bundled game and build a dataset; return (one session, the dataset)."""
    sessions, labeled = root / "sessions", root / "labeled"
    _must("vlm-agent", "record-demo", "--out", sessions, "--num-sessions", 2, "--minutes", 0.2)
    _must("label_segments.py", "--sessions", sessions, "--out", labeled, "--labeler", "game")
    # A random model writes answers of full length about every clip: a few seconds of play are enough for that.
    _must("vlm-agent", "record-demo", "--out", root / "short", "--num-sessions", 1, "--minutes", 0.05)
    return min((root / "short").glob("*.mcap")), labeled


def _must(*words: object) -> None:
    if (ended := type_line(*words)).code:
        raise SystemExit(ended.err)


def show(rows: dict[str, dict[str, str]]) -> str:
    """Return the table in Markdown; a line that several commands say is written once, below it."""
    notes: list[str] = []
    lines = [f"| checkpoint | {' | '.join(COMMANDS)} |", "| --- " * (len(COMMANDS) + 1) + "|"]
    for name, said in rows.items():
        cells = []
        for command in COMMANDS:
            text = said[command]
            if text != "works" and text not in notes:
                notes.append(text)
            cells.append("works" if text == "works" else f"({notes.index(text) + 1})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"({number}) {text}" for number, text in enumerate(notes, 1))])


def main() -> None:
    """Try the folders and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sources", type=Path, default=Path(__file__).parents[3] / "shared/data/checkpoints")
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--json", action="store_true", help="a line for each, as it is done")
    args = parser.parse_args()
    if not args.sources.is_dir():
        parser.error(f"{args.sources}: expected a folder with the small files of published checkpoints (--sources)")
    names = [name for name in PUBLISHED if args.only in name]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    rows: dict[str, dict[str, str]] = {}
    with (
        tempfile.TemporaryDirectory() as root,
        Progress(*columns, console=Console(stderr=True), redirect_stdout=False, redirect_stderr=False) as progress,
    ):
        session, dataset = prepare(Path(root))
        task = progress.add_task("checkpoints", total=len(names))
        for name in names:
            progress.update(task, description=name)
            folder = write_published(name, args.sources, Path(root) / "published" / name)
            rows[name] = try_checkpoint(folder, session, dataset, Path(root) / "out" / name)
            progress.advance(task)
            if args.json:
                sys.stdout.write(json.dumps({"checkpoint": name, **rows[name]}) + "\n")
                sys.stdout.flush()
    if not args.json:
        sys.stdout.write(show(rows) + "\n")


if __name__ == "__main__":
    main()
