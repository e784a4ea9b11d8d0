"""A conversation in play: only the newest turn is run, with the states of a full recomputation."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import vlm_agent.decoding.sequence as sequence_module
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.chat import make_conversational, render_prompt
from vlm_agent.decoding.engine import DecodeConfig
from vlm_agent.decoding.prompts import encode_prompt
from vlm_agent.decoding.sampling import SamplingConfig
from vlm_agent.decoding.sequence import CachedSequence
from vlm_agent.errors import ModelError
from vlm_agent.models.adapters import attach_lora
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.observations import Observation, RecentAction, see
from vlm_agent.policies import VlmPolicy, find_recipe

pytestmark = pytest.mark.model

SPEC = ActionSpec(160, 96, keys=("a", "space"))
HORIZON_MS = SPEC.horizon_ms
TOLERANCE = 1e-4


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_5_vl"])
def loaded(request, tmp_path_factory):
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("talk") / request.param, request.param)
    return load_model(folder, quantization="none", device="cpu")


def play(policy: VlmPolicy, count: int, frames: int = 99) -> list[tuple]:
    """Play without a game: whatever the policy says is done; return what was seen and said."""
    policy.begin("craft rings", SPEC, 0)
    executed: list[tuple[int, object]] = []
    played = []
    for number in range(count):
        frame = np.random.default_rng(number % frames).integers(0, 256, (96, 160, 3), dtype=np.uint8)
        now_ms = number * HORIZON_MS
        recent = tuple(RecentAction(now_ms - t_ms, action) for t_ms, action in executed)
        seen = Observation(frame, "craft rings", now_ms, {"inventory": {"free": number}}, recent)
        decision = policy.decide(seen)
        t_ms = now_ms
        for action in decision.chunk.actions:
            t_ms += action.dt_ms
            executed.append((t_ms, replace(action, dt_ms=0)))
        played.append((seen, decision))
    return played


def make_policy(loaded, turns: int = 4, history_frames: int = 1) -> VlmPolicy:
    recipe = replace(find_recipe(loaded, SPEC), history_frames=history_frames)
    recipe = make_conversational(recipe, turns) if turns > 1 else recipe
    return VlmPolicy(loaded, recipe, DecodeConfig(SamplingConfig(temperature=1.0)), allow_done=False)


def count_seen(monkeypatch) -> list[int]:
    counts: list[int] = []
    see_images = sequence_module.see_images

    def count(model, pixels, grids):
        counts.append(len(grids))
        return see_images(model, pixels, grids)

    monkeypatch.setattr(sequence_module, "see_images", count)
    return counts


def test_a_conversation_grows_in_the_cache_and_each_picture_is_seen_once(loaded, monkeypatch):
    counts = count_seen(monkeypatch)
    policy = make_policy(loaded)
    reused, prompts = [], []
    decode = policy._engine.decode

    def watch(prompt, *rest):
        answer = decode(prompt, *rest)
        reused.append(answer.num_reused_tokens)
        prompts.append(prompt.encoded)
        return answer

    monkeypatch.setattr(policy._engine, "decode", watch)
    played = play(policy, 8)
    assert counts == [1] * 8
    assert [len(prompt.image_grids) for prompt in prompts] == [1, 2, 3, 4, 3, 4, 3, 4]
    for number, prompt in enumerate(prompts):
        places = [place for place, token in enumerate(prompt.input_ids) if token == loaded.encoder.image_token_id]
        num_tokens = len(places) // len(prompt.image_grids)
        if number in (0, 4, 6):  # the first, and where half of the turns were let go
            assert reused[number] <= places[0]
        else:
            # All earlier pictures are in the cache, and nearly all of the last answer.
            assert places[-num_tokens - 1] < reused[number] <= places[-num_tokens]
    assert len({decision.text for _, decision in played}) > 1


@pytest.mark.parametrize(("turns", "history_frames"), [(4, 1), (1, 3)])
def test_what_is_played_is_what_a_model_without_a_cache_says(loaded, turns, history_frames):
    policy = make_policy(loaded, turns, history_frames)
    recipe = policy.recipe
    fresh = VlmPolicy(loaded, recipe, replace(policy._engine.config, reuse_prefix=False), allow_done=False)
    cached, plain = (play(one, 7) for one in (policy, fresh))
    assert [decision.text for _, decision in cached] == [decision.text for _, decision in plain]
    kept = CachedSequence(loaded)
    memory = policy._memory
    memory.forget()
    for seen, decision in cached:
        recalled = memory.recall(seen)
        asked = see(recalled, recipe)
        prompt = encode_prompt(loaded, render_prompt(asked, recipe), asked.pictures, recipe)
        assert len(prompt.encoded.image_grids) == len(recalled.earlier) + 1
        alone = CachedSequence(loaded, reuse_prefix=False).start(prompt)
        assert (kept.start(prompt) - alone).abs().max() < TOLERANCE
        kept.append(loaded.encoder.encode_text(decision.text))
        memory.keep(recalled, decision.chunk)


def test_pictures_of_a_history_are_seen_once(loaded, monkeypatch):
    counts = count_seen(monkeypatch)
    play(make_policy(loaded, turns=1, history_frames=3), 6)
    assert counts == [1] * 6


def test_a_screen_that_stands_still_is_seen_once(loaded, monkeypatch):
    counts = count_seen(monkeypatch)
    play(make_policy(loaded), 4, frames=1)
    assert counts == [1]


@pytest.mark.parametrize(
    ("trained", "asked", "message"),
    [
        ({"turns": 4}, {}, "was trained with conversation_turns 4 and can't be asked with 1"),
        ({}, {"turns": 4}, "was trained with conversation_turns 1 and can't be asked with 4"),
        ({"frames": 2}, {"frames": 4}, "was trained with history_frames 2 and can't be asked with 4"),
        ({"turns": 4}, {"turns": 4}, None),
    ],
)
def test_an_adapter_is_asked_as_it_was_trained(tmp_path_factory, tmp_path, trained, asked, message):
    base = load_model(
        write_tiny_checkpoint(tmp_path_factory.mktemp("base") / "tiny"), quantization="none", device="cpu"
    )
    plain = find_recipe(base, SPEC)

    def make(turns: int = 1, frames: int = 1):
        return make_conversational(plain, turns) if turns > 1 else replace(plain, history_frames=frames)

    adapter = tmp_path / "run" / "adapter"
    attach_lora(base.model, rank=2, alpha=2, dropout=0.0, seed=0).save_pretrained(adapter)
    about = {"source": base.source, "fingerprint": base.fingerprint, "quantization": "none"}
    (adapter / "recipe.json").write_text(json.dumps({"base": about, "recipe": make(**trained).to_json()}))
    if message is None:
        assert VlmPolicy.from_run(tmp_path / "run", SPEC, device="cpu").recipe == make(**asked)
        return
    with pytest.raises(ModelError, match=message) as caught:
        VlmPolicy.from_run(tmp_path / "run", SPEC, recipe=make(**asked), device="cpu")
    assert "\n" not in str(caught.value)
