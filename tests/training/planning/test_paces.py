"""Times and amounts of plans by numbers that can be counted on fingers."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from vlm_agent.training.config import EvaluationSettings, TrainConfig
from vlm_agent.training.planning import work as works
from vlm_agent.training.planning.cards import Assumptions
from vlm_agent.training.planning.memory import PassSize
from vlm_agent.training.planning.pace import MeasuredPace, TimedDecision, read_decisions
from vlm_agent.training.planning.parts import Spread
from vlm_agent.training.planning.speed import CardRun, predict_decision, predict_training
from vlm_agent.training.planning.survey import DecisionTokens
from vlm_agent.training.planning.work import ROW_BYTES_PER_TOKEN, Work, count_kept_bytes

pytestmark = pytest.mark.model

WORK = Work(
    windows=10,
    steps=5,
    passes=7.0,
    tokens=1000.0,
    pairs=20_000.0,
    targets=100.0,
    pictures=4,
    picture_visits=40.0,
    evaluated_tokens=600.0,
    largest=PassSize(200, 20),
    longest_window=150,
    row_tokens=500,
)
SETTING = SimpleNamespace(recomputes=False, is_packed=False, value_bytes=2)
SHAPE = SimpleNamespace(
    matrices=1000,
    layers=2,
    query_width=8,
    kv_width=4,
    vision_matrices=100,
    vision_layers=3,
    vision_hidden=5,
    vocabulary=50,
    hidden=8,
    language=2000,
    packed=1000,
    picture_levels=3,
    count_lora=lambda rank: 10 * rank,
)
CARD = SimpleNamespace(tflops=1e-6, bandwidth_gb_s=1e-3)
"""A million operations and a million bytes a second."""
ASSUMED = Assumptions(share_of_peak=0.5, share_of_bandwidth=0.5, layer_call_ms=0.25, prepare_ms=7.0)
RUN = CardRun(SHAPE, SETTING, CARD, ASSUMED)


def measured(*, keeps_features: bool = False, recomputes: bool = False) -> MeasuredPace:
    steps = SimpleNamespace(token_s=0.01, picture_s=0.5)
    return MeasuredPace(5.0, 0.2, 30.0, steps, SimpleNamespace(recomputes=recomputes), keeps_features)


def test_a_measured_decision_is_its_new_tokens_and_its_passes():
    needed = DecisionTokens(Spread(100, 200, 300), 1000, Spread(4, 9, 12))
    usual = measured().decide(needed, lambda spread: spread.p50, 64)
    slow = measured().decide(needed, lambda spread: spread.p95, 64)
    assert (usual.prepare_ms, usual.prefill_ms, usual.decode_ms, usual.total_ms) == (5.0, 20.0, 120.0, 145.0)
    assert (slow.prefill_ms, slow.decode_ms) == (40.0, 270.0)


def test_a_measured_run_counts_evaluations_as_forward_passes_and_kept_pictures_once():
    assert measured().train(WORK, 64) == pytest.approx(0.01 * (1000 + 600 / 2) + 0.5 * 40)
    assert measured(recomputes=True).train(WORK, 64) == pytest.approx(0.01 * (1000 + 600 / 3) + 0.5 * 40)
    assert measured(keeps_features=True).train(WORK, 64) == pytest.approx(13 + 0.5 * 4)


def test_decisions_are_read_as_medians_without_the_first_one():
    timed = [
        TimedDecision(900.0, 9000.0, 9000.0, "warming up", None),
        TimedDecision(1.0, 50.0, 0.1, "one choice", None),
        TimedDecision(2.0, 100.0, 90.0, "three", None),
        TimedDecision(3.0, 1000.0, 120.0, "three", None),
    ]
    passes = {"warming up": 1, "one choice": 1, "three": 3}
    assert read_decisions(timed, lambda _: 50, lambda one: passes[one.text]) == (2.0, 2.0, 35.0)
    assert read_decisions(timed[:1], lambda _: 0, lambda _: 1) == (900.0, 9000.0, 0.0)


def test_a_decision_on_a_card_is_operations_and_what_is_read():
    # Language 2*1000*10 + 4*2*8*10*100, tower 2*100*6 + 4*3*5*36 operations; 0.5 ms of calls.
    time = predict_decision(RUN, new_tokens=10, prompt_tokens=100, patches=6, passes=3)
    operations = 20_000 + 64_000 + 1_200 + 2_160
    assert time.prepare_ms == 7.0
    assert time.prefill_ms == pytest.approx(1000 * operations / 0.5e6 + 0.5)
    # 2000 weights of 2 bytes and a cache of 2*2*4*100 values of 2 bytes.
    assert time.decode_ms == pytest.approx(3 * 1000 * (4000 + 3200) / 0.5e6)
    quick = replace(RUN, card=SimpleNamespace(tflops=1.0, bandwidth_gb_s=1e6))
    assert predict_decision(quick, new_tokens=10, prompt_tokens=100, patches=6, passes=3).decode_ms == 1.5


def test_training_on_a_card_is_operations_and_not_less_than_its_launches():
    linear, attention = 2 * 1000 * (2 * 1000 + 600), 4 * 2 * 8 * 2 * 20_000
    trained, head, vision = 6 * 40 * 1000, 4 * 50 * 8 * 100, (2 * 100 * 6 + 4 * 3 * 5 * 36) * 40
    seconds = predict_training(RUN, WORK, 4, patches=6)
    assert seconds == pytest.approx((linear + attention + trained + head + vision) / 0.5e6)
    quick = replace(RUN, card=SimpleNamespace(tflops=1e9, bandwidth_gb_s=1e6))
    assert predict_training(quick, WORK, 4, patches=6) == pytest.approx(7 * 2 * 2 * 0.25 / 1000)


def test_steps_of_a_sample_and_evaluations_are_counted():
    config = TrainConfig(epochs=3, evaluation=EvaluationSettings(every_steps=4))
    assert works._count_scaled_steps(2.5, config) == 8
    assert works._count_scaled_steps(2.5, replace(config, max_steps=5)) == 5
    assert works._count_scaled_steps(2.5, replace(config, max_steps=50)) == 8
    assert [works._count_evaluations(steps, config) for steps in (1, 4, 5, 8)] == [2, 2, 3, 3]
    assert works._count_evaluations(8, replace(config, evaluation=EvaluationSettings(every_steps=0))) == 0


def test_features_are_kept_up_to_the_limit():
    def kept(cache_bytes: int) -> int:
        return count_kept_bytes(WORK, SHAPE, picture_tokens=16, value_bytes=4, cache_bytes=cache_bytes, best=25)

    beside = ROW_BYTES_PER_TOKEN * 500 + 4 * 25
    assert kept(10**9) == 4 * 16 * 3 * 8 * 4 + beside
    assert kept(1000) == 1000 + beside
