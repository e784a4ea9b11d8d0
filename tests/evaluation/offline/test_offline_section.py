"""The part of the report: sentences follow the numbers, and nothing breaks where something is missing."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from tests.evaluation.offline.cases import SPEC, click, predict, random_predictions
from tests.evaluation.offline.test_forced import event, number, readout
from vlm_agent.evaluation.offline import evaluation as evaluation_module
from vlm_agent.evaluation.offline.evaluation import OfflineEvaluation, evaluate
from vlm_agent.evaluation.offline.metrics import FORCED_METRICS, OFFLINE_METRICS, ScoreConfig
from vlm_agent.evaluation.offline.predictions import PredictionStore, read_predictions, tell_source
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
    told = find(won, "For sure it beats a table of the training windows")
    theirs = make().answerers[1].estimates["f1_detail"].value * 100
    assert told.endswith(
        f"F1 of whole actions (kind, key or button, within 300 ms and 10 px) 100% against {theirs:.0f}%."
    )
    assert won.gist.endswith(
        f"it gets 100% right (F1), surely more than looking up the most similar moment does ({theirs:.0f}%)."
    )
    lost = write_section(make(is_better=False))
    assert lost.gist.endswith(
        f"it gets {theirs:.0f}% right (F1), surely less than looking up the most similar moment does (100%)."
    )
    assert find(lost, "For sure it does worse than a table")
    some = random_predictions(1, sessions=12, windows=20)
    same = evaluate({"tuned": some, "nearest": some}, {}, ScoreConfig())
    assert find(write_section(same), "It is not for sure better or worse than a table")
    assert "not surely more or less than looking up" in write_section(same).gist


def test_hopes_failures_and_errors_are_told_with_their_numbers():
    section = write_section(make())
    hoped = "Of 5 shares that the project's first plan hoped for it reaches 5."
    assert find(section, "Of 5 shares that the project's first plan hoped for") == hoped
    times = "Of the player's 358 actions 358 are matched by kind within 300 ms; their times are off by 0 ms on average"
    assert find(section, times).endswith("[0, 0], as the project's first plan hoped (under 50 ms).")
    places = "Of the player's 219 points 219 are matched by kind within 300 ms; their places are off by 0 px on average"
    assert find(section, places).endswith("[0, 0], as the project's first plan hoped (under 200 px).")
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
    assert [row[0] for row in first.rows][:2] == [
        "answers read, %",
        "events right (kind, within 300 ms) where the player acts, %",
    ]
    assert "bits of a window's actions" in [row[0] for row in second.rows]
    assert [row[0] for row in keys.rows] == ["escape", "space"]
    counts = {len(table.columns) for table in (first, second, keys)} | {len(row) for row in first.rows}
    assert counts == {4, 3}
    [actions] = [row for row in first.rows if row[0] == "actions in a window"]
    assert actions[-1].startswith("player: ")
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


def test_acting_and_waiting_are_told_apart_and_by_which_rule_and_whose_goal() -> None:
    by_person = [replace(predict(click(), click(dt_ms=250), number=n), goal_source="human") for n in range(3)]
    missed = [replace(predict(click(), number=10, session="s1"), goal_source="game")]
    idle = [replace(predict(number=20 + n, session="s1"), goal_source="game") for n in range(16)]
    made_up = [replace(predict(answer=click(), number=50 + n, session="s0"), goal_source="model") for n in range(4)]
    some = [*by_person, *missed, *idle, *made_up]
    evaluation = evaluate({"tuned": some}, {}, ScoreConfig(tolerance_ms=120, near_px=6))
    section = write_section(evaluation)
    assert find(
        section, "It acts in 75% of the 4 windows in which the player acts, and it waits in 80% of the 20 windows"
    )
    assert find(
        section, "The goals of these windows: 17 known from the game, 3 told by a person, 4 written by a model."
    )
    assert find(section, "Of the player's 4 actions 3 are matched by kind within 120 ms; their times are off by 50 ms")
    rows = {row[0]: row[1:] for row in list_tables(evaluation)[0].rows}
    assert rows["events right (kind, within 120 ms) where the player acts, %"][0].startswith("75.0 [")
    assert rows["waits where the player waits, %"][0].startswith("80.0 [")
    assert rows["time error of actions matched by kind within 120 ms, ms"][0] == "50.0"  # of one session: no interval
    assert rows["time error of actions matched by kind within 120 ms, ms"][1] == "first plan: < 50"
    assert rows["actions in a window"][1] == "player: 0.17"
    value = evaluation.to_json()
    assert value["score"] == {"tolerance_ms": 120, "near_px": 6}
    assert value["metrics"]["distance_px"] == {
        "label": "distance of points matched by kind within 120 ms",
        "unit": "px",
        "goal": {"whose": "first plan", "value": 200.0},
    }
    assert value["metrics"]["actions"]["goal"] == {"whose": "player", "value": pytest.approx(4 / 24, abs=1e-6)}
    assert value["teacher_forced_metrics"]["dt_covered"]["goal"] == {"whose": "calibrated", "value": 0.8}
    assert value["goal_sources"] == {"game": 17, "human": 3, "model": 4}
    schema = Path(evaluation_module.__file__).with_name("evaluation.schema.json")
    jsonschema.validate(value, json.loads(schema.read_text()))
    assert OfflineEvaluation.from_json(json.loads(json.dumps(value))).to_json() == value


def test_every_error_in_time_or_place_names_how_actions_were_paired() -> None:
    told = {one.key: one.tell(ScoreConfig(tolerance_ms=220, near_px=9)) for one in OFFLINE_METRICS}
    assert not any("{" in label for label in told.values())
    for metric in OFFLINE_METRICS:
        if metric.unit in ("ms", "px"):
            assert "matched by kind within 220 ms" in told[metric.key]
    for key in ("f1_kind", "f1_detail", "f1_click", "event_right", "within_5_px", "key_right", "click_in_bounds"):
        assert "220 ms" in told[key]
    assert "9 px" in told["f1_detail"]
    assert all("given" in metric.label for metric in FORCED_METRICS if "error" in metric.key)


def test_an_older_file_that_does_not_name_sources_is_still_read(tmp_path) -> None:
    one = replace(predict(click(), click()), goal_source="human", boxes=(None,))
    path = tmp_path / "tuned.jsonl"
    PredictionStore(path, {}, SPEC).add(one)
    assert read_predictions(path)[1] == [one]
    path.write_text(path.read_text().replace(',"goal_source":"human"', ""))
    [old] = read_predictions(path)[1]
    assert old == replace(one, goal_source="")
    assert tell_source(old.goal_source) == "of unknown source"
    assert tell_source("told") == "from told"
