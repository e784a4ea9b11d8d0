"""Fifty thousand broken inputs: an importer refuses or counts them, and raises nothing but an error of the user's.

Most go through the functions that parse one piece; some hundreds through whole folders, after which either a sound
session is there or nothing is. Everything is seeded, so that a failure can be run again: the seed is in the test's id.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.importing.made_imports import (
    COLUMNS_10,
    EPOCH_MS,
    import_at,
    log_text,
    row,
    tick,
    write_raw_frames,
    write_segment,
    write_ticks,
    write_tree,
)
from tests.importing.test_import_states import MORG_EVENTS, MORG_INVENTORY, MORG_STATS, V1, V2
from tests.sessions.made_sessions import write_session
from vlm_agent.errors import ConfigError, DataError
from vlm_agent.importing.clocks import guess_clock
from vlm_agent.importing.ilbot import read_state
from vlm_agent.importing.ilbot_events import EventReader, LogReading
from vlm_agent.importing.ilbot_rows import read_header, read_row
from vlm_agent.importing.kinds import sniff
from vlm_agent.importing.reading import decode_picture
from vlm_agent.importing.report import SessionReport
from vlm_agent.importing.sima2 import own_keys, read_step
from vlm_agent.importing.vpt import TickReader, read_tick
from vlm_agent.sessions.topics import encode_event, encode_json

SEED = int(os.environ.get("FUZZ_SEED", "0"))
"""Another number tries other inputs."""
ROWS = 16_000
HEADERS = 4_000
STATES = 9_000
STEPS = 8_000
TICKS = 7_000
HEADS = 5_000
PICTURES = 600
FOLDERS = 400
PIECES = (
    *(
        b"",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b'"',
        b'""',
        b",",
        b",,,,",
        b"\n",
        b"\r",
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
    ),
    *(
        b"nan",
        b"NaN",
        b"inf",
        b"-Infinity",
        b"1e999",
        b"-1",
        b"1e308",
        b"9" * 25,
        b"9" * 5000,
        b"0x10",
        b"1_0",
        b"null",
        b"true",
    ),
    *(
        b"\\ud800",
        b"\\u0000",
        b"key_press",
        b"click",
        b"scroll",
        b"move",
        b"Key.",
        b"<999>",
        b"<0>",
        b"../",
        b"/etc/passwd",
        b"[" * 300,
    ),
)
ODD = (
    None,
    True,
    0,
    -1,
    1e999,
    float("nan"),
    10**30,
    2**63,
    "",
    "x" * 50,
    "\u2603",
    [],
    {},
    [[]],
    {"a": None},
    [None] * 3,
    "none",
)


def test_there_are_fifty_thousand():
    assert ROWS + HEADERS + STATES + STEPS + TICKS + HEADS + PICTURES + FOLDERS >= 50_000


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randint(0, len(data))
        stop = min(at + rng.choice((0, 0, 1, 2, 5, 20)), len(data))
        piece = rng.choice(PIECES) if rng.random() < 0.6 else rng.randbytes(rng.randint(0, 4))
        data = data[:at] + piece + data[stop:]
        if rng.random() < 0.05:
            data = data[: rng.randint(0, len(data))]
        if rng.random() < 0.05:
            data += data[rng.randint(0, len(data)) :]
    return data


def mutate_line(rng: random.Random, line: bytes) -> bytes:
    if rng.random() < 0.4:
        return mutate_bytes(rng, line)
    cells = line.split(b",")
    for _ in range(rng.randint(1, 2)):
        cells[rng.randrange(len(cells))] = rng.choice(PIECES)
    return b",".join(cells)


def mutate_json(rng: random.Random, value):
    """A copy in which some value somewhere is odd, missing, or another's."""
    if rng.random() < 0.15:
        return rng.choice(ODD)
    if isinstance(value, dict) and value:
        changed = dict(value)
        key = rng.choice(list(changed))
        if rng.random() < 0.2:
            del changed[key]
        elif rng.random() < 0.1:
            changed[rng.choice(list(value))] = value[key]
        else:
            changed[key] = mutate_json(rng, value[key])
        return changed
    if isinstance(value, list) and value:
        changed = list(value)
        place = rng.randrange(len(changed))
        changed[place] = mutate_json(rng, changed[place])
        return changed * rng.choice((1, 1, 1, 3))
    return rng.choice(ODD)


