"""Pictures are read once a step, ahead of it, and a broken one is named when it is needed."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from vlm_agent.errors import DataError
from vlm_agent.models.images import ImageSettings, cut_patches
from vlm_agent.training.pictures import PictureReader

pytestmark = pytest.mark.model

IMAGES = ImageSettings()


class Frames:
    """Pictures of one colour; counts how often each was read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, key: str) -> np.ndarray:
        self.read.append(key)
        if key == "broken":
            raise DataError("frames/broken.jpg can't be read")
        return np.full((32, 64, 3), int(key), np.uint8)


def test_expected_pictures_are_read_once_and_others_each_time():
    frames = Frames()
    reader = PictureReader(frames, IMAGES, 2)
    reader.expect(["1", "2", "1"])
    for key in ("1", "2", "1", "2", "3", "3"):
        picture = reader.get(key)
        assert picture.grid == (1, 2, 4)
        assert picture.patches.equal(cut_patches(np.full((32, 64, 3), int(key), np.uint8), IMAGES))
    assert sorted(frames.read) == ["1", "2", "3", "3"]
    reader.expect(["2", "4"])
    assert [int(reader.get(key).patches.max()) for key in ("2", "4", "1")] == [2, 4, 1]
    assert sorted(frames.read) == ["1", "1", "2", "3", "3", "4"]


def test_pictures_are_read_before_they_are_asked_for():
    read, go_on = threading.Event(), threading.Event()

    def load(key: str) -> np.ndarray:
        read.set()
        assert go_on.wait(10)
        return np.zeros((32, 32, 3), np.uint8)

    reader = PictureReader(load, IMAGES, 1)
    reader.expect(["1"])
    assert read.wait(10)
    go_on.set()
    assert reader.get("1").patches.shape == (4, 3, 16, 16)


def test_a_broken_picture_is_an_error_of_the_step_that_needs_it():
    reader = PictureReader(Frames(), IMAGES, 1)
    reader.expect(["broken", "5"])
    assert int(reader.get("5").patches.max()) == 5
    with pytest.raises(DataError, match=r"broken\.jpg"):
        reader.get("broken")
