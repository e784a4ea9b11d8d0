"""`vlm-agent record`: puts a recording together, shows it, and says what came of it."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm_agent.errors import ConfigError
from vlm_agent.recording.config import RecordConfig
from vlm_agent.sessions.plain_json import mend_text
from vlm_agent.visible import say

if TYPE_CHECKING:
    from rich.console import Console

    from vlm_agent.recording.clock import SessionClock
    from vlm_agent.recording.recorder import Plan
    from vlm_agent.recording.stream import DeviceSource
    from vlm_agent.recording.targets import Target
    from vlm_agent.sessions.video import Preset

_NAME_LENGTH = 40


def run(config: RecordConfig) -> Path:
    """Record until told to stop, and return the session's `.mcap`.

    Raises:
        ConfigError: there is no such window, no screen, no encoder, or no right to listen; nothing was written then.
        DataError: the disk is full or fails; what was complete can be repaired.
    """
    from vlm_agent.recording.probing import probe_encoder
    from vlm_agent.recording.targets import choose_target
    from vlm_agent.terminal import PlainConsole

    console = PlainConsole("error")
    plan = _make_plan(config)
    target = choose_target(config)
    probe = probe_encoder(target.rect.width, target.rect.height, config.fps)
    if probe.each_ms > 1000 / config.fps:
        console.print(f"encoding a frame takes {probe.each_ms:.0f} ms: at {config.fps:g} fps frames may be dropped")
    path = _record(config, plan, target, probe.preset, console)
    say(path)
    return path


def _record(config: RecordConfig, plan: Plan, target: Target, preset: Preset, console: Console) -> Path:
    from vlm_agent.desktop.signals import ask_for_signals
    from vlm_agent.recording.clock import SessionClock
    from vlm_agent.recording.recorder import Parts, Recorder
    from vlm_agent.recording.screens import open_grabber
    from vlm_agent.recording.state_sources import open_source
    from vlm_agent.recording.status import Status, describe, describe_oddities, listen_for_goals
    from vlm_agent.sessions.writer import SessionWriter

    clock, rect = SessionClock(), target.rect
    with contextlib.ExitStack() as held:
        devices = open_devices(clock, target.window_id)
        held.callback(devices.close)
        plan.hotkeys.check(devices.hears)
        states = None
        if config.gamestate is not None:
            states = open_source(config.gamestate, clock)
            held.callback(states.close)
        config.out.mkdir(parents=True, exist_ok=True)
        stem = config.out / (config.name or _make_name(target))
        writer = held.enter_context(
            SessionWriter(
                stem,
                width_px=rect.width,
                height_px=rect.height,
                fps=config.fps,
                meta=_describe(config, target, devices),
                preset=preset,
            )
        )
        recorder = Recorder(Parts(target, clock, devices, open_grabber, states), plan, writer)
        if sys.stdin.isatty() and not plan.goals:
            listen_for_goals(recorder, sys.stdin)
        console.print(_introduce(config, target))
        began_s = time.monotonic()
        with Status(console, recorder, lambda: writer.size_bytes) as status, ask_for_signals() as was_signalled:

            def tick() -> None:
                if was_signalled():
                    recorder.stop()
                status.update()

            try:
                recorder.run(tick)
            finally:
                is_empty = not recorder.counts.capture.frames and not recorder.counts.events
                if is_empty:
                    writer.discard()
    if is_empty:
        raise ConfigError("nothing was recorded, so nothing is kept: it was paused or hidden, or ended at once")
    ended = (
        describe(recorder.counts, time.monotonic() - began_s, writer.size_bytes),
        *describe_oddities(recorder.counts),
    )
    for line in ended:
        console.print(line)
    return writer.path


def open_devices(clock: SessionClock, window_id: int | None) -> DeviceSource:
    """Return the devices of this machine's desktop.

    Raises:
        ConfigError: they can't be heard; the message says what to do.
    """
    if sys.platform == "win32":
        from vlm_agent.recording.devices_win32 import Win32Devices

        return Win32Devices(clock, window_id)
    from vlm_agent.recording.devices_x11 import X11Devices

    return X11Devices(clock, window_id)


def _make_plan(config: RecordConfig) -> Plan:
    from vlm_agent.recording.recorder import Plan

    return Plan(
        config.fps,
        config.make_hotkeys(),
        goals=tuple(config.read_goals()),
        goal=None if config.goal is None else mend_text(config.goal),
        is_waiting=config.wait,
        seconds=config.seconds,
        state_ms=config.gamestate_ms,
        state_time=config.gamestate_time,
        limits=config.limits,
    )


def _make_name(target: Target) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", target.title.lower()).strip("-")[:_NAME_LENGTH].strip("-")
    return f"{words or 'screen'}-{time.strftime('%Y%m%d-%H%M%S')}"


def _describe(config: RecordConfig, target: Target, devices: DeviceSource) -> dict[str, Any]:
    """Return what a session tells of itself; what may be pressed is known only at its end: datasets read the events."""
    rect = target.rect
    return {
        "title": target.title,
        "app": target.app,
        "player": "person",
        "recorder": {
            "system": sys.platform,
            "target": "window" if target.window_id is not None else "screen",
            "screen": [rect.x, rect.y, rect.width, rect.height],
            "gamestate": None if config.gamestate is None else mend_text(config.gamestate),
            "notes": devices.notes,
            "hotkeys": {
                "start": config.hotkey_start,
                "stop": config.hotkey_stop,
                "goal": config.hotkey_goal,
                "discard": config.hotkey_discard,
            },
        },
    }


def _introduce(config: RecordConfig, target: Target) -> str:
    keys = (
        f"{config.hotkey_start} pauses, {config.hotkey_goal} marks a goal, {config.hotkey_discard} discards the last"
        f" 10 s, {config.hotkey_stop} stops"
    )
    scope = "" if target.window_id is not None else "; every key is recorded, wherever it is typed"
    return f"recording {target.title} ({target.rect.width}x{target.rect.height}){scope}; {keys}"
