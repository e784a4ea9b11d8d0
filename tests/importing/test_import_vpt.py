"""VPT's ticks: what its own loader mends is mended, and each tick's input lies at its frame."""

from __future__ import annotations

import struct
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from tests.importing.made_imports import MS, import_one, picture, tick, write_ticks, write_video
from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.errors import DataError
from vlm_agent.importing.vpt import TICK_NS
from vlm_agent.sessions.types import RawMotion
from vlm_agent.sessions.upright import read_orientation, turn_upright

CENTRE = (64, 36)
TAP_NS = TICK_NS // 2


def events_of(tmp_path, ticks, **options):
    report, reader = import_one(write_ticks(tmp_path / "cheeky-1", ticks), tmp_path / "out", **options)
    return report, reader, list(reader.events())


def at(place):
    return place * TICK_NS


def test_keys_buttons_and_motion(tmp_path):
    report, reader, events = events_of(
        tmp_path,
        [
            tick(["w"], new_keys=["w"]),
            tick(["w", "left.shift"], new_keys=["left.shift"], dx=3.0, dy=-2.0),
            tick(["left.shift"], buttons=[1], new_buttons=[1]),
            tick(["left.shift"], buttons=[]),
        ],
    )
    assert events == [
        KeyChanged(at(0), "w", True),
        KeyChanged(at(1), "leftshift", True),
        KeyChanged(at(2), "w", False),
        ButtonChanged(at(2), *CENTRE, "right", True),
        ButtonChanged(at(3), *CENTRE, "right", False),
        KeyChanged(at(4), "leftshift", False),
    ]
    assert list(reader.raw_motions()) == [RawMotion(at(1), 3, -2)]
    assert report.repaired == {"let_go_at_the_end": 1}
    for number, frame in enumerate(reader.frames()):
        assert frame.t_ns == at(number)
        assert np.abs(frame.rgb.astype(int) - picture(number, (128, 72))).mean() < 8


def test_a_tap_within_a_tick_and_a_press_again(tmp_path):
    _, _, events = events_of(tmp_path, [tick(["w"], new_keys=["w", "e"]), tick(["w"], new_keys=["w"]), tick()])
    assert events == [
        KeyChanged(at(0), "e", True),
        KeyChanged(at(0), "w", True),
        KeyChanged(at(0) + TAP_NS, "e", False),
        KeyChanged(at(1), "w", False),
        KeyChanged(at(1), "w", True),
        KeyChanged(at(2), "w", False),
    ]


def test_attack_that_is_stuck_at_the_start(tmp_path):
    ticks = [
        tick(buttons=[0], new_buttons=[0]),
        tick(buttons=[0]),
        tick(buttons=[0, 1], new_buttons=[1]),
        tick(buttons=[0], new_buttons=[0]),
        tick(),
    ]
    report, _, events = events_of(tmp_path, ticks)
    assert [(event.t_ns, event.button, event.pressed) for event in events] == [
        (at(2), "right", True),
        (at(3), "right", False),
        (at(3), "left", True),
        (at(4), "left", False),
    ]
    assert report.repaired == {"attack_stuck_at_the_start": 3}


def test_attack_pressed_later_is_not_stuck(tmp_path):
    report, _, events = events_of(tmp_path, [tick(), tick(buttons=[0], new_buttons=[0]), tick()])
    assert [(event.t_ns, event.pressed) for event in events] == [(at(1), True), (at(2), False)]
    assert not report.repaired


def test_a_hotbar_change_without_a_key(tmp_path):
    ticks = [
        tick(hotbar=3),
        tick(hotbar=4),
        tick(["9"], new_keys=["9"], hotbar=8),
        tick(["9"], hotbar=8),
        tick(hotbar=7, dwheel=1.0),
    ]
    report, _, events = events_of(tmp_path, ticks)
    assert events == [
        KeyChanged(at(1), "5", True),
        KeyChanged(at(1) + TAP_NS, "5", False),
        KeyChanged(at(2), "9", True),
        WheelTurned(at(4), *CENTRE, 0, 1),
        KeyChanged(at(4), "9", False),
    ]
    assert report.repaired == {"hotbar_key_made_up": 1}


