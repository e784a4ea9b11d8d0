"""Image files of any mode: what is seen is what is read, and what had to be mended is named."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from vlm_agent.errors import DataError
from vlm_agent.sessions.stills import read_rgb, read_size

RGB = np.random.default_rng(3).integers(0, 256, (6, 10, 3)).astype(np.uint8)
GREY = np.linspace(0, 65_535, 60).round().astype(np.uint16).reshape(6, 10)


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def read(data: bytes):
    with Image.open(io.BytesIO(data)) as image:
        size = read_size(image)
        rgb, mends = read_rgb(image)
    assert (rgb.dtype, rgb.shape) == (np.uint8, (size[1], size[0], 3))
    return rgb, mends


def deep_png(color_type: int, channels: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, (height, width, channels), which Pillow can't write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height_px, width_px = channels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in channels)
    header = struct.pack(">IIBBBBB", width_px, height_px, 16, color_type, 0, 0, 0)
    return b"".join(
        (b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# What a viewer does with a stored picture to show it, by its orientation.
SHOWN = {
    1: lambda rgb: rgb,
    2: lambda rgb: rgb[:, ::-1],
    3: lambda rgb: rgb[::-1, ::-1],
    4: lambda rgb: rgb[::-1],
    5: lambda rgb: rgb.transpose(1, 0, 2),
    6: lambda rgb: np.rot90(rgb, -1),
    7: lambda rgb: rgb[::-1, ::-1].transpose(1, 0, 2),
    8: lambda rgb: np.rot90(rgb, 1),
}


@pytest.mark.parametrize("orientation", SHOWN)
def test_a_turned_picture_is_turned_upright(orientation):
    rgb, mends = read(encode(Image.fromarray(RGB), exif=turned(orientation)))
    assert np.array_equal(rgb, SHOWN[orientation](RGB))
    assert mends == ([] if orientation == 1 else ["picture_turned_upright"])
    photo = np.kron(RGB, np.ones((16, 16, 1))).astype(np.uint8)
    rgb, _ = read(encode(Image.fromarray(photo), "JPEG", quality=95, exif=turned(orientation)))
    assert np.abs(rgb.astype(int) - SHOWN[orientation](photo)).mean() < 20


def test_an_orientation_that_is_none_turns_nothing():
    rgb, mends = read(encode(Image.fromarray(RGB), exif=turned(77)))
    assert np.array_equal(rgb, RGB)
    assert mends == []


def test_grey_of_16_bits_is_scaled():
    rgb, mends = read(encode(Image.fromarray(GREY)))
    assert mends == ["picture_scaled_to_8_bits"]
    assert np.array_equal(rgb[..., 0], (GREY / 257).round())
    assert np.array_equal(rgb[..., 0], rgb[..., 2])
    assert (rgb.min(), rgb.max()) == (0, 255)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_grey_of_any_order_of_bytes_is_scaled(mode):
    body = GREY.astype({"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode]).tobytes()
    rgb, _ = read_rgb(Image.frombytes(mode, (10, 6), body))
    assert np.array_equal(rgb[..., 1], (GREY / 257).round())


@pytest.mark.parametrize(("color_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)], ids=["L", "RGB", "LA", "RGBA"])
def test_16_bits_a_channel_are_8_bits_of_the_same(color_type, channels):
    values = np.random.default_rng(1).integers(0, 65_536, (6, 10, channels))
    if channels in (2, 4):
        values[..., -1] = 65_535
    rgb, mends = read(deep_png(color_type, values))
    expected = values[..., :3] if channels >= 3 else np.repeat(values[..., :1], 3, axis=2)
    assert np.abs(rgb - expected / 257).max() <= 1
    assert mends == (["picture_scaled_to_8_bits"] if channels == 1 else [])


def test_what_is_transparent_is_laid_on_black():
    alpha = np.full((6, 10, 1), 255, np.uint8)
    assert np.array_equal(read(encode(Image.fromarray(np.dstack([RGB, alpha]))))[0], RGB)
    alpha[:3] = 0
    alpha[3] = 128
    for kind in ("RGBA", "LA", "P"):
        image = Image.fromarray(np.dstack([RGB, alpha]))
        opaque = np.asarray(image.convert("RGB").convert("L").convert("RGB")) if kind == "LA" else RGB
        if kind == "P":
            image = image.quantize(256, Image.Quantize.FASTOCTREE)
        rgb, mends = read(encode(image if kind == "P" else image.convert(kind)))
        assert mends == ["picture_laid_on_black"]
        assert not rgb[:3].any()
        if kind != "P":
            assert np.abs(rgb[3] - opaque[3] * (128 / 255)).max() <= 1
            assert np.abs(rgb[4:].astype(int) - opaque[4:]).max() <= 1


def test_one_color_that_is_transparent():
    shaded = np.zeros((6, 10, 3), np.uint8)
    shaded[:, 5:] = (200, 10, 10)
    rgb, mends = read(encode(Image.fromarray(shaded), transparency=(200, 10, 10)))
    assert mends == ["picture_laid_on_black"]
    assert not rgb.any()


def test_an_alpha_channel_that_was_left_empty_hides_nothing():
    rgb, mends = read(encode(Image.fromarray(np.dstack([RGB, np.zeros((6, 10, 1), np.uint8)]))))
    assert np.array_equal(rgb, RGB)
    assert mends == ["picture_with_empty_alpha"]


def test_few_colors_and_few_bits():
    dots = (RGB[..., 0] > 99) * np.uint8(255)
    black_and_white = encode(Image.fromarray(dots).convert("1"))
    assert read(black_and_white) == (pytest.approx(np.repeat(dots[..., None], 3, axis=2)), [])
    palette = Image.fromarray(RGB).quantize(256)
    rgb, mends = read(encode(palette))
    assert np.array_equal(rgb, np.asarray(palette.convert("RGB")))
    assert mends == []


def test_printing_colors_are_read_as_they_look():
    photo = np.full((32, 32, 3), (200, 60, 30), np.uint8)
    rgb, mends = read(encode(Image.fromarray(photo).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(rgb.astype(int) - photo).mean() < 6
    assert mends == ["picture_in_printing_colours"]


def test_of_an_animation_the_first_picture_is_taken():
    later = Image.fromarray(255 - RGB)
    rgb, mends = read(encode(Image.fromarray(RGB), save_all=True, append_images=[later]))
    assert np.array_equal(rgb, RGB)
    assert mends == ["first_of_animated_picture"]


def test_numbers_without_a_range_are_no_picture():
    with pytest.raises(DataError, match="floating-point"):
        read_rgb(Image.fromarray(GREY.astype(np.float32)))
