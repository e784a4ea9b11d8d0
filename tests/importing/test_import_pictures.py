"""Odd image files in an import: read as they are seen, each mend counted in the report."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from tests.importing.made_imports import EPOCH_MS, HEIGHT_PX, MS, WIDTH_PX, import_one, picture, row, write_tree
from tests.importing.test_import_owamcap import embedded, write_container
from vlm_agent.importing.reading import decode_picture, measure_picture

UPRIGHT = 6


def save_turned(path, rgb):
    exif = Image.Exif()
    exif[0x0112] = UPRIGHT
    # Stored as the camera held it: a viewer turns it clockwise by a quarter.
    Image.fromarray(np.rot90(rgb)).save(path, exif=exif)


def rewrite(folder, save):
    for path in sorted((folder / "runelite_screenshots").iterdir()):
        save(path, picture((int(path.stem) - EPOCH_MS) // 200))


def frames_of(tmp_path, save):
    folder = write_tree(tmp_path / "in", [row(EPOCH_MS + 100, "click", 5, 5)])
    rewrite(folder, save)
    report, reader = import_one(folder, tmp_path / "out")
    return report, list(reader.frames())


def assert_shown(frames, expected=picture):
    assert len(frames) == 15
    start_ns = frames[0].t_ns
    for frame in frames:
        shown = expected((frame.t_ns - start_ns) // (200 * MS)).astype(int)
        assert np.abs(frame.rgb - shown).mean() < 4


def test_pictures_that_lie_on_their_side_are_turned_and_counted(tmp_path):
    report, frames = frames_of(tmp_path, save_turned)
    assert_shown(frames)
    assert frames[0].rgb.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert report.repaired["picture_turned_upright"] == 15
    assert report.left_out == {"no_button": 1}


def test_grey_of_16_bits_is_not_all_white(tmp_path):
    def save(path, rgb):
        Image.fromarray(rgb[..., 1].astype(np.uint16) * 257).save(path)

    report, frames = frames_of(tmp_path, save)
    assert_shown(frames, lambda number: np.repeat(picture(number)[..., 1:2], 3, axis=2))
    assert report.repaired["picture_scaled_to_8_bits"] == 15


def test_an_orientation_that_comes_after_the_pixels_is_counted_out(tmp_path):
    def save(path, rgb):
        data = io.BytesIO()
        save_turned_to(data, rgb)
        path.write_bytes(move_behind_pixels(data.getvalue()))

    report, frames = frames_of(tmp_path, save)
    # By the header they are as they are stored; turned, they have another size.
    assert frames == []
    assert report.left_out["picture_of_another_size"] == 15


def save_turned_to(data, rgb):
    exif = Image.Exif()
    exif[0x0112] = UPRIGHT
    Image.fromarray(np.rot90(rgb)).save(data, "PNG", exif=exif)


def move_behind_pixels(png):
    """Put the eXIf chunk of a PNG before its end."""
    at = png.index(b"eXIf") - 4
    stop = at + 12 + int.from_bytes(png[at : at + 4], "big")
    end = png.index(b"IEND") - 4
    return png[:at] + png[stop:end] + png[at:stop] + png[end:]


def test_a_picture_is_as_large_as_it_is_decoded():
    data = io.BytesIO()
    save_turned_to(data, picture(3))
    rgb, mends = decode_picture(data.getvalue())
    assert measure_picture(data.getvalue()) == (rgb.shape[1], rgb.shape[0]) == (WIDTH_PX, HEIGHT_PX)
    assert mends == ["picture_turned_upright"]


def test_stills_of_an_owamcap_recording(tmp_path):
    data = io.BytesIO()
    save_turned_to(data, picture(3))
    path = write_container(tmp_path / "a.mcap", [(1, "screen", embedded(data.getvalue()))])
    report, reader = import_one(path, tmp_path / "out")
    [frame] = reader.frames()
    assert np.abs(frame.rgb.astype(int) - picture(3)).mean() < 4
    assert report.repaired["picture_turned_upright"] == 1
