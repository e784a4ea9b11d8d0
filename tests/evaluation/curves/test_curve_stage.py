"""`vlm-agent curve` on a tiny random model: runs on nested sessions, played, resumed, and refused in one line."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from vlm_agent.actions.types import ActionChunk, Click
from vlm_agent.dataset.manifest import DatasetManifest, SessionRecord
from vlm_agent.dataset.windows import Window
from vlm_agent.dataset.writer import DatasetWriter
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.evaluation.curves import tuning as tuning_module
from vlm_agent.evaluation.curves.command import CurveConfig, run
from vlm_agent.evaluation.curves.curve import read_curve, read_schema
from vlm_agent.games.ringcraft.env import ACTION_SPEC
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.config import EvaluationSettings, LoraSettings, RecipeSettings, TrainConfig

pytestmark = pytest.mark.model

TRAIN = TrainConfig(
    lora=LoraSettings(rank=2),
    evaluation=EvaluationSettings(every_steps=2),
    batch_windows=1,
    accumulation=1,
    epochs=1,
    learning_rate=1e-2,
)


def write_sessions(folder: Path, num_train: int = 4, windows_each: int = 2, *, seed: int | None = None) -> Path:
    """A dataset of so many training sessions and one of validation, every window a colour and a click."""
    counts: Counter[str] = Counter()
    names = [f"train-{number}" for number in range(num_train)] + ["validation-0"]
    with DatasetWriter(folder, ACTION_SPEC, history_ms=6000) as writer:
        for number, name in enumerate(names):
            split = name.split("-")[0]
            for tick in range(windows_each):
                rgb = np.full((503, 765, 3), 20 * number + tick, np.uint8)
                counts[split] += 1
                writer.add_window(
                    Window(
                        session=name,
                        clip=0,
                        t_ns=tick * 600_000_000,
                        split=split,
                        goal="craft sapphire rings",
                        goal_level="long",
                        goal_source="game",
                        goal_confidence=1.0,
                        frame_id=writer.add_frame(rgb),
                        frame_width_px=765,
                        frame_height_px=503,
                        target=ActionChunk((Click(90, 100 + number, 100 + tick),)),
                        recent=(),
                        state=None if seed is None else {"sim": {"seed": seed}},
                    )
                )
        records = tuple(SessionRecord(name, name.split("-")[0], "0" * 64, windows_each) for name in names)
        writer.finish(
            DatasetManifest(ACTION_SPEC, 6000, dict(counts), writer.frames, records, sha256=writer.fingerprint())
        )
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("curve-base") / "tiny")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_sessions(tmp_path_factory.mktemp("curve-data") / "dataset")


def make_config(base: Path, dataset: Path, out: Path, **changes) -> CurveConfig:
    settings = {
        "seeds": 2,
        "max_ticks": 1,
        "workers": 1,
        "sessions": (1, 4),
        "every_steps": 5,
        "device": "cpu",
        "train": TRAIN,
        "recipe": RecipeSettings(image_max_tokens=8, state_text_max_chars=60),
        **changes,
    }
    return CurveConfig(base=str(base), dataset=dataset, out=out, **settings)


@pytest.fixture(scope="module")
def done(base, dataset, tmp_path_factory):
    config = make_config(base, dataset, tmp_path_factory.mktemp("curve") / "out")
    return config, run(config)


def test_a_curve_is_trained_played_and_written_down(done):
    config, curve = done
    value = json.loads((config.out / "curve.json").read_text())
    jsonschema.validate(value, read_schema())
    assert read_curve(config.out / "curve.json").runs == curve.runs
    assert [(one.sessions, one.steps) for one in curve.runs] == [(1, 2), (4, 8)]
    assert all(one.loss is not None and len(one.values) == 2 for one in curve.runs)
    assert [(one.step, one.loss is None) for one in curve.kept] == [(5, True)]
    assert [step for step, _ in curve.losses.train] == list(range(1, 9))
    assert value["clock"] == "paused"
    assert (config.out / "curve.md").read_text().startswith("## Would more sessions help?")
    for episodes in (config.out / "episodes").iterdir():
        assert all(json.loads(line)["clock"] == "paused" for line in episodes.read_text().splitlines()[1:])


def test_each_run_says_which_sessions_it_learned_from(done):
    config, _ = done
    runs = sorted((config.out / "runs").iterdir())
    assert [path.name for path in runs] == ["sessions-0001-0", "sessions-0004-0"]
    settings = [json.loads((path / "run.json").read_text())["config"] for path in runs]
    assert [one["max_sessions"] for one in settings] == [1, 4]
    assert {one["sessions_seed"] for one in settings} == {0}
    assert [one["keep_adapters_every_steps"] for one in settings] == [None, 5]


def test_what_is_finished_is_neither_trained_nor_played_again(done, monkeypatch):
    config, curve = done
    files = {path: path.stat().st_mtime_ns for path in config.out.rglob("*") if "curve." not in path.name}

    def refuse(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr("vlm_agent.training.adapters.train_adapter", refuse)
    again = run(config)
    assert replace(again, made={}) == replace(curve, made={})
    assert {path: path.stat().st_mtime_ns for path in config.out.rglob("*") if "curve." not in path.name} == files


def test_a_curve_that_was_cut_off_in_training_ends_as_it_would_have(done, base, dataset, tmp_path):
    config, curve = done
    out = tmp_path / "out"
    shutil.copytree(config.out, out)
    # As a kill in the last run leaves it: no result yet, and a checkpoint to go on from.
    shutil.rmtree(out / "runs" / "sessions-0004-0" / "adapter")
    (out / "runs" / "sessions-0004-0" / "adapter_model.safetensors").unlink(missing_ok=True)
    for store in (out / "episodes").glob("sessions-0004*"):
        store.unlink()
    again = run(make_config(base, dataset, out))
    assert [one.values for one in again.runs] == [one.values for one in curve.runs]
    assert [one.loss for one in again.runs] == [one.loss for one in curve.runs]
    weights = [Path(place) / "runs/sessions-0004-0/adapter/adapter_model.safetensors" for place in (config.out, out)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_equal_steps_are_equal_for_all(base, dataset, tmp_path):
    config = make_config(base, dataset, tmp_path / "out", steps=3, every_steps=0)
    curve = run(config)
    assert [(one.sessions, one.steps) for one in curve.runs] == [(1, 3), (4, 3)]
    assert curve.kept == ()
    assert curve.setting.equal_steps == 3


def test_repeats_draw_other_sessions_and_fewer_are_among_more(base, dataset, tmp_path):
    from vlm_agent.dataset.store import open_dataset
    from vlm_agent.training.moments import draw_sessions

    planned = tuning_module.plan_tuning(make_config(base, dataset, tmp_path / "out", repeats=3, sessions=(1, 2, 3)))
    windows = list(open_dataset(dataset).windows("train"))
    drawn = {
        (one.repeat, one.sessions): {
            window.session for window in draw_sessions(windows, one.train.max_sessions, one.train.sessions_seed)
        }
        for one in planned.runs
    }
    for repeat in range(3):
        assert drawn[repeat, 1] < drawn[repeat, 2] < drawn[repeat, 3]
    assert len({frozenset(names) for (_, number), names in drawn.items() if number == 2}) > 1
    assert [one.train.seed for one in planned.runs[:3]] == [0, 1, 2]


def refuse(config: CurveConfig, kind=ConfigError) -> str:
    with pytest.raises(kind) as caught:
        run(config)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_another_curve_is_not_mixed_in(done, base, dataset):
    config, _ = done
    changed = replace(config, train=replace(TRAIN, learning_rate=1e-3, epochs=2))
    assert "(train.epochs, train.learning_rate)" in refuse(changed)
    assert "recipe.history_ticks" in refuse(replace(config, recipe=replace(config.recipe, history_ticks=3)))
    assert "steps" in refuse(replace(config, steps=4))
    other = write_sessions(config.out.parent / "other", num_train=5)
    assert "dataset_sha256" in refuse(replace(config, dataset=other))


def test_mistakes_are_one_line(base, dataset, tmp_path):
    out = tmp_path / "out"
    assert "the dataset holds 4 training sessions" in refuse(make_config(base, dataset, out, sessions=(9,)))
    assert "not a folder" in refuse(make_config(base, tmp_path / "none", out), DataError)
    assert "knit" in refuse(make_config(base, dataset, out, goal="knit a scarf"))
    shown = write_sessions(tmp_path / "shown", num_train=1, seed=10_001)
    assert "seed 10001 was demonstrated" in refuse(make_config(base, shown, out))
    assert not out.exists()
    out.mkdir()
    (out / "settings.json").write_text("{")
    assert "settings.json" in refuse(make_config(base, dataset, out), DataError)