def test_the_pointer_of_a_menu(tmp_path):
    ticks = [
        tick(menu=True, x=320.0, y=180.0),
        tick(menu=True, x=640.0, y=700.0, dx=320.0, dy=520.0, buttons=[0], new_buttons=[0]),
        tick(),
    ]
    report, reader, events = events_of(tmp_path, ticks, recorder_version="6.9")
    assert events[:3] == [
        PointerMoved(at(0), 32, 18),
        PointerMoved(at(1), 64, 70),
        ButtonChanged(at(1), 64, 70, "left", True),
    ]
    assert list(reader.raw_motions()) == [RawMotion(at(1), 640, 1040)]
    assert report.decided["motion in menus"] == "times 2 (6.9)"


def test_ticks_without_input_stay_and_are_counted(tmp_path):
    report, reader, _ = events_of(tmp_path, [tick(["w"], new_keys=["w"]), *[tick() for _ in range(29)]])
    assert report.kept == {"tick_without_input": 29}
    assert report.read == {"frames": 30, "events": 2, "states": 3}
    states = list(reader.game_states())
    assert [t_ns for t_ns, _ in states] == [0, 600 * MS, 1200 * MS]
    assert states[0][1]["inventory"] == [{"type": "oak_log", "quantity": 3}]
    assert not {"mouse", "keyboard", "stats"} & states[0][1].keys()


def test_a_broken_line_keeps_its_frame_and_the_time_of_the_rest(tmp_path):
    log = write_ticks(tmp_path / "a", [tick(["w"]), tick(["w"]), tick(["w", "a"])])
    lines = log.read_bytes().splitlines()
    log.write_bytes(b"\n".join([lines[0], b'{"mouse": 3}', lines[2], b"x" * (1 << 21)]) + b"\n")
    write_video(log.with_suffix(".mp4"), 4)
    report, reader = import_one(log, tmp_path / "out")
    assert report.left_out == {"line_is_no_tick": 1, "line_too_long": 1}
    assert report.read["frames"] == 4
    assert list(reader.events())[1] == KeyChanged(at(2), "a", True)


def test_a_video_of_another_length(tmp_path):
    report, _ = import_one(write_ticks(tmp_path / "a", [tick(["w"])] * 5, frames=3), tmp_path / "out1")
    assert report.left_out == {"tick_without_frame": 2}
    report, _ = import_one(write_ticks(tmp_path / "b", [tick(["w"])] * 5, frames=7), tmp_path / "out2")
    assert report.left_out == {"frame_without_tick": 2}


def test_ticks_without_a_video(tmp_path):
    report, reader = import_one(write_ticks(tmp_path / "a", [tick(["w"])] * 5, frames=0), tmp_path / "out")
    assert len(list(reader.events())) == 2
    assert "no dataset" in report.notes[0]


def test_unknown_keys_and_buttons(tmp_path):
    report, _, events = events_of(tmp_path, [tick(["warp", "w"], buttons=[9, 1]), tick()])
    assert report.left_out == {"unknown_key_or_button": 2}
    assert len(events) == 4


def test_a_video_that_is_none_is_refused(tmp_path):
    log = write_ticks(tmp_path / "a", [tick(["w"])], frames=0)
    log.with_suffix(".mp4").write_text("#EXTM3U\n#EXTINF:1,\n/etc/hostname\n")
    with pytest.raises(DataError, match="no Matroska or MP4"):
        import_one(log, tmp_path / "out")
    log.with_suffix(".mp4").write_bytes(b"\0\0\0\x20ftypisom" + b"\0" * 100)
    with pytest.raises(DataError, match=r"readable video|no video track"):
        import_one(log, tmp_path / "out")


def test_a_video_of_an_unknown_codec_is_refused(tmp_path):
    log = write_ticks(tmp_path / "a", [tick(["w"])] * 3)
    data = log.with_suffix(".mp4").read_bytes()
    assert data.count(b"avc1") >= 1
    log.with_suffix(".mp4").write_bytes(data.replace(b"avc1", b"zzzz"))
    with pytest.raises(DataError, match="codec"):
        import_one(log, tmp_path / "out")


