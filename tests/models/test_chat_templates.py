"""Chat templates: found where processors find them, and those that would train and play apart mended or refused."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from vlm_agent.errors import ConfigError, ModelError
from vlm_agent.models.chat_templates import (
    ANSWER_HEADER,
    ChatTemplate,
    check_trained_template,
    find_chat_template,
    render_messages,
    take_chat_template,
    write_chat_template,
)
from vlm_agent.models.encoding import ChatEncoder
from vlm_agent.models.images import ImageSettings
from vlm_agent.models.nano_config import train_tokenizer
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.trl_engine import can_run, check_settings

pytestmark = pytest.mark.model
needs_trl = pytest.mark.skipif(not can_run(torch.device("cpu")), reason="this TRL computes its loss on cards alone")

PICTURES = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for block in message.content %}
            {%- if block.type == 'image' or 'image' in block %}
                <|vision_start|><|image_pad|><|vision_end|>
            {%- elif 'text' in block %}
                {{- block.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""As Qwen's are written."""
TEXT_ONLY = PICTURES.replace("{%- for block", "{{- message.content + '' }}{%- for block")
"""Adds a list to a text: a TypeError, like the text templates that lie in tokenizers of Qwen2.5-VL."""
THINKING = PICTURES.replace("assistant\\n'", "assistant\\n<think>\\n'")
HEADER = "{{- '<|im_start|>assistant\\n' }}"
ANSWER = {"role": "assistant", "content": [{"type": "text", "text": '{"actions":[]}'}]}


def _asked(text: str = "Goal: open the bank") -> list[dict]:
    return [
        {"role": "system", "content": [{"type": "text", "text": "You play."}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]},
    ]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(['{"actions":[]}'], 320)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path


def _write_json(folder: Path, name: str, template: object, **others: object) -> None:
    (folder / name).write_text(json.dumps({**others, "chat_template": template}), encoding="utf-8")


def _write_jinja(folder: Path, text: str, name: str | None = None) -> None:
    path = folder / "chat_template.jinja" if name is None else folder / "additional_chat_templates" / f"{name}.jinja"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode())


