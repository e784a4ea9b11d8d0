"""Windows as rows of plain values, and back. Actions are stored as the text of the `json` codec, in frame pixels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.invalid import InvalidActionError
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

_NO_LIMIT = 1_000_000
_PLAIN_COLUMNS = (
    "session",
    "clip",
    "t_ns",
    "split",
    "goal",
    "goal_level",
    "goal_source",
    "goal_confidence",
    "frame_width_px",
    "frame_height_px",
)


class WindowCodec:
    """Windows as rows of plain values, and back; exact."""

    def __init__(self, spec: ActionSpec, history_ms: int) -> None:
        self._codec = make_codec("json")
        self._spec = spec
        self._history_ms = history_ms

    def to_row(self, window: Window) -> dict[str, Any]:
        """Return the row of a window.

        Raises:
            InvalidActionError: an action is not allowed by the spec.
        """
        target_spec, recent_spec = self._specs(window.frame_width_px, window.frame_height_px)
        return {
            "session": window.session,
            "clip": window.clip,
            "t_ns": window.t_ns,
            "split": window.split,
            "goal": window.goal,
            "goal_level": window.goal_level,
            "goal_source": window.goal_source,
            "goal_confidence": window.goal_confidence,
            "frame": window.frame_id,
            "frame_width_px": window.frame_width_px,
            "frame_height_px": window.frame_height_px,
            "target": self._codec.encode(window.target, target_spec),
            "recent": self._codec.encode(self._recent_chunk(window), recent_spec),
            "state": None if window.state is None else json.dumps(window.state, separators=(",", ":")),
        }

    def from_row(self, row: dict[str, Any]) -> Window:
        """Return the window of a row.

        Raises:
            DataError: the row was not written by `to_row` with the same spec.
        """
        try:
            target_spec, recent_spec = self._specs(row["frame_width_px"], row["frame_height_px"])
            target = self._codec.decode(row["target"], target_spec)
            recent = self._codec.decode(row["recent"], recent_spec)
            return Window(
                **{key: row[key] for key in _PLAIN_COLUMNS},
                frame_id=row["frame"],
                target=target,
                recent=tuple(self._ages(recent)),
                state=None if row["state"] is None else json.loads(row["state"]),
            )
        except _MISFITS as error:
            raise DataError(f"a window does not fit the dataset's spec: {error}") from error

    def _specs(self, width_px: int, height_px: int) -> tuple[ActionSpec, ActionSpec]:
        spec = self._spec.with_extent(width_px, height_px)
        return spec, replace(spec, horizon_ms=self._history_ms, max_actions=_NO_LIMIT)

    def _recent_chunk(self, window: Window) -> ActionChunk:
        # The history is one long chunk that starts `history_ms` before now.
        actions = []
        last_age_ms = self._history_ms
        for age_ms, action in window.recent:
            actions.append(replace(action, dt_ms=last_age_ms - age_ms))
            last_age_ms = age_ms
        return ActionChunk(tuple(actions))

    def _ages(self, recent: ActionChunk) -> Iterator[tuple[int, Any]]:
        age_ms = self._history_ms
        for action in recent.actions:
            age_ms -= action.dt_ms
            yield age_ms, replace(action, dt_ms=0)


_MISFITS = (
    *(KeyError, ValueError, TypeError, AttributeError, RecursionError, OverflowError),
    *(ConfigError, InvalidActionError),
)
"""What comes of rows that were not written here."""


def row_schema() -> pa.Schema:
    """Return the Arrow schema of the rows."""
    import pyarrow as pa

    text, number = pa.string(), pa.int32()
    return pa.schema(
        [
            ("session", text),
            ("clip", number),
            ("t_ns", pa.int64()),
            ("split", text),
            ("goal", text),
            ("goal_level", text),
            ("goal_source", text),
            ("goal_confidence", pa.float64()),
            ("frame", text),
            ("frame_width_px", number),
            ("frame_height_px", number),
            ("target", text),
            ("recent", text),
            ("state", text),
        ]
    )
