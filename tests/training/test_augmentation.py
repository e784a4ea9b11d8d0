"""Changed pictures: what is cut off moves everything that is said, and a run goes on with the pictures it had."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.training.killed_run import CONFIG
from tests.training.synthetic import SPEC, load_with_lora, write_dataset
from tests.training.test_loop import StopAt, _measured
from vlm_agent.actions import ActionChunk, Click, Key
from vlm_agent.actions.space import CoordinateSpace
from vlm_agent.dataset.state_text import crop_state, render_state
from vlm_agent.dataset.store import open_dataset
from vlm_agent.errors import ConfigError
from vlm_agent.games.ringcraft.random_scenes import random_scene
from vlm_agent.models.adapters import WEIGHTS_FILE
from vlm_agent.models.loading import load_model
from vlm_agent.models.tiny import write_tiny_checkpoint
from vlm_agent.training import augmentation as augmentation_module
from vlm_agent.training.adapters import train_adapter
from vlm_agent.training.augmentation import (
    Augmentation,
    ChangedFrames,
    ChangingRows,
    Edges,
    PictureChange,
    change_colours,
    crop_window,
    is_changed,
    name_change,
)
from vlm_agent.training.config import EvaluationSettings, RecipeSettings, TrainConfig
from vlm_agent.training.features import FeatureCache
from vlm_agent.training.layouts import build_rows
from vlm_agent.training.passes import find_losses
from vlm_agent.training.planning.config import PlanConfig
from vlm_agent.training.planning.drafting import _count_cache
from vlm_agent.training.windows import FrameLoader, WindowEncoder, choose_recipe, encode_windows

pytestmark = pytest.mark.model

STATE = {
    "mouse": {"canvasX": 20, "canvasY": 30},
    "closestGameObjects": [
        {"name": "Tree", "canvasX": 2, "canvasY": 30, "distance": 1},
        {"name": "Rock", "canvasX": 60, "canvasY": 40, "distance": 2},
    ],
}
CROPPED = TrainConfig(crop=0.2, jitter=("brightness=0.3", "saturation=0.5"), batch_windows=2)
EVERYTHING = {
    "soft_points": 10.0,
    "soft_dt_ms": 30.0,
    "pinball_weight": 0.5,
    "gaussian_weight": 0.2,
    "window_weights": ("idle=0.5",),
    "curriculum": ("moves=0.3",),
    "weigh": "windows",
}
"""All else that training can be asked for, to be combined."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_checkpoint(tmp_path_factory.mktemp("augmentation") / "tiny")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("augmentation") / "dataset", num_ticks=9, state=STATE)


@pytest.fixture(scope="module")
def windows(dataset):
    return list(open_dataset(dataset).windows("train"))


def test_a_window_moves_with_its_frame(windows):
    window = next(one for one in windows if one.target.actions)
    [click, key] = window.target.actions
    cropped = crop_window(window, Edges(4, 3, 6, 5))
    assert (cropped.frame_width_px, cropped.frame_height_px) == (96 - 10, 64 - 8)
    assert cropped.target == ActionChunk((replace(click, x=click.x - 4, y=click.y - 3), key))
    assert cropped.recent == ((200, Click(0, -1, 1, "left")),)
    assert cropped.state == {
        "mouse": {"canvasX": 16, "canvasY": 27},
        "closestGameObjects": [
            {"name": "Tree", "distance": 1},  # no longer seen: it has no place
            {"name": "Rock", "canvasX": 56, "canvasY": 37, "distance": 2},
        ],
    }
    assert crop_window(window, Edges(0, 0, 0, 0)) == window
    assert crop_window(window, Edges(4, 3, 6, 5), has_places=False).target == window.target
    assert isinstance(key, Key)


NEAR = re.compile(r"(?m)^(near|on the minimap): .*$")
"""Of things in the world only the nearest are named, by the middle of what is seen of them: both may be cut."""
PLACE = re.compile(r"([a-z ]+) @(\d+),(\d+)")


