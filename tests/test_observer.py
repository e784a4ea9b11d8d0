"""Recorded windows as they would be seen in play."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk, Click, Key
from vlm_agent.chat import make_recipe
from vlm_agent.dataset.windows import Window
from vlm_agent.observations import Observer

SPEC = ActionSpec(160, 96, keys=("a",))
RECIPE = replace(make_recipe(SPEC, image_width_px=64, image_height_px=32), history_frames=3)


def make_window(tick: int, split: str = "validation") -> Window:
    return Window(
        session="s",
        clip=0,
        t_ns=tick * 600_000_000 + 1_999_999,
        split=split,
        goal="x",
        goal_level="long",
        goal_source="human",
        goal_confidence=1.0,
        frame_id=f"{split}-{tick}",
        frame_width_px=160,
        frame_height_px=96,
        target=ActionChunk((Click(100, tick, 6, "left"),)),
        recent=((300, Key(0, "a")),),
        state={"tick": tick},
    )


class Store:
    """Two splits; in one of them the windows before are others'."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.all = {
            "validation": [make_window(tick) for tick in range(5)],
            "train": [make_window(tick, "train") for tick in (1, 4)],
        }

    def windows(self, split: str) -> list[Window]:
        return self.all[split]

    def frame(self, window: Window) -> np.ndarray:
        self.read.append(window.frame_id)
        return np.full((96, 160, 3), window.t_ns // 600_000_000, np.uint8)


def test_a_window_is_seen_with_its_moment_its_state_and_what_was_done():
    now = Observer(Store()).observe(make_window(4))
    assert (now.t_ms, now.goal, now.game_state, int(now.frame[0, 0, 0])) == (2401, "x", {"tick": 4}, 4)
    assert [(past.age_ms, past.action) for past in now.recent] == [(300, Key(0, "a"))]
    assert now.earlier == ()


def test_earlier_decisions_are_the_players_in_the_same_split():
    store = Store()
    observer = Observer(store, RECIPE)
    now = observer.observe(store.all["validation"][4])
    assert [(int(past.frame[0, 0, 0]), past.game_state["tick"]) for past in now.earlier] == [(2, 2), (3, 3)]
    assert [past.chunk.actions[0].x for past in now.earlier] == [2, 3]
    assert observer.observe(store.all["train"][1]).earlier == ()


def test_what_was_answered_stands_in_place_of_what_the_player_did():
    store = Store()
    windows = store.all["validation"]
    said = {windows[3].window_id: ActionChunk(), windows[2].window_id: None}
    now = Observer(store, RECIPE).observe(windows[4], said)
    assert [past.chunk for past in now.earlier] == [None, ActionChunk()]


def test_neighbouring_windows_read_each_picture_once():
    store = Store()
    observer = Observer(store, RECIPE)
    for window in store.all["validation"]:
        observer.observe(window)
    assert store.read == [f"validation-{tick}" for tick in range(5)]
    assert observer._frames.keys() == {f"validation-{tick}" for tick in (2, 3, 4)}
