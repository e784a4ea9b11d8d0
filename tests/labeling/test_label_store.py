"""Label files: whole or not at all, reused where they still fit, and broken ones named."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from labeling.store import Label, LabelStore
from vlm_agent.clips import Clip, LabeledClip
from vlm_agent.errors import DataError
from vlm_agent.sessions.types import Goal

LABEL = Label(0, 1000, "open the bank", "model", 0.5, "m+1", recording="r1")


def test_what_is_written_is_read_in_order_of_time(tmp_path):
    store = LabelStore(tmp_path / "labels")
    later = replace(LABEL, start_ns=1000, stop_ns=2000, goal=None, dropped="empty")
    store.write("s", [later, LABEL])
    assert store.read("s") == [LABEL, later]
    assert store.read("another") == []
    assert [path.name for path in store.folder.iterdir()] == ["s.jsonl"]


def test_labels_are_kept_for_the_same_span_and_labeler_or_a_person(tmp_path):
    store = LabelStore(tmp_path)
    clips = [Clip(0, 0, 1000), Clip(1, 1000, 2000), Clip(2, 2000, 3500)]
    by_hand = replace(LABEL, start_ns=1000, stop_ns=2000, source="human", labeler="review")
    moved = replace(LABEL, start_ns=2000, stop_ns=3000)
    store.write("s", [LABEL, by_hand, moved])
    stored = store.sort_stored("s", clips, "m+1", "r1")
    assert (stored.kept, stored.outdated, stored.of_another_recording) == ({0: LABEL, 1: by_hand}, 0, 0)
    stored = store.sort_stored("s", clips, "m+2", "r1")
    assert (stored.kept, stored.outdated, stored.of_another_recording) == ({1: by_hand}, 1, 0)


def test_labels_are_kept_for_the_same_recording_or_a_person_s_writing(tmp_path):
    store = LabelStore(tmp_path)
    clips = [Clip(number, number * 1000, (number + 1) * 1000) for number in range(3)]
    told = replace(LABEL, start_ns=1000, stop_ns=2000, source="human", labeler="told")
    by_hand = replace(LABEL, start_ns=2000, stop_ns=3000, source="human", labeler="review")
    store.write("s", [LABEL, told, by_hand])
    assert set(store.sort_stored("s", clips, "m+1", "r1").kept) == {0, 1, 2}
    stored = store.sort_stored("s", clips, "m+1", "r2")
    assert (stored.kept, stored.outdated, stored.of_another_recording) == ({2: by_hand}, 2, 1)


@pytest.mark.parametrize("line", ["{", "5", "{}", '{"start_ns": 1}', json.dumps({**asdict(LABEL), "goal": 5})])
def test_a_broken_line_is_named(tmp_path, line):
    store = LabelStore(tmp_path)
    store.write("s", [LABEL])
    with store.path("s").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=r"s\.jsonl line 2 is not a label"):
        store.read("s")


def test_a_failed_write_leaves_the_old_labels(tmp_path, monkeypatch):
    store = LabelStore(tmp_path)
    store.write("s", [LABEL])

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vlm_agent.files.os.fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        store.write("s", [])
    assert store.read("s") == [LABEL]
    assert [path.name for path in tmp_path.iterdir()] == ["s.jsonl"]


def test_a_label_gives_its_clip_the_goal_with_its_source_from_the_clips_start_on():
    clip = Clip(3, 5000, 9000)
    labeled = replace(LABEL, start_ns=5000, stop_ns=9000, confidence=0.25, source="game").apply(clip)
    assert labeled.goal == Goal(5000, "open the bank", "short", "game", 0.25)
    assert (labeled.clip, labeled.dropped) == (clip, None)
    assert replace(LABEL, goal=None, dropped="empty").apply(clip) == LabeledClip(clip, dropped="empty")
    assert replace(LABEL, goal=None).apply(clip).dropped == "no_goal"


@pytest.mark.parametrize(("recording", "counted"), [("", 0), ("r1", 0), ("r2", 1)])
def test_what_a_person_wrote_counts_as_another_recordings_only_where_it_says_so(tmp_path, recording, counted):
    store = LabelStore(tmp_path)
    store.write("s", [replace(LABEL, source="human", labeler="review", recording=recording)])
    stored = store.sort_stored("s", [Clip(0, 0, 1000)], "m+1", "r1")
    assert (len(stored.kept), stored.of_another_recording) == (1, counted)