def is_within(box, edges):
    """Whether nothing of a rectangle of the whole frame is cut off."""
    is_across = edges.left <= box["x"] and box["x"] + box["width"] <= 765 - edges.right
    return is_across and edges.top <= box["y"] and box["y"] + box["height"] <= 503 - edges.bottom


@settings(deadline=None, max_examples=30)
@example(seed=433, cut=(14, 0, 0, 0))
@given(seed=st.integers(0, 10_000), cut=st.tuples(*[st.integers(0, 25)] * 4))
def test_places_in_a_games_own_state_move_and_what_is_not_seen_has_none(seed, cut):
    left, top, right, bottom = cut
    state = random_scene(Random(f"crop {seed}")).export()
    before = json.dumps(state)
    width, height = 765 - left - right, 503 - top - bottom
    whole = CoordinateSpace(765, 503, 765, 503)
    text = render_state(state, whole, 5000)
    cropped = crop_state(state, (left, top, width, height))
    moved = render_state(cropped, CoordinateSpace(width, height, width, height), 5000)
    assert json.dumps(state) == before
    found = [(name, int(x), int(y)) for name, x, y in PLACE.findall(moved)]

    def move(text):
        return [(name, int(x) - left, int(y) - top) for name, x, y in PLACE.findall(text)]

    def is_seen(place):
        return 0 < place[1] < width - 1 and 0 < place[2] < height - 1

    seen = list(filter(is_seen, move(NEAR.sub("", text))))
    # A half pixel of a centre may round to either side.
    for name, x, y in seen:
        assert any(name == other and abs(x - a) <= 1 and abs(y - b) <= 1 for other, a, b in found)
    for thing, cut_thing in zip(state["closestGameObjects"], cropped["closestGameObjects"], strict=True):
        box = thing.get("clickbox")
        if box is not None and is_within(box, Edges(left, top, right, bottom)):
            at = thing["canvasX"] - left, thing["canvasY"] - top
            assert (cut_thing["canvasX"], cut_thing["canvasY"]) == at
    assert all(0 <= x < width and 0 <= y < height for _, x, y in found)
    if not any(cut):
        assert moved == text


def test_how_a_picture_looks_hangs_on_seed_epoch_and_picture_alone(windows):
    one, same = Augmentation(windows, CROPPED, SPEC), Augmentation(windows[::-1], CROPPED, SPEC)
    other = Augmentation(windows, replace(CROPPED, seed=1), SPEC)
    keys = [name_change(window.frame_id, epoch) for window in windows for epoch in range(3)]
    assert [one.find_change(key) for key in keys] == [same.find_change(key) for key in keys]
    assert len({one.find_change(key) for key in keys}) == len(set(keys)) == 3 * len({w.frame_id for w in windows})
    assert all(one.find_change(key) != other.find_change(key) for key in keys)
    brighter, stronger = zip(*(one.find_change(key).factors for key in keys), strict=True)
    for name, share, factors in (("brightness", 0.3, brighter), ("saturation", 0.5, stronger)):
        assert {found for found, _ in factors} == {name}
        assert all(1 - share <= factor <= 1 + share for _, factor in factors)
        assert min(factor for _, factor in factors) < 1 < max(factor for _, factor in factors)
    assert one.find_change(windows[0].frame_id) is None
    assert [is_changed(keys[0]), is_changed(windows[0].frame_id)] == [True, False]


def test_nothing_is_cut_off_where_something_is_done(windows):
    augmentation = Augmentation(windows, CROPPED, SPEC)
    cuts = []
    for window in windows:
        for epoch in range(40):
            changed = augmentation.change_window(window, epoch)
            points = [one for one in changed.target.actions if not isinstance(one, Key)]
            points += [one for _, one in changed.recent]
            assert all(0 <= p.x < changed.frame_width_px and 0 <= p.y < changed.frame_height_px for p in points)
            cuts.append((96 - changed.frame_width_px, 64 - changed.frame_height_px))
    widths, heights = zip(*cuts, strict=True)
    # The history's click lies 3 columns from the left and 4 rows from the top: most is a tenth on either side.
    assert max(widths) == 3 + 9
    assert max(heights) == 4 + 6
    assert min(widths) == min(heights) == 0


