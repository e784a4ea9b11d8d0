"""A learning curve says no more than its intervals do, and survives being written down."""

from __future__ import annotations

import base64
import json
import shlex
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import tyro

from vlm_agent.errors import ConfigError, DataError
from vlm_agent.evaluation.curves.command import CurveConfig
from vlm_agent.evaluation.curves.curve import Curve, KeptAdapter, Losses, Setting, TrainedRun, read_curve, read_schema
from vlm_agent.evaluation.curves.section import write_section, write_sentences
from vlm_agent.evaluation.curves.tuning import choose_numbers
from vlm_agent.evaluation.intervals import mean_interval
from vlm_agent.evaluation.metrics import RINGS_PER_MINUTE
from vlm_agent.training.config import LoraSettings, RecipeSettings, TrainConfig

SEEDS = tuple(range(10_000, 10_012))
SETTING = Setting("ringcraft", "craft sapphire rings", 150, 64, None)


def spread(mean: float, seed: int = 0) -> tuple[float, ...]:
    noise = np.random.default_rng(seed).normal(0, 1, len(SEEDS))
    return tuple(float(value) for value in mean + noise - noise.mean())


def make_curve(
    means: dict[int, float], *, repeats: int = 1, kept: tuple[tuple[int, float], ...] = (), **changes
) -> Curve:
    runs = tuple(
        TrainedRun(number, repeat, 10 * number, 2.0 / number**0.5, spread(mean, 7 * number + repeat))
        for number, mean in means.items()
        for repeat in range(repeats)
    )
    settings = {
        "metric": RINGS_PER_MINUTE,
        "setting": SETTING,
        "seeds": SEEDS,
        "runs": runs,
        "base": tuple(0.0 for _ in SEEDS),
        "demonstrator": spread(14, 1),
        "kept": tuple(KeptAdapter(step, None, spread(mean, step)) for step, mean in kept),
        "losses": Losses(tuple((step, 2 / step) for step in range(1, 41)), ((0, 3.0), (20, 1.0), (40, 0.5))),
        "resamples": 500,
        **changes,
    }
    return Curve(**settings)


def told(curve: Curve) -> str:
    return " ".join(write_sentences(curve))


def test_points_and_gains_are_paired_by_seed_and_averaged_over_repeats():
    curve = make_curve({8: 2.0, 16: 5.0}, repeats=2)
    by_hand = np.mean([run.values for run in curve.runs_of(16)], axis=0)
    assert curve.values_of(16) == pytest.approx(tuple(by_hand))
    gaps = by_hand - np.mean([run.values for run in curve.runs_of(8)], axis=0)
    assert curve.gain(8, 16) == mean_interval(list(gaps), resamples=500)
    assert curve.gain(0, 8) == mean_interval(curve.values_of(8), resamples=500)
    assert (curve.numbers, curve.num_repeats, curve.largest) == ((8, 16), 2, curve.runs[2])


@pytest.mark.parametrize(
    ("means", "sentence"),
    [
        ({8: 2, 16: 6}, "More sessions would probably help: from 8 to 16 it gained +4.00 ["),
        ({8: 6, 16: 6.1}, "Whether more sessions would help can't be told: from 8 to 16 it gained +0.10 ["),
        ({8: 6, 16: 1}, "More sessions did harm at the end: from 8 to 16 it gained −5.00 ["),
    ],
)
def test_it_says_whether_more_sessions_help_only_where_the_interval_does(means, sentence):
    text = told(make_curve(means))
    assert sentence in text
    others = ("would probably help", "can't be told", "did harm at the end")
    assert sum(other in text for other in others) == 1


def test_where_nothing_was_reached_nothing_is_said_to_be_out_of_reach():
    curve = make_curve({8: 0, 16: 0})
    curve = replace(curve, runs=tuple(replace(run, values=(0.0,) * len(SEEDS)) for run in curve.runs))
    assert "With 8 as with 16 sessions it got nowhere on any scene" in told(curve)
    assert "unlikely" not in told(curve)


def test_it_names_the_fewest_sessions_above_the_base():
    assert "stand clearly above the base are 4" in told(make_curve({1: 0, 2: 0.1, 4: 3, 8: 5}))
    nowhere = dict.fromkeys((1, 2), 0.0)
    assert "No number of sessions stands clearly above the base" in told(make_curve(nowhere))


@pytest.mark.parametrize(
    ("half", "sentence"), [(1.0, "was needed"), (8.0, "can be told from chance"), (14.0, "did harm: from step 80")]
)
def test_it_says_what_the_second_half_of_training_brought(half, sentence):
    curve = make_curve({8: 5, 16: 8}, kept=((40, 0.5), (80, half), (120, 7)))
    assert f"second half of training {sentence}" in told(curve) or sentence in told(curve)
    assert "from step 80 to the end of training (160 steps)" in told(curve)


