"""How hard and how varied the scenes of Ringcraft are."""

from __future__ import annotations

from dataclasses import dataclass

from vlm_agent.errors import ConfigError


@dataclass(frozen=True)
class RingcraftConfig:
    """Settings of the scene that a seed is turned into; the rules of the game are not among them."""

    distance_min_tiles: int = 12
    """Least distance from the bank to the furnace."""
    distance_max_tiles: int = 15
    """Greatest distance from the bank to the furnace."""
    distractors_min: int = 6
    """Fewest other objects on the map."""
    distractors_max: int = 14
    """Most other objects on the map."""
    bank_items_max: int = 16
    """Most kinds of other items in the bank."""
    quantity_set_chance: float = 0.5
    """Chance that the bank's quantity begins at `X` rather than at another button."""
    mould_chance: float = 0.9
    """Chance that the mould begins in the inventory rather than in the bank."""
    zoom_min: int = 250
    """Least scale of the camera at the start, pixels."""
    zoom_max: int = 400
    """Greatest scale of the camera at the start, pixels."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a scene that can't be made."""
        if not 4 <= self.distance_min_tiles <= self.distance_max_tiles <= 15:
            raise ConfigError(
                "distance_min_tiles and distance_max_tiles must hold 4 <= min <= max <= 15, "
                f"got {self.distance_min_tiles} and {self.distance_max_tiles}"
            )
        if not 0 <= self.distractors_min <= self.distractors_max <= 40:
            raise ConfigError(
                "distractors_min and distractors_max must hold 0 <= min <= max <= 40, "
                f"got {self.distractors_min} and {self.distractors_max}"
            )
