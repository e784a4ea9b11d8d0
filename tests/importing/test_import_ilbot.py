"""IL_bot's logs: each of their traps, one by one, and the real log."""

from __future__ import annotations

import pytest

from tests.importing.made_imports import (
    COLUMNS_3_CLOCKS,
    COLUMNS_8,
    COLUMNS_10,
    EPOCH_MS,
    MS,
    WIDTH_PX,
    import_one,
    row,
    write_log,
    write_tree,
)
from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.errors import ConfigError
from vlm_agent.importing.ilbot_events import BUTTON_LOST_NS, HOLD_NS
from vlm_agent.importing.ilbot_rows import sort_rows

START_NS = EPOCH_MS * MS


def events_of(tmp_path, rows, columns=COLUMNS_10, **options):
    """Import a log alone; return its report and its events."""
    report, reader = import_one(write_log(tmp_path / "tree", rows, columns), tmp_path / "out", **options)
    return report, list(reader.events())


def clicks(times_ms, x=10, y=20):
    return [row(EPOCH_MS + ms, "click", x, y, btn="left") for ms in times_ms]


# The real log.


def test_the_real_log(shared_data, tmp_path):
    report, reader = import_one(shared_data / "ilbot" / "actions.csv", tmp_path)
    lines = (shared_data / "ilbot" / "actions.csv").read_text().splitlines()[1:]
    events = list(reader.events())
    assert len(lines) == 158
    assert report.left_out == {"duplicate": 2}  # two lines of the log stand in it twice
    assert report.repaired == {"release_made_up": 1}
    assert report.read == {"events": 157}
    told = {(float(line.split(",")[0]) * MS, *map(int, line.split(",")[2:4])) for line in lines}
    assert {(event.t_ns, event.x, event.y) for event in events[:-1]} == told
    assert events[0] == PointerMoved(16_776 * MS, 907, 402)
    assert events[-2:] == [
        ButtonChanged(18_711 * MS, 2739, 1070, "left", True),
        ButtonChanged(18_711 * MS + HOLD_NS, 2739, 1070, "left", False),
    ]
    assert max(event.x for event in events) == 2835  # beyond any frame's edge as it is, never moved to it
    assert report.decided["times"] == "ms since a beginning of its own"
    assert "no dataset can be made" in report.notes[0]


# The forms of a log.


@pytest.mark.parametrize("columns", [COLUMNS_8, COLUMNS_10, COLUMNS_3_CLOCKS], ids=["8", "10", "3 clocks"])
def test_columns(tmp_path, columns):
    rows = [row(EPOCH_MS, "move", 3, 4), row(EPOCH_MS + 5, "scroll", 3, 4, scroll_dx=1, scroll_dy=-2)]
    if columns is COLUMNS_3_CLOCKS:
        rows = [{**one, "timestamp": 7, "t_session_ms": 7, "timestamp_abs_ms": one["timestamp"]} for one in rows]
    report, events = events_of(tmp_path, rows, columns)
    assert events == [PointerMoved(START_NS, 3, 4), WheelTurned(START_NS + 5 * MS, 3, 4, 1, -2)]
    dated_by = "timestamp_abs_ms" if columns is COLUMNS_3_CLOCKS else "timestamp"
    assert report.decided["form"] == f"{len(columns)} columns, dated by {dated_by}"


def test_columns_in_another_order_and_a_mark_at_the_start(tmp_path):
    path = write_log(tmp_path / "tree", [row(EPOCH_MS, "move", 3, 4)], tuple(reversed(COLUMNS_8)))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert list(import_one(path, tmp_path / "out")[1].events()) == [PointerMoved(START_NS, 3, 4)]


@pytest.mark.parametrize(
    ("times", "first_ns", "said"),
    [
        ((EPOCH_MS, EPOCH_MS + 10), START_NS, "ms since 1970"),
        ((f"{EPOCH_MS}.0", f"{EPOCH_MS + 10}.0"), START_NS, "ms since 1970"),
        ((EPOCH_MS / 1000, EPOCH_MS / 1000 + 0.01), START_NS, "s since 1970"),
        ((EPOCH_MS * 1000, EPOCH_MS * 1000 + 10_000), START_NS, "us since 1970"),
        ((START_NS + 1, START_NS + 1 + 10 * MS), START_NS + 1, "ns since 1970"),
        (("16776.0", "16786.0"), 16_776 * MS, "ms since a beginning of its own"),
        (("16776.25", "16787.5"), 16_776_250_000, "ms since a beginning of its own"),
        ((16.776, 16.787), 16_776 * MS, "s since a beginning of its own"),
        ((0.0, 0.013), 0, "s since a beginning of its own"),
    ],
)
def test_what_times_count(tmp_path, times, first_ns, said):
    report, events = events_of(tmp_path, [row(time, "move", 1, number) for number, time in enumerate(times)])
    assert abs(events[0].t_ns - first_ns) < 1000  # seconds as a float are a quarter of a microsecond apart
    assert 10 * MS - 1000 <= events[1].t_ns - events[0].t_ns <= 13 * MS + 1000
    assert report.decided["times"] == said


