"""Adapters from elsewhere compute here what they compute in plain peft, once it is said how they are asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from tests.decoding.tiny_prompts import make_prompt, recompute_logits
from tests.training.foreign import (
    FACTORY,
    FACTORY_VISION,
    PLAIN,
    UNSLOTH,
    age,
    configure,
    keep_own_name,
    rename,
    write_foreign,
)
from tests.training.synthetic import SPEC
from vlm_agent.chat import make_recipe
from vlm_agent.errors import ModelError
from vlm_agent.evaluation.sides import find_side, match_sides
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.policies import VlmPolicy
from vlm_agent.training.planning.candidates import read_candidate

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("foreign")
    return {family: write_tiny_checkpoint(root / family, family) for family in ("qwen3_vl", "qwen2_5_vl")}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run whose base is gone; what it says is how a model is asked, whole."""
    folder = tmp_path_factory.mktemp("foreign-run") / "run"
    (folder / "adapter").mkdir(parents=True)
    recipe = make_recipe(SPEC, image_width_px=96, image_height_px=64)
    base = {"source": "/gone", "fingerprint": "0" * 64, "quantization": "none"}
    (folder / "adapter" / "recipe.json").write_text(json.dumps({"recipe": recipe.to_json(), "base": base}))
    return folder


def _check(wrapped, folder: Path, run: Path) -> None:
    loaded = load_model(folder, device="cpu", recipe=run)
    prompt = make_prompt(loaded, 1)
    want = recompute_logits(load_like(loaded, wrapped), prompt, (40,))
    with loaded.adapter_disabled():
        plain = recompute_logits(loaded, prompt, (40,))
    got = recompute_logits(loaded, prompt, (40,))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
    assert float((got - plain).abs().max()) > 0.01


def load_like(loaded, wrapped):
    from dataclasses import replace

    return replace(loaded, model=wrapped.get_base_model(), peft=wrapped)


@pytest.mark.parametrize(
    ("family", "targets", "options"),
    [
        ("qwen3_vl", PLAIN, {}),
        ("qwen3_vl", UNSLOTH, {"use_rslora": True}),
        ("qwen3_vl", FACTORY, {}),
        ("qwen3_vl", "all-linear", {"use_dora": True}),
        ("qwen3_vl", PLAIN, {"modules_to_save": ["lm_head", "embed_tokens"]}),
        ("qwen2_5_vl", PLAIN, {}),
        ("qwen2_5_vl", UNSLOTH, {}),
        ("qwen2_5_vl", FACTORY, {}),
        ("qwen2_5_vl", FACTORY_VISION, {"exclude_modules": r".*merger.*"}),
    ],
)
def test_adapters_of_other_tools_compute_what_peft_computes(bases, run, tmp_path, family, targets, options):
    folder = tmp_path / "adapter"
    wrapped = write_foreign(folder, bases[family], targets, **options)
    _check(wrapped, folder, run)
    rename(folder, keep_own_name)
    _check(wrapped, folder, run)


def _meant_by(pattern: str) -> str:
    return pattern.replace("visual.blocks", r"model\.visual\.blocks")


@pytest.mark.parametrize(
    ("told", "today", "options"),
    [
        (PLAIN, PLAIN, {}),
        # Written for names that begin with `visual`: the tower was left out, and is still.
        (FACTORY, _meant_by(FACTORY), {}),
        (
            r"model\.layers\.\d+\.self_attn\.[qv]_proj",
            r"model\.language_model\.layers\.\d+\.self_attn\.[qv]_proj",
            {"alpha_pattern": {r"model.layers.1.self_attn.q_proj": 64}},
        ),
    ],
)
def test_names_of_transformers_4_are_those_of_today(bases, run, tmp_path, told, today, options):
    folder = tmp_path / "adapter"
    now = {"alpha_pattern": {"model.language_model.layers.1.self_attn.q_proj": 64}} if options else {}
    wrapped = write_foreign(folder, bases["qwen2_5_vl"], today, **now)
    rename(folder, age)
    configure(folder, target_modules=told, **options)
    _check(wrapped, folder, run)


