"""From samples to tensors, and the two forward passes of nano's training.

Samples are made in one worker process ahead of the model; their order depends on the seed and the step alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset

from vlm_agent.actions.types import ActionChunk, Click
from vlm_agent.chat import PromptInput, Recipe, render_answer, render_prompt
from vlm_agent.models.encoding import IGNORED_LABEL, ChatEncoder, Encoded
from vlm_agent.models.forward import ImageFeatures, run_language
from vlm_agent.models.images import pixel_values
from vlm_agent.models.nano_config import IMAGE_HEIGHT_PX, IMAGE_SETTINGS, IMAGE_WIDTH_PX
from vlm_agent.training.nano import copying, dense, reading, scenes
from vlm_agent.training.nano.by_eye import answer_by_eye
from vlm_agent.training.nano.clip_labels import ClipBatch, make_clips
from vlm_agent.training.nano.config import PretrainConfig
from vlm_agent.training.nano.looking import Seen
from vlm_agent.training.nano.samples import CONDITIONAL, NanoSample, Question
from vlm_agent.training.nano.sights import find_sights
from vlm_agent.training.nano.tree import TreeBatch, TreeSequence, batch_trees, grow_tree
from vlm_agent.training.nano.variety import is_movable

_, ROWS, COLUMNS = IMAGE_SETTINGS.grid(IMAGE_WIDTH_PX, IMAGE_HEIGHT_PX)
NAME_SCAN = 400
"""Samples looked at to collect the names of things; any name that matters turns up in the first few dozen."""
TREE_TOKENS_MAX = 1008
"""Questions beyond this length of a tree are left out, so that a step never takes much longer than others."""
DRILL_ROWS = 2
"""Moments a step in each of the exercises in reading."""
BLANK_SHARE, EVEN_SHARE = 0.1, 0.7
"""Shares of the screens to look on that show nothing, and that show rare things as often as common ones."""
FIXED_SHARE, ASKED_MAX, LOOK_QUESTIONS_MAX = 0.1, 60, 10
"""On screens to look on: share of the questions kept that need no looking; most drawn, and most kept."""
LOOK_OFFSET, KEPT_OFFSET, CLIP_OFFSET = 30_000_000, 40_000_000, 20_000_000
"""Where samples to look on start, in their own stage and in the instruction stage, and clips, apart from all others."""
DROP_ALL_TEXT, DROP_SOME_LINES = 0.2, 0.1
"""Share of samples that lose the whole game-state text, or a random part of its lines."""


@dataclass(frozen=True)
class DenseBatch:
    """Screens with what is where."""

    frames: torch.Tensor
    """(batch, 256, 384, 3) uint8."""
    classes: torch.Tensor
    """(batch, 96, 4) int64."""
    digits: torch.Tensor
    """(batch, 96, 4, 6) int64."""


@dataclass(frozen=True)
class FollowBatch:
    """Screens with instructions as token trees."""

    frames: torch.Tensor
    """(batch, 256, 384, 3) uint8."""
    tree: TreeBatch
    """Tokens, labels, positions and mask."""
    drills: tuple[TreeBatch, ...] = ()
    """Exercises in text alone: lists to look up in, statements to check, choices to make."""
    look: LookBatch | None = None
    """Screens to practise looking on."""
    clips: ClipBatch | None = None
    """Clips to name."""


@dataclass(frozen=True)
class LookBatch:
    """Screens whose game-state text is withheld, with instructions and where their answers can be seen."""

    frames: torch.Tensor
    """(batch, 256, 384, 3) uint8."""
    seen: Seen
    """Token trees, what is where, and where to look."""


@lru_cache(maxsize=1)
def thing_names(seed: int) -> dict[str, int]:
    """Return a class number (from 1) for each name seen in the first samples of a seed."""
    names = {thing.name for index in range(NAME_SCAN) for thing in scenes.make_sample(seed, index).things}
    return {name: number for number, name in enumerate(sorted(names), 1)}


class _Stream(IterableDataset[Any]):
    """Calls `make(step)` for each step of a range."""

    def __init__(self, make: Any, start: int, stop: int) -> None:
        self.make, self.start, self.stop = make, start, stop

    def __iter__(self) -> Iterator[Any]:
        torch.set_num_threads(1)
        return (self.make(step) for step in range(self.start, self.stop))


def _stream(make: Any, start: int, stop: int) -> Iterator[Any]:
    return iter(DataLoader(_Stream(make, start, stop), batch_size=None, num_workers=1, prefetch_factor=4))


def dense_batches(seed: int, start: int, stop: int, size: int, names: dict[str, int]) -> Iterator[DenseBatch]:
    """Yield the dense stage's batches for steps start..stop."""

    def make(step: int) -> DenseBatch:
        screens = [scenes.make_screen(seed, step * size + row) for row in range(size)]
        targets = [dense.dense_targets(things, names, ROWS, COLUMNS) for _, things in screens]
        return DenseBatch(
            torch.from_numpy(np.stack([frame for frame, _ in screens])),
            torch.from_numpy(np.stack([target.classes for target in targets])),
            torch.from_numpy(np.stack([target.digits for target in targets])),
        )

    return _stream(make, start, stop)