def test_the_user_says_what_times_count(tmp_path):
    _, events = events_of(tmp_path, [row(5, "move", 1, 1), row(7, "move", 1, 2)], time_unit="s")
    assert [event.t_ns for event in events] == [5 * 10**9, 7 * 10**9]


# What `click` means.


def test_clicks_that_are_presses_only(tmp_path):
    report, events = events_of(tmp_path, clicks([0, 700, 1500, 2600]))
    assert report.decided["clicks"] == "presses only"
    assert [event.pressed for event in events] == [True, False] * 4
    assert events[1].t_ns - events[0].t_ns == HOLD_NS
    assert report.repaired == {"release_made_up": 4}


def test_clicks_that_are_presses_and_releases(tmp_path):
    report, events = events_of(tmp_path, clicks([0, 85, 700, 790, 1500, 1580]))
    assert report.decided["clicks"] == "a press and then a release"
    assert [(event.t_ns - START_NS, event.pressed) for event in events[:3]] == [
        (0, True),
        (85 * MS, False),
        (700 * MS, True),
    ]
    assert not report.repaired


def test_quick_even_clicking_is_presses(tmp_path):
    report, events = events_of(tmp_path, clicks(range(0, 3000, 250)))
    assert report.decided["clicks"] == "presses only"
    assert len(events) == 24


def test_a_made_up_release_never_comes_after_the_next_press(tmp_path):
    _, events = events_of(tmp_path, clicks([0, 50, 2000]), clicks="press")
    assert [(event.t_ns - START_NS, event.pressed) for event in events[:3]] == [
        (0, True),
        (50 * MS, False),
        (50 * MS, True),
    ]


def test_the_user_says_what_clicks_mean(tmp_path):
    _, events = events_of(tmp_path, clicks([0, 700]), clicks="both")
    assert [event.pressed for event in events] == [True, False]


def test_equal_clicks_at_one_time_are_a_press_and_its_release(tmp_path):
    report, events = events_of(tmp_path, clicks([0, 0, 900, 980, 1900, 1990]))
    assert [event.pressed for event in events] == [True, False] * 3
    assert not report.left_out


# Missing releases.


def test_a_lost_button_release(tmp_path):
    lost_ms = BUTTON_LOST_NS // MS + 1000
    report, events = events_of(tmp_path, clicks([0, lost_ms, lost_ms + 90]), clicks="both")
    assert [event.pressed for event in events] == [True, False, True, False]
    assert report.repaired == {"lost_button_release": 1}


def test_a_lost_key_release_and_a_repeat(tmp_path):
    rows = [row(EPOCH_MS + ms, "key_press", 0, 0, key="w") for ms in (0, 500, 533, 4000)]
    report, events = events_of(tmp_path, rows)
    assert [event.pressed for event in events] == [True, True, True, False, True, False]
    assert report.repaired == {"lost_key_release": 1, "let_go_at_the_end": 1}
    assert report.kept == {"key_repeat": 2}


def test_what_is_down_at_the_end_is_let_go_and_an_early_release_stays(tmp_path):
    rows = [row(EPOCH_MS, "key_release", key="a"), *clicks([10, 20 + 60, 500]), row(EPOCH_MS + 900, "move", 1, 1)]
    report, events = events_of(tmp_path, rows, clicks="both")
    assert events[0] == KeyChanged(START_NS, "a", False)
    assert events[-1] == ButtonChanged(START_NS + 900 * MS, 10, 20, "left", False)
    assert report.kept == {"release_without_press": 1}
    assert report.repaired == {"let_go_at_the_end": 1}