def mutate_text(rng: random.Random, value) -> bytes:
    for _ in range(rng.randint(1, 3)):
        if rng.random() < 0.75:
            value = mutate_json(rng, value)
    data = json.dumps(value).encode()
    return mutate_bytes(rng, data) if rng.random() < 0.5 else data


def refused(action, *arguments) -> bool:
    """Whether a user's error was raised; any other is a failure of the test."""
    try:
        action(*arguments)
    except (DataError, ConfigError):
        return True
    return False


GOOD_ROWS = [
    row(EPOCH_MS, "move", 907, 402),
    row(EPOCH_MS + 1, "click", 3, 4, btn="left"),
    row(EPOCH_MS + 2, "scroll", 3, 4, scroll_dy=-1),
    row(EPOCH_MS + 3, "key_press", 0, 0, key="ctrl_l", modifiers="ctrl"),
    row(EPOCH_MS + 4, "key_release", 0, 0, key=","),
    row("16776.0", "click", "nan", "4.0", btn="Button.right"),
]


def report():
    return SessionReport("a", "fuzz", "a")


@pytest.mark.parametrize("seed", [SEED + 1])
def test_lines_of_a_log(seed):
    rng = random.Random(seed)
    header, *lines = log_text(GOOD_ROWS).encode().splitlines()
    columns = read_header(header)
    counts = Counter()
    reader = EventReader(LogReading("both", 3), report())
    clock = guess_clock([float(EPOCH_MS)])
    last_ns = 0

    def read(line):
        nonlocal last_ns
        one = read_row(columns, line)
        t_ns = clock.to_ns(one.time)
        last_ns = max(last_ns, t_ns or 0)
        for event in reader.read(last_ns, one):
            encode_json(encode_event(event)[1])

    for _ in range(ROWS):
        counts[refused(read, mutate_line(rng, rng.choice(lines)))] += 1
    assert min(counts.values()) > ROWS / 20  # both ends are reached


@pytest.mark.parametrize("seed", [SEED + 2])
def test_headers_of_a_log(seed):
    rng = random.Random(seed)
    header = ",".join(COLUMNS_10).encode()
    found = [read_header(mutate_bytes(rng, header)) for _ in range(HEADERS)]
    assert 0 < sum(columns is not None for columns in found) < HEADERS
    assert not any(refused(refuse_rows, columns) for columns in found if columns)


def refuse_rows(columns):
    # A header that was taken must be one that rows can be read by.
    refused(read_row, columns, b"1,move,2,3,,,0,0,,")


@pytest.mark.parametrize("seed", [SEED + 3])
def test_game_states(seed):
    rng = random.Random(seed)
    goods = [V1, V2, MORG_EVENTS, MORG_STATS, MORG_INVENTORY, {"inv": MORG_INVENTORY, "events": MORG_EVENTS}]
    counts = Counter()
    for _ in range(STATES):
        counts[
            refused(lambda data: encode_json(read_state(data, report()).value), mutate_text(rng, rng.choice(goods)))
        ] += 1
    assert min(counts.values()) > STATES / 20


@pytest.mark.parametrize("seed", [SEED + 4])
def test_labels_of_frames(seed):
    rng = random.Random(seed)
    answer = json.dumps({"action_sequence": ["d", "w", "none"], "reasoning": "x"})
    user = [{"type": "image", "image": "frame_0000.jpg"}, {"type": "text", "text": "Goal: Go\n\nPredict"}]
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
    raw = {"action_sequence": ["w", "d"], "mouse_look": {"x": 1, "y": 0}, "goal_prompt": "UNLABELED"}
    goods = [raw, {"messages": messages}]
    counts = Counter()

    def read(data):
        step = read_step(data)
        own_keys(step.keys, ("w", "none"))
        encode_json([step.goal, step.look])

    for _ in range(STEPS):
        counts[refused(read, mutate_text(rng, rng.choice(goods)))] += 1
    assert min(counts.values()) > STEPS / 20


