"""The one error for bytes that are not what their writer wrote."""

from __future__ import annotations

from vlm_agent.errors import DataError


class DamagedError(DataError):
    """A checksum or a structure does not hold; `vlm-agent repair` may save the rest."""
