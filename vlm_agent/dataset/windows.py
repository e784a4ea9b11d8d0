"""Windows: the raw material of samples, and their way into a prompt.

A window starts at a tick. Before it lies the history (recent actions), after it the horizon, whose actions are the
target. No window reaches past its clip, and none sees another session; its history may reach back over the start of its
clip, as the agent's own does. Everything is kept in pixels of the captured frame; `prompt_input` and `target_chunk`
convert for one model at train time, so one dataset serves all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import Action, ActionChunk, Move
from vlm_agent.chat import PromptInput, Recipe, Turn, render_answer
from vlm_agent.clips import NS_PER_MS, GoalLevel, LabeledClip
from vlm_agent.dataset.events import PressConfig, Timeline
from vlm_agent.dataset.onsets import HurryCount, date_by_onset, keep_dates
from vlm_agent.dataset.overflow import fit_actions
from vlm_agent.dataset.state_text import render_state
from vlm_agent.dataset.thinning import Points, ThinningConfig, ThinningError, anchors_of, measure_error, thin_path
from vlm_agent.errors import ConfigError

if TYPE_CHECKING:
    from vlm_agent.chat import RgbFrame


class WindowDrop(StrEnum):
    """Why a tick gave no window, or an action no target."""

    CLIP_DROPPED = "clip_dropped"
    """Its clip is idle or too short."""
    PAST_CLIP_END = "past_clip_end"
    """Its horizon reaches past its clip."""
    PRESS_PENDING = "press_pending"
    """It begins after a press was dated and before it came: its picture and state don't show it yet."""
    NO_FRAME = "no_frame"
    """Nothing was captured before it."""
    PICTURE_TOO_OLD = "picture_too_old"
    """What was captured before it is older than a window may show: frames are missing there."""
    NO_GOAL = "no_goal"
    """Neither its clip nor its session has a goal."""
    GUARD = "guard"
    """It lies between the splits of a session that is split by time."""
    ACTION_OVERFLOW = "action_overflow"
    """An action beyond the spec's most actions in a chunk, or the other half of a hold that was cut so."""
    ACTION_BETWEEN_TICKS = "action_between_ticks"
    """An action after a horizon's end and before the next tick, or the other half of a hold that began there."""


@dataclass(frozen=True)
class WindowConfig:
    """How windows are laid over a session."""

    history_ticks: int = 10
    """How many horizons of recent actions a window keeps."""
    stride_ticks: int = 1
    """A window starts at every so many-th tick of a clip."""
    press: PressConfig = field(default_factory=PressConfig)
    """When two halves are one press."""
    thinning: ThinningConfig = field(default_factory=ThinningConfig)
    """How much of a pointer's path is kept."""
    max_picture_age_ms: int | None = None
    """Oldest picture that a window or a contact sheet may show, milliseconds; None: two horizons. A recording with
    fewer pictures needs more: one a second has windows whose picture is almost a second old."""
    by_onset: bool = True
    """Whether a movement that crosses the end of a window, and the press it ends in, belong to the window in which it
    began; else it is cut where the window ends."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a stride or history that can't be meant."""
        if self.stride_ticks < 1 or self.history_ticks < 0:
            raise ConfigError(
                f"stride_ticks must be at least 1 and history_ticks at least 0,"
                f" got {self.stride_ticks} and {self.history_ticks}"
            )
        if self.max_picture_age_ms is not None and self.max_picture_age_ms < 0:
            raise ConfigError(f"max_picture_age_ms must be at least 0, got {self.max_picture_age_ms}")

    def picture_age_ns(self, horizon_ms: int) -> int:
        """Return how old a picture may be, nanoseconds."""
        return (2 * horizon_ms if self.max_picture_age_ms is None else self.max_picture_age_ms) * NS_PER_MS


@dataclass(frozen=True)
class Window:
    """One decision: what was known, and what the player did in the horizon after it. In frame pixels."""

    session: str
    """Identifier of its session."""
    clip: int
    """Index of its clip in the session."""
    t_ns: int
    """When it starts, on the session's clock."""
    split: str
    """`train`, `validation` or `test`."""
    goal: str
    """The instruction."""
    goal_level: GoalLevel
    """`long`: the whole play's goal; `short`: the clip's."""
    goal_source: str
    """`human`, `model` or `game`."""
    goal_confidence: float
    """How sure the source is, 0 to 1."""
    frame_id: str
    """Content identifier of the picture."""
    frame_width_px: int
    """Width of the picture as captured."""
    frame_height_px: int
    """Height of the picture as captured."""
    target: ActionChunk
    """What the player did, or set out to do (see `onsets`), in the horizon."""
    recent: tuple[tuple[int, Action], ...] = ()
    """Actions before it with `dt_ms` 0, oldest first, each with its age in milliseconds."""
    state: dict[str, Any] | None = None
    """Game state at the tick; `None` where the session has none."""

    @property
    def window_id(self) -> str:
        """Name of the window, unique in a dataset."""
        return f"{self.session}/{self.t_ns}/{self.goal_level}"


