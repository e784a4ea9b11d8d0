"""A player made of rules and a human hand: sees the state, acts only through mouse and keyboard events.

Every client tick it looks, and when what it would do next has changed it reacts as a person would: after a reaction
time it brings the pointer there, makes sure it is on the target, and presses. Then it waits to see the effect (some
players with the pointer already on its way to where the next press will be); when nothing happens it tries again. It is
a pure function of its seed and of the states it has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from vlm_agent.actions.events import InputEvent
from vlm_agent.games.ringcraft.hand import Hand
from vlm_agent.games.ringcraft.layout import LAYOUT, Rect
from vlm_agent.games.ringcraft.plan import Step, choose_step, foresee, locate, turn_units
from vlm_agent.games.ringcraft.skill import Skill, draw_skill
from vlm_agent.games.ringcraft.state import CLIENT_TICK_MS, State

_NS_PER_MS = 1_000_000
_TICK_NS = CLIENT_TICK_MS * _NS_PER_MS
_GLANCE_NS = 60 * _NS_PER_MS
"""Looking costs time, a person's and ours; three client ticks later than a change is soon enough."""
_PATIENCE_MS = 1500.0
"""Without an effect after this long (two world ticks and a little) a press is tried again."""
_HOVER_CHECK_NS = 300 * _NS_PER_MS
_DRIFT_PX = 40.0
"""How far the hand of a player who only waits strays."""
_TURN_UNITS_PER_MS = 0.8
"""How fast a held arrow key turns the camera, as a player has learnt it."""
_LONGEST_TURN_MS = 1200.0


class Game(Protocol):
    """What a player needs of a game."""

    @property
    def state(self) -> State:
        """What is to be seen."""

    @property
    def now_ns(self) -> int:
        """The session's clock."""

    def feed(self, events: Sequence[InputEvent]) -> None:
        """Give the game input."""

    def advance(self, ms: int) -> None:
        """Let time pass."""