def test_a_click_on_the_last_pixel_stays_in_the_picture(windows):
    corner = replace(windows[0], target=ActionChunk((Click(10, 95, 63),)), recent=())
    augmentation = Augmentation([corner], CROPPED, SPEC)
    cuts = [augmentation.find_change(name_change(corner.frame_id, epoch)).cut for epoch in range(40)]
    assert {(cut.right, cut.bottom) for cut in cuts} == {(0, 0)}
    assert max(cut.left for cut in cuts) == 9
    assert max(cut.top for cut in cuts) == 6


def test_a_picture_of_several_windows_keeps_what_each_of_them_needs(windows):
    left, right = (replace(windows[0], target=ActionChunk((Click(10, x, 32),)), recent=()) for x in (2, 93))
    for shown in ([left, right], [right, left]):
        augmentation = Augmentation(shown, CROPPED, SPEC)
        cuts = [augmentation.find_change(name_change(left.frame_id, epoch)).cut for epoch in range(40)]
        assert max(cut.left for cut in cuts) == max(cut.right for cut in cuts) == 2


@pytest.mark.parametrize(
    ("cut", "left"), [(Edges(3, 0, 0, 0), "right"), (Edges(0, 0, 3, 0), "left"), (Edges(0, 2, 0, 0), "lower")]
)
def test_the_edges_that_are_cut_off_are_not_seen(monkeypatch, cut, left):
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[:, 3:] += 100
    picture[2:] += 50
    monkeypatch.setattr(augmentation_module, "read_jpeg", lambda path: picture)
    change = SimpleNamespace(find_change=lambda key: PictureChange((), cut))
    shown = ChangedFrames(Path(), SimpleNamespace(image_width_px=6, image_height_px=4), change)("frame")
    seen = {"right": [100, 150], "left": [0, 50], "lower": [50, 150]}[left]
    assert [int(shown.min()), int(shown.max())] == pytest.approx(seen, abs=12)


def test_colours_change_by_hand():
    grey, red = np.full((2, 2, 3), 100, np.uint8), np.array([[[200, 100, 50]]], np.uint8)
    assert (change_colours(grey, (("brightness", 1.2),)) == 120).all()
    assert (change_colours(grey, (("contrast", 0.5), ("saturation", 1.5))) == 100).all()
    dull = change_colours(red, (("saturation", 0.0),))
    assert len(set(dull.ravel().tolist())) == 1
    assert change_colours(red, ()) is red
    assert change_colours(red, (("saturation", 1.0),)).tolist() == red.tolist()


def test_a_picture_is_read_as_it_looks(dataset, windows, model):
    loaded = load_with_lora(model, CONFIG)
    recipe = choose_recipe(loaded, open_dataset(dataset), RecipeSettings())
    augmentation = Augmentation(windows, replace(CROPPED, jitter=("brightness=0.3",)), SPEC)
    load, plain = ChangedFrames(dataset, recipe, augmentation), FrameLoader(dataset, recipe)
    key = windows[0].frame_id
    assert (load(key) == plain(key)).all()
    [bright] = [frame for frame in {w.frame_id for w in windows} if 60 < plain(frame).mean() < 180][:1]
    for epoch in range(3):
        [(name, factor)] = augmentation.find_change(name_change(bright, epoch)).factors
        assert name == "brightness"
        assert load(name_change(bright, epoch)).shape == plain(bright).shape
        assert load(name_change(bright, epoch)).mean() == pytest.approx(plain(bright).mean() * factor, abs=3)


