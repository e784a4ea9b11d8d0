"""How fast recorded play becomes windows, and how much of that is decoding the video.

    python bench/dataset.py [--json] [--seconds 60]

A video can't be read at moments without decoding what lies between them, so the limit is PyAV decoding the same file
and doing nothing else. Shares and ratios are by this process's own time; everything runs on one thread. The last two
rows read the finished dataset, as training does: windows rendered as prompt and answer, without and with pictures.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import av
from _measuring import Shown, Stopwatch, make_parser, print_rows, say

from labeling.stage import LabelArgs, label_and_build
from vlm_agent.chat import make_recipe, render_answer, render_prompt
from vlm_agent.dataset.pictures import name_picture, write_jpeg
from vlm_agent.dataset.recordings import read_recording
from vlm_agent.dataset.store import Dataset, open_dataset
from vlm_agent.dataset.windows import prompt_input, target_chunk
from vlm_agent.rollouts.recording import DemonstrationConfig, record_demonstrations
from vlm_agent.sessions.reader import SessionReader

SEED = 3
HORIZON_MS = 600
WIDTH_PX, HEIGHT_PX = 384, 256


@dataclass(frozen=True)
class Row:
    """One figure."""

    benchmark: str
    what: str
    windows_per_s: float | None
    """By the wall clock."""
    windows_per_cpu_s: float | None
    """By this process's own time: the same on a core that others use too."""
    frames_per_cpu_s: float | None
    """Of the video, by the same."""
    share_of_build: float | None
    """Its part of the whole stage."""
    times_limit: float | None
    """How many times as long as decoding alone."""


@dataclass(frozen=True)
class Timed:
    """A piece of work."""

    watch: Stopwatch
    """Its time."""
    num_windows: int | None = None
    """Windows it gave."""


def measure(seconds: int, repeats: int) -> list[Row]:
    """Return all figures, each the best of some repeats: other load only ever slows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"recording {seconds} s of play")
        [session] = record_demonstrations(folder, [SEED], DemonstrationConfig(minutes=seconds / 60))
        num_frames = SessionReader(session).info().frames
        times_ns = read_recording(session, HORIZON_MS).ticks_ns
        say("building")
        decode = _best([_decode_plainly(session.with_suffix(".mkv"), num_frames) for _ in range(repeats)])
        read = _best([_read_at(session, times_ns) for _ in range(repeats)])
        keep = _best([_keep_pictures(session, times_ns, folder) for _ in range(repeats)])
        build = _best([_build(session, folder / f"labeled-{number}") for number in range(repeats)])
        dataset = open_dataset(folder / "labeled-0")
        render = _best([_render(dataset, with_pictures=False) for _ in range(repeats)])
        show = _best([_render(dataset, with_pictures=True) for _ in range(repeats)])

    def row(what: str, work: Timed, *, is_of_video: bool = True) -> Row:
        """Return what a piece of work took as a row of the table."""
        wall_s, cpu_s = work.watch.wall_s, work.watch.cpu_s
        return Row(
            benchmark="dataset",
            what=what,
            windows_per_s=work.num_windows / wall_s if work.num_windows else None,
            windows_per_cpu_s=work.num_windows / cpu_s if work.num_windows else None,
            frames_per_cpu_s=num_frames / cpu_s if is_of_video else None,
            share_of_build=cpu_s / build.watch.cpu_s if is_of_video else None,
            times_limit=cpu_s / decode.watch.cpu_s if is_of_video else None,
        )

    return [
        row("limit: PyAV decodes the video, no more", decode),
        row("our reader gives the frames of all ticks", read),
        row("pictures are named and written as JPEG", keep),
        row("label_segments.py: session to windows", build),
        row("read and render", render, is_of_video=False),
        row("read and render, with pictures", show, is_of_video=False),
    ]


def _decode_plainly(video: Path, num_frames: int) -> Timed:
    with Stopwatch() as watch, av.open(str(video)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        decoded = sum(1 for _ in container.decode(video=0))
    assert decoded == num_frames
    return Timed(watch)


def _read_at(session: Path, times_ns: tuple[int, ...]) -> Timed:
    with Stopwatch() as watch:
        read = sum(1 for _ in SessionReader(session).frames_at(times_ns))
    assert read == len(times_ns)
    return Timed(watch)


def _keep_pictures(session: Path, times_ns: tuple[int, ...], folder: Path) -> Timed:
    frames = [frame.rgb for frame in SessionReader(session).frames_at(times_ns)]
    with Stopwatch() as watch:
        for rgb in frames:
            write_jpeg(folder / f"{name_picture(rgb)}.jpg", rgb)
    return Timed(watch)


def _build(session: Path, out: Path) -> Timed:
    with Stopwatch() as watch:
        report = label_and_build(LabelArgs(sessions=session, out=out, labeler="game"))
    return Timed(watch, sum(report.dataset.windows.values()))


def _render(dataset: Dataset, *, with_pictures: bool) -> Timed:
    recipe = make_recipe(dataset.spec, image_width_px=WIDTH_PX, image_height_px=HEIGHT_PX)
    split, *_ = dataset.splits
    frame = dataset.frame(dataset.windows(split)[0])
    count = 0
    with Stopwatch() as watch:
        for window in dataset.windows(split):
            if with_pictures:
                frame = dataset.frame(window)
            render_prompt(prompt_input(window, recipe, frame), recipe)
            render_answer(target_chunk(window, recipe), recipe)
            count += 1
    return Timed(watch, count)


def _best(runs: list[Timed]) -> Timed:
    return min(runs, key=lambda work: work.watch.cpu_s)


def main() -> None:
    """Print the figures, one a line."""
    parser = make_parser(__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="game time of the session")
    parser.add_argument("--repeats", type=int, default=2, help="the best of so many runs is printed")
    args = parser.parse_args()
    rows = measure(args.seconds, args.repeats)
    shown = Shown(
        f"Dataset from {args.seconds} s of play, one core",
        "limit: PyAV decoding the same file. share of build: of label_segments.py's own time.",
    )
    print_rows(rows, shown, as_json=args.json)


if __name__ == "__main__":
    main()
