"""How many decisions a second the constrained engine makes, next to transformers' generate() and to the passes alone.

    python bench/decoding.py [--json] [--windows 8] [--model nano]

All see the same prompts, windows of recorded play, and the engine is led to write what the player did: how long an
answer is shall depend on the play, not on what a model has learnt. generate() is not constrained and is made to write
as many tokens. The limit is the engine's own passes run straight through (picture and prompt, then one pass a choice),
without automaton, head, sampling, and the making of the prompt: nothing that asks the model once a choice is quicker on
the same layers. On a CPU with instructions for bfloat16, 4-bit layers are multiplied in that; a row tells what it
would be in float32.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Self

import torch
from _material import build_play, load_bench_model
from _measuring import Shown, Stopwatch, make_parser, print_rows, say
from transformers.utils import logging as hf_logging

from vlm_agent.actions.automaton import ActionAutomaton, State
from vlm_agent.actions.codecs import make_codec
from vlm_agent.actions.types import ActionChunk
from vlm_agent.chat import PromptInput, Recipe, render_answer, render_prompt
from vlm_agent.dataset.store import Dataset
from vlm_agent.dataset.windows import Window, prompt_input, target_chunk
from vlm_agent.decoding.engine import Engine, follow_forced
from vlm_agent.decoding.prompts import encode_prompt, make_automaton
from vlm_agent.decoding.sequence import CachedSequence, ModelPrompt
from vlm_agent.decoding.stacks import TransformersStack
from vlm_agent.models.loading import CPU_DTYPE_VARIABLE, LoadedModel, load_model
from vlm_agent.training.config import RecipeSettings
from vlm_agent.training.moments import spread
from vlm_agent.training.windows import TRAIN_SPLIT, choose_recipe

PLAY_S = 20
GENERATE, LIMIT = "transformers' generate(), not constrained", "limit: the passes alone"


@dataclass(frozen=True)
class Row:
    """One figure."""

    benchmark: str
    what: str
    decisions_per_s: float
    """By the wall clock."""
    per_cpu_s: float
    """By this process's own time: the same on a core that others use too."""
    median_ms: float
    """Of one decision, by the wall clock."""
    tokens: float
    """Mean length of an answer."""
    passes: float
    """Mean number of passes through the model for one."""
    times_generate: float
    """How many times as many decisions as generate(), by this process's own time."""
    times_limit: float
    """Part of what the passes alone would allow, by the same."""


@dataclass(frozen=True)
class Question:
    """One window as prompt and answer."""

    window: Window
    """Where both are from."""
    seen: PromptInput
    """What the model is shown."""
    prompt: ModelPrompt
    """The same as the model takes it."""
    answer: tuple[int, ...]
    """Tokens of what the player did."""
    passes: tuple[tuple[int, ...], ...]
    """The answer, pass by pass; what leaves no choice at its start rides behind the prompt."""


@dataclass(frozen=True)
class Led:
    """The automaton's state, led along a known answer: whatever is chosen among what may come, the answer's comes.

    So every choice is asked for and paid for, and all ways write answers of one length.
    """

    state: State
    """The automaton."""
    left: tuple[int, ...]
    """What is still to be written."""

    @property
    def is_complete(self) -> bool:
        """Whether the answer has ended."""
        return self.state.is_complete

    def allowed(self) -> tuple[int, ...]:
        """Return what may come next, the answer's token among it."""
        allowed = self.state.allowed()
        assert self.left[0] in allowed
        return allowed

    def advance(self, token: int) -> Self:
        """Return the state after the answer's next token."""
        return type(self)(self.state.advance(self.left[0]), self.left[1:])


Decide = Callable[[Question], object]


def measure(model: str, num_windows: int, repeats: int) -> tuple[list[Row], str]:
    """Return all figures, each the best of some repeats, and what the model was."""
    with tempfile.TemporaryDirectory() as name:
        say("recording and building")
        loaded, described = load_bench_model(model, Path(name))
        exact = _load_in_float32(loaded)
        dataset = build_play(Path(name), PLAY_S)
        recipe = choose_recipe(loaded, dataset, RecipeSettings())
        automaton = make_automaton(loaded, recipe)
        asked = _ask(loaded, recipe, automaton, dataset, num_windows)
    engine, plain = Engine(loaded), Engine(loaded, stack=TransformersStack(loaded.model))
    in_float32, whole, sequence = Engine(exact), Engine(loaded), CachedSequence(loaded)
    ways: dict[str, Decide] = {
        GENERATE: lambda one: _generate(loaded, one),
        LIMIT: lambda one: _run_passes(sequence, one),
        "engine": lambda one: engine.decode(one.prompt, Led(automaton.start(), one.answer)),
        "engine, 4-bit layers multiplied in float32": lambda one: in_float32.decode(
            one.prompt, Led(automaton.start(), one.answer)
        ),
        "engine on transformers' layers": lambda one: plain.decode(one.prompt, Led(automaton.start(), one.answer)),
        "whole decision: prompt, engine, reading": lambda one: _decide(loaded, recipe, whole, automaton, one),
    }
    say("deciding")
    return _describe(_time(ways, asked, repeats), asked), described