def _assert_refused(load, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        load()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def _find(folder: Path, tokenizer, text: str) -> ChatTemplate:
    _write_jinja(folder, text)
    return find_chat_template(folder, tokenizer)


@pytest.mark.parametrize("name", ["processor_config.json", "chat_template.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    ("form", "own_name"),
    [
        (lambda text: text, None),
        (lambda text: [{"name": "default", "template": text}, {"name": "tool_use", "template": TEXT_ONLY}], None),
        (lambda text: [{"name": "tool_use", "template": TEXT_ONLY}, {"name": "vision", "template": text}], "vision"),
        (lambda text: {"default": text, "rag": TEXT_ONLY}, None),
    ],
    ids=["text", "list", "list without a default for pictures", "object"],
)
def test_a_template_is_found_in_every_place_and_form(folder, tokenizer, name, form, own_name):
    _write_json(folder, name, form(PICTURES), processor_class="Qwen3VLProcessor")
    template = find_chat_template(folder, tokenizer)
    assert template.text == PICTURES
    assert template.source == (name if own_name is None else f"{name} ({own_name})")


def test_a_named_file_is_found_beside_the_default_one(folder, tokenizer):
    _write_jinja(folder, TEXT_ONLY)
    _write_jinja(folder, PICTURES, "vision")
    assert find_chat_template(folder, tokenizer).source == "vision.jinja (vision)"


def test_the_order_of_places_is_that_of_transformers_processors(folder, tokenizer):
    def mark(name: str) -> str:
        return "{#" + name + "#}" + PICTURES

    _write_jinja(folder, mark("more"), "more")
    _write_json(folder, "tokenizer_config.json", mark("tokenizer"))
    found = [find_chat_template(folder, tokenizer).text]
    _write_jinja(folder, mark("jinja"))
    found.append(find_chat_template(folder, tokenizer).text)
    _write_json(folder, "chat_template.json", mark("json"))
    found.append(find_chat_template(folder, tokenizer).text)
    _write_json(folder, "processor_config.json", mark("processor"))
    found.append(find_chat_template(folder, tokenizer).text)
    assert found == [mark("tokenizer"), mark("jinja"), mark("json"), mark("processor")]


@pytest.mark.parametrize("files", [("json",), ("jinja",), ("json", "jinja"), ("processor", "json", "jinja")])
def test_what_transformers_would_read_is_what_is_found(folder, tokenizer, files):
    from transformers import ProcessorMixin

    if "jinja" in files:
        _write_jinja(folder, "{#1#}" + PICTURES)
    if "json" in files:
        _write_json(folder, "chat_template.json", "{#2#}" + PICTURES)
    if "processor" in files:
        _write_json(folder, "processor_config.json", "{#3#}" + PICTURES)
    _write_json(folder, "tokenizer_config.json", "{#4#}" + PICTURES)
    read, _ = ProcessorMixin.get_processor_dict(folder)
    assert find_chat_template(folder, tokenizer).text == read["chat_template"]


@pytest.mark.parametrize("text_only", [TEXT_ONLY, PICTURES.replace("<|image_pad|>", ""), ""])
def test_the_template_that_shows_pictures_is_preferred(folder, tokenizer, text_only):
    _write_json(folder, "chat_template.json", text_only)
    _write_json(folder, "tokenizer_config.json", PICTURES)
    template = find_chat_template(folder, tokenizer)
    assert (template.text, template.source, template.rivals) == (PICTURES, "tokenizer_config.json", ())


def test_templates_that_write_otherwise_are_told(folder, tokenizer):
    _write_json(folder, "chat_template.json", PICTURES)
    _write_jinja(folder, "{#a comment#}" + PICTURES)
    assert find_chat_template(folder, tokenizer).rivals == ()
    _write_json(folder, "tokenizer_config.json", PICTURES.replace("{%- for message", "Play well.{%- for message", 1))
    assert find_chat_template(folder, tokenizer).rivals == ("tokenizer_config.json",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("chat_template.json", "{"),
        ("chat_template.json", '{"chat_template": ["a"]}'),
        ("chat_template.json", '[{"name": "default"}]'),
        ("chat_template.json", '{"chat_template": 3}'),
        ("chat_template.json", '{"chat_template": {"default": null}}'),
        ("processor_config.json", "\ufeff{"),
        ("chat_template.jinja", b"\xff\xfe"),
    ],
)
def test_a_broken_file_is_one_line_that_names_it(folder, tokenizer, name, text):
    _write_json(folder, "tokenizer_config.json", PICTURES)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    _assert_refused(lambda: find_chat_template(folder, tokenizer), name)


def test_a_folder_without_a_template_is_refused(folder, tokenizer):
    _write_jinja(folder, "\n")
    _write_json(folder, "tokenizer_config.json", None)
    _assert_refused(lambda: find_chat_template(folder, tokenizer), "has no chat template in")


FAILING = {
    "syntax": "{% for %}",
    "raise_exception": "{{ raise_exception('tools must be given') }}",
    "undefined": "{{ tools.first.name }}",
    "none": "{{ tools | length }}",
    "sandbox": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "changes its input": "{{ messages.append(1) }}",
    "division": "{{ 1 // 0 }}",
    "key": "{{ dict(a=1).pop('b') }}",
    "recursion": "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
    "range": "{{ range(999999999) | list }}",
    "unknown filter": "{{ messages | from_json }}",
}


@pytest.mark.parametrize("text", FAILING.values(), ids=FAILING.keys())
def test_whatever_fails_in_a_template_is_one_line_that_names_the_file(folder, tokenizer, text):
    _assert_refused(lambda: _find(folder, tokenizer, text + PICTURES), "chat_template.jinja can't be rendered: ")


def test_a_failure_over_other_messages_is_one_line_too(folder, tokenizer):
    picky = "{%- if messages[0].role != 'system' %}{{ raise_exception('system first') }}{% endif %}" + PICTURES
    encoder = ChatEncoder(tokenizer, ImageSettings(), _find(folder, tokenizer, picky))
    _assert_refused(lambda: encoder.encode_prompt(_asked()[1:], [(256, 256)]), "rendered: TemplateError: system first")


LOOP = "{%- for message in messages %}"
TEXT = "{{- block.text }}"
UNFAITHFUL = {
    "drops the system text": (LOOP, LOOP + "{% if message.role == 'system' %}{% continue %}{% endif %}"),
    "lists as Python writes them": ("message.content is string", "message.content is iterable"),
    "only user's lists": ("{%- for block in", "{%- for block in [] if message.role == 'system' else"),
    "escapes": (TEXT, "{{- block.text | tojson }}"),
    "upper case": (TEXT, "{{- block.text | upper }}"),
    "cuts": (TEXT, "{{- block.text | truncate(12) }}"),
    "adds to the question": (TEXT, "{{- block.text }} /no_think"),
    "question first": ("message.content %}\n            {%- if", "message.content | reverse %}\n            {%- if"),
    "no pictures": ("<|image_pad|>", ""),
    "two placeholders": ("<|image_pad|>", "<|image_pad|><|image_pad|>"),
    "bare placeholder": ("<|vision_start|><|image_pad|><|vision_end|>", "<|image_pad|>"),
    "the date": (LOOP, "Today is {{ strftime_now('%d %b %Y') }}." + LOOP),
}


@pytest.mark.parametrize(("part", "instead"), UNFAITHFUL.values(), ids=UNFAITHFUL.keys())
def test_a_template_that_does_not_show_what_it_is_given_is_refused(folder, tokenizer, part, instead):
    assert PICTURES.count(part) == 1
    text = PICTURES.replace(part, instead)
    _assert_refused(lambda: _find(folder, tokenizer, text), "has no chat template for pictures: chat_template.jinja ")


FAITHFUL = {
    "default system text": (LOOP, LOOP + "{% if loop.first and message.role != 'system' %}Be kind.{% endif %}"),
    "numbers pictures": ("<|vision_start|>", "Picture 1: <|vision_start|>"),
    "could tell the date": (LOOP, "{% if tools %}{{ strftime_now('%d %b %Y') }}{% endif %}" + LOOP),
    "trims": (TEXT, "{{- block.text | trim }}"),
    "text in front of all": (LOOP, "<|im_start|>system\nBe kind.<|im_end|>\n" + LOOP),
    "tools and thinking": (LOOP, "{% if tools or enable_thinking %}{{ raise_exception('no') }}{% endif %}" + LOOP),
}


@pytest.mark.parametrize(("part", "instead"), FAITHFUL.values(), ids=FAITHFUL.keys())
def test_what_a_template_adds_by_itself_is_its_own_matter(folder, tokenizer, part, instead):
    assert PICTURES.count(part) == 1
    template = _find(folder, tokenizer, PICTURES.replace(part, instead))
    assert (template.closing, template.lead, template.conversation_fault) == ("", "", "")


HEADERLESS = {
    "no generation prompt": (HEADER, ""),
    "another role": ("assistant\\n'", "model\\n'"),
    "a carriage return": ("assistant\\n'", "assistant\\r\\n'"),
    "no line break": ("assistant\\n'", "assistant'"),
    "a blank line more": ("assistant\\n'", "assistant\\n\\n'"),
    "a blank at the end": ("{%- endif %}\n", "{%- endif %}\n \n"),
    "an answer begun": ("assistant\\n'", "assistant\\nHere you are: '"),
    "a call begun": ("assistant\\n'", "assistant\\n<tool_call>\\n'"),
    "an answer begun behind a thought": ("assistant\\n'", "assistant\\n<think>\\n\\n</think>\\n\\nSure: '"),
    "within the question's turn": (
        "    {{- '<|im_end|>\\n' }}",
        "    {% if not loop.last %}{{- '<|im_end|>\\n' }}{% endif %}",
    ),
}


@pytest.mark.parametrize(("part", "instead"), HEADERLESS.values(), ids=HEADERLESS.keys())
def test_a_prompt_that_does_not_end_in_an_empty_answer_is_refused(folder, tokenizer, part, instead):
    before, found, after = PICTURES.rpartition(part)
    assert found
    with pytest.raises(ModelError, match=r"chat_template\.jinja.*(answer|<\|im_end\|>)") as caught:
        _find(folder, tokenizer, before + instead + after)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        ("<think>\n", "<think>\n\n</think>\n\n"),
        ("<think>", "<think>\n\n</think>\n\n"),
        ("<think>\n\n", "<think>\n\n</think>\n\n"),
        ("\n<think>\n", "\n<think>\n\n</think>\n\n"),
        ("<think>\nOkay, let me see", "<think>\nOkay, let me see\n</think>\n\n"),
        ("<think>Okay.\n", "<think>Okay.\n</think>\n\n"),
        ("<thinking>\n", "<thinking>\n\n</thinking>\n\n"),
        ("<THINK>", "<THINK>\n\n</THINK>\n\n"),
        ("<reasoning>", "<reasoning>\n\n</reasoning>\n\n"),
        ("<|begin_of_thought|>", "<|begin_of_thought|>\n\n<|end_of_thought|>\n\n"),
        ("[THINK]", "[THINK]\n\n[/THINK]\n\n"),
        ("◁think▷", "◁think▷\n\n◁/think▷\n\n"),
        ("<think>\n\n</think>\n\n", "<think>\n\n</think>\n\n"),
        ("<think></think>", "<think></think>"),
        ("<think>\nI act at once.\n</think>\n", "<think>\nI act at once.\n</think>\n"),
    ],
)
@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "{# end #}"])
def test_an_open_thought_is_closed_and_a_closed_one_left_alone(folder, tokenizer, opened, closed, ending):
    text = PICTURES.replace(HEADER, HEADER + "{{- " + json.dumps(opened) + " }}").rstrip() + ending
    template = _find(folder, tokenizer, text)
    prompt = render_messages(template, tokenizer, _asked())
    assert prompt.endswith("open the bank<|im_end|>\n" + ANSWER_HEADER + closed)
    assert (template.lead, opened + template.closing) == (closed, closed)
    assert (template.text == text.replace("\r\n", "\n")) == (opened == closed)
    # Saved with a model, it is found as it is and closes no second time.
    again = _find(folder, tokenizer, template.text)
    assert (again.text, again.closing, again.sha256) == (template.text, "", template.sha256)


