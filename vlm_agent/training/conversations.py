"""Windows that follow one another as one conversation: every picture is computed once, every answer is learnt.

A turn sees the turns before it, as in play, where the model has its earlier pictures and answers before it. What a
player answered last tells a lot about what comes next, so a model that always sees it learns to go on rather than to
look (de Haan et al. 2019, "Causal confusion in imitation learning"). Therefore some answers are hidden: the turns after
one find an empty answer in its place. It is learnt all the same, on a branch of its own (see `models.token_trees`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

from vlm_agent.chat import HIDDEN_ANSWER, PromptInput, Recipe, Turn, render_prompt
from vlm_agent.dataset.histories import Histories
from vlm_agent.dataset.windows import Window, state_text
from vlm_agent.errors import ConfigError, DataError, ModelError
from vlm_agent.models.encoding import ChatEncoder, Encoded
from vlm_agent.models.token_trees import NO_PARENT, TokenTree
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.curriculum import stage_of
from vlm_agent.training.moments import spread, weigh_window
from vlm_agent.training.rows import Piece, Row, Spoken, chain_pieces, make_path
from vlm_agent.training.windows import UNSEEN_FRAME, make_labeler, write_answer

HIDDEN_SHARE = 0.3
"""Share of the earlier answers that are hidden, unless the settings say otherwise."""


@dataclass(frozen=True)
class LearntAnswer:
    """The answer of one turn."""

    spoken: Spoken
    """Where it stands in the conversation, or the empty answer that hides it, and how much its tokens count."""
    token_ids: tuple[int, ...]
    """Its tokens, the end of the turn included."""
    is_hidden: bool
    """Whether the turns after it don't see it."""


@dataclass(frozen=True)
class Conversation:
    """Windows that follow one another, tokenized."""

    encoded: Encoded
    """All turns as the last one sees them, its own answer included."""
    image_keys: tuple[str, ...]
    """Identifiers of the pictures, one a turn."""
    answers: tuple[LearntAnswer, ...]
    """What is learnt, in order; the last turn's is among it."""


def list_conversations(histories: Histories, recipe: Recipe, learnt: Iterable[Window]) -> list[list[Window]]:
    """Cut runs of windows into conversations of at most as many turns as the recipe allows.

    Every one ends with a window that is learnt; those before it may be there to be seen alone.
    """
    wanted = {window.window_id for window in learnt}
    conversations = []
    for run in histories.runs:
        for start in range(0, len(run), recipe.conversation_turns):
            block = run[start : start + recipe.conversation_turns]
            numbers = [number for number, window in enumerate(block) if window.window_id in wanted]
            if numbers:
                conversations.append(block[: numbers[-1] + 1])
    return conversations


