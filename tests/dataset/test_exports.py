"""Exports: rows for TRL whose text survives Arrow and the chat template, and the plain messages form."""

from __future__ import annotations

import json
from dataclasses import replace

import jinja2
import pytest
from recorded_play import record_play

from vlm_agent.actions.codecs import make_codec
from vlm_agent.chat import make_recipe
from vlm_agent.clips import CutConfig
from vlm_agent.dataset.build import build_dataset
from vlm_agent.dataset.exports import drop_empty_keys, prompt_completion_rows, write_messages
from vlm_agent.dataset.recordings import choose_spec, cut_recording, read_recording
from vlm_agent.dataset.store import open_dataset
from vlm_agent.dataset.windows import target_chunk
from vlm_agent.models.images import resize_frame

# The rule of Qwen3-VL's own template that makes the trap: any block with an `image` key is a picture.
QWEN_TEMPLATE = jinja2.Template(
    "{%- for message in messages -%}{{ '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.content is string -%}{{ message.content }}{%- else -%}{%- for content in message.content -%}"
    "{%- if content.type == 'image' or 'image' in content or 'image_url' in content -%}<|image_pad|>"
    "{%- elif 'text' in content -%}{{ content.text }}{%- endif -%}{%- endfor -%}{%- endif -%}"
    "{{ '<|im_end|>\n' }}{%- endfor -%}"
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("play")
    recording = read_recording(record_play(folder / "s", seconds=6), 600)
    build_dataset(
        [(recording, cut_recording(recording, CutConfig()))], folder / "dataset", choose_spec([recording], 600)
    )
    return open_dataset(folder / "dataset")


@pytest.fixture(scope="module")
def recipe(dataset):
    return make_recipe(dataset.spec, image_width_px=64, image_height_px=32)


def test_rows_for_trl_survive_arrow_and_qwen_s_template(dataset, recipe):
    import datasets

    rows = list(prompt_completion_rows(dataset, "train", recipe, resize_frame))
    assert len(rows) == dataset.manifest.windows["train"]
    assert rows[0]["images"][0].size == (64, 32)
    stored = datasets.Dataset.from_list(rows)
    for row, window in zip(stored, dataset.windows("train"), strict=True):
        text = QWEN_TEMPLATE.render(messages=row["prompt"] + row["completion"])
        assert text.count("<|image_pad|>") == len(row["images"]) == 1
        assert f"Goal: {window.goal}<|im_end|>" in text
        answer = text.split("<|im_start|>assistant\n")[1].removesuffix("<|im_end|>\n")
        assert make_codec("json").decode(answer, recipe.spec) == target_chunk(window, recipe)


def test_the_trap_is_real_and_drop_empty_keys_is_the_way_out(dataset, recipe, tmp_path):
    import datasets

    out = tmp_path / "messages.jsonl"
    count = write_messages(dataset, "train", recipe, out)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == count == dataset.manifest.windows["train"]
    asked = [{"messages": line["messages"][:1]} for line in lines]
    trapped = datasets.Dataset.from_list(asked)[0]["messages"]
    assert "Goal:" not in QWEN_TEMPLATE.render(messages=trapped)
    assert "Goal: craft sapphire rings" in QWEN_TEMPLATE.render(messages=drop_empty_keys(trapped))
    assert drop_empty_keys(trapped) == lines[0]["messages"][:1]
    assert drop_empty_keys(lines[0]["messages"]) == lines[0]["messages"]


def test_messages_have_the_form_of_the_first_pipeline(dataset, recipe, tmp_path):
    write_messages(dataset, "train", recipe, tmp_path / "m.jsonl")
    first = json.loads((tmp_path / "m.jsonl").read_text().splitlines()[0])
    window = dataset.windows("train")[0]
    picture, text = first["messages"][0]["content"]
    assert picture == {"type": "image", "image": str(dataset.frame_path(window).resolve())}
    assert text["text"] == f"Goal: {window.goal}\n\nPredict the actions of the next 600 ms:"
    assert first["messages"][1]["role"] == "assistant"
    assert make_codec("json").decode(first["messages"][1]["content"], recipe.spec) == target_chunk(window, recipe)
    assert [path.name for path in tmp_path.iterdir()] == ["m.jsonl"]


def test_rows_show_the_pictures_of_their_history_oldest_first(dataset, recipe):
    two = replace(recipe, history_frames=2)
    alone = [row["images"][0] for row in prompt_completion_rows(dataset, "train", recipe, resize_frame)]
    windows = list(dataset.windows("train"))
    shown = {window.t_ns: image for window, image in zip(windows, alone, strict=True)}
    for row, window in zip(prompt_completion_rows(dataset, "train", two, resize_frame), windows, strict=True):
        before = [shown[window.t_ns - 600_000_000]] if window.t_ns else []
        assert [image.tobytes() for image in row["images"]] == [
            image.tobytes() for image in (*before, shown[window.t_ns])
        ]
    assert len({image.tobytes() for image in alone}) > 2


def test_messages_that_can_not_be_written_leave_the_old_ones(dataset, recipe, tmp_path, monkeypatch):
    out = tmp_path / "m.jsonl"
    out.write_text("old")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vlm_agent.dataset.exports.json.dumps", fail)
    with pytest.raises(OSError, match="No space"):
        write_messages(dataset, "train", recipe, out)
    assert out.read_text() == "old"
    monkeypatch.undo()
    seen = []

    def look(text, **options):
        seen.append(out.read_text())
        return real(text, **options)

    real = json.dumps
    monkeypatch.setattr("vlm_agent.dataset.exports.json.dumps", look)
    write_messages(dataset, "train", recipe, out)
    assert set(seen) == {"old"}
    assert [path.name for path in tmp_path.iterdir()] == ["m.jsonl"]
