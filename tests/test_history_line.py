"""The line with earlier decisions in the prompt: nano learns from them on recorded play, plays, and is evaluated."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest

from tests.line_support import type_line
from vlm_agent.chat import Recipe
from vlm_agent.dataset.histories import Histories
from vlm_agent.dataset.store import open_dataset
from vlm_agent.decoding.prompts import encode_prompt
from vlm_agent.evaluation.offline.answering import KeptAnswers
from vlm_agent.evaluation.offline.shortcuts import Condition, answer_changed
from vlm_agent.models.checkpoints import BUNDLED_FOLDER
from vlm_agent.models.loading import load_model
from vlm_agent.observations import Observer
from vlm_agent.policies import VlmPolicy
from vlm_agent.sessions.reader import SessionReader
from vlm_agent.training.config import TrainConfig
from vlm_agent.training.conversations import ConversationEncoder
from vlm_agent.training.windows import encode_window

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(
        not (BUNDLED_FOLDER / "model.safetensors").is_file(),
        reason="nano's weights are not in this checkout; `vlm-agent pretrain-nano` makes them",
    ),
]

SMALL_PROMPT = ["--recipe.image-max-tokens", 48, "--recipe.state-text-max-chars", 120]
SHORT = ["--train.max-steps", 3, "--train.accumulation", 1, "--train.evaluation.max-windows", 4]
TURNS = 4
HISTORIES = {
    "conversation": ["--recipe.conversation-turns", TURNS],
    "pictures": ["--recipe.history-frames", 3],
}


def succeed(*words: object) -> str:
    ended = type_line(*words)
    assert ended.code == 0, ended.err
    return ended.out


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("history")
    succeed("vlm-agent", "record-demo", "--out", folder / "sessions", "--num-sessions", 2, "--minutes", 0.2)
    succeed("label_segments.py", "--sessions", folder / "sessions", "--out", folder / "labeled", "--labeler", "game")
    return folder / "labeled"


@pytest.fixture(scope="module", params=list(HISTORIES))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def run(kind, dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / kind
    told = succeed(
        *("train_vision_agent.py", "--dataset", dataset, "--out", out, "--model", "nano"),
        *SHORT,
        *SMALL_PROMPT,
        *HISTORIES[kind],
    )
    assert "3 steps, loss" in told
    assert told.rstrip().endswith("layout conversation") == (kind == "conversation")
    return out


def read_recipe(run) -> Recipe:
    return Recipe.from_json(json.loads((run / "adapter" / "recipe.json").read_text())["recipe"])


def test_it_trains(kind, run):
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    assert all(math.isfinite(entry.get("loss", 0)) and entry.get("grad_norm", 1) > 0 for entry in metrics)
    assert any("eval_loss" in entry for entry in metrics)
    recipe = read_recipe(run)
    asked = (recipe.conversation_turns, recipe.history_frames)
    assert asked == ((TURNS, 1) if kind == "conversation" else (1, 3))


def test_it_plays_as_it_was_trained(kind, run, tmp_path):
    succeed(
        *("agent.py", "--goal", "craft sapphire rings", "--model", run, "--max-ticks", 6, "--seed", 7),
        *("--out", tmp_path),
    )
    decisions = [decision for _, decision in SessionReader(tmp_path / f"{kind}-7.mcap").decisions()]
    lengths = [decision["num_prompt_tokens"] for decision in decisions]
    assert len(lengths) == 6
    assert all(later > earlier + 40 for earlier, later in pairwise(lengths[:3]))
    if kind == "conversation":
        # Four turns are all it holds; then two go, and it grows again.
        assert lengths[3] > lengths[2] + 40
        assert lengths[4] < lengths[3] < lengths[4] + (lengths[5] - lengths[4]) * 2
    else:
        assert max(lengths[2:]) - min(lengths[2:]) < 150  # the texts differ, the pictures stay three


def test_what_is_played_starts_what_is_trained(kind, run, dataset):
    """Token for token: the prompt of a recorded window, seen as the policy sees it, is what training made of it."""
    store, recipe = open_dataset(dataset), read_recipe(run)
    loaded = load_model(run, device="cpu")
    policy, observer = VlmPolicy(loaded, recipe), Observer(store, recipe)
    windows = list(store.windows("validation"))
    histories = Histories(windows, recipe)
    talk = ConversationEncoder(loaded.encoder, recipe, TrainConfig())
    counts = set()
    for window in windows[:16]:
        seen = policy.see(observer.observe(window))
        played = encode_prompt(loaded, policy.ask(seen), seen.pictures, recipe).encoded
        earlier = histories.before(window)
        counts.add(len(earlier))
        if kind == "conversation":
            trained = talk.encode([*earlier, window], {window.window_id: 0}, 0.0).encoded
        else:
            trained = encode_window(loaded.encoder, window, recipe, earlier=earlier).encoded
        assert trained.input_ids[: played.num_prompt_tokens] == played.input_ids
        assert trained.image_grids == played.image_grids
    assert counts == set(range(TURNS if kind == "conversation" else 3))


def test_it_is_evaluated_on_recorded_windows(kind, run, dataset, tmp_path):
    asked = ["--dataset", dataset, "--model", run, "--out", tmp_path, "--max-windows", 6, "--readout-windows", 4]
    succeed("vlm-agent", "eval", *asked)
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["windows"] == 6
    # Worked examples would be taken for turns of the conversation.
    models = {"tuned", "base"} if kind == "conversation" else {"tuned", "base", "base_few"}
    trivial = {"nothing", "repeat", "marginal", "nearest"}
    assert {path.stem for path in (tmp_path / "predictions").glob("*.jsonl")} == models | trivial
    assert {path.stem for path in (tmp_path / "readouts").glob("*.jsonl")} == models


def test_it_is_audited_on_its_own_answers_too(run, dataset):
    store = open_dataset(dataset)
    policy = VlmPolicy.from_run(run, store.spec, device="cpu")
    windows = [window for window in store.windows("validation") if window.goal_level == "long"][:6]
    observer = Observer(store, policy.recipe)
    own = answer_changed(policy, observer, windows, Condition("own_history", "its own", "history"), KeptAnswers())
    answers = {one.window_id: one.answer for one in own}
    assert len(answers) == 6
    earlier = observer.observe(windows[2], answers).earlier
    assert [past.chunk for past in earlier] == [answers[window.window_id] for window in windows[:2]]
    blank = answer_changed(policy, observer, windows, Condition("blank_picture", "blank", "picture"), KeptAnswers())
    assert len(blank) == 6


def test_another_layout_is_refused(kind, run, dataset, tmp_path):
    layout = "shared" if kind == "conversation" else "conversation"
    ended = type_line(
        *("train_vision_agent.py", "--dataset", dataset, "--out", tmp_path / "next", "--model", run),
        *("--train.layout", layout),
    )
    told = {"conversation": "in conversations of up to 4 turns", "pictures": "alone"}[kind]
    assert f"--train.layout {layout}: windows are shown {told}" in ended.error
    assert not (tmp_path / "next").exists()
