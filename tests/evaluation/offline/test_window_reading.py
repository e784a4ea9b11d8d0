"""Reading windows out: what is read costs what training would call its loss, and examples come before the question."""

from __future__ import annotations

import re
from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch

from tests.training.synthetic import write_dataset
from vlm_agent.chat import PromptInput, Shot, make_recipe, render_prompt, render_step_prompt
from vlm_agent.dataset.store import open_dataset
from vlm_agent.decoding.engine import DecodeConfig
from vlm_agent.errors import DataError, ModelError
from vlm_agent.evaluation.offline.few_shot import FewShotPolicy, ShotFinder
from vlm_agent.evaluation.offline.reading import Reading, WindowReader, _make_event_slots
from vlm_agent.evaluation.probing import probe_adapter
from vlm_agent.evaluation.sides import Pair, Side
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.observations import Observer
from vlm_agent.policies import VlmPolicy
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.passes import sum_losses
from vlm_agent.training.rows import make_row
from vlm_agent.training.windows import FrameLoader, encode_window

pytestmark = pytest.mark.model

STATE = {"player": {"animation": -1}, "inventory": {"emptySlots": 28}}
STEPS = ("press short", "wait")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return open_dataset(write_dataset(tmp_path_factory.mktemp("data") / "dataset", num_ticks=12, state=STATE))


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_5_vl"])
def loaded(request, tmp_path_factory):
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("tiny") / request.param, request.param)
    return load_model(folder, quantization="none", device="cpu")


def make(loaded, dataset, *, codec="json", steps_from_state=False):
    coordinates = loaded.family.coordinates
    side = loaded.encoder.images.factor_px
    recipe = make_recipe(
        dataset.spec, image_width_px=3 * side, image_height_px=2 * side, coordinates=coordinates, codec=codec
    )
    return replace(recipe, long_goals=("press long",), steps=STEPS, steps_from_state=steps_from_state)


def training_loss(loaded, dataset, window, recipe, step=None):
    """Sum of the cross entropies of a window's answer in bits, as training computes it."""
    encoder = loaded.encoder
    example = encode_window(encoder, window, recipe, step)
    row = make_row([example], encoder)
    loaded.model.eval()
    features = FeatureCache(loaded, FrameLoader(dataset.folder, recipe), 1 << 20)
    return sum_losses(loaded, [row], features).item() / log(2)


@pytest.mark.parametrize("steps_from_state", [False, True])
@pytest.mark.parametrize("codec", ["json", "line"])
def test_what_is_read_costs_what_training_calls_its_loss(loaded, dataset, codec, steps_from_state):
    recipe = make(loaded, dataset, codec=codec, steps_from_state=steps_from_state)
    reader = WindowReader(VlmPolicy(loaded, recipe))
    windows = [window for window in dataset.windows("validation") if window.target.actions][:2]
    long, short = windows
    assert (long.goal_level, short.goal_level) == ("long", "short")
    actions = reader.read(Observer(dataset), Reading(short))
    assert sum(actions.bits.values()) == pytest.approx(training_loss(loaded, dataset, short, recipe), abs=1e-3)
    step = reader.read(Observer(dataset), Reading(long, "press short", has_actions=False))
    want = training_loss(loaded, dataset, long, recipe, "press short")
    assert sum(step.bits.values()) == pytest.approx(want, abs=1e-3)
    # Given the player's step, the long window's actions are those of the short one.
    both = reader.read(Observer(dataset), Reading(long, "press short"))
    assert sum(both.bits.values()) == pytest.approx(want + sum(actions.bits.values()), abs=1e-3)
    assert both.numbers == actions.numbers
    assert both.counts["step"] == 1
    assert step.numbers == step.events == ()


def test_numbers_and_events_are_kept_as_they_were_read(loaded, dataset):
    recipe = make(loaded, dataset)
    [window, *_] = [one for one in dataset.windows("validation") if one.target.actions and one.goal_level == "short"]
    read = WindowReader(VlmPolicy(loaded, recipe)).read(Observer(dataset), Reading(window))
    assert [(slot.part, slot.event, slot.action) for slot in read.numbers] == [
        ("dt", "CLICK", 0),
        ("x", "CLICK", 0),
        ("y", "CLICK", 0),
        ("dt", "KEY", 1),
    ]
    assert [slot.truth for slot in read.events] == ["CLICK", "KEY", "none"]
    for slot in read.events:
        assert sum(slot.ppm.values()) == pytest.approx(1_000_000, abs=10)
    x = read.numbers[1]
    assert x.true_value == pytest.approx(window.target.actions[0].x, abs=1)
    assert sum(x.distribution.probabilities) == pytest.approx(1)
    assert 0 <= x.distribution.mean < 96
    assert read.numbers[0].distribution.step == 10


