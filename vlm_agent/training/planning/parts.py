"""Where the tokens of a window go: the real prompt, the model's own tokenizer, every token counted for one part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from vlm_agent.actions.automaton import ActionAutomaton
from vlm_agent.actions.labelling import label_answer
from vlm_agent.chat import Message, PromptInput
from vlm_agent.models.chat_templates import END_OF_TURN
from vlm_agent.models.encoding import ChatEncoder

Render = Callable[[PromptInput], Sequence[Message]]
"""Writes the messages of a prompt."""


class PromptPart(StrEnum):
    """One part of a window's tokens."""

    SYSTEM = "system"
    """The task and the table of actions."""
    PICTURE = "picture"
    """Placeholders of all pictures."""
    EARLIER = "earlier turns"
    """Game states and answers of a conversation's earlier turns."""
    STATE = "game state"
    """The game state's text."""
    RECENT = "recent actions"
    """What was done last."""
    GOAL = "goal"
    """The goal and the words around it."""
    FORMAT = "chat format"
    """Roles, ends of turns, and what else the chat template writes."""
    ANSWER = "answer"
    """The actions, or the step, with the end of the turn."""


@dataclass(frozen=True)
class Spread:
    """How a count is spread over windows; values that occur, not means of two."""

    p50: int
    """The middle one."""
    p95: int
    """At most one in twenty is larger."""
    largest: int
    """The largest."""


def spread_of(counts: Iterable[int]) -> Spread:
    """Return the spread of counts; zeros for none."""
    values = np.fromiter(counts, np.int64)
    if not len(values):
        return Spread(0, 0, 0)
    p50, p95 = np.percentile(values, [50, 95], method="inverted_cdf")
    return Spread(int(p50), int(p95), int(values.max()))


def count_prompt(
    encoder: ChatEncoder, render: Render, inp: PromptInput, image_sizes: Sequence[tuple[int, int]]
) -> Counter[PromptPart]:
    """Return how many tokens each part of a prompt takes; a token that spans two counts for the one it begins in.

    Args:
        encoder: the model's.
        render: writes the prompt's messages.
        inp: what is shown.
        image_sizes: (width, height) of every picture in pixels.
    """
    messages = render(inp)
    shown = [_text_of(message) for message in messages]
    text = encoder.render(messages)
    owners = np.full(len(text) + 1, PromptPart.FORMAT, dtype=object)
    places = _find_texts(text, shown)
    for message, said, start in zip(messages, shown, places, strict=True):
        part = PromptPart.SYSTEM if message["role"] == "system" else PromptPart.EARLIER
        owners[start : start + len(said)] = part
    owners[places[-1] : places[-1] + len(shown[-1])] = PromptPart.GOAL
    for part, without in (
        (PromptPart.GOAL, replace(inp, goal="")),
        (PromptPart.STATE, replace(inp, state_text="")),
        (PromptPart.RECENT, replace(inp, recent=())),
    ):
        for said, other, start in zip(shown, map(_text_of, render(without)), places, strict=True):
            first, length = _find_addition(other, said)
            owners[start + first : start + first + length] = part
    encoded = encoder.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    pictures = iter(image_sizes)
    counts: Counter[PromptPart] = Counter()
    for token, (begin, _) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        if token == encoder.image_token_id:
            counts[PromptPart.PICTURE] += encoder.images.num_tokens(*next(pictures))
        else:
            counts[owners[begin]] += 1
    return counts


def count_choices(automaton: ActionAutomaton, token_ids: Sequence[int]) -> int:
    """Return at how many tokens of an answer of actions there is a choice: so often the model must be asked."""
    return sum(len(token.allowed) > 1 for token in label_answer(automaton, token_ids).tokens)


def count_phrase_choices(phrases: Sequence[Sequence[int]], said: Sequence[int]) -> int:
    """Return at how many tokens of a phrase out of a closed list there is a choice."""
    choices, left = 0, list(phrases)
    for place, token in enumerate(said):
        choices += len({phrase[place] for phrase in left if len(phrase) > place}) > 1
        left = [phrase for phrase in left if len(phrase) > place and phrase[place] == token]
    return choices


def _text_of(message: Message) -> str:
    texts = [block["text"] for block in message["content"] if block["type"] == "text"]
    return texts[-1]


def _find_texts(text: str, shown: Sequence[str]) -> list[int]:
    """Return where the messages' texts begin in a rendered prompt; each ends its message."""
    places: list[int] = []
    stop = len(text)
    for said in reversed(shown):  # a template may put a system text of its own in front
        stop = text.rindex(said, 0, text.rindex(END_OF_TURN, 0, stop))
        places.insert(0, stop)
    return places


def _find_addition(short: str, long: str) -> tuple[int, int]:
    """Return where the characters stand that `long` has and `short` has not: (first, how many), in one piece."""
    length = len(long) - len(short)
    first = next((index for index in range(len(short)) if short[index] != long[index]), len(short))
    return first, length
