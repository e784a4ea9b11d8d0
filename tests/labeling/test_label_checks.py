"""What passes for a goal."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labeling.checks import EXPLANATIONS, CheckConfig, LabelProblem, clean_label, find_problem
from vlm_agent.errors import ConfigError


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("Open the bank.", "open the bank"),
        ('"Go to the lantern"', "go to the lantern"),
        ("Goal: Walk to the furnace\nbecause it is hot", "walk to the furnace"),
        ("The player's goal is: Check the posters!", "check the posters"),
        ("\n\n- smelt  gold\tbars", "smelt gold bars"),
        ("  ", ""),
        ("...", ""),
    ],
)
def test_cleaning(answer, label):
    assert clean_label(answer) == label


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ("open the bank", None),
        ("craft sapphire rings at the furnace", None),
        ("", LabelProblem.EMPTY),
        ("bank", LabelProblem.TOO_SHORT),
        ("a b c d e f g h i j", LabelProblem.BANNED),
        ("go and open the bank and then take all the gold", LabelProblem.TOO_LONG),
        ("walk " + "very" * 20, LabelProblem.TOO_LONG),
        ("the player opens the bank", LabelProblem.BANNED),
        ('{"actions":[]}', LabelProblem.BANNED),
        ("describe the picture", LabelProblem.BANNED),
        ("open <|im_end|> bank", LabelProblem.BANNED),
    ],
)
def test_problems(label, problem):
    assert find_problem(label, CheckConfig()) == problem


@settings(deadline=None)
@given(st.text(max_size=200))
def test_cleaning_is_settled_and_one_line(answer):
    label = clean_label(answer)
    assert "\n" not in label
    assert label == label.strip()
    assert find_problem(label, CheckConfig()) in {None, *LabelProblem}


def test_every_problem_can_be_explained_to_the_model():
    assert set(EXPLANATIONS) == set(LabelProblem)


def test_limits_must_let_something_through():
    with pytest.raises(ConfigError, match="nothing through"):
        CheckConfig(min_words=5, max_words=3)
