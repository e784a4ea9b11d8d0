"""Every policy answers with a legal chunk or a reason, and the same for the same seed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.invalid import InvalidActionError
from vlm_agent.actions.random_chunks import draw_chunk
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key, Move
from vlm_agent.actions.validation import check_chunk
from vlm_agent.chat import make_recipe, render_prompt
from vlm_agent.dataset.windows import Window, prompt_input
from vlm_agent.decoding.engine import DecodeConfig
from vlm_agent.errors import ConfigError, ModelError
from vlm_agent.models.adapters import attach_lora
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.observations import Observation, RecentAction
from vlm_agent.policies import (
    Decision,
    NoOpPolicy,
    RandomPolicy,
    RepeatLastPolicy,
    ReplayPolicy,
    ScriptedPolicy,
    VlmPolicy,
    find_recipe,
)

SPEC = ActionSpec(160, 96, keys=("space", "a"))
STATE = {
    "player": {"animation": -1, "isMoving": True},
    "inventory": {"slots": [{"itemName": "Gold bar", "quantity": 2, "canvasX": 10, "canvasY": 20}], "emptySlots": 26},
    "bank": {"bankOpen": False},
}


def see(goal="open the bank", t_ms=600, recent=(), seed=0, state=None):
    frame = np.random.default_rng(seed).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    return Observation(frame, goal, t_ms, state, tuple(recent))


def test_a_decision_is_a_chunk_or_a_reason():
    with pytest.raises(ConfigError):
        Decision(None)
    with pytest.raises(ConfigError):
        Decision(ActionChunk(), "truncated")


def test_noop_does_nothing():
    assert NoOpPolicy().decide(see()).chunk == ActionChunk()


def test_random_is_legal_seeded_and_as_busy_as_a_person():
    def play(seed):
        policy = RandomPolicy(actions_per_s=1.5)
        policy.begin("x", SPEC, seed)
        return [policy.decide(see()).chunk for _ in range(400)]

    chunks = play(3)
    for chunk in chunks:
        check_chunk(chunk, SPEC)
    assert chunks == play(3) != play(4)
    assert sum(len(chunk.actions) for chunk in chunks) / (400 * 0.6) == pytest.approx(1.5, abs=0.25)
    kinds = {type(action).__name__ for chunk in chunks for action in chunk.actions}
    assert kinds == {"Click", "Key", "Scroll", "Move"}


@pytest.mark.parametrize(
    "spec",
    [
        ActionSpec(50, 50, buttons=(), max_scroll=0),
        ActionSpec(50, 50, keys=("w",), pointer="relative", max_offset=30),
        ActionSpec(1, 1, keys=("w",), pointer="none", holds=False, max_actions=2),
    ],
)
def test_random_chunks_are_legal_in_any_spec(spec):
    rng = np.random.default_rng(0)
    for num_actions in (0, 1, 5, 20):
        for _ in range(20):
            check_chunk(draw_chunk(spec, rng, num_actions), spec)


def test_random_refuses_a_spec_without_actions():
    with pytest.raises(ConfigError, match="no action"):
        draw_chunk(ActionSpec(5, 5, pointer="none"), np.random.default_rng(0), 1)


def test_repeat_last_repeats_what_was_executed():
    policy = RepeatLastPolicy()
    policy.begin("x", SPEC, 0)
    first = policy.decide(see()).chunk
    assert first.actions
    executed = (RecentAction(900, Key(0, "a")), RecentAction(500, Click(0, 5, 6)), RecentAction(200, Move(0, 7, 8)))
    again = policy.decide(see(recent=executed)).chunk
    assert again == ActionChunk((Click(100, 5, 6), Move(300, 7, 8)))
    assert policy.decide(see()).chunk == again


def test_replay_plays_once_through():
    chunks = [ActionChunk((Key(0, "a"),)), ActionChunk(done=True)]
    policy = ReplayPolicy(chunks)
    for _ in range(2):
        policy.begin("x", SPEC, 0)
        assert [policy.decide(see()).chunk for _ in range(3)] == [*chunks, ActionChunk()]


def test_scripted_asks_its_function():
    policy = ScriptedPolicy(lambda seen, spec: ActionChunk((Click(0, spec.extent_width - 1, seen.t_ms // 100),)))
    policy.begin("x", SPEC, 0)
    assert policy.decide(see()).chunk == ActionChunk((Click(0, 159, 6),))


def test_decide_before_begin_is_refused():
    with pytest.raises(ConfigError, match="begin"):
        RandomPolicy().decide(see())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Checkpoint folders of both families."""
    root = tmp_path_factory.mktemp("tiny")
    return {family: write_tiny_checkpoint(root / family, family) for family in ("qwen3_vl", "qwen2_5_vl")}


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_5_vl"])
def loaded(request, tiny):
    return load_model(tiny[request.param], quantization="nf4", device="cpu")


