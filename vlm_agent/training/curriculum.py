"""Which windows are drawn in which part of a run: moves first, then clicks, then all.

A run with a curriculum has the steps, and the passes in each, that it has without: what is easy comes again and again
until its part of the run is over. So what was counted of a run holds, and like `order` it is a pure function of seed
and step. From where all windows are drawn, every step is the one that it would be without a curriculum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, groupby, islice

import numpy as np

from vlm_agent.actions.types import Click, Move
from vlm_agent.dataset.windows import Window
from vlm_agent.training.config import STAGES, TrainConfig
from vlm_agent.training.order import Step, count_steps, plan_epoch, shuffle_passes
from vlm_agent.training.rows import Row

ALL = len(STAGES)
"""The last stage, in which all windows are drawn."""


def stage_of(window: Window) -> int:
    """Return from which stage on a window is drawn whose answer is of actions.

    0: nothing but moves is done, or nothing. 1: there are clicks too. 2: anything else, such as keys, or the goal is
    said to be reached.
    """
    if window.target.done:
        return ALL
    kinds = {type(action) for action in window.target.actions}
    if kinds <= {Move}:
        return STAGES.index("moves")
    return STAGES.index("clicks") if kinds <= {Move, Click} else ALL


def draw_epoch(rows: Sequence[Row], config: TrainConfig, epoch: int) -> list[Step]:
    """Return the steps of an epoch as its curriculum has them; without one those of `order.plan_epoch`.

    Where no row is drawn in a stage yet, the next stage comes at once.
    """
    plan = plan_epoch(rows, config, epoch)
    if not config.curriculum:
        return plan
    num_steps = count_steps(rows, config)
    begun = sum(len(plan_epoch(rows, config, earlier)) for earlier in range(epoch))
    borders = [share * num_steps for share in config.read_curriculum()]
    stages = [sum(begun + index >= border for border in borders) for index in range(len(plan))]
    lowest = min((row.stage for row in rows), default=ALL)
    drawn: list[Step] = []
    for stage, part in groupby(zip(stages, plan, strict=True), key=lambda item: max(item[0], lowest)):
        planned = [step for _, step in part]
        if stage < ALL:
            passes = _draw_passes(rows, config, epoch, stage)
            planned = [list(islice(passes, len(step))) for step in planned]
        drawn += planned
    return drawn


def _draw_passes(rows: Sequence[Row], config: TrainConfig, epoch: int, stage: int) -> Iterator[list[int]]:
    """Give passes over the rows of a stage without end, all rows again and again."""
    allowed = [index for index, row in enumerate(rows) if row.stage <= stage]
    for again in count():
        yield from shuffle_passes(allowed, rows, config, np.random.default_rng((config.seed, epoch, stage, again)))
