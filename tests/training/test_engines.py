"""Engines: which one trains, and that the folder of each is the same; Unsloth stands here as a module that records."""

from __future__ import annotations

import itertools
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen3VLForConditionalGeneration

from tests.training.synthetic import write_dataset
from vlm_agent.errors import ConfigError, ModelError
from vlm_agent.models.adapters import RECIPE_FILE, TARGET_MODULES, WEIGHTS_FILE
from vlm_agent.models.loading import load_model
from vlm_agent.models.quantized import prepare_4bit_layers
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training import engines, trl_engine
from vlm_agent.training.adapters import train_adapter
from vlm_agent.training.config import EvaluationSettings, LoraSettings, TrainConfig
from vlm_agent.training.engines import check_layout, pick_engine
from vlm_agent.training.loop import Material
from vlm_agent.training.metrics import METRICS_FILE, MetricsLog
from vlm_agent.training.passes import MeasuredLoss
from vlm_agent.training.trl_engine import can_run

pytestmark = pytest.mark.model

FAMILIES = ["qwen3_vl", "qwen2_5_vl"]
RUNS_TRL = can_run(torch.device("cpu"))
ENGINES = ["hf", "trl"] if RUNS_TRL else ["hf"]
needs_trl = pytest.mark.skipif(not RUNS_TRL, reason="this TRL computes its loss on cards alone")
EPOCH_A_STEP = TrainConfig(
    lora=LoraSettings(rank=4, dropout=0.0),
    evaluation=EvaluationSettings(every_steps=2),
    layout="rows",
    batch_windows=3,
    accumulation=100,
    learning_rate=1e-2,
    epochs=4,
)
"""All windows in every step, so that their order does not matter."""


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("engines")
    return {family: write_tiny_checkpoint(root / family, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("engines-data") / "dataset", num_ticks=6)


def _train(dataset, model, out, engine, config=EPOCH_A_STEP, **loading):
    return train_adapter(dataset, load_model(model, device="cpu", **loading), replace(config, engine=engine), out)


def _losses(out: Path) -> list[float]:
    return [line.get("loss", line.get("eval_loss")) for line in MetricsLog(out / METRICS_FILE).read()]


@pytest.fixture(scope="module")
def runs(models, dataset, tmp_path_factory) -> dict[tuple[str, str], Path]:
    root = tmp_path_factory.mktemp("engine-runs")
    found = {}
    for family, engine in itertools.product(FAMILIES, ENGINES):
        found[family, engine] = root / f"{family}-{engine}"
        _train(dataset, models[family], found[family, engine], engine)
    return found


@needs_trl
@pytest.mark.parametrize("family", FAMILIES)
def test_trl_learns_the_same_from_the_same_windows(runs, family):
    ours, theirs = _losses(runs[family, "hf"]), _losses(runs[family, "trl"])
    assert len(ours) == 4 + 3
    assert theirs == pytest.approx(ours, rel=2e-3)
    assert ours[-1] < 0.9 * ours[0]


@needs_trl
@pytest.mark.parametrize("family", FAMILIES)
def test_the_folder_is_the_same_whatever_the_engine(models, runs, family):
    ours, theirs = (runs[family, engine] / "adapter" for engine in ("hf", "trl"))
    assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}
    left, right = (load_file(folder / WEIGHTS_FILE) for folder in (ours, theirs))
    assert {name: value.shape for name, value in left.items()} == {name: value.shape for name, value in right.items()}
    configs = [json.loads((folder / "adapter_config.json").read_text()) for folder in (ours, theirs)]
    assert configs[0] == configs[1]
    records = [json.loads((folder / RECIPE_FILE).read_text()) for folder in (ours, theirs)]
    assert records[0]["recipe"] == records[1]["recipe"]
    assert [record["config"]["engine"] for record in records] == ["hf", "trl"]
    plain = load_model(models[family], device="cpu").model
    wrapped = PeftModel.from_pretrained(plain, theirs)
    assert load_model(runs[family, "trl"], device="cpu").adapter == theirs.resolve()
    assert any(float(value.abs().max()) > 0 for name, value in wrapped.named_parameters() if "lora_B" in name)


