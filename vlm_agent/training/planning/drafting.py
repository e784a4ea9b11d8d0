"""From a dataset and a model to a plan: sample, tokenize, measure or predict, and try other settings."""

from __future__ import annotations

from dataclasses import replace

import torch

from vlm_agent.dataset.store import open_dataset
from vlm_agent.models.loading import pick_device, pick_dtype
from vlm_agent.training.adapters import CPU_CACHE_MB
from vlm_agent.training.planning.candidates import Candidate, read_candidate
from vlm_agent.training.planning.cards import find_card
from vlm_agent.training.planning.config import PlanConfig
from vlm_agent.training.planning.measuring import measure_pace
from vlm_agent.training.planning.memory import CARD_SHARE, cpu_setting, cuda_setting
from vlm_agent.training.planning.needs import must_recompute
from vlm_agent.training.planning.pace import CardPace, TimeDecisions
from vlm_agent.training.planning.plan import (
    Limits,
    Outcome,
    Place,
    Plan,
    Planner,
    judge,
)
from vlm_agent.training.planning.probes import count_machine_bytes, count_passes_at_once
from vlm_agent.training.planning.proposals import Proposals, count_picture, look
from vlm_agent.training.planning.samples import take_sample
from vlm_agent.training.planning.speed import CardRun
from vlm_agent.training.planning.work import weigh_work


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
    config.train.check_base(candidate.quantization, has_adapter=candidate.rank is not None)
    rank = 0 if config.train.full else candidate.rank or config.train.lora.rank
    if config.gpu is None:
        place, at_once = _describe_machine(config, candidate)
    else:
        place, at_once = _describe_card(config, config.gpu, candidate), 1
    place = replace(place, processes=config.processes)
    sample = take_sample(store, candidate, config)
    survey = look(candidate, sample, sample.recipe, config)
    work = weigh_work(sample.rows, sample.validation, sample.layout, config.train, at_once=at_once, scale=sample.scale)
    tokens = count_picture(candidate, sample.recipe)
    notes = [sample.describe(), f"windows of a pass laid out as: {sample.layout} (--train.layout)"]
    notes += candidate.encoder.list_notes(sample.recipe.image_width_px, sample.recipe.image_height_px)
    if candidate.recipe is None:
        notes += config.recipe.list_notes(candidate.encoder.images.min_tokens)
    need = Planner(candidate.shape, place, config.train, rank).weigh(survey, work, picture_tokens=tokens)
    if config.train.recompute == "on" or (
        place.can_recompute and must_recompute(config.train.recompute, need.training.total, place.memory_bytes)
    ):
        place = replace(place, setting=replace(place.setting, recomputes=True))
        need = Planner(candidate.shape, place, config.train, rank).weigh(survey, work, picture_tokens=tokens)
        notes.append("layers are run again in the backward pass (--train.recompute)")
    if config.gpu is not None:
        place = replace(place, pace=_find_card_pace(config, config.gpu, candidate, rank, place))
        notes.append(_tell_assumptions(config, config.gpu))
    elif obstacle := _find_obstacle(candidate, place, need):
        notes.append(obstacle)
    else:
        pace, told = measure_pace(config, store, candidate, sample, survey, place, time_decisions)
        place = replace(place, pace=pace)
        notes.append(told)
    planner = Planner(candidate.shape, place, config.train, rank)
    outcomes = tuple(Proposals(planner, candidate, config, store, at_once, place.setting).try_all(sample, survey, work))
    if candidate.recipe is not None:
        notes.append("an earlier run brings its own recipe: to change it, train from its base")
    verdicts = judge(outcomes, candidate.shape, place, Limits(sample.recipe.spec.horizon_ms, config.hours))
    return Plan(config.model, place.name, candidate.shape, work, survey, outcomes, verdicts, tuple(notes))


def _describe_card(config: PlanConfig, name: str, candidate: Candidate) -> Place:
    card = find_card(name)
    setting = cuda_setting(card.value_bytes, candidate.quantization, recomputes=False)
    setting = replace(setting, keeps_float=config.train.full)
    memory_bytes = round(CARD_SHARE * card.memory_gb * 1e9)
    return Place(card.name, setting, memory_bytes, _count_cache(config, 0), None, can_recompute=True)


def _find_card_pace(config: PlanConfig, name: str, candidate: Candidate, rank: int, place: Place) -> CardPace:
    run = CardRun(candidate.shape, place.setting, find_card(name), config.assume)
    return CardPace(run, rank, candidate.encoder.images.merge**2)


def _describe_machine(config: PlanConfig, candidate: Candidate) -> tuple[Place, int]:
    """Return this machine without its pace, and how many passes run side by side there."""
    device, shape = pick_device(config.device), candidate.shape
    at_once = count_passes_at_once(shape.hidden, device)
    if device.type == "cuda":
        setting = cuda_setting(pick_dtype(device).itemsize, candidate.quantization, recomputes=False)
        setting = replace(setting, keeps_float=config.train.full)
        memory_bytes = round(CARD_SHARE * torch.cuda.get_device_properties(device).total_memory)
        return Place("this card", setting, memory_bytes, _count_cache(config, 0), None, can_recompute=True), at_once
    setting, memory_bytes = cpu_setting(shape, candidate.quantization), round(CARD_SHARE * count_machine_bytes())
    return Place("this machine", setting, memory_bytes, _count_cache(config, CPU_CACHE_MB), None), at_once


def _count_cache(config: PlanConfig, default_mb: int) -> int:
    given = 0 if config.train.changes_pictures else config.train.feature_cache_mb
    return 1_000_000 * (default_mb if given is None else given)


def _find_obstacle(candidate: Candidate, place: Place, need: Outcome) -> str:
    """Return why a model can't be measured here; nothing where it can."""
    if not candidate.has_weights:
        return "no weights here: nothing was measured"
    if need.training.total > place.memory_bytes:
        return f"too large for {place.name}: nothing was measured"
    return ""


def _tell_assumptions(config: PlanConfig, name: str) -> str:
    card, assumed = find_card(name), config.assume
    return (
        f"predicted, not measured: {assumed.share_of_peak:.0%} of {card.tflops:g} TFLOP/s,"
        f" {assumed.share_of_bandwidth:.0%} of {card.bandwidth_gb_s:g} GB/s,"
        f" {assumed.layer_call_ms:g} ms to call a layer (--assume)"
    )
