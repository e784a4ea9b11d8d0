"""Times on cards: the formulas by hand, on the shape of an 8B model, and which way they go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.training.planning.bare_models import write_large
from vlm_agent.errors import ConfigError
from vlm_agent.training.planning.cards import CARDS, Assumptions, find_card
from vlm_agent.training.planning.memory import PassSize, Trained, count_weights, cuda_setting, estimate_training
from vlm_agent.training.planning.shapes import read_shape
from vlm_agent.training.planning.speed import (
    CardRun,
    count_language_flops,
    count_pass_bytes,
    count_vision_flops,
    predict_decision,
    predict_training,
)
from vlm_agent.training.planning.work import Work

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def shape(tmp_path_factory):
    return read_shape(write_large(tmp_path_factory.mktemp("large") / "large"))


def test_the_parts_of_an_8b_model(shape):
    # Per layer: queries and output 2 x 4096^2, keys and values 2 x 4096 x 1024, MLP 3 x 4096 x 12288.
    assert shape.packed == 36 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 12288) == 6_945_767_424
    assert shape.embedding == shape.head == 151_936 * 4096
    assert shape.count_lora(16) == 16 * 36 * (2 * 8192 + 2 * 5120 + 3 * 16384) == 43_646_976
    assert shape.vision == pytest.approx(0.576e9, rel=0.01)
    assert shape.picture_levels == 4


def test_a_pass_over_one_token_reads_packed_weights_and_the_cache(shape):
    bytes_1500 = count_pass_bytes(shape, cuda_setting(2, "nf4"), 1500)
    norms = 36 * (2 * 4096 + 2 * 128) + 4096
    packed = shape.packed * (0.5 + 1 / 64 + 4 / (64 * 256))
    assert bytes_1500 == pytest.approx(packed + 2 * norms + 1500 * 147_456, rel=1e-9)
    assert count_pass_bytes(shape, cuda_setting(2, "none"), 0) == 2 * shape.language
    assert count_weights(shape, cuda_setting(2, "none")) == 2 * shape.total == pytest.approx(17.5e9, rel=0.01)
    assert count_weights(shape, cuda_setting(2, "nf4")) == pytest.approx(7.2e9, rel=0.02)


def test_operations_by_hand(shape):
    assert count_language_flops(shape, 1000) == 2000 * shape.matrices + 4 * 36 * 4096 * 1000 * 1000
    assert count_language_flops(shape, 10, seen_tokens=1000) == 20 * shape.matrices + 4 * 36 * 4096 * 10 * 1000
    assert count_vision_flops(shape, 3520) == 7040 * shape.vision_matrices + 4 * 27 * 1152 * 3520**2


def _work(tokens=1.0e6):
    size = PassSize(1400, 120)
    return Work(1000, 100, 400.0, tokens, 1e9, 1e5, 500, 800.0, 0.0, size, 700, 500_000)


def test_a_run_by_hand_and_which_way_times_go(shape):
    run = CardRun(shape, cuda_setting(2, "nf4"), find_card("h100"), Assumptions(share_of_peak=0.5, layer_call_ms=0.0))
    work = _work()
    operations = (
        6 * shape.matrices * work.tokens
        + 12 * 36 * 4096 * work.pairs
        + 6 * shape.count_lora(16) * work.tokens
        + 4 * 151_936 * 4096 * work.targets
        + count_vision_flops(shape, 400) * 800
    )
    assert predict_training(run, work, 16, patches=400) == pytest.approx(operations / (0.5 * 989e12))
    assert predict_training(replace(run, card=find_card("rtx-3060")), work, 16, patches=400) > 10 * operations / 989e12
    slow_calls = replace(run, assumed=Assumptions(layer_call_ms=1000.0))
    assert predict_training(slow_calls, work, 16, patches=400) == pytest.approx(400 * 3 * 36)


def test_a_decision_by_hand(shape):
    assumed = Assumptions(share_of_peak=0.5, share_of_bandwidth=0.5, layer_call_ms=0.0, prepare_ms=7.0)
    run = CardRun(shape, cuda_setting(2, "nf4"), find_card("rtx-4090"), assumed)
    time = predict_decision(run, new_tokens=500, prompt_tokens=700, patches=400, passes=10)
    flops = count_language_flops(shape, 500, seen_tokens=700) + count_vision_flops(shape, 400)
    assert time.prepare_ms == 7.0
    assert time.prefill_ms == pytest.approx(1000 * flops / (0.5 * 165.2e12))
    read = count_pass_bytes(shape, run.setting, 700)
    assert time.decode_ms == pytest.approx(10 * 1000 * read / (0.5 * 1008e9))
    assert time.total_ms == time.prepare_ms + time.prefill_ms + time.decode_ms
    called = replace(run, assumed=replace(assumed, layer_call_ms=1.0))
    assert predict_decision(called, new_tokens=500, prompt_tokens=700, patches=400, passes=10).decode_ms == 360.0


def test_which_cards_hold_an_8b_model(shape):
    size = PassSize(700, 60)

    def fits(name, quantization):
        card = CARDS[name]
        setting = cuda_setting(card.value_bytes, quantization)
        use = estimate_training(shape, setting, Trained(shape.count_lora(16), 16), size, kept_bytes=0)
        assert use.adapter == 4 * 5 * 43_646_976
        assert use.total == use.alive + use.reserve
        return use.total < 1e9 * card.memory_gb

    assert [name for name in CARDS if not fits(name, "nf4")] == []
    # 17.5 GB of weights in 16 bits, twice as much where there is no bfloat16.
    assert [name for name in CARDS if not fits(name, "none")] == ["t4", "rtx-4080", "rtx-4060-ti", "rtx-3060"]


@pytest.mark.parametrize("name", ["RTX 4090", "rtx_4090", "NVIDIA RTX-4090", "rtx-4090"])
def test_cards_are_found_however_they_are_spelt(name):
    assert find_card(name) is CARDS["rtx-4090"]


def test_what_cannot_be_meant():
    with pytest.raises(ConfigError, match=r"--gpu abacus: not in the table; there are h200, h100.*rtx-4090") as caught:
        find_card("abacus")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"--assume\.share-of-peak"):
        Assumptions(share_of_peak=0.0)
    with pytest.raises(ConfigError, match=r"--assume\.layer-call-ms"):
        Assumptions(layer_call_ms=-1.0)
