"""What the doctor looks at, one function a matter; each says what it found and what to do about it."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlm_agent.errors import ConfigError, ModelError, VlmAgentError

if TYPE_CHECKING:
    from vlm_agent.actions.spec import ActionSpec
    from vlm_agent.desktop.types import Desktop

LEAST_FREE_GB = 2.0
"""A session takes tens of megabytes a minute, a run of a large model some gigabytes."""
_SLOW_GRAB_MS = 50.0
"""Grabbing a frame for longer than this leaves too little of a 100 ms frame interval."""


class State(StrEnum):
    """How a matter stands."""

    OK = "ok"
    """As it should be."""
    WARNING = "warning"
    """Something can't be done here, or not well."""
    FAILED = "failed"
    """What the command was asked about won't work."""


@dataclass(frozen=True)
class Check:
    """One matter."""

    name: str
    """What was looked at."""
    state: State
    """How it stands."""
    found: str
    """What there is."""
    advice: str = ""
    """What to do, where there is something."""

    def to_json(self) -> dict[str, str]:
        """Return the plain-data form."""
        return {"name": self.name, "state": str(self.state), "found": self.found, "advice": self.advice}


def check_libraries() -> Check:
    """Hold the installed libraries against the ranges that the package asks for."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in importlib.metadata.requires("vlm-agent") or ()]
    except importlib.metadata.PackageNotFoundError:
        advice = "install the package: pip install -c constraints.txt -e ."
        return Check("libraries", State.WARNING, "vlm-agent is not installed, only found", advice)
    wrong = []
    num_looked_at = 0
    for requirement in wanted:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        num_looked_at += 1
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version}, expected {requirement.specifier}")
    if wrong:
        return Check("libraries", State.FAILED, "; ".join(wrong), "pip install -c constraints.txt -e .")
    return Check("libraries", State.OK, f"all {num_looked_at} in range, Python {platform.python_version()}")


def check_card() -> Check:
    """Look for a CUDA card."""
    from vlm_agent.models.cards import list_cards

    cards = list_cards()
    if cards:
        return Check("graphics card", State.OK, "; ".join(map(str, cards)))
    advice = "the bundled model runs on the processor; for Qwen3-VL-8B use a machine with a CUDA card"
    return Check("graphics card", State.WARNING, "no CUDA card", advice)


def check_model(name: str, recipe: Path | None = None) -> Check:
    """Look whether a model's files are there and whole, and can be used; an adapter from elsewhere as a recipe says."""
    from vlm_agent.models.checking import check_loadable

    label = f"model {name}"
    try:
        return Check(label, State.OK, check_loadable(name, recipe))
    except ModelError as error:
        return Check(label, State.FAILED, str(error), "name a run's folder, a checkpoint's folder, or base")


def check_encoder() -> Check:
    """Encode a frame as a recorder would."""
    from vlm_agent.sessions.video import PictureEncoder

    encoder = PictureEncoder(64, 48, 10.0)
    block = encoder.encode(np.zeros((48, 64, 3), np.uint8), 0, is_keyframe=True)
    return Check("video encoder", State.OK, f"libx264, {len(block.data)} bytes for a test frame")


def check_disk(folder: Path) -> Check:
    """Look how much room there is where things are written."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    found = f"{free_gb:.1f} GB free in {existing}"
    if free_gb < LEAST_FREE_GB:
        return Check("disk", State.WARNING, found, f"make room: {LEAST_FREE_GB:g} GB at least")
    return Check("disk", State.OK, found)


def check_screen(desktop: Desktop) -> list[Check]:
    """Look at the screen itself, what may be heard and pressed on it, and whether it can be grabbed."""
    from vlm_agent.desktop.windows import is_wayland

    screen = desktop.screen
    checks = [Check("screen", State.OK, f"{screen.width}x{screen.height} px, {sys.platform}")]
    if is_wayland():
        checks[0] = Check(
            "screen",
            State.WARNING,
            "a Wayland session: only windows that run under XWayland can be seen, heard and acted on",
            "log in with an Xorg session",
        )
    missing = desktop.list_missing()
    advice = "start the X server with these extensions; without them devices can't be heard or pressed"
    checks.append(
        Check("devices", State.FAILED, f"missing: {', '.join(missing)}", advice)
        if missing
        else Check("devices", State.OK, "input can be heard and pressed")
    )
    checks.append(_check_grab(desktop))
    return checks


def check_keys(spec: ActionSpec) -> Check:
    """Look whether this desktop has all that a model may press."""
    from vlm_agent.executors.devices import find_missing, join_controls, list_controls
    from vlm_agent.executors.opening import open_device

    controls = list_controls(spec)
    advice = "its recordings' keyboard layout may have them"
    try:
        device = open_device()
        missing = find_missing(device, controls)
        device.close()
    except VlmAgentError as error:
        return Check("keys", State.FAILED, str(error), advice)
    if missing:
        found = f"{join_controls(missing)} can't be pressed here: what the model does with it will be left out"
        return Check("keys", State.WARNING, found, advice)
    return Check("keys", State.OK, f"all {len(controls)} keys and buttons that the model may press are there")


def _check_grab(desktop: Desktop) -> Check:
    from vlm_agent.desktop.screen import ScreenGrabber

    try:
        grabber = ScreenGrabber()
        grabber.grab(desktop.screen)
        begun = time.perf_counter()
        picture = grabber.grab(desktop.screen)
        took_ms = (time.perf_counter() - begun) * 1000
        grabber.close()
    except VlmAgentError as error:
        return Check("screen pictures", State.FAILED, str(error), "allow this program to record the screen")
    found = f"the whole screen in {took_ms:.1f} ms"
    if not picture.any():
        advice = "nothing is shown, or this program may not record the screen (Wayland gives black pictures)"
        return Check("screen pictures", State.WARNING, f"{found}, all black", advice)
    if took_ms > _SLOW_GRAB_MS:
        return Check("screen pictures", State.WARNING, found, "record one window instead of the whole screen")
    return Check("screen pictures", State.OK, found)


def check_desktop() -> tuple[Desktop | None, list[Check]]:
    """Open the desktop and look at it; without one there is nothing to act on."""
    from vlm_agent.desktop.windows import open_desktop

    try:
        desktop = open_desktop()
    except ConfigError as error:
        advice = "recording and acting need a screen; training and the bundled game do not"
        return None, [Check("screen", State.WARNING, str(error), advice)]
    return desktop, check_screen(desktop)
