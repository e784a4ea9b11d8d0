"""Builds a dataset from labeled sessions, one session after another.

Frames and game states stream; only one session's input events are held at a time. What can't become a
window is counted by reason, and all counts end in the manifest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.clips import NS_PER_MS, TOLD_LATE_NS, LabeledClip, goal_at
from vlm_agent.dataset.copies import Copy, find_copies, group_sessions
from vlm_agent.dataset.events import read_timeline
from vlm_agent.dataset.manifest import DatasetManifest, SessionRecord
from vlm_agent.dataset.onsets import HurryCount
from vlm_agent.dataset.recordings import Recording
from vlm_agent.dataset.splits import SplitConfig, TimeSpan, split_at, split_sessions, split_time
from vlm_agent.dataset.statistics import WindowStatistics
from vlm_agent.dataset.thinning import ThinningError
from vlm_agent.dataset.windows import Moment, Window, WindowConfig, WindowDrop, slide_windows
from vlm_agent.dataset.writer import DatasetWriter
from vlm_agent.errors import DataError
from vlm_agent.sessions.types import Goal


@dataclass(frozen=True)
class DatasetConfig:
    """How sessions become a dataset."""

    window: WindowConfig = field(default_factory=WindowConfig)
    """Windows, and how raw input is read."""
    split: SplitConfig = field(default_factory=SplitConfig)
    """What is kept from training."""
    horizon_ms: int = 600
    """Length of a window where the session's game does not say, milliseconds."""


def build_dataset(
    sessions: Iterable[tuple[Recording, Sequence[LabeledClip]]],
    out: Path,
    spec: ActionSpec,
    config: DatasetConfig | None = None,
    *,
    advance: Callable[[float], None] = lambda seconds: None,
) -> DatasetManifest:
    """Write a dataset of labeled sessions; an older one in its place is replaced when the new one is whole.

    Args:
        sessions: each session with all its clips.
        out: folder of the dataset.
        spec: what may be said, see `choose_spec`.
        config: windows and splits.
        advance: told the seconds of play that were worked through.

    Raises:
        DataError: a session is damaged, or no window is left.
    """
    config = config or DatasetConfig()
    sessions = list(sessions)
    copies = _find_copies(sessions)
    left_out = {copy.session for copy in copies if copy.is_left_out}
    kept = [(recording, clips) for recording, clips in sessions if recording.session not in left_out]
    shares = _deal([recording for recording, _ in kept], spec, config, copies)
    history_ms = config.window.history_ticks * spec.horizon_ms
    with DatasetWriter(out, spec, history_ms) as writer:
        builder = _Builder(writer, spec, config)
        for (recording, clips), spans in zip(kept, shares, strict=True):
            builder.add_session(recording, clips, spans)
            advance(recording.duration_s)
        manifest = builder.describe(history_ms, copies)
        if not manifest.windows:
            raise DataError(f"no window is left of {len(sessions)} sessions: {_say(builder.all_drops())}")
        writer.finish(manifest)
    return manifest


