"""Labelers on real (tiny, random) checkpoints: any folder will do, and a choice is always one of the list."""

from __future__ import annotations

import numpy as np
import pytest

from labeling.labelers import ClipView, LabelConfig, ModelLabeler, make_question
from labeling.models import GoalChooser, load_labeler
from vlm_agent.chat import load_prompt
from vlm_agent.clips import Clip
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint

pytestmark = pytest.mark.model

SHEET = np.full((128, 192, 3), 90, np.uint8)
GOALS = ("open the bank", "open the bank again", "close the bank", "make sapphire rings")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "qwen3")


def test_any_checkpoint_answers_or_is_dropped_with_a_reason(checkpoint):
    labeler = load_labeler(str(checkpoint), LabelConfig())
    assert isinstance(labeler, ModelLabeler)
    assert labeler.name.startswith(f"{checkpoint}@")
    label = labeler.label(ClipView(Clip(0, 0, 1000), (), SHEET, 6))
    assert (label.goal is None) == (label.dropped is not None)


def test_a_choice_is_one_of_the_list_with_the_probability_of_the_list(checkpoint):
    chooser = GoalChooser(load_model(checkpoint, quantization="none"), GOALS)
    goal, confidence = chooser(make_question(load_prompt("label_clip"), 6, LabelConfig().check), [SHEET])
    assert goal in GOALS
    assert 0 <= confidence < 0.5
    assert chooser(make_question(load_prompt("label_clip"), 6, LabelConfig().check), [SHEET]) == (goal, confidence)