@pytest.mark.parametrize("layout", ["rows", "packed", "shared"])
def test_rows_are_written_anew_over_what_is_left(dataset, windows, model, layout):
    loaded = load_with_lora(model, CONFIG)
    recipe = choose_recipe(loaded, open_dataset(dataset), RecipeSettings())
    augmentation = Augmentation(windows, CROPPED, SPEC)
    rows = build_rows(encode_windows(loaded.encoder, windows, recipe, config=CROPPED), loaded.encoder, layout, CROPPED)
    encoder = WindowEncoder(loaded.encoder, recipe, config=CROPPED)
    look = ChangingRows(windows, augmentation, encoder, loaded.encoder)
    texts = set()
    for row in rows:
        changed = look(row, 2)
        assert sorted(note.source for note in changed.notes) == sorted(note.source for note in row.notes)
        assert changed.image_keys == tuple(name_change(key, 2) for key in row.image_keys)
        for single in changed.split():
            window = windows[single.notes[0].source]
            want = encoder.encode(augmentation.change_window(window, 2)).encoded
            assert single.ids.tolist() == list(want.input_ids)
            texts.add(loaded.encoder.decode_text(want.input_ids))
            texts.add(loaded.encoder.decode_text(encoder.encode(window).encoded.input_ids))
    assert len(texts) > len(windows)
    colours = ChangingRows(windows, Augmentation(windows, replace(CROPPED, crop=None), SPEC), encoder, loaded.encoder)
    assert [colours(row, 1).ids is row.ids for row in rows] == [True] * len(rows)
    features = FeatureCache(loaded, ChangedFrames(dataset, recipe, augmentation), 1 << 24, is_passing=is_changed)
    loaded.model.eval()
    find_losses(loaded, [look(rows[0], 0)], features)
    assert (features.num_computed, features.num_bytes) == (1, 0)
    find_losses(loaded, rows[:1], features)
    assert features.num_bytes > 0


def test_a_run_with_changing_pictures_that_was_stopped_goes_on_with_the_same_bits(dataset, model, tmp_path):
    evaluation = EvaluationSettings(every_steps=3)
    config = replace(CROPPED, **EVERYTHING, evaluation=evaluation, accumulation=2, save_every_steps=2)

    def run(out, watcher=None):
        return train_adapter(dataset, load_model(model, device="cpu"), config, out, watcher=watcher)

    whole = run(tmp_path / "whole")
    for step in (3, 4):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "parts", StopAt(step))
    again = run(tmp_path / "parts")
    assert _measured(tmp_path / "parts") == _measured(tmp_path / "whole")
    assert (again.adapter / WEIGHTS_FILE).read_bytes() == (whole.adapter / WEIGHTS_FILE).read_bytes()
    record = json.loads((tmp_path / "whole" / "run.json").read_text())["config"]
    assert all(
        record[name] == (list(value) if isinstance(value, tuple) else value) for name, value in EVERYTHING.items()
    )
    plain = replace(config, crop=None, jitter=None)
    other = train_adapter(dataset, load_model(model, device="cpu"), plain, tmp_path / "plain")
    assert other.num_steps == whole.num_steps
    assert (other.adapter / WEIGHTS_FILE).read_bytes() != (whole.adapter / WEIGHTS_FILE).read_bytes()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"crop": 0.5}, r"--train.crop must be in \[0, 0.2\], got 0.5"),
        ({"jitter": ("hue=0.1",)}, "--train.jitter: expected brightness=2"),
        ({"jitter": ("contrast=1.5",)}, "--train.jitter must be below 1 for contrast"),
    ],
)
def test_settings_that_cannot_be_meant(changes, told):
    with pytest.raises(ConfigError, match=told):
        TrainConfig(**changes)


def test_a_plan_knows_that_changed_pictures_are_seen_every_time():
    plain, changed = (PlanConfig(dataset=Path("d"), train=train) for train in (TrainConfig(), CROPPED))
    assert _count_cache(plain, 1024) == 1_024_000_000
    assert _count_cache(changed, 1024) == 0
    assert TrainConfig(crop=0.0).changes_pictures is False