class Demonstrator:
    """Plays Ringcraft for ever."""

    def __init__(self, seed: int, skill: Skill | None = None, *, player: int = 0) -> None:
        """Take the session's seed, and the skill (default: drawn for this session of the numbered player)."""
        self.skill = skill if skill is not None else draw_skill(seed, player=player)
        self._rng = np.random.default_rng([seed, 0xDE30])
        self._hand: Hand | None = None
        self._step = Step("look", "", "wait")
        self._next_look_ns = 0
        self._ready_ns = 0
        self._is_pressed = False
        self._slips = False
        self._aim: Rect | None = None
        self._patient_until_ns = 0
        self._next_hover_ns = 0
        self._next_idle_ns = 0

    @property
    def step(self) -> Step:
        """The step now pursued."""
        return self._step

    @property
    def current_goal(self) -> str:
        """The short goal now pursued, by its text in `goals.GOALS`; empty before the first look."""
        return self._step.goal

    def act(self, game: Game) -> list[InputEvent]:
        """Return the events of the coming client tick, in order; call once per client tick, before it passes."""
        state, now_ns = game.state, game.now_ns
        hand = self._take_hand(state)
        if now_ns >= self._next_look_ns:
            self._next_look_ns = now_ns + _GLANCE_NS
            self._look(state, now_ns)
        if now_ns >= self._ready_ns:
            self._pursue(hand, state, now_ns)
        return hand.release_due(now_ns + _TICK_NS)

    def _take_hand(self, state: State) -> Hand:
        position = (state.pointer.x, state.pointer.y)
        if self._hand is None:
            frame = LAYOUT.frame
            self._hand = Hand(self.skill.motor, self._rng, position=position, frame_size_px=(frame.width, frame.height))
        elif not self._hand.is_busy:
            self._hand.rest_at(position)
        return self._hand

    def _look(self, state: State, now_ns: int) -> None:
        step = choose_step(state, self.skill.habits)
        if step == self._step:
            return
        self._step = step
        self._ready_ns = now_ns + int(self.skill.reaction.draw_ms(self._rng) * _NS_PER_MS)
        self._next_hover_ns = self._ready_ns
        self._next_idle_ns = self._ready_ns + self._draw_idle_ns()
        self._prepare_press()

    def _prepare_press(self) -> None:
        self._is_pressed = False
        self._aim = None
        self._slips = bool(self._rng.random() < self.skill.motor.misclick_rate)

    def _pursue(self, hand: Hand, state: State, now_ns: int) -> None:
        if self._is_pressed:
            self._await_effect(hand, state, now_ns)
        elif self._step.kind == "click":
            self._approach(hand, state, now_ns)
        elif self._step.kind == "key":
            self._note_press(hand.tap(self._step.label, now_ns), _PATIENCE_MS)
        elif self._step.kind == "turn":
            self._turn(hand, state, now_ns)
        else:
            self._wait(hand, state, now_ns)

    def _approach(self, hand: Hand, state: State, now_ns: int) -> None:
        """Bring the pointer onto the target and press once it is there."""
        rect = locate(state, self._step)
        if rect is None:
            return
        if hand.is_busy:
            if self._aim is not None and _overlap(self._aim, rect):
                return
            hand.drop_plans()
        if self._is_on_target(hand, rect):
            dwell_ns = int(self.skill.reaction.draw_dwell_ms(self._rng) * _NS_PER_MS)
            patience_ms = self.skill.reaction.draw_ms(self._rng) if self._slips else _PATIENCE_MS
            self._note_press(hand.click(now_ns + dwell_ns), patience_ms)
            return
        self._aim = rect
        hand.point(rect, now_ns, misses=self._slips)

    def _is_on_target(self, hand: Hand, rect: Rect) -> bool:
        if self._slips:
            # A slip is a press where the movement happened to end.
            return self._aim is not None
        return rect.contains(*hand.position)

    def _turn(self, hand: Hand, state: State, now_ns: int) -> None:
        wanted_ms = turn_units(state, self._step) / _TURN_UNITS_PER_MS
        hold_ms = min(wanted_ms * self._rng.lognormal(0.0, 0.1), _LONGEST_TURN_MS)
        end_ns = hand.hold(self._step.label, now_ns, int(max(hold_ms, 60.0) * _NS_PER_MS))
        self._note_press(end_ns, self.skill.reaction.draw_ms(self._rng))

    def _note_press(self, end_ns: int, patience_ms: float) -> None:
        self._is_pressed = True
        self._patient_until_ns = end_ns + int(patience_ms * _NS_PER_MS)
        self._next_hover_ns = end_ns + int(self.skill.reaction.draw_dwell_ms(self._rng) * _NS_PER_MS)

    def _await_effect(self, hand: Hand, state: State, now_ns: int) -> None:
        if now_ns >= self._patient_until_ns:
            self._prepare_press()
        elif not self._slips:
            self._hover(hand, state, now_ns)

    def _wait(self, hand: Hand, state: State, now_ns: int) -> None:
        self._hover(hand, state, now_ns)
        if now_ns >= self._next_idle_ns and not hand.is_busy:
            self._next_idle_ns = now_ns + self._draw_idle_ns()
            self._idle(hand, state, now_ns)

    def _hover(self, hand: Hand, state: State, now_ns: int) -> None:
        """Keep the pointer where the press after this one is expected, if that is this player's way."""
        if not self.skill.habits.hovers or now_ns < self._next_hover_ns or hand.is_busy:
            return
        self._next_hover_ns = now_ns + _HOVER_CHECK_NS
        rect = self._next_rect(state)
        if rect is not None and not rect.contains(*hand.position):
            hand.point(rect, now_ns)

    def _next_rect(self, state: State) -> Rect | None:
        expected = foresee(state, self._step)
        return locate(expected, choose_step(expected, self.skill.habits))

    def _idle(self, hand: Hand, state: State, now_ns: int) -> None:
        if self._rng.random() < self.skill.habits.idle_camera_share:
            key = "left" if self._rng.random() < 0.5 else "right"
            hand.hold(key, now_ns, int(self._rng.uniform(60, 200) * _NS_PER_MS))
            return
        rect = self._next_rect(state) if self.skill.habits.hovers else None
        if rect is not None:
            hand.point(rect, now_ns)
        else:
            hand.drift(_DRIFT_PX, now_ns)

    def _draw_idle_ns(self) -> int:
        mean_ms = self.skill.habits.idle_interval_ms
        return int((0.4 * mean_ms + self._rng.exponential(0.6 * mean_ms)) * _NS_PER_MS)


def demonstrate(
    game: Game,
    demonstrator: Demonstrator,
    duration_ms: int,
    on_tick: Callable[[Game, list[InputEvent]], None] | None = None,
) -> None:
    """Let a demonstrator play a game for a while.

    Args:
        game: The game, at any moment of play.
        demonstrator: Who plays.
        duration_ms: Game time to play, milliseconds; rounded up to client ticks.
        on_tick: Called before each client tick with the game as it was seen and the events about to be fed.
    """
    for _ in range(-(-duration_ms // CLIENT_TICK_MS)):
        events = demonstrator.act(game)
        if on_tick is not None:
            on_tick(game, events)
        game.feed(events)
        game.advance(CLIENT_TICK_MS)


def _overlap(one: Rect, other: Rect) -> bool:
    return one.intersect(other) is not None
