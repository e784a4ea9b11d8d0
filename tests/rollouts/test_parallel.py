"""Jobs in processes beside this one: their results, their surroundings, and what happens when one fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vlm_agent.rollouts.parallel import THREADS_VARIABLES, run_beside


def square(number: int) -> int:
    return number * number


def look_around(_: int) -> tuple[int, str | None, list[str | None], bool]:
    """Process, a variable, threads, and whether torch is here without anybody having asked for it."""
    threads = [os.environ.get(name) for name in THREADS_VARIABLES]
    return os.getpid(), os.environ.get("VLM_AGENT_TEST_WORD"), threads, "torch" in sys.modules


def fail_at_three(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


def count_threads(_: int) -> int:
    import torch

    return torch.get_num_threads()


def is_running(process: int) -> bool:
    """Whether a process is there; one that has ended and that nobody has asked after is not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("with_models", [False, True])
def test_every_job_is_done_once(with_models):
    assert sorted(run_beside(square, range(7), 2, with_models=with_models)) == [number**2 for number in range(7)]


@pytest.mark.parametrize("with_models", [False, True])
@pytest.mark.parametrize("word", ["first", "second"])
def test_processes_have_this_ones_environment_and_a_thread_each(monkeypatch, with_models, word):
    monkeypatch.setenv("VLM_AGENT_TEST_WORD", word)
    before = dict(os.environ)
    for process, seen, threads, has_torch in run_beside(look_around, range(4), 2, with_models=with_models):
        assert process != os.getpid()
        assert (seen, set(threads)) == (word, {"1"})
        assert has_torch == with_models
    assert dict(os.environ) == before


def test_a_model_has_one_thread():
    assert set(run_beside(count_threads, range(2), 2)) == {1}


@pytest.mark.parametrize("with_models", [False, True])
def test_workers_end_when_their_parent_is_killed(tmp_path, with_models):
    script = tmp_path / "play.py"
    script.write_text(
        "import os, sys, time\n"
        "from vlm_agent.rollouts.parallel import run_beside\n"
        "def work(number):\n"
        "    os.write(1, b'%d\\n' % os.getpid())\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        f"    list(run_beside(work, range(4), 2, with_models={with_models}))\n"
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
    deadline = time.monotonic() + 20
    while any(map(is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, workers))


def test_a_failure_reaches_the_caller():
    with pytest.raises(ValueError, match="three"):
        list(run_beside(fail_at_three, range(6), 2))


@pytest.mark.parametrize("with_models", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_is_one_line_and_leaves_nobody(tmp_path, with_models, number):
    script = tmp_path / "play.py"
    script.write_text(
        "import os, time\n"
        "from vlm_agent.errors import run_program\n"
        "from vlm_agent.rollouts import parallel\n"
        "parallel.MODEL_MODULES = ()\n"
        "def work(number):\n"
        "    os.write(1, b'%d\\n' % os.getpid())\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        f"    run_program(lambda: list(parallel.run_beside(work, range(4), 2, with_models={with_models})))\n"
    )
    command = [sys.executable, str(script)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, start_new_session=True) as parent:
        workers = [int(parent.stdout.readline()) for _ in range(2)]
        os.killpg(parent.pid, number)
        _, told = parent.communicate(timeout=30)
    assert (parent.returncode, told.count("\n")) == (128 + number, 1), told
    assert "stopped by" in told
    assert not any(map(is_running, workers))
