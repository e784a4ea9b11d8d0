"""Training pictures that differ a little from epoch to epoch: other colours, and a few pixels less at the edges.

A screen is not a photograph: its letters have a side to be read from and its things a place, so nothing is mirrored or
turned. Where edges are cut off, all that is said in coordinates is said over what is left: the actions, those before
them, and the places in the game state; what is no longer seen has no place. How a picture looks hangs on the seed, the
epoch and the picture alone, so a run that was cut off goes on with the pictures it would have had. Their vision
features are never kept: each is seen in one epoch only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageEnhance

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import Action, ActionChunk, Key
from vlm_agent.chat import Recipe
from vlm_agent.dataset.pictures import frame_path, read_jpeg
from vlm_agent.dataset.state_text import crop_state
from vlm_agent.dataset.windows import Window
from vlm_agent.models.encoding import ChatEncoder
from vlm_agent.models.images import RgbFrame, resize_frame
from vlm_agent.training.config import COLOURS, TrainConfig
from vlm_agent.training.rows import Row, make_row
from vlm_agent.training.windows import WindowEncoder

_EPOCH_MARK = "@"
"""Between a picture's identifier and the epoch it is changed for."""
_ENHANCERS = dict(zip(COLOURS, (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), strict=True))


@dataclass(frozen=True)
class Edges:
    """Pixels at the four edges of a captured frame: most that may be cut off, or those that are."""

    left: int
    """Columns on the left."""
    top: int
    """Rows at the top."""
    right: int
    """Columns on the right."""
    bottom: int
    """Rows at the bottom."""


@dataclass(frozen=True)
class PictureChange:
    """How a picture looks in one epoch."""

    factors: tuple[tuple[str, float], ...]
    """What each of `COLOURS` is multiplied by, in the order in which it is done."""
    cut: Edges
    """What is cut off before that."""


class Augmentation:
    """Knows how every training picture looks in every epoch. May be used from several threads."""

    def __init__(self, windows: Iterable[Window], config: TrainConfig, spec: ActionSpec) -> None:
        """Take all windows that are trained on; where something is done in them nothing is cut off.

        Args:
            windows: in frame pixels.
            config: gives `jitter`, `crop` and `seed`.
            spec: tells whether actions have places.
        """
        self._seed = config.seed
        self._jitter = config.read_jitter()
        self._crop = config.crop or 0.0
        self._has_places = spec.pointer == "absolute"
        self._room: dict[str, Edges] = {}
        for window in windows if self._crop else ():
            room = self._find_room(window)
            known = self._room.get(window.frame_id, room)
            self._room[window.frame_id] = Edges(*(min(pair) for pair in zip(_sides(known), _sides(room), strict=True)))

    @property
    def crops(self) -> bool:
        """Whether anything is cut off, so that what is said of a picture changes too."""
        return self._crop > 0

    def find_change(self, key: str) -> PictureChange | None:
        """Return how a picture of that key looks; none where it is not changed."""
        frame_id, mark, epoch = key.partition(_EPOCH_MARK)
        if not mark:
            return None
        rng = Random(f"picture {self._seed} {epoch} {frame_id}")
        factors = tuple(
            (name, rng.uniform(1 - share, 1 + share)) for name in COLOURS if (share := self._jitter.get(name))
        )
        room = self._room.get(frame_id, Edges(0, 0, 0, 0))
        return PictureChange(factors, Edges(*(rng.randint(0, most) for most in _sides(room))))

    def change_window(self, window: Window, epoch: int) -> Window:
        """Return a window over the picture as it looks in an epoch, everything in its pixels."""
        key = name_change(window.frame_id, epoch)
        change = self.find_change(key)
        assert change is not None
        changed = crop_window(window, change.cut, has_places=self._has_places) if self.crops else window
        return replace(changed, frame_id=key)

    def _find_room(self, window: Window) -> Edges:
        """Return how much may be cut off without losing a place where something is or was done."""
        width, height = window.frame_width_px, window.frame_height_px
        most_x, most_y = int(self._crop / 2 * width), int(self._crop / 2 * height)
        actions = [*window.target.actions, *(action for _, action in window.recent)]
        points = [(action.x, action.y) for action in actions if self._has_places and not isinstance(action, Key)]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        sides = (
            min([most_x, *xs]),
            min([most_y, *ys]),
            min([most_x, *(width - 1 - x for x in xs)]),
            min([most_y, *(height - 1 - y for y in ys)]),
        )
        # A pointer may be beyond the frame.
        return Edges(*(max(side, 0) for side in sides))


