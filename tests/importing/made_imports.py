"""Recordings of other programs, made small: trees of IL_bot, frames of open_sima2, ticks of VPT."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from vlm_agent.actions.events import ButtonChanged, InputEvent, KeyChanged, PointerMoved, WheelTurned
from vlm_agent.importing.command import import_recordings
from vlm_agent.importing.kinds import find_sources
from vlm_agent.importing.options import ImportOptions, Kind
from vlm_agent.importing.report import SessionReport
from vlm_agent.sessions.reader import SessionReader

MS = 1_000_000
EPOCH_MS = 1_724_769_000_000
COLUMNS_8 = ("timestamp", "event_type", "x_in_window", "y_in_window", "btn", "key", "scroll_dx", "scroll_dy")
COLUMNS_10 = (*COLUMNS_8, "modifiers", "active_keys")
COLUMNS_3_CLOCKS = ("timestamp_abs_ms", "t_session_ms", *COLUMNS_8)
WIDTH_PX, HEIGHT_PX = 96, 64
PYNPUT = {"escape": "esc", "leftshift": "shift_l", "leftctrl": "ctrl_l", "pageup": "page_up"}


def import_at(
    path: Path, out: Path, kind: Kind | None = None, **options: Any
) -> tuple[list[SessionReport], list[SessionReader]]:
    """Import what is at a path, and open the sessions."""
    reports = import_recordings(find_sources(path, kind), out, ImportOptions(**options))
    return reports, [SessionReader(Path(report.out)) for report in reports]


def import_one(path: Path, out: Path, **options: Any) -> tuple[SessionReport, SessionReader]:
    """Import the one recording at a path."""
    (report,), (reader,) = import_at(path, out, **options)
    return report, reader


def row(time: object, event_type: str, x: object = "", y: object = "", **cells: object) -> dict[str, object]:
    """A row of a log; cells that aren't given are as the recorder leaves them."""
    nothing = {"btn": "", "key": "", "scroll_dx": 0, "scroll_dy": 0, "modifiers": "", "active_keys": ""}
    return {"timestamp": time, "event_type": event_type, "x_in_window": x, "y_in_window": y, **nothing, **cells}


def event_row(event: InputEvent, start_ms: int = EPOCH_MS) -> dict[str, object]:
    """The row that the recorder of 10 columns writes of an event."""
    ms = start_ms + event.t_ns // MS
    match event:
        case PointerMoved(x=x, y=y):
            return row(ms, "move", x, y)
        case ButtonChanged(x=x, y=y, button=button):
            return row(ms, "click", x, y, btn=button)
        case WheelTurned(x=x, y=y, dx=dx, dy=dy):
            return row(ms, "scroll", x, y, scroll_dx=dx, scroll_dy=dy)
        case KeyChanged(key=key, pressed=pressed):
            return row(ms, "key_press" if pressed else "key_release", 0, 0, key=PYNPUT.get(key, key))


def log_text(rows: Iterable[dict[str, object]], columns: Sequence[str] = COLUMNS_10) -> str:
    """The text of an `actions.csv`."""
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def write_log(
    folder: Path, rows: Iterable[dict[str, object]], columns: Sequence[str] = COLUMNS_10, name: str = "actions.csv"
) -> Path:
    """Write a log; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(log_text(rows, columns), newline="")
    return folder / name


def picture(number: int, size: tuple[int, int] = (WIDTH_PX, HEIGHT_PX)) -> np.ndarray:
    """A picture that differs from that of every other number."""
    rgb = np.full((size[1], size[0], 3), number * 23 % 200, np.uint8)
    rgb[: size[1] // 2, :, 1] = 220 - number * 11 % 150
    return rgb


def save_picture(path: Path, rgb: np.ndarray) -> None:
    """Write an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path, **({"compress_level": 1} if path.suffix == ".png" else {}))