# Videos that tell their own times, and how they are to be turned.


def write_timed_video(path, times_ms, numbers=None, size=(128, 72)):
    """Write an MP4 whose frames are shown at some times; each is `picture(number)`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.thread_count = 1
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, ms in zip(numbers or range(len(times_ms)), times_ms, strict=True):
            frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")
            frame.pts, frame.time_base = ms, Fraction(1, 1000)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def shown(reader):
    """Of each frame its tick, and which picture it is."""
    found = []
    for frame in reader.frames():
        errors = [np.abs(frame.rgb.astype(int) - picture(number, (128, 72))).mean() for number in range(40)]
        found.append((frame.t_ns // TICK_NS, int(np.argmin(errors))))
    return found


@pytest.mark.parametrize(
    ("times_ms", "ticks", "places"),
    [
        ([50 * n for n in range(10)], 10, list(range(10))),
        ([0, 50, 100, 600, 650, 700], 16, [0, 1, 2, 12, 13, 14]),  # left out while nothing changed
        ([2 + 50 * n for n in range(12)], 13, list(range(12))),  # rounded by the container
        ([300 + 50 * n for n in range(6)], 14, list(range(6, 12))),  # begins late
        ([33 * n for n in range(10)], 10, list(range(10))),  # another rate, a frame for each line
        ([25 * n for n in range(20)], 10, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),  # twice as many
    ],
)
def test_a_frame_belongs_to_the_line_of_its_time(tmp_path, times_ms, ticks, places):
    log = write_ticks(tmp_path / "a", [tick(["w"])] * ticks, frames=0)
    write_timed_video(log.with_suffix(".mp4"), times_ms)
    report, reader = import_one(log, tmp_path / "out")
    found = shown(reader)
    assert [place for place, _ in found] == places
    if len(times_ms) == len(places):
        assert [number for _, number in found] == list(range(len(places)))
    else:
        left_out = report.left_out["frame_between_ticks"] + report.left_out["frame_without_tick"]
        assert left_out == len(times_ms) - len(places)
    assert len(list(reader.events())) == 2


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((1, 0, 0, 1), lambda rgb: rgb),
        ((0, 1, -1, 0), lambda rgb: np.rot90(rgb, -1)),
        ((0, -1, 1, 0), lambda rgb: np.rot90(rgb, 1)),
        ((-1, 0, 0, -1), lambda rgb: np.rot90(rgb, 2)),
        ((-1, 0, 0, 1), lambda rgb: rgb[:, ::-1]),
        ((1, 0, 0, -1), lambda rgb: rgb[::-1]),
        ((0, 1, 1, 0), lambda rgb: rgb.transpose(1, 0, 2)),
    ],
)
def test_pictures_are_turned_upright(matrix, turned):
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    np.testing.assert_array_equal(turn_upright(rgb, read_orientation(frame_with(matrix))), turned(rgb))


@pytest.mark.parametrize("matrix", [(0.7071, 0.7071, -0.7071, 0.7071), (0, 0, 0, 0), (1, 1, 1, 1), (2, 0, 0, 2)])
def test_pictures_at_an_angle_are_refused(matrix):
    with pytest.raises(DataError, match="multiple of 90"):
        read_orientation(frame_with(matrix))


def frame_with(matrix):
    a, b, c, d = (round(entry * 65536) for entry in matrix)
    data = struct.pack("<9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    side = type("Side", (bytes,), {"type": SimpleNamespace(name="DISPLAYMATRIX")})(data)
    return SimpleNamespace(side_data=[side])


def test_parts_of_a_notch_add_up(tmp_path):
    ticks = [tick(dwheel=turn) for turn in (0.5, 0.25, 0.25, -120.0, 0.75)]
    report, _, events = events_of(tmp_path, ticks)
    assert [(event.t_ns, event.dy) for event in events] == [(at(2), 1), (at(3), -1)]
    assert report.left_out["wheel_turned_less_than_a_notch"] == 1
