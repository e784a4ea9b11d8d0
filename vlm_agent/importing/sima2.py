"""open_sima2's folders of frames: `raw_playthrough` (held keys a frame) and `labeled_segments` (chat samples a frame).

    raw      <session>_<epoch_ms>.jpg + .json {"action_sequence": ["d", "w"] or ["none"], "mouse_look", "goal_prompt"}
    labeled  <session>_segNNN/frame_NNNN.jpg + .json {"messages": [system, user: image + "Goal: …", assistant: 7 keys]}

What the files leave open is decided so, and said in the report:

- a frame's keys are those that were down when it was taken: a key goes down at the first frame that has it and comes up
  at the first that has it no more; `c` stands for Ctrl too, since the recorder writes both as `c`;
- the recorder writes no frame while the same keys stay down, so a key is held over a hole of up to `LONGEST_HOLE_NS`;
  a longer one is a pause, and what was held is let go one frame after it was last seen;
- a labeled frame's seven keys are this frame's and those of the frames after it, chords laid out one by one: the
  frame's own are those after which the rest agrees with the next frame. The padding by `none` at the end is no goal;
- labeled frames have no times: `--frames-per-s`;
- goals were named by a model. Keys only: there is no pointer in these files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vlm_agent.actions.events import InputEvent, KeyChanged
from vlm_agent.errors import DataError, LeftOutError
from vlm_agent.importing.clocks import Clock, guess_clock
from vlm_agent.importing.dated_files import DatedFiles
from vlm_agent.importing.key_names import from_pynput
from vlm_agent.importing.limits import MAX_POSITION_PX
from vlm_agent.importing.options import ImportOptions, Source
from vlm_agent.importing.pictures import choose_size, read_frame
from vlm_agent.importing.reading import check_file, follow, read_whole
from vlm_agent.importing.report import SessionReport
from vlm_agent.importing.session_files import Entry, Incoming, size_without_frames, with_goal
from vlm_agent.sessions.plain_json import MAX_JSON_BYTES, parse_json
from vlm_agent.sessions.types import Goal, RawMotion

LONGEST_HOLE_NS = 30 * 10**9
"""Without a frame for longer, the recorder was paused."""
STEP_NS = 100_000_000
"""The recorder looks ten times a second."""
LABELED_PREFIX = "frame_"
_MOST_KEYS = 64
_NONE = "none"
_UNLABELED = "UNLABELED"
_GOAL = re.compile(r"Goal:[ \t]*([^\n]{1,200})")
_PICTURES = (".jpg", ".jpeg", ".png")


class Step(NamedTuple):
    """What one frame's file says."""

    keys: tuple[str, ...]
    """As they are written: held keys (raw), or this and following ones (labeled)."""
    look: tuple[int, int]
    """Motion of the mouse, right and down."""
    goal: str
    """Empty where there is none."""
    picture: str
    """Its file as it names it; empty where it does not."""


def read_step(data: bytes) -> Step:
    """Return what the file of a raw or of a labeled frame says.

    Raises:
        LeftOutError: It is neither.
    """
    try:
        value, _ = parse_json(data)
    except DataError as error:
        raise LeftOutError("broken_label") from error
    if not isinstance(value, dict):
        raise LeftOutError("broken_label")
    if isinstance(value.get("messages"), list):
        return _read_messages(value["messages"])
    look = value.get("mouse_look")
    goal = value.get("goal_prompt")
    goal = goal.strip()[:200] if isinstance(goal, str) and goal != _UNLABELED else ""
    return Step(_keys(value), (_count(look, "x"), _count(look, "y")), " ".join(goal.split()), "")


