"""Losses that know numbers: against sums over all values written out, and against plain losses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from tests.actions.tokenizers_for_tests import qwen, small_bpe
from tests.decoding.tiny_prompts import PlainTokenizer, make_prompt, recompute_logits
from tests.strategies import specs_with_chunks
from tests.training.synthetic import load_with_lora, shake_lora
from tests.training.test_digit_trees import expand
from vlm_agent.actions import ActionChunk, ActionSpec, Click, Key, Move, make_codec
from vlm_agent.actions.automaton import ActionAutomaton
from vlm_agent.actions.labelling import label_answer
from vlm_agent.actions.parts import Part
from vlm_agent.decoding.readout import Reader
from vlm_agent.evaluation.offline.distributions import Distribution, pinball
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.config import LoraSettings, TrainConfig
from vlm_agent.training.digit_trees import END, NumberRange, grow_tree
from vlm_agent.training.number_losses import (
    LEVELS,
    PINBALL_UNIT_MS,
    _read_outcomes,
    collate_numbers,
    find_gaussian,
    find_number_losses,
    find_pinball,
    read_values,
)
from vlm_agent.training.numbers import LearntNumber, NumberGoals, find_numbers

pytestmark = pytest.mark.model

CPU = torch.device("cpu")
SPEC = ActionSpec(1000, 500, keys=("space", "escape"), buttons=("left", "right"), max_actions=4)
CHUNK = ActionChunk((Key(220, "space"), Move(40, 54, 100), Click(0, 999, 0, "left")))
ALL_GOALS = NumberGoals(soft_points=5, soft_dt_ms=30, pinball=0.7, gaussian=0.3)


def _label(codec_name, chunk=CHUNK, spec=SPEC, tokenizer=None):
    tokenizer = tokenizer or qwen()
    automaton = ActionAutomaton(spec, codec_name, tokenizer)
    return label_answer(automaton, tokenizer.encode(make_codec(codec_name).encode(chunk, spec)))


@pytest.mark.parametrize("codec_name", ["json", "line"])
def test_what_is_asked_of_which_number(codec_name):
    answer = _label(codec_name)
    found = find_numbers(answer, ALL_GOALS)
    asked = [(place.part, place.value, place.start) for place in answer.numbers]
    assert [(int(one.tree.values[one.tree.branches == one.tree.branches.max()][0]), one.start) for one in found] == [
        (value, start) for _, value, start in asked
    ]
    for one, (part, value, _) in zip(found, asked, strict=True):
        is_dt = part is Part.DT
        assert (one.pinball, one.gaussian, one.is_soft) == ((0.7, 0.0, True) if is_dt else (0.0, 0.3, True))
        assert len(one.ends) == len(one.tree.taken) == len(str(value)) + 1
    # Of the horizon only what is left may be used.
    assert [one.tree.values[-1] for one, (part, _, _) in zip(found, asked, strict=True) if part is Part.DT] == [
        600,
        380,
        340,
    ]
    assert [one.tree.values[-1] for one, (part, _, _) in zip(found, asked, strict=True) if part is Part.Y] == [499] * 2
    assert find_numbers(answer, NumberGoals()) == ()
    only_times = find_numbers(answer, NumberGoals(pinball=1.0))
    assert [(one.is_soft, one.pinball) for one in only_times] == [(False, 1.0)] * 3


@pytest.mark.parametrize("codec_name", ["json", "line"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=specs_with_chunks(num_chunks=4))
def test_legal_is_what_the_automaton_allows(codec_name, case):
    spec, chunks = case
    for chunk in chunks:
        answer = _label(codec_name, chunk, spec, small_bpe())
        for number in find_numbers(answer, ALL_GOALS):
            for node, taken in enumerate(number.tree.taken.tolist()):
                token = answer.tokens[number.start + node]
                digits = [digit for digit, one in enumerate(number.digits) if one in token.allowed]
                legal = np.flatnonzero(number.tree.legal[node]).tolist()
                assert [one for one in legal if one != END] == digits
                assert (END in legal) == bool(number.ends[node])
                if taken == END:
                    assert token.token in number.ends[node]
                else:
                    assert token.token == number.digits[taken]


def _batch(numbers, num_tokens, vocabulary, seed=0, scale=2.0):
    """Random logits, and targets that are the numbers' own where one stands."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_tokens, vocabulary, generator=generator, dtype=torch.float64) * scale
    targets = np.full(num_tokens, vocabulary - 1, np.int64)
    for first, number in numbers:
        for node, outcome in enumerate(number.tree.taken.tolist()):
            targets[first + node] = number.ends[node][-1] if outcome == END else number.digits[outcome]
    return logits, targets, collate_numbers(numbers, targets, CPU)