def look_batches(
    seed: int, start: int, stop: int, size: int, tokenizer: Any, names: dict[str, int]
) -> Iterator[LookBatch]:
    """Yield the looking stage's batches for steps start..stop."""

    def make(step: int) -> LookBatch:
        return make_look(seed, range(LOOK_OFFSET + step * size, LOOK_OFFSET + (step + 1) * size), tokenizer, names)

    return _stream(make, start, stop)


def make_look(seed: int, indices: Sequence[int], tokenizer: Any, names: dict[str, int]) -> LookBatch:
    """Return samples as a batch to practise looking on.

    Args:
        seed: of the samples.
        indices: which samples.
        tokenizer: nano's.
        names: classes of things.
    """
    recipe, encoder = scenes.nano_recipe(), ChatEncoder(tokenizer, IMAGE_SETTINGS)
    samples = [look_sample(seed, index) for index in indices]
    trees = [_grow(sample, recipe, encoder) for sample in samples]
    targets = [dense.dense_targets(sample.things, names, ROWS, COLUMNS) for sample in samples]
    classes = torch.from_numpy(np.stack([target.classes for target in targets]))
    sights = find_sights(
        trees,
        samples,
        names,
        digit_ids=tokenizer.convert_tokens_to_ids(list("0123456789")),
        image_token_id=encoder.image_token_id,
        grid=(ROWS, COLUMNS),
    )
    starts = accumulate((len(tree.ids) for tree in trees[:-1]), initial=0)
    seen = Seen(
        _batch(trees, encoder),
        sights,
        classes,
        torch.from_numpy(np.stack([target.digits for target in targets])),
        tuple(start + tree.ids.index(encoder.image_token_id) for start, tree in zip(starts, trees, strict=True)),
    )
    return LookBatch(_stack_frames(samples), seen)


def look_sample(seed: int, index: int) -> NanoSample:
    """Return a sample to practise looking on: without text, sometimes blank, and mostly about what must be looked for.

    What a condition decides is left out, for text mostly tells it.
    """
    rng = random.Random(f"look {seed} {index}")
    sample = scenes.make_sample(seed, index, even=rng.random() < EVEN_SHARE, questions_max=ASKED_MAX)
    sample = answer_by_eye(replace(sample, state_text="", questions=_to_look_for(sample, rng)), ROWS, COLUMNS)
    return blank(sample, rng) if rng.random() < BLANK_SHARE else sample


