"""Chunks as text and back. Exact: `decode(encode(c)) == c`, and any other text raises InvalidActionError.

Only the canonical spelling is read. An answer in another spelling is refused even where its meaning is clear: the model
was trained on one spelling, and a decoder that forgives hides that it has left it. `actions.layouts` shows
both forms.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal, Protocol

from vlm_agent.actions.invalid import InvalidActionError, Reason
from vlm_agent.actions.layouts import ACTION_TYPES, JSON_LAYOUT, LINE_LAYOUT, NUMBERS, Field, Layout, Template
from vlm_agent.actions.reading import read_json, read_lines
from vlm_agent.actions.spec import ActionSpec, EventName, PointerKind
from vlm_agent.actions.types import Action, ActionChunk, Click, Scroll
from vlm_agent.actions.validation import EVENT_NAMES, check_action, check_chunk
from vlm_agent.errors import ConfigError

CodecName = Literal["json", "line"]
"""The codecs there are."""


class Codec(Protocol):
    """The text form of chunks."""

    @property
    def name(self) -> str:
        """What recipes and settings call it."""
        ...

    @property
    def layout(self) -> Layout:
        """Its table of literal text and fields."""
        ...

    def encode(self, chunk: ActionChunk, spec: ActionSpec) -> str:
        """Return the one text of `chunk`; raises InvalidActionError where `spec` forbids it."""
        ...

    def decode(self, text: str, spec: ActionSpec) -> ActionChunk:
        """Return the chunk of a canonical text; raises InvalidActionError for any other."""
        ...

    def decode_prefix(self, text: str, spec: ActionSpec) -> tuple[ActionChunk, Reason | None]:
        """Return the complete, allowed actions that `text` starts with, and why it isn't a whole answer."""
        ...


class _LayoutCodec:
    """What the codecs share: everything but the search for the reason of a refusal."""

    name: str
    layout: Layout

    def encode(self, chunk: ActionChunk, spec: ActionSpec) -> str:
        """Return the one text of `chunk`; raises InvalidActionError where `spec` forbids it."""
        check_chunk(chunk, spec)
        layout = self.layout
        if chunk.done:
            return layout.done
        templates = layout.templates[spec.pointer]
        written = (_write(action, templates[EVENT_NAMES[type(action)]], layout) for action in chunk.actions)
        return layout.opening + layout.separator.join(written) + layout.closing

    def decode(self, text: str, spec: ActionSpec) -> ActionChunk:
        """Return the chunk of a canonical text; raises InvalidActionError for any other."""
        try:
            chunk = self._parse(text, spec)
            if chunk is not None:
                check_chunk(chunk, spec)
                return chunk
            self._refuse(text, spec)
        except InvalidActionError as error:
            raise error.with_text(text) from None
        raise InvalidActionError(Reason.NOT_CANONICAL, text=text)

    def decode_prefix(self, text: str, spec: ActionSpec) -> tuple[ActionChunk, Reason | None]:
        """Return the complete, allowed actions that `text` starts with, and why it isn't a whole answer."""
        try:
            return self.decode(text, spec), None
        except InvalidActionError as error:
            reason = error.reason
        kept: list[Action] = []
        time_left_ms = spec.horizon_ms
        for action in self._scan(text, spec.pointer)[0][: spec.max_actions]:
            try:
                check_action(action, spec)
            except InvalidActionError:
                break
            time_left_ms -= action.dt_ms
            if time_left_ms < 0:
                break
            kept.append(action)
        return ActionChunk(tuple(kept)), reason

    def _parse(self, text: str, spec: ActionSpec) -> ActionChunk | None:
        # Spelling only, no ranges: None for a text that is not canonical.
        layout = self.layout
        if text == layout.done:
            return ActionChunk(done=True)
        if text == layout.empty:
            return ActionChunk()
        actions, stop = self._scan(text, spec.pointer)
        return ActionChunk(tuple(actions)) if actions and text[stop:] == layout.closing else None

    def _scan(self, text: str, pointer: PointerKind) -> tuple[list[Action], int]:
        # The actions in front that are spelt right, and where the last of them ends.
        layout = self.layout
        if not text.startswith(layout.opening):
            return [], 0
        patterns = _patterns(self.name, pointer)
        actions: list[Action] = []
        stop = start = len(layout.opening)
        while True:
            found = next(((kind, m) for kind, pattern in patterns if (m := pattern.match(text, start))), None)
            if found is None:
                return actions, stop
            kind, match = found
            actions.append(_build(kind, match.groupdict()))
            stop = match.end()
            if not text.startswith(layout.separator, stop):
                return actions, stop
            start = stop + len(layout.separator)

    def _is_cut_off(self, text: str, pointer: PointerKind) -> bool:
        # Whether more text could make it canonical (ranges apart).
        layout = self.layout
        if any(whole.startswith(text) and whole != text for whole in (layout.done, layout.empty)):
            return True
        actions, stop = self._scan(text, pointer)
        rest = text[max(stop, len(layout.opening)) :]
        if actions:
            if layout.closing.startswith(rest):
                return rest != layout.closing
            if not rest.startswith(layout.separator):
                return False
            rest = rest[len(layout.separator) :]
        elif not text.startswith(layout.opening):
            return False
        return any(_starts(rest, template, layout) for template in layout.templates[pointer].values())

    def _refuse(self, text: str, spec: ActionSpec) -> None:
        # Called for a text that is not canonical: raise the reason, or return where only the spelling is wrong.
        raise NotImplementedError


