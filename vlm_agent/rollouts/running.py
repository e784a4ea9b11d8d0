"""Policies over many seeds: in parallel processes, resumable seed by seed, the same whatever the number of workers.

Finished episodes stand in one JSON-lines file in the order of their seeds, whose first line says what was played; it is
replaced as a whole after every episode, so a kill leaves complete lines only and the finished file is the same however
often it was interrupted. A file of another rollout is refused instead of continued.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_agent.errors import ConfigError, DataError
from vlm_agent.executors.in_game import Environment
from vlm_agent.files import write_text
from vlm_agent.policies import Decision, Policy
from vlm_agent.rollouts.episodes import Episode
from vlm_agent.rollouts.parallel import run_beside
from vlm_agent.rollouts.playing import EpisodeConfig, EpisodeRecorder, run_episode
from vlm_agent.sessions.appending import TakenError, remove_unfinished
from vlm_agent.sessions.types import Controller

if TYPE_CHECKING:
    from vlm_agent.sessions.writer import SessionWriter

_SUFFIXES = (".mcap", ".mcap.part", ".mkv", ".mkv.part")
"""Of a session's files, finished or not."""


@dataclass(frozen=True)
class Rollout:
    """One policy over a list of seeds."""

    name: str
    """What the policy is called in reports."""
    episodes: tuple[Episode, ...]
    """In the order of the seeds."""


@dataclass(frozen=True)
class RolloutPlan:
    """What is played; two plans that are equal give equal episodes."""

    name: str
    """What the policy is called."""
    make_env: Callable[[], Environment] = field(repr=False)
    """Builds the environment, once a worker; must be picklable (a function of a module, or a partial of one)."""
    make_policy: Callable[[], Policy] = field(repr=False)
    """Builds the policy, once a worker; must be picklable."""
    goal: str
    """The instruction."""
    seeds: tuple[int, ...]
    """One episode each."""
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    """How each is played."""
    about: dict[str, Any] = field(default_factory=dict)
    """What else decides the outcome (model, adapter, prompt hash): a resumed file must agree."""
    sessions: Path | None = None
    """Folder to record every episode in as a session; None records none."""
    controller: Controller = "agent"
    """Who acts, as recordings say it; `human` where the environment lets someone else's hand play."""

    def __post_init__(self) -> None:
        """Raise ConfigError without a seed, or with one twice."""
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"a rollout needs at least one seed, each once, got {list(self.seeds)}")


def run_rollout(
    plan: RolloutPlan,
    *,
    workers: int = 1,
    store: Path | None = None,
    on_episode: Callable[[Episode], None] | None = None,
) -> Rollout:
    """Play one plan; see `run_rollouts`."""

    def tell(_: str, episode: Episode) -> None:
        if on_episode is not None:
            on_episode(episode)

    return run_rollouts([plan], workers=workers, stores=[store], on_episode=tell)[0]


def run_rollouts(
    plans: Sequence[RolloutPlan],
    *,
    workers: int = 1,
    stores: Sequence[Path | None] | None = None,
    on_episode: Callable[[str, Episode], None] | None = None,
) -> list[Rollout]:
    """Play all seeds of all plans that are not in their stores yet, and return all episodes.

    The processes are shared: while the last episodes of a plan are played, the next plan begins. Plans that have the
    very same `make_policy` (as those that `replace` made of one have) share a policy in each process.

    Args:
        plans: what is played, in this order.
        workers: processes beside this one; 1 plays here.
        stores: for each plan a JSON-lines file of finished episodes; created, continued, or None to keep none.
        on_episode: told the plan's name and the episode after each, finished ones from the stores first.

    Raises:
        DataError: a store belongs to another plan, or is not a store.
    """
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    shelves = [_Shelf(plan, store) for plan, store in zip(plans, stores or [None] * len(plans), strict=True)]
    for shelf in shelves:
        shelf.clear()
        for episode in shelf.finished.values():
            _call(on_episode, shelf.plan.name, episode)
    makers = [plan.make_policy for plan in plans]
    jobs = [
        _Job(number, makers.index(shelf.plan.make_policy), shelf.plan, seed)
        for number, shelf in enumerate(shelves)
        for seed in shelf.missing
    ]
    play = _play_here if workers == 1 or len(jobs) < 2 else _play_beside
    for number, episode in play(jobs, workers):
        shelves[number].add(episode)
        _call(on_episode, plans[number].name, episode)
    return [shelf.close() for shelf in shelves]


@dataclass(frozen=True)
class _Job:
    """One episode to be played."""

    number: int
    """Which of the plans."""
    policy: int
    """The first plan that has this policy."""
    plan: RolloutPlan
    seed: int


class _Shelf:
    """The episodes of one plan, and their file."""

    def __init__(self, plan: RolloutPlan, store: Path | None) -> None:
        self.plan = plan
        self._store = store
        self._done = _read_store(store, plan) if store is not None else {}
        self.finished = {seed: self._done[seed] for seed in plan.seeds if seed in self._done}
        self.missing = [seed for seed in plan.seeds if seed not in self.finished]

    def clear(self) -> None:
        """Remove recordings of episodes that a kill kept out of the store: they are played again."""
        if self._store is None or self.plan.sessions is None:
            return
        for seed in self.missing:
            for suffix in _SUFFIXES:
                remove_unfinished(self.plan.sessions / f"{_name(self.plan, seed)}{suffix}")

    def add(self, episode: Episode) -> None:
        self.finished[episode.seed] = episode
        if self._store is not None:
            _write_store(self._store, self.plan, {**self._done, **self.finished})

    def close(self) -> Rollout:
        return Rollout(self.plan.name, tuple(self.finished[seed] for seed in self.plan.seeds))