def test_a_text_models_adapter_is_no_adapter_of_qwen3_vl(bases, run, tmp_path):
    folder = tmp_path / "adapter"
    write_foreign(folder, bases["qwen3_vl"], r".*language_model.*\.q_proj")
    rename(folder, age)
    with pytest.raises(
        ModelError, match=r"weights don't fit, the first base_model.*put on .*can't be checked"
    ) as caught:
        load_model(folder, device="cpu", recipe=run)
    assert "\n" not in str(caught.value)


def test_without_a_recipe_the_message_says_how_to_give_one(bases, run, tmp_path):
    folder = tmp_path / "adapter"
    write_foreign(folder, bases["qwen3_vl"], PLAIN)
    for use in (
        lambda: load_model(folder, device="cpu"),
        lambda: VlmPolicy.from_run(folder, SPEC, device="cpu"),
        lambda: find_side(str(folder)),
        lambda: match_sides(str(bases["qwen3_vl"]), str(folder)),
        lambda: read_candidate(str(folder), "nf4"),
    ):
        with pytest.raises(ModelError, match=r"--recipe RUN \(the folder of a run.*--recipe FILE") as caught:
            use()
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="can be played and compared but not trained further"):
        load_model(folder, device="cpu", trainable=True)


def test_it_plays_and_is_compared_by_a_runs_recipe(bases, run, tmp_path):
    folder = tmp_path / "adapter"
    write_foreign(folder, bases["qwen3_vl"], PLAIN)
    for recipe in (run, run / "adapter", run / "adapter" / "recipe.json"):
        policy = VlmPolicy.from_run(folder, SPEC, recipe=recipe, device="cpu")
        [note] = policy.loaded.list_notes()
        assert f"put on {bases['qwen3_vl']}, named by its adapter_config.json" in note
        assert "can't be checked" in note
        assert policy.recipe.image_width_px == 96
        assert policy.loaded.quantization == "none"
    pair = match_sides(str(bases["qwen3_vl"]), str(folder), run)
    assert pair.tuned.list_notes() == [note]
    assert pair.dataset is None
    assert pair.tuned.to_json()["recipe_of"] == str(run)
    other = write_tiny_checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(ModelError, match="tuned from another base than --base"):
        match_sides(str(other), str(folder), run)


def test_the_recipes_base_stands_in_for_one_that_is_not_here(bases, run, tmp_path):
    folder = tmp_path / "adapter"
    write_foreign(folder, bases["qwen3_vl"], PLAIN)
    configure(folder, base_model_name_or_path="/content/Qwen3-VL")
    with pytest.raises(ModelError, match=r"its base is not here: .*'/content/Qwen3-VL', the recipe '/gone'; write"):
        load_model(folder, device="cpu", recipe=run)
    here = shutil.copytree(run, tmp_path / "run")
    path = here / "adapter" / "recipe.json"
    path.write_text(path.read_text().replace("/gone", str(bases["qwen3_vl"])))
    loaded = load_model(folder, device="cpu", recipe=here)
    assert "the recipe's base" in loaded.list_notes()[0]
    explicit = load_model(bases["qwen3_vl"], quantization="none", adapter=folder, device="cpu", recipe=run)
    assert explicit.source == loaded.source


@pytest.mark.parametrize(
    ("text", "message"), [("{", "missing or broken"), ("{}", "tells no recipe"), (None, "expected the folder of a run")]
)
def test_recipes_that_are_none_are_named(bases, tmp_path, text, message):
    folder = tmp_path / "adapter"
    write_foreign(folder, bases["qwen3_vl"], ["q_proj"])
    path = tmp_path / "recipe.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ModelError, match=message):
        load_model(folder, device="cpu", recipe=path)
    with pytest.raises(ModelError, match="is no adapter"):
        load_model(bases["qwen3_vl"], device="cpu", recipe=path)


def test_published_adapter_configs_are_read(bases, run, shared_data, tmp_path):
    for name, family in (
        ("adapter__unsloth-cvbcvbdfg-Qwen3-VL-8B", "qwen3_vl"),
        ("adapter__TING-lct-Qwen2.5-VL-7B", "qwen2_5_vl"),
    ):
        folder = tmp_path / name
        published = json.loads((shared_data / "checkpoints" / name / "adapter_config.json").read_text())
        wrapped = write_foreign(folder, bases[family], published["target_modules"], lora_alpha=published["lora_alpha"])
        configure(folder, **{**published, "r": 2, "base_model_name_or_path": str(bases[family])})
        _check(wrapped, folder, run)
