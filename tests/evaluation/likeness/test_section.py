"""The words are written from the numbers, and the numbers are kept whole."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import jsonschema
import pytest

from tests.evaluation.likeness.players import Hand, record, record_all
from vlm_agent.evaluation.likeness.classifier import Telling
from vlm_agent.evaluation.likeness.contrasts import Contrast, Effort
from vlm_agent.evaluation.likeness.features import FEATURES, TRANSITIONS
from vlm_agent.evaluation.likeness.likeness import QUANTILES, FeatureLikeness, FittsLine, Likeness, SideSummary
from vlm_agent.evaluation.likeness.measuring import measure_likeness
from vlm_agent.evaluation.likeness.section import write_section

BY_KEY = {feature.key: feature for feature in FEATURES}
LITTLE = Effort(splits=20, resamples=20, permutations=399, refits=9, halves=3)
NO_TRANSITIONS = ((0,) * 6,) * 6


def feature(key: str, agent: float, player: float, *, ratio: float, p: float, p_holm: float, low: float = 0.5):
    """A feature whose values are evenly spread about a middle."""
    distances = {"wasserstein": abs(agent - player), "ks": 0.5, "energy": 1.5}
    contrast = Contrast("energy", distances, dict.fromkeys(distances, ratio), low, 2 * ratio, distances, distances, p)
    spreads = [[middle * (0.5 + level) for level in QUANTILES] for middle in (agent, player)]
    return FeatureLikeness(BY_KEY[key], 200, 400, tuple(spreads[0]), tuple(spreads[1]), contrast, p_holm)


def scarce(key: str, agent_count: int, quantiles=()):
    return FeatureLikeness(BY_KEY[key], agent_count, 90, quantiles, quantiles, None, None)


def side(sessions: int, fitts: FittsLine | None = None, transitions=NO_TRANSITIONS) -> SideSummary:
    return SideSummary(sessions, 2 * sessions, 3.5, transitions, None, fitts)


def telling(auc: float, p: float) -> Telling:
    return Telling("movements", auc, auc - 0.05, auc + 0.01, p, 0.51, 0.57, 200, 400, "bow", 0.9)


def likeness(*features: FeatureLikeness, tellings=(), sessions: int = 20, fitts=(None, None)) -> Likeness:
    return Likeness("tuned", side(sessions, fitts[0]), side(40, fitts[1]), 20.0, 4.1, features, tuple(tellings), 0)


def sentences(one: Likeness) -> str:
    return "\n".join(write_section(one).sentences)


def test_the_farthest_are_told_with_their_values_and_units() -> None:
    text = sentences(
        likeness(
            feature("button_hold_ms", 60, 85, ratio=3.26, p=0.001, p_holm=0.02),
            feature("reaction_ms", 41, 262, ratio=12.3, p=0.001, p_holm=0.02),
            feature("bow", 0.001, 0.05, ratio=4.2, p=0.001, p_holm=0.02),
            feature("rest_ms", 20, 60, ratio=2.1, p=0.001, p_holm=0.04),
            feature("peak_px_s", 900, 1000, ratio=1.6, p=0.03, p_holm=0.3),
            feature("idle_ms", 480, 500, ratio=1.1, p=0.6, p_holm=1.0),
        )
    )
    assert (
        "Farthest from the player, in times the player’s distance to themself: "
        "reaction 12 (agent 41 ms, player 262 [157 to 367] ms); "
        "sideways bow 4.2 (agent 0.001, player 0.050 [0.030 to 0.070]); "
        "button hold 3.3 (agent 60 ms, player 85 [51 to 119] ms).\n"
        "Also apart: rest before a press.\n"
        "Perhaps apart, but so much may be chance in so few sessions: top speed.\n"
        "Not told from the player: pause.\n"
    ) in text


def test_too_few_values_are_told_and_what_nobody_does_is_not() -> None:
    text = sentences(likeness(scarce("reaction_ms", 15), scarce("right_clicks_min", 30, (0.0,) * 41)))
    assert "Too few values to say, the agent’s and the player’s: reaction (15 and 90, 20 of each are needed)." in text
    assert "right clicks" not in text


@pytest.mark.parametrize(
    ("auc", "p", "words"),
    [
        (0.97, 0.005, "tells one movement of the agent from one of the player nearly always (AUC 0.97, 95%: 0.92 to"),
        (0.8, 0.005, "often"),
        (0.6, 0.03, "a little better than by guessing"),
        (0.6, 0.2, "can’t tell one movement of the agent from one of the player (AUC 0.60"),
    ],
)
def test_the_classifier_in_words(auc: float, p: float, words: str) -> None:
    text = sentences(likeness(tellings=[telling(auc, p)]))
    assert words in text
    assert ("what gives the agent away most is the sideways bow" in text) == (p < 0.05)


def test_fitts_law_pieces_and_few_sessions_in_words() -> None:
    text = sentences(likeness(sessions=5, fitts=(FittsLine(50, 480.0, 3.2), FittsLine(300, 120.0, 118.7))))
    assert "each further bit of difficulty takes the agent 3 ms, the player 119 ms." in text
    assert (
        "From 5 agent sessions and 40 player sessions, pointers sampled every 20 ms, in pieces of about 4.1 s" in text
    )
    assert "So few sessions give a hint, no more." in text
    assert "hint" not in sentences(likeness())


def test_the_table_has_every_feature_once_the_farthest_first() -> None:
    one = likeness(
        feature("idle_ms", 480, 500, ratio=1.14, p=0.6, p_holm=1.0),
        feature("rest_ms", 20, 60, ratio=2.1, p=0.001, p_holm=0.04),
    )
    (table,) = write_section(one).tables
    assert table.rows == (
        ("rest before a press, ms", "60 [36 to 84]", "20", "40", "0.50", "1.50", "2.1* (0.5 to 4.2)"),
        ("pause, ms", "500 [300 to 700]", "480", "20", "0.50", "1.50", "1.1 (0.5 to 2.3)"),
    )


def test_what_follows_what_is_told_in_shares() -> None:
    rows = [[0] * 6 for _ in range(6)]
    rows[0][1], rows[1][0] = 3, 1
    player = [[0] * 6 for _ in range(6)]
    player[0][1] = player[1][0] = 2
    one = replace(
        likeness(), agent=side(20, None, tuple(map(tuple, rows))), player=side(40, None, tuple(map(tuple, player)))
    )
    table = write_section(one).tables[-1]
    assert set(table.rows) == {("move → left click", "50", "75"), ("left click → move", "50", "25")}


def test_measured_numbers_keep_to_the_schema_and_come_back_whole(tmp_path) -> None:
    player = record_all(tmp_path / "player", Hand(seconds=8.0), range(100, 112))
    agent = record_all(tmp_path / "agent", Hand(path="line", seconds=8.0), range(8), who="agent", policy="tuned")
    value = measure_likeness(agent, player, effort=LITTLE).to_json()
    schema = json.loads(files("vlm_agent.evaluation.likeness").joinpath("likeness.schema.json").read_text())
    jsonschema.validate(value, schema)
    again = Likeness.from_json(json.loads(json.dumps(value, allow_nan=False)))
    assert again.to_json() == value
    section = write_section(again)
    assert [plot.title for plot in section.plots][:2] == ["How far from the player", "Speed over a movement"]
    assert len(section.plots) == 4
    assert all(plot.light.startswith("data:image/svg+xml") and plot.light != plot.dark for plot in section.plots)
    assert {one.feature.key for one in again.features} == {*BY_KEY, TRANSITIONS.key}
    assert write_section(again).to_markdown() == section.to_markdown()


def test_an_agent_that_does_nothing_has_a_section_too(tmp_path) -> None:
    player = record_all(tmp_path / "player", Hand(seconds=8.0), range(100, 108))
    still = [record(tmp_path / f"still-{seed}", [], who="agent", stop_ns=8_000_000_000) for seed in range(8)]
    value = measure_likeness(still, player, effort=LITTLE).to_json()
    text = "\n".join(write_section(Likeness.from_json(json.loads(json.dumps(value)))).sentences)
    assert "left clicks" in text.split("Too few")[0]  # how often is known, though how is not
    assert "movement time (0 and" in text
