"""What is trained here answers the same in plain transformers and peft, and merged into its base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import BitsAndBytesConfig

from tests.training.synthetic import write_dataset
from vlm_agent.chat import Recipe, render_prompt
from vlm_agent.dataset.store import open_dataset
from vlm_agent.dataset.windows import prompt_input
from vlm_agent.decoding.engine import Engine
from vlm_agent.decoding.prompts import encode_prompt
from vlm_agent.decoding.sequence import ModelPrompt
from vlm_agent.models.checkpoints import BUNDLED_FOLDER
from vlm_agent.models.loading import FAMILIES, LoadedModel, load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training.adapters import train_adapter
from vlm_agent.training.config import EvaluationSettings, LoraSettings, TrainConfig

pytestmark = [pytest.mark.model, pytest.mark.filterwarnings("ignore")]

CONFIG = TrainConfig(
    lora=LoraSettings(rank=4), evaluation=EvaluationSettings(every_steps=0), learning_rate=3e-2, max_steps=3
)
NUM_ANSWERS, NUM_TOKENS = 8, 8
KINDS = [(family, quantization) for family in ("nano", "qwen3_vl", "qwen2_5_vl") for quantization in ("none", "nf4")]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("served-data") / "dataset", num_ticks=10, with_validation=False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("served")
    tiny = {family: write_tiny_checkpoint(root / family, family) for family in ("qwen3_vl", "qwen2_5_vl")}
    return {"nano": BUNDLED_FOLDER, **tiny}


def _load_plain(base: Path, quantization: str):
    """A model as anybody loads it: transformers alone, and for 4 bits bitsandbytes' own layers."""
    model_type = json.loads((base / "config.json").read_text())["model_type"]
    options = {}
    if quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float32,
            llm_int8_skip_modules=["lm_head", "model.visual"],
        )
    return FAMILIES[model_type].model_class.from_pretrained(base, dtype=torch.float32, **options).eval()


def _inputs(prompt: ModelPrompt, loaded: LoadedModel) -> dict[str, torch.Tensor]:
    ids = torch.tensor([prompt.encoded.input_ids])
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values": prompt.pixel_values,
        "image_grid_thw": prompt.encoded.grid_tensor(),
        "mm_token_type_ids": loaded.encoder.token_types(ids),
    }


def _answer(model, inputs: dict[str, torch.Tensor], end: int) -> tuple[int, ...]:
    model.generation_config.update(eos_token_id=end, pad_token_id=end, do_sample=False)
    with torch.inference_mode():
        said = model.generate(**inputs, max_new_tokens=NUM_TOKENS, do_sample=False)
    new = said[0, inputs["input_ids"].shape[1] :].tolist()
    return tuple(new[: new.index(end)] if end in new else new)


def _logits(model, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        return model(**inputs, use_cache=False).logits[0, -1].float()


@pytest.mark.parametrize(("family", "quantization"), KINDS)
def test_own_adapters_answer_the_same_elsewhere(folders, dataset, tmp_path, family, quantization):
    base = folders[family]
    result = train_adapter(dataset, load_model(base, quantization=quantization, device="cpu"), CONFIG, tmp_path / "run")
    ours = load_model(tmp_path / "run", device="cpu")
    recipe = Recipe.from_json(ours.record["recipe"])
    store = open_dataset(dataset)
    windows = list(store.windows("train"))[:NUM_ANSWERS]
    frames = [store.frame(window) for window in windows]
    prompts = [
        encode_prompt(ours, render_prompt(prompt_input(window, recipe, frame), recipe), [frame], recipe)
        for window, frame in zip(windows, frames, strict=True)
    ]
    end = ours.encoder.end_of_turn_id
    mine = [Engine(ours).write(prompt, (end,), NUM_TOKENS) for prompt in prompts]
    plain = PeftModel.from_pretrained(_load_plain(base, quantization), result.adapter).eval()
    theirs = [_answer(plain, _inputs(prompt, ours), end) for prompt in prompts]
    assert len(prompts) == NUM_ANSWERS
    assert sum(a == b for a, b in zip(mine, theirs, strict=True)) == NUM_ANSWERS
    with ours.adapter_disabled():
        untuned = Engine(ours).write(prompts[0], (end,), NUM_TOKENS)
    assert untuned != mine[0] or len(set(mine)) > 1
    inputs = _inputs(prompts[0], ours)
    with_adapter = _logits(plain, inputs)
    with plain.disable_adapter():
        assert float((_logits(plain, inputs) - with_adapter).abs().max()) > 0.01
    if quantization == "nf4":  # packed anew, 4-bit weights would lose a part of what is merged into them
        plain = PeftModel.from_pretrained(_load_plain(base, quantization).dequantize(torch.float32), result.adapter)
    torch.testing.assert_close(_logits(plain.eval().merge_and_unload(), inputs), with_adapter, rtol=0, atol=1e-5)
