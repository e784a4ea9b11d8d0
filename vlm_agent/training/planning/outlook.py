"""What a run will take, in a line, from its own rows and a second of work: said before the first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vlm_agent.models.loading import LoadedModel
from vlm_agent.models.quantized import count_quantised
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.planning.memory import Setting
from vlm_agent.training.planning.needs import estimate_run, find_setting
from vlm_agent.training.planning.pace import MeasuredPace
from vlm_agent.training.planning.parts import spread_of
from vlm_agent.training.planning.plan import write_duration
from vlm_agent.training.planning.probes import count_passes_at_once, time_steps
from vlm_agent.training.planning.shapes import shape_of
from vlm_agent.training.planning.work import Work, list_windows, weigh_work

if TYPE_CHECKING:
    from vlm_agent.training.loop import Material

PROBE_STEPS, PROBE_S = 4, 1.0
"""The start of a run waits for so much, and for one pass at least."""


def describe_outlook(
    loaded: LoadedModel,
    material: Material,
    config: TrainConfig,
    *,
    done_steps: int = 0,
) -> str:
    """Return how many windows, tokens and steps a run has, and about how long it takes and how much memory.

    Args:
        loaded: a model with trainable weights; no weight is changed.
        material: what is trained on; features that are computed stay in it.
        config: how is trained.
        done_steps: steps that an earlier start has done.
    """
    shape = shape_of(loaded.family, loaded.model.config)
    at_once = count_passes_at_once(shape.hidden, loaded.device)
    train, features = material.train, material.features
    work = weigh_work(train, material.validation, material.layout, config, at_once=at_once)
    setting = find_setting(loaded, shape)
    memory = estimate_run(loaded, material, config, setting, shape, work)
    left = 1 - done_steps / work.steps
    about = ""
    if loaded.runner is None:  # processes that share weights can't try a step one by one
        timing = time_steps(loaded, material, config, most_steps=PROBE_STEPS, most_s=PROBE_S, passes_a_step=at_once)
        keeps_features = features.limit_bytes > 0 and not config.changes_pictures
        pace = MeasuredPace(0.0, 0.0, 0.0, timing, setting, keeps_features=keeps_features)
        about = f" about {write_duration(left * pace.train(work, 0))},"
    tokens = spread_of(list_windows(train))
    begun = f", {done_steps} of them done" if done_steps else ""
    return (
        f"{work.windows} windows of {tokens.p50} tokens (p95 {tokens.p95}), {work.steps} steps{begun}:"
        f"{about} up to {memory.total / 1e9:.1f} GB of memory"
        f"{_tell_model(loaded, setting)}"
        f"{tell_idle_cores(work, at_once)}"
    )


def tell_idle_cores(work: Work, at_once: int) -> str:
    """Return that cores wait, where a step has fewer passes than may run side by side; else nothing."""
    passes = work.passes / work.steps
    if passes > at_once - 0.5:
        return ""
    more = "more and smaller ones (--train.accumulation, --train.batch-tokens) keep all busy"
    return f"; a step has {passes:.2g} passes for {at_once} cores: {more}"


def _tell_model(loaded: LoadedModel, setting: Setting) -> str:
    packed = f"; {count_quantised(loaded.model)}" if loaded.quantization == "nf4" else ""
    again = "; layers are run again in the backward pass" if setting.recomputes else ""
    return packed + again
