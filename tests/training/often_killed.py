"""One run, killed many times: `python -m tests.training.often_killed MODEL OUT KILLS SEED`.

The model is loaded once: every start of the run is a fork, and is killed at a moment drawn by chance, which may fall
anywhere: into a step, an evaluation, a line that is being written, a checkpoint that is being saved or removed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from tests.training.killed_run import CONFIG
from tests.training.synthetic import load_with_lora, make_material
from vlm_agent.training.loop import TrainingLoop
from vlm_agent.training.metrics import METRICS_FILE, MetricsLog
from vlm_agent.training.progress import SilentWatcher

SAVED_OFTEN = replace(CONFIG, save_every_steps=2)
"""24 steps."""
NUM_STEPS = 24
WAIT_S = 60


def _reach(metrics: Path, step: int, process: int) -> None:
    """Return when a run has come to a step; it must not have ended before."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if metrics.exists() and f'"step": {step},' in metrics.read_text(encoding="utf-8"):
            return
        if os.waitpid(process, os.WNOHANG) != (0, 0):
            raise SystemExit(f"the run ended before step {step}")
        time.sleep(0.001)
    raise SystemExit(f"step {step} was not reached in {WAIT_S} s")


def main(model: Path, out: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)  # threads don't outlive a fork
    loaded = load_with_lora(model, SAVED_OFTEN)
    material = make_material(loaded)
    out.mkdir()

    def run() -> None:
        TrainingLoop(loaded, material, SAVED_OFTEN, out, SilentWatcher()).run()

    rng = random.Random(seed)
    metrics = out / METRICS_FILE
    for kill in range(kills):
        process = os.fork()
        if not process:
            run()
            os._exit(1)
        # Steps near the end are left to the last start, so that every one of these has something to be killed in.
        _reach(metrics, 1 + kill * (NUM_STEPS - 3) // kills, process)
        time.sleep(rng.uniform(0, 0.08))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
            raise SystemExit(f"start {kill} ended by itself")
        sys.stdout.write(f"{len(MetricsLog(metrics).read())}\n")
    run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