def test_a_model_that_holds_no_numbers_is_named_whoever_asks_it(dataset, tmp_path, monkeypatch):
    folder = write_tiny_checkpoint(tmp_path / "broken")
    loaded = load_model(folder, quantization="none", device="cpu")
    with torch.no_grad():
        loaded.model.model.language_model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    policy = VlmPolicy(loaded, make(loaded, dataset))
    [window, *_] = [one for one in dataset.windows("validation") if one.target.actions and one.goal_level == "short"]
    with pytest.raises(
        ModelError, match=rf"^{re.escape(str(folder))}: \d+ of \d+ probabilities .* {window.window_id}"
    ) as read:
        WindowReader(policy).read(Observer(dataset), Reading(window))
    policy.begin(window.goal, dataset.spec, 0)
    with pytest.raises(ModelError, match=rf"^{re.escape(str(folder))}: its probabilities are not numbers") as answered:
        policy.decide(Observer(dataset).observe(window))
    monkeypatch.setattr("vlm_agent.models.loading.load_model", lambda name, **_: loaded)
    side = Side("runs/mine", "", None, None)
    pair = Pair(side, side, policy.recipe, "none", None)
    with pytest.raises(ModelError, match=r"^runs/mine: .* logits on a probe prompt are NaN or infinite") as probed:
        probe_adapter(pair, Observer(dataset).observe(window), device="cpu")
    for error in (read, answered, probed):
        assert "\n" not in str(error.value)


def test_where_the_time_is_written_first_the_kinds_share_what_acting_has(loaded, dataset):
    recipe = make(loaded, dataset, codec="line")
    [window, *_] = [one for one in dataset.windows("validation") if one.target.actions and one.goal_level == "short"]
    read = WindowReader(VlmPolicy(loaded, recipe)).read(Observer(dataset), Reading(window))
    assert [slot.truth for slot in read.events] == ["CLICK", "KEY", "none"]
    assert set(read.events[0].ppm) == {"CLICK", "KEY", "SCROLL", "MOVE", "none", "done"}
    assert set(read.events[2].ppm) == {"act", "none"}
    for slot in read.events:
        assert sum(slot.ppm.values()) == pytest.approx(1_000_000, abs=10)
    assert _make_event_slots([]) == []


def shot(goal, state_text="", answer="a"):
    return Shot(PromptInput(frames=(), goal=goal, state_text=state_text), answer)


def test_examples_are_of_different_sessions_and_the_most_alike_stands_last():
    shots = [
        ("one", shot("open the bank", "tab: bank", "1")),
        ("one", shot("open the bank", "tab: bank open", "2")),
        ("two", shot("open the door", "tab: bank", "3")),
        ("three", shot("make rings", "tab: rings", "4")),
    ]
    asked = PromptInput(frames=(), goal="open the bank", state_text="tab: bank open @3,4")
    finder = ShotFinder(shots)
    assert [one.answer for one in finder.find(asked, 2)] == ["3", "2"]
    assert [one.answer for one in finder.find(asked, 9)] == ["4", "3", "2"]
    assert finder.find(asked, 0) == ShotFinder([]).find(asked, 2) == []


def test_examples_are_turns_before_the_question(loaded, dataset):
    recipe = make(loaded, dataset, steps_from_state=True)
    frame = np.zeros((4, 4, 3), np.uint8)
    asked = PromptInput(frames=(frame,), goal="press long", state_text="tab: bank")
    plain, with_shot = render_prompt(asked, recipe), render_prompt(asked, recipe, [shot("wait", "tab: map", "{}")])
    assert [plain[0], plain[-1]] == [with_shot[0], with_shot[-1]]
    assert [message["role"] for message in with_shot] == ["system", "user", "assistant", "user"]
    assert with_shot[1]["content"][0]["text"] == "tab: map\nGoal: wait"
    steps = render_step_prompt(asked, recipe, [shot("press long", "tab: map", "wait")])
    assert [message["role"] for message in steps] == ["user", "assistant", "user"]
    assert steps[0]["content"][0]["text"].endswith("(name the next step)")
    assert steps[-1:] == render_step_prompt(asked, recipe)


def test_a_model_with_examples_answers_and_drops_those_that_do_not_fit(loaded, dataset):
    recipe = make(loaded, dataset)
    windows = list(dataset.windows("train"))
    policy = FewShotPolicy(loaded, recipe, windows, 2, DecodeConfig())
    window = next(iter(dataset.windows("validation")))
    observation = Observer(dataset).observe(window)
    seen = policy.see(observation)
    # All training windows are of one session.
    assert len(policy.ask(seen)) == 4
    assert len(policy.ask_step(seen)) == 4
    policy.begin(window.goal, dataset.spec, 0)
    assert policy.decide(observation).chunk is not None
    tight = FewShotPolicy(loaded, recipe, windows, 2, DecodeConfig(max_tokens=4096))
    assert tight.ask(seen) == render_prompt(seen, recipe)
    with pytest.raises(DataError, match="worked examples need training windows"):
        FewShotPolicy(loaded, recipe, [], 2, DecodeConfig())
