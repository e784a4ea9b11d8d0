"""What is held down, and until when: nothing stays down because somebody forgot it."""

from __future__ import annotations

from dataclasses import dataclass

from vlm_agent.actions.playback import NS_PER_MS
from vlm_agent.errors import ConfigError
from vlm_agent.executors.devices import Control


@dataclass(frozen=True)
class LeaseTerms:
    """How long something may stay down."""

    lease_ms: int = 700
    """Until it is released, unless another chunk comes: one horizon and what a decision is late by."""
    most_ms: int = 5000
    """Until it is released whatever comes."""

    def __post_init__(self) -> None:
        """Raise ConfigError for terms under which nothing could be held."""
        if not 1 <= self.lease_ms <= self.most_ms:
            raise ConfigError(f"a lease must last 1 to {self.most_ms} ms, got {self.lease_ms}")


@dataclass(slots=True)
class _Lease:
    until_ns: int
    last_ns: int


class Leases:
    """All that the executor holds down."""

    def __init__(self, terms: LeaseTerms) -> None:
        """Hold nothing yet."""
        self._terms = terms
        self._held: dict[Control, _Lease] = {}

    def __contains__(self, control: Control) -> bool:
        return control in self._held

    def __len__(self) -> int:
        return len(self._held)

    @property
    def held(self) -> tuple[Control, ...]:
        """What is down, in the order in which it was pressed."""
        return tuple(self._held)

    @property
    def next_ns(self) -> int | None:
        """When the first lease runs out."""
        return min((lease.until_ns for lease in self._held.values()), default=None)

    def hold(self, control: Control, now_ns: int) -> None:
        """Begin a lease."""
        last_ns = now_ns + self._terms.most_ms * NS_PER_MS
        self._held[control] = _Lease(now_ns + self._terms.lease_ms * NS_PER_MS, last_ns)

    def renew(self, now_ns: int) -> None:
        """Let everything be held for one more lease, as far as the longest time allows."""
        for lease in self._held.values():
            lease.until_ns = min(max(lease.until_ns, now_ns + self._terms.lease_ms * NS_PER_MS), lease.last_ns)

    def end(self, control: Control) -> None:
        """End a lease; harmless where there is none."""
        self._held.pop(control, None)

    def find_expired(self, now_ns: int) -> list[Control]:
        """Return what has to be released by now."""
        return [control for control, lease in self._held.items() if lease.until_ns <= now_ns]
