"""What a performer keeps to, what it acts with, and what it can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.executors.audit import AuditLog
from vlm_agent.executors.clock import Clock
from vlm_agent.executors.devices import Control, InjectionDevice
from vlm_agent.executors.focus import FocusGuard
from vlm_agent.executors.kill_switch import KillSwitch
from vlm_agent.executors.leases import LeaseTerms
from vlm_agent.executors.limits import Limits


class State(StrEnum):
    """What a performer does with chunks."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Terms:
    """What a performer keeps to."""

    spec: ActionSpec
    """What may be asked for, in pixels of the frame."""
    leases: LeaseTerms = field(default_factory=LeaseTerms)
    """How long something may be held."""
    limits: Limits = field(default_factory=Limits)
    """How much and which combinations."""
    reserved: frozenset[str] = frozenset()
    """Keys that belong to the person, without their sides: the hotkeys of one key."""
    heartbeat_ms: int = 1000
    """The policy is taken for dead after so long without a sign."""
    session_s: float = 3600.0
    """Everything ends after so long."""


@dataclass(frozen=True)
class Surroundings:
    """What a performer acts with and asks."""

    device: InjectionDevice
    """What injects."""
    guard: FocusGuard
    """Whether it would reach the window."""
    kill: KillSwitch
    """Looked at before every event."""
    audit: AuditLog
    """Told everything."""
    clock: Clock
    """Time."""
    warn: Callable[[Control, bool], None] = lambda control, is_down: None
    """Told what is about to be pressed, and what was released, for the case that this process dies (see `guardian`)."""
    list_names: Callable[[Control], frozenset[str]] = lambda control: frozenset()
    """Tells the other names of a key that is about to be pressed."""
    tell_hold: Callable[[bool], None] = lambda is_held: None
    """Told before the desktop is held still and afterwards, for the case that this process freezes in between."""
    pulse: Callable[[], bool] = lambda: False
    """Told again and again that this process runs; says whether it was taken for frozen, and what it held is up."""
    keys_down: Callable[[], frozenset[str]] = frozenset
    """What keys are down, a person's too."""
    last_person_ns: Callable[[], int | None] = lambda: None
    """When a person last touched anything."""
    wake: Callable[[], None] = lambda: None
    """Makes `clock` look up from a wait."""
