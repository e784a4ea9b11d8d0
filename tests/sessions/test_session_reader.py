"""Reading: old schemas, untrusted references, order, and memory that does not grow with the session."""

from __future__ import annotations

import base64
import io
import json
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_sessions import MS, draw, write_session
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer
from PIL import Image

from vlm_agent.actions.events import ButtonChanged, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.errors import DataError
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.types import Excluded, RawMotion
from vlm_agent.sessions.writer import SessionWriter

Message = tuple[str, int, dict[str, Any]]


def write_foreign(path: Path, messages: list[Message], *, chunk_size: int = 1 << 20, **options: Any) -> Path:
    """Write messages as another recorder would, through the mcap library."""
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=chunk_size, **options)
        writer.start(profile="owa", library="mcap-owa-support 0.3.2; mcap 1.2.2")
        channels: dict[str, int] = {}
        for topic, t_ns, value in messages:
            if topic not in channels:
                schema = writer.register_schema(f"owa.env.desktop.msg.{topic}", "jsonschema", b"{}")
                channels[topic] = writer.register_channel(topic, "json", schema)
            writer.add_message(channels[topic], t_ns, json.dumps(value).encode(), t_ns)
        writer.finish()
    return path


def video_beside(folder: Path, name: str = "v.mkv") -> None:
    write_session(folder / "made", seconds=1)
    (folder / "made.mkv").rename(folder / name)
    (folder / "made.mcap").unlink()


@pytest.mark.parametrize(
    "screen",
    [
        {"path": "v.mkv", "pts": 300_000_000, "original_shape": [65, 47], "shape": [65, 47]},
        {"media_ref": {"type": "external_video", "path": "v.mkv", "pts_ns": 300_000_000}, "shape": [65, 47]},
        {"media_ref": {"uri": "v.mkv", "pts_ns": 300_000_000}, "source_shape": [65, 47], "shape": [65, 47]},
        {"media_ref": {"uri": "v.mkv", "pts_ns": 300_400_000}, "shape": [65, 47]},
    ],
    ids=["0.3 and 0.4", "0.5.0", "0.5.1 and later", "time before rounding"],
)
def test_every_shape_of_screen_message(tmp_path: Path, screen: dict[str, Any]) -> None:
    video_beside(tmp_path)
    path = write_foreign(tmp_path / "a.mcap", [("screen", 5, screen)])
    (frame,) = SessionReader(path).frames()
    assert frame.t_ns == 5
    assert np.abs(frame.rgb.astype(int) - draw(3, 65, 47)).mean() < 3


def test_a_screen_message_without_its_size_shows_the_whole_video(tmp_path: Path) -> None:
    video_beside(tmp_path)
    path = write_foreign(tmp_path / "a.mcap", [("screen", 5, {"media_ref": {"uri": "v.mkv", "pts_ns": 0}})])
    reader = SessionReader(path)
    assert reader.frame_size == (66, 48)
    assert next(reader.frames()).rgb.shape == (48, 66, 3)


def test_embedded_and_still_images(tmp_path: Path) -> None:
    rgb = draw(4, 40, 30)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "png")
    (tmp_path / "still.png").write_bytes(buffer.getvalue())
    embedded = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    path = write_foreign(
        tmp_path / "a.mcap",
        [("screen", t, {"media_ref": {"uri": uri}}) for t, uri in enumerate((embedded, "still.png"))],
    )
    for frame in SessionReader(path).frames():
        np.testing.assert_array_equal(frame.rgb, rgb)


def test_old_event_shapes_and_window_origin(tmp_path: Path) -> None:
    path = write_foreign(
        tmp_path / "a.mcap",
        [
            ("screen", 0, {"path": "v.mkv", "pts": 0, "shape": [100, 80]}),
            ("mouse", 1, {"event_type": "move", "x": 209, "y": 55}),
            ("window", 2, {"title": "other", "rect": [0, 0, 900, 700], "hWnd": 1}),
            ("window", 3, {"title": "game", "rect": [200, 50, 312, 136], "hWnd": 2}),
            ("mouse", 4, {"event_type": "click", "x": 206, "y": 50, "button": "left", "pressed": True}),
            ("mouse", 5, {"event_type": "scroll", "x": 207, "y": 51, "dx": 0, "dy": -1}),
            ("window", 6, {"title": "game", "rect": [300, 50, 412, 136], "hWnd": 2}),
            ("mouse", 7, {"event_type": "move", "x": 306, "y": 50}),
            ("keyboard", 8, {"event_type": "press", "vk": 65}),
            ("mouse/raw", 9, {"dx": 2, "dy": -3, "button_data": 1}),
            ("mouse/raw", 10, {"last_x": 20, "last_y": 30, "us_flags": 1}),
        ],
    )
    reader = SessionReader(path)
    # Before the game's window is told, another one has mouse and keyboard.
    assert reader.excluded == (Excluded(0, 3, "elsewhere"),)
    assert list(reader.events()) == [
        ButtonChanged(4, 0, 0, "left", True),
        WheelTurned(5, 1, 1, 0, -1),
        PointerMoved(7, 0, 0),
        KeyChanged(8, "a", True),
    ]
    assert list(reader.raw_motions()) == [RawMotion(9, 2, -3)]


