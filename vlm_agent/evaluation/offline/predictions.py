"""What someone answered to recorded windows, kept so that every number can be computed anew without a model.

A file of JSON lines: the first says what was asked of whom, each other holds one window with the player's actions, the
answer or the reason why there is none, and the rectangles of the game state that the player's clicks fell into. Lines
are added as answers come; a file whose last line was cut off by a kill goes on from the line before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.invalid import InvalidActionError
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import ConfigError, DataError

FORMAT = 1
Box = tuple[float, float, float, float]
"""Left, top, width and height in frame pixels."""

_LEAST_PX, _MOST_SHARE = 4.0, 0.2
"""Rectangles narrower than this, or that cover more than this share of the frame, are no targets of a click."""


@dataclass(frozen=True)
class Prediction:
    """One window: what the player did, and what was answered. In pixels of the window's frame."""

    window_id: str
    """Name of the window in its dataset."""
    session: str
    """Its session: the unit that numbers are resampled by."""
    goal: str
    """What was asked for."""
    goal_level: str
    """`long` or `short`."""
    target: ActionChunk
    """What the player did."""
    answer: ActionChunk | None
    """What was answered; none where nothing could be read from it."""
    reason: str | None = None
    """Why there is no answer; from a closed list (see `policies.Decision`)."""
    boxes: tuple[Box | None, ...] = ()
    """For each click of the player the smallest rectangle of the game state around it, if any."""


def find_boxes(window: Window) -> tuple[Box | None, ...]:
    """Return for each click of a window's target the smallest rectangle of its game state that holds it, if any."""
    limit = _MOST_SHARE * window.frame_width_px * window.frame_height_px
    boxes = [box for box in _boxes_in(window.state) if min(box[2:]) >= _LEAST_PX and box[2] * box[3] <= limit]

    def smallest(click: Click) -> Box | None:
        around = [box for box in boxes if is_inside(click.x, click.y, box)]
        return min(around, key=lambda box: box[2] * box[3], default=None)

    return tuple(smallest(action) for action in window.target.actions if isinstance(action, Click))


def is_inside(x: float, y: float, box: Box) -> bool:
    """Tell whether a point lies in a rectangle, left and top edge included."""
    left, top, width, height = box
    return left <= x < left + width and top <= y < top + height


def _boxes_in(value: Any) -> Iterator[Box]:
    if isinstance(value, Mapping):
        sides = [value.get(key) for key in ("x", "y", "width", "height")]
        if all(isinstance(side, int | float) and not isinstance(side, bool) for side in sides):
            left, top, width, height = (float(side) for side in sides if side is not None)
            yield left, top, width, height
        for inner in value.values():
            yield from _boxes_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _boxes_in(inner)


class PredictionStore:
    """The file of one contender's predictions."""

    def __init__(self, path: Path, about: Mapping[str, Any], spec: ActionSpec) -> None:
        """Open a file, or begin one.

        Args:
            path: the file; its folder is made.
            about: what was asked of whom; a file that says something else is not gone on with.
            spec: the dataset's, in frame pixels of its largest frame.

        Raises:
            DataError: the file is not one of predictions, or is about something else.
        """
        self.path = path
        self._codec = _Codec(spec)
        self._head = json.loads(json.dumps({"format": FORMAT, **about, "spec": spec.to_json()}))
        self.done: dict[str, Prediction] = {}
        """The predictions that are there, by window."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._go_on()
        else:
            self._write_line(self._head)

    def add(self, prediction: Prediction) -> None:
        """Write one more prediction."""
        self._write_line(self._codec.to_json(prediction))
        self.done[prediction.window_id] = prediction

    def _write_line(self, value: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(value, separators=(",", ":")) + "\n")

    def _go_on(self) -> None:
        whole, size = [], 0
        for line in self.path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break  # cut off by a kill
            whole.append(line)
            size += len(line)
        head, predictions = _parse(self.path, whole, self._codec)
        if head != self._head:
            raise DataError(f"{self.path}: holds predictions of something else; give another --out, or remove it")
        with self.path.open("r+b") as file:
            file.truncate(size)
        self.done = {prediction.window_id: prediction for prediction in predictions}


def read_predictions(path: Path) -> tuple[dict[str, Any], list[Prediction]]:
    """Return what a file of predictions is about, and what is in it.

    Raises:
        DataError: there is no such file, or it is not one of predictions.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise DataError(f"{path}: no predictions to read ({error.strerror})") from error
    return _parse(path, [line for line in lines if line.endswith(b"\n")], None)


def _parse(path: Path, lines: Iterable[bytes], codec: _Codec | None) -> tuple[dict[str, Any], list[Prediction]]:
    try:
        head, *rest = [json.loads(line) for line in lines]
        if head["format"] != FORMAT:
            raise DataError(f"{path}: predictions of format {head['format']}, expected {FORMAT}")
        codec = codec or _Codec(ActionSpec.from_json(head["spec"]))
        return head, [codec.from_json(value) for value in rest]
    except (ValueError, KeyError, TypeError, ConfigError, InvalidActionError) as error:
        raise DataError(f"{path}: not a file of predictions ({error})") from error


class _Codec:
    """Predictions as JSON values, and back; exact."""

    def __init__(self, spec: ActionSpec) -> None:
        self._codec = make_codec("json")
        self._spec = spec

    def to_json(self, one: Prediction) -> dict[str, Any]:
        value: dict[str, Any] = {
            "window": one.window_id,
            "session": one.session,
            "goal": one.goal,
            "level": one.goal_level,
            "target": self._codec.encode(one.target, self._spec),
            "answer": None if one.answer is None else self._codec.encode(one.answer, self._spec),
        }
        if one.reason is not None:
            value["reason"] = one.reason
        if any(one.boxes):
            value["boxes"] = one.boxes
        return value

    def from_json(self, value: dict[str, Any]) -> Prediction:
        target = self._codec.decode(value["target"], self._spec)
        answer = None if value["answer"] is None else self._codec.decode(value["answer"], self._spec)
        num_clicks = sum(isinstance(action, Click) for action in target.actions)
        boxes = tuple(None if box is None else _as_box(box) for box in value.get("boxes", [None] * num_clicks))
        return Prediction(
            window_id=value["window"],
            session=value["session"],
            goal=value["goal"],
            goal_level=value["level"],
            target=target,
            answer=answer,
            reason=value.get("reason"),
            boxes=boxes,
        )


def _as_box(value: Any) -> Box:
    left, top, width, height = (float(side) for side in value)
    return left, top, width, height
