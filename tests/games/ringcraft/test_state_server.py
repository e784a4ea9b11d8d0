"""The game state over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from vlm_agent.errors import ConfigError
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
