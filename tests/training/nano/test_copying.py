"""The exercises in looking up: what is learnt can be looked up, and nothing else is learnt."""

from __future__ import annotations

import re

import pytest

from vlm_agent.models.encoding import IGNORED_LABEL, ChatEncoder
from vlm_agent.models.nano_config import IMAGE_SETTINGS
from vlm_agent.training.nano import build, copying, scenes

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def encoder() -> ChatEncoder:
    return ChatEncoder(build.train_tokenizer(build.corpus(0, num_samples=12)), IMAGE_SETTINGS)


def test_lists_grow() -> None:
    lengths = [copying.longest_list(step) for step in range(0, 1000, 25)]
    assert lengths[0] == copying.ENTRIES_MIN
    assert lengths == sorted(lengths)
    assert lengths[-1] == copying.ENTRIES_MAX


@pytest.mark.parametrize("step", [0, 400])
def test_every_place_learnt_in_an_echo_was_written_before_it(encoder: ChatEncoder, step: int) -> None:
    for echo in copying.make_echoes(3, step, encoder)[:3]:
        text = encoder.tokenizer.decode(echo.ids)
        entries = re.findall(r" ([a-z ]+) @(\d+,\d+);", text)
        first = len(entries) // copying.ECHOES
        assert dict(entries[:first]) == dict(entries[first : 2 * first]) == dict(entries[2 * first :])
        learnt = [token for token in echo.labels if token != IGNORED_LABEL]
        assert encoder.tokenizer.decode(learnt) == "".join(f"{place};" for _, place in entries[first:])


def test_answers_are_the_place_of_the_name_asked_for(encoder: ChatEncoder) -> None:
    for one in copying.make_questions(5, 600, 0, scenes.nano_recipe(), encoder):
        prompt = encoder.tokenizer.decode(one.input_ids[: one.num_prompt_tokens])
        answer = encoder.tokenizer.decode(one.input_ids[one.num_prompt_tokens :])
        x, y = re.findall(r'"x":(\d+),"y":(\d+)', answer)[-1]
        name = re.search(rf"([a-z ]+) @{x},{y}\b", prompt)
        goal = re.search(r"Goal: (.*)<", prompt)
        assert name is not None
        assert goal is not None
        assert name.group(1).strip() in goal.group(1)


def test_exercises_are_a_function_of_seed_and_step(encoder: ChatEncoder) -> None:
    assert copying.make_echoes(1, 2, encoder) == copying.make_echoes(1, 2, encoder)
    assert copying.make_echoes(1, 2, encoder) != copying.make_echoes(1, 3, encoder)


def test_lists_stay_short_at_first_and_then_grow_by_one() -> None:
    assert [copying.longest_list(step) for step in (0, 250, 274, 275, 300, 690, 725, 5000)] == [
        2,
        2,
        2,
        3,
        4,
        19,
        20,
        20,
    ]


def test_a_token_of_an_echo_is_to_say_the_one_after_it(encoder: ChatEncoder) -> None:
    for echo in copying.make_echoes(3, 400, encoder)[:3]:
        learnt = [index for index, label in enumerate(echo.labels) if label != IGNORED_LABEL]
        assert learnt
        assert [echo.labels[index] for index in learnt] == [echo.ids[index + 1] for index in learnt]


def test_rows_steps_and_seeds_ask_about_other_lists(encoder: ChatEncoder) -> None:
    recipe = scenes.nano_recipe()
    asked = [
        copying.make_questions(*about, recipe, encoder)
        for about in ((1, 600, 0), (1, 600, 1), (1, 601, 0), (2, 600, 0))
    ]
    assert all(asked[0] != other for other in asked[1:])
