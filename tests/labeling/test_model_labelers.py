"""Labelers on real (tiny, random) checkpoints: any folder will do, and a choice is always one of the list."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labeling.answers import read_answer
from labeling.labelers import ClipView, LabelConfig, ModelLabeler, make_question
from labeling.models import GoalChooser, load_labeler
from vlm_agent.chat import load_prompt
from vlm_agent.clips import Clip
from vlm_agent.decoding.prompts import generate_text
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint

pytestmark = pytest.mark.model

SHEET = np.full((128, 192, 3), 90, np.uint8)
GOALS = ("open the bank", "open the bank again", "close the bank", "make sapphire rings")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "qwen3")


def test_any_checkpoint_is_asked_about_the_sheet_and_its_answer_read(checkpoint, monkeypatch):
    asked, real = [], generate_text

    def listen(loaded, messages, images, max_new_tokens, *, max_image_tokens):
        answer = real(loaded, messages, images, max_new_tokens, max_image_tokens=max_image_tokens)
        asked.append((messages, images, answer))
        return answer

    monkeypatch.setattr("labeling.models.generate_text", listen)
    labeler = load_labeler(str(checkpoint), LabelConfig())
    assert isinstance(labeler, ModelLabeler)
    assert labeler.name.startswith(f"{checkpoint}@")
    view = ClipView(Clip(0, 0, 1000), (), SHEET, 6)
    label = labeler.label(view)
    question = make_question(load_prompt("label_clip"), 6, LabelConfig().check)
    assert asked[0][0] == question
    assert all(images == [SHEET] for _, images, _ in asked)
    # What a random model says is no goal; the reason is that of its last answer.
    reading = read_answer(asked[-1][2], LabelConfig().check)
    assert (label.goal, label.dropped, label.source) == (reading.goal, reading.problem, "model")
    assert len(asked) == (2 if read_answer(asked[0][2], LabelConfig().check).is_worth_asking_again else 1)
    # Another picture, another answer: the sheet is seen.
    first = asked[0][2]
    asked.clear()
    labeler.label(replace(view, sheet=255 - SHEET))
    assert asked[0][2] != first
    monkeypatch.setattr("labeling.models.generate_text", lambda *_, **__: "Sure! The goal is to open the bank.")
    assert labeler.label(view).goal == "open the bank"


def test_a_choice_is_one_of_the_list_with_the_probability_of_the_list(checkpoint):
    chooser = GoalChooser(load_model(checkpoint, quantization="none"), GOALS)
    goal, confidence = chooser(make_question(load_prompt("label_clip"), 6, LabelConfig().check), [SHEET])
    assert goal in GOALS
    assert 0 <= confidence < 0.5
    assert chooser(make_question(load_prompt("label_clip"), 6, LabelConfig().check), [SHEET]) == (goal, confidence)
