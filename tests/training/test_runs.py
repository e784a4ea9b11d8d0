"""Which run a folder holds, and which it may be gone on with."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict

import pytest

from vlm_agent.errors import ConfigError, DataError
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.runs import RUN_FILE, _fill, check_run, start_run

pytestmark = pytest.mark.model

RECORD = {
    "format": 1,
    "created": "2026-01-01T00:00:00+00:00",
    "base": {
        "source": "a/model",
        "fingerprint": "f" * 8,
        "quantization": "nf4",
        "family": "qwen3_vl",
        "template": {"source": "a/model", "sha256": "t" * 8, "closing": ""},
        "identity": {"config": "c" * 8, "tokenizer": "o" * 8, "pictures": "p" * 8},
        "started_from": None,
    },
    "recipe": {"spec": {"keys": ["a"]}, "codec": "json"},
    "dataset": {"path": "/data", "sha256": "d" * 8},
    "config": json.loads(json.dumps(asdict(TrainConfig(engine="hf")))),
    "versions": {"torch": "2"},
}


def changed(path: str, value: object) -> dict:
    record = copy.deepcopy(RECORD)
    *parents, name = path.split(".")
    part = record
    for parent in parents:
        part = part[parent]
    part[name] = value
    return record


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("format", "format"),
        ("base.fingerprint", r"another base \(other weights\)"),
        ("base.quantization", "base.quantization"),
        ("base.started_from", "base.started_from"),
        ("base.template.sha256", r"another base \(other chat template\)"),
        ("base.identity.config", r"another base \(other config\)"),
        ("base.identity.tokenizer", r"another base \(other tokenizer\)"),
        ("base.identity.pictures", r"another base \(other picture settings\)"),
        ("recipe.codec", "recipe.codec"),
        ("dataset.sha256", "dataset.sha256"),
        ("config.seed", "config.seed"),
        ("config.learning_rate", "config.learning_rate"),
    ],
)
def test_one_setting_that_differs_makes_another_run_and_is_named(tmp_path, path, told):
    assert start_run(tmp_path, RECORD) is False
    before = (tmp_path / RUN_FILE).read_text()
    with pytest.raises(ConfigError, match=told):
        start_run(tmp_path, changed(path, "other"))
    assert (tmp_path / RUN_FILE).read_text() == before


@pytest.mark.parametrize(
    "path",
    ["created", "versions", "base.source", "base.template.source", "dataset.path", "config.picture_threads"],
)
def test_what_moves_a_run_or_does_not_change_it_may_differ(tmp_path, path):
    start_run(tmp_path, RECORD)
    assert start_run(tmp_path, changed(path, 7)) is True
    assert json.loads((tmp_path / RUN_FILE).read_text()) == RECORD


def test_another_action_spec_and_other_files_are_refused(tmp_path):
    start_run(tmp_path / "run", RECORD)
    with pytest.raises(DataError, match="another action spec"):
        check_run(tmp_path / "run", changed("recipe.spec", {"keys": ["b"]}))
    (tmp_path / "other").mkdir()
    assert check_run(tmp_path / "other", RECORD) is False
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds no run"):
        check_run(tmp_path / "other", RECORD)


def test_what_an_old_run_does_not_say_is_as_it_was_by_default():
    given = {"a": 1, "part": {"x": 5}, "old": None}
    plain = {"a": 0, "b": 2, "part": {"x": 0, "y": 3}}
    assert _fill(given, plain) == {"a": 1, "b": 2, "part": {"x": 5, "y": 3}, "old": None}
