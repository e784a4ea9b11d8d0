"""The texts of `vlm-agent info` and `vlm-agent repair`: reading and repairing, told in a few lines or as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.repair import repair
from vlm_agent.sessions.types import RepairReport, SessionInfo
from vlm_agent.visible import one_line

_YEAR_2000_NS = 946_684_800 * 10**9


def info(path: Path) -> SessionInfo:
    """Return what a session holds, counted.

    Raises:
        DataError: If it can't be read.
    """
    return SessionReader(path).info()


def run_info(path: Path, *, as_json: bool = False) -> str:
    """Return the text of `vlm-agent info FILE [--json]`.

    Raises:
        DataError: If the session can't be read.
    """
    reader = SessionReader(path)
    found = reader.info()
    if as_json:
        return json.dumps({**found.to_json(), "meta": reader.meta})
    size = f"{found.width_px}x{found.height_px}" if found.width_px else "no frames"
    lines = {
        "session": found.path,
        "written by": found.library,
        "start": _clock(found.start_ns),
        "duration": f"{found.duration_s:.3f} s",
        "frames": f"{found.frames} ({size}{', ' + found.video if found.video else ''})",
    }
    counts = {f"  {topic}": str(count) for topic, count in found.topics.items()}
    return _align({**lines, "topics": str(len(counts)), **counts})


def run_repair(path: Path, out: Path | None = None, *, as_json: bool = False) -> str:
    """Return the text of `vlm-agent repair FILE [--out FILE] [--json]`, after repairing.

    Raises:
        DataError: If nothing can be saved, or the result can't be written.
    """
    report = repair(path, out)
    return json.dumps(report.to_json()) if as_json else _align(_describe(report))


def _describe(report: RepairReport) -> dict[str, Any]:
    return {
        "session": report.source,
        "found": report.reason,
        "written": report.out or "nothing",
        "recovered": f"{report.messages} messages in {report.chunks} chunks, {report.frames} frames",
        "lost": f"{report.bytes_lost} bytes of messages, {report.video_bytes_lost} bytes of video, "
        f"{report.messages_dropped} screen messages without their frame",
    }


def _align(lines: dict[str, Any]) -> str:
    width = max(map(len, lines))
    return "\n".join(f"{one_line(name):<{width}}  {one_line(value)}" for name, value in lines.items())


def _clock(t_ns: int) -> str:
    # A simulated game's clock starts at 0; a date in 1970 would only puzzle.
    if t_ns < _YEAR_2000_NS:
        return f"{t_ns / 1e9:.3f} s on the game's clock"
    return datetime.fromtimestamp(t_ns / 1e9, UTC).isoformat(timespec="milliseconds")
