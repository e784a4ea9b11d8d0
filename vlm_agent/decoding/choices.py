"""A closed list of texts as an automaton: the engine follows it, the model chooses. It knows no meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from vlm_agent.models.encoding import ChatEncoder


@dataclass(frozen=True)
class PhraseState:
    """The token ids of a closed list of phrases, as an automaton: what has been said, and what may follow."""

    phrases: tuple[tuple[int, ...], ...]
    """What is left of the phrases that are still possible; an end mark closes each."""

    @property
    def is_complete(self) -> bool:
        """Whether one phrase has been said to its end."""
        return () in self.phrases

    def allowed(self) -> tuple[int, ...]:
        """Return the ids that may come next."""
        return tuple(sorted({phrase[0] for phrase in self.phrases if phrase}))

    def advance(self, token: int) -> Self:
        """Return the state after one more id."""
        return type(self)(tuple(phrase[1:] for phrase in self.phrases if phrase[:1] == (token,)))


class Phrases:
    """Texts to choose between, in one model's tokens."""

    def __init__(self, encoder: ChatEncoder, texts: Sequence[str]) -> None:
        """Tokenize the texts, once for all choices between them."""
        # The end mark keeps a text that begins another one ("make rings", "make rings again") apart.
        self._texts = {(*encoder.encode_text(text), encoder.end_of_turn_id): text for text in texts}
        self._ids = {text: ids for ids, text in self._texts.items()}

    def start(self) -> PhraseState:
        """Return the state before an answer."""
        return PhraseState(tuple(self._texts))

    def read(self, token_ids: tuple[int, ...]) -> str:
        """Return the text of a complete answer."""
        return self._texts[token_ids]

    def encode(self, text: str) -> tuple[int, ...]:
        """Return the tokens of one of the texts, its end mark included."""
        return self._ids[text]
