"""The pictures of a dataset: files named by their content.

They are kept at the size they were captured in, so that one dataset serves models of any picture size, and as JPEG of
high quality without chroma subsampling: small letters stay sharp, and what a video has lost already is not kept at the
price of PNG.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlm_agent.errors import DataError

if TYPE_CHECKING:
    from vlm_agent.chat import RgbFrame

JPEG_QUALITY = 92


def name_picture(rgb: RgbFrame) -> str:
    """Return the identifier of a picture, (height, width, 3) uint8; the same pixels always give the same one."""
    digest = hashlib.blake2b(str(rgb.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()


def frame_path(folder: Path, frame_id: str) -> Path:
    """Return where a dataset keeps a picture."""
    return folder / "frames" / frame_id[:2] / f"{frame_id}.jpg"


def write_jpeg(path: Path, rgb: RgbFrame) -> None:
    """Write a picture, (height, width, 3) uint8, without chroma subsampling."""
    from PIL import Image

    Image.fromarray(rgb).save(path, format="JPEG", quality=JPEG_QUALITY, subsampling=0)


def read_jpeg(path: Path) -> RgbFrame:
    """Return a picture as (height, width, 3) uint8 RGB.

    Raises:
        DataError: it is missing or broken.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path} can't be read: {error}") from error
