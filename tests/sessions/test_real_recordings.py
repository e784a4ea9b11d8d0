"""Two real recordings of another program, read fully; expected values come from PyAV and the mcap library directly."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from mcap.reader import make_reader

from vlm_agent.actions.events import KeyChanged
from vlm_agent.sessions.inspect import run_info, run_repair
from vlm_agent.sessions.reader import SessionReader

COUNTS = {
    "0.5.1": {"keyboard": 18, "keyboard/state": 3, "mouse": 124, "mouse/state": 3, "screen": 16, "window": 3},
    "0.4.2": {"keyboard": 22, "keyboard/state": 3, "mouse": 548, "mouse/state": 3, "screen": 32, "window": 3},
}
LEFT_NS = {"0.5.1": 1768131733633255600, "0.4.2": 1750433845438658200}
"""When the player went to another window, to stop the recorder there: the click beside the recorded window."""
SIZES = {"0.5.1": (1025, 1017), "0.4.2": (906, 578)}
SPANS = {
    "0.5.1": (1768131731033103300, 1768131733586400600),
    "0.4.2": (1750433842517597200, 1750433845346870100),
}


@pytest.fixture(params=sorted(COUNTS))
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(shared_data: Path, version: str) -> Path:
    return shared_data / "owamcap" / f"{version}.mcap"


def test_counts_and_times(path: Path, version: str) -> None:
    reader = SessionReader(path)
    info = reader.info()
    assert info.topics == COUNTS[version]
    assert info.frames == COUNTS[version]["screen"]
    assert (info.start_ns, info.end_ns) == SPANS[version]
    assert (info.width_px, info.height_px) == SIZES[version]
    with path.open("rb") as file:
        raw = [
            (channel.topic, message.log_time, message.data)
            for _, channel, message in make_reader(file).iter_messages()
            if message.log_time < LEFT_NS[version]
        ]
    assert Counter(topic for topic, *_ in raw) == info.topics
    assert [(m.channel.topic, m.t_ns, m.data) for m in reader.messages()] == raw
    screens = [t_ns for topic, t_ns, _ in raw if topic == "screen"]
    assert (info.first_frame_ns, info.last_frame_ns) == (screens[0], screens[-1])


def test_all_frames_are_those_of_the_video(path: Path, version: str) -> None:
    with path.open("rb") as file:
        messages = make_reader(file).iter_messages(topics=["screen"])
        screens = [json.loads(m.data) for _, _, m in messages if m.log_time < LEFT_NS[version]]
    with av.open(str(path.with_suffix(".mkv"))) as container:
        assert container.streams.video[0].codec_context.name == "hevc"
        pictures = {frame.pts: frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)}
    frames = list(SessionReader(path).frames())
    assert len(frames) == len(screens)
    width_px, height_px = SIZES[version]
    for frame, screen in zip(frames, screens, strict=True):
        pts_ns = screen["media_ref"]["pts_ns"] if "media_ref" in screen else screen["pts"]
        expected = pictures[round(pts_ns / 1e6)]
        assert frame.rgb.shape == (height_px, width_px, 3)
        np.testing.assert_array_equal(frame.rgb, expected[:height_px, :width_px])
    # A light editor window: measured once with PyAV alone, so that a change in all of the above would still show.
    means = {"0.5.1": (247.76, 247.73), "0.4.2": (246.92, 246.87)}[version]
    assert (frames[0].rgb.mean(), frames[-1].rgb.mean()) == pytest.approx(means, abs=0.05)


def test_events(path: Path, version: str) -> None:
    events = list(SessionReader(path).events())
    assert len(events) == COUNTS[version]["mouse"] + COUNTS[version]["keyboard"]
    assert [event.t_ns for event in events] == sorted(event.t_ns for event in events)
    typed = [event.key for event in events if isinstance(event, KeyChanged) and event.pressed]
    assert typed[:2] == ["t", "e"]
    assert typed[-2:] == {"0.5.1": ["x", "t"], "0.4.2": ["leftctrl", "s"]}[version]  # not the ctrl+c of a terminal
    assert all(event.t_ns < LEFT_NS[version] for event in events)


def test_frames_at_the_times_of_events(path: Path) -> None:
    reader = SessionReader(path)
    frames = list(reader.frames())
    times = [event.t_ns for event in reader.events() if event.t_ns >= frames[0].t_ns]
    found = {}
    for t_ns, frame in zip(times, reader.frames_at(times), strict=True):
        assert frame.t_ns == max(f.t_ns for f in frames if f.t_ns <= t_ns)
        found[frame.t_ns] = frame.rgb
    for frame in frames:
        if frame.t_ns in found:
            np.testing.assert_array_equal(frame.rgb, found[frame.t_ns])
    assert len(found) >= 5


def test_info_text_and_json(path: Path, version: str) -> None:
    found = json.loads(run_info(path, as_json=True))
    assert found["topics"] == COUNTS[version]
    assert found["frames"] == COUNTS[version]["screen"]
    assert found["duration_s"] == pytest.approx((SPANS[version][1] - SPANS[version][0]) / 1e9)
    text = run_info(path)
    assert str(COUNTS[version]["mouse"]) in text
    assert "{}x{}".format(*SIZES[version]) in text


def test_repair_finds_them_sound(path: Path) -> None:
    assert "nothing was written" in run_repair(path)
    assert not list(path.parent.glob("*repaired*"))
