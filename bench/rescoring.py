"""How fast are recorded answers and read-outs scored anew, without a model? 10,000 windows must take less than 10 s.

    python bench/rescoring.py [--json] [--windows 10000]

The other side is what no scoring can do without: reading the same files as JSON.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _measuring import Shown, Stopwatch, make_parser, print_rows, say

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key, Move
from vlm_agent.evaluation.offline.evaluation import evaluate
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.predictions import Prediction, PredictionStore, read_predictions
from vlm_agent.evaluation.offline.readouts import EventSlot, NumberSlot, Readout, ReadoutStore, read_readouts

SPEC = ActionSpec(765, 503, keys=("space", "escape"))
SESSIONS = 100


@dataclass(frozen=True)
class Row:
    """One way through the same file."""

    what: str
    """What was done."""
    windows: int
    """How many windows."""
    seconds: float
    """Wall time."""
    windows_per_second: float
    """Windows by wall time."""
    times_json: float
    """Wall time by that of reading the JSON alone."""


def main() -> None:
    """Write random answers, read them, score them."""
    parser = make_parser(__doc__)
    parser.add_argument("--windows", type=int, default=10_000, help="how many windows")
    args = parser.parse_args()
    say(f"{args.windows} windows of {SESSIONS} sessions, up to three actions on either side")
    with tempfile.TemporaryDirectory() as folder:
        path, readouts_path = Path(folder) / "tuned.jsonl", Path(folder) / "readouts.jsonl"
        write_answers(path, args.windows)
        write_readouts(readouts_path, args.windows)
        with Stopwatch() as plain:
            for one in (path, readouts_path):
                for line in one.read_text(encoding="utf-8").splitlines():
                    json.loads(line)
        with Stopwatch() as scoring:
            head, predictions = read_predictions(path)
            _, readouts = read_readouts(readouts_path)
            evaluation = evaluate({head["name"]: predictions}, {}, ScoreConfig(), {head["name"]: readouts})
        assert evaluation.windows == args.windows
        assert evaluation.forced is not None
        assert evaluation.forced.windows == args.windows
    rows = [
        Row(what, args.windows, watch.wall_s, args.windows / watch.wall_s, watch.wall_s / plain.wall_s)
        for what, watch in (("reading the JSON", plain), ("reading and scoring", scoring))
    ]
    print_rows(rows, Shown("answers scored anew", "limit: 10 s for 10,000 windows"), as_json=args.json)


def write_answers(path: Path, count: int) -> None:
    """Write so many windows with answers, half of them right."""
    rng = np.random.default_rng(0)
    store = PredictionStore(path, {"name": "tuned"}, SPEC)
    for number in range(count):
        target = draw(rng)
        answer = target if rng.random() < 0.5 else draw(rng)
        session = f"s{number % SESSIONS}"
        box = (100.0, 100.0, 40.0, 30.0)
        boxes = tuple(box for action in target.actions if isinstance(action, Click))
        store.add(
            Prediction(f"{session}/{number}/short", session, "open the bank", "short", target, answer, None, boxes)
        )


def write_readouts(path: Path, count: int) -> None:
    """Write what was expected in so many windows: half of them hold a click."""
    rng = np.random.default_rng(1)
    store = ReadoutStore(path, {"name": "tuned"})
    for number in range(count):
        session = f"s{number % SESSIONS}"
        events = (EventSlot("CLICK", {"CLICK": 700_000, "none": 300_000}), EventSlot("none", {"none": 1_000_000}))
        places = (("dt", 60, 10, 1.0), ("x", 200, 1, 0.765), ("y", 200, 1, 0.503))
        numbers = tuple(
            NumberSlot(part, "CLICK", 0, step * int(rng.integers(size)), 0, spread(rng, size), step, unit)
            for part, size, step, unit in places
        )
        is_idle = number % 2 == 0
        store.add(
            Readout(
                window_id=f"{session}/{number}/short",
                session=session,
                bits={"dt": 3.0, "event": 0.5, "stop": 0.5, "structure": 0.1},
                counts={"dt": 1, "event": 1, "stop": 2},
                choices=9,
                off_grammar=0.01,
                events=events[is_idle:],
                numbers=() if is_idle else numbers,
            )
        )


def spread(rng: np.random.Generator, size: int) -> tuple[int, ...]:
    """Return probabilities of so many neighbours, millionths."""
    return tuple((rng.dirichlet(np.ones(size)) * 1_000_000).astype(int).tolist())


def draw(rng: np.random.Generator) -> ActionChunk:
    """Return up to three random actions."""
    kinds = (
        lambda dt, x, y: Click(dt, x, y),
        lambda dt, x, y: Key(dt, SPEC.keys[x % 2]),
        lambda dt, x, y: Move(dt, x, y),
    )
    drawn = rng.integers(0, (20, 765, 503, 3), size=(int(rng.integers(4)), 4)).tolist()
    return ActionChunk(tuple(kinds[kind](dt * 10, x, y) for dt, x, y, kind in drawn))


if __name__ == "__main__":
    main()
