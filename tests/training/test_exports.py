"""`vlm-agent export`: what Arrow, Qwen's templates, Qwen's tools and TRL make of it is what our own training sees."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import jinja2
import numpy as np
import pytest
import torch
from PIL import Image
from trl.data_utils import prepare_multimodal_messages

from tests.training.planning.bare_models import copy_bare
from tests.training.synthetic import write_dataset
from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.types import Click
from vlm_agent.chat import Recipe
from vlm_agent.cli import run_command
from vlm_agent.dataset.pictures import frame_path
from vlm_agent.dataset.store import open_dataset
from vlm_agent.dataset.windows import target_chunk
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.exports import ask_split
from vlm_agent.training.trl_engine import can_run, make_processor
from vlm_agent.training.windows import FrameLoader

pytestmark = pytest.mark.model
needs_trl = pytest.mark.skipif(not can_run(torch.device("cpu")), reason="this TRL computes its loss on cards alone")

# The rule of Qwen3-VL's own template that makes the trap: any block with an `image` key is a picture.
QWEN_TEMPLATE = jinja2.Template(
    "{%- for message in messages -%}{{ '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.content is string -%}{{ message.content }}{%- else -%}{%- for content in message.content -%}"
    "{%- if content.type == 'image' or 'image' in content or 'image_url' in content -%}<|image_pad|>"
    "{%- elif 'text' in content -%}{{ content.text }}{%- endif -%}{%- endfor -%}{%- endif -%}"
    "{{ '<|im_end|>\n' }}{%- endfor -%}"
)
STATE = {"chat": ['{"actions": []}', "four rings"]}


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_5_vl"])
def model(request, tmp_path_factory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("export") / "tiny", request.param)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("export-data") / "dataset", num_ticks=4, state=STATE)


@pytest.fixture(scope="module", params=["messages", "prompt-completion"])
def exported(request, model, dataset, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "export"
    bare = copy_bare(model, out.parent / "bare")  # no weights are needed
    line = ["export", "--dataset", str(dataset), "--out", str(out), "--model", str(bare), "--format", request.param]
    run_command([*line, "--recipe.history-frames", "2"])
    return out


def _read_recipe(out: Path) -> Recipe:
    return Recipe.from_json(json.loads((out / "recipe.json").read_text())["recipe"])


def _load(out: Path, split: str = "train") -> datasets.Dataset:
    """As a user of `datasets` would."""
    rows = datasets.load_dataset(
        "json", data_files=str(out / f"{split}.jsonl"), cache_dir=str(out.parent), split="train"
    )
    return rows.cast_column("images", datasets.Sequence(datasets.Image()))


def _turns(row: dict) -> list[dict]:
    return row["messages"] if "messages" in row else row["prompt"] + row["completion"]


def test_rows_are_asked_and_answered_as_training_asks_after_arrow_too(exported, dataset):
    store, recipe = open_dataset(dataset), _read_recipe(exported)
    plain = [json.loads(line) for line in (exported / "train.jsonl").read_text().splitlines()]
    windows = list(store.windows("train"))
    for rows in (plain, _load(exported), datasets.Dataset.from_list(plain)):
        assert len(rows) == len(windows) > 2
        for row, asked, window in zip(rows, ask_split(store, "train", recipe), windows, strict=True):
            said = {"role": "assistant", "content": [{"type": "text", "text": asked.answer}]}
            for got, want in zip(_turns(row), [*asked.messages, said], strict=True):
                assert got["role"] == want["role"]
                assert all("image" not in block for block in got["content"])
                assert [block.get("text") for block in got["content"]] == [one.get("text") for one in want["content"]]
            text = QWEN_TEMPLATE.render(messages=_turns(row))
            assert text == QWEN_TEMPLATE.render(messages=[*asked.messages, said])
            assert text.count("<|image_pad|>") == len(row["images"])
            answer = _turns(row)[-1]["content"][0]["text"]
            assert make_codec("json").decode(answer, recipe.spec) == target_chunk(window, recipe)
    assert len(_load(exported, "validation")) == len(store.windows("validation"))


def test_points_fit_the_pictures_that_rows_name(exported, dataset):
    store, recipe = open_dataset(dataset), _read_recipe(exported)
    load, clicked = FrameLoader(store.folder, recipe), 0
    size = (recipe.image_width_px, recipe.image_height_px)
    lines = (exported / "train.jsonl").read_text().splitlines()
    for line, window, asked in zip(lines, store.windows("train"), ask_split(store, "train", recipe), strict=True):
        row = json.loads(line)
        assert row["image_sizes"] == [list(size)] * len(row["images"])
        for path, frame_id in zip(row["images"], asked.frame_ids, strict=True):
            assert Path(path).parent == exported / "pictures"
            assert np.array_equal(np.asarray(Image.open(path)), load(frame_id))
        extent = size if recipe.coordinates == "pixels" else (1000, 1000)
        assert (recipe.spec.extent_width, recipe.spec.extent_height) == extent
        for said, meant in zip(
            make_codec("json").decode(asked.answer, recipe.spec).actions, window.target.actions, strict=True
        ):
            if isinstance(meant, Click):
                clicked += 1
                assert (said.x + 0.5) / extent[0] == pytest.approx((meant.x + 0.5) / window.frame_width_px, abs=0.01)
                assert (said.y + 0.5) / extent[1] == pytest.approx((meant.y + 0.5) / window.frame_height_px, abs=0.01)
    assert clicked


def test_qwen_s_own_tools_show_the_pictures_at_the_size_of_ours(exported, model, qwen_vl_utils):
    recipe, images = _read_recipe(exported), load_model(model, quantization="none", device="cpu").encoder.images
    for row in _load(exported):
        filled = prepare_multimodal_messages(_turns(row), images=row["images"])
        pictures, videos = qwen_vl_utils.process_vision_info(filled, image_patch_size=images.patch_px)
        assert videos is None
        for picture, before in zip(pictures, row["images"], strict=True):
            assert picture.size == before.size == (recipe.image_width_px, recipe.image_height_px)
            assert picture.tobytes() == before.convert("RGB").tobytes()
            assert images.fit_size(*picture.size) == picture.size


@needs_trl
def test_trl_trains_on_the_loaded_rows(exported, model, tmp_path):
    import trl

    loaded = load_model(model, quantization="none", device="cpu")
    config = trl.SFTConfig(
        output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=2, max_length=None, learning_rate=1e-3,
        report_to=[], save_strategy="no", logging_steps=1, use_cpu=True, bf16=False, disable_tqdm=True,
    )  # fmt: skip
    losses = []
    loaded.model.requires_grad_(True)
    trainer = trl.SFTTrainer(
        loaded.model, config, train_dataset=_load(exported), processing_class=make_processor(loaded)
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2
    assert all(np.isfinite(losses))


def test_an_export_is_whole_or_not_there(model, dataset, tmp_path):
    line = ["export", "--dataset", str(dataset), "--out", str(tmp_path / "out"), "--model", str(model)]
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        run_command(line)
    (tmp_path / "out").rmdir()
    store = open_dataset(dataset)
    broken = frame_path(store.folder, store.windows("train")[1].frame_id)
    whole = broken.read_bytes()
    broken.write_bytes(whole[:100])
    try:
        with pytest.raises(DataError, match="can't be read"):
            run_command(line)
    finally:
        broken.write_bytes(whole)
    assert list(tmp_path.iterdir()) == []


def test_windows_of_a_conversation_bring_their_earlier_turns(model, dataset, tmp_path):
    line = ["export", "--dataset", str(dataset), "--out", str(tmp_path / "out"), "--model", str(model)]
    run_command([*line, "--recipe.conversation-turns", "3"])
    rows = [json.loads(row) for row in (tmp_path / "out" / "train.jsonl").read_text().splitlines()]
    assert max(len(row["images"]) for row in rows) > 1
    for row in rows:
        turns = [turn["role"] for turn in row["prompt"]]
        assert turns == ["system", *["user", "assistant"] * (len(row["images"]) - 1), "user"]
