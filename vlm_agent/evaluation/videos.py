"""Small videos that a page can hold: H.264 in MP4, in memory."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction

import av
from PIL import Image, ImageDraw, ImageFont

_CRF = 27
"""Constant rate factor of x264: text stays readable, and a hundred pictures take a few hundred kilobytes."""
_BAR_PX = 26
_BAR, _INK = (16, 20, 26), (232, 237, 243)


def caption(picture: Image.Image, words: str) -> Image.Image:
    """Return a picture with a line of text below it."""
    whole = Image.new("RGB", (picture.width, picture.height + _BAR_PX), _BAR)
    whole.paste(picture, (0, 0))
    draw = ImageDraw.Draw(whole)
    draw.text((8, picture.height + _BAR_PX // 2), words, fill=_INK, font=ImageFont.load_default(13), anchor="lm")
    return whole


def encode_video(pictures: Sequence[Image.Image], pictures_per_s: float) -> bytes:
    """Return pictures as a video.

    Args:
        pictures: RGB, all of one size, even numbers of pixels wide and high.
        pictures_per_s: how fast they follow each other.
    """
    buffer = io.BytesIO()
    rate = Fraction(pictures_per_s).limit_denominator(1000)
    # One thread, for small pictures need no more. x264 then still writes, once in some hundred times, one byte more
    # for the same decoded pictures: bytes of two videos are no evidence that they differ.
    options = {"crf": str(_CRF), "preset": "medium", "threads": "1", "tune": "animation"}
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            for packet in stream.encode(av.VideoFrame.from_image(picture)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()
