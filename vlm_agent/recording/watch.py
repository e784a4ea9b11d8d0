"""Tells a person at once when a recording goes wrong: a screen that stands still, input that stays away."""

from __future__ import annotations

from dataclasses import dataclass

NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class WatchLimits:
    """What is no longer normal, seconds; 0 watches for nothing."""

    grab_s: float = 1.0
    """Grabbing one picture takes longer."""
    still_s: float = 20.0
    """No picture differs from the one before for longer."""
    input_s: float = 60.0
    """No input is recorded for longer."""


@dataclass(frozen=True)
class Vitals:
    """How a recording goes at one moment; times on the session's clock."""

    now_ns: int
    """The moment."""
    grab_began_ns: int | None
    """Since when the screen is being grabbed; None between two pictures."""
    changed_ns: int | None
    """When the picture last changed; None while nothing is captured."""
    input_ns: int | None
    """When input was last recorded, or recording went on; None while nothing is recorded."""


class Watch:
    """Compares one moment after another with the limits; each trouble is told once, and its end."""

    def __init__(self, limits: WatchLimits) -> None:
        """Begin with no trouble."""
        self._limits = limits
        self._troubles: dict[str, int] = {}

    def look(self, vitals: Vitals) -> list[str]:
        """Return what is to be said now, usually nothing."""
        limits, now_ns = self._limits, vitals.now_ns
        checks = (
            (
                "grab",
                vitals.grab_began_ns,
                limits.grab_s,
                "grabbing the screen takes {:.1f} s",
                "the screen answers again",
            ),
            (
                "still",
                vitals.changed_ns,
                limits.still_s,
                "the picture has not changed for {:.0f} s",
                "the picture moves again",
            ),
            (
                "input",
                vitals.input_ns,
                limits.input_s,
                "no input for {:.0f} s; has the window the keyboard?",
                "input again",
            ),
        )
        told = []
        for name, since_ns, limit_s, trouble, end in checks:
            for_s = 0.0 if since_ns is None else (now_ns - since_ns) / NS_PER_S
            if limit_s and for_s > limit_s:
                if name not in self._troubles:
                    self._troubles[name] = since_ns or now_ns
                    told.append(trouble.format(for_s))
            elif name in self._troubles:
                lasted_s = (now_ns - self._troubles.pop(name)) / NS_PER_S
                told.append(f"{end}, after {lasted_s:.1f} s")
        return told
