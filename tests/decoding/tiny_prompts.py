"""Prompts for tiny models, what a plain forward pass says to them, and an automaton of dice."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch

from vlm_agent.decoding.sequence import ModelPrompt
from vlm_agent.models.adapters import attach_lora
from vlm_agent.models.encoding import ChatEncoder
from vlm_agent.models.images import pixel_values
from vlm_agent.models.loading import LoadedModel


@dataclass(frozen=True)
class DiceState:
    """Allows a few tokens that depend on everything said so far, sometimes one; complete after `length`."""

    said: tuple[int, ...] = ()
    length: int = 24
    vocabulary: int = 300

    @property
    def is_complete(self) -> bool:
        return len(self.said) >= self.length

    def allowed(self) -> tuple[int, ...]:
        rng = random.Random(repr(self.said))
        size = 1 if rng.random() < 0.3 else 8
        return tuple(sorted(rng.sample(range(20, self.vocabulary), size)))

    def advance(self, token: int) -> DiceState:
        assert token in self.allowed()
        return DiceState((*self.said, token), self.length, self.vocabulary)


@dataclass(frozen=True)
class PlainTokenizer:
    """A model's tokenizer as the automaton wants it."""

    encoder: ChatEncoder

    def encode(self, text: str) -> list[int]:
        return self.encoder.encode_text(text)

    def decode(self, token_ids: list[int]) -> str:
        return self.encoder.decode_text(token_ids)


def add_loud_lora(loaded: LoadedModel) -> None:
    """Put an adapter in that changes the outputs (a fresh one changes nothing)."""
    wrapped = attach_lora(loaded.model, rank=4, alpha=8, dropout=0.0, seed=1)
    generator = torch.Generator().manual_seed(2)
    for name, parameter in wrapped.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.2, generator=generator)
    wrapped.eval()


def make_prompt(loaded: LoadedModel, seed: int, question: str = "Goal: open the bank") -> ModelPrompt:
    """Return a prompt like the real one: constant system text, a picture, a question."""
    side = loaded.encoder.images.factor_px
    frame = np.random.default_rng(seed).integers(0, 256, (2 * side, 4 * side, 3), dtype=np.uint8)
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "You play by mouse. Answer with actions."}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]},
    ]
    encoded = loaded.encoder.encode_prompt(messages, [(4 * side, 2 * side)])
    return ModelPrompt(encoded, pixel_values([frame], loaded.encoder.images))


@torch.inference_mode()
def recompute_logits(loaded: LoadedModel, prompt: ModelPrompt, then: tuple[int, ...]) -> torch.Tensor:
    """Return the next token's logits from one plain pass over everything: no cache, the model's own positions."""
    device = loaded.device
    ids = torch.tensor([[*prompt.encoded.input_ids, *then]], device=device)
    loaded.model.model.rope_deltas = None
    output = loaded.model(
        input_ids=ids,
        pixel_values=prompt.pixel_values.to(device, loaded.dtype),
        image_grid_thw=prompt.encoded.grid_tensor().to(device),
        mm_token_type_ids=loaded.encoder.token_types(ids),
        use_cache=False,
    )
    return output.logits[0, -1].float()
