from __future__ import annotations

import json
from random import Random

import pytest

from vlm_agent.errors import DataError
from vlm_agent.games.ringcraft.config import RingcraftConfig
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.games.ringcraft.scene import is_playable, make_scene
from vlm_agent.games.ringcraft.snapshots import decode_plain, encode_plain, hash_plain
from vlm_agent.games.ringcraft.state import State


def test_any_state_survives_a_trip_through_json():
    rng = Random(1)
    for _ in range(30):
        state = random_scene(rng).state
        again = decode_plain(State, json.loads(json.dumps(encode_plain(state))))
        assert again == state
        assert hash_plain(again) == hash_plain(state)


def test_decoding_refuses_what_is_no_state():
    plain = encode_plain(Ringcraft(0).state)
    broken = [
        {**plain, "surprise": 1},
        {**plain, "mode": "shop"},
        {**plain, "tick": "3"},
        {**plain, "player": None},
        {key: value for key, value in plain.items() if key != "camera"},
    ]
    for value in broken:
        with pytest.raises(DataError):
            decode_plain(State, value)


def test_seeds_differ_in_everything_that_could_be_memorised():
    scenes = [make_scene(seed, RingcraftConfig()) for seed in range(20)]
    draws = {
        "camera": {(scene.camera.yaw, scene.camera.pitch, scene.camera.zoom) for scene in scenes},
        "bank order": {tuple(stack.item for stack in scene.bank) for scene in scenes},
        "bank place": {(scene.objects[0].x, scene.objects[0].y) for scene in scenes},
        "furnace place": {(t.x, t.y) for scene in scenes for t in scene.objects if t.kind == "furnace"},
        "start": {(scene.player.x, scene.player.y) for scene in scenes},
        "brightness": {scene.skin.brightness for scene in scenes},
        "experience": {scene.crafting_xp for scene in scenes},
    }
    for name, values in draws.items():
        assert len(values) > 15, name
    assert {scene.bank_quantity == "X" for scene in scenes} == {True, False}
    assert len({scene.skin.panel for scene in scenes}) == 4


def test_every_scene_can_be_played():
    for seed in range(100):
        scene = make_scene(seed, RingcraftConfig())
        held = {stack.item for stack in scene.inventory if stack} | {stack.item for stack in scene.bank}
        assert is_playable(scene)
        assert {"gold_bar", "sapphire", "ring_mould"} <= held
