"""What a prediction is worth: every metric as a sum and what it is divided by, so that windows add up in any grouping.

Two lists of actions are matched in time twice: whatever their kinds (to see what is taken for what), and kind by kind
(to see how far off a right one is). What is not matched is missing or made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import hypot, inf

from vlm_agent.actions.types import Action, ActionChunk, Click, Key, Move, Scroll
from vlm_agent.evaluation.offline.consistency import check_consistency, find_top_speed
from vlm_agent.evaluation.offline.matching import Timed, match_actions, time_actions
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.predictions import Prediction, is_inside
from vlm_agent.evaluation.offline.tallies import NONE, Tally
from vlm_agent.evaluation.rectangles import Box

KINDS = ("CLICK", "KEY", "SCROLL", "MOVE")
"""The four kinds of action."""
KEY_F1 = "f1_key "
"""Begins the names of the metrics of single keys."""
RADII_PX = (5, 10, 25)
"""How near to the player's a point is asked to be, frame pixels."""


def tally_sessions(predictions: Sequence[Prediction], config: ScoreConfig) -> Mapping[str, Tally]:
    """Return one tally a session."""
    top_speed = find_top_speed(predictions)
    tallies: dict[str, Tally] = {}
    for prediction in predictions:
        tallies.setdefault(prediction.session, Tally()).merge(score(prediction, config, top_speed))
    return tallies


def score(prediction: Prediction, config: ScoreConfig, top_speed: float = inf) -> Tally:
    """Return the tally of one window. Where there is no answer, everything the player did is missing.

    Args:
        prediction: what was done, and what was answered.
        config: when two actions count as the same.
        top_speed: of the player's pointer, pixels per millisecond.
    """
    tally = Tally()
    tally.add("valid", prediction.answer is not None)
    chunk = prediction.answer or ActionChunk()
    targets, answers = time_actions(prediction.target), time_actions(chunk)
    # Neither what can't be read nor saying that the goal is reached is waiting, though none of them holds an action.
    agrees = prediction.answer is not None and prediction.answer.done == prediction.target.done
    _judge_waiting(tally, prediction, answers, agrees=agrees)
    _confuse(tally, targets, answers, config)
    _count_detailed(tally, targets, answers, config)
    _compare_matched(tally, targets, answers, prediction.boxes, config)
    tally.add("actions", len(answers))
    tally.add("player_actions", len(targets))
    is_idle = not targets and not prediction.target.done
    _compare_sequences(tally, targets, answers, agrees=agrees, is_idle=is_idle)
    if not is_idle:
        tally.add("exact", prediction.answer == prediction.target)
    check_consistency(tally, prediction, answers, config, top_speed)
    return tally


def kind_of(action: Action) -> str:
    """Return the kind of an action by its name in the JSON."""
    match action:
        case Click():
            return "CLICK"
        case Key():
            return "KEY"
        case Scroll():
            return "SCROLL"
        case Move():
            return "MOVE"


def _judge_waiting(tally: Tally, prediction: Prediction, answers: list[Timed], *, agrees: bool) -> None:
    """Count apart what an answer without actions is right about, so that it makes no share of actions look better."""
    target = prediction.target
    if target.done:
        tally.add("done_right", agrees)
    if target.actions:
        tally.add("acts_when_player_does", bool(answers))
    elif not target.done:
        tally.add("idle_right", agrees and not answers)


def _confuse(tally: Tally, targets: list[Timed], answers: list[Timed], config: ScoreConfig) -> None:
    pairs = match_actions(targets, answers, config.tolerance_ms)
    met = [(kind_of(targets[i].action), kind_of(answers[j].action)) for i, j in pairs]
    matched = {i for i, _ in pairs}, {j for _, j in pairs}
    met += [(kind_of(one.action), NONE) for i, one in enumerate(targets) if i not in matched[0]]
    met += [(NONE, kind_of(one.action)) for j, one in enumerate(answers) if j not in matched[1]]
    for wanted, said in met:
        tally.confusion[wanted, said] = tally.confusion.get((wanted, said), 0) + 1
        if targets:
            tally.add("event_right", wanted == said)


