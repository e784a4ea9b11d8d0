"""Recordings that hold the same play are known by it, not by their names."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded_play import MS, record_play

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved
from vlm_agent.clips import CutConfig, LabeledClip, goal_at
from vlm_agent.dataset.build import DatasetConfig, build_dataset
from vlm_agent.dataset.copies import Copy, _Album, find_copies, group_sessions
from vlm_agent.dataset.manifest import read_manifest
from vlm_agent.dataset.marks import MarkMaker
from vlm_agent.dataset.recordings import choose_spec, cut_recording, read_recording
from vlm_agent.dataset.splits import SplitConfig
from vlm_agent.dataset.store import open_dataset
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.sessions.types import Goal
from vlm_agent.sessions.writer import SessionWriter


def play(stem: Path, *, seed: int, seconds: int = 60, scene: int | None = None, goal: str = "go on") -> Path:
    """A session with its own rhythm of presses and its own pictures."""
    rng = np.random.default_rng(seed)
    times_ms = np.cumsum(rng.integers(60, 700, 1000))
    keys = rng.integers(0, 3, 1000)
    painter = np.random.default_rng(seed if scene is None else scene)
    with SessionWriter(stem, width_px=96, height_px=64, fps=5) as writer:
        writer.write_goal(0, Goal(0, goal, "long", "human"))
        press = 0
        for t_ms in range(0, seconds * 1000 + 1, 200):
            frame = np.kron(painter.integers(0, 255, (4, 6, 3)), np.ones((16, 16, 1))).astype(np.uint8)
            writer.write_frame(t_ms * MS, frame)
            while times_ms[press] < t_ms + 200:
                at = int(times_ms[press]) * MS
                writer.write_event(KeyChanged(at, f"{'abc'[keys[press]]}", True))
                writer.write_event(KeyChanged(at + 40 * MS, f"{'abc'[keys[press]]}", False))
                press += 1
    return stem.with_name(stem.name + ".mcap")


def write_again(path: Path, stem: Path, *, start_s=0.0, stop_s=1e9, later_s=0.0, jitter_ms=0.0, scale=1) -> Path:
    """Write a session again: another part of it, at another time, of another size, by a clock that is not as exact."""
    reader = SessionReader(path)
    rng = np.random.default_rng(0)
    shift_ns = round(later_s * 1e9)
    items: list[tuple[int, object]] = [(goal.t_ns, goal) for goal in reader.goals()]
    items += [(frame.t_ns, frame) for frame in reader.frames() if start_s <= frame.t_ns / 1e9 < stop_s]
    items += [
        (event.t_ns + int(rng.normal(0, jitter_ms) * MS), event)
        for event in reader.events()
        if start_s <= event.t_ns / 1e9 < stop_s
    ]
    with SessionWriter(stem, width_px=96 * scale, height_px=64 * scale, fps=5) as writer:
        for t_ns, item in sorted(items, key=lambda pair: pair[0]):
            at = max(t_ns, round(start_s * 1e9)) + shift_ns
            if isinstance(item, Goal):
                writer.write_goal(at, replace(item, t_ns=at))
            elif hasattr(item, "rgb"):
                writer.write_frame(at, np.ascontiguousarray(np.kron(item.rgb, np.ones((scale, scale, 1), np.uint8))))
            else:
                writer.write_event(replace(item, t_ns=at))
    return stem.with_name(stem.name + ".mcap")


def copy_file(path: Path, stem: Path) -> Path:
    for suffix in (".mcap", ".mkv"):
        shutil.copy(path.with_suffix(suffix), stem.with_name(stem.name + suffix))
    return stem.with_name(stem.name + ".mcap")


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    return play(tmp_path_factory.mktemp("original") / "ringcraft-2", seed=1)


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("others")
    return [play(folder / f"ringcraft-{seed}", seed=seed, seconds=20) for seed in (3, 4, 5)]


def look(*paths):
    recordings = [read_recording(path, 600) for path in paths]
    return find_copies(recordings, [[goal.text for goal in one.goals] for one in recordings])


def build(paths, out, config=None):
    recordings = [read_recording(path, 600) for path in paths]
    pairs = [
        (
            recording,
            [
                labeled
                if labeled.dropped
                else LabeledClip(labeled.clip, goal_at(recording.goals, labeled.clip.start_ns, "long"))
                for labeled in cut_recording(recording, CutConfig())
            ],
        )
        for recording in recordings
    ]
    return build_dataset(pairs, out, choose_spec(recordings, 600), config)


WAYS = {
    "byte by byte": copy_file,
    "at another time": lambda path, stem: write_again(path, stem, later_s=86_400.25),
    "cut at both ends": lambda path, stem: write_again(path, stem, start_s=11.1, stop_s=47.3),
    "by a second recorder": lambda path, stem: write_again(path, stem, later_s=0.0123, jitter_ms=0.2),
    "twice as large": lambda path, stem: write_again(path, stem, scale=2),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_is_known_and_left_out(original, others, tmp_path, way):
    copy = WAYS[way](original, tmp_path / "a-first-by-name")
    [found] = look(copy, original, *others)
    assert {found.session, found.of} == {"a-first-by-name", "ringcraft-2"}
    assert found.is_left_out
    assert found.share > 0.8


def test_play_in_common_is_never_on_both_sides_of_a_split(original, others, tmp_path):
    first = write_again(original, tmp_path / "first", stop_s=35.0)
    second = write_again(original, tmp_path / "second", start_s=25.0)
    [found] = look(first, second, *others)
    assert (found.is_left_out, 0.2 < found.share < 0.5) == (False, True)
    for seed in range(4):
        manifest = build(
            [first, second, *others], tmp_path / f"d{seed}", DatasetConfig(split=SplitConfig(0.4, seed=seed))
        )
        split_of = {record.session: record.split for record in manifest.sessions}
        assert split_of["first"] == split_of["second"]
        assert manifest.copies == (found,)


def test_the_same_play_for_another_goal_is_kept_in_the_same_split(original, others, tmp_path):
    other_goal = play(tmp_path / "copied-again", seed=1, goal="look for bread")
    [found] = look(original, other_goal, *others)
    assert (found.is_left_out, found.share) == (False, 1.0)


def test_other_play_is_no_copy(original, others, tmp_path):
    assert look(original, *others) == []
    # A script that plays alike in two scenes: the presses are the same, the pictures are not.
    assert look(original, play(tmp_path / "scripted", seed=1, scene=99)) == []


def test_routines_that_are_played_again_make_no_copy(tmp_path):
    def perform(name, routines, pauses_s):
        """Play routines, each always in its own rhythm, before a screen that never changes."""
        rhythms = {name: np.random.default_rng(ord(name)).integers(60, 600, 12) for name in "ab"}
        t_ms = 0
        with SessionWriter(tmp_path / name, width_px=32, height_px=32, fps=5) as writer:
            writer.write_frame(0, np.full((32, 32, 3), 99, np.uint8))
            for routine, pause_s in zip(routines, pauses_s, strict=True):
                t_ms += round(pause_s * 1000)
                for step, gap_ms in enumerate(rhythms[routine]):
                    t_ms += int(gap_ms)
                    writer.write_event(KeyChanged(t_ms * MS, routine, step % 2 == 0))
        return tmp_path / f"{name}.mcap"

    one, other = perform("one", "ab", [1.0, 3.3]), perform("other", "ba", [2.0, 5.1])
    assert look(one, other) == []
    [found] = look(one, perform("later", "ab", [9.0, 3.3]))
    assert found.is_left_out


def test_recordings_without_presses_are_known_by_their_pictures(tmp_path):
    def show(name, shades):
        with SessionWriter(tmp_path / name, width_px=32, height_px=32, fps=5) as writer:
            for number, shade in enumerate(shades):
                writer.write_frame(number * 200 * MS, np.full((32, 32, 3), shade, np.uint8))
                writer.write_event(PointerMoved(number * 200 * MS, 1, 1))
        return tmp_path / f"{name}.mcap"

    one, same = show("one", range(0, 200, 4)), show("same", range(1, 201, 4))
    other, shorter = show("other", range(200, 0, -4)), show("shorter", range(0, 160, 4))
    assert [(copy.session, copy.of) for copy in look(one, same, other, shorter)] == [("same", "one")]


def test_copies_are_counted_where_a_dataset_is_built(original, others, tmp_path):
    copy = copy_file(original, tmp_path / "copy-of-ringcraft-2")
    manifest = build([original, copy, *others], tmp_path / "dataset")
    assert manifest.copies == (Copy("copy-of-ringcraft-2", "ringcraft-2", 1.0, is_left_out=True),)
    assert [record.session for record in manifest.sessions] == ["ringcraft-2", *(path.stem for path in others)]
    assert len({record.sha256 for record in manifest.sessions}) == len(manifest.sessions)
    assert read_manifest(tmp_path / "dataset") == manifest
    without = build([original, *others], tmp_path / "without")
    assert without.windows == manifest.windows
    # With its copy a lone session is still alone, and split by time.
    alone = build([original, copy], tmp_path / "alone")
    assert [record.split for record in alone.sessions] == ["by time"]
    dataset = open_dataset(tmp_path / "alone")
    shown = {split: {window.frame_id for window in dataset.windows(split)} for split in dataset.splits}
    assert shown["train"].isdisjoint(shown["validation"])


def test_a_manifest_of_before_has_no_copies(others, tmp_path):
    build(others, tmp_path / "dataset")
    path = tmp_path / "dataset" / "dataset.json"
    path.write_text(path.read_text().replace('"copies": [],', ""))
    assert read_manifest(tmp_path / "dataset").copies == ()


def test_groups_hold_what_hangs_together():
    copies = [
        Copy("b", "a", 0.3, False),
        Copy("d", "c", 0.3, False),
        Copy("d", "b", 0.2, False),
        Copy("x", "e", 1.0, True),
    ]
    assert group_sessions("edcba", copies) == [["a", "b", "c", "d"], ["e"]]
    assert group_sessions("ab", []) == [["a"], ["b"]]


def test_marks_are_of_presses_their_order_and_their_distances():
    def marks(events: list[InputEvent]) -> set[int]:
        maker = MarkMaker()
        for event in events:
            maker.add(event)
        assert len(maker.marks.hashes) == len(maker.marks.times_ns)
        return set(maker.marks.hashes)

    times = [0, 110, 250, 610, 700, 1110, 1300, 1900]
    presses: list[InputEvent] = [KeyChanged(t * MS, "a", n % 2 == 0) for n, t in enumerate(times)]
    assert len(marks(presses)) == 3
    assert marks(presses[:5]) == set()
    assert marks([replace(event, t_ns=event.t_ns + 7 * 10**15) for event in presses]) == marks(presses)
    assert marks([*presses[:3], PointerMoved(300 * MS, 5, 5), *presses[3:]]) == marks(presses)
    assert marks([replace(event, key="b") for event in presses]).isdisjoint(marks(presses))
    buttons = [ButtonChanged(event.t_ns, 3, 3, "left", event.pressed) for event in presses]
    assert marks([replace(event, x=9) for event in buttons]) == marks(buttons)
    assert marks([replace(event, t_ns=event.t_ns * 2) for event in presses]).isdisjoint(marks(presses))


def test_the_label_stage_says_what_was_left_out(tmp_path):
    from labeling.stage import LabelArgs, label_and_build

    for seed in (1, 2, 3):
        record_play(tmp_path / "in" / f"s{seed}", seed=seed)
    copy_file(tmp_path / "in" / "s2.mcap", tmp_path / "in" / "s2-copy")
    report = label_and_build(LabelArgs(tmp_path / "in", tmp_path / "out", labeler="game"))
    assert "1 recording left out, others hold their play (s2-copy of s2)" in report.describe()


def test_short_recordings_are_decoded_once_and_only_where_they_may_be_the_same(tmp_path, monkeypatch):
    paths = [play(tmp_path / f"short-{seed}", seed=seed, seconds=1) for seed in range(20, 32)]
    paths.append(copy_file(paths[3], tmp_path / "copied-again"))
    write_again(paths[5], tmp_path / "written-later", later_s=30)
    paths.append(tmp_path / "written-later.mcap")
    recordings = [read_recording(path, 600) for path in paths]
    assert any(not one.marks.hashes and one.marks.few for one in recordings)
    decoded = []
    decode = _Album._decode

    def count(self, recording, times_ns):
        decoded.extend((recording.session, t_ns) for t_ns in times_ns)
        decode(self, recording, times_ns)

    monkeypatch.setattr(_Album, "_decode", count)
    left_out = {(one.session, one.of) for one in find_copies(recordings, [["go on"]] * len(paths)) if one.is_left_out}
    assert left_out == {("copied-again", "short-23"), ("written-later", "short-25")}
    assert len(decoded) == len(set(decoded))
    assert len({session for session, _ in decoded}) < len(paths) / 2
