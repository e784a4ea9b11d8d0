"""Why an answer is not an allowed chunk: a closed list of reasons, the error that carries one, and a counter.

It knows neither how answers are written (see `actions.codecs`) nor what is allowed (see `actions.validation`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from vlm_agent.errors import VlmAgentError

_SHOWN_CHARS = 120


class Reason(StrEnum):
    """Everything that can be wrong with an answer; reports count by these."""

    TRUNCATED = "truncated"
    """The text stops in the middle of an answer that was right so far."""
    TRAILING_TEXT = "trailing_text"
    """Something follows a complete answer."""
    NOT_JSON = "not_json"
    """The text can't be read as JSON at all."""
    WRONG_SHAPE = "wrong_shape"
    """Readable, but not an object with a list of action objects (or not lines of words)."""
    MISSING_FIELD = "missing_field"
    """An action, or the answer, lacks a field."""
    UNKNOWN_FIELD = "unknown_field"
    """An action, or the answer, has a field it must not have."""
    DUPLICATE_FIELD = "duplicate_field"
    """A field is said twice."""
    BAD_TYPE = "bad_type"
    """A field's value is of the wrong type: a float, a bool or a string for an integer, and so on."""
    UNKNOWN_EVENT = "unknown_event"
    """`event` is none of CLICK, KEY, SCROLL, MOVE."""
    EVENT_NOT_ALLOWED = "event_not_allowed"
    """A known event that this spec forbids."""
    KEY_NOT_ALLOWED = "key_not_allowed"
    """A key that is not among the spec's keys."""
    BUTTON_NOT_ALLOWED = "button_not_allowed"
    """A button that is not among the spec's buttons."""
    STATE_NOT_ALLOWED = "state_not_allowed"
    """A `state` that is not down or up, or any where the spec has no holds."""
    DT_NEGATIVE = "dt_negative"
    """Time runs backwards."""
    DT_NOT_MULTIPLE = "dt_not_multiple"
    """`dt` is not a multiple of the spec's time unit."""
    OVER_HORIZON = "over_horizon"
    """The running sum of `dt` passes the horizon."""
    TOO_MANY_ACTIONS = "too_many_actions"
    """More actions than the spec allows in a chunk."""
    OUT_OF_EXTENT = "out_of_extent"
    """A point outside the spec's extent, or a point where a relative pointer has none."""
    OFFSET_TOO_LARGE = "offset_too_large"
    """A relative move beyond the spec's largest offset."""
    BAD_SCROLL = "bad_scroll"
    """No notches, or more than the spec allows."""
    DONE_WITH_ACTIONS = "done_with_actions"
    """The answer says the goal is reached and acts as well."""
    NOT_CANONICAL = "not_canonical"
    """An allowed chunk in another spelling: spaces, another field order, `"done":false`."""


class InvalidActionError(VlmAgentError):
    """A text or a chunk is not allowed by a spec; `reason` is out of the closed list."""

    def __init__(self, reason: Reason, detail: str = "", text: str = "") -> None:
        """Keep the reason, what exactly is wrong, and the text that was read (empty for a chunk made by code)."""
        parts = [f"not an allowed answer ({reason})", _shorten(detail), repr(_shorten(text)) if text else ""]
        super().__init__(": ".join(part for part in parts if part))
        self.reason = reason
        self.detail = detail
        self.text = text

    def with_text(self, text: str) -> InvalidActionError:
        """Return the same error about `text`."""
        return InvalidActionError(self.reason, self.detail, text)


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."


class RejectionCounts:
    """How many answers were refused, by reason."""

    def __init__(self, reasons: Iterable[Reason] = ()) -> None:
        """Start from some reasons, or from none."""
        self._counts: Counter[Reason] = Counter(reasons)

    def __getitem__(self, reason: Reason) -> int:
        return self._counts[reason]

    @property
    def total(self) -> int:
        """All refusals together."""
        return self._counts.total()

    def add(self, reason: Reason, count: int = 1) -> None:
        """Count a refusal."""
        self._counts[reason] += count

    def update(self, other: RejectionCounts) -> None:
        """Add another counter's refusals to this one's."""
        self._counts.update(other._counts)

    def to_json(self) -> dict[str, int]:
        """Return reason -> count, most frequent first, ties by name; only reasons that were met."""
        met = ((reason, count) for reason, count in self._counts.items() if count)
        return {str(reason): count for reason, count in sorted(met, key=lambda item: (-item[1], item[0]))}