def test_train_and_play_write_the_closed_thought_and_so_does_the_tokenizer_alone(folder, tokenizer):
    encoder = ChatEncoder(tokenizer, ImageSettings(), _find(folder, tokenizer, THINKING))
    played = encoder.encode_prompt(_asked(), [(256, 256)])
    trained = encoder.encode_training(_asked(), '{"actions":[]}', [(256, 256)])
    assert trained.input_ids[: played.num_prompt_tokens] == played.input_ids
    assert encoder.tokenizer.decode(played.input_ids).endswith(ANSWER_HEADER + "<think>\n\n</think>\n\n")
    assert encoder.find_answers(trained.input_ids) == [played.num_prompt_tokens]
    alone = tokenizer.apply_chat_template(_asked(), tokenize=False, add_generation_prompt=True)
    assert alone == encoder.render(_asked())


def test_a_template_that_thinks_over_some_messages_only_is_refused_at_those(folder, tokenizer):
    moody = PICTURES.replace(HEADER, HEADER + "{% if messages | length == 1 %}{{- '<think>\\n' }}{% endif %}")
    encoder = ChatEncoder(tokenizer, ImageSettings(), _find(folder, tokenizer, moody))
    encoder.encode_prompt(_asked(), [(256, 256)])
    _assert_refused(lambda: encoder.encode_prompt(_asked()[1:], [(256, 256)]), "leaves no place for the answer")