def test_one_run_a_number_is_told_as_what_it_is():
    assert "trained on once" in told(make_curve({8: 5}))
    assert "trained on 3 times" in told(make_curve({8: 5}, repeats=3))
    assert "for 300 steps each" in told(make_curve({8: 5}, setting=replace(SETTING, equal_steps=300)))


def test_it_survives_json_and_fits_its_schema(tmp_path):
    curve = make_curve({1: 0.5, 8: 5, 16: 8}, repeats=2, kept=((40, 2.0),), made={"command": "vlm-agent curve"})
    value = json.loads(json.dumps(curve.to_json(), allow_nan=False))
    jsonschema.validate(value, read_schema())
    path = tmp_path / "curve.json"
    path.write_text(json.dumps(value))
    assert read_curve(path) == curve
    assert write_section(read_curve(path)) == write_section(curve)
    assert [gain["from"] for gain in value["gains"]] == [0, 1, 8]
    alone = make_curve({8: 5}, demonstrator=(), losses=Losses())
    jsonschema.validate(json.loads(json.dumps(alone.to_json())), read_schema())
    assert Curve.from_json(json.loads(json.dumps(alone.to_json()))) == alone


def test_a_broken_curve_is_one_error(tmp_path):
    path = tmp_path / "curve.json"
    good = make_curve({8: 5}).to_json()
    for text in ("{", "{}", json.dumps({**good, "format": 2}), json.dumps({**good, "metric": "height"})):
        path.write_text(text)
        with pytest.raises(DataError, match="curve"):
            read_curve(path)
    with pytest.raises(DataError, match=r"none\.json"):
        read_curve(tmp_path / "none.json")


def test_the_section_draws_what_there_is():
    full = write_section(make_curve({1: 0.5, 8: 5, 16: 8}, repeats=2, kept=((40, 2.0), (80, 4.0))))
    assert [plot.title for plot in full.plots] == [
        "Rings per minute by sessions learned from",
        "Loss by sessions learned from",
        "Rings per minute by training step",
        "Loss by training step",
    ]
    for plot in full.plots:
        assert plot.light != plot.dark
        assert base64.b64decode(plot.light.split(",")[1]).startswith(b"<?xml")
    sessions, steps = full.tables
    assert [row[0] for row in sessions.rows] == ["0 (base)", "1", "8", "16", "demonstrator"]
    assert [row[0] for row in steps.rows] == ["0 (base)", "40", "80", "the result"]
    bare = make_curve({8: 5}, demonstrator=(), losses=Losses())
    bare = replace(bare, runs=tuple(replace(run, loss=None) for run in bare.runs))
    assert len(write_section(bare).plots) == len(write_section(bare).tables) == 1


def test_numbers_are_powers_of_two_and_all():
    assert choose_numbers((), 1) == [1]
    assert choose_numbers((), 8) == [1, 2, 4, 8]
    assert choose_numbers((), 11) == [1, 2, 4, 8, 11]
    assert choose_numbers((4, 2, 4), 11) == [2, 4]
    with pytest.raises(ConfigError, match="--sessions 12: the dataset holds 11"):
        choose_numbers((4, 12), 11)


def test_the_command_that_it_names_makes_the_same_curve():
    config = CurveConfig(
        dataset="data set",
        sessions=(1, 8),
        steps=30,
        train=TrainConfig(lora=LoraSettings(dropout=0.0), learning_rate=3e-3),
        recipe=RecipeSettings(names_steps=True, steps_from_state=True),
    )
    program, stage, *flags = shlex.split(config.command)
    assert (program, stage) == ("vlm-agent", "curve")
    assert tyro.cli(CurveConfig, args=flags).train == config.train
    again = tyro.cli(CurveConfig, args=flags)
    assert replace(again, dataset=config.dataset) == config


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"seeds": 1}, "--seeds"),
        ({"repeats": 0}, "--repeats"),
        ({"steps": 0}, "--steps"),
        ({"sessions": (4, 0)}, "--sessions"),
        ({"every_steps": -1}, "--every-steps"),
        ({"temperature": -0.1}, "--temperature"),
        ({"first_seed": -1}, "--first-seed"),
        ({"train": TrainConfig(max_sessions=3)}, "--sessions"),
        ({"train": TrainConfig(keep_adapters_every_steps=3)}, "--every-steps"),
    ],
)
def test_settings_out_of_range_name_their_flag(changes, flag):
    with pytest.raises(ConfigError, match=flag):
        CurveConfig(dataset="x", **changes)
