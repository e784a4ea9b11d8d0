"""Filmstrips: a few pictures of one recorded episode of each, with what was predicted and what was done drawn on them.

The seed is not chosen by eye: it is the one on which the tuned model did middling (the median of its values). All are
played on it once more and recorded as sessions, so that the whole episode can be looked at too.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, WheelTurned
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import Click, Scroll
from vlm_agent.evaluation.comparison import Comparison
from vlm_agent.evaluation.matches import record_matches
from vlm_agent.rollouts.episodes import Episode, Outcome
from vlm_agent.rollouts.running import RolloutPlan
from vlm_agent.sessions.reader import SessionReader

if TYPE_CHECKING:
    from vlm_agent.chat import RgbFrame

FILMED = ("base", "tuned", "demonstrator")
"""Who is filmed."""
NUM_SHOTS = 8
"""Pictures a film."""
SHOT_WIDTH_PX = 480
"""Pictures are made smaller, to keep the report light."""
JPEG_QUALITY = 78

_DONE, _SAID, _EDGE = (255, 45, 120), (0, 229, 255), (0, 0, 0)
"""Colours that the game does not use: what was done, what was predicted, and a dark edge for both."""
_NS_PER_MS = 1_000_000

Point = tuple[int, int]


@dataclass(frozen=True)
class Shot:
    """One picture of a film."""

    t_s: float
    """Game time since the episode began."""
    score: int
    """Score so far."""
    words: str
    """What was done in the horizon that began here."""
    jpeg: bytes
    """The picture as it was seen then, marks drawn on it."""


@dataclass(frozen=True)
class Film:
    """One episode in pictures."""

    name: str
    """Whose."""
    label: str
    """As the report calls it."""
    seed: int
    """The scene."""
    score: float
    """Of the whole episode."""
    shots: tuple[Shot, ...]
    """In order of time."""


@dataclass
class Tick:
    """One horizon of a recorded episode."""

    t_ns: int
    """When it began."""
    decision: dict[str, Any]
    """What the session keeps of the decision."""
    events: list[InputEvent] = field(default_factory=list)
    """What was done."""

    @property
    def has_press(self) -> bool:
        """Whether a button or a key was pressed."""
        return any(isinstance(event, ButtonChanged | KeyChanged) and event.pressed for event in self.events)


def shoot_films(comparison: Comparison, plans: Sequence[RolloutPlan], folder: Path, *, workers: int) -> list[Film]:
    """Record one episode of base, tuned and demonstrator, and return their films."""
    seed = find_typical_seed(comparison)
    filmed = [plan for plan in plans if plan.name in FILMED]
    episodes = record_matches(filmed, seed, folder, workers=workers)
    env = filmed[0].make_env()
    spec = env.spec_actions
    env.close()
    return [
        make_film(comparison.rows[name].contender.label, name, episode, folder, spec)
        for name, episode in episodes.items()
    ]


def find_typical_seed(comparison: Comparison) -> int:
    """Return the seed on which tuned had the median of its values; of several, the lowest."""
    pairs = sorted(zip(comparison.tuned.values, comparison.seeds, strict=True))
    median = pairs[len(pairs) // 2][0]
    return min(seed for value, seed in pairs if value == median)


def make_film(label: str, name: str, episode: Episode, folder: Path, spec: ActionSpec) -> Film:
    """Return the film of a recorded episode.

    Raises:
        DataError: its session can't be read.
    """
    stem = Path(episode.session or f"{name}-{episode.seed}").name
    reader = SessionReader(folder / f"{stem}.mcap")
    ticks = read_ticks(reader)
    start_ns = ticks[0].t_ns if ticks else 0
    chosen = choose_ticks(ticks, NUM_SHOTS)
    shots = []
    for tick, frame in zip(chosen, reader.frames_at(tick.t_ns for tick in chosen), strict=True):
        t_ms = (tick.t_ns - start_ns) // _NS_PER_MS
        score = sum(time_ms <= t_ms for time_ms in episode.score_times_ms)
        shots.append(Shot(t_ms / 1000, score, describe_tick(tick), draw_shot(frame.rgb, tick, spec)))
    return Film(name, label, episode.seed, episode.score, tuple(shots))


def read_ticks(reader: SessionReader) -> list[Tick]:
    """Return the horizons of a recorded episode with their events."""
    ticks = [Tick(t_ns, decision) for t_ns, decision in reader.decisions()]
    index = 0
    for event in reader.events():
        # An event at the very moment of a decision belongs to it.
        while index + 1 < len(ticks) and ticks[index + 1].t_ns <= event.t_ns:
            index += 1
        if ticks:
            ticks[index].events.append(event)
    return ticks


def choose_ticks(ticks: Sequence[Tick], count: int) -> list[Tick]:
    """Return so many horizons spread over the episode; of each part the first with a press, else its middle one."""
    edges = [len(ticks) * part // count for part in range(count + 1)]
    parts = [ticks[start:stop] for start, stop in pairwise(edges) if stop > start]
    return [next((tick for tick in part if tick.has_press), part[len(part) // 2]) for part in parts]


def describe_tick(tick: Tick) -> str:
    """Return in a few words what was done, or why nothing was."""
    outcome = tick.decision.get("outcome")
    if outcome in (Outcome.INVALID, Outcome.REFUSED, Outcome.LATE):
        reason = tick.decision.get("reason")
        return f"{outcome}: {reason}" if reason else str(outcome)
    words = list(_describe_events(tick.events))
    if words:
        return ", ".join(words)
    if outcome == Outcome.DONE:
        return "says it is done"
    return "moves" if tick.events else "waits"


def _describe_events(events: Sequence[InputEvent]) -> Iterator[str]:
    for event in events:
        if isinstance(event, ButtonChanged) and event.pressed:
            button = "" if event.button == "left" else f"{event.button} "
            yield f"{button}click {event.x}, {event.y}"
        elif isinstance(event, KeyChanged) and event.pressed:
            yield f"key {event.key}"
        elif isinstance(event, WheelTurned):
            yield f"wheel {event.dy:+d}"


def draw_shot(frame: RgbFrame, tick: Tick, spec: ActionSpec) -> bytes:
    """Return a frame, (height, width, 3) RGB, with the horizon's path and presses drawn on it, as JPEG."""
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    path = [(event.x, event.y) for event in tick.events if not isinstance(event, KeyChanged)]
    _draw_path(draw, path)
    for point in _find_predicted(tick, spec):
        _draw_cross(draw, point)
    for event in tick.events:
        if isinstance(event, ButtonChanged) and event.pressed:
            _draw_ring(draw, (event.x, event.y))
    height_px = round(image.height * SHOT_WIDTH_PX / image.width)
    small = image.resize((SHOT_WIDTH_PX, height_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()


def _find_predicted(tick: Tick, spec: ActionSpec) -> list[Point]:
    text = tick.decision.get("chunk")
    if not text:
        return []
    actions = make_codec("json").decode(text, spec).actions
    return [(action.x, action.y) for action in actions if isinstance(action, Click | Scroll)]


def _draw_path(draw: ImageDraw.ImageDraw, path: Sequence[Point]) -> None:
    if len(path) > 1:
        draw.line(path, fill=_EDGE, width=5, joint="curve")
        draw.line(path, fill=(255, 255, 255), width=2, joint="curve")


def _draw_ring(draw: ImageDraw.ImageDraw, point: Point) -> None:
    for radius, colour, width in ((20, _EDGE, 9), (18, _DONE, 5)):
        draw.ellipse(_box(point, radius), outline=colour, width=width)
    draw.ellipse(_box(point, 4), fill=_DONE, outline=_EDGE)


def _draw_cross(draw: ImageDraw.ImageDraw, point: Point) -> None:
    x, y = point
    for colour, width in ((_EDGE, 8), (_SAID, 4)):
        reach = 30 if colour == _SAID else 32
        draw.line([(x - reach, y), (x + reach, y)], fill=colour, width=width)
        draw.line([(x, y - reach), (x, y + reach)], fill=colour, width=width)


def _box(point: Point, radius: int) -> tuple[int, int, int, int]:
    return point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius
