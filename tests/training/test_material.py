"""Which windows are learnt from and which are measured on, told apart."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.training.synthetic import SPEC, _make_window
from vlm_agent.chat import make_conversational, make_recipe
from vlm_agent.errors import DataError
from vlm_agent.training import material
from vlm_agent.training.config import EvaluationSettings, TrainConfig
from vlm_agent.training.material import choose_material, choose_split, prepare_rows

pytestmark = pytest.mark.model

RECIPE = make_recipe(SPEC, image_width_px=64, image_height_px=32)
CONFIG = TrainConfig(evaluation=EvaluationSettings(every_steps=1, max_windows=4), hide_recent=0.0)


def make_store(**splits: int) -> SimpleNamespace:
    """A dataset of so many sessions a split, of three windows each."""
    windows = {
        split: [
            replace(_make_window(tick, split, f"{split}-{session}-{tick}", "long"), session=f"{split}-{session}")
            for session in range(count)
            for tick in range(3)
        ]
        for split, count in splits.items()
    }
    return SimpleNamespace(folder="data", splits=windows.keys(), windows=lambda split: windows[split])


def sessions_of(windows) -> set[str]:
    return {window.session for window in windows}


def test_what_is_measured_on_is_never_learnt_from():
    chosen = choose_material(make_store(train=3, validation=2), RECIPE, CONFIG)
    assert {window.split for window in chosen.train} == {"train"}
    assert {window.split for window in chosen.validation} == {"validation"}
    assert (len(chosen.train), len(chosen.validation)) == (9, 4)


def test_fewer_sessions_are_learnt_from_and_all_are_measured_on():
    store = make_store(train=8, validation=4)
    config = replace(CONFIG, max_sessions=2, evaluation=EvaluationSettings(every_steps=1, max_windows=12))
    chosen = choose_material(store, RECIPE, config)
    assert len(sessions_of(chosen.train)) == 2
    assert len(sessions_of(chosen.validation)) == 4


def test_which_sessions_are_drawn_is_the_runs_seed_or_a_seed_of_its_own():
    store = make_store(train=40)

    def draw(**changes) -> frozenset[str]:
        windows, _ = choose_split(store, "train", RECIPE, replace(CONFIG, max_sessions=5, **changes))
        return frozenset(sessions_of(windows))

    assert len({draw(seed=seed) for seed in range(3)}) == 3
    assert len({draw(seed=seed, sessions_seed=7) for seed in range(3)}) == 1
    assert draw(seed=7) == draw(seed=0, sessions_seed=7) != draw(seed=0)


def test_without_measuring_nothing_is_chosen_for_it_and_nothing_to_learn_is_an_error():
    never = replace(CONFIG, evaluation=EvaluationSettings(every_steps=0))
    assert choose_material(make_store(train=1, validation=1), RECIPE, never).validation == []
    assert choose_material(make_store(train=1), RECIPE, CONFIG).validation == []
    with pytest.raises(DataError, match="no windows to train on"):
        choose_material(make_store(train=0, validation=1), RECIPE, CONFIG)


def test_earlier_answers_are_hidden_where_is_learnt_and_not_where_is_measured(monkeypatch):
    built = []

    def build(encoder, conversations, learnt, recipe, config, *, hides):
        built.append((learnt, hides))
        return learnt

    monkeypatch.setattr(material, "build_conversation_rows", build)
    monkeypatch.setattr(material, "list_conversations", lambda *_: [])
    chosen = SimpleNamespace(histories=None, train=["a"], validation_histories=None, validation=["b"])
    prepared = prepare_rows(None, chosen, make_conversational(RECIPE, 3), CONFIG, None)
    assert built == [(["a"], True), (["b"], False)]
    assert (prepared.train, prepared.validation, prepared.layout) == (["a"], ["b"], "conversation")
