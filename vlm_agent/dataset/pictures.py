"""The pictures of a dataset: files named by their content.

They are kept at the size they were captured in, so that one dataset serves models of any picture size, and as JPEG of
high quality without chroma subsampling: small letters stay sharp, and what a video has lost already is not kept at the
price of PNG.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlm_agent.errors import DataError

if TYPE_CHECKING:
    from vlm_agent.chat import RgbFrame

JPEG_QUALITY = 92

_IDENTIFIER = re.compile(r"\w[\w-]{1,63}")


def name_picture(rgb: RgbFrame) -> str:
    """Return the identifier of a picture, (height, width, 3) uint8; the same pixels always give the same one."""
    digest = hashlib.blake2b(str(rgb.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.hexdigest()


def frame_path(folder: Path, frame_id: str) -> Path:
    """Return where a dataset keeps a picture.

    Raises:
        DataError: the identifier is none, and might lead elsewhere.
    """
    if not _IDENTIFIER.fullmatch(frame_id):
        raise DataError(f"{folder}: a window names the picture {frame_id!r:.80}: expected letters and digits")
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
    from vlm_agent.regular_files import read_bounded
    from vlm_agent.sessions.limits import MAX_PICTURE_BYTES
    from vlm_agent.sessions.stills import BROKEN_STILL, open_still

    try:
        with open_still(read_bounded(path, MAX_PICTURE_BYTES), ("JPEG",)) as image:
            return np.asarray(image.convert("RGB"))
    except (DataError, *BROKEN_STILL) as error:
        raise DataError(f"{path} can't be read: {error}") from error