def own_keys(sequence: tuple[str, ...], following: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the keys of a labeled frame itself.

    Args:
        sequence: its keys and those of the frames after it, laid out one by one.
        following: the same of the next frame; None for the last.
    """
    for count in range(1, len(sequence) + 1):
        chord, rest = sequence[:count], sequence[count:]
        if list(chord) != sorted(set(chord)) or (_NONE in chord and count > 1):
            break  # the recorder writes each key once, in order of the alphabet
        is_last = following is None and (not rest or rest[0] == _NONE)
        if is_last or (following is not None and rest == following[: len(rest)]):
            return chord
    return sequence[:1]


def open_recording(source: Source, options: ImportOptions, report: SessionReport) -> Incoming:
    """Return the recording of a folder of frames.

    Raises:
        DataError: There is no frame with a label in it, or one leads out of the folder.
    """
    is_labeled = not source.part
    labels = DatedFiles(source.path, (".json",), report.left_out, source.part or LABELED_PREFIX)
    if not len(labels):
        raise DataError(f"{source.path} holds no labels of frames: expected <session>_<ms>.json or frame_0000.json")
    clock = guess_clock(labels.sample())
    size = choose_size(source.root, (path for _, path in _picture_paths(source, labels)))
    report.decided["times"] = f"{options.frames_per_s:g} frames a second, assumed" if is_labeled else clock.describe()
    step_ns = round(1e9 / options.frames_per_s) if is_labeled else STEP_NS
    times = _labeled_times(labels, step_ns) if is_labeled else _raw_times(labels, clock, report)
    width_px, height_px = size or size_without_frames((0, 0))
    return Incoming(
        width_px,
        height_px,
        1e9 / step_ns,
        with_goal(_entries(source, times, size, step_ns, report), options.goal),
        {"title": source.session, "imported": {"kind": source.kind, "source": source.path.name}},
    )


class HeldKeys:
    """Turns what is held at one moment after another into presses and releases."""

    def __init__(self, step_ns: int, report: SessionReport) -> None:
        """Take how long a key is held that is seen once, and where to count."""
        self._step_ns = step_ns
        self._report = report
        self._held: set[str] = set()
        self._seen_ns: int | None = None

    def see(self, t_ns: int, keys: set[str]) -> Iterator[InputEvent]:
        """Yield what changed since the moment before, in order of time."""
        if self._seen_ns is not None and t_ns - self._seen_ns > LONGEST_HOLE_NS:
            self._report.kept["pause"] += 1
            yield from self.let_go("let_go_in_a_pause")
        for key in sorted(self._held - keys):
            yield KeyChanged(t_ns, key, False)
        for key in sorted(keys - self._held):
            yield KeyChanged(t_ns, key, True)
        self._held, self._seen_ns = keys, t_ns

    def let_go(self, reason: str = "let_go_at_the_end") -> Iterator[InputEvent]:
        """Yield the release of all that is held, one step after it was last seen."""
        for key in sorted(self._held):
            self._report.repaired[reason] += 1
            yield KeyChanged((self._seen_ns or 0) + self._step_ns, key, False)
        self._held = set()


def _entries(
    source: Source, times: Iterator[tuple[int, Path]], size: tuple[int, int] | None, step_ns: int, report: SessionReport
) -> Iterator[Entry]:
    held = HeldKeys(step_ns, report)
    told = ""
    for t_ns, step, keys, path in _steps(source, times, report):
        goal = step.goal
        if goal and goal != told:
            told = goal
            yield Entry(t_ns, Goal(t_ns, goal, "short", "model"))
        picture = _find_picture(source, path, step)
        if picture is None or size is None:
            report.left_out["label_without_picture" if picture is None else "broken_picture"] += 1
        else:
            frame = read_frame(source.root, picture, t_ns, size, report)
            if frame is not None:
                yield Entry(t_ns, frame)
        if step.look != (0, 0):
            yield Entry(t_ns, RawMotion(t_ns, *step.look))
        for event in held.see(t_ns, _canonical(keys, report)):
            yield Entry(event.t_ns, event)
    for event in held.let_go():
        yield Entry(event.t_ns, event)


def _steps(
    source: Source, times: Iterator[tuple[int, Path]], report: SessionReport
) -> Iterator[tuple[int, Step, tuple[str, ...], Path]]:
    """Yield (time, what the file says, the frame's own keys, the file)."""
    waiting: tuple[int, Step, Path] | None = None
    for t_ns, path in times:
        check_file(source.root, path)
        try:
            step = read_step(read_whole(source.root, path, MAX_JSON_BYTES))
        except LeftOutError as error:
            report.left_out[error.reason] += 1
            continue
        except DataError:
            report.left_out["unreadable_label"] += 1
            continue
        if source.part:
            yield t_ns, step, step.keys, path
            continue
        if waiting is not None:
            yield waiting[0], waiting[1], own_keys(waiting[1].keys, step.keys), waiting[2]
        waiting = t_ns, step, path
    if waiting is not None:
        yield waiting[0], waiting[1], own_keys(waiting[1].keys, None), waiting[2]


def _labeled_times(labels: DatedFiles, step_ns: int) -> Iterator[tuple[int, Path]]:
    return ((round(number * step_ns), path) for number, path in labels)


def _raw_times(labels: DatedFiles, clock: Clock, report: SessionReport) -> Iterator[tuple[int, Path]]:
    for number, path in labels:
        t_ns = clock.to_ns(number)
        if t_ns is None:
            report.left_out["impossible_time"] += 1
        else:
            yield t_ns, path


def _picture_paths(source: Source, labels: DatedFiles) -> Iterator[tuple[float, Path]]:
    for number, path in labels:
        for suffix in _PICTURES:
            picture = path.with_suffix(suffix)
            if picture.exists():
                yield number, picture
                break


def _find_picture(source: Source, label: Path, step: Step) -> Path | None:
    if step.picture:
        named = follow(source.root, label.parent, step.picture)
        return named if named.is_file() else None
    return next((label.with_suffix(suffix) for suffix in _PICTURES if label.with_suffix(suffix).exists()), None)


def _canonical(keys: tuple[str, ...], report: SessionReport) -> set[str]:
    names = {key: from_pynput(key) for key in keys if key != _NONE}
    report.left_out["unknown_key"] += sum(name is None for name in names.values())
    return {name for name in names.values() if name is not None}


def _read_messages(messages: list[Any]) -> Step:
    said: dict[str, str] = {}
    picture = ""
    for message in messages[:16]:
        content = message.get("content") if isinstance(message, Mapping) else None
        blocks: list[Any] = content if isinstance(content, list) else [{"type": "text", "text": content}]
        for block in blocks[:16]:
            if not isinstance(block, Mapping):
                continue
            text, image = block.get("text"), block.get("image")
            if isinstance(text, str):
                said[str(message.get("role"))] = text
            picture = image if isinstance(image, str) else picture
    try:
        answer, _ = parse_json(said.get("assistant", "").encode(errors="replace"))
    except DataError as error:
        raise LeftOutError("broken_label") from error
    goal = _GOAL.search(said.get("user", ""))
    return Step(_keys(answer), (0, 0), " ".join(goal[1].split()) if goal else "", picture)


def _keys(value: Any) -> tuple[str, ...]:
    keys = value.get("action_sequence", value.get("actions")) if isinstance(value, Mapping) else None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or len(keys) > _MOST_KEYS:
        raise LeftOutError("label_without_actions")
    return tuple(keys)


def _count(value: Any, key: str) -> int:
    number = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(number, int | float) or isinstance(number, bool) or abs(number) > MAX_POSITION_PX:
        return 0
    return round(number)
