"""A checkpoint's chat template: found where transformers' processors find it, checked before anything is asked by it.

A template is a program that somebody else wrote, and it decides what a model sees. So it is held against a short probe:
texts and picture must stand in the prompt as they were given, and the prompt must end where the answer begins. A
template that opens a thought there gets it closed, the same way in training and in play: actions are written straight
away. Rendering is transformers' own, in its sandbox, after a process with limits has seen what it takes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from vlm_agent.errors import ModelError
from vlm_agent.models.bounded_child import LimitError, run_bounded
from vlm_agent.regular_files import read_json, read_text

IMAGE_TOKEN = "<|image_pad|>"
"""Stands for one merged patch."""

ANSWER_HEADER = "<|im_start|>assistant\n"
"""Stands before every answer."""

END_OF_TURN = "<|im_end|>"
"""The stop token; a model is trained to write it after every answer."""

Message = dict[str, Any]
"""`role`, and `content`: a text, or a list of `{"type": "text", "text": …}` and `{"type": "image"}` blocks."""

_RENDERING_ERRORS = (
    *(TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError),
)
"""What a template may end in: Jinja's own errors, and those of the operations on values that it asks for."""

MAX_TEMPLATE_CHARS = 1 << 18
"""Of a template; the longest published ones have some ten thousand."""
MAX_PROMPT_CHARS = 1 << 20
"""Of what comes of a probe."""

_EFFORT_PROGRAM = Path(__file__).with_name("child_templates.py")
_LONG_TURNS = 16
_DEFAULT = "default"
_PICTURE = f"<|vision_start|>{IMAGE_TOKEN}<|vision_end|>"
_SYSTEM, _ASKED = "The table of actions.", "What is to be done now?"
_ANSWERS = ('{"actions":[{"event":"KEY","dt":10,"key":"a"}]}', "", '{"actions":[]}')
"""What is answered in the probe of a conversation; an earlier answer may be hidden."""
_THOUGHT = re.compile(
    r"\s*(?P<left><\|?|\[|◁)(?P<name>\w*(?:think|thought|reason)\w*)(?P<right>\|?>|\]|▷)(?P<said>.*)", re.I | re.S
)


@dataclass(frozen=True)
class ChatTemplate:
    """The template that the prompts of one checkpoint are written by."""

    text: str
    """Its Jinja source, `closing` written into it."""
    source: str
    """Where it was found: a file's name, with the template's own name where that is not the default one."""
    closing: str = ""
    """What was added behind its generation prompt so that no thought stands open; empty where none did."""
    lead: str = ""
    """What stands between an answer's header and the answer: nothing, or a closed thought."""
    conversation_fault: str = ""
    """Why it can't hold conversations of several turns; empty where it can."""
    rivals: tuple[str, ...] = ()
    """Where the checkpoint has other templates that show pictures, and write the same messages otherwise."""

    @property
    def sha256(self) -> str:
        """Fingerprint of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def to_json(self) -> dict[str, str]:
        """Return what a `recipe.json` tells of it."""
        return {"source": self.source, "sha256": self.sha256, "closing": self.closing}


def find_chat_template(folder: Path, tokenizer: Any) -> ChatTemplate:
    """Return the template that the checkpoint in a folder is to be asked by.

    Of those that show pictures it is the one that transformers' processors take: that of `processor_config.json`, of
    `chat_template.json`, of `chat_template.jinja`, and at last the tokenizer's; all named ones come after the defaults.

    Raises:
        ModelError: none shows pictures, the first that does leaves no place for an answer, or a file is broken.
    """
    found = [
        *_read_json(folder / "processor_config.json"),
        *_read_json(folder / "chat_template.json"),
        *_read_jinja(folder),
        *_read_json(folder / "tokenizer_config.json"),
    ]
    return _choose(found, tokenizer, str(folder))


def take_chat_template(tokenizer: Any) -> ChatTemplate:
    """Return the template of a tokenizer that was not read from a checkpoint's folder.

    Raises:
        ModelError: it has none that can be used.
    """
    where = tokenizer.name_or_path or "tokenizer"
    return _choose(list(_list_templates(tokenizer.chat_template, "the tokenizer", where)), tokenizer, where)


def render_messages(template: ChatTemplate, tokenizer: Any, messages: Sequence[Message]) -> str:
    """Return messages as text, up to where the answer begins.

    Raises:
        ModelError: the template refuses them or fails; the message names its file.
    """
    try:
        return _render(template.text, tokenizer, messages)
    except _RENDERING_ERRORS as error:
        where = f"{tokenizer.name_or_path or 'tokenizer'}: {template.source}"
        raise ModelError(f"{where}: the chat template can't be rendered: {_describe(error)}") from error


def check_trained_template(template: ChatTemplate, record: Mapping[str, Any], folder: Path) -> None:
    """Raise ModelError where a model was tuned in an open thought, before such were closed.

    Args:
        template: that of the base that lies here; whether it is the one that was trained by is told by `identity`.
        record: the base as the tuned model's `recipe.json` tells it.
        folder: the tuned model's, for the message.
    """
    if record.get("fingerprint") and not record.get("template") and template.closing:
        raise ModelError(
            f"{folder}: was trained within the thought that its base's {template.source} opens, and this version closes"
            " it before the answer; train it again"
        )


def write_chat_template(folder: Path, template: ChatTemplate) -> None:
    """Leave one template in a checkpoint's folder: the given one, where every processor and tokenizer finds it."""
    for name in ("processor_config.json", "tokenizer_config.json"):
        path = folder / name
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if config.pop("chat_template", None) is not None:
            path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "chat_template.json").unlink(missing_ok=True)
    (folder / "chat_template.jinja").write_text(template.text, encoding="utf-8")


