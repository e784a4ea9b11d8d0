"""The file of predictions: exact, gone on with after a kill at any byte, refused when it is about something else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.offline.cases import SPEC, click, predict, random_predictions
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import DataError
from vlm_agent.evaluation.offline.predictions import PredictionStore, find_boxes, read_predictions

ABOUT = {"name": "tuned", "split": "validation"}


def write(path, predictions):
    store = PredictionStore(path, ABOUT, SPEC)
    for one in predictions:
        store.add(one)
    return store


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_written_is_read(tmp_path_factory, seed):
    made = random_predictions(seed, sessions=2, windows=5)
    made += [predict(click(), None, number=99), predict(click(), click(), number=100, boxes=((1.0, 2.5, 30.0, 4.0),))]
    path = tmp_path_factory.mktemp("store") / "predictions" / "tuned.jsonl"
    write(path, made)
    head, read = read_predictions(path)
    assert head["name"] == "tuned"
    assert [(one.window_id, one.target, one.answer, one.reason) for one in read] == [
        (one.window_id, one.target, one.answer, one.reason) for one in made
    ]
    assert read[-1].boxes == made[-1].boxes


def test_a_file_cut_at_any_byte_goes_on_from_its_last_whole_line(tmp_path):
    made = random_predictions(4, sessions=1, windows=6)
    whole = tmp_path / "whole.jsonl"
    write(whole, made)
    content = whole.read_bytes()
    head = content.index(b"\n") + 1
    for size in sorted({head, *np.random.default_rng(1).integers(head, len(content), 60).tolist()}):
        path = tmp_path / "cut.jsonl"
        path.write_bytes(content[:size])
        store = PredictionStore(path, ABOUT, SPEC)
        for one in made:
            if one.window_id not in store.done:
                store.add(one)
        assert path.read_bytes() == content


def test_another_evaluation_s_file_is_not_gone_on_with(tmp_path):
    path = tmp_path / "tuned.jsonl"
    write(path, [])
    with pytest.raises(DataError, match="predictions of something else"):
        PredictionStore(path, {**ABOUT, "split": "test"}, SPEC)


@pytest.mark.parametrize("content", ["", "[]\n", "{}\n", '{"format":9}\n', '{"format":2,"spec":{}}\n', "\x00\x01\n"])
def test_what_is_no_file_of_predictions_is_one_line(tmp_path, content):
    path = tmp_path / "odd.jsonl"
    path.write_text(content)
    with pytest.raises(DataError, match="odd") as error:
        read_predictions(path)
    assert "\n" not in str(error.value)
    with pytest.raises(DataError, match="no predictions to read"):
        read_predictions(tmp_path / "missing.jsonl")


def window(state, target):
    return Window(
        session="s",
        clip=0,
        t_ns=0,
        split="validation",
        goal="open the bank",
        goal_level="short",
        goal_source="game",
        goal_confidence=1.0,
        frame_id="f",
        frame_width_px=765,
        frame_height_px=503,
        target=target,
        state=state,
    )


def test_the_smallest_rectangle_around_a_click_is_found():
    cell = {"x": 90, "y": 90, "width": 36, "height": 32}
    state = {
        "bank": {"slots": [{"bounds": cell}, {"bounds": {**cell, "x": 300}}]},
        "window": {"x": 50, "y": 50, "width": 200, "height": 200},
        "frame": {"x": 0, "y": 0, "width": 765, "height": 503},
        "dot": {"x": 99, "y": 99, "width": 2, "height": 2},
        "odd": {"x": True, "y": None, "width": "9", "height": 3},
    }
    assert find_boxes(window(state, click(100, 100))) == ((90, 90, 36, 32),)
    assert find_boxes(window(state, click(60, 60))) == ((50, 50, 200, 200),)
    assert find_boxes(window(state, click(700, 400))) == (None,)
    assert find_boxes(window(None, click())) == (None,)
