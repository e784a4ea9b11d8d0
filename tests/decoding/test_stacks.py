"""Both stacks give the hidden states of the whole model, whatever was cached before."""

from __future__ import annotations

import pytest
import torch

from tests.decoding.tiny_prompts import add_loud_lora, make_prompt, recompute_logits
from vlm_agent.decoding.lean import LeanStack, is_lean_enough
from vlm_agent.decoding.sequence import CachedSequence, Picture
from vlm_agent.decoding.stacks import TransformersStack
from vlm_agent.models.forward import apply_head
from vlm_agent.models.loading import load_model

pytestmark = pytest.mark.model

TOLERANCE = 1e-5
"""Largest difference of a logit; a wrong position or a stale key shows at 0.1."""


def stacks_of(loaded):
    yield TransformersStack(loaded.model)
    if is_lean_enough(loaded.model):
        yield LeanStack(loaded.model)


def test_small_qwen3_runs_lean(loaded):
    assert is_lean_enough(loaded.model) == (loaded.family.model_type == "qwen3_vl")


def test_appended_runs_equal_recomputation(loaded):
    prompt = make_prompt(loaded, 3)
    for stack in stacks_of(loaded):
        sequence = CachedSequence(loaded, stack)
        said: tuple[int, ...] = (40, 41)
        hidden = sequence.start(prompt, said)
        for run in ((50,), (51, 52, 53), (54, 55), tuple(range(60, 66))):
            expected = recompute_logits(loaded, prompt, said)
            assert torch.allclose(apply_head(loaded.model, hidden), expected, atol=TOLERANCE, rtol=0)
            hidden = sequence.append(run)
            said += run
        assert torch.allclose(
            apply_head(loaded.model, hidden), recompute_logits(loaded, prompt, said), atol=TOLERANCE, rtol=0
        )


def test_where_4_bit_layers_multiply_in_bfloat16_both_stacks_do(tiny_folder, monkeypatch):
    monkeypatch.setenv("VLM_AGENT_CPU_DTYPE", "bfloat16")
    loaded = load_model(tiny_folder("qwen3_vl"), quantization="nf4", device="cpu")
    add_loud_lora(loaded)
    prompt = make_prompt(loaded, 3)
    coarse = [CachedSequence(loaded, stack).start(prompt) for stack in stacks_of(loaded)]
    monkeypatch.setenv("VLM_AGENT_CPU_DTYPE", "float32")
    exact_model = load_model(tiny_folder("qwen3_vl"), quantization="nf4", device="cpu")
    add_loud_lora(exact_model)
    exact = CachedSequence(exact_model, TransformersStack(exact_model.model)).start(prompt)
    for hidden in coarse:
        assert hidden.dtype == torch.float32
        # A product of bfloat16 is off by up to one in 256, a few in a row add up; float32 would be within 1e-5.
        assert 1e-4 < (hidden - exact).abs().max() / exact.abs().max() < 0.05


def test_prefix_reuse_is_exact(loaded):
    for stack in stacks_of(loaded):
        kept, fresh = CachedSequence(loaded, stack), CachedSequence(loaded, reuse_prefix=False)
        for seed, question in ((0, "Goal: a"), (1, "Goal: a much longer goal than before"), (2, "Goal: b")):
            prompt = make_prompt(loaded, seed, question)
            difference = (kept.start(prompt) - fresh.start(prompt)).abs().max()
            assert difference < TOLERANCE
            kept.append((50, 51, 52))
        image_at = prompt.encoded.input_ids.index(loaded.encoder.image_token_id)
        assert kept.num_reused_tokens == image_at
        assert fresh.num_reused_tokens == 0


def test_the_same_picture_is_not_read_twice(loaded):
    image = loaded.encoder.image_token_id
    for stack in stacks_of(loaded):
        kept, fresh = CachedSequence(loaded, stack), CachedSequence(loaded, reuse_prefix=False)
        was_reused = []
        for seed, question in ((1, "Goal: a"), (1, "Goal: b"), (1, "Goal: b"), (2, "Goal: b"), (1, "Goal: b")):
            prompt = make_prompt(loaded, seed, question)
            assert (kept.start(prompt) - fresh.start(prompt)).abs().max() < TOLERANCE
            was_reused.append(image not in prompt.encoded.input_ids[kept.num_reused_tokens :])
            kept.append((50, 51, 52))
        assert was_reused == [False, True, True, False, False]


def test_text_alone_runs_too(loaded):
    messages = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    encoded = loaded.encoder.encode_prompt(messages)
    from vlm_agent.decoding.sequence import ModelPrompt

    hidden = [CachedSequence(loaded, stack).start(ModelPrompt(encoded)) for stack in stacks_of(loaded)]
    for other in hidden[1:]:
        assert torch.allclose(hidden[0], other, atol=TOLERANCE, rtol=0)


def test_the_lean_cache_grows(loaded):
    if not is_lean_enough(loaded.model):
        pytest.skip("runs on transformers' layers")
    sequences = [CachedSequence(loaded, stack) for stack in stacks_of(loaded)]
    prompt = make_prompt(loaded, 0, "walk " * 300)
    plain, lean = (sequence.start(prompt) for sequence in sequences)
    assert len(prompt.encoded.input_ids) > 512
    assert torch.allclose(plain, lean, atol=TOLERANCE, rtol=0)
    plain, lean = (sequence.append(tuple(range(30, 300)) * 3) for sequence in sequences)
    assert torch.allclose(plain, lean, atol=TOLERANCE, rtol=0)


