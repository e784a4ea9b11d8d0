"""From a dataset and a model to a plan: sample, tokenize, measure or predict, and try other settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from vlm_agent.actions.automaton import ActionAutomaton
from vlm_agent.chat import Recipe
from vlm_agent.dataset.store import Dataset, check_same_spec, open_dataset
from vlm_agent.dataset.windows import Window
from vlm_agent.errors import DataError
from vlm_agent.models.encoding import PlainTokenizer
from vlm_agent.models.loading import load_model, pick_device, pick_dtype
from vlm_agent.training.adapters import CPU_CACHE_MB, choose_split, make_trainable
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.moments import Moment, hide_recent, spread
from vlm_agent.training.planning.candidates import Candidate, read_candidate
from vlm_agent.training.planning.cards import find_card
from vlm_agent.training.planning.config import PlanConfig
from vlm_agent.training.planning.memory import CARD_SHARE, Setting, cpu_setting, cuda_setting
from vlm_agent.training.planning.pace import (
    CardPace,
    MeasuredPace,
    Pace,
    TimedDecision,
    TimeDecisions,
    read_decisions,
)
from vlm_agent.training.planning.parts import count_choices, count_phrase_choices
from vlm_agent.training.planning.plan import (
    PICTURE_SHARES,
    Limits,
    Outcome,
    Place,
    Plan,
    Planner,
    judge,
    resize_work,
    shrink_pictures,
    split_passes,
)
from vlm_agent.training.planning.probes import (
    PeakMemory,
    StepTiming,
    count_machine_bytes,
    count_passes_at_once,
    time_steps,
)
from vlm_agent.training.planning.speed import CardRun
from vlm_agent.training.planning.survey import ACTIONS, STEP, Survey, count_decision, draw_sample, survey_windows
from vlm_agent.training.planning.work import Work, weigh_work
from vlm_agent.training.rows import Row
from vlm_agent.training.windows import TRAIN_SPLIT, VALIDATION_SPLIT, FrameLoader, build_rows, choose_recipe

_HERE = "this machine"


@dataclass(frozen=True)
class _Sample:
    """What a plan looks at."""

    recipe: Recipe
    windows: list[Window]
    steps: dict[Moment, str]
    rows: list[Row]
    validation: list[Row]
    scale: float
    """Windows trained on for each of the sample."""


def draft_plan(config: PlanConfig, time_decisions: TimeDecisions) -> Plan:
    """Return the plan of a run; nothing is trained and nothing is written.

    Args:
        config: what is to be trained, on what, where.
        time_decisions: lets the model decide on windows (see `pace`).

    Raises:
        DataError: there is no usable dataset, or it was built for another action spec than the model's adapter.
        ModelError: no such model, or it can't be used.
        ConfigError: a card that is not in the table, or a tokenizer that merges digits.
    """
    store = open_dataset(config.dataset)
    candidate = read_candidate(config.model, config.quantization)
    card = None if config.gpu is None else find_card(config.gpu)
    sample = _draw(store, candidate, config)
    survey = survey_windows(
        candidate.encoder, sample.windows, sample.recipe, sample.steps, snap=config.train.snap_clicks
    )
    rank = candidate.rank or config.train.lora.rank
    notes = [_tell_sample(sample)]
    if card is not None:
        setting = cuda_setting(card.value_bytes, candidate.quantization)
        run = CardRun(candidate.shape, setting, card, config.assume)
        pace: Pace | None = CardPace(run, rank, candidate.encoder.images.merge**2)
        place = Place(card.name, setting, round(CARD_SHARE * card.memory_gb * 1e9), _cache_bytes(config.train, 0), pace)
        at_once = 1
        notes.append(
            f"predicted, not measured: {config.assume.share_of_peak:.0%} of {card.tflops:g} TFLOP/s,"
            f" {config.assume.share_of_bandwidth:.0%} of {card.bandwidth_gb_s:g} GB/s,"
            f" {config.assume.layer_call_ms:g} ms to call a layer (--assume)"
        )
    else:
        place, at_once, told = _look_here(config, store, candidate, sample, survey, time_decisions)
        notes += told
    work = weigh_work(sample.rows, sample.validation, config.train, at_once=at_once, scale=sample.scale)
    planner = Planner(candidate.shape, place, config.train, rank)
    outcomes = tuple(_try_all(planner, candidate, config, sample, survey, work))
    limits = Limits(sample.recipe.spec.horizon_ms, config.hours)
    if candidate.recipe is not None:
        notes.append("an earlier run brings its own recipe: to change it, train from its base")
    verdicts = judge(outcomes, candidate.shape, place, limits)
    return Plan(config.model, place.name, candidate.shape, work, survey, outcomes, verdicts, tuple(notes))


def _draw(store: Dataset, candidate: Candidate, config: PlanConfig) -> _Sample:
    recipe = candidate.recipe
    if recipe is None:
        recipe = choose_recipe(candidate, store, config.recipe)
    else:
        check_same_spec(store.spec, recipe.spec, store.folder)
    chosen, steps = choose_split(store, TRAIN_SPLIT, recipe, config.train)
    if not chosen:
        raise DataError(f"{store.folder}: no windows to train on")
    windows = draw_sample(hide_recent(chosen, config.train.hide_recent, config.seed), config.sample, config.seed)
    build = partial(_build, candidate, recipe, config.train)
    validation: list[Row] = []
    if VALIDATION_SPLIT in store.splits and config.train.evaluation.every_steps:
        unseen, unseen_steps = choose_split(store, VALIDATION_SPLIT, recipe, config.train)
        validation = build(spread(unseen, config.train.evaluation.max_windows), unseen_steps)
    return _Sample(recipe, windows, steps, build(windows, steps), validation, len(chosen) / len(windows))


def _build(
    candidate: Candidate, recipe: Recipe, config: TrainConfig, windows: Sequence[Window], steps: dict[Moment, str]
) -> list[Row]:
    return build_rows(candidate.encoder, windows, recipe, config.batch_windows, steps=steps, snap=config.snap_clicks)


def _tell_sample(sample: _Sample) -> str:
    total = round(len(sample.windows) * sample.scale)
    if sample.scale == 1:
        return f"all {total} windows were tokenized"
    return (
        f"{len(sample.windows)} of {total} windows were tokenized, all those over pictures drawn by chance (--sample)"
    )


def _cache_bytes(config: TrainConfig, default_mb: int) -> int:
    return 1_000_000 * (default_mb if config.feature_cache_mb is None else config.feature_cache_mb)


def _look_here(
    config: PlanConfig,
    store: Dataset,
    candidate: Candidate,
    sample: _Sample,
    survey: Survey,
    time_decisions: TimeDecisions,
) -> tuple[Place, int, list[str]]:
    """Return this machine as a place, passes that run side by side there, and what was done to find out."""
    device = pick_device(config.device)
    setting = cpu_setting(candidate.shape, candidate.quantization)
    memory_bytes, default_mb = count_machine_bytes(), CPU_CACHE_MB
    if device.type == "cuda":
        setting = cuda_setting(pick_dtype(device).itemsize, candidate.quantization)
        memory_bytes, default_mb = torch.cuda.get_device_properties(device).total_memory, 0
    cache_bytes = _cache_bytes(config.train, default_mb)
    place = Place(_HERE, setting, round(CARD_SHARE * memory_bytes), cache_bytes, None)
    if not candidate.has_weights:
        return place, 1, ["no weights here: nothing was measured"]
    peak = PeakMemory(device)
    loaded = load_model(config.model, quantization=config.quantization, device=config.device, trainable=True)
    timed = time_decisions(loaded, store, spread(sample.windows, config.decisions + 1), sample.recipe)
    tuned = make_trainable(loaded, config.train)
    features = FeatureCache(tuned, FrameLoader(store.folder, sample.recipe), cache_bytes)
    timing = time_steps(
        tuned, sample.rows, features, config.train, most_steps=config.probe_steps, most_s=config.probe_s
    )
    pace = _read_pace(candidate, sample, survey, timed, timing, setting, keeps=cache_bytes > 0)
    grown = peak.grown_bytes
    told = [
        f"measured here: {timing.num_steps} training steps and {len(timed) - 1} decisions, no weight changed"
        + ("" if grown is None else f"; memory grew by {grown / 1e9:.2f} GB on the way")
    ]
    return replace(place, pace=pace), count_passes_at_once(tuned), told


def _read_pace(
    candidate: Candidate,
    sample: _Sample,
    survey: Survey,
    timed: Sequence[TimedDecision],
    timing: StepTiming,
    setting: Setting,
    *,
    keeps: bool,
) -> MeasuredPace:
    encoder, recipe = candidate.encoder, sample.recipe
    automaton = ActionAutomaton(recipe.spec, recipe.codec, PlainTokenizer(encoder))
    phrases = {step: (*encoder.encode_text(step), encoder.end_of_turn_id) for step in recipe.steps}

    def count_passes(decision: TimedDecision) -> int:
        named = 0 if decision.step is None else count_phrase_choices(list(phrases.values()), phrases[decision.step])
        return named + (count_choices(automaton, encoder.encode_text(decision.text)) if decision.text else 0)

    acting, naming = (count_decision(survey.only(question)).new_tokens.p50 for question in (ACTIONS, STEP))

    def count_new(decision: TimedDecision) -> int:
        return acting + (0 if decision.step is None else naming)

    prepare_ms, token_ms, pass_ms = read_decisions(timed, count_new, count_passes)
    return MeasuredPace(prepare_ms, token_ms, pass_ms, timing, setting, keeps)


def _try_all(
    planner: Planner, candidate: Candidate, config: PlanConfig, sample: _Sample, survey: Survey, work: Work
) -> Iterator[Outcome]:
    """Give the settings as they are, then others, in the order in which one would rather have them."""
    encoder, recipe = candidate.encoder, sample.recipe
    tokens = encoder.images.num_tokens(recipe.image_width_px, recipe.image_height_px)
    yield planner.weigh(survey, work, picture_tokens=tokens)

    def look(changed: Recipe) -> Survey:
        return survey_windows(encoder, sample.windows, changed, sample.steps, snap=config.train.snap_clicks)

    if config.train.batch_windows > 1:
        yield planner.weigh(survey, split_passes(work), picture_tokens=tokens, change="--train.batch-windows 1")
    lean = recipe
    if recipe.codec != "line":
        lean = replace(recipe, codec="line")
        after = look(lean)
        change = "--recipe.codec line"
        yield planner.weigh(after, resize_work(work, survey, after), picture_tokens=tokens, change=change)
    for ticks in sorted({recipe.history_ticks // 2, 0} - {recipe.history_ticks}, reverse=True):
        after = look(replace(recipe, history_ticks=ticks))
        change = f"--recipe.history-ticks {ticks}"
        yield planner.weigh(after, resize_work(work, survey, after), picture_tokens=tokens, change=change)
    smallest = tokens
    for smallest in _list_pictures(candidate, recipe, tokens):
        after = shrink_pictures(survey, smallest)
        change = f"--recipe.image-max-tokens {smallest}"
        yield planner.weigh(after, resize_work(work, survey, after), picture_tokens=smallest, change=change)
    after = shrink_pictures(look(replace(lean, history_ticks=0)), smallest)
    change = f"--recipe.codec line --recipe.history-ticks 0 --recipe.image-max-tokens {smallest}"
    leanest = split_passes(resize_work(work, survey, after))
    yield planner.weigh(after, leanest, picture_tokens=smallest, change=f"{change} --train.batch-windows 1")


def _list_pictures(candidate: Candidate, recipe: Recipe, tokens: int) -> list[int]:
    """Return tokens of smaller pictures that a frame of this shape can be brought to, largest first."""
    images = candidate.encoder.images
    size = (recipe.image_width_px, recipe.image_height_px)
    found = {
        images.num_tokens(*images.fit_size(*size, max_tokens=max(1, math.floor(share * tokens))))
        for share in PICTURE_SHARES
    }
    return sorted((count for count in found if count < tokens), reverse=True)
