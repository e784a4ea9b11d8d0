"""What headers tell of weights: names, what is packed, what is missing or cut off."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from vlm_agent.errors import ModelError
from vlm_agent.models.packed import StoredTensor, read_header, read_stored

TENSORS = {"a.weight": torch.zeros(2, 3), "b.weight": torch.zeros(4, dtype=torch.bfloat16), "c": torch.zeros(0)}


def write_shards(folder, weight_map):
    for file in set(weight_map.values()):
        save_file({name: torch.ones(2) for name, where in weight_map.items() if where == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_a_header_names_types_and_shapes(tmp_path):
    save_file(TENSORS, tmp_path / "x.safetensors", metadata={"format": "pt"})
    assert read_header(tmp_path / "x.safetensors") == {
        "a.weight": StoredTensor("F32", (2, 3)),
        "b.weight": StoredTensor("BF16", (4,)),
        "c": StoredTensor("F32", (0,)),
    }


@pytest.mark.parametrize("change", [lambda raw: raw[:-1], lambda raw: raw[:40], lambda raw: raw + b"x", lambda _: b""])
def test_a_file_that_is_not_whole_is_named(tmp_path, change):
    path = tmp_path / "x.safetensors"
    save_file(TENSORS, path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ModelError, match=r"x\.safetensors: not a whole safetensors file"):
        read_header(path)


def test_what_is_packed_is_told_by_its_state(tmp_path):
    names = ["x.up.weight", "x.up.weight.absmax", "x.up.weight.quant_state.bitsandbytes__nf4", "x.up.bias"]
    names += ["y.weight.quant_state.bitsandbytes__fp4", "y.weight", "z.weight", "w.weight.absmax"]
    save_file({name: torch.zeros(1) for name in names}, tmp_path / "model.safetensors")
    stored = read_stored(tmp_path)
    assert stored.packed == {"x.up": "nf4", "y": "fp4"}
    assert set(stored.plain) == {"x.up.bias", "z.weight", "w.weight.absmax"}
    assert stored.files == (tmp_path / "model.safetensors",)


def test_shards_are_read_together_and_one_file_goes_before_them(tmp_path):
    write_shards(tmp_path, {"a.weight": "m-1.safetensors", "b.weight": "m-2.safetensors"})
    stored = read_stored(tmp_path)
    assert set(stored.tensors) == {"a.weight", "b.weight"}
    assert [path.name for path in stored.files] == ["m-1.safetensors", "m-2.safetensors"]
    save_file({"c": torch.zeros(1)}, tmp_path / "model.safetensors")  # transformers takes this one
    assert set(read_stored(tmp_path).tensors) == {"c"}


def test_of_an_index_alone_names_are_known(tmp_path):
    name = "x.weight.quant_state.bitsandbytes__nf4"
    write_shards(tmp_path, {name: "m-1.safetensors", "x.weight": "m-2.safetensors"})
    (tmp_path / "m-1.safetensors").unlink()
    with pytest.raises(ModelError, match=r"1 of 2 weight files are missing, the first m-1\.safetensors"):
        read_stored(tmp_path)
    (tmp_path / "m-2.safetensors").unlink()
    stored = read_stored(tmp_path)
    assert stored.packed == {"x": "nf4"}
    assert stored.files == ()
    (tmp_path / "model.safetensors.index.json").unlink()
    assert read_stored(tmp_path).tensors == {}


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": "../b"}}'])
def test_a_broken_index_is_one_line(tmp_path, index):
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelError, match="a broken index") as caught:
        read_stored(tmp_path)
    assert "\n" not in str(caught.value)