@dataclass(frozen=True)
class Moment:
    """A window before its picture, state and goal are looked up."""

    t_ns: int
    """The tick."""
    labeled: LabeledClip
    """The clip it lies in."""
    target: ActionChunk
    """What the player did in the horizon."""
    recent: tuple[tuple[int, Action], ...]
    """Actions before it with their ages in milliseconds."""


@dataclass
class SlideReport:
    """What was lost on the way from events to windows."""

    drops: Counter[str] = field(default_factory=Counter)
    """Ticks and actions that came to nothing, by `WindowDrop`."""
    thinning: ThinningError = field(default_factory=ThinningError)
    """What thinning cost."""
    hurried: HurryCount = field(default_factory=HurryCount)
    """What was dated by its onset."""


def slide_windows(
    clips: Sequence[LabeledClip],
    timeline: Timeline,
    ticks_ns: Sequence[int],
    spec: ActionSpec,
    config: WindowConfig | None = None,
) -> tuple[list[Moment], SlideReport]:
    """Lay windows over the clips of one session and return those that fit, with what was dropped.

    Args:
        clips: all clips of the session in order.
        timeline: the session's actions and pointer path.
        ticks_ns: decision times, ascending.
        spec: what may be said, over an extent equal to the frame's size.
        config: history, stride and thinning.
    """
    config = config or WindowConfig()
    report = SlideReport()
    spans = _spans(ticks_ns, spec.horizon_ms * NS_PER_MS)
    starts = [labeled.clip.start_ns for labeled in clips]
    homes = [clips[max(bisect_right(starts, t_ns) - 1, 0)] for t_ns, _ in spans]
    onsets = keep_dates(timeline)
    if config.by_onset and spec.pointer == "absolute":
        onsets = date_by_onset(timeline, spans, [home.clip.stop_ns for home in homes])
    timeline, report.hurried = onsets.timeline, onsets.count
    fitted = fit_actions(timeline, spans, spec.max_actions)
    chunks = [
        # A hurried stroke is not where it was recorded to be, so it says nothing about thinning.
        _make_chunk(timeline, span, actions, spec, config, report, is_measured=span[0] not in onsets.hurried_ns)
        for span, actions in zip(spans, fitted.windows, strict=True)
    ]
    _count(report.drops, WindowDrop.ACTION_OVERFLOW, fitted.overflow)
    _count(report.drops, WindowDrop.ACTION_BETWEEN_TICKS, fitted.between)
    moments = []
    first_tick: dict[int, int] = {}
    for index, ((t_ns, span_stop_ns), labeled) in enumerate(zip(spans, homes, strict=True)):
        place = index - first_tick.setdefault(labeled.clip.index, index)
        if labeled.clip.dropped is not None:
            report.drops[WindowDrop.CLIP_DROPPED] += 1
        elif span_stop_ns > labeled.clip.stop_ns:
            report.drops[WindowDrop.PAST_CLIP_END] += 1
        elif onsets.is_pending(t_ns):
            report.drops[WindowDrop.PRESS_PENDING] += 1
        elif place % config.stride_ticks == 0:
            recent = _recent_actions(ticks_ns, chunks, index, config.history_ticks * spec.horizon_ms, spec.time_unit_ms)
            moments.append(Moment(t_ns, labeled, chunks[index], recent))
    return moments, report


def prompt_input(
    window: Window, recipe: Recipe, frame: RgbFrame, earlier: Sequence[tuple[Window, RgbFrame]] = ()
) -> PromptInput:
    """Return what a model of that recipe sees of a window.

    Args:
        window: the window, in frame pixels.
        recipe: how the model is spoken to.
        frame: the window's picture, (height, width, 3) uint8 RGB; passed on as it is.
        earlier: the decisions before it that are shown, oldest first, with their pictures (see `histories`).
    """
    space = recipe.space(window.frame_width_px, window.frame_height_px)
    ages = [age_ms for age_ms, _ in window.recent]
    actions = space.chunk_to_model(ActionChunk(tuple(action for _, action in window.recent))).actions
    asked = PromptInput(
        frames=(frame,),
        goal=window.goal,
        state_text=state_text(window, recipe),
        recent=tuple(zip(ages, actions, strict=True)),
    )
    if not recipe.is_conversation:
        return replace(asked, frames=(*(shown for _, shown in earlier), frame))
    turns = (
        Turn(shown, state_text(one, recipe), render_answer(target_chunk(one, recipe), recipe)) for one, shown in earlier
    )
    return replace(asked, earlier=tuple(turns))


