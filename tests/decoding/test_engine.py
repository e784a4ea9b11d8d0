"""The engine writes what a full recomputation under the same mask would write."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import pytest
import torch

from tests.decoding.tiny_prompts import DiceState, make_prompt, recompute_logits
from vlm_agent.decoding import engine as engine_module
from vlm_agent.decoding.choices import PhraseState
from vlm_agent.decoding.engine import DecodeConfig, Engine, Stop
from vlm_agent.decoding.sampling import SamplingConfig
from vlm_agent.decoding.stacks import TransformersStack
from vlm_agent.errors import ConfigError, ModelError

pytestmark = pytest.mark.model


def recompute(loaded, prompt):
    """Greedy answer, one full forward pass a token, nothing skipped."""
    state = DiceState()
    while not state.is_complete:
        allowed = state.allowed()
        logits = recompute_logits(loaded, prompt, state.said)
        state = state.advance(allowed[int(logits[list(allowed)].argmax())])
    return state.said


@pytest.mark.parametrize("stack", ["faster", "transformers"])
def test_greedy_equals_full_recomputation(loaded, stack):
    engine = Engine(loaded, stack=TransformersStack(loaded.model) if stack == "transformers" else None)
    for seed in range(2):
        prompt = make_prompt(loaded, seed, f"Goal: {'walk ' * seed}to the furnace {seed}")
        generation = engine.decode(prompt, DiceState())
        assert generation.token_ids == recompute(loaded, prompt)
        assert generation.stop is None
        # The second prompt takes its system text from the first: otherwise this test would not see a stale cache.
        assert (generation.num_reused_tokens > 10) == (seed > 0)


def test_forced_tokens_cost_no_choice(loaded):
    generation = Engine(loaded).decode(make_prompt(loaded, 0), DiceState())
    before = [DiceState(generation.token_ids[:place]) for place in range(24)]
    assert len(generation.token_ids) == 24
    assert generation.num_choices == sum(len(state.allowed()) > 1 for state in before) < 24


def test_mass_on_the_mask_is_measured(loaded):
    prompt, allowed = make_prompt(loaded, 0), tuple(range(20, 28))
    generation = Engine(loaded).decode(prompt, PhraseState(tuple((token,) for token in allowed)))
    probabilities = recompute_logits(loaded, prompt, ()).softmax(-1)
    assert generation.mean_p_allowed == pytest.approx(float(probabilities[list(allowed)].sum()), abs=1e-5)


def test_a_new_picture_is_seen_behind_the_same_text(loaded):
    engine, forgetful = Engine(loaded), Engine(loaded, DecodeConfig(reuse_prefix=False))
    prompts = [make_prompt(loaded, seed) for seed in (0, 1, 2, 0)]
    answers = [engine.decode(prompt, DiceState()).token_ids for prompt in prompts]
    assert answers == [forgetful.decode(prompt, DiceState()).token_ids for prompt in prompts]
    assert len(set(answers)) > 1


def test_an_answer_is_cut_where_its_limit_is_reached(loaded):
    prompt = make_prompt(loaded, 0)
    whole = Engine(loaded).decode(prompt, DiceState()).token_ids
    choices = [place for place in range(24) if len(DiceState(whole[:place]).allowed()) > 1]
    for most in (1, 6, choices[-1], choices[-1] + 1):
        cut = Engine(loaded, DecodeConfig(max_tokens=most)).decode(prompt, DiceState())
        # Nothing more is chosen from there on; what is forced behind the last choice belongs to it.
        kept = next((place for place in choices if place >= most), 24)
        assert (cut.token_ids, cut.stop) == (whole[:kept], Stop.TRUNCATED if kept < 24 else None)


# The engine alone: behind passes that take as long as is said, on heads that are written down.


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def perf_counter(self):
        return self.now_s


@pytest.fixture
def make_engine(monkeypatch):
    """Return an engine whose every pass takes 100 ms and gives the same hidden state, and what was run."""
    clock, passes = Clock(), []
    monkeypatch.setattr(engine_module, "time", clock)

    def run(ids):
        clock.now_s += 0.1
        passes.append(tuple(ids))
        return torch.tensor([1.0, 2.0])

    sequence = SimpleNamespace(start=lambda prompt, then=(): run(then), append=run, num_reused_tokens=0)
    monkeypatch.setattr(engine_module, "CachedSequence", lambda *_, **__: sequence)

    def make(head=None, **config):
        model = SimpleNamespace(get_output_embeddings=lambda: head or torch.nn.Linear(2, 300))
        return Engine(SimpleNamespace(model=model, context_tokens=4096), DecodeConfig(**config)), passes

    return make


NOTHING = SimpleNamespace(encoded=SimpleNamespace(input_ids=()))
FIVE_CHOICES = PhraseState(tuple((*bits, 9) for bits in product((1, 2), repeat=5)))


@pytest.mark.parametrize(
    ("deadline_ms", "num_tokens", "stop"),
    [(99, 0, Stop.TIMEOUT), (150, 1, Stop.TIMEOUT), (350, 3, Stop.TIMEOUT), (550, 6, None), (None, 6, None)],
)
def test_a_deadline_counts_milliseconds_from_the_prompt_on(make_engine, deadline_ms, num_tokens, stop):
    engine, passes = make_engine(deadline_ms=deadline_ms)
    answer = engine.decode(NOTHING, FIVE_CHOICES)
    assert (len(answer.token_ids), answer.stop) == (num_tokens, stop)
    assert answer.prefill_ms == pytest.approx(100)
    assert answer.decode_ms == pytest.approx(100 * (len(passes) - 1))


def test_what_is_forced_rides_along_and_what_closes_an_answer_is_not_run(make_engine):
    engine, passes = make_engine()
    answer = engine.decode(NOTHING, PhraseState(((5, 6, 1, 7, 1, 9), (5, 6, 1, 7, 2, 9), (5, 6, 2, 8))))
    assert answer.token_ids[:2] == (5, 6)
    assert passes == ([(5, 6), (1, 7)] if answer.token_ids[2] == 1 else [(5, 6)])


class Doubling(torch.nn.Linear):
    """A head with something of its own in it, as an adapter or packed weights have."""

    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("kind", [torch.nn.Linear, Doubling])
@pytest.mark.parametrize("small", [True, False])
def test_of_a_head_the_allowed_rows_are_read_as_the_whole_gives_them(make_engine, monkeypatch, kind, small):
    torch.manual_seed(0)
    head = kind(2, 300)
    monkeypatch.setattr(engine_module, "SMALL_HEAD_VALUES", head.weight.numel() if small else 1)
    engine, _ = make_engine(head)
    hidden, allowed = torch.tensor([1.0, 2.0]), (3, 250, 17)
    logits = head(hidden).detach()
    for measure in (False, True, False):
        found, mass = engine._head.allowed_logits(hidden, allowed, measure=measure)
        torch.testing.assert_close(found, logits[list(allowed)])
        assert (mass is None) == (kind is torch.nn.Linear and not small and not measure)
        if mass is not None:
            assert mass == pytest.approx(float(logits.softmax(0)[list(allowed)].sum()), rel=1e-5)
    # Of a large head the mass is measured at the first choice alone; here every choice is between the same two.
    answer = engine.decode(NOTHING, FIVE_CHOICES)
    assert answer.mean_p_allowed == pytest.approx(float(logits.softmax(0)[[1, 2]].sum()), rel=1e-5)


def test_sampling_is_seeded(loaded):
    engine = Engine(loaded, DecodeConfig(SamplingConfig(temperature=1.5, top_p=0.95)))
    prompt = make_prompt(loaded, 0)
    answers = [engine.decode(prompt, DiceState(), torch.Generator().manual_seed(seed)).token_ids for seed in (1, 1, 2)]
    assert answers[0] == answers[1] != answers[2]


def test_write_stops_at_an_end_token(loaded):
    engine = Engine(loaded)
    prompt = make_prompt(loaded, 0)
    tokens = engine.write(prompt, (), 8)
    assert len(tokens) == 8
    assert engine.write(prompt, (tokens[5],), 8) == tokens[: tokens.index(tokens[5])]
    greedy: tuple[int, ...] = ()
    for _ in range(3):
        greedy = (*greedy, int(recompute_logits(loaded, prompt, greedy).argmax()))
    assert tokens[:3] == greedy


def test_what_does_not_fit_the_context_is_not_run(loaded, monkeypatch):
    prompt = make_prompt(loaded, 0)
    length = len(prompt.encoded.input_ids)
    engine = Engine(loaded)
    whole = engine.decode(prompt, DiceState()).token_ids
    text = loaded.model.config.get_text_config()
    for room, wanted in ((24, None), (12, Stop.CONTEXT), (0, Stop.CONTEXT), (-1, Stop.CONTEXT)):
        monkeypatch.setattr(text, "max_position_embeddings", length + room)
        engine = Engine(loaded)
        answer = engine.decode(prompt, DiceState())
        assert answer.stop is wanted
        assert answer.token_ids == whole[: len(answer.token_ids)]
        assert len(answer.token_ids) <= max(room, 0) + 12  # what is forced behind the last choice belongs to it
    with pytest.raises(ModelError, match=f"a prompt of {length} tokens doesn't fit into its context of {length - 1}"):
        engine.write(prompt, (), 8)


def test_impossible_limits_are_refused():
    with pytest.raises(ConfigError, match="max_tokens"):
        DecodeConfig(max_tokens=0)
    with pytest.raises(ConfigError, match="deadline_ms"):
        DecodeConfig(deadline_ms=0)
