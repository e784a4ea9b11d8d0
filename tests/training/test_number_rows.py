"""Numbers of recorded windows are learnt alike in every layout, however passes are cut and whoever computes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch

from tests.training.synthetic import load_with_lora, shake_lora, write_dataset
from vlm_agent.dataset.store import open_dataset
from vlm_agent.errors import ConfigError
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.batches import collate_rows, lay_out
from vlm_agent.training.config import LoraSettings, RecipeSettings, TrainConfig
from vlm_agent.training.digit_trees import END
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.layouts import build_rows
from vlm_agent.training.moments import find_steps
from vlm_agent.training.passes import add_gradients, find_losses, measure_loss
from vlm_agent.training.processes import Processes
from vlm_agent.training.windows import FrameLoader, choose_recipe, encode_windows

pytestmark = pytest.mark.model

CPU = torch.device("cpu")
PLAIN = TrainConfig(lora=LoraSettings(rank=4, dropout=0.0), batch_windows=2)
ASKED = replace(PLAIN, soft_points=20.0, soft_dt_ms=30.0, pinball_weight=0.5, gaussian_weight=0.25)


@dataclass(frozen=True)
class Case:
    loaded: object
    windows: list
    recipe: object
    folder: object

    def rows(self, config, layout="shared"):
        steps = find_steps(self.windows, self.recipe)
        examples = encode_windows(self.loaded.encoder, self.windows, self.recipe, steps, config)
        return build_rows(examples, self.loaded.encoder, layout, config)

    @property
    def features(self):
        return FeatureCache(self.loaded, FrameLoader(self.folder, self.recipe), 1 << 22)


@pytest.fixture(scope="module", params=["json", "line"])
def case(request, tmp_path_factory):
    folder = write_dataset(tmp_path_factory.mktemp("numbers") / "dataset", num_ticks=9, with_validation=False)
    loaded = load_with_lora(write_tiny_checkpoint(tmp_path_factory.mktemp("numbers") / "tiny"), PLAIN)
    shake_lora(loaded)
    store = open_dataset(folder)
    recipe = choose_recipe(loaded, store, RecipeSettings(codec=request.param, names_steps=True))
    return Case(loaded, list(store.windows("train")), recipe, folder)


def _losses(case, rows):
    case.loaded.model.eval()
    with torch.no_grad():
        return find_losses(case.loaded, rows, case.features)


def test_at_widths_and_weights_of_0_the_loss_has_the_same_bits(case):
    off = replace(PLAIN, soft_points=0.0, soft_dt_ms=0.0, pinball_weight=0.0, gaussian_weight=0.0)
    plain, zero = _losses(case, case.rows(PLAIN)), _losses(case, case.rows(off))
    assert all(left.equal(right) for left, right in zip(plain, zero, strict=True))


def test_numbers_stand_where_they_are_learnt_in_every_layout(case):
    digits = [case.loaded.encoder.encode_text(str(digit))[0] for digit in range(10)]
    counts = set()
    for layout in ("rows", "packed", "shared"):
        laid_out = lay_out(case.rows(ASKED, layout), layout)
        batch = collate_rows(laid_out, 0, CPU)
        targets = batch.targets[batch.targets != -100]
        counts.add(len(batch.numbers.at))
        for at, taken in zip(batch.numbers.at.tolist(), batch.numbers.taken.tolist(), strict=True):
            size = taken.index(END)
            assert targets[at[:size]].tolist() == [digits[one] for one in taken[:size]]
            assert targets[at[size]] not in digits
    # A click and a key in six ticks, asked for actions once each: two times, an x and a y.
    assert counts == {6 * 4}


def test_layouts_and_cuts_into_passes_and_processes_agree(case):
    rows = {layout: case.rows(ASKED, layout) for layout in ("rows", "packed", "shared")}
    by_field = None
    results = []
    case.loaded.model.train()
    for layout, some in rows.items():
        for count in (1, 3):
            passes = [lay_out(some[start::count], layout) for start in range(count)]
            results.append(_gradients(case, passes))
        measured = measure_loss(case.loaded, [lay_out(some, layout)], case.features)
        by_field = by_field or measured.by_field
        assert {name: loss.num_tokens for name, loss in by_field.items()} == {
            name: loss.num_tokens for name, loss in measured.by_field.items()
        }
        case.loaded.model.train()
    for loss, gradients in results[1:]:
        assert loss == pytest.approx(results[0][0], rel=1e-4)
        for one, other in zip(gradients, results[0][1], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    passes = [lay_out([row], "shared") for row in rows["shared"]]
    shared = [_gradients(case, passes, OneOf(rank, 3)) for rank in range(3)]
    assert sum(loss for loss, _ in shared) == pytest.approx(results[0][0], rel=1e-4)
    for index, want in enumerate(results[0][1]):
        torch.testing.assert_close(sum(one[index] for _, one in shared), want, rtol=1e-3, atol=1e-5)


class OneOf(Processes):
    """One of several processes that can't reach the others: each has its share of the sums."""

    def add_up(self, tensors):
        pass

    def sum(self, value, device):
        return value


def _gradients(case, passes, processes=None):
    case.loaded.peft.zero_grad(set_to_none=True)
    loss, _ = add_gradients(case.loaded, passes, case.features, 0, processes=processes or Processes())
    return loss, [p.grad.clone() for p in case.loaded.peft.parameters() if p.grad is not None]


def test_weights_of_fields_events_and_windows_weigh_what_is_asked_of_numbers_too(case):
    weighed = replace(ASKED, field_weights=("x=3",), event_weights=("KEY=0.5",), weigh="windows")
    losses, weights = _losses(case, case.rows(weighed))
    same, even = _losses(case, case.rows(ASKED))
    assert losses.equal(same)
    assert len(set(weights.tolist())) > len(set(even.tolist())) == 1
    loss, _ = _gradients(case, [case.rows(weighed)])
    assert loss == pytest.approx(float((losses * weights).sum() / weights.sum()), rel=1e-4)


def test_what_is_measured_on_unseen_sessions_is_the_plain_loss(case):
    plain, asked = (measure_loss(case.loaded, [case.rows(config)], case.features) for config in (PLAIN, ASKED))
    assert plain == asked


@pytest.mark.parametrize("name", ["soft_points", "soft_dt_ms", "pinball_weight", "gaussian_weight"])
def test_settings_that_cannot_be_meant(name):
    for value in (-1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match=f"--train.{name.replace('_', '-')} must be 0 or more"):
            TrainConfig(**{name: value})
