"""Whether answers hang together, and single keys: by hand."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from tests.evaluation.offline.cases import NOTHING, SPEC, click, key, move, predict
from tests.evaluation.offline.test_scores import ratio
from vlm_agent.actions.types import ActionChunk, Click, Key, Move
from vlm_agent.dataset.windows import Window
from vlm_agent.evaluation.offline.consistency import find_top_speed
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.predictions import PredictionStore, make_prediction, read_predictions
from vlm_agent.evaluation.offline.scores import score

CONFIG = ScoreConfig()


def answer(*actions, **given):
    return replace(predict(NOTHING, ActionChunk(actions)), **given)


@pytest.mark.parametrize(
    ("held", "actions", "pairing", "consistent"),
    [
        ((), (Key(0, "space", "down"), Key(50, "space", "up")), 1, 1),
        ((), (Key(0, "space", "up"),), 0, 0),
        (("key space",), (Key(0, "space", "up"),), 1, 1),
        (("key space",), (Key(0, "space", "down"),), 0, 0),
        (("key space",), (Key(0, "space", "up"), Key(0, "space", "up")), 0.5, 0),
        (("button left",), (Click(0, 5, 5, "left", "up"), Click(50, 5, 5)), 1, 1),
        # A whole press of what is held does not fit, but is no half.
        (("button left",), (Click(0, 5, 5),), None, 0),
        (("key space",), (Key(0, "escape"),), None, 1),
    ],
)
def test_presses_fit_what_is_held(held, actions, pairing, consistent):
    tally = score(answer(*actions, held=held), CONFIG)
    assert ratio(tally, "consistent") == consistent
    assert ("pairing" in tally.counts) == (pairing is not None)
    if pairing is not None:
        assert ratio(tally, "pairing") == pytest.approx(pairing)


def test_the_pointer_is_held_against_the_player_s_top_speed():
    player = [
        replace(predict(ActionChunk((Move(100, 100, 0), Key(10, "space"), Click(90, 100, 80)))), pointer=(0, 0, 100)),
        predict(move(700, 500)),
    ]
    # From (0, 0) 100 ms before to (100, 0) after 100 ms, then 80 px in 100 ms; alone a place has no speed.
    assert find_top_speed(player) == pytest.approx(0.8)
    assert find_top_speed([predict(key())]) == inf
    slow, fast = answer(Move(100, 80, 0), pointer=(0, 0, 0)), answer(Move(90, 80, 0), pointer=(0, 0, 0))
    for one, want in ((slow, 1), (fast, 0)):
        tally = score(one, CONFIG, top_speed=0.8)
        assert (ratio(tally, "possible_speed"), ratio(tally, "consistent")) == (want, want)
    assert "possible_speed" not in score(answer(Move(90, 80, 0)), CONFIG, top_speed=0.8).counts


def test_a_click_where_the_last_one_was_is_a_stutter_unless_the_player_clicks_there_too():
    last = (100, 100, "left")
    again = answer(Click(0, 105, 100), Click(100, 300, 300), last_click=last)
    assert ratio(score(again, CONFIG), "stutter") == 0.5
    assert ratio(score(replace(again, target=click(104, 104)), CONFIG), "stutter") == 0
    assert ratio(score(answer(Click(0, 105, 100, "right"), last_click=last), CONFIG), "stutter") == 0
    assert "stutter" not in score(answer(Click(0, 105, 100)), CONFIG).counts
    assert ratio(score(again, CONFIG), "consistent") == 0


def test_waiting_is_neither_consistent_nor_not():
    tally = score(answer(), CONFIG)
    assert not {"consistent", "possible_speed", "pairing", "stutter"} & set(tally.counts)
    assert (ratio(tally, "actions"), ratio(tally, "player_actions")) == (0, 0)


def test_single_keys_have_an_f1_each():
    target = ActionChunk((Key(100, "space"), Key(0, "escape")))
    tally = score(predict(target, ActionChunk((Key(100, "space"), Key(0, "space")))), CONFIG)
    assert ratio(tally, "f1_key space") == pytest.approx(2 / 3)
    assert ratio(tally, "f1_key escape") == 0
    assert ratio(tally, "actions") == ratio(tally, "player_actions") == 2


def make_window(state, recent):
    return Window(
        session="s", clip=0, t_ns=0, split="validation", goal="open the bank", goal_level="short", goal_source="game",
        goal_confidence=1.0, frame_id="f", frame_width_px=765, frame_height_px=503, target=click(100, 100), state=state,
        recent=recent,
    )  # fmt: skip


def test_what_scores_need_of_a_window_is_kept_with_the_prediction(tmp_path):
    bounds = {"x": 90, "y": 90, "width": 36, "height": 32}
    recent = (
        (900, Key(0, "escape", "down")),
        (800, Click(0, 7, 8, "right")),
        (600, Key(0, "space", "down")),
        (500, Key(0, "escape", "up")),
        (300, Move(0, 40, 50)),
        (100, Click(0, 9, 9, "left", "down")),
        (90, Key(0, "left")),
    )
    said = ActionChunk((Click(0, 95, 95), Click(0, 300, 300)))
    one = make_prediction(make_window({"bank": bounds}, recent), said, None)
    assert one.on_something == (True, False)
    assert one.held == ("button left", "key space")
    assert one.pointer == (9, 9, 100)
    assert one.last_click == (9, 9, "left")
    tally = score(one, CONFIG)
    assert (ratio(tally, "click_on_something"), ratio(tally, "player_on_something")) == (0.5, 1)
    bare = make_prediction(make_window(None, ()), said, None)
    assert (bare.on_something, bare.held, bare.pointer, bare.last_click) == (None, (), None, None)
    assert "click_on_something" not in score(bare, CONFIG).counts
    store = PredictionStore(tmp_path / "x.jsonl", {}, SPEC)
    store.add(one)
    assert read_predictions(tmp_path / "x.jsonl")[1] == [one]
