"""Does base nano name clips of play? The share of labels that are the goal that was played, with the picture and blind.

    python bench/nano_labels.py [--json] [--clips 100] [--model base]

Every clip is a single-step goal played in a scene of its own that training has not used, shown and asked as
`label_segments.py --labeler nano` does. `most common` is what always answering the commonest goal would reach; the
limit is below 100 %, for some goals look alike until the moment they are reached.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from _measuring import Shown, make_parser, print_rows
from rich.console import Console
from rich.progress import track

from labeling.checks import CheckConfig
from labeling.contact_sheet import SheetConfig
from labeling.labelers import make_question
from labeling.models import GoalChooser
from vlm_agent.chat import load_prompt
from vlm_agent.games.ringcraft.goals import GOALS
from vlm_agent.models.loading import load_model
from vlm_agent.training.nano.clip_labels import make_clip


@dataclass(frozen=True)
class Named:
    """How many clips one way of answering named right."""

    answers: str
    """The way."""
    clips: int
    """How many were named."""
    right: float
    """Share of whole labels."""
    verb_right: float
    """Share of their first words."""


def main(args: argparse.Namespace) -> None:
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
    common = Counter(told).most_common(1)[0][0]
    given = {"picture": seen, "blanked": blind, "most common": [common] * len(told)}
    rows = [Named(name, len(told), *_compare(told, answers)) for name, answers in given.items()]
    print_rows(rows, Shown(f"clips named right by {args.model}", "limit: below 1"), as_json=args.json)


def _compare(told: Sequence[str], answers: Sequence[str]) -> tuple[float, float]:
    pairs = list(zip(told, answers, strict=True))
    verbs = [one.split()[0] == other.split()[0] for one, other in pairs]
    return float(np.mean([one == other for one, other in pairs])), float(np.mean(verbs))


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--clips", type=int, default=100, help="clips to name")
    parser.add_argument("--model", default="base", help="which model names them")
    parser.add_argument("--seed", type=int, default=990_000, help="seed of the clips; nano's training uses others")
    main(parser.parse_args())
