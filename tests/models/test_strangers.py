"""Adapters, recipes and checkpoints of strangers: one line, within limits, and never another model."""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.decoding.tiny_prompts import make_prompt, recompute_logits
from tests.training.foreign import FACTORY, UNSLOTH, configure, write_foreign
from tests.training.synthetic import SPEC
from vlm_agent.chat import Recipe, make_recipe
from vlm_agent.errors import ConfigError, ModelError, VlmAgentError
from vlm_agent.models import bounded_child
from vlm_agent.models.adapter_configs import read_adapter_config
from vlm_agent.models.adapters import load_adapter
from vlm_agent.models.bounded_child import LimitError, run_bounded
from vlm_agent.models.checkpoints import find_checkpoint
from vlm_agent.models.loading import load_model, read_encoder
from vlm_agent.models.records import find_record, read_adapter_recipe
from vlm_agent.models.refusals import inspect_base
from vlm_agent.models.tiny import write_tiny_checkpoint

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("stranger") / "base", "qwen3_vl")


@pytest.fixture(scope="module")
def plain(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stranger") / "adapter"
    write_foreign(folder, base, ["q_proj", "v_proj"])
    return folder


@pytest.fixture
def adapter(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(plain, tmp_path / "adapter"))


def load(base: Path, folder: Path) -> Any:
    loaded = load_model(base, quantization="none", device="cpu")
    wrapped = load_adapter(loaded.model, folder)
    return replace(loaded, peft=wrapped)


def logits(loaded: Any) -> torch.Tensor:
    return recompute_logits(loaded, make_prompt(loaded, 1), (40,))


STARTS = ["olora", "pissa", "pissa_niter_4", "corda", "loftq", "lora_ga", "mica", "x", 5, ["olora"]]


@pytest.mark.parametrize("start", STARTS, ids=str)
def test_how_an_adapter_was_begun_is_never_done_again(adapter: Path, start: Any) -> None:
    configure(adapter, init_lora_weights=start)
    with pytest.raises(ModelError, match="would change the base"):
        read_adapter_config(adapter)


@pytest.mark.parametrize("start", [None, False, "gaussian", "eva", "orthogonal"])
def test_harmless_beginnings_change_nothing(base: Path, plain: Path, adapter: Path, start: Any) -> None:
    configure(adapter, init_lora_weights=start, corda_config={"corda_method": "ipm"}, eva_config={"rho": 2.0})
    assert read_adapter_config(adapter).init_lora_weights is True
    torch.testing.assert_close(logits(load(base, adapter)), logits(load(base, plain)), rtol=0, atol=0)


BAD: list[dict[str, Any]] = [
    *({"r": value} for value in (10**9, "x", -1, [4], True, 1e300)),
    *({"lora_alpha": value} for value in (1e308, "x", -1e12, True)),
    {"rank_pattern": {"q_proj": 10**9}},
    {"rank_pattern": {"q_proj": "x"}},
    {"alpha_pattern": {"q_proj": 1e300}},
    {"lora_dropout": "x"},
    {"peft_type": "PREFIX_TUNING"},
    {"peft_type": "X"},
    {"peft_type": ["LORA"]},
    {"target_modules": "(["},
    {"target_modules": "nothing.*"},
    {"target_modules": {"a": 1}},
    {"target_modules": 5},
    {"exclude_modules": "(.*"},
    {"modules_to_save": ["(a+)+$"]},
    {"modules_to_save": [5]},
    {"layers_to_transform": [0], "layers_pattern": "(a+)+"},
    {"layers_to_transform": "x"},
    {"layer_replication": [[0, 1], [0, 1]]},
    {"use_qalora": True},
    {"arrow_config": {"top_k": 1}},
    {"megatron_config": {"a": 1}},
    {"bias": "x"},
    {"trainable_token_indices": [10**8]},
]


@pytest.mark.parametrize("fields", BAD, ids=lambda fields: json.dumps(fields)[:60])
def test_configs_that_cant_be_are_one_line(base: Path, adapter: Path, fields: dict[str, Any]) -> None:
    configure(adapter, **fields)
    with pytest.raises(ModelError) as caught:
        load(base, adapter)
    assert "\n" not in str(caught.value)


HANGING = "([a-z_.0-9]+)+#"


@pytest.mark.parametrize(
    "fields",
    [
        {"target_modules": HANGING},
        {"rank_pattern": {HANGING: 3}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_expressions_that_do_not_end_are_stopped(
    base: Path, adapter: Path, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_child, "CPU_S", 1)
    configure(adapter, **fields)
    begun_s = time.monotonic()
    with pytest.raises(ModelError, match=f"its {next(iter(fields))} takes longer than 1 s"):
        load(base, adapter)
    assert time.monotonic() - begun_s < 30


@pytest.mark.parametrize("targets", [UNSLOTH, FACTORY, r".*\.(q|v)_proj", "all-linear"])
def test_expressions_mean_the_layers_that_peft_finds(base: Path, tmp_path: Path, targets: str) -> None:
    wrapped = write_foreign(tmp_path / "made", base, targets, rank_pattern={r".*layers\.[01]\..*q_proj": 3})
    want = {name for name, module in wrapped.named_modules() if hasattr(module, "lora_A")}
    loaded = load(base, tmp_path / "made")
    assert {name for name, module in loaded.peft.named_modules() if hasattr(module, "lora_A")} == want
    ranks = {tuple(module.r.values()) for module in loaded.peft.modules() if hasattr(module, "lora_A")}
    assert ranks == {(2,), (3,)}


def test_a_file_of_any_depth_or_size_is_one_line(adapter: Path) -> None:
    for text in ("[" * 10**6, '{"a":' * 10**5, "x" * 10, "5", '"a"', "[1]"):
        for name in ("adapter_config.json", "recipe.json"):
            (adapter / name).write_text(text)
        with pytest.raises(ModelError):
            read_adapter_config(adapter)
        with pytest.raises(ModelError):
            read_adapter_recipe(adapter)


def make_json() -> dict[str, Any]:
    return make_recipe(SPEC, image_width_px=96, image_height_px=64).to_json()


RECIPES: list[tuple[str, Any]] = [
    *(("image_width_px", value) for value in (10**6, math.inf, math.nan, "x", None, True, [5])),
    ("image_height_px", 10**6),
    ("steps", [["a"]]),
    ("steps", "ab"),
    ("steps", 5),
    ("long_goals", ["a"]),
    ("steps", ["a" * 10**7]),
    ("codec", 5),
    ("coordinates", "x"),
    ("history_ticks", 10**9),
    ("history_frames", 10**9),
    ("conversation_turns", 10**9),
    ("state_text_max_chars", 10**12),
    ("max_recent_actions", "x"),
    ("system", None),
    ("system", {"text": 5, "sha256": ""}),
    ("spec", 5),
    ("spec", {"keys": [f"key_{number}" for number in range(20_000)]}),
    ("spec", {"keys": [5]}),
    ("spec", {"horizon_ms": math.inf}),
    ("spec", {"horizon_ms": 10**12}),
    ("spec", {"max_actions": 10**9}),
    ("unknown", 1),
]


@pytest.mark.parametrize(("name", "value"), RECIPES, ids=lambda value: str(value)[:30])
def test_recipes_that_cant_be_are_one_line(name: str, value: Any) -> None:
    told = make_json()
    told[name] = {**told["spec"], **value} if name == "spec" and isinstance(value, dict) else value
    with pytest.raises(ConfigError):
        Recipe.from_json(told)


def test_a_recipe_is_read_again() -> None:
    assert Recipe.from_json(make_json()).to_json() == make_json()


@pytest.mark.parametrize(
    "part", [{"source": 5}, {"source": ["x"]}, {"fingerprint": 5}, {"quantization": "x"}, {"quantization": [4]}]
)
def test_bases_that_cant_be_are_one_line(adapter: Path, part: dict[str, Any]) -> None:
    told = {"source": "nano", "fingerprint": "0", "quantization": "nf4", **part}
    (adapter / "recipe.json").write_text(json.dumps({"recipe": make_json(), "base": told}))
    with pytest.raises(ModelError, match="the base's"):
        find_record(adapter)


def test_nothing_is_fetched_because_a_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(name: str, **options: Any) -> str:
        asked.append(options["local_files_only"])
        raise OSError(name)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(ModelError, match="run `hf download stranger/model`"):
        find_checkpoint("stranger/model", told_by=tmp_path)
    with pytest.raises(ModelError, match="the hub did not give it"):
        find_checkpoint("stranger/model")
    assert asked == [True, False]


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        ("text_config", "num_hidden_layers", 10**7),
        ("vision_config", "depth", 10**7),
        ("text_config", "vocab_size", 10**10),
        ("text_config", "hidden_size", 10**9),
        ("vision_config", "patch_size", 0),
        ("text_config", "num_attention_heads", 0),
    ],
)
def test_sizes_of_a_config_are_bounded(base: Path, tmp_path: Path, where: str, name: str, value: int) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    config = json.loads((folder / "config.json").read_text())
    config[where][name] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=f"{name} {value}: expected 1 to"):
        inspect_base(folder, "none")


TEMPLATES = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "doubling": "{% set n = namespace(s='a') %}{% for i in range(40) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "times": "{{ 'a' * 3000000000 }}",
    "long": "{{ 'a' * 3000000 }}",
    "power": "{{ 10 ** (10 ** 9) }}",
}


@pytest.mark.parametrize("text", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_templates_that_take_too_much_are_stopped(
    base: Path, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_child, "CPU_S", 1)
    monkeypatch.setattr(bounded_child, "MEMORY_BYTES", 1 << 28)
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    own = json.loads((folder / "tokenizer_config.json").read_text())
    if "chat_template" in own:
        (folder / "tokenizer_config.json").write_text(json.dumps({**own, "chat_template": own["chat_template"] + text}))
    for path in folder.glob("chat_template.jinja"):
        path.write_text(path.read_text() + text)
    with pytest.raises(ModelError, match=r"the chat template (takes longer|writes 3)"):
        read_encoder(folder)


def test_a_child_that_answers_is_heard(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import json, sys; print(json.dumps(json.load(sys.stdin) + [1]))")
    assert run_bounded(program, [0]) == [0, 1]
    program.write_text("raise SystemExit(3)")
    with pytest.raises(LimitError):
        run_bounded(program, [0])


def test_every_refusal_is_a_users(adapter: Path) -> None:
    (adapter / "adapter_config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(VlmAgentError):
        read_adapter_config(adapter)
