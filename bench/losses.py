"""What each loss, curriculum and change of pictures does to nano, tuned on recorded play, on sessions it has not seen.

    python bench/losses.py [--json] [--quick] [--out runs/bench-losses] [--only NAME ...] [--seeds 1] [--steps N]

Every setting trains on the same windows for the same number of steps, from the same start. `loss` and the fields are
nats a token on unseen sessions, always the plain cross entropy, so that they can be compared; what a setting is for may
show only in what is answered and read out. Half of the windows that are asked hold a click. `within_10_px` is the share
of answered actions with a place that are so near to the player's they match, `in_bounds` that of the player's clicks
whose thing is hit, both as in `vlm-agent eval`; `dt_crps` and `click_crps` are read out (ms, px; less is better). With
several seeds each has its row: one seed says little, look at what the seeds agree in.

Everything is kept in `--out`: stopped and started again with the same arguments it goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from _material import load_bench_model
from _measuring import Shown, make_parser, print_rows, say

from labeling.stage import LabelArgs, label_and_build
from vlm_agent.actions.types import Click
from vlm_agent.dataset.build import DatasetConfig
from vlm_agent.dataset.splits import SplitConfig
from vlm_agent.dataset.store import Dataset, open_dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.evaluation.offline.answering import answer_windows
from vlm_agent.evaluation.offline.estimates import estimate
from vlm_agent.evaluation.offline.forced import tally_readouts
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.predictions import PredictionStore
from vlm_agent.evaluation.offline.reading import WindowReader, plan_readings, read_windows
from vlm_agent.evaluation.offline.readouts import ReadoutStore
from vlm_agent.evaluation.offline.scores import tally_sessions
from vlm_agent.evaluation.offline.tallies import Tally
from vlm_agent.files import write_text
from vlm_agent.models.loading import load_model
from vlm_agent.observations import Observer
from vlm_agent.policies import VlmPolicy
from vlm_agent.rollouts.recording import DemonstrationConfig, record_demonstrations
from vlm_agent.training.adapters import ADAPTER_FOLDER, train_adapter
from vlm_agent.training.config import EvaluationSettings, TrainConfig
from vlm_agent.training.metrics import METRICS_FILE, MetricsLog
from vlm_agent.training.moments import spread

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "soft points": {"soft_points": 8.0},
    "soft times": {"soft_dt_ms": 30.0},
    "soft both": {"soft_points": 8.0, "soft_dt_ms": 30.0},
    "pinball": {"pinball_weight": 0.5},
    "gaussian": {"gaussian_weight": 0.2},
    "unified": {"pinball_weight": 0.5, "gaussian_weight": 0.2, "event_weights": ("CLICK=2", "KEY=2", "MOVE=0.5")},
    "window weights": {"window_weights": ("idle=0.3", "moves=0.5")},
    "curriculum": {"curriculum": ("moves=0.15", "clicks=0.5")},
    "jitter": {"jitter": ("brightness=0.1", "contrast=0.1", "saturation=0.1")},
    "crop": {"crop": 0.04},
}
"""What is changed of the settings that all have in common."""
QUICK = ("plain", "soft both", "unified", "crop")


@dataclass(frozen=True)
class Size:
    """How much is done for each setting."""

    sessions: int
    """Recorded; a third of them is not learnt from."""
    minutes: float
    """Of each."""
    steps: int
    """Optimizer steps of eight windows."""
    asked: int
    """Windows that are asked."""
    measured: int
    """Windows that the loss is measured on."""


LEARNING_RATE = 3e-3
"""Nano is a thousand times smaller than what `train`'s own default is for, and would learn nothing in so few steps."""
USUAL = Size(sessions=60, minutes=0.15, steps=240, asked=60, measured=128)
SHORT = Size(sessions=3, minutes=0.3, steps=3, asked=4, measured=8)


@dataclass(frozen=True)
class Row:
    """One run."""

    benchmark: str
    setting: str
    seed: int
    loss: float
    event: float | None
    dt: float | None
    x: float | None
    y: float | None
    key: float | None
    stop: float | None
    within_10_px: float | None
    in_bounds: float | None
    f1_click: float | None
    dt_crps: float | None
    click_crps: float | None
    step_s: float
    """Seconds a step, the median; the first epoch's pictures are seen in it."""


def make_dataset(folder: Path, size: Size) -> Dataset:
    """Record play, or open what was recorded before; half-made material is made anew."""
    built = folder / "labeled" / "dataset"
    if not built.is_dir():
        say(f"recording {size.sessions} sessions of {size.minutes:g} minutes")
        config = DemonstrationConfig(minutes=size.minutes, starts="anywhere")
        record_demonstrations(folder / "sessions", range(11, 11 + size.sessions), config)
        split = DatasetConfig(split=SplitConfig(validation_fraction=1 / 3))
        label_and_build(LabelArgs(sessions=folder / "sessions", out=folder / "labeled", labeler="game", dataset=split))
    return open_dataset(folder / "labeled")


