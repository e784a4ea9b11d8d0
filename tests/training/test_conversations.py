"""Conversations: losses and gradients are those of turns alone, ids are the template's, no token sees the future."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.synthetic import load_shaken, write_dataset
from vlm_agent.chat import HIDDEN_ANSWER, PromptInput, Recipe, Turn, make_conversational, render_prompt
from vlm_agent.dataset.histories import Histories
from vlm_agent.dataset.store import Dataset, open_dataset
from vlm_agent.dataset.windows import Window, state_text
from vlm_agent.errors import ConfigError, DataError, ModelError
from vlm_agent.models.chat_templates import IMAGE_TOKEN
from vlm_agent.models.encoding import IGNORED_LABEL, ChatEncoder
from vlm_agent.models.forward import run_language
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.policies import VlmPolicy
from vlm_agent.training.batches import collate_rows, count_pairs, count_tokens, lay_out
from vlm_agent.training.config import LoraSettings, RecipeSettings, TrainConfig
from vlm_agent.training.conversations import (
    ConversationEncoder,
    build_conversation_rows,
    check_runs,
    list_conversations,
    make_conversation_row,
)
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.flops import measure_flops
from vlm_agent.training.moments import weigh_window
from vlm_agent.training.passes import add_gradients, measure_loss
from vlm_agent.training.rows import Example, Row, make_row
from vlm_agent.training.windows import FrameLoader, choose_recipe, make_labeler, weigh_example, write_answer

pytestmark = pytest.mark.model

STILL = TrainConfig(lora=LoraSettings(rank=4, dropout=0.0))
TURNS = 4
STATE = {"inventory": {"free": 3}, "chat": ["Welcome to the bank, with four rings and a bar of gold."]}
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen2_5_vl"])
def loaded(request, tmp_path_factory):
    return load_shaken(write_tiny_checkpoint(tmp_path_factory.mktemp("conversations"), request.param), STILL)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("talk") / "dataset"
    return open_dataset(write_dataset(folder, num_ticks=7, with_validation=False, state=STATE))


@pytest.fixture(scope="module")
def recipe(loaded, store) -> Recipe:
    return choose_recipe(loaded, store, RecipeSettings(conversation_turns=TURNS))


def _conversations(store: Dataset, recipe: Recipe) -> list[list[Window]]:
    windows = list(store.windows("train"))
    return list_conversations(Histories(windows, recipe), recipe, windows)


def _number(windows: list[Window]) -> dict[str, int]:
    return {window.window_id: number for number, window in enumerate(windows)}


def _ask(windows: list[Window], recipe: Recipe, hidden: set[str]) -> PromptInput:
    """The last of the windows as it is asked: with the turns before it, answers hidden as told."""
    frame = np.zeros((1, 1, 3), np.uint8)
    earlier = tuple(
        Turn(frame, state_text(one, recipe), HIDDEN_ANSWER if one.window_id in hidden else write_answer(one, recipe, 0))
        for one in windows[:-1]
    )
    return PromptInput((frame,), windows[-1].goal, state_text(windows[-1], recipe), earlier=earlier)


def _turn_alone(loaded, windows: list[Window], recipe: Recipe, hidden: set[str], config: TrainConfig) -> Row:
    sizes = [(recipe.image_width_px, recipe.image_height_px)] * len(windows)
    messages = render_prompt(_ask(windows, recipe, hidden), recipe)
    encoded = loaded.encoder.encode_training(messages, write_answer(windows[-1], recipe, 0), sizes)
    tokens = make_labeler(loaded.encoder, recipe, config).label_actions(encoded.target_ids)
    weight = weigh_window(windows[-1], config.read_window_weights())
    example = Example(encoded, tuple(window.frame_id for window in windows), weight, tokens=tokens)
    return make_row([weigh_example(example, config.weigh)], loaded.encoder)


def _features(loaded, store: Dataset, recipe: Recipe) -> FeatureCache:
    return FeatureCache(loaded, FrameLoader(store.folder, recipe), 1 << 20)


def _gradients(loaded, passes, features) -> tuple[float, dict[str, torch.Tensor]]:
    loaded.peft.zero_grad(set_to_none=True)
    loaded.peft.train()
    loss, _ = add_gradients(loaded, passes, features, seed=0)
    return loss, {name: p.grad.clone() for name, p in loaded.peft.named_parameters() if p.grad is not None}


def _find_hidden(loaded, conversations, recipe, share: float, config: TrainConfig) -> set[str]:
    """Which answers are hidden, read off the tokens: an empty answer stands where one would begin."""
    talk = ConversationEncoder(loaded.encoder, recipe, config)
    everything = {window.window_id: 0 for windows in conversations for window in windows}
    hidden = set()
    for windows in conversations:
        ids = talk.encode(windows, everything, share).encoded.input_ids
        starts = loaded.encoder.find_answers(ids)
        hidden |= {
            window.window_id
            for window, start in zip(windows, starts, strict=True)
            if ids[start] == loaded.encoder.end_of_turn_id
        }
    return hidden


@pytest.mark.parametrize(
    ("share", "weigh", "numbers"),
    [(0.0, "tokens", False), (0.5, "windows", False), (1.0, "tokens", False), (0.5, "tokens", True)],
)
def test_a_conversation_equals_its_turns_alone(loaded, store, recipe, share, weigh, numbers):
    """Loss to 1e-5 relative, gradients to 1e-4 relative or 1e-6; in training and in evaluation."""
    config = replace(
        STILL,
        hide_answers=share,
        weigh=weigh,
        event_weights=("CLICK=2",),
        window_weights=("idle=0.5",),
        soft_points=20.0 if numbers else None,
        gaussian_weight=0.5 if numbers else None,
    )
    conversations = _conversations(store, recipe)
    assert [len(windows) for windows in conversations] == [4, 3, 4, 3]
    hidden = _find_hidden(loaded, conversations, recipe, share, config)
    assert {0.0: len(hidden) == 0, 0.5: 0 < len(hidden) < 10, 1.0: len(hidden) == 10}[share]
    windows = [window for one in conversations for window in one]
    rows = build_conversation_rows(loaded.encoder, conversations, windows, recipe, config, hides=True)
    laid_out = [lay_out(rows[:1], "conversation"), lay_out(rows[1:], "conversation")]
    assert [len(one) for one in laid_out] == [1, 1]
    assert sum(row.num_windows for one in laid_out for row in one) == len(windows) == 14
    alone = [
        [_turn_alone(loaded, one[: number + 1], recipe, hidden, config)]
        for one in conversations
        for number in range(len(one))
    ]
    assert sum(row.num_target_tokens for row in rows) == sum(row.num_target_tokens for [row] in alone)
    assert any(row.list_numbers() for row in rows) == numbers
    features = _features(loaded, store, recipe)
    got, want = (_gradients(loaded, passes, features) for passes in (laid_out, alone))
    assert got[0] == pytest.approx(want[0], rel=1e-5)
    for name, gradient in want[1].items():
        torch.testing.assert_close(got[1][name], gradient, rtol=1e-4, atol=1e-6)
    assert max(float(gradient.abs().max()) for gradient in want[1].values()) > 1e-3
    together, apart = (measure_loss(loaded, passes, features) for passes in (laid_out, alone))
    assert together.mean == pytest.approx(apart.mean, rel=1e-5)
    assert together.by_field.keys() == apart.by_field.keys()
    for part, loss in apart.by_field.items():
        assert together.by_field[part].nats == pytest.approx(loss.nats, rel=1e-4, abs=1e-5)
        assert together.by_field[part].num_tokens == loss.num_tokens


def test_ids_are_those_of_the_whole_conversation_rendered_by_the_template(loaded, store, recipe):
    encoder = loaded.encoder
    for windows in _conversations(store, recipe):
        encoded = ConversationEncoder(encoder, recipe, STILL).encode(windows, {}, 0.0).encoded
        messages = render_prompt(_ask(windows, recipe, set()), recipe)
        answer = {"role": "assistant", "content": write_answer(windows[-1], recipe, 0)}
        text = encoder.tokenizer.apply_chat_template([*messages, answer], tokenize=False)
        num_tokens = encoder.images.num_tokens(recipe.image_width_px, recipe.image_height_px)
        assert text.count(IMAGE_TOKEN) == len(windows)
        assert text.endswith("<|im_end|>\n")
        expanded = text[:-1].replace(IMAGE_TOKEN, IMAGE_TOKEN * num_tokens)
        assert list(encoded.input_ids) == encoder.encode_text(expanded)
        assert text.count(windows[0].goal) == 1
        for number in range(1, len(windows)):
            before = encoder.encode_prompt(
                render_prompt(_ask(windows[:number], recipe, set()), recipe),
                [(recipe.image_width_px, recipe.image_height_px)] * number,
            )
            assert encoded.input_ids[: before.num_prompt_tokens] == before.input_ids


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("layout", ["alone", "joined"])
def test_no_token_sees_what_comes_after_it_or_is_hidden(loaded, store, recipe, is_training, layout):
    """The second of four turns is hidden. What it answers, and what the last turn shows, is changed."""
    loaded.peft.train(is_training)
    windows = _conversations(store, recipe)[0]
    talk = ConversationEncoder(loaded.encoder, recipe, STILL)

    def run(changed: list[Window]) -> tuple[Row, torch.Tensor]:
        encoded = talk.encode(changed, _number(windows), 0.0)
        hiding = talk.encode(changed, _number(windows), 1.0)
        rows = [
            make_conversation_row(one, loaded.encoder)
            for one in ((hiding,) if layout == "alone" else (encoded, hiding))
        ]
        [row] = lay_out(rows, "conversation")
        batch = collate_rows([row], 0, CPU)
        features = _features(loaded, store, recipe).get(batch.image_keys)
        with torch.no_grad():
            hidden = run_language(loaded.model, batch.ids, batch.positions, features, tree=batch.tree)[0]
        start = 0 if layout == "alone" else len(encoded.encoded.input_ids)
        return hiding, hidden[start:]

    other = replace(windows[1], target=windows[2].target)
    assert other.target != windows[1].target
    before, hidden_before = run(windows)
    after, hidden_after = run([windows[0], other, windows[2], replace(windows[3], frame_id=windows[0].frame_id)])
    num_kept = before.answers[2].spoken.start
    places = [_trunk_places(one) for one in (before, after)]
    kept = [states[some[:num_kept]] for states, some in zip((hidden_before, hidden_after), places, strict=True)]
    torch.testing.assert_close(kept[0], kept[1], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(hidden_before[places[0][-1]], hidden_after[places[1][-1]], atol=1e-4)


def _trunk_places(conversation) -> list[int]:
    """Where the trunk's tokens stand in its row: before every fork lies a branch, a token and the answer."""
    places, shift, forks = [], 0, {one.spoken.start - 1: one for one in conversation.answers if one.is_hidden}
    for place in range(len(conversation.encoded.input_ids)):
        if place in forks:
            shift += 1 + len(forks[place].token_ids)
        places.append(place + shift)
    return places