def make_policy(loaded, **changes):
    recipe = replace(find_recipe(loaded, SPEC), state_text_max_chars=200)
    return VlmPolicy(loaded, recipe, **changes)


@pytest.mark.model
def test_the_model_answers_with_legal_chunks_in_frame_pixels(loaded):
    policy = make_policy(loaded, allow_done=False)
    policy.begin("open the bank", SPEC, 0)
    seen = see(recent=[RecentAction(300, Click(0, 159, 95))], state=STATE)
    first, again = policy.decide(seen), policy.decide(seen)
    assert first.chunk is not None
    check_chunk(first.chunk, SPEC)
    model_chunk = make_codec("json").decode(first.text, policy.recipe.spec)
    assert policy.recipe.space(160, 96).chunk_to_frame(model_chunk) == first.chunk
    assert (first.text, first.chunk) == (again.text, again.chunk)
    assert first.latency.total_ms > 0
    assert 0 < first.mean_p_allowed < 1
    assert first.num_answer_tokens > 0


@pytest.mark.model
def test_the_codec_decides_the_form(loaded):
    recipe = replace(find_recipe(loaded, SPEC), codec="line")
    policy = VlmPolicy(loaded, recipe, allow_done=False)
    policy.begin("x", SPEC, 0)
    decision = policy.decide(see())
    said = make_codec("line").decode(decision.text, recipe.spec)
    assert recipe.space(160, 96).chunk_to_frame(said) == decision.chunk
    with pytest.raises(InvalidActionError):
        make_codec("json").decode(decision.text, recipe.spec)


@pytest.mark.model
def test_a_prompt_beyond_the_context_is_a_reason_not_an_action(loaded, monkeypatch):
    monkeypatch.setattr(loaded.model.config.get_text_config(), "max_position_embeddings", 40)
    policy = make_policy(loaded)
    policy.begin("x", SPEC, 0)
    decision = policy.decide(see())
    assert (decision.chunk, decision.reason, decision.text) == (None, "context", "")
    assert decision.num_prompt_tokens > 40


@pytest.mark.model
def test_a_cut_answer_is_a_reason_not_an_action(loaded):
    policy = make_policy(loaded, config=DecodeConfig(max_tokens=2))
    policy.begin("x", SPEC, 0)
    decision = policy.decide(see())
    assert (decision.chunk, decision.reason) == (None, "truncated")
    policy = make_policy(loaded, config=DecodeConfig(deadline_ms=1e-6))
    policy.begin("x", SPEC, 0)
    assert policy.decide(see()).reason == "timeout"