def blank(sample: NanoSample, rng: random.Random) -> NanoSample:
    """Return the sample on a screen of one colour, where the right answer to everything is to do nothing.

    A capture may fail in play; whoever presses where things usually are then presses blindly.
    """
    colour = [rng.randrange(256)] * 3 if rng.random() < 0.5 else [rng.randrange(256) for _ in range(3)]
    frame = np.full_like(sample.frame, np.array(colour, dtype=np.uint8))
    questions = tuple(replace(question, answer=ActionChunk()) for question in sample.questions)
    return replace(sample, frame=frame, questions=questions, things=())


def follow_batches(config: PretrainConfig, start: int, tokenizer: Any, names: dict[str, int]) -> Iterator[FollowBatch]:
    """Yield the instruction stage's batches from a step on."""
    seed, size, look_kept = config.seed, config.follow_batch, config.look_kept
    recipe, encoder = scenes.nano_recipe(), ChatEncoder(tokenizer, IMAGE_SETTINGS)
    # Far from the dense stage's samples, so that nothing learnt by heart there helps here.
    offset = 10_000_000

    def make(step: int) -> FollowBatch:
        samples = [scenes.make_sample(seed, offset + step * size + row) for row in range(size)]
        rng = random.Random(f"{seed}/{step}")
        batch = encode_follow([drop_text(sample, rng) for sample in samples], recipe, tokenizer)
        kept = range(KEPT_OFFSET + step * look_kept, KEPT_OFFSET + (step + 1) * look_kept)
        look = make_look(seed, kept, tokenizer, names) if look_kept else None
        named = range(CLIP_OFFSET + step * config.clip_batch, CLIP_OFFSET + (step + 1) * config.clip_batch)
        clips = make_clips(seed, named, encoder) if config.clip_batch else None
        return replace(batch, drills=_make_drills(seed, offset + step, encoder), look=look, clips=clips)

    return _stream(make, start, config.follow_steps)


