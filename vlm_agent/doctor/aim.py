"""Where a sample's target points, and where a click would land: drawn on a screenshot taken now.

The point goes the whole way that it goes in play: frame pixels of the recording, model coordinates, the answer's text,
back, and through the placement of the frame on the screen to the place of the pointer event.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.placement import Placement, Rect
from vlm_agent.actions.space import CoordinateSpace
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click
from vlm_agent.errors import DataError
from vlm_agent.files import write_file
from vlm_agent.locks import only_maker

if TYPE_CHECKING:
    from vlm_agent.chat import Recipe
    from vlm_agent.dataset.windows import Window

THOUSAND = 1000
"""Qwen3-VL's coordinates, where no recipe tells others."""
_GAP_PX = 12


@dataclass(frozen=True)
class Target:
    """A point that a player clicked at, in frame pixels, and the frame it was clicked in."""

    x_px: int
    """Column."""
    y_px: int
    """Row."""
    frame_width_px: int
    """Width of the frame."""
    frame_height_px: int
    """Height of the frame."""
    label: str
    """What it is of."""
    frame: NDArray[np.uint8] | None = None
    """The recorded frame, (height, width, 3) RGB, where there is one."""


@dataclass(frozen=True)
class Aim:
    """One target on the screen as it is now."""

    target: Target
    """What was meant."""
    meant_px: tuple[float, float]
    """Its place on the screenshot, without any rounding."""
    landed: tuple[int, int]
    """Where the click would land, in units of pointer events of the whole screen."""
    landed_px: tuple[float, float]
    """The same on the screenshot."""

    @property
    def distance_px(self) -> float:
        """How far apart the two are, screen pixels."""
        return math.dist(self.meant_px, self.landed_px)


def take_targets(windows: Sequence[Window], count: int) -> list[Window]:
    """Return windows whose target holds a click, evenly spread.

    Raises:
        DataError: no window holds one.
    """
    clicked = [window for window in windows if any(isinstance(action, Click) for action in window.target.actions)]
    if not clicked:
        raise DataError(f"none of {len(windows)} windows holds a click; nothing can be aimed at")
    count = min(count, len(clicked))
    return [clicked[number * len(clicked) // count] for number in range(count)]


def make_target(window: Window, frame: NDArray[np.uint8]) -> Target:
    """Return the first click of a window as a target."""
    click = next(action for action in window.target.actions if isinstance(action, Click))
    return Target(
        click.x, click.y, window.frame_width_px, window.frame_height_px, f"{window.goal} ({window.window_id})", frame
    )


def list_corners(rect: Rect) -> list[Target]:
    """Return the four corners and the middle of a window as targets, where there is no dataset to take some from."""
    right, bottom = rect.width - 1, rect.height - 1
    points = {
        "top left": (0, 0),
        "top right": (right, 0),
        "bottom left": (0, bottom),
        "bottom right": (right, bottom),
        "middle": (right // 2, bottom // 2),
    }
    return [Target(x, y, rect.width, rect.height, label) for label, (x, y) in points.items()]


def aim_at(target: Target, screen: Rect, recipe: Recipe | None = None, scale: float = 1.0) -> Aim:
    """Return where a target is on a part of the screen, and where a model's right answer would click.

    Args:
        target: the point.
        screen: the captured part of the screen, device pixels.
        recipe: how the model is spoken to; none has coordinates in thousandths.
        scale: device pixels a unit of pointer events.
    """
    placement = Placement.fit(screen, target.frame_width_px, target.frame_height_px, scale)
    space = CoordinateSpace(target.frame_width_px, target.frame_height_px, THOUSAND, THOUSAND)
    if recipe is not None:
        space = recipe.space(target.frame_width_px, target.frame_height_px)
    x, y = _say_and_read(space, target)
    landed = space.on(placement).to_screen(x, y)
    content = placement.content
    meant_px = (
        (target.x_px - content.x + 0.5) * screen.width / content.width - 0.5,
        (target.y_px - content.y + 0.5) * screen.height / content.height - 0.5,
    )
    landed_px = (math.floor(landed[0] * scale) - screen.x, math.floor(landed[1] * scale) - screen.y)
    return Aim(target, meant_px, landed, landed_px)


def _say_and_read(space: CoordinateSpace, target: Target) -> tuple[int, int]:
    spec = ActionSpec(space.extent_width, space.extent_height)
    codec = make_codec("json")
    said = codec.encode(space.chunk_to_model(ActionChunk((Click(0, target.x_px, target.y_px, "left"),))), spec)
    (action,) = codec.decode(said, spec).actions
    assert isinstance(action, Click)
    return action.x, action.y


def draw_aims(aims: Sequence[Aim], screenshot: NDArray[np.uint8], path: Path) -> None:
    """Save a picture: the screenshot with a ring around what is meant and a cross where a click would land.

    Beside it stands the recorded frame of the first target that has one, with the same ring.

    Args:
        aims: what to draw.
        screenshot: (height, width, 3) uint8 RGB of the captured part of the screen.
        path: the PNG; written beside it first.
    """
    from PIL import Image, ImageDraw

    from vlm_agent.evaluation.marks import draw_cross, draw_ring

    live = Image.fromarray(screenshot)
    draw = ImageDraw.Draw(live)
    for aim in aims:
        draw_ring(draw, (round(aim.meant_px[0]), round(aim.meant_px[1])))
        draw_cross(draw, (round(aim.landed_px[0]), round(aim.landed_px[1])))
    recorded = [aim.target for aim in aims if aim.target.frame is not None]
    picture = live
    if recorded:
        first = recorded[0]
        assert first.frame is not None
        before = Image.fromarray(first.frame)
        draw_ring(ImageDraw.Draw(before), (first.x_px, first.y_px))
        picture = Image.new("RGB", (before.width + _GAP_PX + live.width, max(before.height, live.height)), "white")
        picture.paste(before, (0, 0))
        picture.paste(live, (before.width + _GAP_PX, 0))
    with only_maker(path):
        write_file(path, lambda beside: picture.save(beside, "PNG"))