@needs_trl
def test_a_finished_run_of_trl_does_nothing_more_and_one_that_was_cut_off_begins_anew(models, dataset, runs, tmp_path):
    config = replace(EPOCH_A_STEP, save_every_steps=1)

    class CutError(Exception):
        pass

    class CutAt:
        def on_begin(self, *_):
            pass

        def on_evaluation(self, *_, **__):
            pass

        def on_step(self, step, *_):
            if step == 3:
                raise CutError

    loaded = load_model(models["qwen3_vl"], device="cpu")
    with pytest.raises(CutError):
        train_adapter(dataset, loaded, replace(config, engine="trl"), tmp_path / "run", watcher=CutAt())
    result = _train(dataset, models["qwen3_vl"], tmp_path / "run", "trl", config)
    assert _losses(tmp_path / "run") == pytest.approx(_losses(runs["qwen3_vl", "trl"]), rel=1e-6)
    before = (tmp_path / "run" / METRICS_FILE).read_bytes()
    again = _train(dataset, models["qwen3_vl"], tmp_path / "run", "trl", config)
    assert (tmp_path / "run" / METRICS_FILE).read_bytes() == before
    assert again.best_loss == result.best_loss


@needs_trl
def test_trl_says_when_the_loss_is_no_number(models, dataset, tmp_path):
    config = replace(EPOCH_A_STEP, learning_rate=1e30, max_grad_norm=1e30, evaluation=EvaluationSettings(every_steps=0))
    with pytest.raises(ModelError, match=r"lost its footing at step \d \(loss nan") as caught:
        _train(dataset, models["qwen3_vl"], tmp_path / "run", "trl", config)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "adapter").exists()


def test_a_trl_that_needs_a_card_is_one_line(models, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(trl_engine, "can_run", lambda device: False)
    with pytest.raises(ConfigError, match="this TRL needs a CUDA card"):
        _train(dataset, models["qwen3_vl"], tmp_path / "run", "trl")
    assert not (tmp_path / "run").exists()


@needs_trl
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"weigh": "windows"}, "--train.weigh"),
        ({"field_weights": ("x=2",)}, "--train.field-weights"),
        ({"batch_tokens": 4000}, "--train.batch-tokens"),
        ({"layout": "shared"}, "--train.layout must be rows"),
    ],
)
def test_what_trl_has_no_like_of_is_refused(models, dataset, tmp_path, changes, told):
    with pytest.raises(ConfigError, match=told):
        _train(dataset, models["qwen3_vl"], tmp_path / "run", "trl", replace(EPOCH_A_STEP, **changes))
    assert not (tmp_path / "run").exists()


VLLM_PREFIXES = {
    "qwen3_vl": {
        "model.visual.": "visual.",
        "lm_head.": "language_model.lm_head.",
        "model.language_model.": "language_model.model.",
    },
    "qwen2_5_vl": {
        "model.language_model.": "language_model.model.",
        "visual.": "visual.",
        "lm_head.": "language_model.lm_head.",
        "model.": "language_model.model.",
    },
}
"""How vLLM renames weights of each generation (`hf_to_vllm_mapper` in vllm/model_executor/models/qwen3_vl.py and
qwen2_5_vl.py): the first prefix that fits."""
VLLM_LAYERS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
"""The parts of its linear layers that vLLM takes adapters for (its `packed_modules_mapping` unpacked)."""
VLLM_MODULE = re.compile(r"language_model\.model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj")


def _name_in_vllm(name: str, family: str) -> str:
    """Return the module that vLLM finds for a weight (`parse_fine_tuned_lora_name` in vllm/lora/utils.py)."""
    assert name.startswith("base_model.model.")
    name = name.removeprefix("base_model.model.")
    for old, new in VLLM_PREFIXES[family].items():
        if name.startswith(old):
            name = new + name.removeprefix(old)
            break
    module, factor, weight = name.rsplit(".", 2)
    assert factor in ("lora_A", "lora_B")
    assert weight == "weight"
    return module


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_have_names_that_vllm_takes(runs, family, engine):
    folder = runs[family, engine] / "adapter"
    modules = [_name_in_vllm(name, family) for name in load_file(folder / WEIGHTS_FILE)]
    assert len(modules) == 2 * 7 * 3
    assert all(VLLM_MODULE.fullmatch(module) for module in modules)
    assert {module.rsplit(".", 1)[1] for module in modules} == VLLM_LAYERS
    # What its PEFTHelper refuses (vllm/lora/peft_helper.py).
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["bias"] == "none"
    assert not config["modules_to_save"]
    assert not config["use_dora"]
    assert config["r"] <= 64