def _make_drills(seed: int, step: int, encoder: ChatEncoder) -> tuple[TreeBatch, ...]:
    echoes = copying.make_echoes(seed, step, encoder, entries=copying.ECHO_ENTRIES // 2)
    statements = [reading.make_statements(seed, step, row, encoder) for row in range(DRILL_ROWS)]
    choices = [grow_tree(reading.make_choices(seed, step, row, encoder), TREE_TOKENS_MAX) for row in range(DRILL_ROWS)]
    return tuple(batch_trees(trees, encoder.image_token_id, 1, 1) for trees in (echoes, statements, choices))


@dataclass(frozen=True)
class CopyBatch:
    """Exercises in looking up, text alone."""

    echoes: TreeBatch
    """Lists written again and again."""
    questions: TreeBatch
    """Lists with questions."""


def copy_batches(seed: int, start: int, stop: int, size: int, tokenizer: Any) -> Iterator[CopyBatch]:
    """Yield the copying stage's batches for steps start..stop."""
    recipe, encoder = scenes.nano_recipe(), ChatEncoder(tokenizer, IMAGE_SETTINGS)

    def make(step: int) -> CopyBatch:
        asked = [copying.make_questions(seed, step, row, recipe, encoder) for row in range(size)]
        trees = [grow_tree(one, TREE_TOKENS_MAX) for one in asked]
        return CopyBatch(
            batch_trees(copying.make_echoes(seed, step, encoder), encoder.image_token_id, 1, 1),
            batch_trees(trees, encoder.image_token_id, 1, 1),
        )

    return _stream(make, start, stop)


def drop_text(sample: NanoSample, rng: random.Random) -> NanoSample:
    """Return the sample with all, some or none of its game-state text, so that the picture is needed."""
    chance = rng.random()
    lines = sample.state_text.split("\n")
    if chance < DROP_ALL_TEXT:
        lines = []
    elif chance < DROP_ALL_TEXT + DROP_SOME_LINES:
        share = rng.uniform(0.1, 0.6)
        lines = [line for line in lines if rng.random() > share]
    # Whether a condition holds is mostly told by the text: a bag of small icons is beyond nano's eyes.
    kept = sample.questions if len(lines) == len(sample.state_text.split("\n")) else _without_conditions(sample)
    return answer_by_eye(replace(sample, state_text="\n".join(lines), questions=kept), ROWS, COLUMNS)


def _without_conditions(sample: NanoSample) -> tuple[Question, ...]:
    return tuple(question for question in sample.questions if question.kind != CONDITIONAL)


def _to_look_for(sample: NanoSample, rng: random.Random) -> tuple[Question, ...]:
    """The questions without conditions; of those whose place is the same on every screen, or that have none, a few."""
    plain = _without_conditions(sample)
    kept = [question for question in plain if _must_look(question, sample) or rng.random() < FIXED_SHARE]
    return tuple(kept[:LOOK_QUESTIONS_MAX]) or plain[:1]


def _must_look(question: Question, sample: NanoSample) -> bool:
    clicks = (action for action in question.answer.actions if isinstance(action, Click))
    return any(is_movable(sample.things, click.x, click.y) for click in clicks)


def encode_follow(samples: Sequence[NanoSample], recipe: Recipe, tokenizer: Any) -> FollowBatch:
    """Return samples as one batch of token trees."""
    encoder = ChatEncoder(tokenizer, IMAGE_SETTINGS)
    return FollowBatch(_stack_frames(samples), _batch([_grow(sample, recipe, encoder) for sample in samples], encoder))


def _grow(sample: NanoSample, recipe: Recipe, encoder: ChatEncoder) -> TreeSequence:
    return grow_tree([encode_question(sample, one, recipe, encoder) for one in sample.questions], TREE_TOKENS_MAX)


def _batch(trees: Sequence[TreeSequence], encoder: ChatEncoder) -> TreeBatch:
    merge = IMAGE_SETTINGS.merge
    return batch_trees(trees, encoder.image_token_id, ROWS // merge, COLUMNS // merge)


def encode_question(sample: NanoSample, question: Question, recipe: Recipe, encoder: ChatEncoder) -> Encoded:
    """Return one question with its answer as a conversation."""
    inp = PromptInput((sample.frame,), question.goal, sample.state_text, sample.recent)
    answer = render_answer(question.answer, recipe)
    return encoder.encode_training(render_prompt(inp, recipe), answer, [(IMAGE_WIDTH_PX, IMAGE_HEIGHT_PX)])


def _stack_frames(samples: Sequence[NanoSample]) -> torch.Tensor:
    return torch.from_numpy(np.stack([sample.frame for sample in samples]))


def vision_features(model: Any, frames: torch.Tensor) -> ImageFeatures:
    """Return the vision tower's output for (batch, height, width, 3) uint8 pictures, all joined, with gradients."""
    pixels = pixel_values([frame.numpy() for frame in frames], IMAGE_SETTINGS)
    patch = IMAGE_SETTINGS.patch_px
    grid = torch.tensor([[1, frames.shape[1] // patch, frames.shape[2] // patch]]).expand(len(frames), -1)
    output = model.model.visual(pixels, grid_thw=grid)
    return ImageFeatures(output.pooler_output, tuple(output.deepstack_features))


def follow_logits(model: Any, batch: FollowBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and labels (n, vocabulary), (n,) at the answer tokens of a batch."""
    return tree_logits(model, batch.tree, [vision_features(model, batch.frames)])


def tree_logits(
    model: Any, tree: TreeBatch, features: Sequence[ImageFeatures] = ()
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and labels at the answer tokens of trees, with the features of their pictures if they have any."""
    hidden = run_language(model, tree.ids, tree.positions, features, tree=tree.tree)[0]
    learnt = tree.labels != IGNORED_LABEL
    return functional.linear(hidden[learnt], model.get_output_embeddings().weight).float(), tree.labels[learnt]
