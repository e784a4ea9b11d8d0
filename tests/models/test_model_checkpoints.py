"""Which folder a name means, and the hash that tells one set of weights from another."""

from __future__ import annotations

import json

import pytest

from vlm_agent.errors import ModelError
from vlm_agent.models import checkpoints
from vlm_agent.models.checkpoints import find_adapter, find_tuned, fingerprint_weights


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two files; of those over a thousand bytes ten in every thousand are read, and the last ten."""
    monkeypatch.setattr(checkpoints, "_BLOCK_STRIDE_BYTES", 1000)
    monkeypatch.setattr(checkpoints, "_BLOCK_BYTES", 10)
    (tmp_path / "a.safetensors").write_bytes(bytes(2500))
    (tmp_path / "b.safetensors").write_bytes(bytes(1000))
    return tmp_path


@pytest.mark.parametrize(
    ("file", "place"), [("a", 0), ("a", 1009), ("a", 2000), ("a", 2490), ("a", 2499), ("b", 0), ("b", 500), ("b", 999)]
)
def test_any_byte_that_is_read_makes_another_fingerprint(folder, file, place):
    before = fingerprint_weights(folder)
    path = folder / f"{file}.safetensors"
    content = bytearray(path.read_bytes())
    content[place] = 1
    path.write_bytes(content)
    assert fingerprint_weights(folder) != before


def test_names_and_sizes_count_and_nothing_but_weights_does(folder):
    before = fingerprint_weights(folder)
    (folder / "config.json").write_text("{}")
    assert fingerprint_weights(folder) == before
    (folder / "a.safetensors").write_bytes(bytes(2501))
    longer = fingerprint_weights(folder)
    (folder / "b.safetensors").rename(folder / "c.safetensors")
    assert len({before, longer, fingerprint_weights(folder)}) == 3
    with pytest.raises(ModelError, match=r"no \*.safetensors weights here"):
        fingerprint_weights(folder.parent / "nowhere")


def test_a_path_means_itself_before_what_a_run_left_in_it(tmp_path):
    assert find_adapter(tmp_path) is None
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    assert find_adapter(tmp_path) == (tmp_path / "adapter").resolve()
    (tmp_path / "adapter_config.json").write_text("{}")
    assert find_adapter(tmp_path) == tmp_path.resolve()


def test_a_tuned_checkpoint_has_a_recipe_beside_its_config(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    assert find_tuned(tmp_path) is None
    (model / "recipe.json").write_text(json.dumps({}))
    assert find_tuned(tmp_path) == find_tuned(model) == model.resolve()
