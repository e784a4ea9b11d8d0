"""Ringcraft as a Gymnasium environment: one step is one world tick of 600 ms, an action is a chunk in frame pixels.

Everything the agent does goes through device events, as a person's play does. Observations are the frame; the game
state that a recorder would write is in `info["game_state"]`.
"""

from __future__ import annotations

from random import Random
from typing import Any, ClassVar

import gymnasium
import numpy as np
import numpy.typing as npt

from vlm_agent.actions.playback import expand
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import ActionChunk
from vlm_agent.actions.validation import check_chunk
from vlm_agent.errors import ConfigError
from vlm_agent.games.ringcraft.chunk_space import ChunkSpace
from vlm_agent.games.ringcraft.config import RingcraftConfig
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.disturbances import DISTURBANCES, disturb
from vlm_agent.games.ringcraft.drawing import Renderer
from vlm_agent.games.ringcraft.goal_families import GameGoal
from vlm_agent.games.ringcraft.goals import LONG_GOAL, find_goal
from vlm_agent.games.ringcraft.layout import LAYOUT
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.games.ringcraft.snapshots import decode_plain, encode_plain
from vlm_agent.games.ringcraft.state import TICK_MS, State
from vlm_agent.games.ringcraft.window import GameWindow

Frame = npt.NDArray[np.uint8]
Info = dict[str, Any]

KEYS = ("space", "escape", "left", "right", "up", "down")
"""Keys the game listens to."""
ACTION_SPEC = ActionSpec(extent_width=LAYOUT.frame.width, extent_height=LAYOUT.frame.height, keys=KEYS)
"""What an agent may do, in frame pixels."""
_SCENE_TRIES = 3000


class RingcraftEnv(gymnasium.Env[Frame, ActionChunk]):
    """Play towards a goal, tick by tick.

    The reward of a short goal is 1 when it is reached, which ends the episode; that of the long goal is the number of
    rings made in the tick, and only `max_ticks` ends it.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array", "human"], "render_fps": 1000 / TICK_MS}

    def __init__(
        self,
        *,
        config: RingcraftConfig | None = None,
        goal: str = LONG_GOAL,
        max_ticks: int = 1000,
        render_mode: str | None = "rgb_array",
    ) -> None:
        """Take the settings of scenes, the goal of episodes that name none, and their greatest length.

        Raises:
            ConfigError: the goal or the render mode is unknown, or `max_ticks` is not positive.
        """
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ConfigError(f"render_mode: expected one of rgb_array, human; got {render_mode!r}")
        if max_ticks < 1:
            raise ConfigError(f"max_ticks must be at least 1, got {max_ticks}")
        self.render_mode = render_mode
        self.spec_actions = ACTION_SPEC
        self.disturbances = tuple(DISTURBANCES)
        self.observation_space = gymnasium.spaces.Box(0, 255, (LAYOUT.frame.height, LAYOUT.frame.width, 3), np.uint8)
        self.action_space = ChunkSpace(ACTION_SPEC)
        self._config = config or RingcraftConfig()
        self._default_goal = goal
        self._max_ticks = max_ticks
        self._renderer = Renderer()
        self._window: GameWindow | None = None
        self._goal = find_goal(goal)
        self.core = Ringcraft(0, self._config)
        self._start = decode_plain(State, encode_plain(self.core.state))

    @property
    def goal(self) -> str:
        """The goal of this episode."""
        return self._goal.text

    @property
    def game_goal(self) -> GameGoal:
        """The goal of this episode with its tests."""
        return self._goal

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frame, Info]:
        """Begin an episode.

        Args:
            seed: Seed of the scene; without one, the next of the environment's own generator.
            options: `goal`, the text of a goal or a paraphrase of it; `scene`, a snapshot to begin from instead of the
                seed's scene. For a short goal that makes no sense in the seed's scene, a random scene is drawn from the
                seed in which it does.

        Raises:
            ConfigError: the goal or an option is unknown, or no scene can be found for it.
            DataError: the scene is not a snapshot.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        self._goal = find_goal(options.pop("goal", self._default_goal))
        scene = options.pop("scene", None)
        if options:
            raise ConfigError(f"options: expected goal, scene; got {sorted(options)[0]!r}")
        scene_seed = seed if seed is not None else int(self.np_random.integers(2**31))
        if scene is not None:
            self.core.restore(scene)
        else:
            self.core = _make_game(scene_seed, self._goal, self._config)
        self._start = decode_plain(State, encode_plain(self.core.state))
        return self._observe(), self._info()

    def step(self, action: ActionChunk) -> tuple[Frame, float, bool, bool, Info]:
        """Play a chunk in frame pixels, and let one world tick pass.

        Raises:
            InvalidActionError: the chunk isn't allowed by `spec_actions`.
        """
        check_chunk(action, self.spec_actions)
        pointer = self.core.state.pointer
        events = expand(action, start_t_ns=self.core.now_ns, pointer=(pointer.x, pointer.y), horizon_ms=TICK_MS)
        rings = self.core.state.rings_made
        self.core.feed(events)
        self.core.advance(TICK_MS)
        state = self.core.state
        is_done = self._goal.is_done(self._start, state)
        reward = float(state.rings_made - rings) if self._goal.is_long else float(is_done)
        truncated = state.tick - self._start.tick >= self._max_ticks
        return self._observe(), reward, is_done and not self._goal.is_long, truncated, self._info()

    def disturb(self, kind: str, rng: Random) -> tuple[Frame, Info] | None:
        """Plant one of `disturbances`, and return frame and info after it; None where now is no moment for it.

        Raises:
            ConfigError: there is no such disturbance.
        """
        return (self._observe(), self._info()) if disturb(self.core.state, kind, rng) else None

    def render(self) -> Frame | None:  # type: ignore[override]
        """Return the frame (rgb_array), or show it in a window (human)."""
        frame = self._renderer.draw(self.core.state)
        if self.render_mode != "human":
            return frame
        if self._window is None:
            self._window = GameWindow()
        self._window.show(frame)
        return None

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()
            self._window = None

    def snapshot(self) -> Info:
        """Return the episode at this moment as JSON values."""
        return {"core": self.core.snapshot(), "start": encode_plain(self._start), "goal": self.goal}

    def restore(self, snapshot: Info) -> Frame:
        """Go back to a snapshot and return its frame; raises DataError if it is none."""
        self.core.restore(snapshot["core"])
        self._start = decode_plain(State, snapshot["start"])
        self._goal = find_goal(snapshot["goal"])
        return self._observe()

    def _observe(self) -> Frame:
        frame = self._renderer.draw(self.core.state)
        if self.render_mode == "human":
            if self._window is None:
                self._window = GameWindow()
            self._window.show(frame)
        return frame

    def _info(self) -> Info:
        state = self.core.state
        return {
            "game_state": self.core.export(),
            "goal": self.goal,
            "num_presses": state.num_presses - self._start.num_presses,
            "num_wasted_presses": state.num_wasted_presses - self._start.num_wasted_presses,
            "is_success": self._goal.is_done(self._start, state),
            "score": state.rings_made - self._start.rings_made,
            "seed": state.seed,
            "t_ns": self.core.now_ns,
        }


def _make_game(seed: int, goal: GameGoal, config: RingcraftConfig) -> Ringcraft:
    game = Ringcraft(seed, config)
    if goal.applicable(game.state):
        return game
    rng = Random(f"ringcraft {seed} {goal.text}")
    for _ in range(_SCENE_TRIES):
        game = random_scene(rng, config)
        if goal.applicable(game.state):
            return game
    raise ConfigError(f"goal {goal.text!r}: no scene found in which it can be asked for")
