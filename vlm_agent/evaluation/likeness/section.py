"""What a measured likeness says, in sentences and tables written from its numbers alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vlm_agent.evaluation.likeness.classifier import Telling
from vlm_agent.evaluation.likeness.contrasts import ENERGY, MOST
from vlm_agent.evaluation.likeness.features import TRANSITIONS, Feature
from vlm_agent.evaluation.likeness.likeness import FeatureLikeness, Likeness, SideSummary
from vlm_agent.evaluation.likeness.plots import draw_plots
from vlm_agent.evaluation.likeness.timing import KINDS
from vlm_agent.evaluation.offline.metrics import SURE
from vlm_agent.evaluation.sections import PlainTable, Section

FEW_SESSIONS = 10
"""With fewer of either side, what is not told apart may still differ much."""
_NAMED = 3
"""So many of the farthest features are told in words."""
_FOLLOWINGS = 6
_COLUMNS = ("", "player [10 to 90%]", "agent", "W1", "KS", "energy", "× self (95%)")
_COLUMN_NAMES = {
    "path_ratio": "path over distance",
    "bow": "the sideways bow",
    "peak_place": "the place of top speed",
    "submovements": "submovements",
    "smoothness": "smoothness",
    "movement_ms": "its time for its distance",
    "peak_px_s": "its top speed for its distance",
    "before_ms": "the pause before it",
    "hold_ms": "the hold time",
    "rest_ms": "the rest before it",
    "since_press_ms": "the time since the press before",
    "is_right": "the button",
}


def write_section(likeness: Likeness) -> Section:
    """Return the part of the report about movement and timing."""
    return Section(
        key="likeness",
        title="Like the player: movement and timing",
        sentences=tuple(_write_sentences(likeness)),
        gist=_tell_telling(likeness.tellings[0]) if likeness.tellings else "",
        tables=tuple(_make_tables(likeness)),
        plots=tuple(draw_plots(likeness)),
    )


def _write_sentences(likeness: Likeness) -> Iterator[str]:
    for telling in likeness.tellings:
        yield _tell_telling(telling)
    apart = [one for one in likeness.ranked if one.is_apart]
    unsure = [one for one in likeness.ranked if one.is_unsure]
    alike = [one for one in likeness.ranked if not (one.is_apart or one.is_unsure)]
    if apart:
        far = "; ".join(_tell_far(one) for one in apart[:_NAMED])
        yield f"Farthest from the player, in times the player’s distance to themself: {far}."
    if len(apart) > _NAMED:
        yield f"Also apart: {', '.join(one.feature.label for one in apart[_NAMED:])}."
    if unsure:
        labels = ", ".join(one.feature.label for one in unsure)
        yield f"Perhaps apart, but so much may be chance in so few sessions: {labels}."
    if alike:
        yield f"Not told from the player: {', '.join(one.feature.label for one in reversed(alike))}."
    fitts = [side.fitts for side in (likeness.agent, likeness.player)]
    if fitts[0] is not None and fitts[1] is not None:
        yield (
            "Harder targets (Fitts’ law): each further bit of difficulty takes the agent "
            f"{fitts[0].slope_ms_bit:.0f} ms, the player {fitts[1].slope_ms_bit:.0f} ms."
        )
    scarce = [one for one in likeness.features if one.contrast is None and not one.is_unused]
    if scarce:
        counts = ", ".join(
            f"{one.feature.label} ({one.agent_count} and {one.player_count}, {one.feature.least} of each are needed)"
            for one in scarce
        )
        yield f"Too few values to say, the agent’s and the player’s: {counts}."
    yield _tell_basis(likeness)


def _tell_telling(telling: Telling) -> str:
    one = {"movements": "movement", "presses": "press"}[telling.about]
    area = f"AUC {telling.auc:.2f}, 95%: {telling.low:.2f} to {telling.high:.2f}; 0.5 is guessing"
    floor = f"halves of the player’s own sessions: {telling.floor:.2f}"
    if telling.p >= SURE:
        return f"A classifier can’t tell one {one} of the agent from one of the player ({area}; {floor})."
    return (
        f"A classifier tells one {one} of the agent from one of the player {_grade(telling.auc)} ({area}; {floor}); "
        f"what gives the agent away most is {_COLUMN_NAMES[telling.best_alone]}."
    )


def _grade(auc: float) -> str:
    if auc >= 0.9:
        return "nearly always"
    return "often" if auc >= 0.7 else "a little better than by guessing"


def _tell_far(one: FeatureLikeness) -> str:
    assert one.contrast is not None
    text = f"{one.feature.label} {_format_ratio(one.contrast.ratio)}"
    if one.feature is TRANSITIONS or one.agent_middle is None or one.player_range is None:
        return text
    low, middle, high = (format_value(one.feature, value) for value in one.player_range)
    agent = format_value(one.feature, one.agent_middle, with_unit=True)
    unit = f" {one.feature.unit}" if one.feature.unit else ""
    return f"{text} (agent {agent}, player {middle} [{low} to {high}]{unit})"


def _tell_basis(likeness: Likeness) -> str:
    sides = [f"{side.sessions} {name} sessions" for name, side in _sides(likeness)]
    text = (
        f"From {' and '.join(sides)}, pointers sampled every {likeness.interval_ms:.0f} ms, "
        f"in pieces of about {likeness.piece_s:.1f} s: what takes longer can’t be seen. "
        "How often and how far are those of the scenes that each played."
    )
    if min(likeness.agent.sessions, likeness.player.sessions) < FEW_SESSIONS:
        text += " So few sessions give a hint, no more."
    return text


def _sides(likeness: Likeness) -> tuple[tuple[str, SideSummary], tuple[str, SideSummary]]:
    return ("agent", likeness.agent), ("player", likeness.player)


def _make_tables(likeness: Likeness) -> Iterator[PlainTable]:
    yield PlainTable(
        columns=_COLUMNS,
        rows=tuple(_row(one) for one in likeness.ranked),
        title="How far the agent is from the player",
        caption=(
            "Medians. W1: Wasserstein distance, in the feature’s unit; KS: Kolmogorov–Smirnov; both and the energy "
            "distance of all values. × self: energy distance to the player over that of the player’s own sessions, as "
            f"many; at 1 the agent is as like the player as the player. *: surely apart (p < {SURE} after Holm, by "
            "exchanging sessions). What follows what: total variation, under KS."
        ),
    )
    if likeness.tellings:
        yield PlainTable(
            columns=("one at a time", "AUC", "95%", "player’s halves", "their 95%", "p", "agent", "player"),
            rows=tuple(_telling_row(telling) for telling in likeness.tellings),
            title="Can a classifier tell the agent from the player?",
            caption=(
                "Area under the ROC curve on sessions held out; 0.5 is guessing. It isn’t told how far they went. "
                "Last columns: how many of each."
            ),
        )
    followings = _following_rows(likeness)
    if followings:
        yield PlainTable(
            columns=("first → then", "player, %", "agent, %"),
            rows=followings,
            title="What follows what",
            caption="The pairs that differ most, as shares of all pairs of acts.",
        )


def _row(one: FeatureLikeness) -> tuple[str, ...]:
    contrast = one.contrast
    assert contrast is not None
    name = f"{one.feature.label}, {one.feature.unit}" if one.feature.unit else one.feature.label
    star = "*" if one.is_apart else ""
    spread = f"{_format_ratio(contrast.low)} to {_format_ratio(contrast.high)}"
    factor = f"{_format_ratio(contrast.ratio)}{star} ({spread})"
    if contrast.leading != ENERGY:
        return name, "", "", "", f"{contrast.distances[contrast.leading]:.2f}", "", factor
    player = ""
    if one.player_range is not None:
        low, middle, high = (format_value(one.feature, value) for value in one.player_range)
        player = f"{middle} [{low} to {high}]"
    agent = "" if one.agent_middle is None else format_value(one.feature, one.agent_middle)
    distances = contrast.distances
    w1 = format_value(one.feature, distances["wasserstein"])
    return name, player, agent, w1, f"{distances['ks']:.2f}", f"{distances['energy']:.2f}", factor


def _telling_row(telling: Telling) -> tuple[str, ...]:
    return (
        telling.about,
        f"{telling.auc:.2f}",
        f"{telling.low:.2f} to {telling.high:.2f}",
        f"{telling.floor:.2f}",
        f"{telling.floor_q95:.2f}",
        f"{telling.p:.3f}",
        str(telling.agent_rows),
        str(telling.player_rows),
    )


def _following_rows(likeness: Likeness) -> tuple[tuple[str, ...], ...]:
    shares = [_share(side.transitions) for _, side in _sides(likeness)]
    if not all(shares):
        return ()
    pairs = sorted(shares[0], key=lambda pair: -abs(shares[0][pair] - shares[1][pair]))
    return tuple(
        (f"{first} → {then}", f"{100 * shares[1][first, then]:.0f}", f"{100 * shares[0][first, then]:.0f}")
        for first, then in pairs[:_FOLLOWINGS]
        if shares[0][first, then] + shares[1][first, then] > 0
    )


def _share(transitions: Sequence[Sequence[int]]) -> dict[tuple[str, str], float]:
    """Return the share of each pair of kinds; empty without any."""
    total = sum(map(sum, transitions))
    if total == 0:
        return {}
    return {
        (first, then): count / total
        for first, row in zip(KINDS, transitions, strict=True)
        for then, count in zip(KINDS, row, strict=True)
    }


def format_value(feature: Feature, value: float, *, with_unit: bool = False) -> str:
    """Return a value with as many digits as mean something."""
    text = f"{value:.{feature.digits}f}".replace("-", "−")
    return f"{text} {feature.unit}" if with_unit and feature.unit else text


def _format_ratio(ratio: float) -> str:
    return f"over {MOST:.0f}" if ratio >= MOST else f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
