"""The parts of the report beside the comparison itself: each is made where there is what it needs, or says why not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vlm_agent.evaluation.clickmaps import ClickMap
    from vlm_agent.evaluation.films import Film
    from vlm_agent.evaluation.offline.evaluation import OfflineEvaluation
    from vlm_agent.evaluation.offline.worst import WorstWindow
    from vlm_agent.evaluation.sections import Section


@dataclass(frozen=True)
class Parts:
    """What a report holds beside the comparison."""

    sections: tuple[Section, ...] = ()
    """In the order of the page."""
    is_blind: bool = False
    """Whether the audit found that tuned does not look."""
    worst: tuple[WorstWindow, ...] = ()
    """The recorded windows that tuned answers worst."""
    films: tuple[Film, ...] = ()
    """Episodes in pictures."""
    click_maps: tuple[ClickMap, ...] = ()
    """Where everyone pressed."""
    values: dict[str, Any] = field(default_factory=dict)
    """Plain data by section, for `comparison.json`."""
    offline: OfflineEvaluation | None = None
    """All numbers on recorded windows."""
    missing: tuple[str, ...] = ()
    """What could not be made, and why."""
