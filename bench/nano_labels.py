"""Does base nano name clips of play? The share of labels that are the goal that was played, with the picture and blind.

    python bench/nano_labels.py [--json] [--clips 100] [--model base]

Every clip is a single-step goal played in a scene of its own that training has not used, shown and asked as
`label_segments.py --labeler nano` does. `most common` is what always answering the commonest goal would reach; the
limit is below 100 %, for some goals look alike until the moment they are reached.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from labeling.checks import CheckConfig
from labeling.contact_sheet import SheetConfig
from labeling.labelers import make_question
from labeling.models import GoalChooser
from vlm_agent.chat import load_prompt
from vlm_agent.games.ringcraft.goals import GOALS
from vlm_agent.models.loading import load_model
from vlm_agent.training.nano.clip_labels import make_clip


@dataclass(frozen=True)
class Args:
    """What to measure."""

    clips: int = 100
    """Clips to name."""
    model: str = "base"
    """Which model names them."""
    seed: int = 990_000
    """Seed of the clips; nano's training uses others."""
    json: bool = False
    """Print one JSON object a row."""


def main(args: Args) -> None:
    """Name every clip and report."""
    torch.set_num_threads(1)  # see `nano_goals`
    choose = GoalChooser(
        load_model(args.model, quantization="none"), [goal.text for goal in GOALS.values() if not goal.is_long]
    )
    asked = make_question(load_prompt("label_clip"), SheetConfig().num_frames, CheckConfig())
    told, seen, blind = [], [], []
    for index in track(range(args.clips), "clips", console=Console(stderr=True)):
        sheet, goal = make_clip(args.seed, index)
        told.append(goal)
        seen.append(choose(asked, [sheet])[0])
        blind.append(choose(asked, [np.full_like(sheet, 127)])[0])
    report(
        args, told, {"picture": seen, "blanked": blind, "most common": Counter(told).most_common(1)[0][:1] * len(told)}
    )


def report(args: Args, told: list[str], given: dict[str, list[str] | tuple[str, ...]]) -> None:
    """Print a row for each way of answering: whole labels right, and their first word."""
    rows = [
        {
            "answers": name,
            "clips": len(told),
            "right": float(np.mean([one == other for one, other in zip(told, answers, strict=True)])),
            "verb_right": float(
                np.mean([one.split()[0] == other.split()[0] for one, other in zip(told, answers, strict=True)])
            ),
        }
        for name, answers in given.items()
    ]
    if args.json:
        for row in rows:
            print(json.dumps(row))
        return
    table = Table("answers", "clips", "label right", "verb right", title=f"clips named by {args.model}")
    for row in rows:
        table.add_row(str(row["answers"]), str(row["clips"]), f"{row['right']:.0%}", f"{row['verb_right']:.0%}")
    Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
