"""The worst windows: chosen by what is missing or made up, told in words, drawn where it was."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.offline.cases import NOTHING, click, key, predict
from tests.training.synthetic import write_dataset
from vlm_agent.actions.types import ActionChunk, Click, Key, Move, Scroll
from vlm_agent.dataset.store import open_dataset
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.predictions import Prediction
from vlm_agent.evaluation.offline.worst import WIDTH_PX, describe, find_worst


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_dataset(tmp_path_factory.mktemp("worst") / "dataset", num_ticks=12))


@pytest.fixture(scope="module")
def windows(dataset):
    return [window for split in dataset.splits for window in dataset.windows(split)]


def plant(windows, answers: list[tuple[ActionChunk, ActionChunk | None, str]]) -> list[Prediction]:
    return [
        replace(predict(target, answer, session=session), window_id=window.window_id)
        for window, (target, answer, session) in zip(windows, answers, strict=False)
    ]


def test_windows_with_most_missing_or_made_up_come_first(dataset, windows) -> None:
    two = ActionChunk((Click(100, 10, 10), Key(100, "space")))
    answers = [
        (click(), click(), "a"),  # right
        (click(10, 10), NOTHING, "b"),  # one missing
        (two, None, "c"),  # two missing, and no answer
        (click(10, 10), click(40, 50), "d"),  # one missing, one made up
        (key(), key(), "e"),  # right
    ]
    predictions = plant(windows, answers)
    worst = find_worst(dataset, windows, predictions, ScoreConfig())
    assert [one.window_id for one in worst] == [predictions[index].window_id for index in (2, 3, 1)]
    assert [one.said for one in worst] == ["no answer: truncated", "click 40, 50 at 200 ms", "waits"]
    assert worst[0].wanted == "click 10, 10 at 100 ms, key space at 200 ms"
    assert [one.window_id for one in find_worst(dataset, windows, predictions, ScoreConfig(), count=1)] == [
        predictions[2].window_id
    ]
    assert find_worst(dataset, windows, [predictions[0]], ScoreConfig()) == []


def test_no_session_fills_the_page_while_others_are_left(dataset, windows) -> None:
    answers = [(click(), None, "a")] * 4 + [(click(), NOTHING, "b")]
    predictions = plant(windows, answers)
    worst = find_worst(dataset, windows, predictions, ScoreConfig(), count=3)
    assert [one.window_id for one in worst][2] == predictions[4].window_id
    assert len(find_worst(dataset, windows, predictions, ScoreConfig())) == 5


def test_presses_are_drawn_on_what_was_seen(dataset, windows) -> None:
    width, height = windows[0].frame_width_px, windows[0].frame_height_px
    (one,) = find_worst(dataset, windows, plant(windows, [(click(width // 2, height // 2), None, "a")]), ScoreConfig())
    picture = np.asarray(Image.open(io.BytesIO(one.jpeg)).convert("RGB")).astype(int)
    assert picture.shape[1] == WIDTH_PX
    middle = picture[picture.shape[0] // 2, WIDTH_PX // 2]
    assert middle[0] > 170 > 120 > middle[1]


@pytest.mark.parametrize(
    ("chunk", "words"),
    [
        (NOTHING, "waits"),
        (ActionChunk(done=True), "says it is done"),
        (ActionChunk((Click(0, 1, 2, "right"), Move(90, 3, 4))), "right click 1, 2 at 0 ms, move 3, 4 at 90 ms"),
        (ActionChunk((Scroll(10, 5, 6, -2),)), "wheel -2 at 10 ms"),
    ],
)
def test_chunks_in_words(chunk: ActionChunk, words: str) -> None:
    assert describe(chunk) == words