def measure(name: str, seed: int, dataset: Dataset, model: str, folder: Path, size: Size) -> Row:
    """Train one setting and ask it; what is there already is not done again."""
    done = folder / "row.json"
    known = json.loads(done.read_text(encoding="utf-8")) if done.is_file() else {}
    asked = json.loads(json.dumps(SETTINGS[name]))
    if known and known["settings"] != asked:
        raise SystemExit(
            f"{done}: was measured with other settings of {name!r}; remove {folder}, or give another --out"
        )
    if known:
        return Row(**known["row"])
    config = TrainConfig(
        evaluation=EvaluationSettings(every_steps=size.steps, patience=0, max_windows=size.measured),
        epochs=1000.0,
        max_steps=size.steps,
        learning_rate=LEARNING_RATE,
        keep_idle=0.5,
        seed=seed,
    )
    loaded = load_model(model, device="cpu", trainable=True)
    train_adapter(dataset.folder, loaded, replace(config, **SETTINGS[name]), folder / "run")
    lines = MetricsLog(folder / "run" / METRICS_FILE).read()
    [measured] = [line for line in lines if "eval_loss" in line and line["step"] == size.steps]
    seconds = sorted(line["seconds"] for line in lines if "loss" in line)
    tallies = _ask(dataset, folder, size)
    fields = {part: measured["eval_loss_by_field"].get(part) for part in ("event", "dt", "x", "y", "key", "stop")}
    row = Row(
        benchmark="losses",
        setting=name,
        seed=seed,
        loss=_mean(measured["eval_loss_by_field"]),
        **{part: found and found["loss"] for part, found in fields.items()},
        within_10_px=_read(tallies[0], "within_10_px"),
        in_bounds=_read(tallies[0], "click_in_bounds"),
        f1_click=_read(tallies[0], "f1_click"),
        dt_crps=_read(tallies[1], "dt_crps_ms"),
        click_crps=_read(tallies[1], "click_crps_px"),
        step_s=seconds[len(seconds) // 2],
    )
    write_text(done, json.dumps({"settings": asked, "row": asdict(row)}) + "\n")
    return row


def _mean(fields: dict[str, dict[str, float]]) -> float:
    """Return nats a token, each counted once: what is written as the whole loss is weighed as in training."""
    nats = sum(field["loss"] * field["tokens"] for field in fields.values())
    return nats / sum(field["tokens"] for field in fields.values())


def _ask(dataset: Dataset, folder: Path, size: Size) -> tuple[dict[str, Tally], dict[str, Tally]]:
    """Return tallies by session of what is answered to unseen windows, and of what is read out of them."""
    every = [window for window in dataset.windows("validation") if window.goal_level == "short"]
    windows = _choose(every, size.asked)
    policy = VlmPolicy.from_run(folder / "run" / ADAPTER_FOLDER, dataset.spec, device="cpu")
    answers = PredictionStore(folder / "answers.jsonl", {"windows": len(windows)}, dataset.spec)
    observer = Observer(dataset, policy.recipe)
    answer_windows(policy, observer, windows, answers)
    read = ReadoutStore(folder / "readouts.jsonl", {"windows": len(windows)})
    read_windows(WindowReader(policy), observer, plan_readings(windows, policy.recipe, every), read)
    predictions = [answers.done[window.window_id] for window in windows]
    return dict(tally_sessions(predictions, ScoreConfig())), dict(tally_readouts(list(read.done.values())))


def _choose(windows: Sequence[Window], count: int) -> list[Window]:
    """Return windows of which half hold a click, evenly spread."""
    clicks = [window for window in windows if any(isinstance(action, Click) for action in window.target.actions)]
    others = [window for window in windows if window not in clicks]
    return spread(clicks, count // 2) + spread(others, count - count // 2)


def _read(tallies: dict[str, Tally], metric: str) -> float | None:
    found = estimate(tallies, metric)
    return None if found is None else found.value


def main() -> None:
    """Print the rows as they come, or as one table."""
    parser = make_parser(__doc__)
    parser.add_argument("--quick", action="store_true", help="a few steps of a few settings, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-losses"), help="where everything is kept")
    parser.add_argument("--only", nargs="+", choices=SETTINGS, help="only these settings")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each setting")
    parser.add_argument("--steps", type=int, help="optimizer steps of each run")
    args = parser.parse_args()
    size = SHORT if args.quick else USUAL
    size = replace(size, steps=args.steps or size.steps)
    # What was done at another size is kept apart: material by what is recorded, runs by what is done with it.
    place = args.out / f"{size.sessions}x{size.minutes:g}min"
    place.mkdir(parents=True, exist_ok=True)
    model, described = _find_model(place)
    dataset = make_dataset(place, size)
    rows = []
    shown = Shown(
        f"{described}, {size.steps} steps, {torch.get_num_threads()} threads",
        "nats a token on unseen sessions; shares; ms; px. One seed says little.",
    )
    for seed in range(args.seeds):
        for name in args.only or (QUICK if args.quick else SETTINGS):
            say(f"{name}, seed {seed}")
            folder = place / f"{size.steps}-{size.asked}-{size.measured}" / f"{name.replace(' ', '-')}-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            rows.append(measure(name, seed, dataset, model, folder, size))
            if args.json:
                print_rows(rows[-1:], shown, as_json=True)
    if not args.json:
        print_rows(rows, shown, as_json=False)


def _find_model(place: Path) -> tuple[str, str]:
    """Return the bundled model, or the folder of a random one of its shape where its weights are missing."""
    if (place / "nano").is_dir():
        return str(place / "nano"), "nano's shape, random weights"
    _, described = load_bench_model("nano", place)
    return (str(place / "nano") if (place / "nano").is_dir() else "nano"), described


if __name__ == "__main__":
    main()
