"""Whatever is said to an executor, it neither crashes nor hangs, and injects nothing that was not asked for."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.executors.acting import Bench, encode
from vlm_agent.actions.playback import NS_PER_MS
from vlm_agent.actions.types import Click, Key, Move
from vlm_agent.executors.protocol import MAX_LINE_BYTES, Refused, RequestRefusedError, read_request, write_request
from vlm_agent.executors.server import MAX_CONNECTIONS, Server, SocketServer
from vlm_agent.executors.terms import State

TOKEN = "a token"
ALLOWED = {"a", "w", "space", "shift", "ctrl", "alt", "f4", "left", "right", "middle"}
PIECES = [b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\n", b"\x00", b"\xff\xfe", b"null", b"1e999", b"NaN"]
PIECES += [b"-1", b"9" * 400, b'"type":', b"chunk", b"resume", b"true", "\ud7ff".encode(), b"\\ud800", b"[" * 5000]


def make_seeds(now_ns: int) -> list[bytes]:
    texts = [encode(Key(20, "w")), encode(Move(50, 9, 9), Click(20, 9, 9)), encode(Key(0, "a", "down")), "[]", ""]
    chunks = [write_request("chunk", number=1, start_ns=now_ns, window=[400, 300], text=text) for text in texts]
    others = [write_request(kind) for kind in ("heartbeat", "stop", "status", "resume")]
    return [*chunks, *others, write_request("status", events=True), write_request("hello", token=TOKEN)]


def mutate(line: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(line) + 1)
        match rng.randrange(6):
            case 0:
                line = line[:at] + rng.choice(PIECES) + line[at:]
            case 1:
                line = line[:at] + bytes([rng.randrange(256)]) + line[at + 1 :]
            case 2:
                line = line[:at] + line[at + rng.randint(1, 20) :]
            case 3:
                line = line[:at]
            case 4:
                line += line[at:]
            case _:
                line = line.replace(b"400", rng.choice(PIECES), 1)
    return line


def draw(seeds: list[bytes], rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.7:
        return mutate(rng.choice(seeds), rng)
    if kind < 0.8:
        return rng.randbytes(rng.randint(1, 200))
    if kind < 0.81:
        return b"x" * rng.randint(MAX_LINE_BYTES - 2, 2 * MAX_LINE_BYTES)
    return rng.choice(seeds)


class AskedFor:
    """Watches which chunks a server takes, and so what may be injected."""

    def __init__(self, bench: Bench) -> None:
        self.texts: list[str] = []
        submit = bench.performer.submit

        def watch(chunk):
            told = submit(chunk)
            self.texts.append(chunk.text)
            return told

        bench.performer.submit = watch  # type: ignore[method-assign]


def test_50_000_inputs_crash_nothing_and_press_nothing_unasked():
    rng = random.Random(8)
    bench = Bench()
    asked = AskedFor(bench)
    server = Server(bench.performer, bench.kill, TOKEN)
    connections = []
    num_answers, longest_s = 0, 0.0
    for number in range(50_000):
        if number % 50 == 0:
            seeds = make_seeds(bench.clock.t_ns)
        if len(connections) < 4:
            connection = server.connect()
            if rng.random() < 0.9:
                connection.feed(write_request("hello", token=TOKEN))
            connections.append(connection)
        connection = rng.choice(connections)
        data = draw(seeds, rng)
        began = time.perf_counter()
        for line in connection.feed(data).splitlines():
            answer = json.loads(line)
            assert answer["ok"] or answer["reason"] in list(Refused)
            num_answers += 1
        longest_s = max(longest_s, time.perf_counter() - began)
        if connection.is_closing or rng.random() < 0.01:
            connection.close()
            connections.remove(connection)
        if number % 10 == 0:
            bench.play((bench.clock.t_ns - bench.begin_ns) / NS_PER_MS + rng.choice([1, 20, 60]))
        if bench.performer.state in (State.PAUSED, State.STOPPED) and number % 40 == 0:
            bench.performer.resume()
            server._driver = None
    bench.kill.throw("signal")  # type: ignore[arg-type]
    bench.performer.step()
    assert num_answers > 10_000
    assert longest_s < 1.0
    assert len(asked.texts) > 100
    assert bench.device.sent
    assert bench.device.down == []
    said = "".join(asked.texts)
    pressed = {what[1] for _, what in bench.sent if what[0] in ("down", "up")}
    assert pressed <= {name for name in ALLOWED if f'"{name}"' in said}
    assert all(100 <= what[1] < 500 and 50 <= what[2] < 350 for _, what in bench.sent if what[0] == "move")
    num_asked = sum(text.count('"event"') for text in asked.texts)
    assert sum(what[0] in ("down", "turn") for _, what in bench.sent) <= num_asked


def test_without_a_valid_request_nothing_is_ever_injected():
    rng = random.Random(9)
    bench = Bench()
    server = Server(bench.performer, bench.kill, TOKEN)
    unknown = server.connect()
    for number in range(2_000):
        if unknown.is_closing:
            unknown = server.connect()
        # Legal requests too: but nobody has said the token.
        unknown.feed(draw([line for line in make_seeds(bench.clock.t_ns) if b"token" not in line], rng))
        if number % 20 == 0:
            bench.play((bench.clock.t_ns - bench.begin_ns) / NS_PER_MS + 30)
    assert bench.sent == []
    assert bench.performer.state is State.WAITING
    assert bench.kill.stop is None


def test_a_real_socket_bears_nonsense_many_peers_and_slow_ones(tmp_path: Path):
    bench = Bench()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s"))
    listening.listen()
    server = SocketServer(Server(bench.performer, bench.kill, TOKEN), listening)
    is_over = threading.Event()

    def serve():
        while not is_over.is_set():
            server.serve_once(0.02)

    thread = threading.Thread(target=serve)
    thread.start()
    rng = random.Random(10)
    seeds = make_seeds(bench.clock.t_ns)
    slow = connect(tmp_path)
    slow.sendall(write_request("hello", token=TOKEN) + b'{"type":"sta')  # and no more
    deaf = connect(tmp_path)
    deaf.sendall(write_request("hello", token=TOKEN))
    deaf.setblocking(False)
    try:
        for _ in range(400):
            peer = connect(tmp_path)
            if rng.random() < 0.7:
                peer.sendall(write_request("hello", token=TOKEN))
            with contextlib.suppress(OSError):
                peer.sendall(draw([line for line in seeds if b"stop" not in line], rng))
                peer.settimeout(0.0)
                peer.recv(1000)
            with contextlib.suppress(OSError):
                deaf.send(write_request("status") * 50)  # and never reads an answer
            peer.close()
        many = [connect(tmp_path) for _ in range(MAX_CONNECTIONS + 10)]
        for peer in many:
            peer.close()
        until = time.monotonic() + 5
        while not ask(tmp_path, "status"):
            assert time.monotonic() < until
    finally:
        is_over.set()
        thread.join()
        server.close()
        for peer in (slow, deaf):
            peer.close()
    assert bench.sent == []


def connect(folder: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(5)
    until = time.monotonic() + 5
    while True:
        try:
            peer.connect(str(folder / "s"))
            return peer
        except BlockingIOError:  # more are waiting than there is room for
            assert time.monotonic() < until
            time.sleep(0.001)


def ask(folder: Path, kind: str) -> bool:
    try:
        with connect(folder) as peer, peer.makefile("rb") as reader:
            peer.sendall(write_request("hello", token=TOKEN) + write_request(kind))
            reader.readline()
            return bool(json.loads(reader.readline())["ok"])
    except (OSError, ValueError):
        return False  # no room at the moment


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "not_json"),
        (b"[]", "wrong_form"),
        (b'{"type":1}', "wrong_form"),
        (b'{"type":"press","key":"a"}', "unknown_type"),
        (b'{"type":"stop","now":true}', "wrong_form"),
        (b'{"type":"stop","type":"stop"}', "not_json"),
        (b'{"type":"status","events":1}', "wrong_form"),
        (b'{"type":"hello"}', "wrong_form"),
        (b'{"type":"hello","token":null}', "wrong_form"),
        (b"[" * 10_000, "not_json"),
        (b"9" * 10_000, "not_json"),
        (b'{"type":"chunk","number":1,"start_ns":NaN,"window":[1,1],"text":""}', "not_json"),
        (b'{"type":"chunk","number":true,"start_ns":1,"window":[1,1],"text":""}', "wrong_form"),
        (b'{"type":"chunk","number":1,"start_ns":1.0,"window":[1,1],"text":""}', "wrong_form"),
        (b'{"type":"chunk","number":1,"start_ns":99999999999999999999,"window":[1,1],"text":""}', "wrong_form"),
        (b'{"type":"chunk","number":1,"start_ns":1,"window":[1],"text":""}', "wrong_form"),
        (b'{"type":"chunk","number":1,"start_ns":1,"window":[1,1],"text":[]}', "wrong_form"),
        (b" " * (MAX_LINE_BYTES + 1), "too_long"),
        (b"\xff", "not_json"),
    ],
)
def test_what_is_not_a_request_is_refused_by_reason(line, reason):
    with pytest.raises(RequestRefusedError) as refusal:
        read_request(line)
    assert refusal.value.reason == reason


def test_one_drives_and_all_may_stop():
    bench = Bench()
    server = Server(bench.performer, bench.kill, TOKEN)
    driver, other = server.connect(), server.connect()
    for connection in (driver, other):
        connection.feed(write_request("hello", token=TOKEN))
    chunk = write_request(
        "chunk", number=5, start_ns=bench.clock.t_ns, window=[400, 300], text=encode(Key(50, "w", "down"))
    )
    assert json.loads(driver.feed(chunk)) == {"type": "chunk", "ok": True, "number": 5, "events": 1, "late": 0}
    assert json.loads(other.feed(chunk))["reason"] == "not_driver"
    bench.play(100)
    assert json.loads(other.feed(write_request("status")))["held"] == ["key w"]
    assert json.loads(other.feed(write_request("stop")))["ok"]
    bench.performer.step()
    assert bench.device.down == []
    assert json.loads(driver.feed(write_request("resume")))["reason"] == "is_driver"
    assert json.loads(driver.feed(chunk))["reason"] == "stopped"
    assert json.loads(other.feed(write_request("resume")))["ok"]
    assert json.loads(driver.feed(chunk))["ok"]
    driver.close()
    assert bench.performer.describe()["reason"] == "policy_gone"


def test_lines_may_come_in_pieces_and_a_long_one_ends_the_connection():
    bench = Bench()
    connection = Server(bench.performer, bench.kill, TOKEN).connect()
    line = write_request("hello", token=TOKEN) + write_request("status")
    answers = b"".join(connection.feed(line[at : at + 1]) for at in range(len(line)))
    assert [json.loads(one)["ok"] for one in answers.splitlines()] == [True, True]
    told = json.loads(connection.feed(b"x" * (MAX_LINE_BYTES + 1)))
    assert (told["reason"], connection.is_closing) == ("too_long", True)
    assert connection.feed(write_request("status")) == b""


def test_a_wrong_token_ends_the_connection():
    bench = Bench()
    connection = Server(bench.performer, bench.kill, TOKEN).connect()
    assert json.loads(connection.feed(write_request("hello", token="\ud800")))["reason"] == "bad_token"
    assert connection.is_closing


def test_a_refused_chunk_makes_nobody_the_driver_but_who_sent_one_cannot_forgive():
    bench = Bench()
    server = Server(bench.performer, bench.kill, TOKEN)
    flooder, driver = server.connect(), server.connect()
    for connection in (flooder, driver):
        connection.feed(write_request("hello", token=TOKEN))
    nonsense = write_request("chunk", number=1, start_ns=bench.clock.t_ns, window=[400, 300], text="nonsense")
    assert json.loads(flooder.feed(nonsense))["reason"] == "bad_chunk"
    chunk = write_request("chunk", number=5, start_ns=bench.clock.t_ns, window=[400, 300], text=encode(Key(50, "w")))
    assert json.loads(driver.feed(chunk))["ok"]
    assert json.loads(flooder.feed(write_request("resume")))["reason"] == "is_driver"
    flooder.close()
    assert bench.kill.stop is None


@pytest.mark.parametrize("are_known", [False, True])
def test_those_who_only_sit_there_make_room_for_who_wants_to_stop(tmp_path: Path, are_known):
    bench = Bench()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s"))
    listening.listen()
    server = SocketServer(Server(bench.performer, bench.kill, TOKEN), listening)
    driver = connect(tmp_path)
    chunk = write_request("chunk", number=5, start_ns=bench.clock.t_ns, window=[400, 300], text=encode(Key(50, "w")))
    driver.sendall(write_request("hello", token=TOKEN) + chunk)
    idle = []
    for _ in range(3 * MAX_CONNECTIONS):
        idle.append(connect(tmp_path))
        if are_known:
            idle[-1].sendall(write_request("hello", token=TOKEN))
        for _ in range(3):
            server.serve_once(0.0)
    stopper = connect(tmp_path)
    stopper.sendall(write_request("hello", token=TOKEN) + write_request("stop"))
    for _ in range(5):
        server.serve_once(0.0)
    assert bench.kill.stop is not None
    assert str(bench.kill.stop.reason) == "command"  # and not that the driver was hung up
    server.close()
    for peer in (driver, stopper, *idle):
        peer.close()


def test_whoever_says_no_hello_is_hung_up_after_two_seconds(tmp_path: Path, monkeypatch):
    bench = Bench()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s"))
    listening.listen()
    server = SocketServer(Server(bench.performer, bench.kill, TOKEN), listening)
    stranger, known = connect(tmp_path), connect(tmp_path)
    known.sendall(write_request("hello", token=TOKEN))
    for _ in range(4):
        server.serve_once(0.0)
    now_s = time.monotonic()
    monkeypatch.setattr("vlm_agent.executors.server.time.monotonic", lambda: now_s + 2.1)
    server.serve_once(0.0)
    known.recv(1000)
    assert stranger.recv(1) == b""
    known.settimeout(0.05)
    with pytest.raises(TimeoutError):
        known.recv(1)
    server.close()
    for peer in (stranger, known):
        peer.close()
