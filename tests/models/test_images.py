"""Pictures reach the vision tower with the numbers transformers' own processor gives."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_agent.errors import ConfigError, DataError, ModelError
from vlm_agent.models.images import ImageSettings, pixel_values, read_image_settings, resize_frame
from vlm_agent.models.tiny import QWEN2_5_IMAGES

pytestmark = pytest.mark.model

BOTH = pytest.mark.parametrize("images", [ImageSettings(), QWEN2_5_IMAGES], ids=["qwen3", "qwen2.5"])


def _frame(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _transformers_processor(images: ImageSettings):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    config = images.to_preprocessor_json()
    del config["image_processor_type"]
    return Qwen2VLImageProcessorPil(**config)


@BOTH
def test_pixels_equal_transformers_processor_from_raw_frame_on(images):
    frame = _frame(503, 765)
    want = _transformers_processor(images)(images=[frame], return_tensors="pt")
    width, height = images.fit_size(765, 503)
    got = pixel_values([resize_frame(frame, width, height)], images)
    assert want["image_grid_thw"].tolist() == [list(images.grid(width, height))]
    np.testing.assert_allclose(got.numpy(), want["pixel_values"].numpy(), rtol=0, atol=2e-6)


@BOTH
def test_two_frames_are_joined_in_order(images):
    side = images.factor_px
    first, second = _frame(side, 2 * side, 1), _frame(2 * side, side, 2)
    both = pixel_values([first, second], images)
    assert both[:8].equal(pixel_values([first], images))
    assert both[8:].equal(pixel_values([second], images))


@BOTH
@settings(max_examples=200, deadline=None)
@given(height=st.integers(20, 3000), width=st.integers(20, 3000))
def test_fit_size_is_transformers_smart_resize(images, height, width):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    want = smart_resize(height, width, images.factor_px, images.min_pixels, images.max_pixels)
    assert images.fit_size(width, height) == (want[1], want[0])


def test_fit_size_of_the_game_and_under_a_cap():
    assert ImageSettings().fit_size(765, 503) == (768, 512)
    assert QWEN2_5_IMAGES.fit_size(765, 503) == (756, 504)
    for cap in (16, 64, 256):
        size = ImageSettings().fit_size(1920, 1080, max_tokens=cap)
        assert cap * 0.6 <= ImageSettings().num_tokens(*size) <= cap


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match="multiple of 32"):
        ImageSettings().grid(384, 250)


def test_resize_is_repeatable_and_leaves_the_right_size_alone():
    frame = _frame(503, 765)
    small = resize_frame(frame, 384, 256)
    assert small.shape == (256, 384, 3)
    assert np.array_equal(small, resize_frame(frame.copy(), 384, 256))
    assert resize_frame(frame, 765, 503) is frame
    flat = resize_frame(np.full((503, 765, 3), 37, np.uint8), 384, 256)
    assert (flat == 37).all()


@pytest.mark.parametrize("frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 4))])
def test_what_is_no_frame_is_refused(frame):
    with pytest.raises(DataError, match="uint8"):
        resize_frame(frame, 32, 32)


def test_settings_are_read_back_in_both_spellings(tmp_path):
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(QWEN2_5_IMAGES.to_preprocessor_json()))
    assert read_image_settings(tmp_path) == QWEN2_5_IMAGES
    old = QWEN2_5_IMAGES.to_preprocessor_json() | {"min_pixels": 3_136, "max_pixels": 12_845_056}
    del old["size"]
    path.write_text(json.dumps(old))
    assert read_image_settings(tmp_path) == QWEN2_5_IMAGES
    path.unlink()
    (tmp_path / "processor_config.json").write_text(
        json.dumps({"image_processor": QWEN2_5_IMAGES.to_preprocessor_json()})
    )
    assert read_image_settings(tmp_path) == QWEN2_5_IMAGES


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"patch_size": 14}', "{"])
def test_broken_settings_are_one_error(tmp_path, text):
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"preprocessor_config\.json"):
        read_image_settings(tmp_path)
