"""What nano is taught: reproducible, valid, single steps only."""

from __future__ import annotations

import numpy as np
import pytest

from vlm_agent.actions.codecs import make_codec
from vlm_agent.games.ringcraft.goals import GOALS, LONG_GOAL
from vlm_agent.training.nano import scenes
from vlm_agent.training.nano.batches import DROP_ALL_TEXT, DROP_SOME_LINES, drop_text
from vlm_agent.training.nano.samples import CONDITIONAL


def test_a_sample_is_a_function_of_seed_and_index() -> None:
    one, again, other = scenes.make_sample(3, 7), scenes.make_sample(3, 7), scenes.make_sample(3, 8)
    assert np.array_equal(one.frame, again.frame)
    assert (one.state_text, one.recent, one.questions, one.things) == (
        again.state_text,
        again.recent,
        again.questions,
        again.things,
    )
    assert not np.array_equal(one.frame, other.frame)


@pytest.mark.parametrize("index", range(12))
def test_answers_are_allowed_and_single_step(index: int) -> None:
    sample = scenes.make_sample(11, index, draw=False)
    recipe = scenes.nano_recipe()
    codec = make_codec(recipe.codec)
    assert sample.questions
    for question in sample.questions:
        assert codec.decode(codec.encode(question.answer, recipe.spec), recipe.spec) == question.answer
        assert question.kind == CONDITIONAL or not GOALS[question.kind].is_long
        assert LONG_GOAL not in question.goal


def test_the_corpus_of_the_tokenizer_keeps_the_long_goal_out_of_the_samples() -> None:
    texts = [question.goal for index in range(40) for question in scenes.make_sample(5, index, draw=False).questions]
    assert len(set(texts)) > 60
    assert not any("craft sapphire rings" in text for text in texts)


def test_text_is_dropped_for_a_good_part_of_the_samples() -> None:
    import random

    sample = scenes.make_sample(0, 1, draw=False)
    rng = random.Random(0)
    lengths = [len(drop_text(sample, rng).state_text) for _ in range(400)]
    assert sum(length == 0 for length in lengths) / 400 == pytest.approx(DROP_ALL_TEXT, abs=0.07)
    whole = 1 - DROP_ALL_TEXT - DROP_SOME_LINES
    assert sum(length == len(sample.state_text) for length in lengths) / 400 == pytest.approx(whole, abs=0.1)
