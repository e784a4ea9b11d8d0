"""From a dataset to an adapter and back into a model, on both families, plain and already quantised."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training.synthetic import SPEC, write_dataset
from vlm_agent.chat import Recipe
from vlm_agent.dataset.store import open_dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import ConfigError, DataError, ModelError
from vlm_agent.locks import LOCK_FILE, BusyError
from vlm_agent.models.adapters import RECIPE_FILE, WEIGHTS_FILE
from vlm_agent.models.loading import LoadedModel, load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.adapters import train_adapter
from vlm_agent.training.config import EvaluationSettings, LoraSettings, RecipeSettings, TrainConfig
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.layouts import build_rows
from vlm_agent.training.nano import pretrain
from vlm_agent.training.nano.config import PretrainConfig
from vlm_agent.training.passes import sum_losses
from vlm_agent.training.rows import Row
from vlm_agent.training.windows import FrameLoader, encode_window, encode_windows

pytestmark = pytest.mark.model

CONFIG = TrainConfig(
    lora=LoraSettings(rank=4), evaluation=EvaluationSettings(every_steps=4), learning_rate=1e-2, max_steps=4
)
SHORT = replace(CONFIG, max_steps=1, evaluation=EvaluationSettings(every_steps=0))
KINDS = ["qwen3_vl", "qwen3_vl-nf4", "qwen2_5_vl", "qwen2_5_vl-nf4"]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {
        kind: write_tiny_checkpoint(root / kind, kind.removesuffix("-nf4"), nf4=kind.endswith("-nf4")) for kind in KINDS
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def run(models, dataset, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    train_adapter(dataset, load_model(models["qwen3_vl"], device="cpu"), CONFIG, out)
    return out


def _rows(loaded: LoadedModel, windows: Iterable[Window], recipe: Recipe) -> list[Row]:
    return build_rows(encode_windows(loaded.encoder, windows, recipe), loaded.encoder, "shared", CONFIG)


def _losses(loaded: LoadedModel, dataset: Path, recipe: Recipe) -> torch.Tensor:
    store = open_dataset(dataset)
    rows = _rows(loaded, store.windows("validation"), recipe)
    features = FeatureCache(loaded, FrameLoader(store.folder, recipe), 0)
    loaded.model.eval()
    with torch.no_grad():
        return torch.stack([sum_losses(loaded, [row], features) for row in rows])


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_trained_saved_and_reloaded_with_the_same_numbers(models, dataset, tmp_path, kind):
    base = load_model(models[kind], device="cpu")
    result = train_adapter(dataset, load_model(models[kind], device="cpu"), CONFIG, tmp_path / "run")
    assert result.num_steps == 4
    assert result.best_loss is not None
    tuned = load_model(tmp_path / "run", device="cpu")
    again = load_model(models[kind], adapter=result.adapter, device="cpu")
    recipe = Recipe.from_json(json.loads((result.adapter / RECIPE_FILE).read_text())["recipe"])
    assert recipe.coordinates == base.family.coordinates
    before, after = _losses(base, dataset, recipe), _losses(tuned, dataset, recipe)
    assert after.sum() < before.sum() - 1
    assert after.equal(_losses(again, dataset, recipe))
    with tuned.adapter_disabled():
        assert before.equal(_losses(tuned, dataset, recipe))
    assert after.equal(_losses(tuned, dataset, recipe))
    assert tuned.quantization == "nf4"


def test_plain_peft_reads_the_adapter(models, run, dataset):
    from peft import PeftModel

    plain = load_model(models["qwen3_vl"], device="cpu")
    recipe = Recipe.from_json(json.loads((run / "adapter" / RECIPE_FILE).read_text())["recipe"])
    wrapped = PeftModel.from_pretrained(plain.model, run / "adapter")
    ours = _losses(load_model(run, device="cpu"), dataset, recipe)
    torch.testing.assert_close(_losses(replace(plain, peft=wrapped), dataset, recipe), ours, rtol=0, atol=1e-4)
    told = json.loads((run / "adapter" / "adapter_config.json").read_text())
    assert (told["r"], told["lora_alpha"], told["inference_mode"]) == (4, 16, True)


def test_the_run_tells_what_it_was_made_of(models, run, dataset):
    record = json.loads((run / "run.json").read_text())
    recipe = json.loads((run / "adapter" / RECIPE_FILE).read_text())
    assert {key: recipe[key] for key in record} == record
    assert record["base"]["source"] == str(models["qwen3_vl"])
    assert record["base"]["quantization"] == "nf4"
    assert record["dataset"]["sha256"] == open_dataset(dataset).manifest.sha256
    assert record["config"]["lora"] == {"rank": 4, "alpha": 16, "dropout": 0.05, "vision": False}
    assert {"torch", "transformers", "peft", "bitsandbytes"} <= set(record["versions"])
    assert set(record["git"]) == {"revision", "dirty"}
    assert Recipe.from_json(record["recipe"]).image_width_px % 32 == 0
    assert not list(run.rglob("*.partial"))
    assert not [path for path in run.rglob("*") if path.suffix in {".bin", ".pt", ".pkl", ".pickle"}]


def test_run_json_is_there_before_work_starts(models, dataset, tmp_path, monkeypatch):
    from vlm_agent.training import adapters

    def stop(*args, **kwargs):
        assert (tmp_path / "run" / "run.json").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(adapters, "TrainingLoop", stop)
    with pytest.raises(KeyboardInterrupt):
        train_adapter(dataset, load_model(models["qwen3_vl"], device="cpu"), SHORT, tmp_path / "run")


def test_windows_longer_than_the_context_are_refused_before_work_starts(models, dataset, tmp_path):
    loaded = load_model(models["qwen3_vl"], device="cpu")
    loaded.model.config.get_text_config().max_position_embeddings = 60
    with pytest.raises(
        ConfigError, match=r"windows don't fit into the model's context of 60 tokens, the longest takes"
    ):
        train_adapter(dataset, loaded, SHORT, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_same_call_again_goes_on_and_another_is_refused(models, run, dataset, tmp_path):
    weights = (run / "adapter" / WEIGHTS_FILE).read_bytes()
    base = load_model(models["qwen3_vl"], device="cpu")
    assert train_adapter(dataset, base, CONFIG, run).num_steps == 4
    assert (run / "adapter" / WEIGHTS_FILE).read_bytes() == weights
    base = load_model(models["qwen3_vl"], device="cpu")
    with pytest.raises(ConfigError, match=r"config\.learning_rate"):
        train_adapter(dataset, base, replace(CONFIG, learning_rate=1e-4), run)
    with pytest.raises(ConfigError, match=r"recipe\.codec"):
        train_adapter(dataset, base, CONFIG, run, settings=RecipeSettings(codec="line"))
    with pytest.raises(ConfigError, match=r"another base \(other weights\)"):
        train_adapter(dataset, load_model(models["qwen3_vl-nf4"], device="cpu"), CONFIG, run)
    with pytest.raises(ConfigError, match="holds no run"):
        train_adapter(dataset, base, CONFIG, models["qwen3_vl"])
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"run\.json"):
        train_adapter(dataset, base, CONFIG, tmp_path)


def test_a_dataset_of_another_spec_is_refused(models, run, tmp_path):
    other = write_dataset(tmp_path / "other", replace(SPEC, keys=("a", "space", "b")), 3, with_validation=False)
    base = load_model(models["qwen3_vl"], device="cpu")
    with pytest.raises(DataError, match="another action spec"):
        train_adapter(other, base, CONFIG, run)
    tuned = load_model(run, device="cpu", trainable=True)
    with pytest.raises(DataError, match="another action spec") as caught:
        train_adapter(other, tuned, CONFIG, tmp_path / "next")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "next").exists()


def test_an_adapter_can_be_trained_further_under_its_own_recipe(models, run, dataset, tmp_path):
    tuned = load_model(run, device="cpu", trainable=True)
    result = train_adapter(dataset, tuned, SHORT, tmp_path / "next", settings=RecipeSettings(codec="line"))
    record = json.loads((result.adapter / RECIPE_FILE).read_text())
    assert record["recipe"]["codec"] == "json"
    assert record["base"]["started_from"] == str(run / "adapter")
    assert record["base"]["source"] == str(models["qwen3_vl"])
    old, new = (load_file(folder / WEIGHTS_FILE) for folder in (run / "adapter", result.adapter))
    moved = [float((old[name] - new[name]).abs().max()) for name in old]
    assert 0 < max(moved) < 0.05
    assert load_model(tmp_path / "next", device="cpu").adapter == result.adapter.resolve()


def test_adapters_of_another_base_are_refused(models, run, tmp_path):
    with pytest.raises(ModelError, match="another base"):
        load_model(models["qwen2_5_vl"], adapter=run, device="cpu")
    with pytest.raises(ModelError, match="another base"):
        load_model(write_tiny_checkpoint(tmp_path / "sister", seed=1), adapter=run, device="cpu")
    with pytest.raises(ModelError, match="is an adapter already"):
        load_model(run, adapter=run, device="cpu")
    with pytest.raises(ModelError, match="no adapter here"):
        load_model(models["qwen3_vl"], adapter=tmp_path, device="cpu")


def _rename_weight(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_FILE)
    name = sorted(weights)[0]
    weights[name.replace("language_model.", "")] = weights.pop(name)
    save_file(weights, folder / WEIGHTS_FILE)


def _forget_weight(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_FILE)
    del weights[sorted(weights)[3]]
    save_file(weights, folder / WEIGHTS_FILE)


def _configure(**fields: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


def _spoil(value: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS_FILE)
        weights[sorted(weights)[7]][0, 0] = value
        save_file(weights, folder / WEIGHTS_FILE)

    return change


def _pickle(folder: Path) -> None:
    (folder / WEIGHTS_FILE).rename(folder / "adapter_model.bin")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_spoil(float("nan")), "adapter: the adapter's weights are not all finite numbers: 1 of 42 hold NaN"),
        (_spoil(float("-inf")), "not all finite numbers: 1 of 42"),
        (_pickle, "holds adapter_model.bin, a pickle"),
        (_configure(r=4.5), "can't be put|can't be read|no layers"),
        (_configure(r=0), "adapter"),
        (_configure(r="four"), "adapter"),
        (_configure(lora_alpha="loud"), "adapter"),
        (_configure(lora_alpha=float("nan")), "a number that is not finite"),
        (_configure(alpha_pattern={"q_proj": float("inf")}), "a number that is not finite"),
        (_configure(peft_type="PREFIX_TUNING", num_virtual_tokens=4), "PREFIX_TUNING|num_virtual_tokens"),
        (_configure(peft_type="SOMETHING_NEW"), "knows no adapters of kind 'SOMETHING_NEW'"),
        (_configure(peft_type=["LORA"]), "knows no adapters of kind"),
        (_configure(use_tomorrows_lora=True), "asks for use_tomorrows_lora, which the installed peft doesn't know"),
        (_configure(megatron_config={"a": 1}, megatron_core="antigravity"), "Megatron"),
        (_configure(target_modules=["nothing"]), "no layers that an adapter can be put on"),
        (_configure(alora_invocation_tokens=[50]), "asks for alora_invocation_tokens, which is not followed here"),
        (lambda folder: (folder / "adapter_config.json").write_text("[]"), "expected an object"),
        (_rename_weight, "2 weights don't fit"),
        (_forget_weight, "1 weights don't fit"),
        (lambda folder: (folder / WEIGHTS_FILE).write_bytes(b"no"), "can't be read"),
        (lambda folder: (folder / WEIGHTS_FILE).unlink(), "can't be read"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "can't be read"),
        (lambda folder: (folder / RECIPE_FILE).write_text("[]"), "tells no base"),
        (lambda folder: (folder / RECIPE_FILE).write_text('{"base": {"source": "nano"}}'), "tells no base"),
        (lambda folder: (folder / RECIPE_FILE).unlink(), "recipe.json"),
    ],
)
def test_damaged_adapters_are_one_error(models, run, tmp_path, damage, message):
    folder = shutil.copytree(run / "adapter", tmp_path / "adapter")
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(models["qwen3_vl"], adapter=folder, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"r": 4.0},
        {"lora_alpha": 16.0},
        {"rank_pattern": {"q_proj": 4.0}},
        {"an_option_of_tomorrow": False, "its_strength": 0.5, "its_layers": None, "its_names": []},
        {"auto_mapping": {"unsloth_fixed": True}, "runtime_config": {"ephemeral_gpu_offload": True}},
    ],
)
def test_configs_that_mean_the_same_give_the_same_adapter(models, run, dataset, tmp_path, fields):
    folder = shutil.copytree(run / "adapter", tmp_path / "adapter")
    _configure(**fields)(folder)
    recipe = Recipe.from_json(json.loads((folder / RECIPE_FILE).read_text())["recipe"])
    ours, same = (
        _losses(load_model(models["qwen3_vl"], adapter=path, device="cpu"), dataset, recipe) for path in (run, folder)
    )
    assert ours.equal(same)


def test_prompts_are_the_ones_play_uses_and_the_goal_is_behind_the_shared_start(models, dataset, run):
    from vlm_agent.chat import render_prompt
    from vlm_agent.dataset.windows import prompt_input

    loaded = load_model(models["qwen3_vl"], device="cpu")
    store = open_dataset(dataset)
    recipe = Recipe.from_json(json.loads((run / "adapter" / RECIPE_FILE).read_text())["recipe"])
    size = (recipe.image_width_px, recipe.image_height_px)
    for window in store.windows("train"):
        trained = encode_window(loaded.encoder, window, recipe).encoded
        messages = render_prompt(prompt_input(window, recipe, store.frame(window)), recipe)
        played = loaded.encoder.encode_prompt(messages, [size])
        assert trained.input_ids[: len(played.input_ids)] == played.input_ids
        assert trained.input_ids[-1] == loaded.encoder.end_of_turn_id
    rows = _rows(loaded, store.windows("train"), recipe)
    assert all(row.num_windows == 2 for row in rows)
    shared = [row.tree.bounds[1] for row in rows]
    assert all(2 * part > len(row.ids) - part for part, row in zip(shared, rows, strict=True))


def test_without_validation_windows_the_last_weights_are_taken(models, tmp_path):
    data = write_dataset(tmp_path / "data", num_ticks=3, with_validation=False)
    result = train_adapter(data, load_model(models["qwen3_vl"], device="cpu"), CONFIG, tmp_path / "run")
    assert (result.best_step, result.best_loss) == (None, None)
    assert result.adapter.is_dir()


def test_a_run_that_another_process_trains_is_left_alone(tmp_path):
    with (tmp_path / LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="is being written by another process"):
            train_adapter(tmp_path / "dataset", None, TrainConfig(), tmp_path)
        with pytest.raises(BusyError, match="is being written by another process"):
            pretrain.run(PretrainConfig(out=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]
