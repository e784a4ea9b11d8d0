"""IL_bot's session trees: `actions.csv`, `gamestates/<epoch_ms>.json`, `runelite_screenshots/<ts>.png`.

What the files leave open is decided so, and said in the report:

- text: see `log_text`; times: see `clocks`; log, states and pictures must count from the same beginning, else they
  can't be laid together; a log whose times step back for good is refused: nobody knows which part of it was first;
- `click`, missing releases: see `ilbot_events`; equal rows at one time are one event, but for two clicks (a press and
  its release) and two turns of the wheel;
- rows out of order are put in order up to some thousand rows back, those of equal times stay as they stand;
- positions outside the frame are kept as they are and counted, never moved to its edge;
- y of clicks: one recorder subtracts the window's left instead of its top, in clicks only, so that they lie apart from
  the moves before them; it is noticed and counted, and mended with `--fix-y-offset`;
- pictures of another size than most are left out: the log does not tell when the window changed;
- a log without pictures becomes a session of events, from which no dataset can be made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from heapq import merge
from itertools import islice
from pathlib import Path
from statistics import median

from vlm_agent.errors import ConfigError, DataError, LeftOutError
from vlm_agent.importing.clocks import Clock, guess_clock
from vlm_agent.importing.dated_files import DatedFiles
from vlm_agent.importing.ilbot_events import ClickMeaning, EventReader, LogReading, find_lost, survey_clicks
from vlm_agent.importing.ilbot_rows import Row, read_row, sort_rows
from vlm_agent.importing.ilbot_survey import LogSurvey, look_over
from vlm_agent.importing.key_pairs import describe_pairs
from vlm_agent.importing.limits import MAX_CSV_LINE_BYTES
from vlm_agent.importing.log_text import read_lines
from vlm_agent.importing.options import ImportOptions, Source
from vlm_agent.importing.pictures import PictureFiles
from vlm_agent.importing.reading import check_file, read_whole
from vlm_agent.importing.report import SessionReport
from vlm_agent.importing.session_files import Entry, Incoming, State, keep_near, size_without_frames, with_goal
from vlm_agent.sessions.game_states import parse_state
from vlm_agent.sessions.plain_json import MAX_JSON_BYTES
from vlm_agent.sessions.wheel import find_units_a_notch

STATES, SCREENSHOTS = "gamestates", ("runelite_screenshots", "screenshots")
_MOST_AT_ONCE = 4096
_LEAST_CLICKS = 3
_NEAR_PX, _NEAR_NS = 3, 500_000_000
_APART_PX = 5
_APART_NS = 600 * 10**9
"""Parts of one recording begin within so long."""
_AGREE_SHARE = 0.8


def open_recording(source: Source, options: ImportOptions, report: SessionReport) -> Incoming:
    """Return the recording of a session tree, or of a log alone.

    Raises:
        DataError: it is no such tree, its parts count from different beginnings, its times can't be told apart any
            more, or its clock was set back.
        ConfigError: `--fix-y-offset` was given and there is nothing to measure.
    """
    folder = source.path.parent
    survey = look_over(source)
    form, columns = survey.form, survey.columns
    clock = survey.find_clock(None if options.time_unit == "auto" else options.time_unit)
    states = DatedFiles(folder / STATES, (".json",), report.left_out)
    shots = next((folder / name for name in SCREENSHOTS if (folder / name).is_dir()), folder / SCREENSHOTS[0])
    pictures = PictureFiles(source.root, DatedFiles(shots, (".png", ".jpg", ".jpeg"), report.left_out), report)
    firsts = {"log": survey.doings.times, "game states": states.sample(), "pictures": pictures.files.sample()}
    clocks = {name: clock if name == "log" else guess_clock(numbers) for name, numbers in firsts.items()}
    _check_clocks(folder, {name: (clocks[name], numbers[0]) for name, numbers in firsts.items() if numbers}, report)
    times = clock.describe()
    if survey.has_local_dates:
        times = "dates without a zone, read as UTC"
        if len(states) or len(pictures.files):
            raise DataError(
                f"{source.path} tells times without their zone, {survey.example!r}, so that game states and pictures"
                " can't be laid to them: write the zone behind them, +02:00 or Z, or milliseconds since 1970"
            )
    clicks = _choose_clicks(survey, clock, options)
    report.decided |= {
        "form": ", ".join(filter(None, [columns.describe(), form.describe()])),
        "times": times,
        "clicks": "a press and then a release" if clicks == "both" else "presses only",
    }
    reading = LogReading(
        clicks,
        _y_shift(survey, clock, options, report),
        find_units_a_notch(survey.turns),
        survey.pairs,
        find_lost(survey.pairs, clock, survey.last),
    )
    if reading.units_a_notch > 1:
        report.decided["wheel"] = f"{reading.units_a_notch} units a notch"
    if survey.pairs.pairs:
        report.decided["keyboard layout"] = describe_pairs(survey.pairs)
    log = _events(source, survey, clock, EventReader(reading, report), report)
    streams = [_states(source, states, clocks["game states"], report), pictures.entries(clocks["pictures"]), log]
    dated = next((name for name, numbers in firsts.items() if numbers), None)
    middle_ns = None if dated is None else clocks[dated].to_ns(median(firsts[dated]))
    width_px, height_px = pictures.size or size_without_frames(survey.reach)
    return Incoming(
        width_px,
        height_px,
        pictures.rate(clocks["pictures"]),
        with_goal(keep_near(merge(*streams, key=lambda entry: entry.t_ns), middle_ns, report), options.goal),
        {"title": source.session, "imported": {"kind": source.kind, "source": source.path.name}},
    )


def read_state(data: bytes, report: SessionReport) -> State:
    """Return a game state from the text of its file.

    Raises:
        LeftOutError: See `sessions.game_states`.
    """
    read = parse_state(data)
    report.repaired["number_that_is_not_finite_in_a_state"] += read.not_finite
    if read.exporter == "unknown":
        report.kept["game_state_of_an_unknown_exporter"] += 1
    elif read.exporter != "v2":
        report.repaired[f"game_state_{read.exporter}_brought_to_v2"] += 1
    return State(read.state)


def _events(
    source: Source, survey: LogSurvey, clock: Clock, reader: EventReader, report: SessionReport
) -> Iterator[Entry]:
    now_ns = -1
    seen: set[Row] = set()
    for t_ns, row, is_late, is_moved in sort_rows(_rows(source, survey, clock, report.left_out)):
        if is_late:
            report.left_out["too_far_out_of_order"] += 1
            continue
        if t_ns > now_ns:
            now_ns = t_ns
            seen.clear()
        if len(seen) > _MOST_AT_ONCE:  # a log with one time for everything
            seen.clear()
        if row in seen and row.event_type not in ("click", "scroll"):
            report.left_out["duplicate"] += 1
            continue
        seen.add(row)
        report.repaired["put_in_order"] += is_moved
        for event in reader.read(t_ns, row):
            yield Entry(event.t_ns, event)
    for event in reader.finish():
        yield Entry(event.t_ns, event)


def _rows(source: Source, survey: LogSurvey, clock: Clock, left_out: Counter[str]) -> Iterator[tuple[int, Row]]:
    lines = read_lines(source.root, source.path, survey.form, MAX_CSV_LINE_BYTES)
    for line in islice(lines, survey.header_lines, None):
        if line is None:
            left_out["line_too_long"] += 1
        elif line.strip():
            try:
                row = read_row(survey.columns, line)
            except LeftOutError as error:
                left_out[error.reason] += 1
                continue
            t_ns = clock.to_ns(row.time)
            if t_ns is None:
                left_out["impossible_time"] += 1
            else:
                yield t_ns, row


def _states(source: Source, files: DatedFiles, clock: Clock, report: SessionReport) -> Iterator[Entry]:
    for number, path in files:
        t_ns = clock.to_ns(number)
        if t_ns is None:
            report.left_out["impossible_time"] += 1
            continue
        check_file(source.root, path)
        try:
            yield Entry(t_ns, read_state(read_whole(source.root, path, MAX_JSON_BYTES), report))
        except LeftOutError as error:
            report.left_out[error.reason] += 1
        except DataError:
            report.left_out["unreadable_game_state"] += 1


def _check_clocks(folder: Path, clocks: dict[str, tuple[Clock, float]], report: SessionReport) -> None:
    if len({clock.is_epoch for clock, _ in clocks.values()}) > 1:
        told = ", ".join(f"the {name} count {clock.describe()}" for name, (clock, _) in clocks.items())
        raise DataError(f"{folder}: {told}: they can't be laid together; keep only what counts from one beginning")
    starts = {name: clock.to_ns(first) or 0 for name, (clock, first) in clocks.items()}
    if starts and max(starts.values()) - min(starts.values()) > _APART_NS:
        early, late = min(starts, key=starts.__getitem__), max(starts, key=starts.__getitem__)
        minutes = (starts[late] - starts[early]) / 60e9
        report.notes.append(f"{late}: begins {minutes:.0f} minutes after {early}: are they of one recording?")


def _choose_clicks(survey: LogSurvey, clock: Clock, options: ImportOptions) -> ClickMeaning:
    if options.clicks != "auto":
        return options.clicks
    return survey_clicks([(clock.to_ns(time) or 0, name) for time, name in sorted(survey.clicks)])


def _y_shift(survey: LogSurvey, clock: Clock, options: ImportOptions, report: SessionReport) -> int:
    waits = ((clock.to_ns(wait), dx, dy) for wait, dx, dy in survey.beside)
    near = [dy for wait, dx, dy in waits if wait is not None and wait <= _NEAR_NS and abs(dx) <= _NEAR_PX]
    middle = round(median(near)) if near else 0
    apart = [dy for dy in near if abs(dy) >= _APART_PX]
    agrees = len(near) >= _LEAST_CLICKS and sum(abs(dy - middle) <= _NEAR_PX for dy in near) >= _AGREE_SHARE * len(near)
    if not options.fix_y_offset:
        if apart and agrees and abs(middle) >= _APART_PX:
            report.kept["click_beside_the_pointer"] += len(apart)
            where = f"{abs(middle)} px {'below' if middle > 0 else 'above'}"
            report.notes.append(f"clicks lie {where} the moves right before them: --fix-y-offset puts them there")
        return 0
    if not agrees:
        raise ConfigError(
            f"--fix-y-offset measures how far clicks lie from the moves right before them and needs {_LEAST_CLICKS}"
            f" that agree: {report.source} has {len(near)} such clicks; leave it out"
        )
    report.decided["y of clicks"] = f"{-middle:+d} px"
    return -middle