def _count_detailed(tally: Tally, targets: list[Timed], answers: list[Timed], config: ScoreConfig) -> None:
    # F1 = 2 tp / (targets + answers): a share as well, so it adds up like the others.
    by_kind = len(match_actions(targets, answers, config.tolerance_ms, _same_kind))
    in_detail = len(match_actions(targets, answers, config.tolerance_ms, lambda a, b: _is_alike(a, b, config.near_px)))
    total = len(targets) + len(answers)
    tally.add("f1_kind", 2 * by_kind, total)
    tally.add("f1_detail", 2 * in_detail, total)
    for kind in KINDS:
        ours = [one for one in targets if kind_of(one.action) == kind]
        theirs = [one for one in answers if kind_of(one.action) == kind]
        hits = len(match_actions(ours, theirs, config.tolerance_ms))
        tally.add(f"f1_{kind.lower()}", 2 * hits, len(ours) + len(theirs))
    _count_keys(tally, targets, answers, config)


def _count_keys(tally: Tally, targets: list[Timed], answers: list[Timed], config: ScoreConfig) -> None:
    pressed = [{one.action.key for one in side if isinstance(one.action, Key)} for side in (targets, answers)]
    for key in sorted(pressed[0] | pressed[1]):
        ours, theirs = (
            [one for one in side if isinstance(one.action, Key) and one.action.key == key]
            for side in (targets, answers)
        )
        hits = len(match_actions(ours, theirs, config.tolerance_ms))
        tally.add(f"{KEY_F1}{key}", 2 * hits, len(ours) + len(theirs))


def _compare_matched(
    tally: Tally, targets: list[Timed], answers: list[Timed], boxes: tuple[Box | None, ...], config: ScoreConfig
) -> None:
    clicks = [i for i, one in enumerate(targets) if isinstance(one.action, Click)]
    box_of = dict(zip(clicks, boxes, strict=False))
    pairs = match_actions(targets, answers, config.tolerance_ms, _same_kind)
    answered = dict(pairs)
    # Errors are of matched actions alone; in shares what was missed is wrong, or who acts seldom would seem precise.
    for i, one in enumerate(targets):
        target, answer = one.action, answers[answered[i]].action if i in answered else None
        if i in answered:
            tally.add("time_error_ms", abs(one.t_ms - answers[answered[i]].t_ms))
        if isinstance(target, Key):
            tally.add("key_right", isinstance(answer, Key) and target.key == answer.key)
            continue
        if isinstance(target, Click):
            tally.add("button_right", isinstance(answer, Click) and target.button == answer.button)
        far_px = inf if answer is None else _distance_px(target, answer)
        if answer is not None:
            tally.add("distance_px", far_px)
        for radius in RADII_PX:
            tally.add(f"within_{radius}_px", far_px <= radius)
    for i in clicks:
        box = box_of.get(i)
        if box is not None:
            hit = answers[answered[i]].action if i in answered else None
            tally.add("click_in_bounds", isinstance(hit, Click) and is_inside(hit.x, hit.y, box))


def _compare_sequences(
    tally: Tally, targets: list[Timed], answers: list[Timed], *, agrees: bool, is_idle: bool
) -> None:
    said = [_describe(one.action) for one in answers]
    wanted = [_describe(one.action) for one in targets]
    tally.add("edit_distance", edit_distance(wanted, said), max(len(wanted), len(said)))
    if not is_idle:
        tally.add("count_error", abs(len(said) - len(wanted)))
        tally.add("sequence_exact", agrees and said == wanted)


def edit_distance(left: list[str], right: list[str]) -> int:
    """Return how many insertions, deletions and changes turn one list into the other (Levenshtein 1966)."""
    row = list(range(len(right) + 1))
    for i, one in enumerate(left, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(right, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]


def _describe(action: Action) -> str:
    """An action without its time and place."""
    match action:
        case Click(button=button, state=state):
            return f"CLICK {button} {state}"
        case Key(key=key, state=state):
            return f"KEY {key} {state}"
        case Scroll(dy=dy):
            return f"SCROLL {'up' if dy > 0 else 'down'}"
        case Move():
            return "MOVE"


def _same_kind(target: Action, answer: Action) -> bool:
    return type(target) is type(answer)


def _is_alike(target: Action, answer: Action, near_px: float) -> bool:
    if _describe(target) != _describe(answer):
        return False
    return isinstance(target, Key) or _distance_px(target, answer) <= near_px


def _distance_px(target: Action, answer: Action) -> float:
    if isinstance(target, Key) or isinstance(answer, Key):
        raise TypeError("a key has no place")
    return hypot(target.x - answer.x, target.y - answer.y)
