"""Where to look is told right, measured as the model attends, and learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers.models.qwen3_vl.modeling_qwen3_vl import rotate_half

from vlm_agent.actions.types import Click
from vlm_agent.models.token_trees import TokenTree
from vlm_agent.training.nano import batches, build, looking
from vlm_agent.training.nano.sights import locate

pytestmark = pytest.mark.model

INDICES = (0, 1, 2)
"""Screens that show something."""


@pytest.fixture(scope="module")
def tokenizer():
    return build.train_tokenizer(build.corpus(0, num_samples=12))


@pytest.fixture(scope="module")
def names() -> dict[str, int]:
    found = {thing.name for index in INDICES for thing in batches.look_sample(0, index).things}
    return {name: number for number, name in enumerate(sorted(found), 1)}


@pytest.fixture(scope="module")
def look(tokenizer, names) -> batches.LookBatch:
    return batches.make_look(0, INDICES, tokenizer, names)


@pytest.mark.parametrize(
    ("x", "y", "token", "quarter"),
    [(0, 0, 0, 0), (42, 0, 0, 1), (0, 63, 0, 2), (82, 124, 0, 3), (84, 0, 1, 0), (0, 125, 12, 0), (999, 999, 95, 3)],
)
def test_a_place_lies_in_a_token_and_a_quarter_of_it(x: int, y: int, token: int, quarter: int) -> None:
    assert locate(x, y, batches.ROWS, batches.COLUMNS) == (token, quarter)


def test_sights_stand_in_front_of_the_digits_of_what_can_be_seen(look, tokenizer, names) -> None:
    seen = look.seen
    clicks = [
        (picture, question.answer.actions[0])
        for picture, index in enumerate(INDICES)
        for question in batches.look_sample(0, index).questions
        if question.answer.actions
    ]
    expected = [(picture, click.x, click.y) for picture, click in clicks if isinstance(click, Click)]
    assert len(seen.sights) == len(expected) > 10
    kinds = {number: name for name, number in names.items()}
    found = []
    for sight, (picture, x, y) in zip(seen.sights, expected, strict=True):
        assert tokenizer.decode(seen.tree.labels[list(sight.tokens)]).replace(" ", "") == f"{x}{y}"
        assert sight.picture == seen.pictures[picture]
        assert (sight.token, sight.quarter) == locate(x, y, batches.ROWS, batches.COLUMNS)
        covering = [
            thing
            for thing in batches.look_sample(0, INDICES[picture]).things
            if thing.left <= x < thing.right and thing.top <= y < thing.bottom and thing.name != "pointer"
        ]
        assert (sight.name == 0) == (not covering)
        assert sight.name == 0 or kinds[sight.name] in {thing.name for thing in covering}
        (start, stop), (own_start, own_stop) = sight.seen
        assert start <= sight.picture < stop <= own_start <= sight.tokens[0] < sight.tokens[-1] < own_stop
        found.append(kinds.get(sight.name))
    assert sum(name is not None for name in found) > len(found) / 2
    assert set(seen.tree.ids[0, list(seen.pictures)].tolist()) == {tokenizer.convert_tokens_to_ids("<|image_pad|>")}


def test_no_text_tells_what_is_to_be_seen(look, tokenizer) -> None:
    text = tokenizer.decode(look.seen.tree.ids[0])
    assert "now:" not in text
    assert "Goal: " in text


def test_some_screens_are_blank_and_ask_for_nothing(tokenizer, names) -> None:
    looks = {index: batches.make_look(0, [index], tokenizer, names) for index in range(12, 22)}
    blank = {index: look for index, look in looks.items() if len(look.frames.flatten(0, 2).unique(dim=0)) == 1}
    assert 1 <= len(blank) <= 3
    for look in blank.values():
        assert look.seen.sights == []
        assert not look.seen.classes.any()
        learnt = look.seen.tree.labels[look.seen.tree.labels >= 0]
        assert set(tokenizer.decode(learnt).split("<|im_end|>")) == {'{"actions":[]}', ""}
        assert looking.looking_loss(None, None, {}, look.seen) == (torch.zeros(()), {})


def test_attention_is_the_models_own(look, tokenizer) -> None:
    """Held against transformers' eager attention, which gives its weights out."""
    model = build.build_nano(0, tokenizer).eval()
    length = look.seen.sights[0].seen[0][1]  # the first shared part: one plain sequence
    alone = replace(
        look.seen.tree, ids=look.seen.tree.ids[:, :length], positions=look.seen.tree.positions[..., :length]
    )
    alone = replace(alone, labels=look.seen.tree.labels[:length], tree=TokenTree((0, length), (-1,)))
    with torch.no_grad():
        features = batches.vision_features(model, look.frames[:1])
        with looking.watch_attention(model) as watched:
            batches.tree_logits(model, alone, [features])
        weights = {}
        for layer, head in looking.LOOKERS:
            queries, visible = torch.arange(length), torch.ones(length, length, dtype=torch.bool).tril()
            weights[layer, head] = looking.attend(model, watched, layer, head, queries, visible).exp()
        model.set_attn_implementation("eager")
        embeddings = model.get_input_embeddings()(alone.ids)
        is_image = alone.ids == model.config.image_token_id
        given = model.model.language_model(
            inputs_embeds=embeddings.masked_scatter(is_image[..., None], features.tokens),
            position_ids=alone.positions,
            visual_pos_masks=is_image,
            deepstack_visual_embeds=list(features.deepstack),
            output_attentions=True,
            use_cache=False,
        )
    for (layer, head), ours in weights.items():
        theirs = given.attentions[layer][0, head * 3 : head * 3 + looking.QUERY_HEADS].transpose(0, 1)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_codes_of_names_lie_apart_and_outlast_rotary_turns() -> None:
    codes = looking.spread_codes(84, looking.HEAD_DIM)
    assert torch.equal(codes, looking.spread_codes(84, looking.HEAD_DIM))
    torch.testing.assert_close(codes.norm(dim=-1), torch.ones(84))
    between = (codes @ codes.T).masked_fill(torch.eye(84, dtype=torch.bool), 0.0)
    assert between.max() < 0.4  # at random the nearest of 84 in 16 dimensions are 0.8 near
    # A hundred positions further on, a code is still nearer to itself than any other.
    frequencies = 10_000.0 ** (-torch.arange(16) / 16)
    angles = torch.cat([frequencies, frequencies]) * 100
    turned = codes * angles.cos() + rotate_half(codes) * angles.sin()
    assert ((turned @ codes.T).argmax(-1) == torch.arange(84)).float().mean() > 0.9


