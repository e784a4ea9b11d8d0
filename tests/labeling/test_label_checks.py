"""What has the form of a goal."""

from __future__ import annotations

import pytest

from labeling.checks import EXPLANATIONS, CheckConfig, LabelProblem, find_problem
from vlm_agent.errors import ConfigError


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ("open the bank", None),
        ("craft sapphire rings at the furnace", None),
        ("", LabelProblem.EMPTY),
        ("bank", LabelProblem.TOO_SHORT),
        ("a b c d e f g h i j", LabelProblem.NO_INSTRUCTION),
        ("go and open the bank and take all the gold", LabelProblem.TOO_LONG),
        ("walk to the " + "e" + "nd" * 30, LabelProblem.TOO_LONG),
        ("the player opens the bank", LabelProblem.NO_INSTRUCTION),
        ('{"actions":[]}', LabelProblem.MARKUP),
        ("open the bank?", LabelProblem.QUESTION),
        ("open the bank or leave", LabelProblem.ALTERNATIVES),
        ("open the bank; leave it", LabelProblem.SEVERAL),
        ("open the bank and", LabelProblem.CUT_SHORT),
        ("check the first frames of this clip", LabelProblem.ABOUT_ITSELF),
        ("open de bank", LabelProblem.OTHER_LANGUAGE),
        ("walk to to to", LabelProblem.REPETITION),
    ],
)
def test_problems(label, problem):
    assert find_problem(label, CheckConfig()) == problem


def test_every_problem_can_be_explained_to_the_model_or_is_final():
    assert set(LabelProblem) - set(EXPLANATIONS) == {LabelProblem.REFUSED, LabelProblem.REPETITION}


def test_limits_must_let_something_through():
    with pytest.raises(ConfigError, match="nothing through"):
        CheckConfig(min_words=5, max_words=3)
    with pytest.raises(ConfigError, match="one word, got 'pick up'"):
        CheckConfig(verbs=("pick up",))


def test_the_fingerprint_tells_limits_and_verbs_apart():
    configs = [CheckConfig(), CheckConfig(max_words=9), CheckConfig(verbs=("yoink",))]
    assert len({config.fingerprint for config in configs}) == 3
    assert CheckConfig().fingerprint == CheckConfig().fingerprint


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ("open", LabelProblem.TOO_SHORT),
        ("open bank", None),
        ("open the big old bank", None),
        ("open the big old red bank", LabelProblem.TOO_LONG),
        ("open " + "b" + "ank" * 5, None),
        ("open " + "b" + "ank" * 9, LabelProblem.TOO_LONG),
    ],
)
def test_limits_are_what_a_goal_may_just_have(label, problem):
    assert find_problem(label, CheckConfig(min_words=2, max_words=5, max_chars=25)) == problem
