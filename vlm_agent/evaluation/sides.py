"""The two models of a comparison, and why they may be compared at all.

Both play with the tuned adapter's recipe: the same prompt, actions, picture size and precision. Whatever would make the
comparison one of prompts instead of models is refused before anything is played.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.chat import Recipe
from vlm_agent.errors import ConfigError, DataError, ModelError
from vlm_agent.models.checkpoints import BUNDLED_NAMES, find_adapter, find_checkpoint, fingerprint_weights
from vlm_agent.training.differences import find_differences

if TYPE_CHECKING:
    from vlm_agent.models.refusals import Quantization


@dataclass(frozen=True)
class Side:
    """One of the two models."""

    name: str
    """What `load_model` takes: a name or a folder."""
    base_fingerprint: str
    """Hash of the base's weights."""
    adapter_sha256: str | None
    """Hash of the adapter's weights; None for a plain base."""
    record: dict[str, Any] | None
    """The adapter's `recipe.json`."""

    def to_json(self) -> dict[str, Any]:
        """Return what the report says of it."""
        record = self.record or {}
        return {
            "name": self.name,
            "weights_sha256": self.base_fingerprint,
            "adapter_sha256": self.adapter_sha256,
            "dataset_sha256": record.get("dataset", {}).get("sha256"),
            "training_steps": record.get("steps"),
        }


@dataclass(frozen=True)
class Pair:
    """Two models that may be compared."""

    base: Side
    """Before tuning, or another adapter of the same base."""
    tuned: Side
    """After tuning."""
    recipe: Recipe
    """How both are spoken to."""
    quantization: Quantization
    """Precision of both."""
    dataset: Path | None
    """What tuned was trained on, if its folder is still known."""


def match_sides(base_name: str, tuned_name: str) -> Pair:
    """Return base and tuned, checked against each other.

    Raises:
        ModelError: one can't be found, tuned has no adapter, or they stand on different base weights.
        ConfigError: they were made for different prompts, actions, picture sizes or precisions, or are the same.
    """
    tuned, base = _find_tuned(tuned_name), find_side(base_name)
    if tuned.record is None:
        raise ModelError(f"--tuned {tuned_name}: holds no adapter; give a run's folder")
    if tuned.base_fingerprint != base.base_fingerprint:
        made_for = tuned.record.get("base", {}).get("source")
        raise ModelError(
            f"--tuned {tuned_name}: tuned from another base than --base {base_name}: its weights are those of "
            f"{made_for} ({tuned.base_fingerprint[:12]}), not {base.base_fingerprint[:12]}"
        )
    if base.record is not None:
        _check_same_recipe(base, tuned)
    if base.adapter_sha256 == tuned.adapter_sha256:
        raise ConfigError(f"--base {base_name} and --tuned {tuned_name} are the same adapter")
    try:
        recipe = Recipe.from_json(tuned.record["recipe"])
        quantization = tuned.record["base"]["quantization"]
    except KeyError as error:
        raise ModelError(f"--tuned {tuned_name}: its recipe.json lacks {error}") from error
    dataset = tuned.record.get("dataset", {}).get("path")
    return Pair(base, tuned, recipe, quantization, Path(dataset) if dataset else None)


def check_spec(recipe: Recipe, spec: ActionSpec, env: str) -> None:
    """Raise ConfigError unless the recipe was made for the actions of this environment."""
    if spec.with_extent(recipe.spec.extent_width, recipe.spec.extent_height) != recipe.spec:
        raise ConfigError(f"--tuned was made for other actions than {env} takes; give the environment it was tuned on")


def find_demonstrated_seeds(dataset: Path) -> frozenset[int]:
    """Return the scenes of a dataset's recordings, as far as their game states tell.

    Raises:
        DataError: the dataset can't be read.
    """
    from vlm_agent.dataset.store import open_dataset

    store = open_dataset(dataset)
    num_windows = {record.session: record.windows for record in store.manifest.sessions}
    seeds = set()
    for split in store.splits:
        windows = store.windows(split)
        index = 0
        while index < len(windows):
            # Windows lie session by session, and one of each tells the scene.
            window = windows[index]
            seed = ((window.state or {}).get("sim") or {}).get("seed")
            seeds.update([seed] if isinstance(seed, int) else [])
            index += max(1, num_windows.get(window.session, 1))
    return frozenset(seeds)


def check_seeds_apart(seeds: tuple[int, ...], dataset: Path | None) -> bool | None:
    """Return True if no seed was demonstrated to the tuned model, None if that can't be known any more.

    Raises:
        ConfigError: a seed was demonstrated.
    """
    if dataset is None or not dataset.is_dir():
        return None
    try:
        shown = find_demonstrated_seeds(dataset)
    except DataError:
        # The dataset was changed or is half gone; the report says that the seeds could not be checked.
        return None
    both = sorted(shown.intersection(seeds))
    if both:
        raise ConfigError(
            f"--first-seed: seed {both[0]} was demonstrated in {dataset}; choose seeds apart from it, for example "
            f"--first-seed {max(shown) + 1}"
        )
    return True if shown else None


def _find_tuned(name: str) -> Side:
    if name not in BUNDLED_NAMES and not Path(name).is_dir():
        raise ModelError(f"--tuned {name}: no such folder; give a run of train_vision_agent.py")
    return find_side(name)


def find_side(name: str) -> Side:
    """Return what a model's name means: a plain base, or an adapter with its record.

    Raises:
        ModelError: there is no such model.
    """
    folder = find_adapter(Path(name)) if name not in BUNDLED_NAMES else None
    if folder is None:
        return Side(name, fingerprint_weights(find_checkpoint(name)[1]), None, None)
    from vlm_agent.models.adapters import read_adapter_recipe

    record = read_adapter_recipe(folder)
    fingerprint = str(record.get("base", {}).get("fingerprint"))
    return Side(name, fingerprint, fingerprint_weights(folder), record)


def _check_same_recipe(base: Side, tuned: Side) -> None:
    left, right = (
        {"recipe": record.get("recipe"), "quantization": record.get("base", {}).get("quantization")}
        for record in (base.record or {}, tuned.record or {})
    )
    # The fingerprint of a prompt says as much as its text, which would fill the line.
    differing = [name for name in find_differences(left, right) if not name.endswith(".text")]
    if differing:
        raise ConfigError(
            f"--base {base.name} and --tuned {tuned.name} can't be compared: they differ in {', '.join(differing)}"
        )
