"""A rollout that was killed, or ran into a full disk, goes on as if nothing had been."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.canned_play import SeededPolicy, make_env
from tests.rollouts.killed_rollout import NUM_SEEDS, make_plan
from vlm_agent.rollouts.playing import EpisodeConfig
from vlm_agent.rollouts.running import RolloutPlan, run_rollout


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, object]:
    store = tmp_path_factory.mktemp("whole") / "episodes.jsonl"
    return store, run_rollout(make_plan(), store=store)


def _kill_after(store: Path, num_lines: int) -> bool:
    """Play in a process group of its own until the store has so many lines, and kill all of it; tell if it lived."""
    command = [sys.executable, "-m", "tests.rollouts.killed_rollout", str(store)]
    process = subprocess.Popen(command, start_new_session=True)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if store.exists() and store.read_bytes().count(b"\n") >= num_lines:
            break
        time.sleep(0.001)
    was_alive = process.poll() is None
    if was_alive:
        # Workers too, as a lost power supply would.
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return was_alive


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(whole, tmp_path, seed):
    store = tmp_path / "out" / "episodes.jsonl"
    moments = sorted(random.Random(seed).sample(range(2, NUM_SEEDS - 4), 2))
    for moment in moments:
        assert _kill_after(store, moment), f"ended before line {moment}"
        lines = store.read_text().splitlines()
        assert moment <= len(lines) < NUM_SEEDS
    rollout = run_rollout(make_plan(), store=store)
    assert rollout == whole[1]
    assert store.read_bytes() == whole[0].read_bytes()
    assert list(store.parent.iterdir()) == [store]


def test_a_finished_store_has_the_same_bytes_however_it_was_played(tmp_path):
    plan = RolloutPlan("seeded", make_env, SeededPolicy, "x", tuple(range(9)), EpisodeConfig(max_ticks=3))
    stores = [tmp_path / f"{workers}.jsonl" for workers in (1, 2)]
    for workers, store in enumerate(stores, 1):
        run_rollout(plan, workers=workers, store=store)
    assert stores[0].read_bytes() == stores[1].read_bytes()


@pytest.mark.parametrize("at_episode", [1, 3])
def test_on_a_full_disk_nothing_half_written_stays(tmp_path, monkeypatch, at_episode):
    store = tmp_path / "episodes.jsonl"
    plan = RolloutPlan("seeded", make_env, SeededPolicy, "x", (1, 2, 3, 4), EpisodeConfig(max_ticks=3))
    write_text, calls = Path.write_text, []

    def fill_up(self: Path, text: str, **options: str) -> int:
        calls.append(self)
        if len(calls) == at_episode:
            write_text(self, text[: len(text) // 2], **options)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return write_text(self, text, **options)

    monkeypatch.setattr(Path, "write_text", fill_up)
    with pytest.raises(OSError, match="No space left"):
        run_rollout(plan, store=store)
    assert [path.name for path in tmp_path.iterdir()] == (["episodes.jsonl"] if at_episode > 1 else [])
    if at_episode > 1:
        assert len(store.read_text().splitlines()) == at_episode
    monkeypatch.undo()
    assert run_rollout(plan, store=store) == run_rollout(plan)