# Names.


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("w", "w"),
        ("W", "w"),
        ("!", "1"),
        ('"', "apostrophe"),
        (",", "comma"),
        (" ", "space"),
        ("space", "space"),
        ("Key.esc", "escape"),
        ("esc", "escape"),
        ("ctrl_l", "leftctrl"),
        ("ctrl_r", "rightctrl"),
        ("shift_l", "leftshift"),
        ("alt_l", "leftalt"),
        ("alt_r", "rightalt"),
        ("cmd", "leftmeta"),
        ("cmd_r", "rightmeta"),
        ("return", "enter"),
        ("page_down", "pagedown"),
        ("num_lock", "numlock"),
        ("scroll_lock", "scrolllock"),
        ("print_screen", "printscreen"),
        ("shift", "shift"),
        ("shift_r", "rightshift"),
        ("alt_gr", "rightalt"),
        ("page_up", "pageup"),
        ("caps_lock", "capslock"),
        ("left", "left"),
        ("f12", "f12"),
        ("'a'", "a"),
        ("\x01", "a"),
        ("<96>", "numpad_0"),
        ("<173>", "vk_173"),
    ],
)
def test_key_names(tmp_path, written, key):
    _, events = events_of(
        tmp_path, [row(EPOCH_MS + n, kind, key=written) for n, kind in enumerate(("key_press", "key_release"))]
    )
    assert [(event.key, event.pressed) for event in events] == [(key, True), (key, False)]


@pytest.mark.parametrize(
    ("written", "button"),
    [
        ("left", "left"),
        ("Button.right", "right"),
        ("MIDDLE", "middle"),
        ("x1", "x1"),
        ("button9", "x2"),
        ("3", "middle"),
    ],
)
def test_button_names(tmp_path, written, button):
    _, events = events_of(tmp_path, [row(EPOCH_MS, "click", 1, 2, btn=written)])
    assert {event.button for event in events} == {button}


# What is left out, and what stays.


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row("", "move", 1, 2), "no_time"),
        (row("nan", "move", 1, 2), "no_time"),
        (row("soon", "move", 1, 2), "malformed_line"),
        (row(-5, "move", 1, 2), "impossible_time"),
        (row("1e300", "move", 1, 2), "impossible_time"),
        (row("9" * 40, "move", 1, 2), "impossible_time"),
        (row(EPOCH_MS, "move", "nan", 2), "no_position"),
        (row(EPOCH_MS, "click", 1, "", btn="left"), "no_position"),
        (row(EPOCH_MS, "move", 10**7, 2), "number_too_large"),
        (row(EPOCH_MS, "hover", 1, 2), "unknown_event_type"),
        (row(EPOCH_MS, "click", 1, 2, btn="nan"), "no_button"),
        (row(EPOCH_MS, "click", 1, 2, btn="seventh"), "unknown_button"),
        (row(EPOCH_MS, "key_press", key="nan"), "no_key"),
        (row(EPOCH_MS, "key_press", key="None"), "no_key"),
        (row(EPOCH_MS, "key_press", key="é"), "unknown_key"),
        (row(EPOCH_MS, "key_press", key="media_volume_up"), "unknown_key"),
        (row(EPOCH_MS, "scroll", 1, 2), "scroll_of_nothing"),
        (row(EPOCH_MS, "scroll", 1, 2, scroll_dy=10**6), "number_too_large"),
        (row("timestamp", "event_type", "x_in_window", "y_in_window"), "header_again"),
    ],
)
def test_a_bad_row_is_left_out_and_counted(tmp_path, bad, reason):
    good = [row(EPOCH_MS + ms, "move", 1, ms) for ms in (0, 10, 20)]
    report, events = events_of(tmp_path, [*good[:2], bad, good[2]])
    assert len(events) == 3
    assert report.left_out == {reason: 1}


@pytest.mark.parametrize("line", ["1,2", "x" * 10_000, "\xff\xfe", '1724769000020,move,"1,2,,,0,0', ",".join("1" * 30)])
def test_a_broken_line_is_left_out_and_counted(tmp_path, line):
    path = write_log(tmp_path / "tree", [row(EPOCH_MS, "move", 1, 2), row(EPOCH_MS + 10, "move", 3, 4)])
    first, second, third = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([first, second, line.encode("latin-1"), third]) + b"\n\n")
    report, reader = import_one(path, tmp_path / "out")
    assert len(list(reader.events())) == 2
    assert sum(report.left_out.values()) == 1
    assert set(report.left_out) <= {"malformed_line", "line_too_long"}