@pytest.mark.parametrize(
    "uri",
    [
        "../v.mkv",
        "sub/../../v.mkv",
        "..\\v.mkv",
        "/etc/passwd",
        "C:\\v.mkv",
        "\\\\server\\v.mkv",
        "file:///etc/passwd",
        "http://127.0.0.1:9/v.mkv",
        "rtsp:x",
        "link/v.mkv",
        "",
    ],
)
def test_references_out_of_the_folder_are_refused(tmp_path: Path, uri: str) -> None:
    video_beside(tmp_path)
    folder = tmp_path / "session"
    folder.mkdir()
    (folder / "sub").mkdir()
    (folder / "link").symlink_to(tmp_path)
    path = write_foreign(folder / "a.mcap", [("screen", 0, {"media_ref": {"uri": uri, "pts_ns": 0}})])
    with pytest.raises(DataError, match="a frame refers to") as caught:
        list(SessionReader(path).frames())
    assert str(path) in str(caught.value)


def test_a_video_in_a_folder_below_is_read(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    video_beside(tmp_path / "media")
    path = write_foreign(tmp_path / "a.mcap", [("screen", 0, {"media_ref": {"uri": "media/v.mkv", "pts_ns": 0}})])
    assert len(list(SessionReader(path).frames())) == 1


def test_frames_at_gives_the_latest_frame_at_or_before(tmp_path: Path) -> None:
    reader = SessionReader(write_session(tmp_path / "a", seconds=6))
    everything = list(reader.frames())
    times = [0, 5, 99 * MS, 100 * MS, 100 * MS, 2_550 * MS, 2_999 * MS, 5_000 * MS, 5_900 * MS, 99_000 * MS]
    chosen = [0, 0, 0, 1, 1, 25, 29, 50, 59, 59]
    for frame, index in zip(reader.frames_at(times), chosen, strict=True):
        assert frame.t_ns == everything[index].t_ns
        np.testing.assert_array_equal(frame.rgb, everything[index].rgb)
    assert list(reader.frames_at([])) == []
    with pytest.raises(ValueError, match="must rise"):
        list(reader.frames_at([5, 4]))


SHOWN_MS = (*range(500, 1001, 100), *range(2000, 2501, 100))


@pytest.fixture(scope="module")
def holed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session whose screen was captured at `SHOWN_MS`."""
    with SessionWriter(tmp_path_factory.mktemp("holed") / "a", width_px=32, height_px=32, fps=10) as writer:
        for number, t_ms in enumerate(SHOWN_MS):
            writer.write_frame(t_ms * MS, np.full((32, 32, 3), 20 * number, np.uint8))
    return writer.path


@given(times_ms=st.lists(st.integers(0, 4000), max_size=12), age_ms=st.integers(0, 900))
@settings(max_examples=25)
def test_no_picture_is_shown_that_is_too_old(holed: Path, times_ms: list[int], age_ms: int) -> None:
    times_ms = sorted(times_ms)
    frames = SessionReader(holed).recent_frames_at((t_ms * MS for t_ms in times_ms), age_ms * MS)
    for t_ms, frame in zip(times_ms, frames, strict=True):
        recent = [place for place, shown_ms in enumerate(SHOWN_MS) if 0 <= t_ms - shown_ms <= age_ms]
        assert (frame is None) == (not recent)
        if frame is not None:
            assert frame.t_ns == SHOWN_MS[recent[-1]] * MS
            assert abs(int(frame.rgb[0, 0, 0]) - 20 * recent[-1]) <= 3


def test_frames_at_before_the_first_frame_is_one_line(tmp_path: Path) -> None:
    reader = SessionReader(write_session(tmp_path / "a", start_ns=100, seconds=1))
    with pytest.raises(DataError, match="no frame at or before 99 ns"):
        list(reader.frames_at([99]))


def test_frames_are_read_only(tmp_path: Path) -> None:
    frame = next(SessionReader(write_session(tmp_path / "a", seconds=1)).frames())
    with pytest.raises(ValueError, match="read-only"):
        frame.rgb[0, 0] = 0


@settings(max_examples=40, deadline=None)
@given(
    times=st.lists(st.integers(0, 60), max_size=60),
    chunk_size=st.sampled_from([60, 200, 1 << 20]),
    compression=st.sampled_from(list(CompressionType)),
    topics=st.sampled_from([None, frozenset({"a"}), frozenset({"b", "c"})]),
)
def test_order_is_that_of_the_mcap_library(
    tmp_path_factory: pytest.TempPathFactory,
    times: list[int],
    chunk_size: int,
    compression: CompressionType,
    topics: frozenset[str] | None,
) -> None:
    messages = [("abc"[n % 3], t_ns, {"n": n}) for n, t_ns in enumerate(times)]
    path = tmp_path_factory.mktemp("order") / "a.mcap"
    write_foreign(path, messages, chunk_size=chunk_size, compression=compression)
    with path.open("rb") as file:
        expected = [(m.log_time, m.data) for _, _, m in make_reader(file).iter_messages(topics=topics)]
    assert [(m.t_ns, m.data) for m in SessionReader(path).messages(topics)] == expected


def test_counts_without_statistics(tmp_path: Path) -> None:
    messages = [("keyboard", 9 - t, {"event_type": "press", "vk": 65}) for t in range(5)]
    path = write_foreign(tmp_path / "a.mcap", messages, use_statistics=False)
    info = SessionReader(path).info()
    assert (info.topics, info.start_ns, info.end_ns, info.frames) == ({"keyboard": 5}, 5, 9, 0)


@pytest.mark.parametrize(
    ("messages", "read", "complaint"),
    [
        ([("keyboard", 0, {"event_type": "press"})], "events", "'vk' must be an integer"),
        ([("keyboard", 0, {"event_type": "hold", "vk": 1})], "events", "'event_type' must be one of"),
        ([("mouse", 0, {"event_type": "move", "x": "1", "y": 0})], "events", "'x' must be an integer"),
        ([("mouse", 0, {"event_type": "click", "x": 1, "y": 0})], "events", "'button' must be a text"),
        ([("goal", 0, {"text": 1})], "goals", "needs a text"),
        (
            [("goal", 0, {"text": "a", "level": "long", "source": "game", "confidence": "x"})],
            "goals",
            "breaks the format",
        ),
        ([("screen", 0, {"utc_ns": 1})], "frames", "names no picture"),
        ([("screen", 0, {"media_ref": {"uri": "a"}, "shape": 3})], "frames", "breaks the format"),
        ([("screen", 0, {"media_ref": {"uri": "no.mkv", "pts_ns": 0}})], "frames", "is missing"),
        ([("screen", 0, {"media_ref": {"uri": "data:image/png;base64,AA"}})], "frames", "does not decode"),
        ([("gamestate", 0, [1])], "game_states", "not a JSON object"),  # type: ignore[list-item]
    ],
)
def test_malformed_messages_are_one_line_naming_the_file(
    tmp_path: Path, messages: list[Message], read: str, complaint: str
) -> None:
    path = write_foreign(tmp_path / "a.mcap", messages)
    with pytest.raises(DataError, match=complaint) as caught:
        list(getattr(SessionReader(path), read)())
    assert str(caught.value).startswith(str(path))


def test_missing_wrong_and_later_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.mcap").write_text("hello, this is no session at all")
    (tmp_path / "empty.mcap").write_bytes(b"")
    later = write_foreign(tmp_path / "later.mcap", [("session", 0, {"format": 99})])
    for path, complaint in (
        (tmp_path / "none.mcap", "does not exist"),
        (tmp_path, "is a folder"),
        (tmp_path / "text.mcap", "not an MCAP file"),
        (tmp_path / "empty.mcap", "ends too early"),
        (later, "newer than this program"),
    ):
        with pytest.raises(DataError, match=complaint) as caught:
            SessionReader(path)
        assert str(path) in str(caught.value)


def test_a_video_that_is_none_or_of_another_session_is_one_line(tmp_path: Path) -> None:
    path = write_session(tmp_path / "a", seconds=1)
    write_session(tmp_path / "b", seconds=1, fps=7)
    shutil.copy(tmp_path / "b.mkv", tmp_path / "a.mkv")
    with pytest.raises(DataError, match="no picture at"):
        list(SessionReader(path).frames())
    (tmp_path / "a.mkv").write_text("no video")
    with pytest.raises(DataError, match="structure is broken"):
        list(SessionReader(path).frames())
    foreign = write_foreign(tmp_path / "f.mcap", [("screen", 0, {"media_ref": {"uri": "a.mkv", "pts_ns": 0}})])
    with pytest.raises(DataError, match="not a readable video"):
        list(SessionReader(foreign).frames())


def _peak_bytes(reader: SessionReader) -> int:
    tracemalloc.start()
    for stream in (reader.events(), reader.game_states(), reader.goals(), reader.frames()):
        for _ in stream:
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_the_session(tmp_path: Path) -> None:
    sizes = {"short": 20, "long": 160}
    peaks = {}
    for name, seconds in sizes.items():
        path = write_session(tmp_path / name, seconds=seconds, fps=5, width_px=32, height_px=32)
        peaks[name] = _peak_bytes(SessionReader(path))
    # What grows is the table of where the video's pieces lie, about a hundred bytes a second; frames would be 15,000.
    assert (peaks["long"] - peaks["short"]) / (sizes["long"] - sizes["short"]) < 300


def test_a_writer_holds_half_a_second(tmp_path: Path) -> None:
    state = {"inventory": ["x" * 1000]}
    with SessionWriter(tmp_path / "a", width_px=32, height_px=32, fps=5) as writer:
        peaks = []
        for start_s in (0, 20):
            tracemalloc.start()
            for step in range(400):
                writer.write_game_state((start_s * 1000 + step * 50) * MS, state)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert max(peaks) < 400_000
