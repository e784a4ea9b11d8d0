"""From recorded sessions of an agent and of the player to how alike they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from scipy.stats import theilslopes

from vlm_agent.errors import DataError
from vlm_agent.evaluation.likeness.classifier import Telling, tell_apart
from vlm_agent.evaluation.likeness.contrasts import Effort, contrast_kinds, contrast_numbers
from vlm_agent.evaluation.likeness.features import (
    FEATURES,
    MOVEMENT_COLUMNS,
    PRESS_COLUMNS,
    TRANSITIONS,
    Aim,
    Feature,
    SessionFeatures,
    level_movements,
    measure_session,
)
from vlm_agent.evaluation.likeness.likeness import (
    QUANTILES,
    FeatureLikeness,
    FittsLine,
    Likeness,
    Profile,
    SideSummary,
)
from vlm_agent.evaluation.likeness.movements import FASTEST_MS, SLOWEST_MS
from vlm_agent.evaluation.likeness.streams import Floats, InputStream, read_stream
from vlm_agent.evaluation.likeness.timing import KINDS
from vlm_agent.evaluation.offline.estimates import correct_holm
from vlm_agent.sessions.types import Controller

LEAST_SESSIONS = 4
"""Of each side: halves of the player's must be two sessions at least."""
LEAST_AIMS = 20
"""Presses on known targets that a line of Fitts' law needs."""
_MOST_AIMS = 1000
"""Evenly spread; every two are looked at."""

OnStep = Callable[[str], None]
"""Told what has been done: a session's name or a feature's."""


def count_steps(num_sessions: int) -> int:
    """Return how often `measure_likeness` tells of a step."""
    return num_sessions + len(FEATURES) + 3