def test_what_is_in_the_lean_cache_is_kept_as_it_grows(loaded):
    if not is_lean_enough(loaded.model):
        pytest.skip("runs on transformers' layers")
    sequences = [CachedSequence(loaded, stack) for stack in stacks_of(loaded)]
    prompt = make_prompt(loaded, 0)
    assert len(prompt.encoded.input_ids) < 500
    for sequence in sequences:
        sequence.start(prompt)
    plain, lean = (sequence.append(tuple(range(30, 300)) * 2) for sequence in sequences)
    assert torch.allclose(plain, lean, atol=TOLERANCE, rtol=0)


def test_cropping_to_more_than_there_is_changes_nothing(loaded):
    prompt = make_prompt(loaded, 0)
    for stack in stacks_of(loaded):
        CachedSequence(loaded, stack).start(prompt)
        num_tokens = stack.num_tokens
        stack.crop(num_tokens + 7)
        assert stack.num_tokens == num_tokens == len(prompt.encoded.input_ids)
        stack.crop(5)
        assert stack.num_tokens == 5


def test_after_a_pass_that_failed_between_layers_all_of_them_begin_anew(loaded):
    stack, prompt = TransformersStack(loaded.model), make_prompt(loaded, 3)
    sequence = CachedSequence(loaded, stack)
    wanted = CachedSequence(loaded, TransformersStack(loaded.model)).start(prompt)
    sequence.start(prompt)

    def fail(*_):
        raise MemoryError

    hook = loaded.model.model.language_model.layers[-1].register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        sequence.append((30, 31))
    hook.remove()
    assert torch.allclose(sequence.start(prompt), wanted, atol=TOLERANCE, rtol=0)
    expected = recompute_logits(loaded, prompt, (50, 51))
    assert torch.allclose(apply_head(loaded.model, sequence.append((50, 51))), expected, atol=TOLERANCE, rtol=0)


def test_append_without_start_is_refused(loaded):
    with pytest.raises(RuntimeError, match="start"):
        CachedSequence(loaded).append((1,))


def test_forks_see_their_own_path_alone_and_are_forgotten(loaded):
    prompt = make_prompt(loaded, 5)
    for stack in stacks_of(loaded):
        sequence = CachedSequence(loaded, stack)
        sequence.start(prompt, (40,))
        first = sequence.fork([(-1, (50, 51)), (-1, (60,))])
        second = sequence.fork([(0, (52,)), (2, (61, 62)), (1, (53,))])
        paths = [(50,), (50, 51), (60,), (50, 52), (60, 61), (60, 61, 62), (50, 51, 53)]
        for path, hidden in zip(paths, torch.cat([first, second]), strict=True):
            expected = recompute_logits(loaded, prompt, (40, *path))
            assert torch.allclose(apply_head(loaded.model, hidden), expected, atol=TOLERANCE, rtol=0)
        after = sequence.append((70,))
        expected = recompute_logits(loaded, prompt, (40, 70))
        assert torch.allclose(apply_head(loaded.model, after), expected, atol=TOLERANCE, rtol=0)
        sequence.fork([(-1, (50,))])
        sequence.start(make_prompt(loaded, 6), ())
        with pytest.raises(IndexError):
            sequence.fork([(0, (50,))])


@pytest.mark.parametrize("fails", ["start", "append", "fork"])
def test_a_pass_that_fails_leaves_nothing_that_is_used_again(loaded, fails):
    stack = TransformersStack(loaded.model)
    sequence, prompt = CachedSequence(loaded, stack), make_prompt(loaded, 3)
    wanted = CachedSequence(loaded, TransformersStack(loaded.model)).start(prompt)
    sequence.start(prompt)
    run, run_tree = stack.run, stack.run_tree

    def fail(*args, **options):
        (run_tree if fails == "fork" else run)(*args, **options)  # what it has written is in the cache
        raise MemoryError

    stack.run = stack.run_tree = fail
    calls = {
        "start": lambda: sequence.start(make_prompt(loaded, 4)),
        "append": lambda: sequence.append((50, 51)),
        "fork": lambda: sequence.fork([(-1, (50,))]),
    }
    with pytest.raises(MemoryError):
        calls[fails]()
    stack.run, stack.run_tree = run, run_tree
    with pytest.raises(RuntimeError, match="call start"):
        sequence.append((1,))
    assert torch.allclose(sequence.start(prompt), wanted, atol=TOLERANCE, rtol=0)
    assert sequence.num_reused_tokens == 0


def test_pictures_of_other_shapes_are_others():
    patches = torch.ones(8, 3)
    assert Picture((1, 2, 4), patches).is_same(Picture((1, 2, 4), patches.clone()))
    assert not Picture((1, 2, 4), patches).is_same(Picture((1, 4, 2), patches))
    assert not Picture((1, 2, 4), patches).is_same(Picture((1, 2, 4), patches + 1e-6))
