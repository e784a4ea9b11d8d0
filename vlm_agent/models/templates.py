"""Chat template of the models that ship with or are made by the project: Qwen's turn format, text and images only."""

from __future__ import annotations

_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.content is string -%}
{{- message.content -}}
{%- else -%}
{%- for block in message.content -%}
{%- if block.type == 'image' -%}
{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}
{%- elif block.type == 'text' -%}
{{- block.text -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""


def qwen_vl_template() -> str:
    """Return the template's Jinja source; `block.type` decides, so an Arrow-made `image: None` key does no harm."""
    return _TEMPLATE