def learn(tokenizer, names, measure, steps: int) -> tuple[list[float], list[dict[str, float]], Any]:
    """Learn one screen for some steps; returns losses and scores of each, and the model."""
    model = build.build_nano(0, tokenizer)
    readers = looking.Readers(model.config.text_config.hidden_size, len(names) + 1)
    look = batches.make_look(0, [2], tokenizer, names)
    optimizer = torch.optim.AdamW([*model.parameters(), *readers.parameters()], lr=2e-3)
    losses, scores = [], []
    for _ in range(steps):
        with looking.watch_attention(model) as watched:
            batches.tree_logits(model, look.seen.tree, [batches.vision_features(model, look.frames)])
        loss, score = measure(model, readers, watched, look.seen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        scores.append(score)
    return losses, scores, model


def test_keys_and_queries_learn_their_codes(tokenizer, names) -> None:
    def measure(model, readers, watched, seen):
        return looking.code_loss(model, watched, seen, readers.codes), {}

    losses, _, _ = learn(tokenizer, names, measure, 15)
    assert losses[0] == pytest.approx(2.0, abs=0.3)  # nothing is near: one each for keys and queries
    assert losses[-1] < 0.7 * losses[0]


def test_values_learn_where_things_are(tokenizer, names) -> None:
    losses, shares, _ = learn(tokenizer, names, looking.place_loss, 25)
    assert losses[0] == pytest.approx(2.3, abs=0.3)  # ten digits, each as likely
    assert losses[-1] < 0.8 * losses[0]
    assert shares[-1] > shares[0] + 0.1


def test_where_to_look_is_learnt(tokenizer, names) -> None:
    losses, scores, model = learn(tokenizer, names, looking.looking_loss, 50)
    assert scores[0]["found"] < 0.05
    assert scores[-1]["found"] > 0.3
    assert scores[-1]["told"] > scores[0]["told"] + 0.4
    assert losses[24] < 0.7 * losses[0]
    assert losses[-1] < 0.45 * losses[0]
    assert not model.model.language_model.layers[3].self_attn._forward_pre_hooks
