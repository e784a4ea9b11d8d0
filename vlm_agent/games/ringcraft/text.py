"""Lettering on frames: the font that comes with pygame, with a drop shadow, every line rendered once and kept."""

from __future__ import annotations

from typing import Literal

import pygame

Colour = tuple[int, int, int]
Anchor = Literal["left", "centre", "right"]

SHADOW: Colour = (0, 0, 0)
SIZE = 15
"""Default letter size in pixels of the em square; capitals are about 10 px high."""

_KEPT_LINES = 4000


class Lettering:
    """Draws short lines of text, and keeps what it has drawn.

    The bundled font is part of pygame, so frames do not depend on the fonts of a machine.
    """

    def __init__(self) -> None:
        """Loads nothing yet; a font is opened at its first use."""
        pygame.font.init()
        self._fonts: dict[int, pygame.font.Font] = {}
        self._lines: dict[tuple[str, Colour, int, bool], pygame.Surface] = {}

    def line(self, text: str, colour: Colour, size: int = SIZE, shadow: bool = True) -> pygame.Surface:
        """Returns the picture of one line on a transparent ground; do not draw on it.

        Args:
            text: What to write, without line breaks.
            colour: Of the letters.
            size: Letter size in pixels.
            shadow: Whether a black copy lies one pixel right and below.
        """
        key = (text, colour, size, shadow)
        found = self._lines.get(key)
        if found is None:
            if len(self._lines) >= _KEPT_LINES:
                self._lines.clear()
            found = self._lines[key] = self._render(text, colour, size, shadow)
        return found

    def width_px(self, text: str, size: int = SIZE) -> int:
        """Width of a line in pixels, without its shadow."""
        return int(self._font(size).size(text)[0])

    def write(
        self,
        target: pygame.Surface,
        text: str,
        at: tuple[int, int],
        colour: Colour,
        size: int = SIZE,
        anchor: Anchor = "left",
    ) -> int:
        """Writes a line with its top at `at[1]`; returns its width in pixels."""
        picture = self.line(text, colour, size)
        width = picture.get_width() - 1
        left = {"left": at[0], "centre": at[0] - width // 2, "right": at[0] - width}[anchor]
        target.blit(picture, (left, at[1]))
        return width

    def _font(self, size: int) -> pygame.font.Font:
        font = self._fonts.get(size)
        if font is None:
            font = self._fonts[size] = pygame.font.Font(None, size)
        return font

    def _render(self, text: str, colour: Colour, size: int, shadow: bool) -> pygame.Surface:
        letters = self._font(size).render(text, True, colour)
        picture = pygame.Surface((letters.get_width() + 1, letters.get_height() + 1), pygame.SRCALPHA, 32)
        if shadow:
            picture.blit(self._font(size).render(text, True, SHADOW), (1, 1))
        picture.blit(letters, (0, 0))
        return picture