TURN = "{{- '<|im_start|>' + message.role + '\\n' }}"
SPOKEN = "{%- if message.role == 'assistant' %}"
OTHERWISE = {
    "rewrites": (TURN, TURN + SPOKEN + "!{% endif %}"),
    "rewrites JSON": (
        TEXT,
        "{%- if message.role == 'assistant' %}{{- block.text | tojson }}{% else %}{{- block.text }}{% endif %}",
    ),
    "leaves out": (LOOP, LOOP + SPOKEN + "{% continue %}{% endif %}"),
    "leaves out empty ones": (LOOP, LOOP + "{%- if message.content[0].text == '' %}{% continue %}{% endif %}"),
    "keeps two turns": (LOOP, "{%- for message in messages[-3:] if true %}"),
    "fails": (LOOP, LOOP + SPOKEN + "{{ raise_exception('one turn only') }}{% endif %}"),
    "thinks in the newest turn alone": (HEADER, HEADER + "{{- '<think>\\n' }}"),
    "pictures of the newest turn alone": (
        "<|vision_start|><|image_pad|>",
        "{% if message == messages[-1] %}<|vision_start|><|image_pad|>{% endif %}",
    ),
}


@pytest.mark.parametrize(("part", "instead"), OTHERWISE.values(), ids=OTHERWISE.keys())
def test_a_template_that_shows_earlier_turns_otherwise_holds_no_conversation(folder, tokenizer, part, instead):
    text = PICTURES.replace(part, instead)
    assert text != PICTURES
    encoder = ChatEncoder(tokenizer, ImageSettings(), _find(folder, tokenizer, text))
    encoder.encode_prompt(_asked(), [(256, 256)])
    _assert_refused(encoder.check_conversation, "chat_template.jinja: its chat template holds no conversation: ")


