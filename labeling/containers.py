"""What holds an answer: thoughts before it, turns, tags, a box, code fences, JSON. Each is opened by its structure."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from labeling.plain_text import leave_emphasis

THOUGHT = r"(?:think|thinking|thoughts?|reasoning|reason|reflection|analysis|scratchpad|cot|inner_monologue|rationale)"
"""Names of thoughts, in tags and as headings."""
_TAGGED_THOUGHT = rf"(?:{THOUGHT}|seed:think|antthinking|explanation|observations?)"
_THOUGHT_PAIR = re.compile(rf"[<\[]\s*({_TAGGED_THOUGHT})\b[^<>\[\]]*[>\]].*?[<\[]\s*/\s*\1\s*[>\]]", re.I | re.S)
_THOUGHT_END = re.compile(rf"[<\[]\s*/\s*{_TAGGED_THOUGHT}\s*[>\]]|<\|message\|>|<\|end_of_thought\|>", re.I)
_THOUGHT_BEGIN = re.compile(rf"[<\[]\s*{_TAGGED_THOUGHT}\b[^<>\[\]]*[>\]]", re.I)
_TURN_END = re.compile(
    r"<\|(?:im_end|eot_id|end|endoftext|return|eom_id|end_of_text)\|>|</s>|<eos>|<end_of_turn>|\[/?INST\]", re.I
)
_SPECIAL_TOKEN = re.compile(r"<\|[^|<>\n]{1,40}\|>|<(?:s|bos|pad|unk|start_of_turn)>", re.I)

_NAMES = r"(?:goal|answer|final_answer|final|instruction|output|result|response|label|task|objective|completion)"
_NAMED_PAIR = re.compile(rf"<\s*({_NAMES})\b[^<>]*>(.*?)<\s*/\s*\1\s*>", re.I | re.S)
_NAMED_BEGIN = re.compile(rf"<\s*{_NAMES}\s*>(?=\s*\w)", re.I)
_BOX = re.compile(r"\\boxed\s*\{(?:\\text\s*\{)?([^{}]*)")
_BLOCK_TAG = re.compile(
    r"<\s*/?\s*(?:p|br|div|h[1-6]|ul|ol|li|table|tr|td|th|tbody|thead|body|html|pre|hr)\b[^<>]*>", re.I
)
_INLINE_TAG = re.compile(
    rf"<\s*/?\s*(?:b|i|u|s|em|strong|span|code|a|mark|small|big|q|tt|kbd|font|xml|{_NAMES})\b[^<>]*>|<!--.*?-->",
    re.I | re.S,
)
_BROKEN_TAG = re.compile(r"</\w*\s*$")
_FENCE = re.compile(r"^\s*(?:```|~~~)\s*[\w+-]*\s*$", re.M)
_KEYS = ("goal", "instruction", "answer", "objective", "task", "label", "output", "result", "response", "text")
"""What a goal is called in data, likeliest first."""
_BROKEN_DATA = re.compile(rf"[\"']?\w*(?:{'|'.join(_KEYS)})[\"']?\s*:\s*[\"']([^\"'\n]+)[\"']", re.I)


def leave_thoughts(text: str) -> str:
    """Return what comes after the thoughts of a plain text; nothing where a thought was not closed."""
    text = _THOUGHT_END.split(_THOUGHT_PAIR.sub("\n", text))[-1]
    return _THOUGHT_BEGIN.split(text, maxsplit=1)[0]


def open_containers(text: str) -> Iterator[str]:
    """Yield the lines of what a plain text without thoughts holds as its answer."""
    turns = [turn for turn in _TURN_END.split(text) if turn.strip()]
    text = _SPECIAL_TOKEN.sub(" ", turns[0]) if turns else ""
    named = [content for _, content in _NAMED_PAIR.findall(text)] or _NAMED_BEGIN.split(text)[1:] or _BOX.findall(text)
    if any(content.strip() for content in named):
        text = "\n".join(named)
    text = _FENCE.sub("\n", text)
    data = _read_data(text)
    for piece in [text] if data is None else data:
        yield from leave_emphasis(_BROKEN_TAG.sub("", _INLINE_TAG.sub("", _BLOCK_TAG.sub("\n", piece)))).split("\n")


def _read_data(text: str) -> list[str] | None:
    """Return what a JSON or Python value in a text calls a goal; None if there is no such value."""
    begin = re.search(r"[{\[]", text)
    if begin is None:
        return None
    piece = text[begin.start() :].strip()
    try:
        value, _ = json.JSONDecoder().raw_decode(piece)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(piece)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return _BROKEN_DATA.findall(piece) or None
    # [ ] and [1] are marks before words.
    is_data = isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(item, str | dict) for item in value)
    )
    return list(_name_goals(value)) if is_data else None


def _name_goals(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        by_name = {re.sub(r"[\s-]+", "_", str(key).casefold()): item for key, item in value.items()}
        names = [name for key in _KEYS for name in by_name if name in (key, f"{key}s") or name.endswith(f"_{key}")]
        # Data without a goal is left as it is, and then no goal by its look.
        yield from _name_goals(by_name[names[0]]) if names else [json.dumps(value, default=str)]
    elif isinstance(value, list):
        for item in value:
            yield from _name_goals(item)
    else:
        yield "none" if value is None else str(value)
