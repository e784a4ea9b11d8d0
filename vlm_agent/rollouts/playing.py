"""The agent loop: observe, decide, check, execute, write down.

A decision that can't be carried out (unreadable, refused, late) executes nothing for one horizon and is counted under
its own name. Whether the goal was reached is for the environment to say, never for the policy.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.lateness import drop_late
from vlm_agent.actions.playback import NS_PER_MS
from vlm_agent.actions.types import ActionChunk
from vlm_agent.errors import ConfigError
from vlm_agent.executors.in_game import Environment, Execution, InGameExecutor
from vlm_agent.observations import Observation, RecentAction
from vlm_agent.policies import Decision, Policy
from vlm_agent.rollouts.episodes import Clock, DecisionCounts, Episode, Outcome
from vlm_agent.safety.guard import Guard
from vlm_agent.safety.rules import Refusal, SafetyRules

if TYPE_CHECKING:
    from vlm_agent.sessions.types import Controller
    from vlm_agent.sessions.writer import SessionWriter

_MAX_REMEMBERED = 64
"""Recent actions kept for the prompt; a recipe shows fewer."""


@dataclass(frozen=True)
class EpisodeConfig:
    """How an episode is played."""

    max_ticks: int = 200
    """Most decisions; each plays one horizon (600 ms of game time)."""
    clock: Clock = "paused"
    """`paused`: the game waits for the policy. `real`: it goes on; a decision that takes longer than the horizon is
    late and dropped, and so are the actions of one that should have been played while it was being made."""
    stops_when_done: bool = True
    """End the episode when the policy says that the goal is reached."""
    rules: SafetyRules = field(default_factory=SafetyRules)
    """What may not be executed."""

    def __post_init__(self) -> None:
        """Raise ConfigError for an episode without a decision, or an unknown clock."""
        if self.max_ticks < 1:
            raise ConfigError(f"--max-ticks must be at least 1, got {self.max_ticks}")
        if self.clock not in get_args(Clock):
            raise ConfigError(f"--clock must be one of {', '.join(get_args(Clock))}, got {self.clock!r}")


def run_episode(
    env: Environment,
    policy: Policy,
    goal: str,
    seed: int,
    config: EpisodeConfig | None = None,
    *,
    recorder: EpisodeRecorder | None = None,
    on_tick: Callable[[int, Decision], None] | None = None,
) -> Episode:
    """Play one episode and return what became of it.

    Args:
        env: the environment; it is reset, not closed.
        policy: who plays.
        goal: the instruction, for the policy and for the environment's success test.
        seed: decides the scene and the policy's chance.
        config: length, clock and rules.
        recorder: records the episode as a session of its own, frames at one a tick.
        on_tick: called after every decision with the number of ticks played and the decision.
    """
    loop = _Loop(env, policy, goal, seed, config or EpisodeConfig(), recorder)
    while not loop.is_over:
        decision = loop.play_tick()
        if on_tick is not None:
            on_tick(loop.num_ticks, decision)
    return loop.summarise()


class _Loop:
    """The state of one episode in play."""

    def __init__(
        self,
        env: Environment,
        policy: Policy,
        goal: str,
        seed: int,
        config: EpisodeConfig,
        recorder: EpisodeRecorder | None,
    ) -> None:
        self._policy = policy
        self._goal = goal
        self._seed = seed
        self._config = config
        self._recorder = recorder
        self._spec = env.spec_actions
        self._guard = Guard(self._spec, config.rules)
        self._executor = InGameExecutor(env)
        self._now = self._executor.begin(seed, goal)
        self._start_ns = self._now.t_ns
        self._recent: deque[tuple[int, RecentAction]] = deque(maxlen=_MAX_REMEMBERED)
        self._counts = DecisionCounts()
        self._latencies_ms: list[float] = []
        self._masses: list[float] = []
        self._num_actions = 0
        self._num_late_actions = 0
        self._score_times_ms: list[int] = []
        self._success_ms: int | None = None
        self.num_ticks = 0
        self.is_over = False
        policy.begin(goal, self._spec, seed)
        if self._recorder is not None:
            self._recorder.write_start(self._now)

    def play_tick(self) -> Decision:
        """Observe, decide, and let one horizon pass (or more, on a real clock that went on)."""
        observation = self._observe()
        decision = self._policy.decide(observation)
        chunk, num_late = self._drop_late(decision)
        outcome, reason = self._judge(decision, chunk)
        self._counts.add(outcome, reason)
        self._latencies_ms.append(decision.latency.total_ms)
        if decision.mean_p_allowed is not None:
            self._masses.append(decision.mean_p_allowed)
        if self._recorder is not None:
            record = {**self._record(decision, outcome, reason), "late_actions": num_late}
            self._recorder.write_decision(self._now, record)
        chunk = chunk if outcome is Outcome.EXECUTED else ActionChunk()
        self._remember(chunk)
        self._num_late_actions += num_late
        # On a real clock the game does not wait: a late decision costs as many horizons as it took.
        num_horizons = math.ceil(decision.latency.total_ms / self._spec.horizon_ms) if outcome is Outcome.LATE else 1
        for _ in range(num_horizons):
            self._execute(chunk)
        if outcome is Outcome.DONE and self._config.stops_when_done:
            self.is_over = True
        return decision

    def summarise(self) -> Episode:
        """Return the episode's numbers."""
        return Episode(
            seed=self._seed,
            goal=self._goal,
            duration_ms=self._now_ms,
            score=self._now.score,
            is_success=self._now.is_success,
            counts=self._counts,
            num_actions=self._num_actions,
            latencies_ms=tuple(self._latencies_ms),
            mean_p_allowed=float(np.mean(self._masses)) if self._masses else None,
            score_times_ms=tuple(self._score_times_ms),
            success_ms=self._success_ms,
            clock=self._config.clock,
            num_late_actions=self._num_late_actions,
            num_presses=self._now.num_presses,
            num_wasted_presses=self._now.num_wasted_presses,
            disturbed_ms=None if self._now.disturbed_t_ns is None else self._since_start_ms(self._now.disturbed_t_ns),
        )

    @property
    def _now_ms(self) -> int:
        """Game time since the episode began, milliseconds."""
        return self._since_start_ms(self._now.t_ns)

    def _since_start_ms(self, t_ns: int) -> int:
        return (t_ns - self._start_ns) // NS_PER_MS

    def _observe(self) -> Observation:
        now_ms = self._now_ms
        recent = tuple(replace(past, age_ms=now_ms - at_ms) for at_ms, past in self._recent)
        return Observation(self._now.frame, self._goal, now_ms, self._now.game_state, recent)

    def _drop_late(self, decision: Decision) -> tuple[ActionChunk, int]:
        """Return what of a decision can still be played, and how many actions can't."""
        chunk = decision.chunk or ActionChunk()
        return drop_late(chunk, decision.latency.total_ms) if self._config.clock == "real" else (chunk, 0)

    def _judge(self, decision: Decision, chunk: ActionChunk) -> tuple[Outcome, str | None]:
        """Say what becomes of a decision of which `chunk` can still be played."""
        if self._config.clock == "real" and decision.latency.total_ms > self._spec.horizon_ms:
            return Outcome.LATE, None
        if decision.chunk is None:
            return Outcome.INVALID, decision.reason
        if decision.chunk.done:
            return Outcome.DONE, None
        if not decision.chunk.actions:
            return Outcome.EMPTY, None
        if not chunk.actions:
            return Outcome.LATE, None
        refusal = self._guard.review(chunk, self._now_ms)
        if refusal is not None:
            return Outcome.REFUSED, str(refusal)
        return Outcome.EXECUTED, None

    def _remember(self, chunk: ActionChunk) -> None:
        at_ms = self._now_ms
        for action in chunk.actions:
            at_ms += action.dt_ms
            self._recent.append((at_ms, RecentAction(0, replace(action, dt_ms=0))))
        self._num_actions += len(chunk.actions)

    def _execute(self, chunk: ActionChunk) -> None:
        if self.is_over:
            return
        self._now = self._executor.execute(chunk)
        self._score_times_ms += [self._now_ms] * (int(self._now.score) - len(self._score_times_ms))
        if self._success_ms is None and self._now.is_success:
            self._success_ms = self._now_ms
        self.num_ticks += 1
        self.is_over = self._now.is_over or self.num_ticks >= self._config.max_ticks
        if self._recorder is not None:
            self._recorder.write_execution(self._now)

    def _record(self, decision: Decision, outcome: Outcome, reason: str | None) -> dict[str, Any]:
        """The decision as the session keeps it: what was said, what became of it, what it cost."""
        chunk = decision.chunk
        is_writable = chunk is not None and reason != Refusal.OUT_OF_SPEC
        return {
            "tick": self.num_ticks,
            "outcome": str(outcome),
            "reason": reason,
            "said": decision.text,
            "step": decision.step,
            "chunk": make_codec("json").encode(chunk, self._spec) if chunk is not None and is_writable else None,
            "latency_ms": {
                "prepare": round(decision.latency.prepare_ms, 2),
                "prefill": round(decision.latency.prefill_ms, 2),
                "decode": round(decision.latency.decode_ms, 2),
            },
            "mean_p_allowed": decision.mean_p_allowed,
            "num_prompt_tokens": decision.num_prompt_tokens,
            "num_answer_tokens": decision.num_answer_tokens,
        }


class EpisodeRecorder:
    """Writes an episode into a session."""

    def __init__(self, writer: SessionWriter, goal: str, controller: Controller = "agent") -> None:
        """Take where to write, what is asked for, and who acts."""
        self._writer = writer
        self._goal = goal
        self._controller = controller

    def write_start(self, now: Execution) -> None:
        """Write who plays towards what, and the first picture and state."""
        from vlm_agent.sessions.types import Goal

        self._writer.write_control(now.t_ns, self._controller)
        self._writer.write_goal(now.t_ns, Goal(now.t_ns, self._goal, level="long", source="human"))
        self._write_scene(now)

    def write_decision(self, now: Execution, decision: dict[str, Any]) -> None:
        """Write what was decided, before it is carried out."""
        self._writer.write_decision(now.t_ns, decision)

    def write_execution(self, now: Execution) -> None:
        """Write what was done, and how things stand after it."""
        for event in now.events:
            self._writer.write_event(event)
        self._write_scene(now)

    def _write_scene(self, now: Execution) -> None:
        self._writer.write_frame(now.t_ns, now.frame)
        if now.game_state is not None:
            self._writer.write_game_state(now.t_ns, now.game_state)
