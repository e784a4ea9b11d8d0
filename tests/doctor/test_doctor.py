"""What the doctor finds, and where it says that a click would land."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vlm_agent.actions.placement import Rect
from vlm_agent.actions.spec import ActionSpec
from vlm_agent.actions.types import Action, ActionChunk, Click, Move
from vlm_agent.chat import make_recipe
from vlm_agent.dataset.windows import Window
from vlm_agent.doctor import checks
from vlm_agent.doctor.aim import Target, aim_at, draw_aims, list_corners, make_target, take_targets
from vlm_agent.doctor.checks import Check, State
from vlm_agent.doctor.command import DoctorConfig, run
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.evaluation.marks import DONE, SAID
from vlm_agent.models.checkpoints import BUNDLED_FOLDER


@pytest.fixture
def no_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "XDG_SESSION_TYPE"):
        monkeypatch.delenv(name, raising=False)


def look(config: DoctorConfig, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, dict[str, str]], list[dict]]:
    """Run the doctor; return its findings by name, and its aims."""
    run(config)
    value = json.loads(capsys.readouterr().out)
    return {check["name"]: check for check in value["checks"]}, value["aims"]


def test_a_machine_without_a_screen_is_told_what_it_can_do(
    no_screen: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, aims = look(DoctorConfig(out=tmp_path / "aim.png", as_json=True), capsys)
    assert found["screen"]["state"] == "warning"
    assert "DISPLAY" in found["screen"]["found"]
    assert found["model base"]["state"] == found["video encoder"]["state"] == found["libraries"]["state"] == "ok"
    assert aims == []
    assert not (tmp_path / "aim.png").exists()


def test_a_model_that_was_cut_off_ends_in_exit_code_1(
    no_screen: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(BUNDLED_FOLDER, tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(SystemExit) as ended:
        run(DoctorConfig(model=str(folder), out=tmp_path / "aim.png", as_json=True))
    assert ended.value.code == 1
    found = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert found[f"model {folder}"]["state"] == "failed"
    assert "not a whole safetensors file" in found[f"model {folder}"]["found"]


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_missing_file_of_a_model_is_named(missing: str, tmp_path: Path) -> None:
    folder = shutil.copytree(BUNDLED_FOLDER, tmp_path / "model")
    (folder / missing).unlink()
    check = checks.check_model(str(folder))
    assert check.state is State.FAILED
    assert missing.split(".")[-1] in check.found


def test_libraries_out_of_range_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.check_libraries().state is State.OK
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "4.0" if name == "transformers" else version(name))
    check = checks.check_libraries()
    assert check.state is State.FAILED
    assert "transformers is 4.0, expected" in check.found
    assert "constraints.txt" in check.advice


def test_little_room_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "GB free" in checks.check_disk(tmp_path / "not" / "yet").found
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12, 10**9))
    assert checks.check_disk(tmp_path).state is State.WARNING


def test_corners_and_middle_are_hit_to_the_pixel() -> None:
    for rect in (Rect(0, 0, 765, 503), Rect(217, 91, 1000, 700)):
        for target in list_corners(rect):
            aim = aim_at(target, rect)
            assert aim.landed == (rect.x + target.x_px, rect.y + target.y_px)
            assert aim.distance_px == 0


def test_a_larger_window_takes_its_targets_along() -> None:
    (target, *_) = list_corners(Rect(0, 0, 100, 50))[4:]
    aim = aim_at(target, Rect(300, 200, 400, 200))
    assert aim.meant_px == (pytest.approx(197.5), pytest.approx(97.5))
    assert aim.landed == (300 + 198, 200 + 98)
    assert aim.distance_px < 1


def test_the_picture_shows_a_ring_where_it_was_meant_and_a_cross_where_it_lands(tmp_path: Path) -> None:
    rect = Rect(50, 60, 200, 150)
    aims = [aim_at(list_corners(rect)[4], rect)]
    draw_aims(aims, np.full((150, 200, 3), 90, np.uint8), tmp_path / "aim.png")
    pixels = np.asarray(Image.open(tmp_path / "aim.png"))
    assert pixels.shape == (150, 200, 3)
    x, y = aims[0].landed[0] - rect.x, aims[0].landed[1] - rect.y
    assert tuple(pixels[y, x]) == SAID
    assert tuple(pixels[y + 11, x + 11]) == DONE
    assert [path.name for path in tmp_path.iterdir()] == ["aim.png"]


def make_window(*actions: Action) -> Window:
    return Window(
        session="s", clip=0, t_ns=0, split="validation", goal="open the bank", goal_level="short", goal_source="game",
        goal_confidence=1.0, frame_id="f", frame_width_px=765, frame_height_px=503, target=ActionChunk(actions),
    )  # fmt: skip


def test_windows_without_a_click_give_no_target() -> None:
    clicked = make_window(Move(10, 5, 5), Click(20, 30, 40, "left"))
    still = make_window()
    assert take_targets([still, clicked, still], 3) == [clicked]
    target = make_target(clicked, np.zeros((503, 765, 3), np.uint8))
    assert (target.x_px, target.y_px) == (30, 40)
    with pytest.raises(DataError, match="none of 2 windows holds a click"):
        take_targets([still, still], 1)


@pytest.mark.parametrize(("num_windows", "taken"), [(3, [0, 1, 2]), (5, [0, 1, 3]), (10, [0, 3, 6])])
def test_targets_are_spread_over_all_windows(num_windows: int, taken: list[int]) -> None:
    windows = [make_window(Click(0, number, 40, "left")) for number in range(num_windows)]
    assert [window.target.actions[0].x for window in take_targets(windows, 3)] == taken


def test_a_target_is_in_the_windows_own_frame() -> None:
    target = make_target(make_window(Click(0, 30, 40, "left")), np.zeros((503, 765, 3), np.uint8))
    assert (target.frame_width_px, target.frame_height_px) == (765, 503)


def test_a_target_on_a_screen_of_another_scale_and_shape() -> None:
    """The picture fills the height; beside it are bars. Pointer events are of half as many units."""
    target = Target(50, 20, 100, 50, "a button")
    aim = aim_at(target, Rect(40, 60, 200, 200), scale=2.0)
    assert aim.meant_px == (pytest.approx(101.5), pytest.approx(81.5))
    assert aim.landed_px == (pytest.approx(101, abs=2), pytest.approx(81, abs=2))
    assert aim.landed == ((40 + aim.landed_px[0]) / 2, (60 + aim.landed_px[1]) / 2)
    assert replace(aim, meant_px=(0.0, 0.0), landed_px=(3.0, 4.0)).distance_px == 5.0


def test_widths_and_heights_are_scaled_each_by_its_own() -> None:
    aim = aim_at(Target(50, 40, 100, 100, "a button"), Rect(0, 0, 200, 100))
    assert aim.meant_px == (pytest.approx(100.5), pytest.approx(30.5))


def test_corners_are_the_last_pixels_of_a_window() -> None:
    corners = {target.label: (target.x_px, target.y_px) for target in list_corners(Rect(7, 9, 100, 50))}
    assert corners == {
        "top left": (0, 0),
        "top right": (99, 0),
        "bottom left": (0, 49),
        "bottom right": (99, 49),
        "middle": (49, 24),
    }


def test_a_recipes_coordinates_are_what_a_click_goes_through() -> None:
    target = Target(333, 222, 765, 503, "a button")
    coarse = make_recipe(ActionSpec(765, 503, keys=()), image_width_px=64, image_height_px=32, coordinates="pixels")
    aims = [aim_at(target, Rect(0, 0, 765, 503), recipe) for recipe in (None, coarse)]
    assert aims[0].distance_px < 1
    assert aims[1].distance_px > 2


def test_room_is_what_is_free_in_gigabytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - 10**9, 10**9))
    assert (checks.check_disk(tmp_path).state, checks.check_disk(tmp_path).found[:6]) == (State.WARNING, "1.0 GB")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, 5 * 10**9))
    assert checks.check_disk(tmp_path).state is State.OK


class Screen:
    """Stands for the screen's grabber."""

    def __init__(self) -> None:
        self.picture = np.zeros((4, 4, 3), np.uint8)

    def __call__(self) -> Screen:
        return self

    def grab(self, rect: Rect) -> np.ndarray:
        return self.picture

    def close(self) -> None:
        pass


