"""How fast recorded play becomes a dataset, and how fast the dataset is read: windows per second on one core.

    python bench/dataset.py [--json] [--minutes 1]

The play is the demonstrator's, recorded beforehand with ten frames a second. `label and build` is the whole of
label_segments.py with `--labeler game`: cutting, labeling, decoding the video, storing pictures and windows.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from labeling.stage import LabelArgs, label_and_build
from vlm_agent.chat import make_recipe, render_answer, render_prompt
from vlm_agent.dataset.store import Dataset, open_dataset
from vlm_agent.dataset.windows import prompt_input, target_chunk
from vlm_agent.rollouts.recording import DemonstrationConfig, record_demonstrations

SEEDS = (1, 2)


@dataclass(frozen=True)
class Row:
    """One figure."""

    benchmark: str
    what: str
    windows_per_second: float
    """By the wall clock."""
    windows_per_cpu_second: float
    """By this process's own time: the same on a core that others use too."""
    windows: int


def _time(what: str, work: Callable[[], int]) -> Row:
    begun, begun_cpu = time.perf_counter(), time.process_time()
    windows = work()
    wall_s, cpu_s = time.perf_counter() - begun, time.process_time() - begun_cpu
    return Row("dataset", what, round(windows / wall_s, 1), round(windows / cpu_s, 1), windows)


def _read(dataset: Dataset, *, with_pictures: bool) -> int:
    recipe = make_recipe(dataset.spec, image_width_px=384, image_height_px=256)
    count = 0
    frame = dataset.frame(dataset.windows("train")[0])
    for window in dataset.windows("train"):
        if with_pictures:
            frame = dataset.frame(window)
        render_prompt(prompt_input(window, recipe, frame), recipe)
        render_answer(target_chunk(window, recipe), recipe)
        count += 1
    return count


def measure(minutes: float) -> list[Row]:
    """Return all figures."""
    with tempfile.TemporaryDirectory() as folder:
        sessions, out = Path(folder) / "sessions", Path(folder) / "out"
        record_demonstrations(sessions, SEEDS, DemonstrationConfig(minutes=minutes))
        built = _time(
            "label and build", lambda: sum(label_and_build(LabelArgs(sessions, out)).dataset.windows.values())
        )
        dataset = open_dataset(out)
        return [
            built,
            _time("read and render", lambda: _read(dataset, with_pictures=False)),
            _time("read and render, with pictures", lambda: _read(dataset, with_pictures=True)),
        ]


def main() -> None:
    """Print the figures, one a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    parser.add_argument("--minutes", type=float, default=1.0, help="game time of each of the two recorded sessions")
    args = parser.parse_args()
    for row in measure(args.minutes):
        if args.json:
            print(json.dumps(asdict(row)))
        else:
            by_cpu = f"{row.windows_per_cpu_second:.0f} by CPU time"
            print(f"{row.what:32s} {row.windows_per_second:8.0f} windows/s, {by_cpu}")


if __name__ == "__main__":
    main()
