"""Who a base is: all that decides which numbers a model computes from messages and pictures.

Weights alone don't tell: the same ones under another rope base, tokenizer, chat template or picture scaling are another
model, and an adapter on them plays something else without a word. So an adapter carries a digest of each part, and what
differs is told by name. A digest is of what the installed libraries make of the files, not of the files: the same
checkpoint saved by another release of transformers stays the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from vlm_agent.errors import ModelError
from vlm_agent.models.checkpoints import ADAPTER_CONFIG, fingerprint_weights
from vlm_agent.models.encoding import ChatEncoder
from vlm_agent.models.images import ImageSettings

_WORDS = {
    "weights": "weights",
    "config": "config",
    "tokenizer": "tokenizer",
    "template": "chat template",
    "pictures": "picture settings",
}
"""What the parts are called to a person, in the order they are told in."""

_SAYS_NOTHING = {
    *("transformers_version", "_name_or_path", "name_or_path", "architectures", "dtype", "torch_dtype", "auto_map"),
    *("quantization_config", "use_cache", "return_dict", "output_attentions", "output_hidden_states", "id2label"),
    *("label2id", "problem_type", "chunk_size_feed_forward", "is_encoder_decoder", "initializer_range"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "max_position_embeddings", "max_window_layers"),
}
"""Fields of a config.json that change no number here: by what it was saved, what is packed (the weights tell), how
generation elsewhere ends, how long a text is allowed to be."""

_PROBE = '<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Click 512, 430 – Étape 7!\t{"dt":90}<|im_end|>\n'


@dataclass(frozen=True)
class BaseIdentity:
    """One digest for each part of a base."""

    weights: str
    """See `fingerprint_weights`."""
    config: str
    """Of shape, rope, norms, and which layers are seen where."""
    tokenizer: str
    """Of vocabulary, merges, added tokens, and how text is cut before them."""
    template: str
    """Of the chat template that was chosen, a closed thought included."""
    pictures: str
    """Of patch, mean, deviation and sizes."""

    @property
    def digests(self) -> dict[str, str]:
        """All of them, by part."""
        return asdict(self)

    def to_json(self) -> dict[str, str]:
        """Return what a record's `base` tells under `identity`: the parts that have no field of their own there."""
        return {"config": self.config, "tokenizer": self.tokenizer, "pictures": self.pictures}


def read_identity(folder: Path, encoder: ChatEncoder) -> BaseIdentity:
    """Return who the checkpoint in a folder is.

    Args:
        folder: of the checkpoint.
        encoder: what was read of it for messages and pictures.

    Raises:
        ModelError: it has no weights, or its config can't be used.
    """
    return BaseIdentity(
        fingerprint_weights(folder),
        digest_config(folder),
        digest_tokenizer(encoder.tokenizer),
        encoder.template.sha256,
        digest_pictures(encoder.images),
    )


def read_digests(base: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests that the `base` of a `recipe.json` or `run.json` tells; older ones tell fewer."""
    told = {"weights": base.get("fingerprint"), "template": (base.get("template") or {}).get("sha256")}
    told |= base.get("identity") or {}
    return {part: str(told[part]) for part in _WORDS if told.get(part)}


def name_differences(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Return which digests are not as they were, in words; empty where all that both tell is the same."""
    words = [_WORDS[part] for part in _WORDS if part in before and part in now and before[part] != now[part]]
    return " and ".join(", ".join(words).rsplit(", ", 1))


def check_base(trained: Mapping[str, Any], identity: BaseIdentity, tuned: Path) -> None:
    """Check that a tuned model stands on what it was trained with.

    Args:
        trained: the `base` of its record.
        identity: who the base is now; of full training, what was saved: there the weights are the trained ones.
        tuned: its folder.

    Raises:
        ModelError: a part differs; the message names it.
    """
    is_adapter = (tuned / ADAPTER_CONFIG).is_file()
    now = {part: digest for part, digest in identity.digests.items() if is_adapter or part != "weights"}
    names = name_differences(read_digests(trained), now)
    if not names:
        return
    is_are = "are" if names.endswith("s") else "is"
    if is_adapter:
        raise ModelError(
            f"{tuned}: adapter of another base: made for {trained['source']}, and the {names} here {is_are} not what it"
            " was trained with; put that back, or train it again"
        )
    raise ModelError(
        f"{tuned}: its {names} {is_are} not what it was saved with; put those of {trained['source']} back, or train it"
        " again"
    )


def digest_config(folder: Path) -> str:
    """Return the digest of a checkpoint's config, as transformers reads it.

    Raises:
        ModelError: it can't be read.
    """
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StrictDataclassError) as error:
        raise ModelError(f"{folder}: config.json can't be used: {_first_line(error)}") from error
    parts = {name: getattr(config, name) for name in sorted(type(config).sub_configs)}
    own = {name: value for name, value in _list_choices(config).items() if name not in parts}
    return _digest([own, {name: _list_choices(part) for name, part in parts.items()}])


def _list_choices(config: Any) -> dict[str, Any]:
    """Return what a config says otherwise than its class does: defaults of a later release are none."""
    usual, told = (_plain_rope(part.to_dict()) for part in (type(config)(), config))
    known = usual.keys() - _SAYS_NOTHING
    return {name: value for name, value in told.items() if name in known and value != usual[name]}


def _plain_rope(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with rope settings in one spelling: older files say `type`, and `mrope` for the default here."""
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict):
        return config
    plain = {name: value for name, value in rope.items() if name != "type" and value is not None}
    if plain.get("rope_type") == "mrope":
        plain["rope_type"] = "default"
    return {**config, "rope_parameters": plain}


def digest_tokenizer(tokenizer: Any) -> str:
    """Return the digest of how a tokenizer turns text into ids, and ids into text."""
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    # How batches are cut and filled up, and what is put around a text, is done by nobody here.
    rules = {name: told.get(name) for name in ("model", "normalizer", "pre_tokenizer", "decoder")}
    added = sorted(told.get("added_tokens") or (), key=lambda token: token["id"])
    ids = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    return _digest([rules, added, ids, tokenizer.decode(ids, skip_special_tokens=True)])


def digest_pictures(images: ImageSettings) -> str:
    """Return the digest of picture settings; those that a later version adds, and nobody set, don't count."""
    usual = asdict(ImageSettings())
    return _digest({name: value for name, value in asdict(images).items() if value != usual[name]})


def _digest(value: Any) -> str:
    text = json.dumps(_plain_numbers(value), sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain_numbers(value: Any) -> Any:
    """Return a JSON value in which 1000000.0 and 1000000 are the same, and tuples are lists."""
    if isinstance(value, dict):
        return {str(name): _plain_numbers(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_numbers(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
