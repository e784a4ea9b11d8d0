"""What `vlm-agent info` and `vlm-agent repair` say of a session."""

from __future__ import annotations

import json
from pathlib import Path

from made_sessions import MS, draw, write_session

from vlm_agent.sessions.appending import part_path
from vlm_agent.sessions.inspect import run_info, run_repair
from vlm_agent.sessions.writer import SessionWriter


def read_lines(text: str) -> dict[str, str]:
    """Name -> value; the topics' counts are indented, and `session` is one of them."""
    pairs = (line.rsplit("  ", 1) for line in text.splitlines())
    return {name.rstrip(): value for name, value in pairs}


def test_info_tells_when_how_long_and_how_much(tmp_path: Path) -> None:
    path = write_session(tmp_path / "a", seconds=2, start_ns=1_700_000_000_123_000_000)
    told = read_lines(run_info(path))
    assert told["session"] == str(path)
    assert told["start"] == "2023-11-14T22:13:20.123+00:00"
    assert told["duration"] == "1.903 s"
    assert told["frames"] == "20 (65x47, a.mkv)"
    assert told["  mouse"] == "60"
    assert json.loads(run_info(path, as_json=True))["meta"] == {"game": "test", "seed": 7}


def test_a_games_clock_is_no_date_and_a_session_may_have_no_frames(tmp_path: Path) -> None:
    with SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10) as writer:
        writer.write_control(2_000_000_500 * MS, "human")
    told = read_lines(run_info(writer.path))
    assert told["start"] == "2000000.500 s on the game's clock"
    assert told["frames"] == "0 (32x32)"


def test_repair_tells_what_was_saved_and_what_is_lost(tmp_path: Path) -> None:
    writer = SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=10)
    for step in range(10):
        writer.write_frame(step * 100 * MS, draw(step, 32, 32))
    writer.flush()
    part = part_path(writer.path)
    part.write_bytes(part.read_bytes() + b"cut off")
    told = read_lines(run_repair(part))
    assert told["found"] == "the recording was not finished"
    assert told["written"] == str(tmp_path / "a.mcap")
    assert told["recovered"].endswith("in 2 chunks, 10 frames")
    assert told["lost"] == "7 bytes of messages, 0 bytes of video, 0 screen messages without their frame"
