"""`vlm-agent import PATH`: recordings of other programs, made into sessions.

All recordings at the path are written out of sight first and get their names together, so that an import that fails
leaves nothing, and one that was done is refused the second time.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vlm_agent.importing.options import ImportOptions, Kind, Source
from vlm_agent.importing.report import SessionReport, to_json

if TYPE_CHECKING:
    from vlm_agent.importing.session_files import Incoming

Advance = Callable[[float], None]
"""Told how many seconds of play were written."""


@dataclass(frozen=True, kw_only=True)
class ImportArgs(ImportOptions):
    """Make sessions of another program's recordings; a table says what was read, mended and left out."""

    path: tyro.conf.Positional[Path]
    """A recording, its folder, or a folder of such."""
    kind: Kind | None = None
    """What it is; by default found from what is in the files."""
    out: Path = Path("sessions")
    """Folder for the sessions."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""


def run(args: ImportArgs) -> list[SessionReport]:
    """Import, and print what became of every recording.

    Raises:
        ConfigError: the path holds several kinds, or an option can't be followed.
        DataError: there is no recording, one is damaged, or its session is there already.
    """
    from rich.progress import SpinnerColumn, TimeElapsedColumn

    from vlm_agent.importing.kinds import find_sources
    from vlm_agent.terminal import LineColumn, PlainConsole, make_bars

    columns = (
        SpinnerColumn(),
        LineColumn("{task.description}"),
        LineColumn("{task.completed:.0f} s"),
        TimeElapsedColumn(),
    )
    sources = find_sources(args.path, args.kind)
    shown = PlainConsole("error")
    with make_bars(*columns, console=shown, disable=not shown.is_terminal) as progress:
        task = progress.add_task(f"importing {len(sources)} recordings", total=None)
        reports = import_recordings(sources, args.out, args, lambda seconds: progress.advance(task, seconds))
    if args.as_json:
        sys.stdout.write(json.dumps(to_json(reports)) + "\n")
        return reports
    console = PlainConsole()
    for report in reports:
        console.print(report.to_table())
        for note in report.notes:
            console.print(f"note: {note}")
        console.print(report.out)
    return reports


def import_recordings(
    sources: list[Source], out: Path, options: ImportOptions, advance: Advance = lambda seconds: None
) -> list[SessionReport]:
    """Make a session of each recording, all or none, and return what became of them.

    Raises:
        ConfigError, DataError: see `run`.
    """
    from vlm_agent.importing.session_files import publish, refuse_existing, staging, write_session

    names = [source.session for source in sources]
    reports = []
    with staging(out) as folder:
        refuse_existing(out, names)
        for source in sources:
            report = SessionReport(source.session, source.kind, str(source.path), str(out / f"{source.session}.mcap"))
            incoming = open_source(source, options, report)
            write_session(folder / source.session, incoming, report, advance)
            reports.append(_tidy(report))
        publish(folder, out, names)
    return reports


def open_source(source: Source, options: ImportOptions, report: SessionReport) -> Incoming:
    """Return a recording, opened; raises as `run` does."""
    # Each kind brings libraries along; the others' aren't loaded.
    from vlm_agent.importing import ilbot, sima2

    if source.kind == "ilbot":
        return ilbot.open_recording(source, options, report)
    if source.kind == "sima2":
        return sima2.open_recording(source, options, report)
    from vlm_agent.importing import owamcap, vpt

    module = vpt if source.kind == "vpt" else owamcap
    return module.open_recording(source, options, report)


def _tidy(report: SessionReport) -> SessionReport:
    for counts in (report.read, report.repaired, report.kept, report.left_out):
        for reason in [reason for reason, count in counts.items() if not count]:
            del counts[reason]
    return report
