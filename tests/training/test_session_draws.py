"""Learning from fewer sessions, and keeping adapters on the way: neither changes anything else about a run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from tests.training.synthetic import write_dataset
from vlm_agent.errors import ConfigError
from vlm_agent.models.adapters import RECIPE_FILE, WEIGHTS_FILE
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.adapters import KEPT_FOLDER, train_adapter
from vlm_agent.training.config import EvaluationSettings, LoraSettings, TrainConfig
from vlm_agent.training.metrics import METRICS_FILE, MetricsLog
from vlm_agent.training.moments import draw_sessions
from vlm_agent.training.progress import SilentWatcher
from vlm_agent.training.runs import RUN_FILE

pytestmark = pytest.mark.model


class Named:
    """A window as far as drawing looks at it."""

    def __init__(self, session: str) -> None:
        self.session = session


@given(num_sessions=st.integers(1, 30), seed=st.integers(0, 1000), data=st.data())
def test_fewer_sessions_are_among_more_and_whole(num_sessions, seed, data):
    windows = [Named(f"s{index % num_sessions}") for index in range(3 * num_sessions)]
    fewer, more = sorted(data.draw(st.tuples(*[st.integers(1, num_sessions)] * 2)))
    few, many = (draw_sessions(windows, count, seed) for count in (fewer, more))
    assert len({window.session for window in few}) == fewer
    assert {window.session for window in few} <= {window.session for window in many}
    assert len(few) == 3 * fewer
    assert few == [window for window in windows if window in few]
    assert draw_sessions(list(reversed(windows)), fewer, seed) == list(reversed(few))


def test_another_seed_draws_others_and_too_many_are_all():
    windows = [Named(str(index)) for index in range(20)]
    assert len({frozenset(map(id, draw_sessions(windows, 5, seed))) for seed in range(20)}) > 15
    assert draw_sessions(windows, 50, 0) == windows


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("draws") / "tiny")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("draws-data") / "dataset", num_ticks=9)


CONFIG = TrainConfig(
    lora=LoraSettings(rank=2),
    evaluation=EvaluationSettings(every_steps=2),
    accumulation=1,
    epochs=1,
    learning_rate=1e-2,
    save_every_steps=2,
)
"""6 steps: each moment's long and short goal in one row."""


def train(model, dataset, out, watcher=None, **changes):
    loaded = load_model(model, device="cpu", trainable=True)
    return train_adapter(dataset, loaded, replace(CONFIG, **changes), out, watcher=watcher)


class StopAt(SilentWatcher):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step: int, num_steps: int, loss: float) -> None:
        if step == self.step:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(model, dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, train(model, dataset, out, keep_adapters_every_steps=2)


def test_kept_adapters_are_those_of_their_steps_and_ready_to_play(whole, model):
    out, result = whole
    kept = sorted((out / KEPT_FOLDER).iterdir())
    assert [path.name for path in kept] == ["step-000002", "step-000004", "step-000006"]
    assert [json.loads((path / RECIPE_FILE).read_text())["steps"] for path in kept] == [2, 4, 6]
    assert json.loads((kept[0] / RECIPE_FILE).read_text())["best_loss"] is None
    assert load_model(model, adapter=kept[0], device="cpu").adapter == kept[0]
    best = next(path for path in kept if path.name == f"step-{result.best_step:06d}")
    final, then = (load_file(path / WEIGHTS_FILE) for path in (result.adapter, best))
    assert final.keys() == then.keys()
    assert all(final[name].equal(then[name]) for name in final)
    assert not load_file(kept[0] / WEIGHTS_FILE)[next(iter(final))].equal(
        load_file(kept[2] / WEIGHTS_FILE)[next(iter(final))]
    )


@pytest.mark.parametrize("step", [3, 4])
def test_stopped_and_resumed_it_keeps_the_same_and_keeping_changes_nothing(whole, model, dataset, tmp_path, step):
    out, _ = whole
    with pytest.raises(KeyboardInterrupt):
        train(model, dataset, tmp_path / "run", StopAt(step))
    # A run that was begun without keeping may go on keeping.
    train(model, dataset, tmp_path / "run", keep_adapters_every_steps=2)
    for name in ("adapter", *(f"{KEPT_FOLDER}/step-{number:06d}" for number in (4, 6))):
        assert (tmp_path / "run" / name / WEIGHTS_FILE).read_bytes() == (out / name / WEIGHTS_FILE).read_bytes()


def test_a_run_of_fewer_sessions_says_so_and_is_another_run(model, dataset, tmp_path, whole):
    train(model, dataset, tmp_path / "run", max_sessions=1, sessions_seed=4, max_steps=1)
    record = json.loads((tmp_path / "run" / RUN_FILE).read_text())
    assert (record["config"]["max_sessions"], record["config"]["sessions_seed"]) == (1, 4)
    with pytest.raises(ConfigError, match=r"config\.sessions_seed"):
        train(model, dataset, tmp_path / "run", max_sessions=1, sessions_seed=5, max_steps=1)


def test_a_run_from_before_these_settings_goes_on(whole, model, dataset, tmp_path):
    out, _ = whole
    with pytest.raises(KeyboardInterrupt):
        train(model, dataset, tmp_path / "run", StopAt(3))
    path = tmp_path / "run" / RUN_FILE
    record = json.loads(path.read_text())
    for name in ("max_sessions", "sessions_seed", "keep_adapters_every_steps"):
        del record["config"][name]
    path.write_text(json.dumps(record))
    train(model, dataset, tmp_path / "run")
    assert (tmp_path / "run/adapter" / WEIGHTS_FILE).read_bytes() == (out / "adapter" / WEIGHTS_FILE).read_bytes()


def test_so_many_steps_are_done_however_few_the_windows(model, dataset, tmp_path):
    result = train(
        model, dataset, tmp_path / "run", max_steps=8, epochs=1e6, evaluation=EvaluationSettings(every_steps=0)
    )
    assert result.num_steps == 8
    steps = [line["step"] for line in MetricsLog(tmp_path / "run" / METRICS_FILE).read()]
    assert steps == list(range(1, 9))


@pytest.mark.parametrize("name", ["max_sessions", "keep_adapters_every_steps"])
def test_none_at_all_is_refused(name):
    with pytest.raises(ConfigError, match=f"--train.{name.replace('_', '-')} must be at least 1"):
        TrainConfig(**{name: 0})