# Unsloth can't run on a CPU: these tests tell what it is asked for, not that it works.


class FastVisionModel:
    """Does with transformers and peft what Unsloth is asked to do, and records it."""

    asked: dict

    @classmethod
    def from_pretrained(cls, model_name, **options):
        cls.asked["load"] = {"model_name": model_name, **options}
        passed = {name: options[name] for name in ("dtype", "attn_implementation", "local_files_only")}
        if "quantization_config" in options:
            passed["quantization_config"] = options["quantization_config"]
        kinds = {"qwen3_vl": Qwen3VLForConditionalGeneration, "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration}
        model_type = json.loads((Path(model_name) / "config.json").read_text())["model_type"]
        model = kinds[model_type].from_pretrained(model_name, **passed)
        prepare_4bit_layers(model, options["dtype"], torch.device("cpu"))
        return model, object()

    @classmethod
    def get_peft_model(cls, model, **options):
        cls.asked["adapt"] = options
        torch.manual_seed(options["random_state"])
        names = {
            "r": "r",
            "lora_alpha": "lora_alpha",
            "lora_dropout": "lora_dropout",
            "target_modules": "target_modules",
        }
        config = LoraConfig(**{name: options[key] for key, name in names.items()}, task_type="CAUSAL_LM")
        return get_peft_model(model, config)


@pytest.fixture
def unsloth(monkeypatch):
    module = ModuleType("unsloth")
    FastVisionModel.asked = {}
    module.FastVisionModel = FastVisionModel
    monkeypatch.setitem(sys.modules, "unsloth", module)
    return FastVisionModel


@pytest.mark.parametrize("family", FAMILIES)
def test_through_unsloth_the_same_weights_are_trained_by_the_same_loop(
    models, dataset, runs, unsloth, tmp_path, family
):
    result = _train(dataset, models[family], tmp_path / "run", "auto", library="unsloth")
    assert result.engine == "unsloth"
    asked = unsloth.asked
    assert asked["load"]["model_name"] == str(models[family])
    assert asked["load"]["load_in_4bit"]
    assert asked["load"]["use_exact_model_name"]
    assert asked["load"]["quantization_config"].bnb_4bit_quant_type == "nf4"
    assert asked["adapt"]["target_modules"] == TARGET_MODULES
    assert not asked["adapt"]["finetune_vision_layers"]
    assert asked["adapt"]["use_gradient_checkpointing"] == "unsloth"
    assert {key: asked["adapt"][key] for key in ("r", "lora_alpha", "lora_dropout", "random_state")} == {
        "r": 4, "lora_alpha": 16, "lora_dropout": 0.0, "random_state": 0
    }  # fmt: skip
    # The same start from the same seed, so that all losses must be the same.
    assert _losses(tmp_path / "run") == pytest.approx(_losses(runs[family, "hf"]), rel=1e-4)
    ours, theirs = (folder / "adapter" for folder in (runs[family, "hf"], tmp_path / "run"))
    assert load_file(ours / WEIGHTS_FILE).keys() == load_file(theirs / WEIGHTS_FILE).keys()
    assert json.loads((theirs / RECIPE_FILE).read_text())["config"]["engine"] == "unsloth"
    assert load_model(tmp_path / "run", device="cpu").adapter == theirs.resolve()


def test_a_run_goes_on_with_its_own_engine_alone(models, dataset, unsloth, tmp_path):
    short = replace(EPOCH_A_STEP, max_steps=1)
    _train(dataset, models["qwen3_vl"], tmp_path / "run", "hf", short)
    with pytest.raises(ConfigError, match=r"config\.engine"):
        _train(dataset, models["qwen3_vl"], tmp_path / "run", "unsloth", short, library="unsloth")
    with pytest.raises(ConfigError, match="was loaded for hf"):
        _train(dataset, models["qwen3_vl"], tmp_path / "run", "unsloth", short)


def test_unsloth_keeps_torchs_dropout_drawn_anew_for_every_pass_from_the_seed(models, dataset, unsloth, tmp_path):
    config = replace(EPOCH_A_STEP, lora=LoraSettings(rank=4, dropout=0.3), max_steps=2)
    for name in ("one", "two"):
        _train(dataset, models["qwen3_vl"], tmp_path / name, "auto", config, library="unsloth")
        torch.rand(7)  # the state that all share is somewhere else
    assert _losses(tmp_path / "one") == _losses(tmp_path / "two")


def test_what_unsloth_says_is_one_line(models, unsloth, monkeypatch):
    def refuse(model_name, **options):
        raise RuntimeError("no kernel image\nfor this card")

    monkeypatch.setattr(unsloth, "from_pretrained", refuse)
    with pytest.raises(ModelError, match=r"Unsloth can't load it: no kernel image$"):
        load_model(models["qwen3_vl"], device="cpu", library="unsloth")


def test_layers_that_let_windows_see_each_other_are_found(monkeypatch):
    losses = iter([1.0, 1.3])
    monkeypatch.setattr("vlm_agent.training.passes.measure_loss", lambda *_: MeasuredLoss(next(losses), {}))
    monkeypatch.setattr("vlm_agent.training.batches.lay_out", lambda rows, layout: rows)
    with pytest.raises(ConfigError, match=r"--train\.layout packed.*use --train\.layout rows"):
        check_layout(None, Material([], [], None, "packed"))
    check_layout(None, Material([], [], None, "rows"))


@pytest.mark.parametrize(
    ("asked", "device", "has_card", "is_installed", "want"),
    [
        ("auto", "auto", False, False, "hf"),
        ("auto", "auto", False, True, "hf"),
        ("auto", "auto", True, False, "hf"),
        ("auto", "auto", True, True, "unsloth"),
        ("auto", "cpu", True, True, "hf"),
        ("unsloth", "cuda", True, True, "unsloth"),
        ("hf", "cuda", True, True, "hf"),
        ("trl", "cuda", True, True, "trl"),
    ],
)
def test_which_engine_it_is(monkeypatch, asked, device, has_card, is_installed, want):
    _pretend(monkeypatch, has_card=has_card, is_installed=is_installed)
    assert pick_engine(asked, device) == want


@pytest.mark.parametrize(
    ("has_card", "is_installed", "told"),
    [(True, False, r"not installed; pip install .*vlm-agent\[gpu\]"), (False, True, "needs a CUDA card")],
)
def test_unsloth_where_it_cannot_be_had_is_one_line(monkeypatch, has_card, is_installed, told):
    _pretend(monkeypatch, has_card=has_card, is_installed=is_installed)
    with pytest.raises(ConfigError, match=told) as caught:
        pick_engine("unsloth", "auto")
    assert "\n" not in str(caught.value)


def test_an_unsloth_that_cannot_be_imported_is_one_line(monkeypatch):
    _pretend(monkeypatch, has_card=True, is_installed=True)

    def refuse(name):
        raise NotImplementedError("this torch is of another build\nand more")

    monkeypatch.setattr(engines.importlib, "import_module", refuse)
    with pytest.raises(ConfigError, match=r"can't be imported \(this torch is of another build\)"):
        pick_engine("unsloth", "cuda")


def test_full_training_is_the_business_of_one_engine(monkeypatch):
    _pretend(monkeypatch, has_card=True, is_installed=True)
    assert pick_engine("auto", "cuda", full=True) == "hf"
    for engine in ("unsloth", "trl"):
        with pytest.raises(ConfigError, match=r"--train\.full needs --train\.engine hf"):
            TrainConfig(engine=engine, full=True)
        with pytest.raises(ConfigError, match=r"--train\.shard needs --train\.engine hf"):
            TrainConfig(engine=engine, shard=True)


def _pretend(monkeypatch, *, has_card: bool, is_installed: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_card)
    monkeypatch.delitem(sys.modules, "unsloth", raising=False)
    if is_installed:
        monkeypatch.setitem(sys.modules, "unsloth", ModuleType("unsloth"))
    else:
        monkeypatch.setattr(engines.importlib.util, "find_spec", lambda name: None)