class _Builder:
    """Adds one session after another, and counts."""

    def __init__(self, writer: DatasetWriter, spec: ActionSpec, config: DatasetConfig) -> None:
        self._writer = writer
        self._spec = spec
        self._config = config
        self._statistics: dict[str, WindowStatistics] = {}
        self._records: list[SessionRecord] = []
        self._clip_drops: Counter[str] = Counter()
        self._window_drops: Counter[str] = Counter()
        self._event_drops: Counter[str] = Counter()
        self._thinning = ThinningError()
        self._hurried = HurryCount()

    def add_session(self, recording: Recording, clips: Sequence[LabeledClip], spans: Sequence[TimeSpan]) -> None:
        """Write the windows of a session."""
        spec = self._spec.with_extent(recording.width_px, recording.height_px)
        timeline = read_timeline(recording.read_events(), spec, self._config.window.press)
        moments, report = slide_windows(clips, timeline, recording.ticks_ns, spec, self._config.window)
        self._clip_drops.update(labeled.dropped for labeled in clips if labeled.dropped is not None)
        self._event_drops.update(timeline.drops)
        self._window_drops.update(report.drops)
        self._thinning.merge(report.thinning)
        self._hurried.merge(report.hurried)
        written = 0
        usable = self._usable(moments, recording, spans)
        for window in self._windows(usable, recording):
            self._writer.add_window(window)
            self._statistics.setdefault(window.split, WindowStatistics()).add(window)
            written += 1
        split = spans[0].split if len(spans) == 1 else "by time"
        self._records.append(SessionRecord(recording.session, split, recording.sha256, written))

    def describe(self, history_ms: int, copies: Sequence[Copy]) -> DatasetManifest:
        """Return the manifest of all that was added."""
        return DatasetManifest(
            spec=self._spec,
            history_ms=history_ms,
            windows={split: statistics.windows for split, statistics in self._statistics.items()},
            frames=self._writer.frames,
            sessions=tuple(self._records),
            sha256=self._writer.fingerprint(),
            copies=tuple(copies),
            clip_drops=dict(self._clip_drops),
            window_drops=dict(self._window_drops),
            event_drops=dict(self._event_drops),
            thinning=self._thinning.to_json(),
            hurried=self._hurried.to_json(),
            statistics={split: statistics.to_json() for split, statistics in self._statistics.items()},
            config=asdict(self._config),
        )

    def all_drops(self) -> Counter[str]:
        """Count everything that was dropped, by reason."""
        return self._clip_drops + self._window_drops

    def _usable(
        self, moments: Sequence[Moment], recording: Recording, spans: Sequence[TimeSpan]
    ) -> list[tuple[Moment, str, list[Goal]]]:
        usable: list[tuple[Moment, str, list[Goal]]] = []
        for moment in moments:
            split = split_at(spans, moment.t_ns)
            goals = _goals(moment, recording)
            if split is None:
                self._window_drops[WindowDrop.GUARD] += 1
            elif moment.t_ns < recording.first_frame_ns:
                self._window_drops[WindowDrop.NO_FRAME] += 1
            elif not goals:
                self._window_drops[WindowDrop.NO_GOAL] += 1
            else:
                usable.append((moment, split, goals))
        return usable

    def _windows(self, usable: Sequence[tuple[Moment, str, list[Goal]]], recording: Recording) -> Iterator[Window]:
        from vlm_agent.sessions.reader import SessionReader

        reader = SessionReader(recording.path)
        times_ns = [moment.t_ns for moment, _, _ in usable]
        states = _states_at(reader.game_states(), times_ns)
        max_age_ns = self._config.window.picture_age_ns(self._spec.horizon_ms)
        frames = reader.recent_frames_at(times_ns, max_age_ns)
        for (moment, split, goals), frame, state in zip(usable, frames, states, strict=True):
            if frame is None:
                self._window_drops[WindowDrop.PICTURE_TOO_OLD] += 1
                continue
            frame_id = self._writer.add_frame(frame.rgb)
            for goal in goals:
                yield Window(
                    session=recording.session,
                    clip=moment.labeled.clip.index,
                    t_ns=moment.t_ns,
                    split=split,
                    goal=goal.text,
                    goal_level=goal.level,
                    goal_source=goal.source,
                    goal_confidence=goal.confidence,
                    frame_id=frame_id,
                    frame_width_px=recording.width_px,
                    frame_height_px=recording.height_px,
                    target=moment.target,
                    recent=moment.recent,
                    state=state,
                )


def _goals(moment: Moment, recording: Recording) -> list[Goal]:
    # Once with the goal of the whole play and once with the clip's, so that the agent learns to follow both.
    long = goal_at(recording.goals, moment.t_ns + TOLD_LATE_NS, "long")
    short = moment.labeled.goal
    goals = [goal for goal in (long, short) if goal is not None]
    return goals[:1] if len(goals) == 2 and goals[0].text == goals[1].text else goals


def _states_at(
    states: Iterable[tuple[int, dict[str, Any]]], times_ns: Sequence[int]
) -> Iterator[dict[str, Any] | None]:
    source = iter(states)
    latest: dict[str, Any] | None = None
    following = next(source, None)
    for t_ns in times_ns:
        while following is not None and following[0] <= t_ns:
            latest, following = following[1], next(source, None)
        yield latest


def _find_copies(sessions: Sequence[tuple[Recording, Sequence[LabeledClip]]]) -> list[Copy]:
    names = [recording.session for recording, _ in sessions]
    if len(set(names)) != len(names):
        raise DataError("two sessions have the same file name: names must tell sessions apart")
    goals = []
    for recording, clips in sessions:
        written = (labeled.goal for labeled in clips if labeled.goal is not None and labeled.goal.source == "human")
        goals.append({goal.text for goal in (*recording.goals, *written)})
    return find_copies([recording for recording, _ in sessions], goals)


def _deal(
    recordings: Sequence[Recording], spec: ActionSpec, config: DatasetConfig, copies: Sequence[Copy] = ()
) -> list[list[TimeSpan]]:
    if len(recordings) == 1:
        only = recordings[0]
        guard_ns = (config.window.history_ticks + 1) * spec.horizon_ms * NS_PER_MS
        return [split_time(only.start_ns, only.stop_ns, guard_ns, config.split)]
    groups = {group[0]: group for group in group_sessions([one.session for one in recordings], copies)}
    splits = split_sessions(list(groups), config.split)
    split_of = {session: splits[name] for name, group in groups.items() for session in group}
    return [[TimeSpan(one.start_ns, one.stop_ns, split_of[one.session])] for one in recordings]


def _say(drops: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in drops.most_common()) or "nothing was recorded"
