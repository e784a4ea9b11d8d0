"""A dataset in the forms that other trainers read: TRL's prompt-completion rows, and plain `messages` JSON.

Both are written by the same `chat` functions as our own training. Mind what happens to blocks in Arrow tables, which
`datasets` keeps everything in: every key of one block becomes a key of all blocks, `None` where it was missing, and the
chat templates of Qwen take a block with an `image` key for a picture, whatever its type; its text is gone. Rows from
here carry no `image` keys. `messages` files do, because that is their form; read them with `drop_empty_keys`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_agent.chat import Message, Recipe, render_answer, render_prompt
from vlm_agent.dataset.histories import Histories
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window, prompt_input, target_chunk

if TYPE_CHECKING:
    from vlm_agent.chat import RgbFrame

Resize = Callable[["RgbFrame", int, int], "RgbFrame"]
"""Brings a picture to a width and a height; `models.images.resize_frame`, so that others train on what we play with."""


def prompt_completion_rows(dataset: Dataset, split: str, recipe: Recipe, resize: Resize) -> Iterator[dict[str, Any]]:
    """Yield rows for TRL's SFTTrainer: `prompt`, `completion`, and `images` as PIL pictures.

    Make a `datasets.Dataset` of them with `Dataset.from_generator` or `from_list`, and train with `max_length=None`.

    Args:
        dataset: what to export.
        split: one of its splits.
        recipe: how the model is spoken to.
        resize: brings the captured picture to the recipe's size.
    """
    from PIL import Image

    def read(window: Window) -> RgbFrame:
        return resize(dataset.frame(window), recipe.image_width_px, recipe.image_height_px)

    histories = Histories(dataset.windows(split), recipe)
    for window in dataset.windows(split):
        shown = prompt_input(window, recipe, read(window), [(one, read(one)) for one in histories.before(window)])
        yield {
            "prompt": render_prompt(shown, recipe),
            "completion": [_answer(window, recipe)],
            "images": [Image.fromarray(frame) for frame in shown.pictures],
        }


def write_messages(dataset: Dataset, split: str, recipe: Recipe, out: Path) -> int:
    """Write one JSON object a line: picture path, goal, and the answer as text; return how many.

    Args:
        dataset: what to export; pictures are named by absolute paths into it.
        split: one of its splits.
        recipe: gives codec, coordinates and horizon.
        out: the file, replaced when it is whole.
    """
    partial = out.with_name(f"{out.name}.tmp")
    count = 0
    try:
        with partial.open("w", encoding="utf-8") as file:
            for window in dataset.windows(split):
                text = f"Goal: {window.goal}\n\nPredict the actions of the next {recipe.spec.horizon_ms} ms:"
                picture = {"type": "image", "image": str(dataset.frame_path(window).resolve())}
                user = {"role": "user", "content": [picture, {"type": "text", "text": text}]}
                assistant = {"role": "assistant", "content": render_answer(target_chunk(window, recipe), recipe)}
                file.write(json.dumps({"messages": [user, assistant]}, ensure_ascii=False) + "\n")
                count += 1
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return count


def drop_empty_keys(messages: Iterable[Message]) -> list[Message]:
    """Return messages without the `None` keys that an Arrow table gave their blocks."""
    return [
        {
            **message,
            "content": message["content"]
            if isinstance(message["content"], str)
            else [{key: value for key, value in block.items() if value is not None} for block in message["content"]],
        }
        for message in messages
    ]


def _answer(window: Window, recipe: Recipe) -> Message:
    text = render_answer(target_chunk(window, recipe), recipe)
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}
