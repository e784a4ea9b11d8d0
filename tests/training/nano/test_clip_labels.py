"""Clips to name: a whole goal as it was played, asked as the labeler asks."""

from __future__ import annotations

from copy import deepcopy
from random import Random

import numpy as np
import pytest

from labeling.labelers import MAX_IMAGE_TOKENS
from vlm_agent.games.ringcraft.goals import GOALS
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.models.encoding import ChatEncoder
from vlm_agent.models.nano_config import IMAGE_SETTINGS
from vlm_agent.training.nano import build, scenes
from vlm_agent.training.nano.clip_labels import TICKS_MAX, make_clip, make_clips, play

pytestmark = pytest.mark.model


def test_a_clip_is_a_function_of_seed_and_index() -> None:
    (one, goal), (again, same), (other, _) = (make_clip(2, index) for index in (5, 5, 6))
    assert (one == again).all()
    assert goal == same
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("number", range(8))
def test_a_goal_is_played_to_its_end(number: int) -> None:
    core = random_scene(Random(number))
    goal = next(scenes.possible_goals(core.state, Random(number)))
    begun = deepcopy(core.state)
    states = play(core, goal)
    assert states[0] == begun
    assert goal.is_done(begun, states[-1]) or len(states) == 1 + 6 * TICKS_MAX
    assert not any(goal.is_done(begun, state) for state in states[:-6])


def test_the_question_is_the_labelers_and_the_answer_a_goal() -> None:
    tokenizer = build.train_tokenizer(build.corpus(0, num_samples=12))
    encoder = ChatEncoder(tokenizer, IMAGE_SETTINGS)
    clips = make_clips(0, [3, 4], encoder)
    assert clips.sheets.shape == (2, 512, 1152, 3)
    is_image = clips.tree.ids[0] == encoder.image_token_id
    assert is_image.sum() == 2 * (512 // 32) * (1152 // 32) <= 2 * MAX_IMAGE_TOKENS
    text = tokenizer.decode(clips.tree.ids[0][~is_image])
    assert text.count("What was the player's goal in this clip?") == 2
    answers = tokenizer.decode(clips.tree.labels[clips.tree.labels >= 0]).split("<|im_end|>")
    assert answers == [make_clip(0, 3)[1], make_clip(0, 4)[1], ""]
    assert not any(GOALS[answer].is_long for answer in answers[:-1])
    # Qwen counts a picture as max(rows, columns) positions.
    first = int(is_image.nonzero()[0])
    assert clips.tree.positions[:, 0, first + 37].tolist() == [first, first + 1, first + 1]
