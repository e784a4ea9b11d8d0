"""The doctor on a real X server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from x_server import ListeningWindow

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.doctor.checks import check_keys
from vlm_agent.doctor.command import DoctorConfig, run
from vlm_agent.errors import ConfigError


def test_a_window_is_drawn_with_where_clicks_would_land(
    x_display: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ListeningWindow(x_display, title="A game", x=120, y=80, width=400, height=300):
        run(DoctorConfig(window="A game", out=tmp_path / "aim.png", as_json=True))
    value = json.loads(capsys.readouterr().out)
    found = {check["name"]: check for check in value["checks"]}
    assert {found[name]["state"] for name in ("screen", "devices", "screen pictures", "aim")} == {"ok"}
    assert [aim["landed"] for aim in value["aims"]] == [[120, 80], [519, 80], [120, 379], [519, 379], [319, 229]]
    assert {aim["distance_px"] for aim in value["aims"]} == {0.0}
    pixels = np.asarray(Image.open(tmp_path / "aim.png"))
    assert pixels.shape == (300, 400, 3)
    assert tuple(pixels[150, 60]) == (0x33, 0x66, 0x99)


def test_a_window_that_is_not_there_is_one_line(x_display: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names no window; there are: none"):
        run(DoctorConfig(window="A game", out=tmp_path / "aim.png"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("keys", "state", "says"),
    [
        (("a", "shift"), "ok", "all 5 keys and buttons"),
        (("a", "clear"), "warning", "key clear can't be pressed here"),
        (("clear",), "failed", "this desktop has none of it"),
    ],
)
def test_keys_of_a_model_that_this_desktop_does_not_have_are_named(
    x_display: str, keys: tuple[str, ...], state: str, says: str
) -> None:
    pointer: Literal["none", "absolute"] = "none" if state == "failed" else "absolute"
    check = check_keys(ActionSpec(64, 48, keys=keys, pointer=pointer))
    assert (check.state, says in check.found) == (state, True)
