"""Further goals: better and worse only after the correction for how many there are, and judged by the game."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.evaluation.canned import SETTING, canned_rollout
from vlm_agent.evaluation.comparison import Comparison, compare_rollouts
from vlm_agent.evaluation.goals import describe, write_section
from vlm_agent.evaluation.metrics import GOAL_SUCCESS, RINGS_PER_MINUTE

SEEDS = 10


def compare(goal: str, base: tuple[int, ...], tuned: tuple[int, ...], metric=GOAL_SUCCESS) -> Comparison:
    rollouts = [canned_rollout("base", base), canned_rollout("tuned", tuned), canned_rollout("noop", (0,) * SEEDS)]
    return compare_rollouts(rollouts, metric, replace(SETTING, goal=goal), resamples=500)


NEVER, ALWAYS = (0,) * SEEDS, (1,) * SEEDS
HALF = (1, 0) * (SEEDS // 2)
# Paired: +1 on five of ten seeds, p = 0.015 in a t test.
SOME = (0, 1, 0, 1, 0, 1, 0, 1, 0, 1)


def test_goals_are_told_apart_by_what_tuning_did_to_them() -> None:
    comparisons = [
        compare("open the bank", NEVER, ALWAYS),
        compare("close the bank", ALWAYS, NEVER),
        compare("use the furnace", HALF, HALF),
    ]
    section = write_section(comparisons)
    assert section.sentences == (
        "Of 3 further goals tuned is better than base for sure on 1, worse on 1.",
        "Better: “open the bank”.",
        "Worse: “close the bank”; tuning made it forget.",
    )
    assert section.gist == section.sentences[0]
    [table] = section.tables
    assert table.columns[0] == "goal (judged by the game)"
    assert "whether one is reached the game says, never the model" in table.caption
    # Ten seeds agree: a sign test of 2 ** -9, three times for three goals; and no interval is certain.
    assert table.rows[0] == ("open the bank", "0.00 [0.00, 0.31]", "1.00 [0.69, 1.00]", "0.00", "+1.00", "0.006")
    assert table.rows[1][4:] == ("−1.00", "0.006")
    assert table.rows[2][4:] == ("+0.00", "1.000")


def test_of_many_goals_one_is_better_by_chance_and_is_not_said_to_be() -> None:
    alone = write_section([compare("open the bank", NEVER, SOME)])
    assert alone.sentences[0].endswith("better than base for sure on 1, worse on 0.")
    many = [compare("open the bank", NEVER, SOME), *(compare(f"goal {n}", HALF, HALF) for n in range(5))]
    section = write_section(many)
    assert section.sentences == ("Of 6 further goals tuned is better than base for sure on 0, worse on 0.",)
    assert section.gist == ""
    assert section.tables[0].rows[0][5] == "0.090"


def test_a_goal_that_goes_on_names_its_unit_and_keeps_its_numbers() -> None:
    going_on = compare("craft sapphire rings", NEVER, tuple(range(SEEDS)), RINGS_PER_MINUTE)
    [row] = write_section([going_on]).tables[0].rows
    assert row[0] == "craft sapphire rings, rings a minute"
    assert row[4] == "+3.00"
    [value] = describe([going_on])
    assert "made" not in value
    assert value["difference"]["mean"] == pytest.approx(3.0)