def test_a_template_that_closes_every_thought_holds_conversations(folder, tokenizer):
    text = THINKING.replace(TURN, TURN + SPOKEN + "{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}")
    encoder = ChatEncoder(tokenizer, ImageSettings(), _find(folder, tokenizer, text))
    encoder.check_conversation()
    first = encoder.encode_training(_asked(), '{"actions":[]}', [(256, 256)])
    both = encoder.encode_prompt([*_asked(), ANSWER, *_asked()[1:]], [(256, 256)] * 2)
    assert both.input_ids[: len(first.input_ids)] == first.input_ids
    assert encoder.find_answers(both.input_ids) == [first.num_prompt_tokens, both.num_prompt_tokens]


PUBLISHED = {
    "Qwen__Qwen2.5-VL-7B-Instruct": ("chat_template.json", "", False),
    "adapter__TING-lct-Qwen2.5-VL-7B": ("chat_template.json", "", False),
    "Qwen__Qwen3-VL-8B-Instruct": ("chat_template.json", "", False),
    "Qwen__Qwen3.5-9B": ("chat_template.jinja", "\n</think>\n\n", True),
}


@pytest.mark.parametrize(("name", "want"), PUBLISHED.items(), ids=PUBLISHED.keys())
def test_published_templates_are_taken_as_they_are(shared_data, tokenizer, name, want):
    template = find_chat_template(shared_data / "checkpoints" / name, tokenizer)
    assert (template.source, template.closing, bool(template.conversation_fault)) == want
    assert template.rivals == ()


def test_a_tokenizer_in_memory_brings_its_own(tokenizer):
    made = train_tokenizer(["a"], 320)
    assert take_chat_template(made).source == "the tokenizer"
    made.chat_template = None
    _assert_refused(lambda: take_chat_template(made), "has no chat template")


def test_a_model_that_was_tuned_in_an_open_thought_is_not_asked_behind_a_closed_one(folder, tokenizer):
    plain, thinking = _find(folder, tokenizer, PICTURES), _find(folder, tokenizer, THINKING)
    for template in (plain, thinking):
        check_trained_template(template, {"template": template.to_json()}, folder)
    check_trained_template(plain, {}, folder)  # written before templates were told
    with pytest.raises(
        ModelError, match=r"within the thought that its base's chat_template.jinja opens.*train it again"
    ):
        check_trained_template(thinking, {"fingerprint": "0" * 64}, folder)
    check_trained_template(thinking, {}, folder)  # nothing is known of how it was trained


def test_a_saved_checkpoint_has_the_one_template_it_was_trained_by(folder, tokenizer):
    for name in ("chat_template.json", "processor_config.json", "tokenizer_config.json"):
        _write_json(folder, name, "{#json#}\r\n" + THINKING, processor_class="Qwen3VLProcessor")
    template = find_chat_template(folder, tokenizer)
    write_chat_template(folder, template)
    found = find_chat_template(folder, tokenizer)
    assert (found.source, found.text, found.rivals) == ("chat_template.jinja", template.text, ())
    check_trained_template(found, {"template": template.to_json()}, folder)
    assert json.loads((folder / "processor_config.json").read_text()) == {"processor_class": "Qwen3VLProcessor"}


@needs_trl
@pytest.mark.parametrize(("text", "is_refused"), [(PICTURES, False), (THINKING, True)])
def test_trl_is_refused_where_it_would_not_find_the_answer(folder, tokenizer, text, is_refused):
    template = _find(folder, tokenizer, text)
    with pytest.raises(ConfigError, match="chat template") if is_refused else nullcontext():
        check_settings(TrainConfig(), torch.device("cpu"), template)


def test_what_others_who_serve_the_model_must_know_is_told(folder, tokenizer):
    _write_json(folder, "tokenizer_config.json", PICTURES)
    encoder = ChatEncoder(tokenizer, ImageSettings(), _find(folder, tokenizer, THINKING))
    thought, rival, picture = encoder.list_notes(192, 128)
    assert "chat_template.jinja opens a thought" in thought
    assert "tokenizer_config.json would write others" in rival
    assert "pictures of 192x128" in picture
    assert "processor makes 320x224" in picture
    assert encoder.list_notes(320, 224) == encoder.list_notes() == [thought, rival]
    assert ChatEncoder(train_tokenizer(["a"], 320), ImageSettings()).list_notes(384, 256) == []
