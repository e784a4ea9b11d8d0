"""What is read of a session, and the spec that sessions share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recorded_play import MS, SPEC, click_events, record_play

from vlm_agent.actions.events import ButtonChanged, KeyChanged
from vlm_agent.dataset.recordings import choose_spec, read_recording
from vlm_agent.errors import DataError
from vlm_agent.sessions.types import Excluded
from vlm_agent.sessions.writer import SessionWriter


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Two seconds at 300 ms a horizon, with a hole, and with keys and buttons of no game's."""
    stem = tmp_path_factory.mktemp("recording") / "mine"
    with SessionWriter(stem, width_px=64, height_px=48, fps=5) as writer:
        for t_ms in range(100, 2000, 200):
            writer.write_frame(t_ms * MS, np.full((48, 64, 3), t_ms // 10, np.uint8))
        for key in ("z", "b"):
            writer.write_event(KeyChanged(300 * MS, key, True))
        for event in click_events(1500, 5, 5):
            writer.write_event(event)
        writer.write_event(ButtonChanged(1980 * MS, 5, 5, "middle", True))
        writer.write_excluded(Excluded(500 * MS, 900 * MS, "paused"))
    return read_recording(stem.with_suffix(".mcap"), 300)


def test_a_recording_ends_behind_the_last_that_was_written(recording):
    assert (recording.session, recording.start_ns, recording.stop_ns) == ("mine", 100 * MS, 1980 * MS + 1)
    assert recording.duration_s == pytest.approx(1.88)
    assert list(recording.input_times_ns) == [300 * MS, 300 * MS, 1500 * MS, 1520 * MS, 1600 * MS, 1980 * MS]
    assert recording.excluded_ns == ((500 * MS, 900 * MS),)
    assert recording.first_frame_ns == 100 * MS


def test_ticks_come_once_a_horizon_of_the_game_or_as_asked(recording, tmp_path):
    assert set(np.diff(recording.ticks_ns)) == {300 * MS}
    path = record_play(tmp_path / "game", seconds=2, spec=replace(SPEC, horizon_ms=400), states=False)
    assert set(np.diff(read_recording(path, 600).ticks_ns)) == {400 * MS}


def test_without_a_games_spec_the_largest_frame_and_all_that_was_pressed_count(recording):
    wide = replace(recording, width_px=200, keys=frozenset({"m"}), buttons=frozenset())
    high = replace(recording, height_px=300, keys=frozenset(), buttons=frozenset({"right"}))
    spec = choose_spec([recording, wide, high], 450)
    assert (spec.extent_width, spec.extent_height, spec.horizon_ms) == (200, 300, 450)
    assert spec.keys == ("b", "m", "z")
    assert spec.buttons == ("left", "right", "middle")


def test_a_games_own_spec_counts_over_the_largest_frame_and_not_beside_none(recording):
    games = [replace(recording, spec=SPEC, width_px=width) for width in (96, 500)]
    assert choose_spec(games, 600) == SPEC.with_extent(500, 48)
    with pytest.raises(DataError, match="different action specs"):
        choose_spec([*games, recording], 600)
