"""The two models of a comparison, and why they may be compared at all.

Both play with the tuned adapter's recipe: the same prompt, actions, picture size and precision. Whatever would make the
comparison one of prompts instead of models is refused before anything is played.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """The adapter's `recipe.json`, or what stands in for one."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Of the base's parts, as far as they are known; see `models.identity`."""
    recipe_from: Path | None = None
    """For an adapter that carries no recipe: the run or file that says how it is asked."""

    def to_json(self) -> dict[str, Any]:
        """Return what the report says of it."""
        record = self.record or {}
        unchecked = {"recipe_of": record["recipe_of"], "note": record["note"]} if "note" in record else {}
        return {
            **unchecked,
            "name": self.name,
            "weights_sha256": self.base_fingerprint,
            "adapter_sha256": self.adapter_sha256,
            "dataset_sha256": record.get("dataset", {}).get("sha256"),
            "training_steps": record.get("steps"),
        }

    def list_notes(self) -> list[str]:
        """Return what of its base can't be checked, a sentence each."""
        from vlm_agent.models.records import list_record_notes

        return [] if self.record is None else list_record_notes(self.record, Path(self.name))


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


def match_sides(base_name: str, tuned_name: str, recipe_from: Path | None = None) -> Pair:
    """Return base and tuned, checked against each other.

    Args:
        base_name: as `load_model` takes it.
        tuned_name: a run's folder or an adapter's.
        recipe_from: for a tuned adapter that carries no recipe: the run or file that says how it is asked.

    Raises:
        ModelError: one can't be found, tuned has no adapter, or they stand on different bases.
        ConfigError: they were made for different prompts, actions, picture sizes or precisions, or are the same.
    """
    from vlm_agent.models.identity import name_differences

    tuned, base = _find_tuned(tuned_name, recipe_from), find_side(base_name)
    if tuned.record is None:
        raise ModelError(f"--tuned {tuned_name}: holds no adapter; give a run's folder")
    if tuned.base_fingerprint != base.base_fingerprint:
        made_for = tuned.record.get("base", {}).get("source")
        raise ModelError(
            f"--tuned {tuned_name}: tuned from another base than --base {base_name}: its weights are those of "
            f"{made_for} ({tuned.base_fingerprint[:12]}), not {base.base_fingerprint[:12]}"
        )
    names = name_differences(tuned.digests, base.digests)
    if names:
        raise ModelError(
            f"--tuned {tuned_name}: tuned from another base than --base {base_name}: the {names} of --base"
            f" {'are' if names.endswith('s') else 'is'} not what it was trained with; give its own base"
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


def _find_tuned(name: str, recipe: Path | None) -> Side:
    if name not in BUNDLED_NAMES and not Path(name).is_dir():
        raise ModelError(f"--tuned {name}: no such folder; give a run of train_vision_agent.py")
    return find_side(name, recipe)


def find_side(name: str, recipe: Path | None = None) -> Side:
    """Return what a model's name means: a plain base, or an adapter with its record.

    Args:
        name: as `load_model` takes it.
        recipe: for an adapter that carries no recipe: the run or file that says how it is asked.

    Raises:
        ModelError: there is no such model, or a recipe is missing or not wanted.
    """
    from vlm_agent.models.identity import read_digests
    from vlm_agent.models.records import find_record

    folder = find_adapter(Path(name)) if name not in BUNDLED_NAMES else None
    if folder is None:
        if recipe is not None:
            raise ModelError(f"--recipe {recipe}: is for an adapter that carries none, and {name} is no adapter")
        digests = _read_base(name)
        return Side(name, digests["weights"], None, None, digests)
    record = find_record(folder, recipe)
    # Nothing says which base an adapter from elsewhere was made for: it is the one that it is put on.
    digests = _read_base(record["base"]["source"]) if "note" in record else read_digests(record["base"])
    return Side(name, digests["weights"], fingerprint_weights(folder), record, digests, recipe)


def tell_notes(side: Side) -> None:
    """Say what of a model's base can't be checked."""
    from vlm_agent.terminal import PlainConsole

    for note in side.list_notes():
        PlainConsole("error").print(f"note: {note}")


def _read_base(name: str) -> dict[str, str]:
    from vlm_agent.models.identity import read_identity
    from vlm_agent.models.loading import read_encoder

    _, folder = find_checkpoint(name)
    return read_identity(folder, read_encoder(folder)).digests


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
