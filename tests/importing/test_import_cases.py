"""Small recordings that were once read wrongly without a word, through the real command: each gives what it must."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.line_support import type_line
from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.types import Excluded

MS = 1_000_000
START_NS = 1_724_769_000 * 10**9


@pytest.fixture
def cases(shared_data: Path, tmp_path, monkeypatch) -> Path:
    """The folder of the cases."""
    folder = shared_data.parent / "cases" / "import"
    if not folder.is_dir():
        pytest.skip("the cases (../shared/cases) are not part of this repository")
    monkeypatch.chdir(tmp_path)
    return folder


def import_case(path):
    ended = type_line("vlm-agent", "import", str(path), "--out", "out", "--json")
    assert ended.code == 0, ended.err
    [report] = json.loads(ended.out)["sessions"]
    return report, SessionReader(Path(report["out"]))


def refuse_case(path):
    ended = type_line("vlm-agent", "import", str(path), "--out", "out")
    assert ended.code == 2
    assert ended.err == f"{ended.error}\n"
    assert not Path("out").exists()
    return ended.error


def of_kind(reader, kind):
    return [event for event in reader.events() if isinstance(event, kind)]


def test_owa_scaled(cases):
    report, reader = import_case(cases / "owa_scaled")
    assert {(event.x, event.y) for event in of_kind(reader, ButtonChanged)} == {(160, 90), (30, 20)}
    assert {(event.x, event.y) for event in of_kind(reader, PointerMoved)} == {(150, 83)}
    assert report["decided"]["positions"] == "scaled from 1920x1080 to 320x180 pixels"


def test_owa_gap(cases):
    report, reader = import_case(cases / "owa_gap")
    assert report["left_out"] == {"input_while_another_window_was_active": 6}
    assert [(event.t_ns - START_NS) // MS for event in reader.events()] == [500, 580, 10_500, 10_580]
    assert {(event.x, event.y) for event in reader.events()} == {(160, 90)}
    assert reader.excluded == (Excluded(START_NS + 2000 * MS, START_NS + 9500 * MS, "elsewhere"),)


def test_owa_rawonly(cases):
    report, reader = import_case(cases / "owa_rawonly")
    buttons, wheels = of_kind(reader, ButtonChanged), of_kind(reader, WheelTurned)
    assert [event.pressed for event in buttons] == [True, False] * 5
    assert [(event.dx, event.dy) for event in wheels] == [(0, 1)] * 5
    assert report["read"]["raw_motions"] == 5
    assert "raw messages" in report["decided"]["buttons and wheel"]


def test_owa_jump(cases):
    assert "clock was set back by 2.950 s" in refuse_case(cases / "owa_jump")


def test_owa_wheel120(cases):
    report, reader = import_case(cases / "owa_wheel120")
    assert sorted(event.dy for event in of_kind(reader, WheelTurned)) == [-1] * 5 + [1] * 2
    assert report["left_out"] == {"wheel_turned_less_than_a_notch": 1}


def test_excel(cases):
    assert "lost their last digits, as '1.72477E+12'" in refuse_case(cases / "csv_excel_e12")


@pytest.mark.parametrize("name", ["semicolon", "tabs", "quoted_decimal", "utf16", "cr_only"])
def test_csv_of_any_form(cases, name):
    report, reader = import_case(cases / f"csv_{name}")
    assert not report["left_out"]
    assert report["read"] == {"events": 92}
    events = list(reader.events())
    assert events[0] == PointerMoved(events[0].t_ns, 100, 50)
    assert math.isclose(events[0].t_ns, START_NS + 123 * MS, abs_tol=1000)
    moves = of_kind(reader, PointerMoved)
    assert [(move.x, move.y) for move in moves] == [(100 + n, 50 + n) for n in range(60)]
    assert {round((after.t_ns - before.t_ns) / MS) for before, after in pairwise(moves)} == {200}
    for kind in (ButtonChanged, KeyChanged):
        assert [event.pressed for event in of_kind(reader, kind)] == [True, False] * (len(of_kind(reader, kind)) // 2)


def test_session_zip(cases):
    error = refuse_case(cases / "session.zip")
    assert "a ZIP archive: unpack it (unzip" in error
    assert error.endswith("-d session) and import what comes out")


def test_csv_german_quote(cases):
    report, reader = import_case(cases / "csv_german_quote")
    keys = [(event.key, event.pressed) for event in of_kind(reader, KeyChanged)]
    assert keys == [("shift", True), ("2", True), ("shift", False), ("2", False)]
    assert not report["repaired"]


def test_csv_sparse_seconds_press(cases):
    report, reader = import_case(cases / "csv_sparse_seconds_press")
    presses = [event.t_ns / 1e9 for event in of_kind(reader, ButtonChanged) if event.pressed]
    assert (len(presses), presses[0], presses[-1]) == (40, 3.482, 96.333)
    assert report["decided"]["times"] == "s since a beginning of its own"


def test_csv_high_res_wheel(cases):
    report, reader = import_case(cases / "csv_high_res_wheel")
    turns = [((event.t_ns - START_NS) // MS, event.dy) for event in of_kind(reader, WheelTurned)]
    assert turns == [(123, 1), (173, 1), (223, -1), (423, 1), (523, -1), (923, 1)]
    assert not report["left_out"]


def test_csv_dst_back(cases):
    error = refuse_case(cases / "csv_dst_back")
    assert "step back by 3599.800 s at line 48" in error
    assert "head -n 47" in error


def pictures_of(reader):
    return {frame.t_ns // (50 * MS): frame.rgb.astype(int) for frame in reader.frames()}


def test_vpt_pictures_by_their_time(cases, tmp_path):
    _, whole = import_case(cases / "vpt_whole")
    expected = pictures_of(whole)
    assert sorted(expected) == list(range(100))
    (tmp_path / "out").rename(tmp_path / "whole")
    report, reader = import_case(cases / "vpt_vfr")
    found = pictures_of(reader)
    assert sorted(found) == [*range(10), *range(40, 100)]
    for place, rgb in list(found.items())[::5]:
        assert np.abs(rgb - expected[place]).mean() < 2
    assert report["kept"]["tick_without_a_picture_of_its_own"] == 30
    (tmp_path / "out").rename(tmp_path / "vfr")
    report, reader = import_case(cases / "vpt_rotated")
    assert reader.frame_size == (180, 320)
    assert report["repaired"]["picture_turned_upright"] == 100
    for place, rgb in list(pictures_of(reader).items())[::10]:
        assert np.abs(rgb - np.rot90(expected[place], -1)).mean() < 3
