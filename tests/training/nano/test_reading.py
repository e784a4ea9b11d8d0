"""The exercises in reading a game state: answers are true of the state that is shown, and each stands alone."""

from __future__ import annotations

import re

import pytest

from vlm_agent.games.ringcraft.goals import GOALS, LONG_GOAL
from vlm_agent.games.ringcraft.rules import RULES
from vlm_agent.models.encoding import IGNORED_LABEL, ChatEncoder
from vlm_agent.models.nano_config import IMAGE_SETTINGS
from vlm_agent.training.nano import build, reading

pytestmark = pytest.mark.model

ITEMS = {name: item.name.lower() for item in RULES.items.values() for name in (item.name.lower(), item.many)}


@pytest.fixture(scope="module")
def encoder() -> ChatEncoder:
    return ChatEncoder(build.train_tokenizer(build.corpus(0, num_samples=12)), IMAGE_SETTINGS)


def _statements(encoder: ChatEncoder, row: int) -> tuple[str, list[tuple[str, bool]]]:
    tree = reading.make_statements(4, 1, row, encoder)
    shared = tree.branch.count(0)
    answers = {encoder.encode_text(word)[0]: holds for word, holds in ((reading.TRUE, True), (reading.FALSE, False))}
    told = []
    for number in range(1, max(tree.branch) + 1):
        places = [place for place, branch in enumerate(tree.branch) if branch == number]
        assert [tree.order[place] for place in places] == list(range(shared, shared + len(places)))
        *unlearnt, learnt = [tree.labels[place] for place in places]
        assert set(unlearnt) <= {IGNORED_LABEL}
        told.append((encoder.tokenizer.decode([tree.ids[place] for place in places]), answers[learnt]))
    return encoder.tokenizer.decode(tree.ids[:shared]), told


def test_statements_are_true_of_the_text_above_them(encoder: ChatEncoder) -> None:
    checked = 0
    for row in range(6):
        text, told = _statements(encoder, row)
        assert len(told) == reading.STATEMENTS
        now = text.rstrip("\n").split("\n")[-1].removeprefix("now: ").split("; ")
        for words, holds in told:
            name = re.fullmatch(
                r"(?:you|there is)[a-z ]*? (no )?(" + "|".join(ITEMS) + r")( in the inventory)?:", words
            )
            counted = re.fullmatch(r"you (do not )?have (\d+) (" + "|".join(ITEMS) + "):", words)
            if " and " in words:
                continue
            if counted is not None:
                is_so = f"{ITEMS[counted.group(3)]} {counted.group(2)}" in [item.removeprefix("have ") for item in now]
                assert holds == (is_so == (counted.group(1) is None)), (words, now)
            elif name is not None:
                carried = [item.removeprefix("have ").rstrip("0123456789 ") for item in now]
                assert holds == ((ITEMS[name.group(2)] in carried) == (name.group(1) is None)), (words, now)
            elif words.startswith(("you are", "the player is")):
                assert holds == (words.removesuffix(":").split()[-1] == now[0])
            else:
                continue
            checked += 1
    assert checked > 100


def test_about_half_of_the_statements_are_true(encoder: ChatEncoder) -> None:
    told = [holds for row in range(8) for _, holds in _statements(encoder, row)[1]]
    assert 0.42 < sum(told) / len(told) < 0.58


def test_choices_are_answered_by_a_single_step(encoder: ChatEncoder) -> None:
    steps = {goal.text for goal in GOALS.values() if not goal.is_long} | {reading.WAIT}
    answers = set()
    for row in range(4):
        asked = reading.make_choices(4, 1, row, encoder)
        assert len(asked) >= reading.CHOICES // 2
        for one in asked:
            prompt = encoder.tokenizer.decode(one.input_ids[: one.num_prompt_tokens])
            assert LONG_GOAL not in prompt
            assert re.search(r"Goal: .*(; else|, then).* \(name the next step\)<", prompt)
            answers.add(encoder.tokenizer.decode([label for label in one.labels if label != IGNORED_LABEL][:-1]))
    assert answers <= steps
    assert len(answers) > 10


def test_exercises_are_a_function_of_seed_step_and_row(encoder: ChatEncoder) -> None:
    assert reading.make_statements(1, 2, 3, encoder) == reading.make_statements(1, 2, 3, encoder)
    assert reading.make_statements(1, 2, 3, encoder) != reading.make_statements(1, 2, 4, encoder)
    assert reading.make_choices(1, 2, 3, encoder) == reading.make_choices(1, 2, 3, encoder)
    assert reading.make_choices(1, 2, 3, encoder) != reading.make_choices(1, 3, 3, encoder)
