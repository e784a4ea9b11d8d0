"""Does base nano read a game's state? Statements to check and instructions with conditions, by kind; text alone.

    python bench/nano_reading.py [--json] [--moments 40] [--model base]

The moments are drawn as in nano's training, from a seed of their own. The limit is 100 %; `guessing` is the share that
someone gets right who always gives the answer that is right most often (statements) or draws one of the named steps
(instructions).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from _measuring import Shown, make_parser, print_rows, say

from vlm_agent.models.encoding import ChatEncoder, Encoded
from vlm_agent.models.loading import LoadedModel, load_model
from vlm_agent.training.nano import batches, reading
from vlm_agent.training.nano.tree import TreeSequence, batch_trees, grow_tree

SEED = 990_000


@dataclass(frozen=True)
class Row:
    """One kind of question."""

    kind: str
    """What was asked about."""
    questions: int
    """How many."""
    right: float
    """Share answered right."""
    guessing: float
    """Share right without reading."""


def main() -> None:
    """Ask and report."""
    parser = make_parser(__doc__)
    parser.add_argument("--moments", type=int, default=40, help="random moments of the game")
    parser.add_argument("--model", default="base", help="which model reads")
    args = parser.parse_args()
    say(f"{args.moments} moments, {reading.STATEMENTS} statements and up to {reading.CHOICES} instructions on each")
    loaded = load_model(args.model, quantization="none", device="cpu")
    rows = ask_statements(loaded, args.moments) + ask_choices(loaded, args.moments)
    print_rows(rows, Shown("reading a game state, text alone", "limit: 100 %"), as_json=args.json)


def ask_statements(loaded: LoadedModel, moments: int) -> list[Row]:
    """Return how many statements of each kind are checked rightly."""
    hits: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    yes = loaded.encoder.encode_text(reading.TRUE)[0]
    for moment in range(moments):
        tree = reading.make_statements(SEED, 0, moment, loaded.encoder)
        said, wanted = answer(loaded, tree)
        for number, (one, want) in enumerate(zip(said, wanted, strict=True), 1):
            words = loaded.encoder.decode_text(
                [i for i, branch in zip(tree.ids, tree.branch, strict=True) if branch == number]
            )
            hits[find_kind(words)].append((one == want, want == yes))
    return [
        Row(
            f"statement: {kind}",
            len(of_kind),
            np.mean([hit for hit, _ in of_kind]).item(),
            _most([t for _, t in of_kind]),
        )
        for kind, of_kind in sorted(hits.items())
    ]


def find_kind(words: str) -> str:
    """Return what a statement is about."""
    if " open" in words:
        return "a window is open"
    if "quantity" in words:
        return "the quantity chosen"
    return (
        "what the player does" if any(doing in words for doing in ("idle", "moving", "crafting")) else "what is carried"
    )


def ask_choices(loaded: LoadedModel, moments: int) -> list[Row]:
    """Return how many instructions with so many branches are answered by the right step, to the last token."""
    hits: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    for moment in range(moments):
        for one in reading.make_choices(SEED, 0, moment, loaded.encoder):
            said, wanted = answer(loaded, grow_tree([one], batches.TREE_TOKENS_MAX))
            words = _instruction(loaded.encoder, one)
            branches = words.count("if ") + 1
            kind = "an order" if branches == 1 else f"{branches} branches"
            hits[f"instruction: {kind}"].append((said == wanted, 1 / max(branches, 2)))
    return [
        Row(
            kind,
            len(of_kind),
            np.mean([hit for hit, _ in of_kind]).item(),
            np.mean([luck for _, luck in of_kind]).item(),
        )
        for kind, of_kind in sorted(hits.items())
    ]


def answer(loaded: LoadedModel, tree: TreeSequence) -> tuple[list[int], list[int]]:
    """Return the likeliest token at every place where one is asked for, and the right one."""
    batch = batch_trees([tree], loaded.encoder.image_token_id, 1, 1)
    with torch.no_grad():
        logits, labels = batches.tree_logits(loaded.model, batch)
    return logits.argmax(-1).tolist(), labels.tolist()


def _instruction(encoder: ChatEncoder, asked: Encoded) -> str:
    prompt = encoder.decode_text(asked.input_ids[: asked.num_prompt_tokens])
    return prompt.rsplit("Goal: ", 1)[1]


def _most(truths: list[bool]) -> float:
    share = np.mean(truths).item()
    return max(share, 1 - share)


if __name__ == "__main__":
    main()
