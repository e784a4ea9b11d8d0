"""Films of recorded episodes: a few pictures in a strip, and a small video, with what was predicted and done drawn on.

The seeds are not chosen by eye: they are those on which the tuned model did best, middling and worst by its values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.events import ButtonChanged, KeyChanged
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import Click, Scroll
from vlm_agent.evaluation.comparison import BASE, TUNED, Comparison, Row
from vlm_agent.evaluation.marks import Point, draw_cross, draw_path, draw_ring, shrink, to_jpeg
from vlm_agent.evaluation.ticks import Tick, choose_ticks, describe_tick, read_ticks
from vlm_agent.evaluation.videos import caption, encode_video
from vlm_agent.rollouts.episodes import Episode
from vlm_agent.sessions.reader import SessionReader

if TYPE_CHECKING:
    from vlm_agent.chat import RgbFrame

RECORDED = (BASE, TUNED, "demonstrator")
"""Whose episodes are recorded as sessions."""
NUM_SHOTS = 8
"""Pictures a strip."""
SHOT_WIDTH_PX = 480
"""Pictures are made smaller, to keep the report light."""
TICKS_PER_S = 6.0
"""Horizons a second of video: of 600 ms each, 3.6 times as fast as the game."""
_NS_PER_MS = 1_000_000


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
    rank: str
    """How tuned did on this seed: `best`, `median`, `worst`, or several of them."""
    seed: int
    """The scene."""
    score: float
    """Of the whole episode."""
    shots: tuple[Shot, ...]
    """In order of time."""
    video: bytes | None = None
    """The whole episode as H.264 in MP4."""


def shoot_films(comparison: Comparison, folder: Path, spec: ActionSpec) -> list[Film]:
    """Return films of tuned on its best, median and worst seed, and of everyone else recorded on the median one.

    Args:
        comparison: names the episodes.
        folder: holds their sessions; an episode without one is left out.
        spec: what may be done, in frame pixels.

    Raises:
        DataError: a session can't be read.
    """
    films = []
    for seed, rank in rank_seeds(comparison):
        names = [TUNED, *(name for name in RECORDED if name != TUNED and "median" in rank)]
        for name in names:
            row = comparison.rows.get(name)
            session = find_session(row, seed, folder) if row else None
            if row is not None and session is not None:
                films.append(make_film(row, rank, seed, session, spec, with_video=name == TUNED))
    return films


def rank_seeds(comparison: Comparison) -> list[tuple[int, str]]:
    """Return the seeds on which tuned did best, middling and worst, with the names of those ranks.

    Of seeds with the same value the lowest that has no other rank; where all are taken, a seed has several ranks. The
    median of an even number is the upper one of the two in the middle.
    """
    pairs = sorted(zip(comparison.tuned.values, comparison.seeds, strict=True))
    places = {"best": -1, "median": len(pairs) // 2, "worst": 0}
    ranks: dict[int, list[str]] = {}
    for rank, place in places.items():
        alike = [seed for value, seed in pairs if value == pairs[place][0]]
        seed = next((seed for seed in alike if seed not in ranks), alike[0])
        ranks.setdefault(seed, []).append(rank)
    return [(seed, ", ".join(names)) for seed, names in ranks.items()]


def find_session(row: Row, seed: int, folder: Path) -> Path | None:
    """Return the recording of a contender's episode, wherever its folder was moved to; None if there is none."""
    episode = _episode_of(row, seed)
    path = folder / f"{Path(episode.session or '').name}.mcap"
    return path if episode.session and path.exists() else None


def find_recordings(comparison: Comparison, name: str, folder: Path) -> list[Path]:
    """Return all recordings of a contender, in the order of the seeds; none of one who did not play."""
    row = comparison.rows.get(name)
    found = [find_session(row, seed, folder) for seed in comparison.seeds] if row else []
    return [path for path in found if path is not None]


def make_film(row: Row, rank: str, seed: int, session: Path, spec: ActionSpec, *, with_video: bool = False) -> Film:
    """Return the film of a recorded episode.

    Raises:
        DataError: its session can't be read.
    """
    episode = _episode_of(row, seed)
    reader = SessionReader(session)
    ticks = read_ticks(reader)
    start_ns = ticks[0].t_ns if ticks else 0

    def tell(tick: Tick) -> tuple[float, int, str]:
        t_ms = (tick.t_ns - start_ns) // _NS_PER_MS
        score = sum(time_ms <= t_ms for time_ms in episode.score_times_ms)
        return t_ms / 1000, score, describe_tick(tick)

    chosen = {tick.t_ns for tick in choose_ticks(ticks, NUM_SHOTS)}
    shots, pictures = [], []
    wanted = ticks if with_video else [tick for tick in ticks if tick.t_ns in chosen]
    for tick, picture in zip(wanted, _draw_all(reader, wanted, spec), strict=True):
        t_s, score, words = tell(tick)
        if tick.t_ns in chosen:
            shots.append(Shot(t_s, score, words, to_jpeg(picture)))
        if with_video:
            pictures.append(caption(picture, f"{t_s:5.1f} s   score {score}   {words}"))
    video = encode_video(pictures, TICKS_PER_S) if pictures else None
    label = row.contender.label
    return Film(row.contender.name, label, rank, seed, episode.score, tuple(shots), video)


def draw_shot(frame: RgbFrame, tick: Tick, spec: ActionSpec) -> Image.Image:
    """Return a frame, (height, width, 3) RGB, with the horizon's path and presses drawn on it, made smaller."""
    image = Image.fromarray(frame)
    draw = ImageDraw.Draw(image)
    draw_path(draw, [(event.x, event.y) for event in tick.events if not isinstance(event, KeyChanged)])
    for point in _find_predicted(tick, spec):
        draw_cross(draw, point)
    for event in tick.events:
        if isinstance(event, ButtonChanged) and event.pressed:
            draw_ring(draw, (event.x, event.y))
    return shrink(image, SHOT_WIDTH_PX)


def _draw_all(reader: SessionReader, ticks: Sequence[Tick], spec: ActionSpec) -> Iterator[Image.Image]:
    frames = reader.frames_at(tick.t_ns for tick in ticks)
    for tick, frame in zip(ticks, frames, strict=True):
        yield draw_shot(frame.rgb, tick, spec)


def _find_predicted(tick: Tick, spec: ActionSpec) -> list[Point]:
    text = tick.decision.get("chunk")
    if not text:
        return []
    actions = make_codec("json").decode(text, spec).actions
    return [(action.x, action.y) for action in actions if isinstance(action, Click | Scroll)]


def _episode_of(row: Row, seed: int) -> Episode:
    return next(episode for episode in row.episodes if episode.seed == seed)
