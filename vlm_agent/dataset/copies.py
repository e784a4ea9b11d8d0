"""Recordings that hold the same play, whatever their names: copied, repaired, imported again, cut, recorded twice.

Two recordings are suspected where the same presses follow each other at the same distances in time, and known where
their pictures at those moments are alike, too. So neither the container nor the clock, the video's size or what was cut
off at an end tells them apart, and two runs of one script over different scenes are two recordings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vlm_agent.clips import NS_PER_MS
from vlm_agent.dataset.recordings import Recording

_SUSPECTED_SHARE = 0.1
"""Share of the marks of the one that the other has at one distance in time, from which on pictures are compared."""
_FEWEST = 10
"""So many marks must be the same at least, or half where there are few: a script repeats itself, too."""
_SAME_DISTANCE_NS = 100 * NS_PER_MS
"""Distances in time differ by less; a routine that was played twice has other ones."""
_CONTAINED_SHARE = 0.8
"""Share from which on the one adds nothing to the other."""
_SAME_LENGTH = 0.01
"""Share by which lengths in time differ at most where there are no marks."""
_MOMENTS = 7
_THUMBNAIL_PX = (32, 18)
_ALIKE = 6.0
"""Mean difference of two thumbnails of one picture, of 255; another video codec makes about 1."""


@dataclass(frozen=True)
class Copy:
    """A recording whose play another one holds, too."""

    session: str
    """Its name."""
    of: str
    """The name of the other one, which is kept."""
    share: float
    """How much of it the other one holds, 0 to 1."""
    is_left_out: bool
    """Whether it is left out; else it is in the other's split."""


def find_copies(recordings: Sequence[Recording], goals: Sequence[Collection[str]]) -> list[Copy]:
    """Return the recordings that hold play of another one, each with the longest one of it.

    One is left out where most of it is in the other, and the other serves all its goals.

    Args:
        recordings: those of one dataset.
        goals: texts of the goals that a person or the game told of each.

    Raises:
        DataError: a video that must be looked at is damaged.
    """
    goals_of = {one.session: set(texts) for one, texts in zip(recordings, goals, strict=True)}
    order = sorted(recordings, key=_rank)
    shelf, album = _Shelf(), _Album()
    copies: list[Copy] = []
    for one in order:
        found = [
            Copy(one.session, other.session, round(share, 3), is_left_out=False)
            for other in shelf.find_suspects(one)
            if (share := _measure_share(one, other, album))
        ]
        whole = (copy for copy in found if copy.share >= _CONTAINED_SHARE)
        held = next((copy for copy in whole if goals_of[one.session] <= goals_of[copy.of]), None)
        if held is None:
            copies += found
            shelf.add(one)
        else:
            copies.append(replace(held, is_left_out=True))
    return copies


def group_sessions(sessions: Iterable[str], copies: Iterable[Copy]) -> list[list[str]]:
    """Return sessions in groups that must not be parted, in order of name; `copies` may be of others, too."""
    group_of = {session: [session] for session in sorted(sessions)}
    for copy in copies:
        one, other = group_of.get(copy.session), group_of.get(copy.of)
        if one is not None and other is not None and one is not other:
            other += one
            group_of.update(dict.fromkeys(one, other))
    return [sorted(group) for group in {id(group): group for group in group_of.values()}.values()]


def _rank(one: Recording) -> tuple[object, ...]:
    # The longest first; of equals, one that isn't called a copy.
    return -len(one.marks.hashes), -one.duration_s, "copy" in one.session.casefold(), len(one.session), one.session


class _Shelf:
    """Recordings by their marks."""

    def __init__(self) -> None:
        self._all: list[Recording] = []
        self._by_mark: dict[int, list[int]] = {}

    def add(self, recording: Recording) -> None:
        """Put a recording on the shelf."""
        for mark in set(recording.marks.hashes):
            self._by_mark.setdefault(mark, []).append(len(self._all))
        self._all.append(recording)

    def find_suspects(self, one: Recording) -> list[Recording]:
        """Return those that may hold play of this one."""
        marks = set(one.marks.hashes)
        shared = Counter(number for mark in marks for number in self._by_mark.get(mark, ()))
        return [
            other
            for number, other in enumerate(self._all)
            if one.sha256 == other.sha256
            or shared[number] > _SUSPECTED_SHARE * len(marks)
            or _have_the_same_few(one, other)
        ]


def _have_the_same_few(one: Recording, other: Recording) -> bool:
    """Return whether recordings with too few presses for a mark may be the same: as long, and pressed alike.

    Most short recordings differ in that, and pictures are far dearer to compare.
    """
    if one.marks.hashes or other.marks.hashes or len(one.marks.few) != len(other.marks.few):
        return False
    lengths_ns = one.stop_ns - one.start_ns, other.stop_ns - other.start_ns
    if abs(lengths_ns[0] - lengths_ns[1]) > _SAME_LENGTH * lengths_ns[1]:
        return False
    pairs = list(zip(one.marks.few, other.marks.few, strict=True))
    return all(
        what == its and abs((t_ns - one.marks.few[0][0]) - (its_ns - other.marks.few[0][0])) < _SAME_DISTANCE_NS
        for (t_ns, what), (its_ns, its) in pairs
    )


def _measure_share(one: Recording, other: Recording, album: _Album) -> float:
    """Return how much of the first recording the second holds, in time, 0 to 1."""
    if one.sha256 == other.sha256:
        return 1.0
    lengths_ns = one.stop_ns - one.start_ns, other.stop_ns - other.start_ns
    moments = _find_common_moments(one, other)
    number = len(set(one.marks.hashes))
    if len(moments) <= max(_SUSPECTED_SHARE * number, min(_FEWEST, number / 2)):
        if not _have_the_same_few(one, other):
            return 0.0
        # Of what was hardly pressed in, what looks the same all the time is the same.
        moments = [
            (one.start_ns + lengths_ns[0] * part // 100, other.start_ns + lengths_ns[1] * part // 100)
            for part in range(5, 100)
        ]
    shown = [moments[(len(moments) - 1) * part // (_MOMENTS - 1)] for part in range(_MOMENTS)]
    if not _look_alike(one, other, shown, album):
        return 0.0
    later_ns = sorted(its_ns - t_ns for t_ns, its_ns in moments)[len(moments) // 2]
    common_ns = min(one.stop_ns, other.stop_ns - later_ns) - max(one.start_ns, other.start_ns - later_ns)
    return min(max(common_ns / lengths_ns[0], 0.0), 1.0)


def _find_common_moments(one: Recording, other: Recording) -> list[tuple[int, int]]:
    """Return when the same was pressed in both, as (time in the one, in the other), all at one distance in time."""
    mine, its = (dict(zip(each.marks.hashes, each.marks.times_ns, strict=True)) for each in (one, other))
    shared = sorted((t_ns, its[mark]) for mark, t_ns in mine.items() if mark in its)
    if not shared:
        return []
    distances = Counter((its_ns - t_ns) // _SAME_DISTANCE_NS for t_ns, its_ns in shared)
    most = max(distances, key=lambda distance: distances[distance - 1] + distances[distance] + distances[distance + 1])
    return [pair for pair in shared if abs((pair[1] - pair[0]) // _SAME_DISTANCE_NS - most) <= 1]


def _look_alike(one: Recording, other: Recording, moments: Sequence[tuple[int, int]], album: _Album) -> bool:
    mine = album.find(one, {t_ns for t_ns, _ in moments})
    its = album.find(other, {t_ns for _, t_ns in moments})
    alike = [bool(np.abs(mine[t_ns] - its[its_ns]).mean() < _ALIKE) for t_ns, its_ns in moments]
    return 2 * sum(alike) > len(alike)


class _Album:
    """Small pictures of recordings; a moment is decoded once, with however many others it is compared."""

    def __init__(self) -> None:
        self._thumbnails: dict[tuple[str, int], NDArray[np.float32]] = {}

    def find(self, recording: Recording, times_ns: Collection[int]) -> dict[int, NDArray[np.float32]]:
        """Return small pictures of a recording, (height, width, 3), by time."""
        missing = sorted(t_ns for t_ns in times_ns if (recording.session, t_ns) not in self._thumbnails)
        if missing:
            self._decode(recording, missing)
        return {t_ns: self._thumbnails[recording.session, t_ns] for t_ns in times_ns}

    def _decode(self, recording: Recording, times_ns: Sequence[int]) -> None:
        from PIL import Image

        from vlm_agent.sessions.reader import SessionReader

        frames = SessionReader(recording.path).frames_at(max(t_ns, recording.first_frame_ns) for t_ns in times_ns)
        for t_ns, frame in zip(times_ns, frames, strict=True):
            picture = Image.fromarray(frame.rgb).resize(_THUMBNAIL_PX, Image.Resampling.BOX)
            self._thumbnails[recording.session, t_ns] = np.asarray(picture, dtype=np.float32)
