"""`vlm-agent plan`: the plan in tables, or as JSON."""

from __future__ import annotations

import json
import sys

from vlm_agent.terminal import PlainConsole
from vlm_agent.training.planning.config import EXIT_NO_GO, PlanConfig
from vlm_agent.training.planning.drafting import draft_plan
from vlm_agent.training.planning.pace import TimeDecisions
from vlm_agent.training.planning.tables import list_tables


def run(config: PlanConfig, time_decisions: TimeDecisions) -> None:
    """Make the plan and print it; ends the program with `EXIT_NO_GO` where something speaks against the run.

    Args:
        config: what is planned.
        time_decisions: lets the model decide on windows (see `pace`).

    Raises:
        DataError: there is no usable dataset, or it is of another action spec.
        ModelError: there is no such model, or it can't be used as asked.
        ConfigError: a card that is not in the table.
    """
    with PlainConsole("error").status("planning"):
        plan = draft_plan(config, time_decisions)
    console = PlainConsole()
    if config.as_json:
        sys.stdout.write(json.dumps(plan.to_json(), indent=2, allow_nan=False) + "\n")
    else:
        for shown in list_tables(plan):
            console.print(shown)
    if not plan.is_go:
        sys.exit(EXIT_NO_GO)
