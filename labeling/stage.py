"""The label stage: recorded sessions in, labels and a dataset out.

    OUT/labels/SESSION.jsonl   one line a clip
    OUT/dataset/               see `vlm_agent.dataset.store`

All sessions are read before anything is written, labels are kept as they come, and the dataset replaces an older one
only when it is whole; so the stage may be stopped at any time and run again, and goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from labeling.contact_sheet import make_contact_sheet, sheet_times
from labeling.labelers import ClipView, GameLabeler, LabelConfig, Labeler
from labeling.store import LabelStore
from vlm_agent.clips import Clip, CutConfig, LabeledClip
from vlm_agent.dataset.build import DatasetConfig, build_dataset
from vlm_agent.dataset.manifest import DatasetManifest
from vlm_agent.dataset.recordings import Recording, choose_spec, cut_recording, read_recording
from vlm_agent.errors import DataError
from vlm_agent.models.checkpoints import find_checkpoint

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[[float], None]
"""Told how much of a piece of work was done."""


@dataclass(frozen=True)
class LabelArgs:
    """Label recorded sessions and build a training dataset from them."""

    sessions: Path
    """Folder of recorded sessions, or one `.mcap` file."""
    out: Path
    """Folder for `labels/` and `dataset/`; labels that are there already are reused."""
    labeler: str = "game"
    """Who names the goals: `game` (what the session itself tells), `nano` (the bundled model chooses among goals it
    knows), or the path of any Qwen-VL checkpoint."""
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
    reused: int
    """Labels that were there already."""
    dataset: DatasetManifest
    """What was built."""
    folder: Path
    """Where it is."""

    def describe(self) -> str:
        """Return all counts by reason as one line."""
        built = self.dataset
        windows = ", ".join(f"{count} {split}" for split, count in built.windows.items())
        return (
            f"{self.sessions} sessions, {self.clips} clips: {self.labeled} labeled ({self.reused} reused)"
            f"{_say(built.clip_drops)}; {sum(built.windows.values())} windows ({windows})"
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
    """
    paths = find_sessions(args.sessions)
    if labeler is None and args.labeler != GameLabeler.name:
        find_checkpoint(args.labeler)  # a wrong name is told at once, not after all sessions are read
    with _bars(console) as start_bar:
        advance = start_bar("reading", len(paths))
        recordings = [_read(path, args.dataset.horizon_ms, advance) for path in paths]
        spec = choose_spec(recordings, args.dataset.horizon_ms)
        cut = replace(args.cut, horizon_ms=spec.horizon_ms)
        clips = [cut_recording(recording, cut) for recording in recordings]
        labeler = labeler or make_labeler(args.labeler, args.label)
        store = LabelStore(args.out / "labels")
        advance = start_bar("labeling", sum(map(len, clips)))
        labeled, reused = [], 0
        for recording, of_session in zip(recordings, clips, strict=True):
            done, kept = label_session(recording, of_session, labeler, store, args.label, advance)
            labeled.append(done)
            reused += kept
        advance = start_bar("building", sum(recording.duration_s for recording in recordings))
        folder = args.out / "dataset"
        pairs = list(zip(recordings, labeled, strict=True))
        manifest = build_dataset(pairs, folder, spec, args.dataset, advance=advance)
    num_labeled = sum(clip.goal is not None for of_session in labeled for clip in of_session)
    return LabelReport(len(paths), sum(map(len, clips)), num_labeled, reused, manifest, folder)


def find_sessions(path: Path) -> list[Path]:
    """Return the session files of a folder in order of name, or the one file that is named.

    Raises:
        DataError: there is no such path, or no session in it.
    """
    if path.is_file():
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
    """Return the labeler of that name; loads a model for all but `game`.

    Raises:
        ModelError: there is no such checkpoint, or it can't be used.
    """
    if name == GameLabeler.name:
        return GameLabeler()
    from labeling.models import load_labeler

    return load_labeler(name, config)


def label_session(
    recording: Recording,
    clips: Sequence[LabeledClip],
    labeler: Labeler,
    store: LabelStore,
    config: LabelConfig,
    advance: Advance = lambda number: None,
) -> tuple[list[LabeledClip], int]:
    """Label the clips of a session, writing as it goes; labels that are there already are reused.

    Returns:
        All clips of the session, with their goals or the reason there is none; and how many labels were reused.
    """
    usable = [labeled.clip for labeled in clips if labeled.dropped is None]
    labels = store.find_kept(recording.session, usable, labeler.name)
    reused = len(labels)
    advance(len(clips) - len(usable) + reused)
    unwritten = 0
    for view in _views(recording, [clip for clip in usable if clip.index not in labels], labeler, config):
        labels[view.clip.index] = labeler.label(view)
        unwritten += 1
        advance(1)
        if unwritten >= config.batch_clips:
            store.write(recording.session, labels.values())
            unwritten = 0
    store.write(recording.session, labels.values())
    done = [
        labeled if labeled.dropped is not None else labels[labeled.clip.index].apply(labeled.clip) for labeled in clips
    ]
    return done, reused


def _read(path: Path, horizon_ms: int, advance: Advance) -> Recording:
    recording = read_recording(path, horizon_ms)
    advance(1)
    return recording


def _views(recording: Recording, clips: Sequence[Clip], labeler: Labeler, config: LabelConfig) -> Iterator[ClipView]:
    if not labeler.needs_pictures:
        yield from (ClipView(clip, recording.goals, None) for clip in clips)
        return
    from vlm_agent.sessions.reader import SessionReader

    sheet = config.sheet
    # What begins before the first frame is shown from the first frame on.
    times_ns = [[max(t, recording.first_frame_ns) for t in sheet_times(clip, sheet.num_frames)] for clip in clips]
    frames = SessionReader(recording.path).frames_at(t for of_clip in times_ns for t in of_clip)
    for clip, of_clip in zip(clips, times_ns, strict=True):
        pictures = [frame.rgb for frame in islice(frames, len(of_clip))]
        seconds = [(t - clip.start_ns) / 1e9 for t in of_clip]
        yield ClipView(clip, recording.goals, make_contact_sheet(pictures, seconds, sheet), len(pictures))


@contextmanager
def _bars(console: Console | None) -> Iterator[Callable[[str, float], Advance]]:
    """Give a function that starts one progress bar after another."""
    if console is None or not console.is_terminal:
        yield lambda title, total: lambda number: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    percentage = TextColumn("{task.percentage:3.0f}%")
    with Progress(
        TextColumn("{task.description:9}"),
        BarColumn(),
        percentage,
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:

        def start_bar(title: str, total: float) -> Advance:
            task = progress.add_task(title, total=total)
            return lambda number: progress.advance(task, number)

        yield start_bar


def _say(drops: dict[str, int]) -> str:
    return "".join(f", {count} {reason}" for reason, count in sorted(drops.items()))
