"""Jobs in processes beside this one: their results, their surroundings, and what happens when one fails."""

from __future__ import annotations

import os
import sys

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


def test_a_failure_reaches_the_caller():
    with pytest.raises(ValueError, match="three"):
        list(run_beside(fail_at_three, range(6), 2))
