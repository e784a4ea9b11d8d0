"""What a labeler is shown of a clip, and in which order labels stand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from labeling import stage
from labeling.contact_sheet import SheetConfig
from labeling.labelers import LabelConfig
from labeling.stage import label_session
from labeling.store import Label, LabelStore
from vlm_agent.clips import Clip, LabeledClip
from vlm_agent.sessions.types import Goal

S = 1_000_000_000
CLIPS = [Clip(number, number * 10 * S, (number + 1) * 10 * S) for number in range(5)]


class Labeler:
    """Names clips by their number; sees pictures, or not."""

    name = "m+1"

    def __init__(self, *, needs_pictures: bool = False) -> None:
        self.needs_pictures, self.seen = needs_pictures, []

    def label(self, view) -> Label:
        self.seen.append(view.clip.index)
        return Label(view.clip.start_ns, view.clip.stop_ns, f"open door {view.clip.index}", "model", 0.5, self.name)


def recording(first_frame_ns: int = 0) -> SimpleNamespace:
    return SimpleNamespace(session="s", sha256="r1", goals=[], path=None, first_frame_ns=first_frame_ns)


def test_a_sheet_shows_moments_from_the_first_frame_on_with_seconds_of_the_clip(monkeypatch):
    asked, told = [], []

    class Reader:
        def __init__(self, path) -> None:
            pass

        def recent_frames_at(self, times_ns, max_age_ns):
            for t_ns in times_ns:
                asked.append(t_ns / S)
                is_recent = round(t_ns / S) != 15 and t_ns < 20 * S + max_age_ns
                yield SimpleNamespace(rgb=np.zeros((2, 2, 3), np.uint8)) if is_recent else None

    monkeypatch.setattr("vlm_agent.sessions.reader.SessionReader", Reader)
    monkeypatch.setattr(
        stage, "make_contact_sheet", lambda frames, seconds, _: told.append([round(s, 3) for s in seconds])
    )
    config = LabelConfig(sheet=SheetConfig(num_frames=3))
    views = list(stage._views(recording(2 * S), CLIPS[:3], Labeler(needs_pictures=True), config, S // 2))
    assert [round(t, 3) for t in asked] == [2.0, 5.0, 10.0, 10.0, 15.0, 20.0, 20.0, 25.0, 30.0]
    # Where a moment's picture is too old, it is not on the sheet.
    assert told == [[2.0, 5.0, 10.0], [0.0, 10.0], [0.0]]
    assert [(view.clip.index, view.num_frames) for view in views] == [(0, 3), (1, 2), (2, 1)]


def test_a_clip_without_a_recent_picture_is_shown_to_no_labeler_and_its_label_is_not_stored(tmp_path, monkeypatch):
    class Reader:
        def __init__(self, path) -> None:
            pass

        def recent_frames_at(self, times_ns, max_age_ns):
            assert max_age_ns == 7
            return (SimpleNamespace(rgb=np.zeros((2, 2, 3), np.uint8)) if t < 10 * S else None for t in times_ns)

    monkeypatch.setattr("vlm_agent.sessions.reader.SessionReader", Reader)
    store, labeler = LabelStore(tmp_path), Labeler(needs_pictures=True)
    clips = [LabeledClip(clip) for clip in CLIPS[:2]]
    done = label_session(recording(), clips, labeler, store, LabelConfig(), max_picture_age_ns=7)
    assert labeler.seen == [0]
    assert [clip.dropped for clip in done.clips] == [None, "no_recent_picture"]
    assert len(store.read("s")) == 1


def test_labels_are_written_as_they_come_and_name_their_recording(tmp_path, monkeypatch):
    written = []
    store = LabelStore(tmp_path)
    write = LabelStore.write
    monkeypatch.setattr(
        LabelStore, "write", lambda self, name, labels: written.append(len(labels)) or write(self, name, labels)
    )
    done = label_session(
        recording(), [LabeledClip(clip) for clip in CLIPS], Labeler(), store, LabelConfig(batch_clips=2)
    )
    assert written == [2, 4, 5]
    assert {label.recording for label in store.read("s")} == {"r1"}
    assert [one.goal.text for one in done.clips] == [f"open door {number}" for number in range(5)]


def test_dropped_clips_are_not_asked_about_and_stored_ones_not_again(tmp_path):
    store, labeler = LabelStore(tmp_path), Labeler()
    kept = Label(10 * S, 20 * S, "walk home", "model", 0.75, "m+1", recording="r1")
    store.write("s", [kept])
    clips = [LabeledClip(CLIPS[0], dropped="pause"), *(LabeledClip(clip) for clip in CLIPS[1:])]
    done = label_session(recording(), clips, labeler, store, LabelConfig())
    assert labeler.seen == [2, 3, 4]
    assert done.clips[0].dropped == "pause"
    goal = done.clips[1].goal
    assert (goal.text, goal.confidence, goal.t_ns, goal.level) == ("walk home", 0.75, 10 * S, "short")
    assert (done.reused, done.outdated) == (1, 0)


def test_what_a_person_told_stands_before_what_a_model_had_said(tmp_path):
    store, told = LabelStore(tmp_path), recording()
    store.write("s", [Label(0, 10 * S, "walk home", "model", 0.75, "m+1", recording="r1")])
    told.goals = [Goal(0, "open the bank", "short", "human")]
    done = label_session(told, [LabeledClip(CLIPS[0])], Labeler(), store, LabelConfig())
    assert (done.clips[0].goal.text, done.clips[0].goal.source) == ("open the bank", "human")
    store.write("s", [Label(0, 10 * S, "close the bank", "human", 1.0, "review", recording="r1")])
    done = label_session(told, [LabeledClip(CLIPS[0])], Labeler(), store, LabelConfig())
    assert done.clips[0].goal.text == "close the bank"
