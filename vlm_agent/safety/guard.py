"""The last check before execution: a chunk is executed whole or refused whole, with a reason.

The guard remembers what is held and how much was done within the last second, across chunks, because neither rate nor
key combinations can be judged from one chunk alone. It does not execute anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from vlm_agent.actions.invalid import InvalidActionError
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import Action, ActionChunk, Click, Key, Scroll
from vlm_agent.actions.validation import check_chunk
from vlm_agent.safety.rules import Refusal, SafetyRules, is_combo_down

PRESS_MS = 60
"""How long a full press holds its key; two that start closer than this are held together."""

_SECOND_MS = 1000


@dataclass(frozen=True)
class _Memory:
    """What has been done so far, as far as the rules look back."""

    held_buttons: frozenset[str] = frozenset()
    held_keys: frozenset[str] = frozenset()
    pressed_ms: tuple[tuple[int, str], ...] = ()
    action_times_ms: tuple[int, ...] = ()
    press_times_ms: tuple[int, ...] = ()


@dataclass
class Guard:
    """Reviews chunks in the order in which they would be executed."""

    spec: ActionSpec
    """What the environment accepts, in frame pixels."""
    rules: SafetyRules = field(default_factory=SafetyRules)
    """What is denied beyond that."""
    _memory: _Memory = field(default_factory=_Memory, init=False, repr=False)

    def review(self, chunk: ActionChunk, t_ms: int) -> Refusal | None:
        """Return why the chunk must not start at `t_ms`, or None and count it as executed.

        A refused chunk leaves no trace: what it would have held or counted is forgotten.
        """
        if not _is_in_spec(chunk, self.spec):
            return Refusal.OUT_OF_SPEC
        memory = self._memory
        for at_ms, action in _timed(chunk, t_ms):
            memory = _remember(memory, action, at_ms)
            refusal = self._judge(memory, action)
            if refusal is not None:
                return refusal
        self._memory = memory
        return None

    def _judge(self, memory: _Memory, action: Action) -> Refusal | None:
        if self._touches_denied(memory, action):
            return Refusal.REGION_DENIED
        down = memory.held_keys | {key for _, key in memory.pressed_ms}
        if is_combo_down(self.rules.denied_combos, down):
            return Refusal.COMBO_DENIED
        if len(memory.action_times_ms) > self.rules.max_actions_per_s:
            return Refusal.RATE_EXCEEDED
        if len(memory.press_times_ms) > self.rules.max_presses_per_s:
            return Refusal.RATE_EXCEEDED
        return None

    def _touches_denied(self, memory: _Memory, action: Action) -> bool:
        if isinstance(action, Key) or self.spec.pointer != "absolute":
            return False
        # A bare move only hovers; with a button held it drags.
        acts = isinstance(action, Click | Scroll) or bool(memory.held_buttons)
        return acts and any(region.contains(action.x, action.y) for region in self.rules.denied_regions)


def _timed(chunk: ActionChunk, t_ms: int) -> Iterator[tuple[int, Action]]:
    for action in chunk.actions:
        t_ms += action.dt_ms
        yield t_ms, action


def _remember(memory: _Memory, action: Action, at_ms: int) -> _Memory:
    """Forget what is over a second old, add the action."""
    since = at_ms - _SECOND_MS
    memory = replace(
        memory,
        action_times_ms=(*(t for t in memory.action_times_ms if t > since), at_ms),
        press_times_ms=tuple(t for t in memory.press_times_ms if t > since),
        pressed_ms=tuple((t, key) for t, key in memory.pressed_ms if t > at_ms - PRESS_MS),
    )
    if not isinstance(action, Click | Key):
        return memory
    if action.state != "up":
        memory = replace(memory, press_times_ms=(*memory.press_times_ms, at_ms))
    if isinstance(action, Click):
        return replace(memory, held_buttons=_hold(memory.held_buttons, action.button, action.state))
    if action.state is None:
        return replace(memory, pressed_ms=(*memory.pressed_ms, (at_ms, action.key)))
    return replace(memory, held_keys=_hold(memory.held_keys, action.key, action.state))


def _hold(held: frozenset[str], name: str, state: str | None) -> frozenset[str]:
    if state == "down":
        return held | {name}
    return held - {name}


def _is_in_spec(chunk: ActionChunk, spec: ActionSpec) -> bool:
    try:
        check_chunk(chunk, spec)
    except InvalidActionError:
        return False
    return True