def spread_turns(histories: Histories, recipe: Recipe, learnt: Sequence[Window], most: int) -> list[Window]:
    """Return about so many of the windows at most, those of conversations that are spread evenly over all."""
    conversations = list_conversations(histories, recipe, learnt)
    drawn = spread(conversations, max(1, most // recipe.conversation_turns))
    kept = {window.window_id for windows in drawn for window in windows}
    return [window for window in learnt if window.window_id in kept]


def check_runs(histories: Histories, recipe: Recipe) -> None:
    """Raise DataError where no two windows to be trained on follow each other."""
    if all(len(run) == 1 for run in histories.runs):
        raise DataError(
            f"--recipe.conversation-turns {recipe.conversation_turns}: no two windows to train on follow each other"
            f" within {recipe.most_gap_ms} ms; label the sessions with --dataset.window.stride-ticks 1"
        )


class ConversationEncoder:
    """Tokenizes conversations for one model under one recipe."""

    def __init__(self, encoder: ChatEncoder, recipe: Recipe, config: TrainConfig) -> None:
        """Take the model's encoder, how windows are shown, and how clicks and tokens are treated.

        Raises:
            ConfigError: the tokenizer does not write every digit as a token of its own.
            ModelError: the model's chat template holds no conversations.
        """
        encoder.check_conversation()
        self._encoder = encoder
        self._recipe = recipe
        self._config = config
        self._weights = config.read_window_weights()
        self._labeler = make_labeler(encoder, recipe, config)

    def encode(self, windows: Sequence[Window], learnt: Mapping[str, int], hidden_share: float) -> Conversation:
        """Tokenize windows that follow one another.

        Args:
            windows: at most as many as a conversation may have turns.
            learnt: places of the windows whose answers are learnt among all that are, by their identifiers.
            hidden_share: share of the answers that are hidden from the turns after them, drawn by moment.

        Raises:
            ModelError: the model's chat template changes earlier answers.
        """
        hidden = [self._is_hidden(window, hidden_share) for window in windows[:-1]] + [False]
        texts = [write_answer(window, self._recipe, self._config.snap_clicks) for window in windows]
        said = [(*self._encoder.encode_text(text), self._encoder.end_of_turn_id) for text in texts]
        shown = [HIDDEN_ANSWER if is_hidden else text for text, is_hidden in zip(texts, hidden, strict=True)]
        prompt = self._encode_prompt(windows, shown[:-1])
        encoded = replace(prompt, input_ids=prompt.input_ids + said[-1])
        starts = self._find_answers(encoded, shown)
        answers = [
            LearntAnswer(self._describe(window, start, token_ids, learnt[window.window_id]), token_ids, is_hidden)
            for window, start, token_ids, is_hidden in zip(windows, starts, said, hidden, strict=True)
            if window.window_id in learnt
        ]
        return Conversation(encoded, tuple(window.frame_id for window in windows), tuple(answers))

    def _encode_prompt(self, windows: Sequence[Window], earlier_answers: Sequence[str]) -> Encoded:
        states = [state_text(window, self._recipe) for window in windows]
        earlier = tuple(
            Turn(UNSEEN_FRAME, state, answer) for state, answer in zip(states[:-1], earlier_answers, strict=True)
        )
        asked = PromptInput((UNSEEN_FRAME,), windows[-1].goal, states[-1], earlier=earlier)
        sizes = [(self._recipe.image_width_px, self._recipe.image_height_px)] * len(windows)
        return self._encoder.encode_prompt(render_prompt(asked, self._recipe), sizes)

    def _find_answers(self, encoded: Encoded, shown: Sequence[str]) -> list[int]:
        """Return where answers stand, having made sure that they stand there as they were said."""
        starts = self._encoder.find_answers(encoded.input_ids)
        expected = [(*self._encoder.encode_text(text), self._encoder.end_of_turn_id) for text in shown]
        found = [encoded.input_ids[start : start + len(ids)] for start, ids in zip(starts, expected, strict=False)]
        if len(starts) != len(shown) or found != expected:
            raise ModelError(
                f"{self._encoder.tokenizer.name_or_path or 'tokenizer'}: its chat template changes earlier answers;"
                " train this model without --recipe.conversation-turns"
            )
        return starts

    def _describe(self, window: Window, start: int, token_ids: tuple[int, ...], source: int) -> Spoken:
        weight = weigh_window(window, self._weights)
        if self._config.weigh == "windows":
            weight /= len(token_ids)
        stage = stage_of(window) if self._config.curriculum else 0
        return Spoken(start, len(token_ids), weight, self._labeler.label_actions(token_ids), stage, source)

    def _is_hidden(self, window: Window, share: float) -> bool:
        return Random(f"answers {self._config.seed} {window.session} {window.t_ns}").random() < share


def make_conversation_row(conversation: Conversation, encoder: ChatEncoder) -> Row:
    """Lay a conversation out: a trunk that all turns see their part of, and a branch for each hidden answer.

    The last token before a hidden answer is there twice: in the trunk the empty answer follows it, on the branch the
    real one is to be predicted from it.
    """
    seen = [answer.spoken for answer in conversation.answers if not answer.is_hidden]
    trunk = make_path(conversation.encoded, conversation.image_keys, seen, encoder)
    pieces: list[Piece] = []
    parents: list[int] = []
    start, parent = 0, NO_PARENT
    for answer in conversation.answers:
        if answer.is_hidden:
            fork = answer.spoken.start - 1
            branch = _make_branch(trunk, fork, answer, encoder)
            pieces += [Piece(trunk, start, fork), Piece(branch, 0, len(branch.ids))]
            parents += [parent, len(parents)]
            start, parent = fork, len(parents) - 2
    pieces.append(Piece(trunk, start, len(trunk.ids)))
    parents.append(parent)
    tree = TokenTree((0, *accumulate(map(len, pieces))), tuple(parents))
    return chain_pieces(pieces, tree, tuple(answer.spoken.note for answer in conversation.answers))


def _make_branch(trunk: Row, fork: int, answer: LearntAnswer, encoder: ChatEncoder) -> Row:
    encoded = Encoded((int(trunk.ids[fork]), *answer.token_ids), 1, ())
    branch = make_path(encoded, (), [replace(answer.spoken, start=1)], encoder)
    return replace(branch, positions=branch.positions + trunk.positions[:, fork : fork + 1])


def build_conversation_rows(
    encoder: ChatEncoder,
    conversations: Sequence[Sequence[Window]],
    learnt: Iterable[Window],
    recipe: Recipe,
    config: TrainConfig,
    *,
    hides: bool,
) -> list[Row]:
    """Return conversations as rows, one each.

    Args:
        encoder: the model's.
        conversations: see `list_conversations`.
        learnt: the windows whose answers are learnt.
        recipe: how windows are shown.
        config: gives `hide_answers`, how tokens count, and `batch_tokens`.
        hides: whether earlier answers are hidden at all; not where a loss is measured.

    Raises:
        ConfigError: a conversation has more tokens than a pass may have, or the tokenizer merges digits.
        ModelError: the model's chat template changes earlier answers.
    """
    share = HIDDEN_SHARE if config.hide_answers is None else config.hide_answers
    wanted = {window.window_id: source for source, window in enumerate(learnt)}
    tokenizer = ConversationEncoder(encoder, recipe, config)
    rows = [
        make_conversation_row(tokenizer.encode(windows, wanted, share if hides else 0.0), encoder)
        for windows in conversations
    ]
    longest = max((len(row.ids) for row in rows), default=0)
    if config.batch_tokens is not None and longest > config.batch_tokens:
        turns = max(1, config.batch_tokens * recipe.conversation_turns // longest)
        raise ConfigError(
            f"--train.batch-tokens {config.batch_tokens}: the longest conversation takes {longest} tokens;"
            f" try --recipe.conversation-turns {turns}"
        )
    return rows


ONE_PICTURE = ("jitter", "crop")
"""Settings that change one picture at a time, and would tear a history apart."""


def check_conversations(recipe: Recipe, config: TrainConfig) -> None:
    """Raise ConfigError where the settings of a run and how its windows are shown don't go together."""
    if recipe.is_conversation:
        if config.layout not in ("auto", "conversation"):
            raise ConfigError(
                f"--train.layout {config.layout}: windows are shown in conversations of up to"
                f" {recipe.conversation_turns} turns; leave it out, or --recipe.conversation-turns"
            )
        if config.engine == "trl":
            raise ConfigError("--train.engine trl knows no conversations; leave out --recipe.conversation-turns")
        if config.hide_recent:
            raise ConfigError("--train.hide-recent: conversations show no recent actions; use --train.hide-answers")
    for name in ONE_PICTURE if recipe.most_earlier else ():
        if getattr(config, name) is not None:
            shown = "conversation-turns" if recipe.is_conversation else "history-frames"
            raise ConfigError(f"--train.{name} can't be had with --recipe.{shown}; leave one out")
    if recipe.is_conversation:
        return
    if config.layout == "conversation":
        raise ConfigError("--train.layout conversation: windows are shown alone; give --recipe.conversation-turns 8")
    if config.hide_answers is not None:
        raise ConfigError("--train.hide-answers needs --recipe.conversation-turns")