@pytest.mark.model
def test_play_and_training_show_the_same_prompt(loaded, monkeypatch):
    """The seam: what `VlmPolicy` renders of an observation is what the dataset renders of the window it would be."""
    from vlm_agent import policies

    shown = []
    monkeypatch.setattr(policies, "render_prompt", lambda *args: shown.append(render_prompt(*args)) or shown[-1])
    policy = make_policy(loaded)
    policy.begin("open the bank", SPEC, 0)
    recent = ((1500, Key(0, "a")), (40, Click(0, 80, 50)))
    seen = see(recent=[RecentAction(*one) for one in recent], state=STATE)
    policy.decide(seen)
    window = Window(
        session="s",
        clip=0,
        t_ns=0,
        split="train",
        goal=seen.goal,
        goal_level="long",
        goal_source="human",
        goal_confidence=1.0,
        frame_id="f",
        frame_width_px=160,
        frame_height_px=96,
        target=ActionChunk(),
        recent=recent,
        state=STATE,
    )
    assert shown == [render_prompt(prompt_input(window, policy.recipe, seen.frame), policy.recipe)]
    assert "gold bar" in str(shown).lower()


@pytest.mark.model
@pytest.mark.parametrize("steps_from_state", [False, True])
def test_a_long_goal_is_acted_on_by_the_step_that_the_model_names(loaded, monkeypatch, steps_from_state):
    import vlm_agent.policies as policies_module

    steps = ("open the bank", "open the door", "open the chest")
    about_steps = {"long_goals": ("craft rings",), "steps": steps, "steps_from_state": steps_from_state}
    policy = VlmPolicy(loaded, replace(make_policy(loaded).recipe, **about_steps))
    asked = []

    def render(inp, recipe):
        asked.append(inp.goal)
        return render_prompt(inp, recipe)

    monkeypatch.setattr(policies_module, "render_prompt", render)
    policy.begin("craft rings", SPEC, 0)
    decision = policy.decide(see("craft rings"))
    assert decision.step in steps
    assert asked == [decision.step]
    assert decision.chunk is not None
    cut = VlmPolicy(loaded, policy.recipe, DecodeConfig(max_tokens=1)).decide(see("craft rings"))
    assert (cut.chunk, cut.reason, cut.step) == (None, "truncated", None)
    assert policy.decide(see("open the bank")).step is None
    assert asked[-1] == "open the bank"


@pytest.mark.model
def test_another_games_actions_are_refused(loaded):
    with pytest.raises(ConfigError, match="another game"):
        make_policy(loaded).begin("x", replace(SPEC, keys=("w",)), 0)
    make_policy(loaded).begin("x", SPEC.with_extent(320, 192), 0)


@pytest.mark.model
def test_a_run_brings_its_own_recipe(tiny, tmp_path):
    base = load_model(tiny["qwen3_vl"], quantization="none", device="cpu")
    wrapped = attach_lora(base.model, rank=2, alpha=2, dropout=0.0, seed=0)
    adapter = tmp_path / "run" / "adapter"
    wrapped.save_pretrained(adapter)
    recipe = make_recipe(SPEC, image_width_px=64, image_height_px=32, codec="line", state_text_max_chars=0)
    about = {"source": base.source, "fingerprint": base.fingerprint, "quantization": "none"}
    (adapter / "recipe.json").write_text(json.dumps({"base": about, "recipe": recipe.to_json()}))
    policy = VlmPolicy.from_run(tmp_path / "run", SPEC, device="cpu")
    assert policy.recipe == recipe
    policy.begin("x", SPEC, 0)
    assert policy.decide(see()).reason is None


@pytest.mark.model
def test_a_base_models_recipe_follows_its_family(tiny):
    ours = find_recipe(load_model(tiny["qwen3_vl"], quantization="none", device="cpu"), SPEC)
    older = find_recipe(load_model(tiny["qwen2_5_vl"], quantization="none", device="cpu"), SPEC)
    assert (ours.coordinates, older.coordinates) == ("thousand", "pixels")
    assert ours.image_width_px % 32 == 0
    assert older.image_width_px % 28 == 0


def test_an_unknown_model_is_one_error(tmp_path):
    with pytest.raises(ModelError):
        VlmPolicy.from_run(tmp_path / "nothing", SPEC)