def measure_likeness(
    agent: Sequence[Path],
    player: Sequence[Path],
    *,
    effort: Effort | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> Likeness:
    """Measure how like the player an agent moves and times its input.

    Args:
        agent: recorded episodes of one policy, `.mcap`.
        player: the player's sessions, `.mcap`.
        effort: how often chance is asked.
        seed: decides that chance.
        on_step: called after each session and each feature; `count_steps` says how often.

    Raises:
        DataError: a session is damaged or not of the side it is given for, there are too few, episodes of several
            policies are mixed, or agent and player had frames of other sizes.
    """
    tell = on_step or (lambda _: None)
    _check_numbers(agent, player)
    streams = [_read_side(agent, "agent", tell), _read_side(player, "human", tell)]
    policy = _check_same_policy(streams[0])
    _check_same_size(*streams)
    interval_ms = choose_interval(*streams)
    piece_ms = min(median(stream.duration_ms for stream in side) for side in streams)
    sides = [
        [measure_session(stream, interval_ms=interval_ms, piece_ms=piece_ms) for stream in side] for side in streams
    ]
    rng = np.random.default_rng(seed)
    effort = effort or Effort()
    return Likeness(
        policy=policy,
        agent=_summarise(streams[0], sides[0]),
        player=_summarise(streams[1], sides[1]),
        interval_ms=interval_ms,
        piece_s=piece_ms / 1000,
        features=tuple(_contrast_all(sides[0], sides[1], effort, rng, tell)),
        tellings=tuple(_tell_all(sides[0], sides[1], effort, rng, tell)),
        seed=seed,
    )


def choose_interval(*sides: Sequence[InputStream]) -> float:
    """Return the sampling interval that all sessions are brought to, milliseconds.

    That of the side whose pointer reports more seldom: what lies between its reports nobody knows, and the other
    side's must be forgotten too.
    """
    known = [[stream.sampling_ms for stream in side if stream.sampling_ms is not None] for side in sides]
    typical = [median(of_side) for of_side in known if of_side]
    return float(np.clip(max(typical, default=FASTEST_MS), FASTEST_MS, SLOWEST_MS))


def _read_side(paths: Sequence[Path], who: Controller, tell: OnStep) -> list[InputStream]:
    streams = []
    for path in paths:
        streams.append(read_stream(path, who))
        tell(path.stem)
    return streams


def _check_numbers(agent: Sequence[Path], player: Sequence[Path]) -> None:
    for name, paths in (("agent", agent), ("player", player)):
        if len(paths) < LEAST_SESSIONS:
            raise DataError(
                f"--{name}: likeness needs at least {LEAST_SESSIONS} sessions of each side, got {len(paths)}: "
                f"record more, shorter ones do"
            )


def _check_same_policy(streams: Sequence[InputStream]) -> str | None:
    policies = sorted({stream.policy for stream in streams if stream.policy is not None})
    if len(policies) > 1:
        raise DataError(f"--agent holds episodes of {', '.join(policies)}: name one with --policy")
    return policies[0] if policies else None


def _check_same_size(agent: Sequence[InputStream], player: Sequence[InputStream]) -> None:
    sizes = [{stream.frame_size_px for stream in side if stream.frame_size_px} for side in (agent, player)]
    if sizes[0] and sizes[1] and not sizes[0] & sizes[1]:
        texts = [" and ".join(f"{width}x{height}" for width, height in sorted(of_side)) for of_side in sizes]
        raise DataError(f"frames of --agent are {texts[0]} pixels, of --player {texts[1]}: distances can't be compared")


def _summarise(streams: Sequence[InputStream], side: Sequence[SessionFeatures]) -> SideSummary:
    counts = np.zeros((len(KINDS), len(KINDS)))
    for one in side:
        np.add.at(counts.ravel(), one.transitions.astype(int), 1)
    return SideSummary(
        sessions=len(side),
        pieces=sum(one.pieces for one in side),
        minutes=sum(stream.duration_ms for stream in streams) / 60_000,
        transitions=tuple(tuple(int(count) for count in row) for row in counts),
        profile=_draw_profile(side),
        fitts=fit_fitts([aim for one in side for aim in one.aims]),
    )


def _draw_profile(side: Sequence[SessionFeatures]) -> Profile | None:
    profiles = [one.profiles for one in side if len(one.profiles)]
    if not profiles:
        return None
    low, middle, high = np.quantile(np.concatenate(profiles), [0.25, 0.5, 0.75], axis=0)
    return Profile(tuple(low.tolist()), tuple(middle.tolist()), tuple(high.tolist()))


def fit_fitts(aims: Sequence[Aim]) -> FittsLine | None:
    """Fit Fitts' law, time = intercept + slope * difficulty; none for too few or equal aims.

    Difficulty is Shannon's form (ISO 9241-411) with the nominal width, the smaller side of what was pressed. The slope
    is the median of those between any two movements (Theil 1950, Sen 1968), for a movement that changed its mind on
    the way takes long whatever its difficulty.
    """
    some = aims[:: -(-len(aims) // _MOST_AIMS) or 1]
    difficulties = np.array([aim.difficulty_bit for aim in some])
    if len(aims) < LEAST_AIMS or np.ptp(difficulties) == 0:
        return None
    slope, intercept, _, _ = theilslopes([aim.movement_ms for aim in some], difficulties)
    return FittsLine(len(aims), float(intercept), float(slope))


def _contrast_all(
    agent: Sequence[SessionFeatures],
    player: Sequence[SessionFeatures],
    effort: Effort,
    rng: np.random.Generator,
    tell: OnStep,
) -> list[FeatureLikeness]:
    found = []
    for feature in (*FEATURES, TRANSITIONS):
        found.append(_contrast_one(feature, agent, player, effort, rng))
        tell(feature.label)
    tested = [one.contrast.p for one in found if one.contrast is not None]
    corrected = iter(correct_holm(tested))
    return [one if one.contrast is None else one.with_p_holm(next(corrected)) for one in found]


def _contrast_one(
    feature: Feature,
    agent: Sequence[SessionFeatures],
    player: Sequence[SessionFeatures],
    effort: Effort,
    rng: np.random.Generator,
) -> FeatureLikeness:
    is_ordered = feature is not TRANSITIONS
    sides = [[one.values[feature.key] if is_ordered else one.transitions for one in side] for side in (agent, player)]
    measure = contrast_numbers if is_ordered else contrast_kinds
    contrast = measure(sides[0], sides[1], effort, rng, least=feature.least)
    return FeatureLikeness(
        feature=feature,
        agent_count=sum(map(len, sides[0])),
        player_count=sum(map(len, sides[1])),
        agent_quantiles=_list_quantiles(sides[0]) if is_ordered else (),
        player_quantiles=_list_quantiles(sides[1]) if is_ordered else (),
        contrast=contrast,
        p_holm=None,
    )


def _list_quantiles(side: Sequence[Floats]) -> tuple[float, ...]:
    values = np.concatenate(list(side))
    return tuple(np.quantile(values, QUANTILES).tolist()) if len(values) else ()


def _tell_all(
    agent: Sequence[SessionFeatures],
    player: Sequence[SessionFeatures],
    effort: Effort,
    rng: np.random.Generator,
    tell: OnStep,
) -> list[Telling]:
    moves = level_movements([*agent, *player])
    sides = moves[: len(agent)], moves[len(agent) :]
    found = [tell_apart("movements", MOVEMENT_COLUMNS, *sides, effort, rng)]
    tell("telling movements apart")
    sides = [one.presses for one in agent], [one.presses for one in player]
    found.append(tell_apart("presses", PRESS_COLUMNS, *sides, effort, rng))
    tell("telling presses apart")
    return [telling for telling in found if telling is not None]
