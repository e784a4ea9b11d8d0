"""Game states from an endpoint, a file, a folder and a program: whole ones, in order, within bounds."""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from recorder_support import wait_until

from vlm_agent.errors import LeftOutError
from vlm_agent.recording import state_sources
from vlm_agent.recording.clock import SessionClock
from vlm_agent.recording.game_states import STAMPS, GameStateFeed, find_stamp
from vlm_agent.recording.state_sources import CommandSource, Exported, Odd, SourceProblem, StateSource, open_source
from vlm_agent.sessions.game_states import parse_state, to_v2


class Exporter(HTTPServer):
    """A game's endpoint, answering with what a test puts into it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body, self.trickle_s = 200, b"{}", 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Exporter

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        self.end_headers()
        if self.server.status != 204:
            for start in range(0, len(self.server.body), 1 << 20):
                self.wfile.write(self.server.body[start : start + (1 << 20)])
                time.sleep(self.server.trickle_s)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    with Exporter() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()


@pytest.fixture
def open_it() -> Iterator[Callable[[str], StateSource]]:
    sources: list[StateSource] = []

    def open_one(text: str) -> StateSource:
        sources.append(open_source(text, SessionClock()))
        return sources[-1]

    yield open_one
    for source in sources:
        source.close()


def states(found: list[Exported | Odd]) -> list[dict[str, Any] | str]:
    """The states, and the reason where there is one in place of a state."""
    return [one.state if isinstance(one, Exported) else one.reason for one in found]


def make_state(state: dict[str, Any], arrived_ns: int) -> Exported:
    return Exported(state, arrived_ns, state)


def test_an_endpoint_tells_each_state_once(exporter: Exporter, open_it: Callable[[str], StateSource]) -> None:
    source = open_it(f"{exporter.url}/events")
    exporter.body = b'{"gameTick": 1, "npc health ": 5}'
    before_ns = SessionClock().now_ns()
    [found] = source.poll()
    assert found.state == {"gameTick": 1, "npc health ": 5}
    assert found.arrived_ns > before_ns
    assert source.poll() == []
    exporter.body = b'{"gameTick": 2}'
    assert states(source.poll()) == [{"gameTick": 2}]
    # Nobody is logged in.
    exporter.status = 204
    assert source.poll() == []


def test_a_list_of_items_is_read_as_an_import_reads_it(
    exporter: Exporter, open_it: Callable[[str], StateSource]
) -> None:
    exporter.body = b'[{"id": 1592, "quantity": 1}]'
    [state] = states(open_it(f"{exporter.url}/inv").poll())
    assert state == to_v2([{"id": 1592, "quantity": 1}])[0]
    assert state["inventory"]["slots"][0]["itemId"] == 1592


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>", "state_is_not_json"),
        (b"\xff\xfe\xfa", "state_is_not_json"),
        (b'{"chat": "hi \\ud83d"}', "state_has_half_a_character"),
        (b'{"\\udc00": 1}', "state_has_half_a_character"),
        ('{"chat": "hi \ud83d"}'.encode("utf-8", "surrogatepass"), "state_is_not_json"),
        ('{"chat": "hi \\ud83d"}'.encode("utf-16"), "state_has_half_a_character"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "state_is_too_deep"),
        (b'{"a":' * 200_000, "state_is_too_deep"),
        (b'{"x": ' + b"9" * 5_000 + b"}", "state_is_not_json"),
        (b"null", "state_is_no_object"),
        (b'"loading"', "state_is_no_object"),
        (b"[1, 2]", "state_is_no_object"),
        (b'{"x": "' + b"y" * (8 << 20) + b'"}', "state_is_too_large"),
    ],
)
def test_a_state_that_can_not_be_kept_is_left_out_as_an_import_does(
    exporter: Exporter, open_it: Callable[[str], StateSource], body: bytes, reason: str
) -> None:
    with pytest.raises(LeftOutError) as caught:
        parse_state(body)
    assert caught.value.reason == reason
    exporter.body = body
    source = open_it(exporter.url)
    [odd] = source.poll()
    assert isinstance(odd, Odd)
    assert odd.reason == reason
    assert exporter.url in odd.told
    assert source.poll() == []
    exporter.body = b'{"tick": 1}'
    assert states(source.poll()) == [{"tick": 1}]


def test_numbers_that_are_none_are_null_and_counted(exporter: Exporter, open_it: Callable[[str], StateSource]) -> None:
    exporter.body = b'{"timestamp": 1e999, "x": [NaN, -Infinity, 1e308, ' + b"9" * 400 + b"]}"
    [found] = open_it(exporter.url).poll()
    assert isinstance(found, Exported)
    assert found.state == {"timestamp": None, "x": [None, None, 1e308, None]}
    assert found.not_finite == 4


def test_an_endpoint_that_errs_says_how(exporter: Exporter, open_it: Callable[[str], StateSource]) -> None:
    exporter.status = 500
    with pytest.raises(SourceProblem, match="does not answer"):
        open_it(exporter.url).poll()


def test_an_endpoint_is_bounded_in_size_and_time(
    exporter: Exporter, open_it: Callable[[str], StateSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_it(exporter.url)
    exporter.body = b'{"x": "' + b"y" * (9 << 20) + b'"}'
    assert states(source.poll()) == ["state_is_too_large"]
    monkeypatch.setattr(state_sources, "HTTP_TIMEOUT_S", 0.2)
    exporter.body, exporter.trickle_s = b'{"x": "' + b"y" * (6 << 20) + b'"}', 0.15
    began_s = time.monotonic()
    with pytest.raises(SourceProblem, match="longer than"):
        source.poll()
    assert time.monotonic() - began_s < 5


def test_nobody_there_is_told(open_it: Callable[[str], StateSource]) -> None:
    with pytest.raises(SourceProblem, match=r"does not answer: .*refused"):
        open_it("http://127.0.0.1:9/").poll()


def test_a_file_is_read_when_it_changes_and_waited_for_when_half_written(
    tmp_path: Path, open_it: Callable[[str], StateSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    source = open_it(str(path))
    with pytest.raises(SourceProblem, match="No such file"):
        source.poll()
    path.write_text('{"tick": 1}')
    assert states(source.poll()) == [{"tick": 1}]
    assert source.poll() == []
    path.write_text('{"tick": 2, "inv')
    assert source.poll() == []
    path.write_text('{"tick": 2, "inventory": []}')
    assert states(source.poll()) == [{"tick": 2, "inventory": []}]
    monkeypatch.setattr(state_sources, "HALF_WRITTEN_S", 0.05)
    path.write_text('{"tick": 3')
    assert source.poll() == []
    time.sleep(0.08)
    assert states(source.poll()) == ["state_is_not_json"]
    assert source.poll() == []
    # What is whole and yet can't be kept is not waited for.
    path.write_text('{"tick": "\\ud83d"}')
    assert states(source.poll()) == ["state_has_half_a_character"]
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SourceProblem, match="is no file"):
        source.poll()


def test_a_folder_gives_the_newest_and_then_every_new_file_in_order(
    tmp_path: Path, open_it: Callable[[str], StateSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(tick: int, text: str | None = None) -> None:
        path = tmp_path / f"{tick}.json"
        path.write_text(text if text is not None else json.dumps({"tick": tick}))
        os.utime(path, (1_000 + tick, 1_000 + tick))

    for tick in (7, 8, 9):
        export(tick)
    source = open_it(str(tmp_path))
    assert states(source.poll()) == [{"tick": 9}]
    assert source.poll() == []
    (tmp_path / "notes.txt").write_text("no state")
    for tick in (10, 11):
        export(tick)
    export(12, '{"ti')
    export(13)
    assert states(source.poll()) == [{"tick": 10}, {"tick": 11}]
    assert source.poll() == []
    export(12)
    assert states(source.poll()) == [{"tick": 12}, {"tick": 13}]
    # One that stays broken is told, and does not stand in the way for ever.
    monkeypatch.setattr(state_sources, "HALF_WRITTEN_S", 0.01)
    export(14, "{")
    export(15)
    assert source.poll() == []
    time.sleep(0.03)
    [odd, state] = source.poll()
    assert isinstance(odd, Odd)
    assert "14.json: not JSON" in odd.told
    assert state.state == {"tick": 15}
    # More than can be read at a time: the newest, and a count of the others.
    monkeypatch.setattr(state_sources, "_MAX_FILES", 2)
    for tick in (16, 17, 18, 19, 20):
        export(tick)
    missed, *rest = source.poll()
    assert missed == Odd("state_came_too_fast", missed.told, 3)
    assert states(rest) == [{"tick": 19}, {"tick": 20}]


def test_a_programs_lines_are_states(open_it: Callable[[str], StateSource]) -> None:
    code = "print('{\"tick\": 1}'); print(); print('{\"tick\": 2}')"
    source = open_it(f"cmd:{sys.executable} -c {json.dumps(code)}")
    found: list[dict[str, Any]] = []

    def has_both() -> bool:
        found.extend(states(source.poll()))
        return len(found) == 2

    wait_until(has_both)
    assert found == [{"tick": 1}, {"tick": 2}]

    wait_until(lambda: source._process.poll() is not None and not source._reader.is_alive())
    with pytest.raises(SourceProblem, match="ended with exit code 0"):
        source.poll()


def test_a_program_that_ended_is_no_trouble_before_its_last_line_is_read(
    open_it: Callable[[str], StateSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    may_read = threading.Event()
    read_lines = CommandSource._read_lines

    def read_late(self: CommandSource) -> None:
        may_read.wait(10)
        read_lines(self)

    monkeypatch.setattr(CommandSource, "_read_lines", read_late)
    source = open_it(f"cmd:{sys.executable} -c " + json.dumps("print('{\"tick\": 1}')"))
    wait_until(lambda: source._process.poll() is not None)
    assert source.poll() == []
    may_read.set()
    wait_until(lambda: not source._reader.is_alive())
    assert states(source.poll()) == [{"tick": 1}]
    with pytest.raises(SourceProblem, match="ended with exit code 0"):
        source.poll()


def test_an_odd_line_costs_no_other(open_it: Callable[[str], StateSource], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_sources, "MAX_JSON_BYTES", 100)
    code = "print('{\"n\":1}\\n{\"n\":' + ' ' * 1000 + '2}\\nx\\n' + '7' * 300 + '\\n{\"n\":3}')"
    source = open_it(f"cmd:{sys.executable} -c {shlex.quote(code)}")
    wait_until(lambda: not source._reader.is_alive())
    assert states(source.poll()) == [
        {"n": 1}, "state_is_not_json", "state_is_not_json", "state_is_no_object", {"n": 3},
    ]  # fmt: skip


def test_lines_that_come_too_fast_are_counted(
    open_it: Callable[[str], StateSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_sources, "_MAX_WAITING_BYTES", 25)
    source = open_it(f"cmd:{sys.executable} -c 'for n in range(10): print(dict())'")
    wait_until(lambda: not source._reader.is_alive())
    found = source.poll()
    assert found[0] == Odd("state_came_too_fast", found[0].told, 2)
    assert states(found[1:]) == [{}] * 8


def test_a_program_that_leaves_another_behind_holds_nothing_up(open_it: Callable[[str], StateSource]) -> None:
    source = open_it("cmd:sh -c 'sleep 20 & echo {}; wait'")
    wait_until(lambda: states(source.poll()) == [{}])
    began_s = time.monotonic()
    source.close()
    assert time.monotonic() - began_s < 5


def test_a_program_that_runs_on_is_ended(open_it: Callable[[str], StateSource]) -> None:
    source = open_it(f"cmd:{sys.executable} -c 'import time; time.sleep(600)'")
    source.close()
    assert source._process.returncode is not None


class Scripted:
    """Gives one prepared answer a poll; a text is a problem."""

    def __init__(self, answers: list[Any]) -> None:
        self._answers = answers
        self.feed: GameStateFeed | None = None

    def poll(self) -> list[Exported]:
        if len(self._answers) == 1 and self.feed is not None:
            self.feed.stop()
        answer = self._answers.pop(0) if self._answers else []
        if isinstance(answer, str):
            raise SourceProblem(answer)
        return answer

    def close(self) -> None:
        """Hold nothing."""


def run_feed(answers: list[Any], **settings: Any) -> tuple[list[tuple[int, Exported]], list[str]]:
    taken: list[tuple[int, Exported]] = []
    said: list[str] = []
    source = Scripted(answers)
    source.feed = GameStateFeed(
        source, take=lambda t_ns, exported: taken.append((t_ns, exported)), say=said.append, every_ms=0.01, **settings
    )
    source.feed.run()
    return taken, said


def test_states_and_troubles_are_counted() -> None:
    source = Scripted(["refused", [make_state({"tick": 1}, 10), make_state({"tick": 2}, 20)], "refused", "refused"])
    source.feed = GameStateFeed(source, take=lambda t_ns, exported: None, say=lambda text: None, every_ms=0.01)
    source.feed.run()
    assert (source.feed.state.states, source.feed.state.problems) == (2, 3)


@pytest.mark.parametrize(
    ("state", "stamp"),
    [
        ({"timestamp": 5, "time_ms": 6, "time": 7}, 5),
        ({"time_ms": 6.5, "time": 7}, 6.5),
        ({"time": 0}, 0),
        ({"timestamp": "5", "time": 7}, 7),
        ({"timestamp": True}, None),
        ({"tick": 3}, None),
    ],
)
def test_a_states_own_time_is_the_first_number_of_its_names(state: dict[str, Any], stamp: float | None) -> None:
    assert find_stamp(state, STAMPS) == stamp


def test_trouble_is_told_once_and_its_end() -> None:
    ok = [make_state({"tick": 1}, 10)]
    taken, said = run_feed(["refused", "refused", ok, [], "refused", ok])
    assert said == ["no game state: refused", "game state again", "no game state: refused", "game state again"]
    assert len(taken) == 2


def test_states_are_dated_by_their_own_stamp_and_drift_is_told() -> None:
    start_ns = 1_795_000_000_000_000_000
    ms = 1_000_000
    # The exporter's clock loses 4 ms a tick; its stamps are found under another name.
    answers = [
        [make_state({"exported": (start_ns // ms + tick * 596)}, start_ns + tick * 600 * ms + 20 * ms)]
        for tick in range(120)
    ]
    taken, said = run_feed(answers, stamp="exported")
    assert len(taken) == 120
    assert taken[0][0] == taken[0][1].arrived_ns
    assert len(said) == 1
    assert "exporter's clock has drifted by +1" in said[0]


def test_odd_states_are_counted_told_once_and_move_nothing() -> None:
    """Loading screens without a time, a clock an hour ahead, states that can't be kept, among good ones."""
    start_ns, ms = 1_795_000_000_000_000_000, 1_000_000
    answers: list[Any] = []
    for step in range(40):
        arrived_ns = start_ns + step * 100 * ms
        stamp = {5: 0, 6: 0, 7: 0, 20: arrived_ns // ms + 3_600_000}.get(step, arrived_ns // ms - 30)
        odd = [Odd("state_is_not_json", "x: not JSON")] if step % 10 == 0 else []
        answers.append([*odd, Exported({"n": step}, arrived_ns, {"timestamp": stamp}, not_finite=step == 9)])
    source = Scripted(answers)
    taken: list[tuple[int, Exported]] = []
    said: list[str] = []
    source.feed = GameStateFeed(
        source, take=lambda t_ns, exported: taken.append((t_ns, exported)), say=said.append, every_ms=0.01
    )
    source.feed.run()
    assert [t_ns for t_ns, _ in taken] == [exported.arrived_ns for _, exported in taken]
    assert source.feed.state.left_out == {"state_is_not_json": 4}
    assert source.feed.state.mended == {"stamp_is_no_time": 3, "stamp_is_ahead": 1, "number_that_is_not_finite": 1}
    assert said == [
        "a game state is left out: x: not JSON",
        "a game state's own time is no time: it is dated by its arrival",
        "a number in a game state is none, or infinite: null in its place",
        "a game state's own time is 60 minutes ahead: it is dated by its arrival",
    ]