@pytest.mark.parametrize("seed", [SEED + 5])
def test_ticks(seed):
    rng = random.Random(seed)
    goods = [
        tick(["w", "left.shift"], new_keys=["w"], buttons=[0, 1], new_buttons=[0], dx=3.0),
        tick(menu=True, x=3.0, hotbar=5, dwheel=1.0),
    ]
    counts = Counter()
    reader = TickReader((128, 72), 2.0, report())

    def read(line):
        one = read_tick(line)
        encode_json(one.state)
        for event in reader.read(rng.randint(0, 10**12), one):
            if hasattr(event, "button") or hasattr(event, "key"):
                encode_event(event)

    for _ in range(TICKS):
        counts[refused(read, mutate_text(rng, rng.choice(goods)))] += 1
    assert min(counts.values()) > TICKS / 20


@pytest.mark.parametrize("seed", [SEED + 6])
def test_finding_the_kind(seed):
    rng = random.Random(seed)
    goods = [
        json.dumps(tick()).encode(),
        log_text(GOOD_ROWS).encode(),
        b"\x89MCAP0\r\n",
        b'{"messages": []}',
        json.dumps(V1).encode(),
    ]
    found = Counter(sniff(mutate_bytes(rng, rng.choice(goods))) for _ in range(HEADS))
    assert len(found) == 5


@pytest.mark.parametrize("seed", [SEED + 7])
def test_pictures(seed):
    rng = random.Random(seed)
    goods = []
    for kind in ("PNG", "JPEG"):
        data = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)).save(data, kind)
        goods.append(data.getvalue())
    counts = Counter(refused(decode_picture, mutate_bytes(rng, rng.choice(goods))) for _ in range(PICTURES))
    assert min(counts.values()) > PICTURES / 20


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """One small recording of each kind; the container is ours with another writer's name."""
    folder = tmp_path_factory.mktemp("sound")
    write_tree(folder / "ilbot", GOOD_ROWS[:5], seconds=1)
    write_raw_frames(folder / "raw", [["w"], ["w", "d"], []])
    write_segment(folder / "seg000", [["w"], ["w", "d"], []])
    write_ticks(folder / "vpt" / "a", [tick(["w"], dx=1.0), tick(buttons=[0]), tick(menu=True)])
    write_session(folder / "mine", seconds=0.3)
    (folder / "mcap").mkdir()
    for suffix in (".mcap", ".mkv"):
        data = (folder / f"mine{suffix}").read_bytes()
        (folder / "mcap" / f"mine{suffix}").write_bytes(data.replace(b"vlm-agent, session", b"another, recorder!"))
    return [folder / name for name in ("ilbot", "raw", "seg000", "vpt", "mcap")]


def break_folder(rng: random.Random, folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for _ in range(rng.randint(1, 3)):
        path = rng.choice(files)
        if not path.exists():
            continue
        change = rng.random()
        if change < 0.7:
            path.write_bytes(mutate_bytes(rng, path.read_bytes()))
        elif change < 0.8:
            path.unlink()
        elif change < 0.9:
            path.write_bytes(b"".join(other.read_bytes() for other in rng.choices(files, k=2) if other.exists()))
        else:
            path.rename(path.with_name(rng.choice(("x", "0", f"{EPOCH_MS}", "-1", "frame_9", "nan")) + path.suffix))


@pytest.mark.parametrize("seed", range(SEED, SEED + 4))
def test_whole_folders(recordings, tmp_path, seed):
    rng = random.Random(seed)
    counts = Counter()
    for number in range(FOLDERS // 4):
        folder, out = tmp_path / "in", tmp_path / f"out{number}"
        shutil.copytree(rng.choice(recordings), folder)
        break_folder(rng, folder)
        kind = rng.choice((None, None, "ilbot", "sima2", "vpt", "owamcap"))
        try:
            _, readers = import_at(folder, out, kind, fix_y_offset=rng.random() < 0.1)
        except (DataError, ConfigError):
            counts["refused"] += 1
            assert not out.exists()
        else:
            counts["imported"] += 1
            assert len(list(out.iterdir())) == 2 * len(readers)
            for reader in readers:
                for _ in reader.frames():
                    pass
                for _ in (*reader.events(), *reader.game_states(), *reader.goals()):
                    pass
        shutil.rmtree(folder)
    assert min(counts["refused"], counts["imported"]) > FOLDERS / 40
