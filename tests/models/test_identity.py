"""Who a base is: every part that changes numbers is told apart by name; the same in other files is the same base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoTokenizer

from tests.training.synthetic import write_dataset
from vlm_agent.errors import ConfigError, ModelError
from vlm_agent.evaluation.sides import match_sides
from vlm_agent.models.identity import digest_config, digest_tokenizer, name_differences, read_identity
from vlm_agent.models.loading import load_model, read_encoder
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.adapters import train_adapter
from vlm_agent.training.config import EvaluationSettings, LoraSettings, TrainConfig
from vlm_agent.training.planning.candidates import read_candidate

pytestmark = pytest.mark.model

CONFIG = TrainConfig(lora=LoraSettings(rank=2), evaluation=EvaluationSettings(every_steps=0), max_steps=1)
FULL = TrainConfig(full=True, evaluation=EvaluationSettings(every_steps=0), max_steps=1)

Change = Callable[[Path], None]


def _edit(name: str, change: Callable[[dict[str, Any]], Any]) -> Change:
    def edit(folder: Path) -> None:
        path = folder / name
        value = json.loads(path.read_text(encoding="utf-8"))
        change(value)
        path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")

    return edit


def _text(**fields: Any) -> Change:
    return _edit("config.json", lambda config: config["text_config"].update(fields))


def _rope(**fields: Any) -> Change:
    return _edit("config.json", lambda config: config["text_config"]["rope_parameters"].update(fields))


def _vision(**fields: Any) -> Change:
    return _edit("config.json", lambda config: config["vision_config"].update(fields))


def _pictures(**fields: Any) -> Change:
    return _edit("preprocessor_config.json", lambda config: config.update(fields))


def _template(before: str = "", behind: str = "") -> Change:
    def edit(folder: Path) -> None:
        path = folder / "chat_template.jinja"
        path.write_text(before + path.read_text() + behind)

    return edit


def _shorten_merges(tokenizer: dict[str, Any]) -> None:
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:-3]


def _swap_words(tokenizer: dict[str, Any]) -> None:
    words = tokenizer["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]


def _shown_token(tokenizer: dict[str, Any]) -> None:
    tokenizer["added_tokens"][-1]["special"] = False


def _strip_around(tokenizer: dict[str, Any]) -> None:
    for token in tokenizer["added_tokens"]:
        token["lstrip"] = token["rstrip"] = True


CHANGES = {
    "rope theta": (_rope(rope_theta=500_000.0), "config"),
    "rope sections": (_rope(mrope_section=[2, 4, 2]), "config"),
    "rms norm": (_text(rms_norm_eps=1e-3), "config"),
    "activation": (_text(hidden_act="gelu"), "config"),
    "deepstack order": (_vision(deepstack_visual_indexes=[1, 0]), "config"),
    "vision activation": (_vision(hidden_act="relu"), "config"),
    "mean": (_pictures(image_mean=[0.4, 0.5, 0.5]), "picture settings"),
    "std": (_pictures(image_std=[0.5, 0.5, 0.25]), "picture settings"),
    "fewest pixels": (_pictures(size={"shortest_edge": 131_072, "longest_edge": 16_777_216}), "picture settings"),
    "most pixels": (_pictures(size={"shortest_edge": 65_536, "longest_edge": 1_048_576}), "picture settings"),
    "default system text": (_template("<|im_start|>system\nYou are kind.<|im_end|>\n"), "chat template"),
    "thought": (_template(behind="{%- if add_generation_prompt %}{{- '<think>\n' }}{%- endif %}"), "chat template"),
    "merges": (_edit("tokenizer.json", _shorten_merges), "tokenizer"),
    "swapped words": (_edit("tokenizer.json", _swap_words), "tokenizer"),
    "token that is shown": (_edit("tokenizer.json", _shown_token), "tokenizer"),
    "stripping tokens": (_edit("tokenizer.json", _strip_around), "tokenizer"),
    "normalizer": (_edit("tokenizer.json", lambda t: t.update(normalizer={"type": "Lowercase"})), "tokenizer"),
    "no split of digits": (
        _edit("tokenizer.json", lambda t: t.update(pre_tokenizer=t["pre_tokenizer"]["pretokenizers"][-1])),
        "tokenizer",
    ),
}
"""What may change under an adapter without its weights, and what that is called."""

SAME = {
    "saved by": _edit("config.json", lambda config: config.update(transformers_version="4.57.0", _name_or_path="/old")),
    "dtype": _edit("config.json", lambda config: config.update(torch_dtype="bfloat16", dtype="bfloat16")),
    "architectures": _edit("config.json", lambda config: config.update(architectures=["X", "Y"])),
    "unknown": _edit("config.json", lambda config: config.update(unsloth_fixed=True)),
    "padding token": _text(pad_token_id=7),
    "rope as it was spelled": _rope(type="mrope", rope_type="mrope"),
    "numbers as they were spelled": _rope(rope_theta=10_000),
    "batches": _edit("tokenizer.json", lambda t: t.update(padding=None, truncation=None)),
    "around a text": _edit("tokenizer.json", lambda t: t.update(post_processor=None)),
    "pixels by older names": _edit(
        "preprocessor_config.json", lambda c: c.update(min_pixels=65_536, max_pixels=16_777_216)
    ),
    "order": _edit("config.json", lambda config: [config.update({name: config.pop(name)}) for name in sorted(config)]),
    "generation": lambda folder: (folder / "generation_config.json").write_text('{"temperature": 0.1}'),
}
"""Files that say the same otherwise."""


def identify(folder: Path):
    return read_identity(folder, read_encoder(folder))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("identity") / "base")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("identity-data") / "dataset", num_ticks=3, with_validation=False)


@pytest.fixture(scope="module")
def run(base, dataset, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("identity-runs") / "run"
    train_adapter(dataset, load_model(base, device="cpu"), CONFIG, out)
    return out


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_numbers_is_another_base(base, run, dataset, tmp_path, name):
    change, part = CHANGES[name]
    folder = shutil.copytree(base, tmp_path / "changed")
    change(folder)
    before, now = identify(base).digests, identify(folder).digests
    assert name_differences(before, now) == part
    tuned = shutil.copytree(run, tmp_path / "run")
    recipe = tuned / "adapter" / "recipe.json"
    recipe.write_text(recipe.read_text().replace(json.dumps(str(base)), json.dumps(str(folder))))
    with pytest.raises(ModelError, match=f"adapter of another base: made for .*, and the {part} here (is|are) not"):
        load_model(tuned, device="cpu")
    with pytest.raises(ModelError, match=f"and the {part} here"):
        read_candidate(str(tuned), "nf4")
    with pytest.raises(ModelError, match=f"the {part} of --base (is|are) not what it was trained with"):
        match_sides(str(folder), str(run))


@pytest.mark.parametrize("name", ["rms norm", "merges", "mean", "default system text"])
def test_a_run_is_not_gone_on_with_on_another_base(base, run, dataset, tmp_path, name):
    change, part = CHANGES[name]
    folder = shutil.copytree(base, tmp_path / "changed")
    change(folder)
    with pytest.raises(ConfigError, match=rf"holds a run on another base \(other {part}\)"):
        train_adapter(dataset, load_model(folder, device="cpu"), CONFIG, run)


def test_several_parts_are_named_together(base, run, tmp_path):
    folder = shutil.copytree(base, tmp_path / "changed")
    for name in ("merges", "default system text", "mean"):
        CHANGES[name][0](folder)
    with pytest.raises(ModelError, match="the tokenizer, chat template and picture settings here are not") as caught:
        load_model(folder, adapter=run, device="cpu")
    assert "\n" not in str(caught.value)
    weights = load_file(folder / "model.safetensors")
    save_file({name: value + 1e-3 for name, value in weights.items()}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="the weights, tokenizer, chat template and picture settings here"):
        load_model(folder, adapter=run, device="cpu")


@pytest.mark.parametrize("name", SAME)
def test_the_same_in_other_files_is_the_same_base(base, run, tmp_path, name):
    folder = shutil.copytree(base, tmp_path / "same")
    SAME[name](folder)
    assert identify(folder) == identify(base)
    if name == "saved by":
        assert load_model(folder, adapter=run, device="cpu").adapter is not None


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl"])
def test_a_checkpoint_saved_anew_is_the_same_base(tmp_path, family):
    folder = write_tiny_checkpoint(tmp_path / "base", family)
    again = shutil.copytree(folder, tmp_path / "again")
    loaded = load_model(folder, quantization="none", device="cpu")
    loaded.model.config.save_pretrained(again)
    (again / "chat_template.jinja").unlink()
    loaded.tokenizer.save_pretrained(again)
    assert identify(again) == identify(folder)
    assert read_encoder(again).images == loaded.encoder.images


def test_published_configs_saved_by_this_transformers_are_the_same(shared_data, tmp_path):
    folders = sorted(path for path in (shared_data / "checkpoints").glob("Qwen__Qwen*VL*") if path.is_dir())
    assert len(folders) == 4
    digests = set()
    for folder in folders:
        AutoConfig.from_pretrained(folder).save_pretrained(tmp_path / folder.name)
        assert digest_config(tmp_path / folder.name) == digest_config(folder)
        digests.add(digest_config(folder))
    assert len(digests) == 4


def test_older_records_are_held_against_the_weights_and_that_is_told(base, run, tmp_path):
    tuned = shutil.copytree(run, tmp_path / "run")
    path = tuned / "adapter" / "recipe.json"
    record = json.loads(path.read_text())
    assert load_model(tuned, device="cpu").list_notes() == []
    del record["base"]["identity"], record["base"]["template"]
    path.write_text(json.dumps(record))
    [note] = load_model(tuned, device="cpu").list_notes()
    assert "its base was held against its weights alone" in note
    assert "\n" not in note
    record["base"]["fingerprint"] = "0" * 64
    path.write_text(json.dumps(record))
    with pytest.raises(ModelError, match="the weights here are not"):
        load_model(tuned, device="cpu")


def test_an_older_run_is_gone_on_with(base, run, dataset, tmp_path):
    old = shutil.copytree(run, tmp_path / "run")
    record = json.loads((old / "run.json").read_text())
    del record["base"]["identity"], record["base"]["template"]
    (old / "run.json").write_text(json.dumps(record))
    assert train_adapter(dataset, load_model(base, device="cpu"), CONFIG, old).num_steps == 1


def test_a_fully_tuned_model_keeps_what_it_was_saved_with(base, dataset, tmp_path):
    train_adapter(dataset, load_model(base, quantization="none", device="cpu"), FULL, tmp_path / "run")
    tuned = tmp_path / "run"
    assert load_model(tuned, device="cpu").list_notes() == []
    for name in ("mean", "rms norm", "merges"):
        changed = shutil.copytree(tuned, tmp_path / name)
        CHANGES[name][0](changed / "model")
        with pytest.raises(ModelError, match=f"its {CHANGES[name][1]} (is|are) not what it was saved with"):
            load_model(changed, device="cpu")
        with pytest.raises(ModelError, match=f"its {CHANGES[name][1]} (is|are) not what it was saved with"):
            read_candidate(str(changed), "none")


def test_special_tokens_that_are_split_are_another_tokenizer(base):
    plain = AutoTokenizer.from_pretrained(base)
    split = AutoTokenizer.from_pretrained(base, split_special_tokens=True)
    if plain("<|im_end|>")["input_ids"] == split("<|im_end|>")["input_ids"]:
        pytest.skip("this tokenizer never splits them")
    assert digest_tokenizer(plain) != digest_tokenizer(split)
