"""The game state over HTTP."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request

import pytest

from vlm_agent.errors import ConfigError
from vlm_agent.games.ringcraft import state_server
from vlm_agent.games.ringcraft.core import Ringcraft
from vlm_agent.games.ringcraft.state_server import StateServer


def ask(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        assert answer.headers["Content-Type"] == "application/json"
        return json.loads(answer.read())


def test_the_state_that_was_published_last_is_answered() -> None:
    game = Ringcraft(3)
    with StateServer() as server:
        assert ask(server.url) == {}
        for _ in range(2):
            state = game.export()
            server.publish(state)
            assert ask(server.url) == json.loads(json.dumps(state))
            game.advance(600)
        assert ask(server.url)["timestamp"] == 600


def test_it_listens_on_loopback_until_it_is_closed() -> None:
    with StateServer() as server:
        assert server.url.startswith("http://127.0.0.1:")
        port = int(server.url.split(":")[2].split("/")[0])
        with pytest.raises(ConfigError, match=f"--state-port {port}: can't listen"):
            StateServer(port)
    with pytest.raises(urllib.error.URLError):
        ask(server.url)
    with pytest.raises(ConfigError, match="--state-port 99999"):
        StateServer(99999)


def send(port: int, head: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(head.encode())
        return peer.makefile("rb").read()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:{port}", "localhost:{port}", "localhost"])
def test_this_machine_is_answered_by_its_names(host: str) -> None:
    with StateServer() as server:
        port = int(server.url.split(":")[2].split("/")[0])
        server.publish({"tick": 7})
        assert b'{"tick":7}' in send(port, f"GET / HTTP/1.0\r\nHost: {host.format(port=port)}\r\n\r\n")


@pytest.mark.parametrize(
    "lines", ["Host: evil.example:{port}\r\n", "", "Host: 127.0.0.1.evil.example\r\n", "Host: localhost\r\nHost: x\r\n"]
)
def test_a_name_that_was_pointed_here_is_not_answered(lines: str) -> None:
    with StateServer() as server:
        port = int(server.url.split(":")[2].split("/")[0])
        server.publish({"tick": 7})
        answer = send(port, f"GET / HTTP/1.0\r\n{lines.format(port=port)}\r\n")
        assert b"403" in answer
        assert b"tick" not in answer


def test_a_peer_that_drips_is_let_go_and_few_are_heard_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_server, "LONGEST_REQUEST_S", 0.5)
    monkeypatch.setattr(state_server, "MOST_REQUESTS", 3)
    with StateServer() as server:
        port = int(server.url.split(":")[2].split("/")[0])
        peers = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(3)]
        time.sleep(0.2)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as late:
            assert late.recv(1) == b""
        begun_s = time.monotonic()
        try:
            while time.monotonic() - begun_s < 8:
                peers[0].send(b"G")
                time.sleep(0.05)
        except OSError:
            pass
        assert time.monotonic() - begun_s < 5
        assert b"200" in send(port, "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        for peer in peers:
            peer.close()
