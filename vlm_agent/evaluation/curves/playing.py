"""How the runs of a curve play, beside their base and the player they learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from vlm_agent.evaluation.curves.command import CurveConfig
from vlm_agent.evaluation.curves.curve import Curve, KeptAdapter, Setting, TrainedRun, Values
from vlm_agent.evaluation.curves.tuning import PlannedRun, Tuning, list_kept
from vlm_agent.evaluation.matches import Terms, plan_models, plan_others, play_matches
from vlm_agent.evaluation.metrics import Metric, find_metric
from vlm_agent.evaluation.sides import match_sides
from vlm_agent.evaluation.terminal import MatchProgress
from vlm_agent.rollouts.running import Rollout, RolloutPlan
from vlm_agent.training.metrics import read_losses

_BASE, _DEMONSTRATOR = "base", "demonstrator"


def play_curve(tuning: Tuning, config: CurveConfig, *, made: dict[str, Any]) -> Curve:
    """Let every trained run play, with the base and the demonstrator, and return the curve.

    Raises:
        ModelError: a run can't be used.
        ConfigError: the base is an adapter that was made for another recipe.
        DataError: the folder holds episodes of something else.
    """
    terms = make_terms(config)
    kept = list_kept(tuning.largest)
    plans = [
        plan_models(match_sides(config.base, str(tuning.largest.folder)), terms)[0],
        *(plan for plan in plan_others(terms) if plan.name == _DEMONSTRATOR),
        *(_plan_tuned(run.name, run.folder, config, terms) for run in tuning.runs),
        *(_plan_tuned(_name_kept(tuning, step), folder, config, terms) for step, folder in kept),
    ]
    with MatchProgress(plans) as progress:
        played = play_matches(plans, config.out / "episodes", workers=config.workers, on_episode=progress.on_episode)
    metric = find_metric(is_long_goal=terms.is_long_goal)
    values = {rollout.name: _measure(rollout, metric) for rollout in played}
    losses = read_losses(tuning.largest.folder)
    by_step = dict(losses.validation)
    return Curve(
        metric=metric,
        setting=Setting(config.env, config.goal, config.max_ticks, tuning.num_train_sessions, config.steps),
        seeds=config.seed_list,
        runs=tuple(_describe_run(run, values[run.name]) for run in tuning.runs),
        base=values[_BASE],
        demonstrator=values.get(_DEMONSTRATOR, ()),
        kept=tuple(KeptAdapter(step, by_step.get(step), values[_name_kept(tuning, step)]) for step, _ in kept),
        losses=losses,
        made=made,
    )


def make_terms(config: CurveConfig) -> Terms:
    """Return the terms that everyone plays under; the clock is paused."""
    from vlm_agent.games.ringcraft.goals import find_goal

    return Terms(
        env=config.env,
        goal=config.goal,
        seeds=config.seed_list,
        max_ticks=config.max_ticks,
        is_long_goal=find_goal(config.goal).is_long,
        player=config.player,
        device=config.device,
        temperature=config.temperature,
    )


def _plan_tuned(name: str, folder: Path, config: CurveConfig, terms: Terms) -> RolloutPlan:
    _, tuned = plan_models(match_sides(config.base, str(folder)), terms)
    # Its adapter's hash says which it is; where the folder stands does not matter to its episodes.
    return replace(tuned, name=name, about={**tuned.about, "name": name})


def _name_kept(tuning: Tuning, step: int) -> str:
    return f"{tuning.largest.name}-step-{step:06d}"


def _measure(rollout: Rollout, metric: Metric) -> Values:
    return tuple(metric.value(episode) for episode in rollout.episodes)


def _describe_run(run: PlannedRun, values: Values) -> TrainedRun:
    from vlm_agent.models.records import read_adapter_recipe

    record = read_adapter_recipe(run.folder / "adapter")
    return TrainedRun(run.sessions, run.repeat, int(record["steps"]), record["best_loss"], values)
