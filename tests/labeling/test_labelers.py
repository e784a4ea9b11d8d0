"""Labelers: what they ask, when they ask again, and what they say when there is no goal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labeling.checks import CheckConfig
from labeling.labelers import (
    ChoiceLabeler,
    ClipView,
    GameLabeler,
    LabelConfig,
    ModelLabeler,
    ToldLabeler,
    make_question,
)
from vlm_agent.chat import load_prompt
from vlm_agent.clips import Clip
from vlm_agent.sessions.types import Goal

CLIP = Clip(0, 1000, 3000)
SHEET = np.zeros((20, 30, 3), np.uint8)
VIEW = ClipView(CLIP, (), SHEET, num_frames=6)


class Answers:
    """Gives canned answers and keeps what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def __call__(self, messages, images):
        self.asked.append((messages, images))
        return self.answers.pop(0)


def test_the_game_s_own_goal_at_the_middle_of_the_clip():
    goals = (Goal(0, "open the bank", "short", "game"), Goal(1900, "close the bank", "short", "human", 0.5))
    view = ClipView(CLIP, goals, None)
    label = GameLabeler().label(view)
    assert (label.goal, label.source, label.confidence) == ("close the bank", "human", 0.5)
    assert (label.start_ns, label.stop_ns, label.dropped) == (1000, 3000, None)
    assert ToldLabeler().label(view) == replace(label, labeler="told")


def test_without_a_told_goal_the_clip_is_dropped_with_its_reason():
    long, by_game = Goal(0, "rings", "long", "game"), Goal(0, "open the bank", "short", "game")
    for one in (GameLabeler(), ToldLabeler()):
        assert one.label(ClipView(CLIP, (), None)).apply(CLIP).dropped == "no_goal_told"
        assert one.label(ClipView(CLIP, (long,), None)).apply(CLIP).dropped == "long_goal_only"
    assert ToldLabeler().label(ClipView(CLIP, (by_game,), None)).dropped == "no_goal_told"
    assert GameLabeler().label(ClipView(CLIP, (by_game,), None)).goal == "open the bank"


def test_what_a_person_told_stands_before_what_the_game_told_later():
    goals = (Goal(0, "open the bank", "short", "human", 0.5), Goal(1900, "close the bank", "short", "game"))
    assert GameLabeler().label(ClipView(CLIP, goals, None)).goal == "open the bank"
    taken_back = (*goals, Goal(1950, "", "short", "human"))
    assert GameLabeler().label(ClipView(CLIP, taken_back, None)).goal == "close the bank"
    assert ToldLabeler().label(ClipView(CLIP, taken_back, None)).dropped == "no_goal_told"


def test_a_model_is_asked_once_where_its_answer_will_do():
    model = Answers("Goal: Open the bank.")
    label = ModelLabeler(model, "m", LabelConfig()).label(VIEW)
    assert (label.goal, label.source, label.dropped) == ("open the bank", "model", None)
    [(messages, images)] = model.asked
    assert images == [SHEET]
    assert [block["type"] for block in messages[0]["content"]] == ["image", "text"]
    assert label.apply(CLIP).goal == Goal(1000, "open the bank", "short", "model", label.confidence)


def test_a_model_is_asked_once_more_and_told_why():
    model = Answers("bank", "open the bank")
    label = ModelLabeler(model, "m", LabelConfig()).label(VIEW)
    assert label.goal == "open the bank"
    again = model.asked[1][0]
    assert [message["role"] for message in again] == ["user", "assistant", "user"]
    assert again[1]["content"][0]["text"] == "bank"
    assert "it is too short" in again[2]["content"][0]["text"]


def test_a_model_that_can_t_is_dropped_with_the_reason_of_its_second_answer():
    label = ModelLabeler(Answers("", "the player opens the bank"), "m", LabelConfig()).label(VIEW)
    assert (label.goal, label.dropped, label.confidence) == (None, "no_instruction", 0.0)


def test_where_there_is_no_goal_a_model_is_not_asked_again():
    model = Answers("Unable to determine the goal.")
    label = ModelLabeler(model, "m", LabelConfig()).label(VIEW)
    assert (label.goal, label.dropped, len(model.asked)) == (None, "no_goal_said", 1)


def test_words_of_goals_that_the_recording_tells_are_known():
    view = replace(VIEW, goals=(Goal(0, "yoink the flag", "short", "human"), Goal(0, "yeet it", "short", "model")))
    assert ModelLabeler(Answers("Yoink the crown"), "m", LabelConfig()).label(view).goal == "yoink the crown"
    assert ModelLabeler(Answers("Yeet the crown", ""), "m", LabelConfig()).label(view).goal is None


def test_the_question_told_back_is_no_goal():
    question = make_question(load_prompt("label_clip"), 6, LabelConfig().check)[0]["content"][1]["text"]
    label = ModelLabeler(Answers(question, question), "m", LabelConfig()).label(VIEW)
    assert (label.goal, label.dropped) == (None, "about_itself")


def test_a_small_model_chooses():
    label = ChoiceLabeler(lambda messages, images: ("open the bank", 0.25), "nano", LabelConfig()).label(VIEW)
    assert (label.goal, label.confidence, label.source) == ("open the bank", 0.25, "model")
    label = ChoiceLabeler(lambda messages, images: ("a wall of text", 0.25), "nano", LabelConfig()).label(VIEW)
    assert (label.goal, label.dropped) == (None, "no_instruction")


def test_the_name_changes_with_model_and_prompt(monkeypatch):
    name = ModelLabeler(Answers(), "m", LabelConfig()).name
    assert name.startswith("m+")
    assert ModelLabeler(Answers(), "other", LabelConfig()).name != name
    stricter = LabelConfig(check=CheckConfig(max_words=5))
    assert ModelLabeler(Answers(), "m", stricter).name != name
    assert ChoiceLabeler(Answers(), "m", stricter).name != ChoiceLabeler(Answers(), "m", LabelConfig()).name
    other = load_prompt("act")
    monkeypatch.setattr("labeling.labelers.load_prompt", lambda which: other)
    assert ModelLabeler(Answers(), "m", LabelConfig()).name != name


def test_golden_question(snapshot):
    assert make_question(load_prompt("label_clip"), 6, LabelConfig().check) == snapshot


@pytest.mark.parametrize("problem", ["it is too short"])
def test_golden_retry(problem, snapshot):
    assert load_prompt("label_retry").render(problem=problem, min_words=2, max_words=8) == snapshot