def state_text(window: Window, recipe: Recipe) -> str:
    """Return a window's game state as a model of that recipe reads it; empty where there is none."""
    space = recipe.space(window.frame_width_px, window.frame_height_px)
    return render_state(window.state or {}, space, recipe.state_text_max_chars)


def target_chunk(window: Window, recipe: Recipe) -> ActionChunk:
    """Return a window's target in the units of a model of that recipe."""
    return recipe.space(window.frame_width_px, window.frame_height_px).chunk_to_model(window.target)


def _spans(ticks_ns: Sequence[int], horizon_ns: int) -> list[tuple[int, int]]:
    # A tick that comes early ends the horizon before it: no action is the target of two windows.
    following = [*ticks_ns[1:], ticks_ns[-1] + horizon_ns] if ticks_ns else []
    return [(t, min(t + horizon_ns, after)) for t, after in zip(ticks_ns, following, strict=True)]


def _make_chunk(
    timeline: Timeline,
    span: tuple[int, int],
    actions: Sequence[tuple[int, Action]],
    spec: ActionSpec,
    config: WindowConfig,
    report: SlideReport,
    *,
    is_measured: bool,
) -> ActionChunk:
    start_ns, stop_ns = span
    timed = [((t - start_ns) // NS_PER_MS, action) for t, action in actions]
    points = _points(timeline, start_ns, stop_ns)
    start = timeline.pointer_at(start_ns) or ((int(points[0, 1]), int(points[0, 2])) if len(points) else (0, 0))
    moves = _moves(points, anchors_of(timed), start, config.thinning, room=max(spec.max_actions - len(timed), 0))
    if spec.pointer != "absolute":
        moves = []
    # Moves first on a tie: a pointer arrives before it presses.
    merged = sorted([*moves, *timed], key=lambda item: item[0])
    chunk = ActionChunk(tuple(_relative_times(merged, spec.time_unit_ms)))
    if len(points) and spec.pointer == "absolute" and is_measured:
        report.thinning.add(measure_error(chunk, points, start, spec.horizon_ms))
        report.thinning.points_in += len(points)
        report.thinning.points_out += len(moves)
    return chunk


def _points(timeline: Timeline, start_ns: int, stop_ns: int) -> Points:
    rows = [((t - start_ns) / NS_PER_MS, x, y) for t, x, y in timeline.path_span(start_ns, stop_ns)]
    return np.array(rows, dtype=float).reshape(-1, 3)


def _moves(
    points: Points, anchors: Points, start: tuple[int, int], config: ThinningConfig, *, room: int
) -> list[tuple[int, Action]]:
    kept = thin_path(points, anchors, start, config)
    tolerance_px = config.path_tolerance_px
    while len(kept) > max(room, 1) and tolerance_px < 1e5:
        # A coarser path rather than a cut-off one.
        tolerance_px = max(tolerance_px * 1.5, 1.0)
        kept = thin_path(points, anchors, start, replace(config, path_tolerance_px=tolerance_px))
    return [(ms, Move(0, x, y)) for ms, x, y in kept[-room:]] if room else []


def _relative_times(timed: Sequence[tuple[int, Action]], unit_ms: int) -> Iterator[Action]:
    # Offsets are rounded before they are subtracted, so that rounding does not add up.
    last_ms = 0
    for ms, action in timed:
        at_ms = ms // unit_ms * unit_ms
        yield replace(action, dt_ms=at_ms - last_ms)
        last_ms = at_ms


def _recent_actions(
    ticks_ns: Sequence[int], chunks: Sequence[ActionChunk], index: int, history_ms: int, unit_ms: int
) -> tuple[tuple[int, Action], ...]:
    recent: list[tuple[int, Action]] = []
    earlier = index - 1
    while earlier >= 0 and ticks_ns[index] - ticks_ns[earlier] <= history_ms * NS_PER_MS:
        at_ms = 0
        block = []
        for action in chunks[earlier].actions:
            at_ms += action.dt_ms
            age_ms = (ticks_ns[index] - ticks_ns[earlier]) // NS_PER_MS - at_ms
            block.append((age_ms // unit_ms * unit_ms, replace(action, dt_ms=0)))
        recent[:0] = block
        earlier -= 1
    return tuple(recent)


def _count(drops: Counter[str], reason: WindowDrop, number: int) -> None:
    if number > 0:
        drops[reason] += number
