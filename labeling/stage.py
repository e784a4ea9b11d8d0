"""The label stage: recorded sessions in, labels and a dataset out.

    OUT/labels/SESSION.jsonl   one line a clip
    OUT/dataset/               see `vlm_agent.dataset.store`

All sessions are read before anything is written, labels are kept as they come, and the dataset replaces an older one
only when it is whole; so the stage may be stopped at any time and run again, and goes on where it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from labeling.contact_sheet import make_contact_sheet, sheet_times
from labeling.labelers import ClipView, GameLabeler, LabelConfig, Labeler, ToldLabeler
from labeling.store import Label, LabelStore
from vlm_agent.clips import Clip, CutConfig, LabeledClip
from vlm_agent.dataset.build import DatasetConfig, build_dataset
from vlm_agent.dataset.manifest import DatasetManifest
from vlm_agent.dataset.recordings import Recording, choose_spec, cut_recording, read_recording
from vlm_agent.dataset.windows import WindowConfig
from vlm_agent.errors import DataError
from vlm_agent.locks import only_writer
from vlm_agent.models.checkpoints import find_checkpoint

if TYPE_CHECKING:
    from rich.console import Console

_TELLERS = {"human": "told by a person", "game": "by the game", "model": "by a model"}
_MOST_NAMED = 3
NO_RECENT_PICTURE = "no_recent_picture"
"""Why a clip has no label of a model: frames are missing there."""
_MAX_PICTURE_AGE_NS = WindowConfig().picture_age_ns(DatasetConfig().horizon_ms)
Advance = Callable[[float], None]
"""Told how much of a piece of work was done."""


@dataclass(frozen=True)
class LabelArgs:
    """Label recorded sessions and build a training dataset from them."""

    sessions: Path
    """Folder of recorded sessions, or one `.mcap` file."""
    out: Path
    """Folder for `labels/` and `dataset/`; labels that are there already are reused."""
    labeler: str = "told"
    """Who names the goals of clips for which no person told one while recording: `told` (nobody), `game` (the game,
    where it told goals as it was played, or the labels of an import), `nano` (the bundled model chooses among the goals
    of the bundled game), or the path of any Qwen-VL checkpoint."""
    cut: CutConfig = field(default_factory=CutConfig)
    """Where sessions are cut into clips."""
    label: LabelConfig = field(default_factory=LabelConfig)
    """What a model is shown, and what its answers must look like."""
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    """Windows and splits."""


@dataclass(frozen=True)
class LabelReport:
    """What became of the sessions."""

    sessions: int
    """Sessions read."""
    clips: int
    """Clips they were cut into."""
    labeled: int
    """Clips with a short goal."""
    sources: dict[str, int]
    """Those clips by who told their goal: `human`, `game`, `model`."""
    reused: int
    """Labels that were there already."""
    outdated: int
    """Labels that were there and were made anew: of another labeler, prompt, check or recording."""
    of_another_recording: int
    """Labels that a person wrote when another recording had the same name; they are kept."""
    unused: int
    """Clips without a short goal though the game told one, see `--labeler game`."""
    dataset: DatasetManifest
    """What was built."""
    folder: Path
    """Where it is."""

    def describe(self) -> str:
        """Return all counts by reason as one line."""
        built = self.dataset
        windows = ", ".join(f"{count} {split}" for split, count in built.windows.items())
        tellers = [f"{count} {_TELLERS[source]}" for source, count in sorted(self.sources.items())]
        stored = [f"{self.reused} reused", *([f"{self.outdated} made anew"] if self.outdated else [])]
        hints = [f"{self.unused} more have a goal that the game told: --labeler game"] if self.unused else []
        for is_left_out, what in (
            (True, "left out, others hold their play"),
            (False, "kept in one split, they share play"),
        ):
            copies = [f"{copy.session} of {copy.of}" for copy in built.copies if copy.is_left_out == is_left_out]
            if copies:
                named = ", ".join(copies[:_MOST_NAMED]) + (", …" if len(copies) > _MOST_NAMED else "")
                hints.append(f"{len(copies)} recording{'s' if len(copies) > 1 else ''} {what} ({named})")
        if self.of_another_recording:
            hints.append(f"{self.of_another_recording} labels a person wrote were for another recording of that name")
        return (
            f"{self.sessions} sessions, {self.clips} clips: {self.labeled} labeled"
            f" ({'; '.join([', '.join(tellers), *stored] if tellers else stored)})"
            f"{_say(built.clip_drops)}{''.join(f'; {hint}' for hint in hints)};"
            f" {sum(built.windows.values())} windows ({windows})"
            f"{_say({**built.window_drops, **built.event_drops})}; {self.folder}"
        )


def label_and_build(args: LabelArgs, *, labeler: Labeler | None = None, console: Console | None = None) -> LabelReport:
    """Cut, label and build.

    Args:
        args: paths and settings.
        labeler: takes the place of the one that `args` names.
        console: shows progress bars on it; none without.

    Raises:
        DataError: a session is missing or damaged, a label file is broken, or no window is left.
        ModelError: the labeler's checkpoint can't be used.
        BusyError: another process writes into `args.out`.
    """
    paths = find_sessions(args.sessions)
    if labeler is None and args.labeler not in _MODELLESS:
        find_checkpoint(args.labeler)  # a wrong name is told at once, not after all sessions are read
    with only_writer(args.out), _bars(console) as start_bar:
        advance = start_bar("reading", len(paths))
        recordings = [_read(path, args.dataset.horizon_ms, advance) for path in paths]
        spec = choose_spec(recordings, args.dataset.horizon_ms)
        cut = replace(args.cut, horizon_ms=spec.horizon_ms)
        clips = [cut_recording(recording, cut) for recording in recordings]
        labeler = labeler or make_labeler(args.labeler, args.label)
        store = LabelStore(args.out / "labels")
        max_age_ns = args.dataset.window.picture_age_ns(spec.horizon_ms)
        advance = start_bar("labeling", sum(map(len, clips)))
        labeled = [
            label_session(recording, of_session, labeler, store, args.label, advance, max_picture_age_ns=max_age_ns)
            for recording, of_session in zip(recordings, clips, strict=True)
        ]
        advance = start_bar("building", sum(recording.duration_s for recording in recordings))
        folder = args.out / "dataset"
        pairs = [(recording, one.clips) for recording, one in zip(recordings, labeled, strict=True)]
        manifest = build_dataset(pairs, folder, spec, args.dataset, advance=advance)
    sources: Counter[str] = Counter(clip.goal.source for one in labeled for clip in one.clips if clip.goal is not None)
    return LabelReport(
        sessions=len(paths),
        clips=sum(map(len, clips)),
        labeled=sources.total(),
        sources=dict(sources),
        reused=sum(one.reused for one in labeled),
        outdated=sum(one.outdated for one in labeled),
        of_another_recording=sum(one.of_another_recording for one in labeled),
        unused=sum(_count_unused(recording, one.clips) for recording, one in zip(recordings, labeled, strict=True)),
        dataset=manifest,
        folder=folder,
    )


_MODELLESS: dict[str, Callable[[], Labeler]] = {ToldLabeler.name: ToldLabeler, GameLabeler.name: GameLabeler}


def find_sessions(path: Path) -> list[Path]:
    """Return the session files of a folder in order of name, or the one file that is named.

    Raises:
        DataError: there is no such path, or no session in it.
    """
    if path.exists() and not path.is_dir():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path} does not exist; name a folder of recorded sessions (.mcap)")
    found = sorted(path.glob("*.mcap"))
    if not found:
        unfinished = sorted(path.glob("*.mcap.part"))
        hint = f"; save an unfinished one with `vlm-agent repair {unfinished[0]}`" if unfinished else ""
        raise DataError(f"{path} holds no sessions: expected .mcap files{hint}")
    return found


def make_labeler(name: str, config: LabelConfig) -> Labeler:
    """Return the labeler of that name; loads a model for all but `told` and `game`.

    Raises:
        ModelError: there is no such checkpoint, or it can't be used.
    """
    if name in _MODELLESS:
        return _MODELLESS[name]()
    from labeling.models import load_labeler

    return load_labeler(name, config)


@dataclass(frozen=True)
class LabeledSession:
    """The clips of a session with their goals, and what was known of them before."""

    clips: list[LabeledClip]
    """All clips, each with its goal or the reason there is none."""
    reused: int
    """Labels that were there already."""
    outdated: int
    """Labels that were there and were made anew."""
    of_another_recording: int
    """Labels a person wrote when another recording had this name."""


def label_session(
    recording: Recording,
    clips: Sequence[LabeledClip],
    labeler: Labeler,
    store: LabelStore,
    config: LabelConfig,
    advance: Advance = lambda number: None,
    *,
    max_picture_age_ns: int = _MAX_PICTURE_AGE_NS,
) -> LabeledSession:
    """Label the clips of a session, writing as it goes; labels that are there already are reused.

    What a person wrote into the store comes first, then what a person told while recording; the labeler fills the rest.
    Where it needs pictures and none is recent enough there is no label.
    """
    usable = [labeled.clip for labeled in clips if labeled.dropped is None]
    stored = store.sort_stored(recording.session, usable, labeler.name, recording.sha256)
    by_person = {index for index, label in stored.kept.items() if label.source == "human"}
    labels = stored.kept | _tell(recording, [clip for clip in usable if clip.index not in by_person])
    advance(len(clips) - len(usable) + len(labels))
    unwritten = 0
    open_clips = [clip for clip in usable if clip.index not in labels]
    for view in _views(recording, open_clips, labeler, config, max_picture_age_ns):
        advance(1)
        if labeler.needs_pictures and view.sheet is None:
            continue
        labels[view.clip.index] = replace(labeler.label(view), recording=recording.sha256)
        unwritten += 1
        if unwritten >= config.batch_clips:
            store.write(recording.session, labels.values())
            unwritten = 0
    store.write(recording.session, labels.values())
    done = [
        labels[labeled.clip.index].apply(labeled.clip)
        if labeled.clip.index in labels
        else replace(labeled, dropped=labeled.dropped or NO_RECENT_PICTURE)
        for labeled in clips
    ]
    return LabeledSession(done, len(stored.kept), stored.outdated, stored.of_another_recording)


def _tell(recording: Recording, clips: Sequence[Clip]) -> dict[int, Label]:
    """Return the labels that a person told while recording, by index of their clip."""
    labels = [ToldLabeler().label(ClipView(clip, recording.goals, None)) for clip in clips]
    return {
        clip.index: replace(label, recording=recording.sha256)
        for clip, label in zip(clips, labels, strict=True)
        if label.goal is not None
    }


def _count_unused(recording: Recording, clips: Sequence[LabeledClip]) -> int:
    empty = (ClipView(one.clip, recording.goals, None) for one in clips if one.goal is None and not one.clip.dropped)
    return sum(GameLabeler().label(view).goal is not None for view in empty)


def _read(path: Path, horizon_ms: int, advance: Advance) -> Recording:
    recording = read_recording(path, horizon_ms)
    advance(1)
    return recording


def _views(
    recording: Recording, clips: Sequence[Clip], labeler: Labeler, config: LabelConfig, max_age_ns: int
) -> Iterator[ClipView]:
    if not labeler.needs_pictures:
        yield from (ClipView(clip, recording.goals, None) for clip in clips)
        return
    from vlm_agent.sessions.reader import SessionReader

    sheet = config.sheet
    # What begins before the first frame is shown from the first frame on.
    times_ns = [[max(t, recording.first_frame_ns) for t in sheet_times(clip, sheet.num_frames)] for clip in clips]
    all_times_ns = [t for of_clip in times_ns for t in of_clip]
    frames = SessionReader(recording.path).recent_frames_at(all_times_ns, max_age_ns)
    for clip, of_clip in zip(clips, times_ns, strict=True):
        shown = zip(of_clip, islice(frames, len(of_clip)), strict=True)
        seen = [((t - clip.start_ns) / 1e9, frame.rgb) for t, frame in shown if frame is not None]
        seconds, pictures = [at_s for at_s, _ in seen], [rgb for _, rgb in seen]
        picture = make_contact_sheet(pictures, seconds, sheet) if pictures else None
        yield ClipView(clip, recording.goals, picture, len(pictures))


@contextmanager
def _bars(console: Console | None) -> Iterator[Callable[[str, float], Advance]]:
    """Give a function that starts one progress bar after another."""
    if console is None or not console.is_terminal:
        yield lambda title, total: lambda number: None
        return
    from rich.progress import BarColumn, TimeRemainingColumn

    from vlm_agent.terminal import LineColumn, make_bars

    percentage = LineColumn("{task.percentage:3.0f}%")
    with make_bars(
        LineColumn("{task.description:9}"),
        BarColumn(),
        percentage,
        TimeRemainingColumn(),
        console=console,
    ) as progress:

        def start_bar(title: str, total: float) -> Advance:
            task = progress.add_task(title, total=total)
            return lambda number: progress.advance(task, number)

        yield start_bar


def _say(drops: dict[str, int]) -> str:
    return "".join(f", {count} {reason}" for reason, count in sorted(drops.items()))
