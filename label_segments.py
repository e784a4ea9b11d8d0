"""Label recorded sessions and build a training dataset.

    python label_segments.py --sessions sessions --out labeled

Cuts every session into clips, gives each clip a short goal, and writes `OUT/labels` and `OUT/dataset`. Run it again and
it goes on where it stopped. The last line counts everything that was dropped, by reason.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import tyro

from vlm_agent.errors import run_guarded

if TYPE_CHECKING:
    from labeling.stage import LabelArgs


def main(args: LabelArgs) -> None:
    """Cut, label, build; show what came of it."""
    from rich.console import Console

    from labeling.stage import label_and_build
    from vlm_agent.dataset.statistics import statistics_table

    report = label_and_build(args, console=Console(stderr=True))
    console = Console()
    console.print(statistics_table(report.dataset.statistics))
    console.print(report.describe(), soft_wrap=True, highlight=False)


if __name__ == "__main__":
    from labeling.stage import LabelArgs

    parsed = tyro.cli(LabelArgs, description=__doc__)
    sys.exit(run_guarded(lambda: main(parsed)))