def _number(maximum, step, truth, width=0.0, ends=(10, 11), **weights):
    tree = grow_tree(NumberRange(0, maximum, step), truth, width)
    node_ends = ((), *(ends if legal[END] else () for legal in tree.legal[1:]))
    return LearntNumber(0, tree, tuple(range(10)), node_ends, is_soft=width > 0, **weights)


def test_soft_targets_against_sums_written_out():
    number = _number(999, 1, 54, 6.0)
    logits, targets, batch = _batch([(1, number)], 6, 13)
    logs = logits.log_softmax(-1).numpy()
    losses = find_number_losses(logits, batch).tolist()
    for place in (0, 4, 5):
        assert losses[place] == pytest.approx(-logs[place, targets[place]])
    for node in range(3):
        here = logs[1 + node]
        ended = math.log(math.exp(here[10]) + math.exp(here[11]))
        want = -sum(number.tree.targets[node, digit] * here[digit] for digit in range(10))
        want -= number.tree.targets[node, END] * ended
        if node == 2:
            want -= here[11] - ended  # which end, given that it ends
        assert losses[1 + node] == pytest.approx(want)


@settings(deadline=None)
@given(truth=st.integers(0, 999), seed=st.integers(0, 999))
def test_as_targets_get_narrow_the_loss_becomes_the_plain_one(truth, seed):
    logits, targets, batch = _batch([(0, _number(999, 1, truth, 1e-3)), (5, _number(60, 10, 20, 1e-2))], 9, 12, seed)
    plain = cross_entropy(logits, torch.from_numpy(targets), reduction="none")
    torch.testing.assert_close(find_number_losses(logits, batch), plain)


def test_nearer_misses_cost_less():
    number = _number(999, 1, 540, 10.0)

    def cost(value):
        """Of a model that is nearly sure of a value."""
        logits = torch.full((4, 12), -6.0, dtype=torch.float64)
        for node, outcome in enumerate([*map(int, str(value)), 10]):
            logits[node, outcome] = 6.0
        _, _, batch = _batch([(0, number)], 4, 12)
        return float(find_number_losses(logits, batch)[:3].sum())

    assert cost(540) < cost(549) < cost(560) < cost(590) < cost(940)


