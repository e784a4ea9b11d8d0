"""Numbers that are none reach no file, and a file that holds one is refused in one line."""

from __future__ import annotations

import json
from math import inf, nan
from pathlib import Path

import pytest

from tests.evaluation.curves.test_curve import make_curve
from tests.evaluation.offline.cases import SPEC, random_predictions
from vlm_agent.errors import DataError
from vlm_agent.evaluation.curves.curve import read_curve
from vlm_agent.evaluation.finite import dump_finite, load_finite
from vlm_agent.evaluation.offline.evaluation import evaluate, read_evaluation
from vlm_agent.evaluation.offline.lines import LineFile
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.predictions import PredictionStore, read_predictions
from vlm_agent.evaluation.report import write_json

ODD = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999")


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": nan}, "a is nan"),
        ({"a": {"b": [1.0, {"c": -inf}]}}, r"a\.b\[1\]\.c is -inf"),
        ([(0.5, inf)], r"\[0\]\[1\] is inf"),
        (nan, "it is nan"),
    ],
)
def test_what_is_no_number_is_not_written_and_its_place_is_named(value, place, tmp_path) -> None:
    path = tmp_path / "out" / "x.json"
    with pytest.raises(DataError, match=f"^{path}: not written, for {place} and not a finite number") as error:
        write_json(path, value)
    assert "\n" not in str(error.value)
    assert not path.exists()


def test_what_is_finite_is_written_as_it_is() -> None:
    value = {"a": [1, 2.5, None, True, "NaN", -1e300], "b": {}}
    assert json.loads(dump_finite(Path("x"), value)) == load_finite(dump_finite(Path("x"), value)) == value


@pytest.mark.parametrize("odd", ODD)
def test_no_reader_takes_a_number_that_is_none(odd, tmp_path) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        load_finite(f'{{"a": [1, {odd}]}}')
    curve = tmp_path / "curve.json"
    curve.write_text(json.dumps(make_curve({8: 5}).to_json()).replace("2.0", odd).replace("0.5", odd))
    with pytest.raises(DataError, match=r"curve\.json holds no learning curve .*not a finite number"):
        read_curve(curve)
    some = random_predictions(1, sessions=2, windows=3)
    evaluation = tmp_path / "evaluation.json"
    text = json.dumps(evaluate({"tuned": some}, {}, ScoreConfig()).to_json())
    evaluation.write_text(text.replace('"tolerance_ms": 300.0', f'"tolerance_ms": {odd}'))
    with pytest.raises(DataError, match=r"not an evaluation .*not a finite number"):
        read_evaluation(evaluation)
    answers = tmp_path / "tuned.jsonl"
    store = PredictionStore(answers, {}, SPEC)
    for one in some:
        store.add(one)
    answers.write_text(answers.read_text() + f'{{"window":{odd}}}\n')
    for read in (lambda: read_predictions(answers), lambda: PredictionStore(answers, {}, SPEC)):
        with pytest.raises(DataError, match=r"not a file of predictions .*not a finite number"):
            read()


def test_a_line_with_such_a_number_is_not_written(tmp_path) -> None:
    file = LineFile(tmp_path / "x.jsonl", "read-outs", 1, {})
    with pytest.raises(DataError, match=r"x\.jsonl: not written, for a number in it is not finite"):
        file.add({"bits": nan})
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 1
