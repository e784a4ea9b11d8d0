"""What is known of a tuned model: the `recipe.json` beside it, or for an adapter from elsewhere the one that is named.

An adapter that plain peft, Unsloth, TRL or LLaMA-Factory saved tells its kind, its layers and perhaps the name of its
base; how it wants to be asked it does not tell. The person says so by a run or a recipe of ours. Who its base was can
then not be checked, and that is told.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vlm_agent.errors import ModelError
from vlm_agent.models.checkpoints import ADAPTER_CONFIG, MAX_CONFIG_BYTES, MODEL_FOLDER, RECIPE_FILE, find_checkpoint
from vlm_agent.regular_files import read_json

_PLACES = (RECIPE_FILE, f"adapter/{RECIPE_FILE}", f"{MODEL_FOLDER}/{RECIPE_FILE}", "run.json")
"""Where a run's folder says how its model is asked."""


def read_adapter_recipe(folder: Path) -> dict[str, Any]:
    """Return the `recipe.json` beside an adapter or a fully tuned model.

    Raises:
        ModelError: it is missing or broken, so that prompt and base are unknown.
    """
    path = folder / RECIPE_FILE
    record = _read_json(path)
    base = record.get("base")
    if not isinstance(base, dict) or not {"source", "fingerprint", "quantization"} <= base.keys():
        raise ModelError(f"{path}: tells no base of this adapter")
    _check_base(base, path)
    return record


def find_record(folder: Path, recipe: Path | None = None, *, base: str | None = None) -> dict[str, Any]:
    """Return what is known of a tuned model.

    Args:
        folder: its folder.
        recipe: for an adapter without a `recipe.json`: a run that is asked alike, or a recipe's file.
        base: what such an adapter is put on; by default the base that its own config names, or else the recipe's.

    Returns:
        The record; of an adapter from elsewhere its `base` tells no hashes, and `note` says what could not be checked.

    Raises:
        ModelError: there is no record, both its own and another one, or its base can't be found.
    """
    if (folder / RECIPE_FILE).is_file():
        if recipe is not None:
            raise ModelError(f"--recipe {recipe}: {folder} carries its own {RECIPE_FILE}; leave --recipe out")
        return read_adapter_recipe(folder)
    if recipe is None:
        raise ModelError(
            f"{folder}: an adapter from elsewhere: no {RECIPE_FILE} tells how it is asked; say so with --recipe RUN"
            f" (the folder of a run of train_vision_agent.py that is asked alike) or --recipe FILE (such a run's"
            f" {RECIPE_FILE})"
        )
    given = read_recipe_file(recipe)
    own = _read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    told = given["base"] if isinstance(given.get("base"), dict) else {}
    source, found = (base, "as was asked") if base is not None else _find_base(folder, own, told.get("source"))
    note = f"{folder}: an adapter from elsewhere, put on {source}, {found}; that this was its base can't be checked"
    return {
        "recipe": given["recipe"],
        "frame_px": given.get("frame_px"),
        "base": {"source": source, "quantization": told.get("quantization", "nf4")},
        "recipe_of": str(recipe),
        "note": note,
    }


def read_recipe_file(path: Path) -> dict[str, Any]:
    """Return the record that a run's folder or a recipe's file holds.

    Raises:
        ModelError: there is none, or it tells no recipe.
    """
    path = path.expanduser()
    if path.is_dir():
        places = [path / place for place in _PLACES]
        path = next((place for place in places if place.is_file()), path)
    if not path.is_file():
        raise ModelError(f"--recipe {path}: expected the folder of a run, or a {RECIPE_FILE}; there is none")
    record = _read_json(path)
    if not isinstance(record.get("recipe"), dict):
        raise ModelError(f"--recipe {path}: tells no recipe; give the {RECIPE_FILE} of a run")
    if isinstance(record.get("base"), dict):
        _check_base(record["base"], path)
    return record


def list_record_notes(record: dict[str, Any], folder: Path) -> list[str]:
    """Return what of a tuned model's base could not be checked, a sentence each."""
    if "note" in record:
        return [str(record["note"])]
    if "identity" in record["base"]:
        return []
    return [f"{folder}: was trained by an earlier version, so its base was held against its weights alone"]


def _check_base(base: dict[str, Any], path: Path) -> None:
    for name in ("source", "fingerprint"):
        if not isinstance(base.get(name, ""), str):
            raise ModelError(f"{path}: the base's {name} must be a text, got {base[name]!r:.40}")
    if base.get("quantization", "nf4") not in ("nf4", "none"):
        raise ModelError(f"{path}: the base's quantization must be nf4 or none, got {base['quantization']!r:.40}")


def _find_base(folder: Path, named: Any, recipes: Any) -> tuple[str, str]:
    """Return the name of an adapter's base, and who says so."""
    said = [(named, f"named by its {ADAPTER_CONFIG}"), (recipes, "the recipe's base")]
    for name, who in said:
        if not isinstance(name, str) or not name:
            continue
        try:
            return find_checkpoint(name, with_weights=False, told_by=folder)[0], who
        except ModelError:
            continue  # it lay elsewhere when the adapter was trained
    raise ModelError(
        f"{folder}: its base is not here: its {ADAPTER_CONFIG} names {named!r}, the recipe {recipes!r}; write"
        f" the folder of its base into base_model_name_or_path of {ADAPTER_CONFIG}"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path, MAX_CONFIG_BYTES)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: missing or broken; an adapter needs it to tell its base and prompt") from error
    return value if isinstance(value, dict) else {}