@settings(deadline=None)
@given(
    maximum=st.sampled_from((9, 99, 120, 500, 999)),
    step=st.sampled_from((1, 10)),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_values_are_those_of_walking_from_the_root(maximum, step, share, seed):
    truth = int(share * maximum) // step * step
    numbers = [(0, _number(maximum, step, truth)), (5, _number(30, 10, 0))]
    logits, _, batch = _batch(numbers, 9, 12, seed)
    shares = logits.softmax(-1)
    outcomes = torch.cat([shares[:, :10], shares[:, 10:12].sum(-1, keepdim=True)], -1)
    values = read_values(outcomes.log()[batch.at], batch)
    torch.testing.assert_close(values.sum(-1), torch.ones(2, dtype=torch.float64))
    for row, (first, number) in enumerate(numbers):
        size = len(number.tree.taken)
        want = expand(number.tree, outcomes[first : first + size].numpy())
        assert values[row, : len(want)].tolist() == pytest.approx([want[value] for value in sorted(want)])


def test_the_true_value_has_the_probability_that_an_exact_readout_gives(tmp_path):
    loaded = load_with_lora(write_tiny_checkpoint(tmp_path / "tiny"), TrainConfig(lora=LoraSettings(rank=4)))
    shake_lora(loaded)
    loaded.model.eval()
    prompt = make_prompt(loaded, 2)
    spec = ActionSpec(24, 13, keys=("space",), buttons=("left",), horizon_ms=120, max_actions=3)
    automaton = ActionAutomaton(spec, "line", PlainTokenizer(loaded.encoder))
    chunk = ActionChunk((Click(90, 12, 4, "left"), Key(10, "space")))
    ids = loaded.encoder.encode_text(make_codec("line").encode(chunk, spec))
    read = Reader(loaded, least_mass=0.0).read_actions(automaton, prompt, ids)
    exact = [one for one in read.expectations if one.question.part is not Part.EVENT]
    numbers = find_numbers(label_answer(automaton, ids), ALL_GOALS)
    assert len(exact) == len(numbers) == 4
    logits = torch.stack([recompute_logits(loaded, prompt, tuple(ids[:place])) for place in range(len(ids))]).double()
    batch = collate_numbers([(one.start, one) for one in numbers], np.asarray(ids, np.int64), CPU)
    values = read_values(_read_outcomes(logits.log_softmax(-1).gather(1, batch.columns), batch), batch)
    for row, (one, number) in enumerate(zip(exact, numbers, strict=True)):
        at = int(np.searchsorted(number.tree.values, int(one.question.truth)))
        assert float(values[row, at]) == pytest.approx(one.probabilities[one.question.truth], rel=1e-3)


def _tensors(probabilities, values, truth):
    shares = torch.tensor([probabilities], dtype=torch.float64)
    offsets = torch.tensor([[value - truth for value in values]], dtype=torch.float64)
    return shares, offsets, torch.tensor([values[1] - values[0]], dtype=torch.float64)


def test_gaussian_by_hand():
    # Mean 20, variance 100 and that of rounding to tens.
    got = find_gaussian(*_tensors([0.5, 0.0, 0.5], [10, 20, 30], 30))
    variance = 100 + 100 / 12
    assert float(got) == pytest.approx(0.5 * math.log(2 * math.pi * variance) + 100 / (2 * variance))
    sure = find_gaussian(*_tensors([0.0, 1.0, 0.0], [10, 20, 30], 20))
    assert float(sure) == pytest.approx(0.5 * math.log(2 * math.pi * 100 / 12))


def test_pinball_by_hand():
    # Mass at 0, 10, 20 and 30: the levels around 0.1 end at 0, those around 0.5 half at 10 and half at 20, ...
    got = find_pinball(*_tensors([0.25, 0.25, 0.25, 0.25], [0, 10, 20, 30], 20))
    quantiles = (0, 15, 30)
    want = [pinball(quantile, 20, level) for quantile, level in zip(quantiles, LEVELS, strict=True)]
    assert float(got) == pytest.approx(sum(want) / 3)
    assert float(find_pinball(*_tensors([0.0, 0.0, 1.0, 0.0], [0, 10, 20, 30], 20))) == 0.0


@settings(deadline=None)
@given(seed=st.integers(0, 999), truth=st.integers(0, 60))
def test_quantiles_are_those_of_the_evaluation_within_a_step(seed, truth):
    shares = np.random.default_rng(seed).dirichlet(np.full(61, 0.3))
    values = list(range(0, 610, 10))
    expected = Distribution(np.asarray(values, float), np.maximum(shares, 1e-12), 10.0)
    got = float(find_pinball(*_tensors(shares.tolist(), values, 10 * truth)))
    low = [min(expected.quantile(max(level - 0.05, 0)) - 10, 600) for level in LEVELS]
    high = [expected.quantile(min(level + 0.05, 1)) + 10 for level in LEVELS]
    losses = [
        [pinball(q, 10 * truth, level) for q in (one, other)]
        for one, other, level in zip(low, high, LEVELS, strict=True)
    ]
    # The loss is convex in the quantile: between two it is nowhere above both.
    assert got <= sum(max(pair) for pair in losses) / 3 + 1e-9


@pytest.mark.parametrize("width", [0.0, 12.0])
def test_gradients_are_those_of_differences(width):
    numbers = [
        (0, _number(120, 10, 70, width, pinball=1.3)),
        (4, _number(99, 1, 9, width, gaussian=0.7)),
        (7, _number(99, 1, 42, width, gaussian=0.7, pinball=0.2)),
    ]
    logits, _, batch = _batch(numbers, 12, 13, seed=3, scale=0.5)
    weights = torch.linspace(0.5, 2.0, 12, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda given: (find_number_losses(given, batch) * weights).sum(), logits.requires_grad_(), eps=1e-6, atol=1e-6
    )


def test_extreme_answers_stay_finite():
    numbers = [(0, _number(600, 10, 0, 20.0, pinball=1.0)), (4, _number(999, 1, 0, 5.0, gaussian=1.0))]
    for sign in (1, -1):
        _, _, batch = _batch(numbers, 9, 12)
        logits = torch.zeros(9, 12)
        logits[:, 9] = sign * 80.0
        logits.requires_grad_()
        losses = find_number_losses(logits, batch)
        losses.sum().backward()
        assert losses.isfinite().all()
        assert logits.grad.isfinite().all()


def test_numbers_cost_what_their_weights_say_and_the_rest_what_it_did():
    number = _number(120, 10, 70, pinball=1.3)
    logits, targets, batch = _batch([(2, number)], 8, 13)
    plain = cross_entropy(logits, torch.from_numpy(targets), reduction="none")
    more = find_number_losses(logits, batch) - plain
    values = read_values(find_outcomes(logits, batch), batch)
    want = 1.3 * float(find_pinball(values, batch.offsets, batch.steps)) / PINBALL_UNIT_MS
    assert more[2].item() == pytest.approx(want)
    assert more.abs().sum().item() == pytest.approx(want)


def find_outcomes(logits, batch):
    logs = logits.log_softmax(-1)
    return torch.cat([logs[:, :10], logs[:, 10:12].logsumexp(-1, keepdim=True)], -1)[batch.at]
