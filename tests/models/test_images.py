"""Pictures reach the vision tower with the numbers transformers' own processor gives."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm_agent.errors import ConfigError, DataError, ModelError
from vlm_agent.models.images import ImageSettings, pixel_values, read_image_settings, resize_frame
from vlm_agent.models.loading import read_encoder
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


SIZES = np.exp(np.random.default_rng(0).uniform(0, np.log(8000), (10_000, 2))).round().astype(int).tolist()
"""(height, width), every order of magnitude as often as another."""


@BOTH
def test_sizes_are_those_of_qwen_vl_utils(qwen_vl_utils, images):
    num_compared = 0
    for height, width in SIZES:
        if max(height, width) > 200 * min(height, width):
            with pytest.raises(ConfigError, match="200 times"):
                images.fit_size(width, height)
            continue
        want = qwen_vl_utils.smart_resize(height, width, images.factor_px, images.min_pixels, images.max_pixels)
        assert images.fit_size(width, height) == (want[1], want[0]), (height, width)
        num_compared += 1
    assert num_compared > 8_000


@BOTH
def test_sizes_are_transformers_where_no_side_is_below_half_a_token(images):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    num_compared = 0
    for height, width in SIZES:
        if min(height, width) > images.factor_px // 2 and max(height, width) <= 200 * min(height, width):
            want = smart_resize(height, width, images.factor_px, images.min_pixels, images.max_pixels)
            assert images.fit_size(width, height) == (want[1], want[0]), (height, width)
            num_compared += 1
    assert num_compared > 4_000


@BOTH
@given(height=st.integers(10, 2000), width=st.integers(10, 2000), tokens=st.integers(1, 2000))
def test_a_smaller_picture_is_left_as_it_is_by_whoever_serves_the_model(qwen_vl_utils, images, height, width, tokens):
    fitted = images.fit_size(width, height, tokens)
    served = qwen_vl_utils.smart_resize(*fitted[::-1], images.factor_px, images.min_pixels, images.max_pixels)
    assert served == fitted[::-1]
    assert images.keeps(*fitted)


def test_a_picture_below_the_smallest_is_not_kept():
    assert not ImageSettings().keeps(192, 128)
    assert not QWEN2_5_IMAGES.keeps(28, 28)
    assert QWEN2_5_IMAGES.keeps(56, 56)


def test_fit_size_of_the_game_and_under_a_cap():
    assert ImageSettings().fit_size(765, 503) == (768, 512)
    assert QWEN2_5_IMAGES.fit_size(765, 503) == (756, 504)
    for cap in (64, 100, 256):
        size = ImageSettings().fit_size(1920, 1080, max_tokens=cap)
        assert cap * 0.6 <= ImageSettings().num_tokens(*size) <= max(cap, 66)
    assert ImageSettings().fit_size(765, 503, max_tokens=48) == (320, 224)


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


PUBLISHED = {"image_processor_type": "Qwen2VLImageProcessorFast", "patch_size": 16, "merge_size": 2}


def _write(folder, settings, name="preprocessor_config.json"):
    (folder / name).write_text(json.dumps(settings))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        PUBLISHED,
        PUBLISHED | {"size": {"shortest_edge": 65_536, "longest_edge": 16_777_216}, "temporal_patch_size": 1},
        PUBLISHED | {"min_pixels": None, "max_pixels": None, "size": {"shortest_edge": 4_096, "longest_edge": 8_192}},
        PUBLISHED | {"min_pixels": 1_024, "size": {"shortest_edge": 4_096, "longest_edge": 8_192}},
        PUBLISHED | {"max_pixels": 6_000, "size": {"shortest_edge": 4_096, "longest_edge": 8_192}},
        PUBLISHED | {"min_pixels": 1_024, "max_pixels": 6_000},
        PUBLISHED | {"min_pixels": 1_024},
        PUBLISHED | {"min_pixels": 1_024, "max_pixels": 6_000, "size": {"min_pixels": 9, "max_pixels": 12_000}},
        PUBLISHED | {"size": None, "crop_size": None, "data_format": None, "do_pad": None, "return_tensors": None},
        PUBLISHED | {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3]},
        PUBLISHED | {"image_mean": 0.5, "image_std": 0.25},
        PUBLISHED | {"do_normalize": False},
        PUBLISHED | {"do_resize": True, "do_convert_rgb": None, "resample": 3, "rescale_factor": 0.00392156862745098},
    ],
)
def test_settings_are_read_as_transformers_reads_them(tmp_path, monkeypatch, settings):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    # Older releases write a folder's sizes into the class.
    monkeypatch.setattr(Qwen2VLImageProcessorPil, "size", dict(Qwen2VLImageProcessorPil.size))
    _write(tmp_path, settings)
    images = read_image_settings(tmp_path)
    theirs = Qwen2VLImageProcessorPil.from_pretrained(tmp_path)
    frame = _frame(90, 130)
    want = theirs(images=[frame], return_tensors="np")
    width, height = images.fit_size(130, 90)
    assert want["image_grid_thw"].tolist() == [list(images.grid(width, height))]
    got = pixel_values([resize_frame(frame, width, height)], images)
    np.testing.assert_allclose(got.numpy(), want["pixel_values"], rtol=0, atol=2e-6)


def test_the_smaller_spelling_within_size_is_read_too(tmp_path):
    _write(tmp_path, PUBLISHED | {"size": {"min_pixels": 4_096, "max_pixels": 8_192}})
    images = read_image_settings(tmp_path)
    assert (images.min_pixels, images.max_pixels) == (4_096, 8_192)


def test_settings_nested_by_newer_transformers_come_first(tmp_path):
    _write(tmp_path, PUBLISHED)
    _write(tmp_path, {"processor_class": "Qwen3VLProcessor"}, "processor_config.json")
    assert read_image_settings(tmp_path).merge == 2
    _write(tmp_path, {"image_processor": PUBLISHED | {"merge_size": 4}}, "processor_config.json")
    assert read_image_settings(tmp_path).merge == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "can't be read"),
        ("{", "can't be read"),
        ("[]", "expected picture settings"),
        ('{"size": 224}', "expected picture settings"),
        ('{"size": {"height": 224, "width": 224}}', "shortest_edge"),
        ('{"size": {"shortest_edge": 224}}', "longest_edge"),
        ('{"patch_size": "large"}', "large"),
        ('{"patch_size": 0}', "at least 1"),
        ('{"min_pixels": 9000, "max_pixels": 90}', "largest picture"),
        ('{"image_mean": [0.5, 0.5]}', "not enough values"),
        ('{"image_std": [0.5, 0.0, 0.5]}', "above 0"),
        ('{"image_mean": [0.5, NaN, 0.5]}', "must be numbers"),
        ('{"image_mean": null, "rescale_factor": null}', "image_mean, rescale_factor must not be null"),
        ('{"resample": 2}', "bicubic"),
        ('{"rescale_factor": 1.0}', "divided by 255"),
        ('{"rescale_factor": "no"}', "must be real number"),
        ('{"do_rescale": false}', "divided by 255"),
    ],
)
def test_settings_that_can_not_be_kept_to_are_one_line(tmp_path, text, told):
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"preprocessor_config\.json") as caught:
        read_image_settings(tmp_path)
    assert told in str(caught.value)


def test_a_folder_without_settings_is_one_line(tmp_path):
    _write(tmp_path, {"processor_class": "Qwen3VLProcessor"}, "processor_config.json")
    with pytest.raises(ModelError, match=r"no preprocessor_config\.json here"):
        read_image_settings(tmp_path)


def test_settings_that_cut_otherwise_than_the_tower_are_one_line(checkpoints, tmp_path):
    folder = shutil.copytree(checkpoints["qwen3_vl"], tmp_path / "other", ignore=lambda *_: ["model.safetensors"])
    _write(folder, QWEN2_5_IMAGES.to_preprocessor_json())
    with pytest.raises(ModelError, match=r"\(14, 2, 2\), and \(16, 2, 2\) in config.json"):
        read_encoder(folder)


@BOTH
def test_a_limit_of_tokens_is_what_the_largest_picture_takes(images):
    few = images.with_tokens(100)
    assert few.num_tokens(*few.fit_size(2000, 2000)) == 100
    more_than_allowed = replace(images, max_pixels=10).with_tokens(400)
    assert more_than_allowed.num_tokens(*more_than_allowed.fit_size(2000, 2000)) == 400