def test_rows_with_fractions_and_empty_wheels(tmp_path):
    _, events = events_of(
        tmp_path, [row(EPOCH_MS, "move", "3.0", "4.6"), row(EPOCH_MS, "scroll", 1, 1, scroll_dx="nan", scroll_dy="2.0")]
    )
    assert events == [PointerMoved(START_NS, 3, 5), WheelTurned(START_NS, 1, 1, 0, 2)]


def test_duplicates_turns_and_order(tmp_path):
    rows = [
        row(EPOCH_MS + 20, "move", 2, 2),
        row(EPOCH_MS + 10, "move", 1, 1),
        row(EPOCH_MS + 10, "key_press", key="b"),
        row(EPOCH_MS + 10, "key_press", key="b"),
        row(EPOCH_MS + 10, "key_release", key="b"),
        row(EPOCH_MS + 20, "move", 2, 2),
        row(EPOCH_MS + 30, "scroll", 2, 2, scroll_dy=1),
        row(EPOCH_MS + 30, "scroll", 2, 2, scroll_dy=1),
    ]
    report, events = events_of(tmp_path, rows)
    at = START_NS + 10 * MS
    assert events[:3] == [PointerMoved(at, 1, 1), KeyChanged(at, "b", True), KeyChanged(at, "b", False)]
    assert [type(event) for event in events[3:]] == [PointerMoved, WheelTurned, WheelTurned]
    assert report.left_out == {"duplicate": 2}
    assert report.repaired == {"put_in_order": 3}


def test_a_row_too_far_behind_is_left_out():
    given = list(sort_rows(((t, None) for t in [5, 6, 7, 8, 1, 9]), reorder_rows=2))
    assert [(one.t_ns, one.is_late) for one in given] == [
        (5, False),
        (6, False),
        (1, True),
        (7, False),
        (8, False),
        (9, False),
    ]


def test_positions_outside_the_frame_stay(tmp_path):
    tree = write_tree(tmp_path / "tree", [row(EPOCH_MS, "move", -7, 3), row(EPOCH_MS + 50, "move", WIDTH_PX, 3)])
    report, reader = import_one(tree, tmp_path / "out")
    assert [(event.x, event.y) for event in reader.events()] == [(-7, 3), (WIDTH_PX, 3)]
    assert report.kept["position_outside_the_frame"] == 2


def test_a_time_a_day_later_is_left_out(tmp_path):
    rows = [row(EPOCH_MS + ms, "move", 1, 1) for ms in (0, 10, 10**9)]
    report, events = events_of(tmp_path, rows)
    assert len(events) == 2
    assert report.left_out == {"more_than_24_hours_from_the_rest": 1}


def test_a_first_time_that_is_the_wrong_one_is_left_out(tmp_path):
    rows = [row(EPOCH_MS + ms, "move", 1, 1) for ms in (-(10**9), 0, 10)]
    report, events = events_of(tmp_path, rows)
    assert len(events) == 2
    assert report.left_out == {"more_than_24_hours_from_the_rest": 1}


# The y of clicks.


def shifted(shift_px, count=6):
    rows = []
    for number in range(count):
        ms = EPOCH_MS + number * 1000
        rows += [row(ms, "move", 30, 20 + number), row(ms + 40, "click", 30, 20 + number + shift_px, btn="left")]
    return rows


def test_a_click_beside_the_pointer_is_noticed_and_mended(tmp_path):
    report, events = events_of(tmp_path, shifted(120))
    assert report.kept["click_beside_the_pointer"] == 6
    assert "--fix-y-offset" in report.notes[0]
    assert events[1].y == 140
    report, reader = import_one(tmp_path / "tree", tmp_path / "mended", fix_y_offset=True)
    events = list(reader.events())
    assert [event.y for event in events[:3]] == [20, 20, 20]
    assert report.decided["y of clicks"] == "-120 px"
    assert report.repaired["click_moved_to_the_pointer"] == 6


def test_a_sound_log_is_not_suspected(tmp_path):
    report, _ = events_of(tmp_path, shifted(0))
    assert "click_beside_the_pointer" not in report.kept


def test_nothing_to_measure_is_said(tmp_path):
    with pytest.raises(ConfigError, match="--fix-y-offset measures"):
        events_of(tmp_path, clicks([0, 1000]), fix_y_offset=True)
    assert not (tmp_path / "out").exists()