def _load_in_float32(loaded: LoadedModel) -> LoadedModel:
    before = os.environ.get(CPU_DTYPE_VARIABLE, "auto")
    os.environ[CPU_DTYPE_VARIABLE] = "float32"
    try:
        return load_model(loaded.source)
    finally:
        os.environ[CPU_DTYPE_VARIABLE] = before


def _describe(watches: dict[str, list[Stopwatch]], asked: Sequence[Question]) -> list[Row]:
    cpu_s = {what: sum(watch.cpu_s for watch in each) for what, each in watches.items()}
    tokens = mean(len(one.answer) for one in asked)
    return [
        Row(
            benchmark="decoding",
            what=what,
            decisions_per_s=len(asked) / sum(watch.wall_s for watch in each),
            per_cpu_s=len(asked) / cpu_s[what],
            median_ms=1000 * median(watch.wall_s for watch in each),
            tokens=tokens,
            passes=tokens if what == GENERATE else mean(len(one.passes) for one in asked),
            times_generate=cpu_s[GENERATE] / cpu_s[what],
            times_limit=cpu_s[LIMIT] / cpu_s[what],
        )
        for what, each in watches.items()
    ]


def _ask(
    loaded: LoadedModel, recipe: Recipe, automaton: ActionAutomaton, dataset: Dataset, num_windows: int
) -> list[Question]:
    asked = []
    for window in spread(dataset.windows(TRAIN_SPLIT), num_windows):
        seen = prompt_input(window, recipe, dataset.frame(window))
        prompt = encode_prompt(loaded, render_prompt(seen, recipe), seen.frames, recipe)
        answer = tuple(loaded.encoder.encode_text(render_answer(target_chunk(window, recipe), recipe)))
        asked.append(Question(window, seen, prompt, answer, tuple(_split(automaton.start(), answer))))
    return asked


def _split(state: State, answer: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the passes of an answer as the engine makes them."""
    place = 0
    while not state.is_complete:
        chosen = answer[place : place + 1] if place else ()
        for token in chosen:
            state = state.advance(token)
        state, forced = follow_forced(state)
        place += len(chosen) + len(forced)
        # The tokens that end the answer are never run, unless there is nothing but them.
        if not state.is_complete or place == len(forced):
            yield (*chosen, *forced)


def _decide(
    loaded: LoadedModel, recipe: Recipe, engine: Engine, automaton: ActionAutomaton, one: Question
) -> ActionChunk:
    prompt = encode_prompt(loaded, render_prompt(one.seen, recipe), one.seen.frames, recipe)
    generation = engine.decode(prompt, Led(automaton.start(), one.answer))
    assert len(generation.token_ids) == len(one.answer)
    return make_codec(recipe.codec).decode(loaded.encoder.decode_text(one.answer), recipe.spec)


def _run_passes(sequence: CachedSequence, one: Question) -> None:
    first, *others = one.passes
    sequence.start(one.prompt, first)
    for tokens in others:
        sequence.append(tokens)


@torch.inference_mode()
def _generate(loaded: LoadedModel, one: Question) -> torch.Tensor:
    ids = torch.tensor([one.prompt.encoded.input_ids], device=loaded.device)
    assert one.prompt.pixel_values is not None
    written: torch.Tensor = loaded.model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=loaded.encoder.token_types(ids),
        pixel_values=one.prompt.pixel_values.to(loaded.device, loaded.dtype),
        image_grid_thw=one.prompt.encoded.grid_tensor().to(loaded.device),
        do_sample=False,
        min_new_tokens=len(one.answer),
        max_new_tokens=len(one.answer),
    )
    assert written.shape[1] == ids.shape[1] + len(one.answer)
    return written


def _time(ways: dict[str, Decide], asked: Sequence[Question], repeats: int) -> dict[str, list[Stopwatch]]:
    """Return the best time of every way for every question.

    Ways take turns, so that other load meets all alike, and so do questions: who is asked the same twice in a row has
    picture and prompt still in its cache, which does not happen in play.
    """
    turns: dict[str, list[list[Stopwatch]]] = {what: [[] for _ in asked] for what in ways}
    for _ in range(repeats):
        for place, one in enumerate(asked):
            for what, decide in ways.items():
                with Stopwatch() as watch:
                    decide(one)
                turns[what][place].append(watch)
    return {what: [min(runs, key=lambda run: run.cpu_s) for runs in each] for what, each in turns.items()}


def main() -> None:
    """Print the figures, one a line."""
    parser = make_parser(__doc__)
    parser.add_argument("--model", default="nano", help="nano, or the folder of a Qwen-VL checkpoint")
    parser.add_argument("--windows", type=int, default=8, help="how many prompts")
    parser.add_argument("--repeats", type=int, default=4, help="the best of so many runs counts")
    args = parser.parse_args()
    hf_logging.disable_progress_bar()
    rows, described = measure(args.model, args.windows, args.repeats)
    shown = Shown(
        f"Decisions of {described} in 4 bits, {torch.get_num_threads()} threads",
        "peer: generate(), as many tokens. limit: the passes alone. ratios: by this process's own time.",
    )
    print_rows(rows, shown, as_json=args.json)


if __name__ == "__main__":
    main()
