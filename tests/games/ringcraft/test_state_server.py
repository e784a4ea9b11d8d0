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


def test_the_tick_s_state_stays_while_the_present_one_goes_on() -> None:
    game = Ringcraft(3)
    with StateServer() as server:
        now = server.url.replace("/state", "/now")
        assert ask(server.url) == ask(now) == {}
        first = game.export()
        server.publish(first, is_tick=True)
        assert ask(server.url) == ask(now) == json.loads(json.dumps(first))
        game.advance(100)
        server.publish(game.export(), is_tick=False)
        assert ask(server.url)["timestamp"] == 0
        assert ask(now)["timestamp"] == 100


def test_it_listens_on_loopback_and_knows_no_other_path() -> None:
    with StateServer() as server:
        assert server.url.startswith("http://127.0.0.1:")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(server.url.replace("/state", "/etc/passwd"))
        port = int(server.url.split(":")[2].split("/")[0])
        with pytest.raises(ConfigError, match=f"--state-port {port}: can't listen"):
            StateServer(port)
    with pytest.raises(urllib.error.URLError):
        ask(server.url)
    with pytest.raises(ConfigError, match="--state-port 99999"):
        StateServer(99999)
