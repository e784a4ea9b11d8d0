"""`vlm-agent compare` on tiny random models: what it refuses in one line, and what it writes when all is well."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import tyro

from tests.evaluation.tiny_runs import make_tiny_recipe, write_run
from tests.training.synthetic import write_dataset
from vlm_agent.chat import PromptTemplate
from vlm_agent.dataset.manifest import DatasetManifest, SessionRecord
from vlm_agent.dataset.store import open_dataset
from vlm_agent.dataset.writer import DatasetWriter
from vlm_agent.errors import ConfigError, DataError, ModelError, VlmAgentError
from vlm_agent.evaluation.compare import CompareConfig, PartsConfig, run
from vlm_agent.evaluation.comparison import read_schema
from vlm_agent.evaluation.sides import check_seeds_apart, check_spec, find_demonstrated_seeds, match_sides
from vlm_agent.models.tiny import write_tiny_checkpoint

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def base(root: Path) -> Path:
    return write_tiny_checkpoint(root / "base")


@pytest.fixture(scope="module")
def tuned(root: Path, base: Path) -> Path:
    return write_run(root / "tuned", base)


def make_config(base: Path, tuned: Path, out: Path, **changes) -> CompareConfig:
    settings = {"seeds": 2, "max_ticks": 3, "workers": 1, "device": "cpu", "bootstrap_resamples": 200, **changes}
    return CompareConfig(base=str(base), tuned=str(tuned), out=out, **settings)


def one_line(error: pytest.ExceptionInfo[VlmAgentError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 600
    return text


@pytest.fixture(scope="module")
def done(base: Path, tuned: Path, root: Path):
    config = make_config(base, tuned, root / "report")
    return config, run(config)


def test_a_comparison_writes_json_and_report(done) -> None:
    config, comparison = done
    value = json.loads((config.out / "comparison.json").read_text())
    jsonschema.validate(value, read_schema())
    assert value["n_seeds"] == 2
    assert value["seeds"] == [10_000, 10_001]
    assert value["difference"]["ci95"][0] <= 0 <= value["difference"]["ci95"][1]
    assert value["verdict"]["finding"] == "not_distinguishable"
    assert value["tuned"]["decisions"] == 6 == comparison.tuned.num_decisions
    assert value["tuned"]["latency_ms"]["p50"] > 0
    assert value["made"]["probe"]["max_logit_change"] > 0.001
    assert value["made"]["seeds_apart_from_demonstrations"] is None
    assert value["made"]["command"].startswith("vlm-agent compare --tuned ")
    report = (config.out / "index.html").read_text()
    assert value["verdict"]["headline"] in report
    # Two seeds of tuned, one of base and the demonstrator, three horizons each; and three click maps.
    assert report.count("data:image/jpeg") == 4 * 3 + 3
    assert report.count("data:video/mp4") == 2
    recovery, windows, likeness = value["missing"]
    assert "recordings of 4 episodes" in likeness
    assert "episodes of 3 decisions are too short" in recovery
    assert "no-dataset) is not there any more" in windows
    assert (config.out / "report.md").read_text().startswith(f"# {value['verdict']['headline']}")


def test_on_a_real_clock_it_says_so_everywhere(base: Path, tuned: Path, tmp_path: Path, done) -> None:
    real = run(make_config(base, tuned, tmp_path / "real", clock="real", max_ticks=2))
    value = json.loads((tmp_path / "real" / "comparison.json").read_text())
    jsonschema.validate(value, read_schema())
    assert value["clock"] == real.setting.clock == "real"
    assert "--clock real" in value["made"]["command"]
    assert "the game goes on" in (tmp_path / "real" / "index.html").read_text()
    assert "the game goes on" not in (done[0].out / "index.html").read_text()
    # What was played on one clock is not gone on with on the other.
    with pytest.raises(DataError, match="episodes of another rollout"):
        run(make_config(base, tuned, tmp_path / "real", max_ticks=2))


def test_a_finished_comparison_is_written_again_without_playing(done) -> None:
    config, comparison = done
    before = {path: path.stat().st_mtime_ns for path in (config.out / "episodes").iterdir()}
    again, first = run(config).to_json()["tuned"], comparison.to_json()["tuned"]
    # Latencies are stored in hundredths of a millisecond.
    assert again.pop("latency_ms") == pytest.approx(first.pop("latency_ms"), abs=0.011)
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in (config.out / "episodes").iterdir()} == before


def test_an_adapter_that_changes_nothing_is_refused(base: Path, root: Path, tmp_path: Path) -> None:
    never_trained = write_run(root / "zeros", base, noise=0.0)
    with pytest.raises(ModelError, match="changes nothing") as error:
        run(make_config(base, never_trained, tmp_path / "out"))
    assert "never trained, or is not applied" in one_line(error)
    # Who opens the report, or reads its numbers, is told the same.
    value = json.loads((tmp_path / "out" / "comparison.json").read_text())
    jsonschema.validate(value, read_schema())
    assert value["verdict"]["finding"] == "not_applied"
    assert value["made"]["probe"]["max_logit_change"] == 0
    assert "The adapter changes nothing" in (tmp_path / "out" / "index.html").read_text()
    assert not (tmp_path / "out" / "episodes").exists()


def test_an_adapter_of_another_base_is_refused(base: Path, root: Path, tmp_path: Path) -> None:
    other = write_tiny_checkpoint(root / "other", seed=1)
    with pytest.raises(ModelError, match="another base") as error:
        run(make_config(base, write_run(root / "of-other", other), tmp_path / "out"))
    one_line(error)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (make_tiny_recipe(image_width_px=128), "recipe.image_width_px"),
        (make_tiny_recipe(codec="line"), "recipe.codec"),
        (
            replace(make_tiny_recipe(), system=PromptTemplate("Play. ${horizon_ms} ${action_table}")),
            "recipe.system.sha256",
        ),
    ],
    ids=["picture size", "codec", "prompt"],
)
def test_runs_of_different_recipes_are_refused(base, tuned, tmp_path, recipe, words) -> None:
    other = write_run(tmp_path / "other", base, recipe=recipe)
    with pytest.raises(ConfigError, match="can't be compared") as error:
        match_sides(str(other), str(tuned))
    assert words in one_line(error)


def test_two_adapters_of_one_recipe_may_be_compared(base: Path, tuned: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", base, seed=5)
    pair = match_sides(str(other), str(tuned))
    assert pair.base.adapter_sha256 not in (None, pair.tuned.adapter_sha256)
    with pytest.raises(ConfigError, match="the same adapter"):
        match_sides(str(tuned), str(tuned))


def test_what_is_no_run_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        match_sides(str(base), str(tmp_path / "nothing"))
    with pytest.raises(ModelError, match="holds no adapter"):
        match_sides(str(base), str(base))


def test_an_adapter_for_another_game_is_refused(base: Path, tuned: Path) -> None:
    pair = match_sides(str(base), str(tuned))
    with pytest.raises(ConfigError, match="other actions"):
        check_spec(pair.recipe, replace(pair.recipe.spec, keys=("q",)), "ringcraft")


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"goal": "conquer the world"}, "conquer the world"), ({"env": "chess"}, "unknown environment")],
)
def test_unknown_goals_and_environments_are_refused(base, tuned, tmp_path, changes, words) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        run(make_config(base, tuned, tmp_path / "out", **changes))
    one_line(error)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes", [{"seeds": 1}, {"max_ticks": 0}, {"workers": 0}, {"bootstrap_resamples": 5}, {"first_seed": -1}]
)
def test_settings_out_of_range_name_their_flag(changes: dict[str, int]) -> None:
    flag = next(iter(changes)).replace("_", "-")
    with pytest.raises(ConfigError, match=f"--{flag}"):
        CompareConfig(tuned="runs/x", **changes)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"windows": -1}, "--parts.windows must be at least 0, got -1"),
        ({"goal_seeds": 1}, "--parts.goal-seeds must be at least 2, got 1"),
        ({"dataset": Path("nowhere")}, "--parts.dataset nowhere: no such folder"),
        ({"curve": Path("nowhere")}, "--parts.curve nowhere: no such file"),
    ],
)
def test_parts_that_can_not_be_made_name_their_flag(changes: dict[str, object], flag: str) -> None:
    with pytest.raises(ConfigError, match=flag):
        PartsConfig(**changes)


def test_unknown_further_goals_are_refused_before_anything_is_played(base, tuned, tmp_path) -> None:
    with pytest.raises(ConfigError, match="bake a cake"):
        run(make_config(base, tuned, tmp_path / "out", parts=PartsConfig(goals=("open the bank", "bake a cake"))))
    assert not (tmp_path / "out").exists()


def test_files_that_can_not_be_used_are_refused_before_anything_is_played(base, tuned, tmp_path) -> None:
    (tmp_path / "curve.json").write_text("{")
    with pytest.raises(DataError, match="holds no learning curve"):
        run(make_config(base, tuned, tmp_path / "out", parts=PartsConfig(curve=tmp_path / "curve.json")))
    other = write_dataset(tmp_path / "other")  # another game's keys
    with pytest.raises(DataError, match="was built for another action spec"):
        run(make_config(base, tuned, tmp_path / "out", parts=PartsConfig(dataset=other)))
    assert not (tmp_path / "out").exists()


def test_scalars_without_tensorboard_say_what_to_install(base, tuned, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    with pytest.raises(ConfigError, match=r"pip install 'vlm-agent\[tensorboard\]'"):
        run(make_config(base, tuned, tmp_path / "out", tensorboard=tmp_path / "tb"))
    assert not (tmp_path / "out").exists()


def test_the_command_of_a_comparison_is_written_out_in_full() -> None:
    parts = PartsConfig(goals=("open the bank", "close the bank"), likeness=False)
    command = CompareConfig(tuned="runs/x", parts=parts).command
    assert "--parts.goals 'open the bank' 'close the bank' " in command
    assert "--parts.no-likeness" in command
    assert "None" not in command
    assert tyro.cli(CompareConfig, args=shlex.split(command)[2:]).parts == parts


def test_demonstrated_seeds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dataset").mkdir()
    monkeypatch.setattr("vlm_agent.evaluation.sides.find_demonstrated_seeds", lambda _: frozenset({3, 4}))
    assert check_seeds_apart((10, 11), tmp_path / "dataset") is True
    with pytest.raises(ConfigError, match=r"seed 4 was demonstrated.*--first-seed 5"):
        check_seeds_apart((4, 5), tmp_path / "dataset")


def test_seeds_are_unknown_where_the_dataset_is_gone(tmp_path: Path) -> None:
    assert check_seeds_apart((1, 2), tmp_path / "gone") is None
    (tmp_path / "dataset").mkdir()
    assert check_seeds_apart((1, 2), tmp_path / "dataset") is None
    with pytest.raises(DataError):
        find_demonstrated_seeds(tmp_path / "dataset")


def test_demonstrated_seeds_are_read_from_the_recorded_states(tmp_path: Path) -> None:
    plain = open_dataset(write_dataset(tmp_path / "plain", with_validation=False))
    windows = list(plain.windows("train"))
    half = len(windows) // 2
    with DatasetWriter(tmp_path / "seeded", plain.spec, history_ms=6000) as writer:
        frame_id = writer.add_frame(plain.frame(windows[0]))
        for index, window in enumerate(windows):
            session, seed = ("one", 7) if index < half else ("two", 9)
            writer.add_window(replace(window, session=session, frame_id=frame_id, state={"sim": {"seed": seed}}))
        sessions = tuple(SessionRecord(name, "train", "0" * 64, half) for name in ("one", "two"))
        counts = {"train": len(windows)}
        writer.finish(DatasetManifest(plain.spec, 6000, counts, 1, sessions, sha256=writer.fingerprint()))
    assert find_demonstrated_seeds(tmp_path / "seeded") == {7, 9}
    assert find_demonstrated_seeds(tmp_path / "plain") == frozenset()