@dataclass(frozen=True)
class _Candidate:
    """One of a checkpoint's templates."""

    file: str
    name: str
    text: str

    @property
    def source(self) -> str:
        return self.file if self.name == _DEFAULT else f"{self.file} ({self.name})"


def _read_json(path: Path) -> Iterator[_Candidate]:
    if not path.is_file():
        return
    try:
        config = read_json(path)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: can't be read ({_describe(error)}); fetch it again") from error
    # A file of templates alone may hold the named list itself.
    held = config.get("chat_template") if isinstance(config, dict) else config
    yield from _list_templates(held, path.name, str(path.parent))


def _read_jinja(folder: Path) -> Iterator[_Candidate]:
    paths = [folder / "chat_template.jinja", *sorted((folder / "additional_chat_templates").glob("*.jinja"))]
    for number, path in enumerate(paths):
        if path.is_file():
            try:
                text = read_text(path)
            except (OSError, ValueError) as error:
                raise ModelError(f"{path}: can't be read ({_describe(error)}); fetch it again") from error
            yield _Candidate(path.name, path.stem if number else _DEFAULT, text)


def _list_templates(held: Any, file: str, where: str) -> Iterator[_Candidate]:
    """Yield the templates in a value that is one text, a list of named ones, or names with texts."""
    if held is None:
        return
    try:
        named = {one["name"]: one["template"] for one in held} if isinstance(held, list) else held
    except (TypeError, KeyError):
        named = None
    texts = {_DEFAULT: named} if isinstance(named, str) else named
    if not isinstance(texts, Mapping) or not all(isinstance(part, str) for item in texts.items() for part in item):
        raise ModelError(f"{where}: {file}: expected chat_template to be a text or a list of named ones")
    yield from (_Candidate(file, name, text) for name, text in texts.items())


def _choose(found: Sequence[_Candidate], tokenizer: Any, where: str) -> ChatTemplate:
    # An empty file is none, as for transformers; and Jinja knows one kind of line break.
    filled = [replace(one, text=re.sub("\r\n?", "\n", one.text)) for one in found if one.text.strip()]
    for one in filled:
        _check_effort(one, tokenizer, where)
    ordered = sorted(filled, key=lambda one: one.name != _DEFAULT)
    if not ordered:
        raise ModelError(f"{where}: has no chat template in chat_template.json, chat_template.jinja or its tokenizer")
    faults = [_find_fault(one.text, tokenizer) for one in ordered]
    usable = [one for one, fault in zip(ordered, faults, strict=True) if not fault]
    if not usable:
        reasons = "; ".join(f"{one.source} {fault}" for one, fault in zip(ordered, faults, strict=True))
        raise ModelError(f"{where}: has no chat template for pictures: {reasons}")
    chosen = _settle(usable[0], tokenizer, where)
    prompts = {one.source: _render(one.text, tokenizer, _probe()) for one in usable}
    rivals = tuple(source for source, prompt in prompts.items() if prompt != prompts[chosen.source])
    return replace(chosen, rivals=rivals)


def _check_effort(candidate: _Candidate, tokenizer: Any, where: str) -> None:
    """Raise ModelError where a template is too long, or takes too long or too much to be rendered."""
    told = {key: str(value) for key, value in tokenizer.special_tokens_map.items() if isinstance(value, str)}
    if len(candidate.text) > MAX_TEMPLATE_CHARS:
        reason = f"has {len(candidate.text)} characters: expected at most {MAX_TEMPLATE_CHARS}"
    else:
        reason = _find_effort(candidate.text, json.dumps(told, sort_keys=True))
    if reason:
        raise ModelError(f"{where}: {candidate.source}: the chat template {reason}; take the published one")


@lru_cache(maxsize=64)
def _find_effort(text: str, special_tokens: str) -> str:
    """Return what is too much in the rendering of a template; empty where nothing is."""
    conversation = _probe()
    conversations = [conversation]
    for number in range(_LONG_TURNS):
        said = {"role": "assistant", "content": [{"type": "text", "text": _ANSWERS[0]}]}
        conversation = [*conversation, said, _ask(f"{_ASKED} {'x' * 1000} ({number})")]
    conversations.append(conversation)
    values = {**json.loads(special_tokens), "add_generation_prompt": True, "tools": None, "documents": None}
    try:
        answer = run_bounded(_EFFORT_PROGRAM, {"text": text, "conversations": conversations, "values": values})
    except LimitError as error:
        return str(error)
    return f"writes {answer['chars']} characters" if answer["chars"] > MAX_PROMPT_CHARS else ""