def test_a_picture_is_there_once_and_a_hidden_answer_beside_the_trunk(loaded, store, recipe):
    windows = _conversations(store, recipe)[0]
    learnt = _number(windows)
    talk = ConversationEncoder(loaded.encoder, recipe, STILL)
    open_row, hiding_row = (
        make_conversation_row(talk.encode(windows, learnt, share), loaded.encoder) for share in (0.0, 1.0)
    )
    assert open_row.tree.parents == (-1,)
    assert not open_row.has_branches
    assert hiding_row.tree.parents == (-1, 0, 0, 2, 2, 4, 4)
    keys = tuple(window.frame_id for window in windows)
    assert open_row.image_keys == hiding_row.image_keys == keys
    answers = [len(loaded.encoder.encode_text(write_answer(window, recipe, 0))) + 1 for window in windows]
    # A branch repeats one token, and leaves an end of turn in the trunk.
    assert len(hiding_row.ids) == len(open_row.ids) + 2 * 3
    assert open_row.num_target_tokens == hiding_row.num_target_tokens == sum(answers)
    assert (open_row.num_windows, hiding_row.num_windows) == (4, 4)


def test_only_what_is_chosen_is_learnt_and_all_is_seen(loaded, store, recipe):
    windows = list(store.windows("train"))
    acting = [window for window in windows if window.target.actions and window.goal_level == "long"]
    conversations = list_conversations(Histories(windows, recipe), recipe, acting[:-1])
    # Of ticks 0 to 6, those at 0 and 4 are idle, and the last is left out.
    assert [[one.t_ns // 600_000_000 for one in some] for some in conversations] == [[0, 1, 2, 3], [4, 5]]
    rows = build_conversation_rows(loaded.encoder, conversations, acting[:-1], recipe, STILL, hides=True)
    assert [row.num_windows for row in rows] == [3, 1]
    assert [len(row.image_keys) for row in rows] == [4, 2]


def test_runs_end_where_decisions_lie_too_far_apart(store, recipe):
    windows = [window for window in store.windows("train") if window.goal_level == "long"]
    apart = [replace(window, t_ns=window.t_ns + (number > 2) * 1_300_000_000) for number, window in enumerate(windows)]
    runs = Histories(apart, recipe).runs
    assert [len(run) for run in runs] == [3, 4]
    other_goal = [replace(window, goal="leave" if number > 3 else window.goal) for number, window in enumerate(windows)]
    assert [len(run) for run in Histories(other_goal, recipe).runs] == [4, 3]
    lonely = [replace(window, t_ns=3 * window.t_ns) for window in windows]
    with pytest.raises(DataError, match="no two windows to train on follow each other within 1200 ms"):
        check_runs(Histories(lonely, recipe), recipe)


def test_a_full_conversation_lets_half_of_its_turns_go(store, recipe):
    assert [recipe.count_earlier(number) for number in range(9)] == [0, 1, 2, 3, 2, 3, 2, 3, 2]
    long = replace(recipe, conversation_turns=8)
    assert [long.count_earlier(number) for number in range(14)] == [0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5]
    windows = [window for window in store.windows("train") if window.goal_level == "short"]
    histories = Histories(store.windows("train"), recipe)
    assert [len(histories.before(window)) for window in windows] == [0, 1, 2, 3, 2, 3, 2]
    assert histories.before(windows[6]) == tuple(windows[4:6])


def test_a_conversation_that_does_not_fit_names_one_that_does(loaded, store, recipe):
    conversations = _conversations(store, recipe)
    windows = [window for one in conversations for window in one]
    longest = max(
        len(row.ids)
        for row in build_conversation_rows(loaded.encoder, conversations, windows, recipe, STILL, hides=False)
    )
    config = replace(STILL, batch_tokens=longest)
    assert build_conversation_rows(loaded.encoder, conversations, windows, recipe, config, hides=False)
    with pytest.raises(ConfigError, match=rf"takes {longest} tokens; try --recipe.conversation-turns 3"):
        build_conversation_rows(
            loaded.encoder, conversations, windows, recipe, replace(STILL, batch_tokens=longest - 1), hides=False
        )


def test_a_template_that_changes_earlier_answers_is_refused(loaded, store, recipe):
    tokenizer = copy(loaded.tokenizer)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "{{- block.text -}}", "{%- if message.role == 'assistant' -%}!{%- endif -%}{{- block.text -}}"
    )
    changed = ChatEncoder(tokenizer, loaded.encoder.images)
    with pytest.raises(ModelError, match="holds no conversation: it writes earlier turns otherwise"):
        ConversationEncoder(changed, recipe, STILL)
    model = replace(loaded, encoder=changed)
    with pytest.raises(ModelError, match="holds no conversation"):
        VlmPolicy(model, recipe)
    with pytest.raises(ModelError, match="use this model without --recipe"):
        choose_recipe(model, store, RecipeSettings(conversation_turns=3))


def test_the_formula_counts_a_conversation(loaded, store, recipe):
    flops = measure_flops(loaded)
    conversations = _conversations(store, recipe)
    windows = [window for one in conversations for window in one]
    rows = build_conversation_rows(loaded.encoder, conversations, windows, recipe, STILL, hides=False)
    [row] = lay_out(rows, "conversation")
    lengths = [len(one.ids) for one in rows]
    assert count_tokens([row]) == sum(lengths)
    assert count_pairs([row]) == sum(length * (length + 1) // 2 for length in lengths)
    alone = [
        [_turn_alone(loaded, one[: number + 1], recipe, set(), STILL)]
        for one in conversations
        for number in range(len(one))
    ]
    assert flops.count([row]) < 0.6 * sum(flops.count(some) for some in alone)


def test_a_recipe_keeps_its_conversations_in_json(recipe):
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert recipe.to_json()["conversation_turns"] == TURNS
    assert "history_frames" not in recipe.to_json()
    with pytest.raises(ConfigError, match="one picture a turn"):
        replace(recipe, history_frames=2)
    with pytest.raises(ConfigError, match="must take the goal"):
        replace(recipe, system=replace(recipe.system, text="${horizon_ms} ${action_table}"))
    assert make_conversational(recipe, 2).conversation_turns == 2


def test_learnt_places_are_those_before_the_answers(loaded, store, recipe):
    windows = _conversations(store, recipe)[0]
    row = make_conversation_row(
        ConversationEncoder(loaded.encoder, recipe, STILL).encode(windows, _number(windows), 1.0),
        loaded.encoder,
    )
    starts = np.flatnonzero((row.targets != IGNORED_LABEL) & ~np.roll(row.targets != IGNORED_LABEL, 1))
    for start, window in zip(starts, windows, strict=True):
        stop = start + int((row.targets[start:] == IGNORED_LABEL).argmax())
        assert loaded.encoder.decode_text(row.targets[start:stop]) == write_answer(window, recipe, 0)
        assert (row.positions[:, start] + 1 == row.positions[:, start + 1]).all()