def test_pictures_of_the_screen_are_timed_in_milliseconds_and_black_ones_told(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr("vlm_agent.desktop.screen.ScreenGrabber", screen)
    desktop = SimpleNamespace(screen=Rect(0, 0, 4, 4), list_missing=list)

    def look(took_s: float) -> list[Check]:
        clock = iter([10.0, 10.0 + took_s])
        monkeypatch.setattr(checks, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
        return checks.check_screen(desktop)

    assert [check.state for check in look(0.001)] == [State.OK, State.OK, State.WARNING]
    assert "all black" in look(0.001)[2].found
    screen.picture[1, 1, 1] = 1
    assert look(0.04)[2].state is State.OK
    assert look(0.04)[2].found == "the whole screen in 40.0 ms"
    assert look(0.06)[2].state is State.WARNING
    desktop.list_missing = lambda: ["XTEST"]
    assert look(0.04)[1].state is State.FAILED
    assert "XTEST" in look(0.04)[1].found


def test_what_can_not_be_asked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--samples"):
        DoctorConfig(samples=0)
    with pytest.raises(ConfigError, match="--dataset"):
        DoctorConfig(dataset=tmp_path / "none")
    with pytest.raises(ConfigError, match="--out"):
        DoctorConfig(out=tmp_path / "no" / "aim.png")


def test_findings_are_plain_data() -> None:
    assert Check("a", State.OK, "b").to_json() == {"name": "a", "state": "ok", "found": "b", "advice": ""}