def write_tree(folder: Path, rows: Iterable[dict[str, object]], *, seconds: int = 3, start_ms: int = EPOCH_MS) -> Path:
    """Write a whole session tree: log, a state every 600 ms, a picture every 200 ms; return its folder."""
    write_log(folder, rows)
    (folder / "gamestates").mkdir(exist_ok=True)
    for ms in range(0, seconds * 1000, 200):
        save_picture(folder / "runelite_screenshots" / f"{start_ms + ms}.png", picture(ms // 200))
        if ms % 600 == 0:
            state = {"timestamp": start_ms + ms, "bank": {"bankOpen": False}, "inventory": {"slots": []}}
            (folder / "gamestates" / f"{start_ms + ms}.json").write_text(json.dumps(state))
    return folder


def write_raw_frames(
    folder: Path,
    held: Sequence[Sequence[str]],
    *,
    step_ms: int = 100,
    start_ms: int = EPOCH_MS,
    goal: str = "UNLABELED",
) -> Path:
    """Write frames as open_sima2's recorder does, one for each set of held keys."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, keys in enumerate(held):
        stem = folder / f"20250827_101500_{start_ms + number * step_ms}"
        save_picture(stem.with_suffix(".jpg"), picture(number))
        label = {"action_sequence": sorted(keys)[:5] or ["none"], "mouse_look": {"x": 0, "y": 0}, "goal_prompt": goal}
        stem.with_suffix(".json").write_text(json.dumps(label))
    return folder


def write_segment(folder: Path, held: Sequence[Sequence[str]], goal: str = "Go to the lantern") -> Path:
    """Write a labeled segment as open_sima2's labeler does, with its flattened chords and its padding."""
    folder.mkdir(parents=True, exist_ok=True)
    flat = [sorted(keys) or ["none"] for keys in held]
    for number in range(len(held)):
        following = [key for keys in flat[number : number + 7] for key in keys] + ["none"] * 7
        save_picture(folder / f"frame_{number:04d}.jpg", picture(number))
        text = {"type": "text", "text": f"Goal: {goal}\n\nPredict the next 7 actions to execute."}
        answer = json.dumps({"action_sequence": following[:7], "reasoning": "…"})
        messages = [
            {"role": "system", "content": "You are a game-playing agent."},
            {"role": "user", "content": [{"type": "image", "image": f"frame_{number:04d}.jpg"}, text]},
            {"role": "assistant", "content": answer},
        ]
        (folder / f"frame_{number:04d}.json").write_text(json.dumps({"messages": messages}, indent=2))
    return folder


def tick(
    keys: Sequence[str] = (),
    *,
    new_keys: Sequence[str] = (),
    buttons: Sequence[int] = (),
    new_buttons: Sequence[int] = (),
    menu: bool = False,
    hotbar: int = 0,
    **mouse: float,
) -> dict[str, Any]:
    """A tick of VPT's recorder; keys are named without `key.keyboard.`."""
    place = {"x": 640.0, "y": 360.0, "dx": 0.0, "dy": 0.0, "dwheel": 0.0, **mouse}
    return {
        "mouse": {**place, "buttons": list(buttons), "newButtons": list(new_buttons)},
        "keyboard": {
            "keys": [f"key.keyboard.{key}" for key in keys],
            "newKeys": [f"key.keyboard.{key}" for key in new_keys],
            "chars": "",
        },
        "isGuiOpen": menu,
        "hotbar": hotbar,
        "yaw": 12.5,
        "pitch": -3.0,
        "tick": 7,
        "milli": 1649000000000,
        "inventory": [{"type": "oak_log", "quantity": 3}],
        "stats": {"minecraft.custom:minecraft.play_one_minute": 1},
    }


def write_ticks(stem: Path, ticks: Sequence[dict[str, Any]], *, frames: int | None = None) -> Path:
    """Write ticks, and a video of as many frames or of `frames`; return the log."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    log = stem.with_suffix(".jsonl")
    log.write_text("".join(json.dumps(one) + "\n" for one in ticks))
    if frames != 0:
        write_video(stem.with_suffix(".mp4"), len(ticks) if frames is None else frames)
    return log


def write_video(path: Path, count: int, size: tuple[int, int] = (128, 72)) -> None:
    """Write an MP4 of some frames, 20 a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.thread_count = 1
        for number in range(count):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