def play_recorded(
    plan: RolloutPlan,
    env: Environment,
    policy: Policy,
    seed: int,
    on_tick: Callable[[int, Decision], None] | None = None,
) -> Episode:
    """Play one seed of a plan, and record it where the plan says so."""
    if plan.sessions is None:
        return run_episode(env, policy, plan.goal, seed, plan.episode, on_tick=on_tick)
    from vlm_agent.sessions.writer import SessionWriter

    plan.sessions.mkdir(parents=True, exist_ok=True)
    spec = env.spec_actions
    open_session = partial(
        SessionWriter,
        width_px=spec.extent_width,
        height_px=spec.extent_height,
        fps=1000 / spec.horizon_ms,
        meta={
            "title": plan.name,
            "goal": plan.goal,
            "seed": seed,
            "policy": plan.name,
            "clock": plan.episode.clock,
            "action_spec": spec.to_json(),
            **plan.about,
        },
    )
    with _open_free(open_session, plan.sessions / _name(plan, seed)) as writer:
        recorder = EpisodeRecorder(writer, plan.goal, plan.controller)
        episode = run_episode(env, policy, plan.goal, seed, plan.episode, recorder=recorder, on_tick=on_tick)
    return replace(episode, session=str(writer.path.with_suffix("")))


def _name(plan: RolloutPlan, seed: int) -> str:
    return f"{plan.name}-{seed}"


def _open_free(open_session: Callable[[Path], SessionWriter], stem: Path) -> SessionWriter:
    """Begin a session of a name that none has, finished or cut off: an episode played again overwrites none before."""
    for number in count(1):
        free = stem if number == 1 else stem.with_name(f"{stem.name}-{number}")
        if any(free.with_name(free.name + suffix).exists() for suffix in _SUFFIXES):
            continue
        with suppress(TakenError):  # another process was quicker
            return open_session(free)
    raise AssertionError("counting never ends")


def _call(on_episode: Callable[[str, Episode], None] | None, name: str, episode: Episode) -> None:
    if on_episode is not None:
        on_episode(name, episode)


class _Stage:
    """The environment and the policy of the job at hand; kept for the next one where it has the same."""

    def __init__(self) -> None:
        self._env: tuple[int, Environment] | None = None
        self._policy: tuple[int, Policy] | None = None

    def play(self, job: _Job) -> tuple[int, Episode]:
        """Play one episode with the environment and the model of the one before, where they are the same."""
        if self._env is None or self._env[0] != job.number:
            self.close()
            self._env = job.number, job.plan.make_env()
        if self._policy is None or self._policy[0] != job.policy:
            self._policy = None  # two models at a time may be one too many
            self._policy = job.policy, job.plan.make_policy()
        return job.number, play_recorded(job.plan, self._env[1], self._policy[1], job.seed)

    def close(self) -> None:
        if self._env is not None:
            self._env[1].close()
            self._env = None


def _play_here(jobs: Sequence[_Job], _: int) -> Iterator[tuple[int, Episode]]:
    stage = _Stage()
    try:
        for job in jobs:
            yield stage.play(job)
    finally:
        stage.close()


def _play_beside(jobs: Sequence[_Job], workers: int) -> Iterator[tuple[int, Episode]]:
    return run_beside(_play_in_worker, jobs, workers)


_stage = _Stage()
"""This worker's; a model is loaded once, not once an episode."""


def _play_in_worker(job: _Job) -> tuple[int, Episode]:
    return _stage.play(job)


def _describe(plan: RolloutPlan) -> dict[str, Any]:
    """What a store is about, as JSON gives it back."""
    rules = asdict(plan.episode.rules)
    rules["denied_combos"] = sorted(sorted(combo) for combo in plan.episode.rules.denied_combos)
    about = {
        "name": plan.name,
        "goal": plan.goal,
        "episode": {**asdict(plan.episode), "rules": rules},
        "about": plan.about,
    }
    value: dict[str, Any] = json.loads(json.dumps(about))
    return value


def _read_store(path: Path, plan: RolloutPlan) -> dict[int, Episode]:
    if not path.exists():
        return {}
    try:
        head, *lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise DataError(f"{path}: not a store of episodes ({error})") from error
    if head != {"rollout": _describe(plan)}:
        raise DataError(f"{path}: holds episodes of another rollout; give another folder, or remove it")
    # Episodes of an older store don't name their clock; its first line does, and it is this plan's.
    episodes = [Episode.from_json({"clock": plan.episode.clock, **line}) for line in lines]
    return {episode.seed: episode for episode in episodes}


def _write_store(path: Path, plan: RolloutPlan, episodes: dict[int, Episode]) -> None:
    lines = [{"rollout": _describe(plan)}, *(episode.to_json() for _, episode in sorted(episodes.items()))]
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
