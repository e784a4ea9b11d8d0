"""Tokenizers to build automata with: a small BPE trained on the spot, nano's own, and Qwen's vocabulary."""

from __future__ import annotations

import base64
import random
from functools import cache
from importlib import resources

import pytest
import tiktoken
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tests.strategies import random_chunk, random_spec
from vlm_agent.actions import make_codec

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen's pre-tokenizer: every digit alone."""

MERGING_PATTERN = QWEN_PATTERN.replace(r"\p{N}|", r"\p{N}{1,3}|")
"""The same with up to three digits in a token, as other models have it."""


class BpeTokenizer:
    """A `tokenizers.Tokenizer` with the two methods the automaton needs."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, token_ids: list[int]) -> str:
        """Return the text of ids."""
        return self._tokenizer.decode(token_ids, skip_special_tokens=False)


@cache
def small_bpe(pattern: str = QWEN_PATTERN, vocabulary_size: int = 400) -> BpeTokenizer:
    """Return a byte-level BPE tokenizer trained on random answers."""
    rng = random.Random(4)
    specs = [random_spec(rng) for _ in range(200)]
    texts = [make_codec(name).encode(random_chunk(rng, spec), spec) for spec in specs for name in ("json", "line")]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return BpeTokenizer(tokenizer)


@cache
def nano() -> BpeTokenizer:
    """Return the tokenizer of the bundled model."""
    file = resources.files("vlm_agent.models") / "nano" / "tokenizer.json"
    if not file.is_file():
        pytest.skip("the bundled model is not in this checkout")
    return BpeTokenizer(Tokenizer.from_str(file.read_text(encoding="utf-8")))


@cache
def qwen() -> tiktoken.Encoding:
    """Return Qwen's vocabulary (the base of Qwen2, 2.5 and 3), which the package `dashscope` carries."""
    lines = (resources.files("dashscope") / "resources" / "qwen.tiktoken").read_bytes().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines)}
    return tiktoken.Encoding("qwen", pat_str=QWEN_PATTERN, mergeable_ranks=ranks, special_tokens={})