def _find_fault(text: str, tokenizer: Any) -> str:
    """Return what keeps a template from showing what it is given; empty where nothing does."""
    try:
        prompt = _render(text, tokenizer, _probe())
    except _RENDERING_ERRORS as error:
        return f"can't be rendered: {_describe(error)}"
    if (count := prompt.count(IMAGE_TOKEN)) != 1:
        return f"writes {count} placeholders for one picture"
    if _PICTURE not in prompt:
        return f"does not write a picture as {_PICTURE}"
    for what, said in (("system", _SYSTEM), ("user", _ASKED)):
        if prompt.count(said + END_OF_TURN) != 1:
            return f"does not write the {what} text as it is given, with {END_OF_TURN} behind it"
    if not prompt.index(_SYSTEM) < prompt.index(_PICTURE) < prompt.index(_ASKED):
        return "changes the order of system text, picture and question"
    if _tells_time(text, tokenizer):
        return "writes the present date into the prompt, so that no two days would ask alike"
    return ""


def _tells_time(text: str, tokenizer: Any) -> bool:
    try:
        _render(text, tokenizer, _probe(), strftime_now=None)
    except _RENDERING_ERRORS:  # It calls what is not there.
        return True
    return False


def _settle(candidate: _Candidate, tokenizer: Any, where: str) -> ChatTemplate:
    """Return a template that ends where an answer begins, its thought closed if it opens one."""
    place = f"{where}: {candidate.source}: the chat template"
    prompt = _render(candidate.text, tokenizer, _probe())
    before, header, lead = prompt.rpartition(ANSWER_HEADER)
    if not header or not before.rstrip().endswith(END_OF_TURN):
        raise ModelError(
            f"{place} leaves no place for the answer: its prompt ends in {prompt[-30:]!r}, expected {ANSWER_HEADER!r};"
            " it lost its generation prompt, take the published one"
        )
    closing = _find_closing(lead)
    if closing is None:
        raise ModelError(f"{place} begins the answer with {lead[:60]!r}; it must be left to the model")
    text = _append(candidate.text, closing, tokenizer, prompt) if closing else candidate.text
    if not text:
        raise ModelError(f"{place} opens a thought ({lead[:60]!r}) that can't be closed behind it")
    fault = _find_conversation_fault(text, tokenizer)
    return ChatTemplate(text, candidate.source, closing, lead + closing, fault)


def _find_closing(lead: str) -> str | None:
    """Return what closes a thought as Qwen's templates write an empty one, nothing where none is open.

    Of what is no thought it is None.
    """
    if not lead:
        return ""
    thought = _THOUGHT.fullmatch(lead)
    if thought is None:
        return None
    name, said = thought["name"], thought["said"]
    ending = re.sub("begin|start", "end", name, flags=re.I)
    close = thought["left"] + (f"/{name}" if ending == name else ending) + thought["right"]
    if close in said:
        return "" if not said.partition(close)[2].strip() else None
    breaks = max(0, (1 if said.strip() else 2) - (len(said) - len(said.rstrip("\n"))))
    return "\n" * breaks + close + "\n\n"


def _append(text: str, closing: str, tokenizer: Any, prompt: str) -> str:
    """Return a template that writes the closing behind its generation prompt; empty where it can't be done so."""
    for begin in ("{%-", "{%"):  # The first takes blanks at the template's end along, which may be written or not.
        longer = f"{text}{begin} if add_generation_prompt -%}}{{{{- {json.dumps(closing)} -}}}}{{%- endif -%}}"
        try:
            if _render(longer, tokenizer, _probe()) == prompt + closing:
                return longer
        except _RENDERING_ERRORS:
            continue
    return ""


def _find_conversation_fault(text: str, tokenizer: Any) -> str:
    """Return why a later turn would not see the earlier ones as they were asked and answered; empty where it would."""
    messages = _probe()
    try:
        prompt = _render(text, tokenizer, messages)
        for number, answer in enumerate(_ANSWERS):
            said = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
            messages = [*messages, said, _ask(f"{_ASKED} ({number})")]
            before, prompt = prompt, _render(text, tokenizer, messages)
            if not prompt.startswith(before + answer + END_OF_TURN):
                return "it writes earlier turns otherwise than they were asked and answered"
    except _RENDERING_ERRORS as error:
        return f"it can't render several turns: {_describe(error)}"
    return ""


def _probe() -> list[Message]:
    return [{"role": "system", "content": [{"type": "text", "text": _SYSTEM}]}, _ask(_ASKED)]


def _ask(text: str) -> Message:
    return {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}


def _render(text: str, tokenizer: Any, messages: Sequence[Message], **values: Any) -> str:
    rendered: str = tokenizer.apply_chat_template(
        list(messages), chat_template=text, tokenize=False, add_generation_prompt=True, **values
    )
    return rendered


def _describe(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
