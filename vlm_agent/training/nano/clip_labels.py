"""Naming what was done: contact sheets of played single-step goals, answered by the goal, asked as `labeling` asks."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from random import Random

import numpy as np
import torch

from labeling.checks import CheckConfig
from labeling.contact_sheet import SheetConfig, make_contact_sheet
from labeling.labelers import MAX_IMAGE_TOKENS, make_question
from vlm_agent.chat import load_prompt
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.goals import GameGoal
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.games.ringcraft.state import TICK_MS, State
from vlm_agent.models.encoding import ChatEncoder
from vlm_agent.models.images import resize_frame
from vlm_agent.models.nano_config import IMAGE_SETTINGS
from vlm_agent.training.nano import scenes
from vlm_agent.training.nano.tree import TreeBatch, batch_trees, grow_tree
from vlm_agent.training.nano.variety import show_evenly

TICKS_MAX = 25
"""Longest clip; a goal that takes longer is shown as far as it got."""
EVEN_SHARE = 0.5
"""Share of the clips that show rare things as often as common ones."""
_PART_MS = TICK_MS // 6


@dataclass(frozen=True)
class ClipBatch:
    """Contact sheets, each with the question for the player's goal and its answer."""

    sheets: torch.Tensor
    """(clips, height, width, 3) uint8."""
    tree: TreeBatch
    """The questions."""


def make_clips(seed: int, indices: Sequence[int], encoder: ChatEncoder) -> ClipBatch:
    """Return clips as a batch.

    Args:
        seed: of the clips.
        indices: which ones.
        encoder: nano's.
    """
    asked = make_question(load_prompt("label_clip"), SheetConfig().num_frames, CheckConfig())
    sheets, trees = [], []
    for index in indices:
        sheet, goal = make_clip(seed, index)
        height_px, width_px = sheet.shape[:2]
        encoded = encoder.encode_training(asked, goal, [(width_px, height_px)])
        trees.append(grow_tree([encoded], len(encoded.input_ids)))
        sheets.append(sheet)
    factor = IMAGE_SETTINGS.factor_px
    tree = batch_trees(trees, encoder.image_token_id, height_px // factor, width_px // factor)
    return ClipBatch(torch.from_numpy(np.stack(sheets)), tree)


def make_clip(seed: int, index: int) -> tuple[np.ndarray, str]:
    """Return clip `index` of a seed: its contact sheet as nano sees it, (height, width, 3) uint8 RGB, and its goal."""
    rng = Random(f"nano clip {seed} {index}")
    core = random_scene(rng)
    if rng.random() < EVEN_SHARE:
        show_evenly(core, rng)
    goal = next(scenes.possible_goals(core.state, rng))
    states = play(core, goal)
    config = SheetConfig()
    last = len(states) - 1
    shown = [last * number // (config.num_frames - 1) for number in range(config.num_frames)]
    frames = {number: scenes.draw_frame(states[number]) for number in set(shown)}
    times_s = [number * _PART_MS / 1000 for number in shown]
    sheet = make_contact_sheet([frames[number] for number in shown], times_s, config)
    size = IMAGE_SETTINGS.with_tokens(MAX_IMAGE_TOKENS).fit_size(sheet.shape[1], sheet.shape[0])
    return resize_frame(sheet, *size), goal.text


def play(core: Ringcraft, goal: GameGoal) -> list[State]:
    """Play a goal as a perfect player does, and return the states six times a tick, from the first to the last."""
    before = deepcopy(core.state)
    states = [before]
    for _ in range(TICKS_MAX):
        chunk = scenes.answer_goal(core, goal, before)
        if chunk.done:
            break
        scenes.feed_chunk(core, chunk)
        for _ in range(TICK_MS // _PART_MS):
            core.advance(_PART_MS)
            states.append(deepcopy(core.state))
    return states
