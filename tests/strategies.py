"""Random specs and chunks: one seeded generator, and Hypothesis strategies on top of it."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import strategies as st

from vlm_agent.actions import Action, ActionChunk, ActionSpec, Click, Key, Move, PointerKind, Scroll

KEY_NAMES = (
    "space",
    "escape",
    "left",
    "a",
    "w",
    "1",
    "2",
    "12",
    "f1",
    "f12",
    "page_up",
    "num_lock",
    "key",
    "x",
    "down",
)
BUTTON_NAMES = ("left", "right", "middle", "x1")
STATES = (None, "down", "up")


POINTERS: tuple[PointerKind, ...] = ("absolute", "relative", "none")


def random_spec(rng: random.Random, pointers: Sequence[PointerKind] = POINTERS) -> ActionSpec:
    """Return any spec with one of `pointers`: empty keys or buttons, odd time units, tiny and huge extents."""
    unit_ms = rng.choice((1, 7, 10, 16, 50))
    return ActionSpec(
        extent_width=rng.choice((1, 9, 10, 100, 765, 1000, 1001, 3840)),
        extent_height=rng.choice((1, 2, 11, 503, 1000, 2160)),
        keys=tuple(rng.sample(KEY_NAMES, rng.randint(0, 6))),
        buttons=tuple(rng.sample(BUTTON_NAMES, rng.randint(0, 3))),
        pointer=rng.choice(pointers),
        horizon_ms=unit_ms * rng.choice((0, 1, 9, 60, 100)),
        time_unit_ms=unit_ms,
        max_actions=rng.choice((1, 2, 8, 30)),
        max_scroll=rng.choice((0, 1, 5, 12)),
        max_offset=rng.choice((1, 99, 500)),
        holds=rng.random() < 0.5,
    )


def random_chunk(rng: random.Random, spec: ActionSpec) -> ActionChunk:
    """Return any chunk that `spec` allows, edges of every range often."""
    if rng.random() < 0.05:
        return ActionChunk(done=True)
    num_actions = rng.randint(0, min(spec.max_actions, rng.choice((1, 3, spec.max_actions)))) if spec.events else 0
    units = spec.horizon_ms // spec.time_unit_ms
    ends = sorted(_edgy(rng, 0, units) for _ in range(num_actions))
    gaps = [(end - start) * spec.time_unit_ms for start, end in zip([0, *ends], ends, strict=False)]
    return ActionChunk(tuple(_random_action(rng, spec, dt_ms) for dt_ms in gaps))


def _random_action(rng: random.Random, spec: ActionSpec, dt_ms: int) -> Action:
    event = rng.choice(spec.events)
    state = rng.choice(STATES) if spec.holds else None
    if event == "KEY":
        return Key(dt_ms, rng.choice(spec.keys), state)
    x, y = 0, 0
    if spec.pointer == "absolute":
        x, y = _edgy(rng, 0, spec.extent_width - 1), _edgy(rng, 0, spec.extent_height - 1)
    if event == "CLICK":
        return Click(dt_ms, x, y, rng.choice(spec.buttons), state)
    if event == "SCROLL":
        return Scroll(dt_ms, x, y, rng.choice((-1, 1)) * _edgy(rng, 1, spec.max_scroll))
    if spec.pointer == "relative":
        x, y = _edgy(rng, -spec.max_offset, spec.max_offset), _edgy(rng, -spec.max_offset, spec.max_offset)
    return Move(dt_ms, x, y)


def _edgy(rng: random.Random, low: int, high: int) -> int:
    return rng.choice((low, high, rng.randint(low, high), rng.randint(low, high)))


def specs() -> st.SearchStrategy[ActionSpec]:
    """Any spec."""
    return st.randoms(use_true_random=False).map(random_spec)


@st.composite
def specs_with_chunks(
    draw: st.DrawFn, pointers: Sequence[PointerKind] = POINTERS, num_chunks: int = 1
) -> tuple[ActionSpec, list[ActionChunk]]:
    """A spec with one of `pointers`, and chunks that it allows."""
    rng = draw(st.randoms(use_true_random=False))
    spec = random_spec(rng, pointers)
    return spec, [random_chunk(rng, spec) for _ in range(num_chunks)]
