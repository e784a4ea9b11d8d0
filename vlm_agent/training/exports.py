"""`vlm-agent export`: a dataset as JSON lines and pictures that other trainers read, asked as this project asks.

A row is what `ask_window` gives to our own training, and names pictures that were resized as ours are, so that points
in pixels fit them. Rows are made for Arrow tables, which `datasets` keeps everything in: there every key of one block
becomes a key of all blocks, with `None` where it was missing, and Qwen's templates take a block with an `image` key for
a picture, whatever its type. So every content is a list of blocks, none has such a key, and the pictures stand beside
the messages in the order of their blocks; a text that is JSON stays a text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from vlm_agent.errors import ConfigError
from vlm_agent.files import write_folder
from vlm_agent.locks import only_maker
from vlm_agent.training.config import RecipeSettings, TrainConfig

if TYPE_CHECKING:
    from vlm_agent.chat import Recipe
    from vlm_agent.dataset.store import Dataset
    from vlm_agent.training.windows import AskedWindow

PICTURES_FOLDER = "pictures"

Form = Literal["messages", "prompt-completion"]


@dataclass(frozen=True)
class ExportArgs:
    """What to export, for which model, and how."""

    dataset: Path
    """Folder that label_segments.py wrote."""
    out: Path
    """Folder that is made: a file of JSON lines for every split, `pictures/`, and `recipe.json`, which says how the
    model is asked: give it as `--recipe` to play an adapter that another trainer made. Rows name the pictures by
    absolute paths: export again rather than move it."""
    form: Annotated[Form, tyro.conf.arg(name="format")] = "prompt-completion"
    """`prompt-completion`: `prompt`, `completion` and `images`, as TRL takes them and learns the answer alone;
    `messages`: all turns in one list, and `images`."""
    model: str = "nano"
    """Whose picture size and coordinates are used: `nano`, a checkpoint's folder, a name on the hub, or a run, which
    brings its own recipe."""
    recipe: RecipeSettings = field(default_factory=RecipeSettings)
    """How windows are shown to the model."""


def run(args: ExportArgs) -> None:
    """Write the export, and say how to read it.

    Raises:
        DataError: there is no usable dataset, or it is of another action spec than the run.
        ModelError: there is no such model, or it can't be asked.
        ConfigError: `out` is there already.
        BusyError: another process makes it.
    """
    from vlm_agent.dataset.store import open_dataset
    from vlm_agent.terminal import PlainConsole
    from vlm_agent.training.planning.candidates import read_candidate
    from vlm_agent.training.windows import settle_recipe

    dataset = open_dataset(args.dataset)
    with only_maker(args.out):
        if args.out.exists():
            raise ConfigError(f"--out {args.out}: is there already; give a new folder")
        candidate = read_candidate(args.model, "nf4")
        recipe = settle_recipe(candidate.recipe, candidate, dataset, args.recipe)
        counts = write_export(dataset, recipe, args.out, args.form)
    told = ", ".join(f"{count} rows in {split}.jsonl" for split, count in counts.items())
    size = f"{recipe.image_width_px}x{recipe.image_height_px} px"
    PlainConsole().print(f"{args.out}: {told}; pictures of {size}")
    notes = candidate.encoder.list_notes(recipe.image_width_px, recipe.image_height_px)
    if candidate.recipe is None:
        notes += args.recipe.list_notes(candidate.encoder.images.min_tokens)
    for note in notes:
        PlainConsole("error").print(f"note: {note}")


def write_export(dataset: Dataset, recipe: Recipe, out: Path, form: Form) -> dict[str, int]:
    """Write every split of a dataset; return how many rows each has. The folder is there whole or not at all.

    Args:
        dataset: what to export.
        recipe: how the model is asked; its windows are those that training by default learns from.
        out: the folder, which must not be there.
        form: of a row.

    Raises:
        DataError: a picture is missing or broken.
    """
    from vlm_agent.terminal import track

    counts: dict[str, int] = {}

    def fill(beside: Path) -> None:
        (beside / PICTURES_FOLDER).mkdir()
        for split in dataset.splits:
            asked = list(ask_split(dataset, split, recipe))
            shown = track(asked, split)
            with (beside / f"{split}.jsonl").open("w", encoding="utf-8") as file:
                for window in shown:
                    _write_pictures(dataset, recipe, window, beside / PICTURES_FOLDER)
                    row = make_row(window, recipe, out.resolve() / PICTURES_FOLDER, form)
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
            counts[split] = len(asked)
        frame_px = [dataset.spec.extent_width, dataset.spec.extent_height]
        told = {"recipe": recipe.to_json(), "frame_px": frame_px}
        (beside / "recipe.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

    write_folder(out, fill)
    return counts


def ask_split(dataset: Dataset, split: str, recipe: Recipe) -> Iterator[AskedWindow]:
    """Yield the windows of a split as training asks them by default, in order of session and time."""
    from vlm_agent.dataset.histories import Histories
    from vlm_agent.training.material import choose_split
    from vlm_agent.training.moments import moment_of
    from vlm_agent.training.windows import ask_window

    windows, steps = choose_split(dataset, split, recipe, TrainConfig())
    histories = Histories(dataset.windows(split), recipe)
    for window in windows:
        yield ask_window(window, recipe, steps.get(moment_of(window)), earlier=histories.before(window))


def make_row(asked: AskedWindow, recipe: Recipe, pictures: Path, form: Form) -> dict[str, Any]:
    """Return one row; `image_sizes` are (width, height) of the pictures that `images` names, which points fit."""
    answer = {"role": "assistant", "content": [{"type": "text", "text": asked.answer}]}
    told = {
        "images": [str(pictures / f"{frame_id}.png") for frame_id in asked.frame_ids],
        "image_sizes": [[recipe.image_width_px, recipe.image_height_px] for _ in asked.frame_ids],
    }
    if form == "messages":
        return {"messages": [*asked.messages, answer], **told}
    return {"prompt": asked.messages, "completion": [answer], **told}


def _write_pictures(dataset: Dataset, recipe: Recipe, asked: AskedWindow, folder: Path) -> None:
    from PIL import Image

    from vlm_agent.training.windows import FrameLoader

    load = FrameLoader(dataset.folder, recipe)
    for frame_id in asked.frame_ids:
        path = folder / f"{frame_id}.png"
        if not path.exists():
            Image.fromarray(load(frame_id)).save(path)
