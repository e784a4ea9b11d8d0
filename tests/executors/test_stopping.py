"""`vlm-agent stop` and `resume` find every executor of a user from whatever environment, and end one that is deaf."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from x_server import ListeningWindow, read_keys_down

from tests.executors.acting import TITLE, live, play_live, wait_for
from vlm_agent.actions.types import Key
from vlm_agent.errors import ConfigError
from vlm_agent.executors import processes
from vlm_agent.executors.endpoints import OWN_FOLDER, close_endpoint, find_endpoints, list_folders, open_endpoint
from vlm_agent.executors.processes import MODULE, end_executor, find_executors
from vlm_agent.executors.stopping import ResumeConfig, StopConfig, ask_all, resume, stop


def find_all():
    return find_endpoints((folder, None) for folder in list_folders())


@pytest.fixture
def no_own_folder(monkeypatch, tmp_path, own_endpoints):
    """The usual folders, as far as they can be led elsewhere, and no process but those of the test."""
    monkeypatch.delenv(OWN_FOLDER)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(own_endpoints / "run"))
    monkeypatch.setenv("TMPDIR", str(own_endpoints / "tmp"))
    monkeypatch.setattr("vlm_agent.executors.endpoints.tempfile.gettempdir", lambda: str(own_endpoints / "tmp"))


def test_folders_of_every_environment_are_looked_into(monkeypatch):
    user = os.getuid()
    private = f"vlm-agent-{user}"
    assert list_folders({OWN_FOLDER: "/only"}) == [Path("/only")]
    assert Path("/tmp") / private in list_folders({})
    told = list_folders({"XDG_RUNTIME_DIR": "/run/one", "TMPDIR": "/var/other"})
    assert told[0] == Path("/run/one/vlm-agent")
    assert Path("/var/other") / private in told
    assert Path("/tmp/vlm-agent-4321") in list_folders({}, 4321)
    monkeypatch.setattr(Path, "is_dir", lambda self: str(self) == "/run/user/4321")
    assert Path("/run/user/4321/vlm-agent") in list_folders({}, 4321)


def test_an_endpoint_is_told_of_in_every_folder_and_found_once(no_own_folder, own_endpoints):
    endpoint, listening = open_endpoint("A game", is_live=True)
    files = list(own_endpoints.rglob("*.json"))
    assert len(files) == 2
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    assert all(stat.S_IMODE(path.parent.stat().st_mode) == 0o700 for path in files)
    found, _ = find_endpoints((path.parent, None) for path in files)
    assert [(one.address, one.token, one.pid) for one in found] == [(endpoint.address, endpoint.token, os.getpid())]
    listening.close()
    close_endpoint(endpoint)
    assert list(own_endpoints.rglob("executor-*")) == []


def test_a_dead_endpoint_and_a_broken_file_are_passed_over():
    endpoint, listening = open_endpoint("A game", is_live=True)
    listening.close()
    (endpoint.path.parent / "executor-1.json").write_text("{")
    reached = ask_all("stop")
    assert (reached.answers, reached.silent) == ([], [])
    close_endpoint(endpoint)
    assert find_all() == ([], [])


def test_a_folder_that_others_can_open_is_not_used_and_said(own_endpoints):
    endpoint, listening = open_endpoint("A game", is_live=True)
    own_endpoints.chmod(0o755)
    _, problems = find_all()
    assert "only you can open" in problems[0]
    with pytest.raises(ConfigError, match="only you can open"):
        open_endpoint("A game", is_live=True)
    with pytest.raises(ConfigError, match=r"not into: .*only you can open"):
        stop(StopConfig())
    listening.close()
    close_endpoint(endpoint)


def test_a_folder_too_deep_for_a_socket_is_one_line_or_another_folder_is_taken(monkeypatch, own_endpoints, tmp_path):
    deep = tmp_path / ("d" * 120)
    monkeypatch.setenv(OWN_FOLDER, str(deep))
    with pytest.raises(ConfigError, match="too long"):
        open_endpoint("A game", is_live=True)
    monkeypatch.setattr(
        "vlm_agent.executors.endpoints.list_folders", lambda: [deep, tmp_path / "file" / "x", own_endpoints]
    )
    (tmp_path / "file").write_text("")
    endpoint, listening = open_endpoint("A game", is_live=True)
    assert Path(endpoint.address).parent == own_endpoints
    assert (deep / endpoint.path.name).exists()
    listening.close()
    close_endpoint(endpoint)


def test_stop_without_an_executor_is_one_line_that_says_where_was_looked(own_endpoints):
    result = subprocess.run(
        [sys.executable, "-m", "vlm_agent.cli", "stop"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "none is running" in result.stderr
    assert str(own_endpoints) in result.stderr


def test_executors_are_found_by_their_command_line_and_told_by_their_variables(tmp_path, monkeypatch):
    def add(pid, user, *arguments, **variables):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "cmdline").write_bytes(b"\0".join(one.encode() for one in arguments) + b"\0")
        (folder / "status").write_text(f"Name:\tpython\nUid:\t{user}\t{user}\t{user}\t{user}\n")
        (folder / "environ").write_bytes(b"".join(f"{name}={value}\0".encode() for name, value in variables.items()))

    monkeypatch.delenv(OWN_FOLDER)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    add(10, 1000, "/usr/bin/python3", "-m", MODULE, XDG_RUNTIME_DIR="/run/one")
    add(11, 1001, "python", "-m", MODULE)
    add(12, 1000, "python", "-m", "vlm_agent.executors.guardian")
    add(13, 1000, "grep", MODULE)
    add(14, 1000, "")
    add(15, 1000, "python", "-m", MODULE, **{OWN_FOLDER: "/own"})
    (tmp_path / "self").mkdir()
    found = find_executors(tmp_path)
    assert [(one.pid, one.environment) for one in found] == [
        (10, {"XDG_RUNTIME_DIR": "/run/one"}),
        (15, {OWN_FOLDER: "/own"}),
    ]
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert [one.pid for one in find_executors(tmp_path)] == [10, 11, 15]
    monkeypatch.setenv(OWN_FOLDER, "/own")
    assert [one.pid for one in find_executors(tmp_path)] == [15]


def test_what_is_no_executor_is_not_ended():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert end_executor(process.pid) is None
        assert process.poll() is None
        process.stdin.close()
    assert end_executor(process.pid) is None


def test_from_an_environment_without_the_agents_variables_it_is_stopped(x_display, tmp_path, monkeypatch):
    # What the agent was started with is read off its process; the command itself knows nothing of it. It is called in
    # this process and told of this one executor, as it would stop every other one of this user too.
    with ListeningWindow(x_display, TITLE), live(tmp_path) as client:
        assert play_live(client, Key(0, "w", "down"))["ok"]
        wait_for(lambda: read_keys_down(x_display))
        [own] = [one for one in find_executors() if one.pid == client.pid]
        monkeypatch.delenv(OWN_FOLDER)
        monkeypatch.setattr("vlm_agent.executors.stopping.list_folders", only_own_folder)
        monkeypatch.setattr("vlm_agent.executors.stopping.find_executors", lambda: [own])
        stop(StopConfig())
        told = client.connection.ask("status")
        assert (told["state"], told["reason"]) == ("stopped", "command")
        assert read_keys_down(x_display) == []
        resume(ResumeConfig())
        assert client.connection.ask("status")["state"] == "waiting"


def only_own_folder(environment=None, user=None):
    return list_folders(environment, user) if environment and OWN_FOLDER in environment else []


@pytest.mark.parametrize("how", ["frozen", "no file"])
def test_one_that_does_not_answer_is_ended_and_lets_go(x_display, tmp_path, monkeypatch, capsys, how):
    monkeypatch.setattr(processes, "_ENDS_WITHIN_S", 0.5)
    monkeypatch.setattr("vlm_agent.executors.stopping._ANSWER_S", 0.1)
    with ListeningWindow(x_display, TITLE), live(tmp_path) as client:
        assert play_live(client, Key(0, "w", "down"))["ok"]
        wait_for(lambda: read_keys_down(x_display))
        if how == "frozen":
            os.kill(client.pid, signal.SIGSTOP)
        else:
            client.endpoint.path.unlink()
        with pytest.raises(ConfigError, match=f"could not reach process {client.pid}, .*`vlm-agent stop` ends it"):
            resume(ResumeConfig())
        stop(StopConfig())
        number = "SIGKILL" if how == "frozen" else "SIGTERM"
        assert capsys.readouterr().out == f"process {client.pid} did not answer: ended by {number}\n"
        wait_for(lambda: not read_keys_down(x_display))


def test_what_answers_as_no_executor_does_is_nobody():
    endpoint, listening = open_endpoint("A game", is_live=True)

    def answer():
        for _ in range(3):
            peer, _ = listening.accept()
            with peer:
                peer.recv(100)
                peer.sendall(b"what?\n")

    thread = threading.Thread(target=answer)
    thread.start()
    assert ask_all("stop").answers == []
    thread.join()
    listening.close()
    close_endpoint(endpoint)
