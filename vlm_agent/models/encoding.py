"""From chat messages and picture sizes to token ids, and back: the tokenizer's own template, no processor class.

Transformers' Qwen processors need torchvision even for still pictures; what they do for them is small: render the chat
template, repeat each picture's placeholder once per token, tokenize. A training conversation is the prompt's own ids
followed by the answer's, so that it starts token for token with what the model sees in play.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from vlm_agent.errors import ModelError
from vlm_agent.models.chat_templates import (
    ANSWER_HEADER,
    END_OF_TURN,
    IMAGE_TOKEN,
    ChatTemplate,
    Message,
    render_messages,
    take_chat_template,
)
from vlm_agent.models.images import ImageSettings

IGNORED_LABEL = -100
"""Label of a position that is not trained."""


@dataclass(frozen=True)
class Encoded:
    """One tokenized conversation, without its pixels."""

    input_ids: tuple[int, ...]
    """Token ids; a picture takes as many placeholders as it has merged patches."""
    num_prompt_tokens: int
    """So many ids are the prompt; the rest is the answer with its end-of-turn token."""
    image_grids: tuple[tuple[int, int, int], ...]
    """(time, rows, columns) in patches of every picture, in order."""

    @property
    def labels(self) -> tuple[int, ...]:
        """The ids to be learnt at each position, `IGNORED_LABEL` over the prompt (not yet shifted)."""
        return (IGNORED_LABEL,) * self.num_prompt_tokens + self.input_ids[self.num_prompt_tokens :]

    @property
    def target_ids(self) -> tuple[int, ...]:
        """The answer, with its end-of-turn token."""
        return self.input_ids[self.num_prompt_tokens :]

    @property
    def num_target_tokens(self) -> int:
        """How many tokens are learnt."""
        return len(self.input_ids) - self.num_prompt_tokens

    def grid_tensor(self) -> torch.Tensor:
        """Return `image_grid_thw`, int64 of shape (pictures, 3)."""
        return torch.tensor(self.image_grids, dtype=torch.long).reshape(-1, 3)


class ChatEncoder:
    """Encodes messages for one checkpoint: its tokenizer, its chat template, its picture grid."""

    def __init__(self, tokenizer: Any, images: ImageSettings, template: ChatTemplate | None = None) -> None:
        """Look up the special tokens.

        Args:
            tokenizer: the checkpoint's; from now on its own template is the one that prompts are written by, for
                whoever asks or saves the tokenizer alone.
            images: how the checkpoint wants its pictures.
            template: the checkpoint's; none takes the tokenizer's.

        Raises:
            ModelError: the tokenizer has no usable chat template or lacks Qwen's special tokens.
        """
        self.tokenizer = tokenizer
        self.images = images
        self.image_token_id = self._special(IMAGE_TOKEN)
        self.end_of_turn_id = self._special(END_OF_TURN)
        self.template = take_chat_template(tokenizer) if template is None else template
        tokenizer.chat_template = self.template.text

    def list_notes(self, image_width_px: int | None = None, image_height_px: int | None = None) -> list[str]:
        """Return what whoever else serves this model must do alike, or would do otherwise; a sentence each.

        Args:
            image_width_px: width of the pictures that it is shown, where they have one already.
            image_height_px: height of them.
        """
        template, notes = self.template, []
        if template.closing:
            notes.append(
                f"{template.source} opens a thought, which is closed before every answer, in training and in play: an"
                f" answer follows {template.lead!r}, whoever serves the model"
            )
        if template.rivals:
            notes.append(f"prompts are written by {template.source}; {', '.join(template.rivals)} would write others")
        if image_width_px and image_height_px and not self.images.keeps(image_width_px, image_height_px):
            made = "x".join(map(str, self.images.fit_size(image_width_px, image_height_px)))
            notes.append(
                f"the model is shown pictures of {image_width_px}x{image_height_px}, of which its own processor makes"
                f" {made}: served elsewhere, it sees others than here"
            )
        return notes

    def check_conversation(self) -> None:
        """Raise ModelError where the template can't hold conversations of several turns."""
        if self.template.conversation_fault:
            raise ModelError(
                f"{self.tokenizer.name_or_path or 'tokenizer'}: {self.template.source}: its chat template holds no"
                f" conversation: {self.template.conversation_fault}; use this model without"
                " --recipe.conversation-turns"
            )

    def render(self, messages: Sequence[Message]) -> str:
        """Return messages as text up to where the answer begins, one placeholder a picture.

        Raises:
            ModelError: the chat template refuses them or fails.
        """
        return render_messages(self.template, self.tokenizer, messages)

    def encode_prompt(self, messages: Sequence[Message], image_sizes: Sequence[tuple[int, int]] = ()) -> Encoded:
        """Tokenize messages up to where the answer begins.

        Args:
            messages: the turns, pictures as bare `{"type": "image"}` blocks.
            image_sizes: (width, height) in pixels of every resized picture, in the order of the blocks.

        Raises:
            ModelError: the template fails, or leaves no place for the answer or not one placeholder per picture.
        """
        grids = tuple(self.images.grid(width, height) for width, height in image_sizes)
        text = self.render(messages)
        if not text.endswith(ANSWER_HEADER + self.template.lead):
            raise ModelError(f"the chat template leaves no place for the answer: its prompt ends in {text[-30:]!r}")
        pieces = text.split(IMAGE_TOKEN)
        if len(pieces) != len(grids) + 1:
            raise ModelError(f"the chat template left {len(pieces) - 1} picture placeholders for {len(grids)} pictures")
        expanded = pieces[0]
        for (width, height), piece in zip(image_sizes, pieces[1:], strict=True):
            expanded += IMAGE_TOKEN * self.images.num_tokens(width, height) + piece
        ids = tuple(self.encode_text(expanded))
        return Encoded(ids, len(ids), grids)

    def encode_training(
        self, messages: Sequence[Message], answer: str, image_sizes: Sequence[tuple[int, int]] = ()
    ) -> Encoded:
        """Tokenize messages and their answer; the answer and the end-of-turn token are learnt, nothing else is.

        The line break that Qwen's template writes after the end of a turn is left out: the model never has to write it.
        """
        prompt = self.encode_prompt(messages, image_sizes)
        target = (*self.encode_text(answer), self.end_of_turn_id)
        return Encoded(prompt.input_ids + target, prompt.num_prompt_tokens, prompt.image_grids)

    def encode_text(self, text: str) -> list[int]:
        """Return the ids of a text alone; special tokens written in it count as such."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def decode_text(self, ids: Sequence[int]) -> str:
        """Return the text of ids, special tokens left out."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def find_answers(self, input_ids: Sequence[int]) -> list[int]:
        """Return where the model's turns begin in a rendered conversation, the one still to come included."""
        ids, header = tuple(input_ids), tuple(self.encode_text(ANSWER_HEADER + self.template.lead))
        places = (place for place, token in enumerate(ids) if token == header[0])
        return [place + len(header) for place in places if ids[place : place + len(header)] == header]

    def token_types(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Return `mm_token_type_ids` of the same shape: 1 where a picture's placeholder stands, 0 elsewhere."""
        return (input_ids == self.image_token_id).long()

    def _special(self, token: str) -> int:
        token_id = self.tokenizer.convert_tokens_to_ids(token)
        if token_id is None or token_id == self.tokenizer.unk_token_id:
            raise ModelError(f"{self.tokenizer.name_or_path or 'tokenizer'}: lacks {token}, not a Qwen-VL tokenizer")
        return int(token_id)


class PlainTokenizer:
    """An encoder as the action automaton wants it (see `actions.automaton.Tokenizer`)."""

    def __init__(self, encoder: ChatEncoder) -> None:
        """Take the encoder."""
        self._encoder = encoder

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text."""
        return self._encoder.encode_text(text)

    def decode(self, token_ids: list[int]) -> str:
        """Return the text of ids."""
        return self._encoder.decode_text(token_ids)