def name_change(frame_id: str, epoch: int) -> str:
    """Return the key of a picture as it looks in an epoch."""
    return f"{frame_id}{_EPOCH_MARK}{epoch}"


def is_changed(key: str) -> bool:
    """Tell whether a key is of a picture as it looks in one epoch only."""
    return _EPOCH_MARK in key


def _sides(edges: Edges) -> tuple[int, int, int, int]:
    return edges.left, edges.top, edges.right, edges.bottom


def crop_window(window: Window, cut: Edges, *, has_places: bool = True) -> Window:
    """Return a window over what is left of its frame, in pixels of that.

    Args:
        window: in pixels of the whole frame.
        cut: what is cut off.
        has_places: whether actions have places; an offset of a relative pointer stays what it is.
    """
    width = window.frame_width_px - cut.left - cut.right
    height = window.frame_height_px - cut.top - cut.bottom

    def move(action: Action) -> Action:
        if isinstance(action, Key) or not has_places:
            return action
        return replace(action, x=action.x - cut.left, y=action.y - cut.top)

    target = ActionChunk(tuple(map(move, window.target.actions)), window.target.done)
    state = None if window.state is None else crop_state(window.state, (cut.left, cut.top, width, height))
    recent = tuple((age_ms, move(action)) for age_ms, action in window.recent)
    return replace(window, frame_width_px=width, frame_height_px=height, target=target, recent=recent, state=state)


class ChangedFrames:
    """Reads a dataset's pictures by key, as they look in the key's epoch, at the recipe's size."""

    def __init__(self, folder: Path, recipe: Recipe, augmentation: Augmentation) -> None:
        """Take the dataset's folder, what to resize to, and how pictures look."""
        self._folder = folder
        self._size = (recipe.image_width_px, recipe.image_height_px)
        self._augmentation = augmentation

    def __call__(self, key: str) -> RgbFrame:
        """Return the picture, (height, width, 3) uint8."""
        rgb = read_jpeg(frame_path(self._folder, key.partition(_EPOCH_MARK)[0]))
        change = self._augmentation.find_change(key)
        if change is None:
            return resize_frame(rgb, *self._size)
        height, width = rgb.shape[:2]
        cut = change.cut
        kept = rgb[cut.top : height - cut.bottom, cut.left : width - cut.right]
        return change_colours(resize_frame(np.ascontiguousarray(kept), *self._size), change.factors)


def change_colours(rgb: RgbFrame, factors: Sequence[tuple[str, float]]) -> RgbFrame:
    """Return a picture, (height, width, 3) uint8, with one of its `COLOURS` multiplied after the other.

    Brightness against black, contrast against the mean grey, saturation against the grey of each pixel, as pillow's
    `ImageEnhance` and torchvision's `ColorJitter` have them.
    """
    if not factors:
        return rgb
    picture = Image.fromarray(rgb)
    for name, factor in factors:
        picture = _ENHANCERS[name](picture).enhance(factor)
    return np.asarray(picture)


class ChangingRows:
    """Gives rows as they look in an epoch."""

    def __init__(
        self, windows: Sequence[Window], augmentation: Augmentation, encoder: WindowEncoder, chat: ChatEncoder
    ) -> None:
        """Take the windows that rows were made of, by their `source`, and how they are made."""
        self._windows = windows
        self._augmentation = augmentation
        self._encoder = encoder
        self._chat = chat

    def __call__(self, row: Row, epoch: int) -> Row:
        """Return a row over its changed pictures; where edges are cut off, its windows are written anew."""
        if not row.image_keys:
            return row
        if not self._augmentation.crops:
            return replace(row, image_keys=tuple(name_change(key, epoch) for key in row.image_keys))
        changed = [self._augmentation.change_window(self._windows[note.source], epoch) for note in row.notes]
        sources = [note.source for note in row.notes]
        return make_row(list(map(self._encoder.encode, changed, sources)), self._chat)
