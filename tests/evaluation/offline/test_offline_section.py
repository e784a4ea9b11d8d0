"""The part of the report: sentences follow the numbers, and nothing breaks where something is missing."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest

from tests.evaluation.offline.cases import predict, random_predictions
from tests.evaluation.offline.test_forced import event, number, readout
from vlm_agent.evaluation.offline.evaluation import OfflineEvaluation, evaluate
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.section import write_section
from vlm_agent.evaluation.offline.table import list_tables, make_tables, write_markdown


def make(*, is_better=True, readouts=None):
    some = random_predictions(1, sessions=12, windows=20)
    right = [replace(one, answer=one.target) for one in some]
    sides = {"tuned": right, "nearest": some} if is_better else {"tuned": some, "nearest": right}
    return evaluate(sides, {"split": "validation"}, ScoreConfig(), readouts)


def make_readouts(seed=0):
    rng = np.random.default_rng(seed)
    made = []
    for place in range(40):
        p = int(rng.integers(500_000, 999_999))
        truth = "CLICK" if rng.random() < 0.8 else "none"
        numbers = (
            number(truth=int(rng.choice([80, 90, 100], p=[0.25, 0.5, 0.25]))),
            number("x", int(rng.integers(98, 104)), 98, (100_000,) * 6, step=1),
            number("y", int(rng.integers(98, 104)), 98, (100_000,) * 6, step=1),
        )
        slot = event(truth, CLICK=p, none=1_000_000 - p)
        made.append(readout(place, f"s{place % 8}", numbers=numbers, events=(slot,)))
    return made


def find(section, start):
    [sentence] = [one for one in section.sentences if one.startswith(start)]
    return sentence


def test_sentences_say_who_wins_for_sure():
    won = write_section(make())
    assert find(won, "For sure it beats a table of the training windows").endswith(
        f"F1 of whole actions 100% against {make().answerers[1].estimates['f1_detail'].value * 100:.0f}%."
    )
    lost = write_section(make(is_better=False))
    assert find(lost, "For sure it does worse than a table")
    some = random_predictions(1, sessions=12, windows=20)
    same = evaluate({"tuned": some, "nearest": some}, {}, ScoreConfig())
    assert find(write_section(same), "It is not for sure better or worse than a table")


def test_hopes_failures_and_errors_are_told_with_their_numbers():
    section = write_section(make())
    assert find(section, "Of 5 shares once hoped for it reaches 5") == "Of 5 shares once hoped for it reaches 5."
    assert find(section, "The times of right actions are off by 0 ms on average")
    assert find(section, "Every answer could be read.")
    silent = evaluate({"tuned": [predict(number=1), predict(answer=None, number=2)]}, {}, ScoreConfig())
    assert find(write_section(silent), "1 of 2 windows have no answer that could be read (truncated 1).")
    assert "| truncated | 1 |" in write_markdown(silent)


def test_expectations_are_told_beside_those_of_the_base_and_honesty_by_the_interval():
    mine = make_readouts()
    base = [replace(one, bits={**one.bits, "dt": one.bits["dt"] * 3}) for one in mine]
    evaluation = make(readouts={"tuned": mine, "base": base})
    section = write_section(evaluation)
    told = find(section, "The player's own actions of a window cost it 4.5 bits, the largest part of them for times")
    assert told.endswith("; its base needs 10.5.")
    assert "honest as far as can be told" in find(section, "Its expectations of times are")
    narrow = [replace(one, numbers=(number(truth=100, first=90, ppm=(999_999, 1)),)) for one in mine]
    narrow_section = write_section(make(readouts={"tuned": narrow}))
    assert "too narrow: the central 80% of what it expects hold 0%" in find(
        narrow_section, "Its expectations of times are"
    )
    assert len(section.plots) == 5
    assert len(narrow_section.plots) == 4
    for plot in section.plots:
        for address in (plot.light, plot.dark):
            assert b"<svg" in base64.b64decode(address.split(",", 1)[1])


def test_tables_keep_answers_and_expectations_apart_and_the_saved_section_is_the_same():
    evaluation = make(readouts={"tuned": make_readouts()})
    first, second, keys = list_tables(evaluation)
    assert [row[0] for row in first.rows][:2] == ["answers read, %", "events right, %"]
    assert "bits of a window's actions" in [row[0] for row in second.rows]
    assert [row[0] for row in keys.rows] == ["escape", "space"]
    counts = {len(table.columns) for table in (first, second, keys)} | {len(row) for row in first.rows}
    assert counts == {4, 3}
    [actions] = [row for row in first.rows if row[0] == "actions in a window"]
    assert actions[-1].startswith("player ")
    assert len(list(make_tables(evaluation))) == 3
    again = OfflineEvaluation.from_json(evaluation.to_json())
    assert again.to_json() == evaluation.to_json()
    assert write_section(again).sentences == write_section(evaluation).sentences


@pytest.mark.parametrize("sessions", [1, 2])
def test_few_sessions_have_no_intervals_or_wide_ones_and_still_a_section(sessions):
    some = random_predictions(3, sessions=sessions, windows=4)
    evaluation = evaluate({"base": some, "nothing": some}, {}, ScoreConfig(), {"base": [readout()]})
    section = write_section(evaluation)
    assert section.sentences[0].startswith("Base was asked about")
    assert section.to_markdown().startswith("## Against the player's own recordings")
