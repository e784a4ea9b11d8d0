"""Running a model for a moment on this machine, to say how quick it is there."""

from __future__ import annotations

from collections.abc import Sequence

from vlm_agent.actions.automaton import ActionAutomaton
from vlm_agent.dataset.store import Dataset
from vlm_agent.models.compat import enable_activation_checkpointing
from vlm_agent.models.encoding import PlainTokenizer
from vlm_agent.models.loading import load_model, pick_device
from vlm_agent.training.adapters import make_trainable
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.loop import Material
from vlm_agent.training.moments import spread
from vlm_agent.training.planning.candidates import Candidate
from vlm_agent.training.planning.config import PlanConfig
from vlm_agent.training.planning.pace import MeasuredPace, TimedDecision, TimeDecisions, read_decisions
from vlm_agent.training.planning.parts import count_choices, count_phrase_choices
from vlm_agent.training.planning.plan import Place
from vlm_agent.training.planning.probes import PeakMemory, StepTiming, time_steps
from vlm_agent.training.planning.samples import Sample
from vlm_agent.training.planning.survey import ACTIONS, STEP, Survey, count_decision
from vlm_agent.training.windows import FrameLoader


def measure_pace(
    config: PlanConfig,
    store: Dataset,
    candidate: Candidate,
    sample: Sample,
    survey: Survey,
    place: Place,
    time_decisions: TimeDecisions,
) -> tuple[MeasuredPace, str]:
    """Return how quick a model is here, and in words what was done to find out; no weight is changed.

    Args:
        config: how long to measure.
        store: where the pictures are.
        candidate: the model; its weights must be there.
        sample: what it is shown.
        survey: the sample's tokens.
        place: this machine.
        time_decisions: lets it decide.
    """
    peak = PeakMemory(pick_device(config.device))
    loaded = load_model(
        config.model,
        quantization=config.quantization,
        device=config.device,
        trainable=True,
        in_float32=config.train.full,
    )
    count = config.decisions + 1
    # In a conversation a decision costs what it does behind the one before it.
    asked = sample.windows[:count] if sample.recipe.is_conversation else spread(sample.windows, count)
    timed = time_decisions(loaded, store, asked, sample.recipe)
    tuned = make_trainable(loaded, config.train)
    if place.setting.recomputes:
        enable_activation_checkpointing(tuned.model)
    features = FeatureCache(tuned, FrameLoader(store.folder, sample.recipe), place.cache_bytes)
    material = Material(sample.rows, (), features, sample.layout)
    timing = time_steps(tuned, material, config.train, most_steps=config.probe_steps, most_s=config.probe_s)
    grown = peak.grown_bytes
    told = f"measured here: {timing.num_steps} training steps and {len(timed) - 1} decisions, no weight changed" + (
        "" if grown is None else f"; memory grew by {grown / 1e9:.2f} GB on the way"
    )
    return _read_pace(candidate, sample, survey, timed, timing, place), told


def _read_pace(
    candidate: Candidate,
    sample: Sample,
    survey: Survey,
    timed: Sequence[TimedDecision],
    timing: StepTiming,
    place: Place,
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
    return MeasuredPace(prepare_ms, token_ms, pass_ms, timing, place.setting, place.cache_bytes > 0)