class JsonCodec(_LayoutCodec):
    """Compact JSON in a fixed field order, design form `{"actions":[...]}`."""

    name = "json"
    layout = JSON_LAYOUT

    def _refuse(self, text: str, spec: ActionSpec) -> None:
        if self._is_cut_off(text, spec.pointer):
            raise InvalidActionError(Reason.TRUNCATED)
        check_chunk(read_json(text, spec), spec)


class LineCodec(_LayoutCodec):
    """One action a line, words parted by single spaces, a dot at the end."""

    name = "line"
    layout = LINE_LAYOUT

    def _refuse(self, text: str, spec: ActionSpec) -> None:
        if self._is_cut_off(text, spec.pointer):
            raise InvalidActionError(Reason.TRUNCATED)
        check_chunk(read_lines(text, spec), spec)


def make_codec(name: str) -> JsonCodec | LineCodec:
    """Return the codec called `name`: `json` or `line`.

    Raises:
        ConfigError: there is no such codec.
    """
    if name == "json":
        return JsonCodec()
    if name == "line":
        return LineCodec()
    raise ConfigError(f"unknown codec {name!r}; there are json and line")


def _write(action: Action, template: Template, layout: Layout) -> str:
    return "".join(_write_part(part, action, layout) for part in template)


def _write_part(part: str | Field, action: Action, layout: Layout) -> str:
    if isinstance(part, str):
        return part
    value = getattr(action, part.value)
    if part is not Field.STATE:
        return str(value)
    before, after = layout.state_affixes
    return f"{before}{value}{after}" if value else ""


_FIELD_PATTERNS = {
    # Nine digits are more than any range; a bound keeps huge numbers from being converted at all.
    **dict.fromkeys(NUMBERS, r"(?:0|-?[1-9][0-9]{0,8})"),
    Field.BUTTON: r"[a-z0-9_]+",
    Field.KEY: r"[a-z0-9_]+",
    Field.STATE: r"(?:down|up)",
}


@lru_cache
def _patterns(codec_name: str, pointer: PointerKind) -> tuple[tuple[EventName, re.Pattern[str]], ...]:
    layout = make_codec(codec_name).layout
    # A text may stop inside a last word or number: only what follows shows that the action is complete.
    ending = "" if layout is JSON_LAYOUT else f"(?=[{re.escape(layout.separator + layout.closing)}])"
    return tuple(
        (kind, re.compile("".join(_part_pattern(part, layout) for part in template) + ending))
        for kind, template in layout.templates[pointer].items()
    )


def _part_pattern(part: str | Field, layout: Layout) -> str:
    if isinstance(part, str):
        return re.escape(part)
    pattern = f"(?P<{part.value}>{_FIELD_PATTERNS[part]})"
    if part is not Field.STATE:
        return pattern
    before, after = layout.state_affixes
    return f"(?:{re.escape(before)}{pattern}{re.escape(after)})?"


def _build(kind: EventName, found: dict[str, str | None]) -> Action:
    numbers = {part.value for part in NUMBERS}
    values: dict[str, Any] = {
        name: int(text) if name in numbers and text is not None else text for name, text in found.items()
    }
    cls = ACTION_TYPES[kind]
    if cls in (Click, Scroll):
        values = {"x": 0, "y": 0, **values}
    return cls(**values)


def _starts(rest: str, template: Template, layout: Layout) -> bool:
    # Whether an action of this template could begin with `rest`, all of it.
    at = 0
    for part in template:
        if at >= len(rest):
            return True
        if isinstance(part, str):
            piece = rest[at : at + len(part)]
            if not part.startswith(piece):
                return False
            at += len(part)
        elif part is Field.STATE:
            before, after = layout.state_affixes
            choices = [f"{before}{state}{after}" for state in ("down", "up")]
            if any(choice.startswith(rest[at:]) for choice in choices):
                return True
            at += next((len(choice) for choice in choices if rest.startswith(choice, at)), 0)
        else:
            found = re.compile(_FIELD_PATTERNS[part]).match(rest, at)
            if found is None:
                return part in NUMBERS and rest[at:] == "-"
            at = found.end()
    return at >= len(rest)
