"""One writer at a time, also in races, after kills, and where the folder comes and goes with its writers."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from vlm_agent import locks
from vlm_agent.errors import DataError
from vlm_agent.locks import LOCK_FILE, BusyError, hold, is_locked, only_maker, only_writer

HOLD = (
    "import sys, time\nfrom pathlib import Path\nfrom vlm_agent.locks import only_maker, only_writer\n"
    "sys.argv = ['/bin/vlm-agent', 'label']\n"
    "with {which}(Path({place!r})):\n    print('held', flush=True)\n    sys.stdin.read()\n"
)


@contextmanager
def another_process(place: Path, which: str = "only_writer"):
    """A process that holds the lock until the block ends, or it is killed."""
    code = HOLD.format(which=which, place=str(place))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        if process.poll() is None:
            process.stdin.close()


def in_another_thread(work):
    """Return what work returns, or the error it raises, in a thread of its own."""
    found = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001 it is returned
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def enter(place: Path) -> bool:
    with only_writer(place):
        return True


def test_a_second_process_is_told_who_writes_and_what_to_do(tmp_path):
    out = tmp_path / "new" / "out"
    with another_process(out) as process:
        with pytest.raises(BusyError) as error, only_writer(out):
            pass
        assert str(error.value) == (
            f"{out} is being written by `vlm-agent label` (process {process.pid});"
            " wait until it has ended, stop it, or give another --out"
        )
    assert enter(out)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_leaves_is_taken_over_and_taken_away(tmp_path):
    with another_process(tmp_path / "out") as process:
        process.kill()
        process.wait()
    assert [path.name for path in (tmp_path / "out").iterdir()] == [LOCK_FILE]
    assert enter(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_who_waits_says_so_and_comes_next(tmp_path, capsys):
    with another_process(tmp_path) as process:
        threading.Timer(0.3, process.stdin.close).start()
        began = time.monotonic()
        with only_writer(tmp_path, waits=True):
            assert time.monotonic() - began > 0.2
    told = f"waiting: {tmp_path} is being written by `vlm-agent label` (process {process.pid})\n"
    assert capsys.readouterr().err == told


def test_a_stage_inside_a_command_has_its_lock_and_another_thread_has_not(tmp_path):
    with only_writer(tmp_path):
        assert enter(tmp_path)
        assert enter(tmp_path / "." / ".." / tmp_path.name)
        assert isinstance(in_another_thread(lambda: enter(tmp_path)), BusyError)
        assert enter(tmp_path / "another")
        assert isinstance(in_another_thread(lambda: enter(tmp_path)), BusyError)
    assert in_another_thread(lambda: enter(tmp_path)) is True


def test_what_appears_as_a_whole_is_locked_beside_it(tmp_path):
    place = tmp_path / "export"
    with another_process(place, "only_maker"):
        assert not place.exists()
        with pytest.raises(BusyError, match="export is being written by `vlm-agent label`"), only_maker(place):
            pass
    with only_maker(place):
        place.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_links_that_lead_round_are_one_line(tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "back")
    (tmp_path / "back").symlink_to(tmp_path / "out")
    for lock in (only_writer, only_maker):
        with pytest.raises(DataError, match=r"out.*--out"), lock(tmp_path / "out"):
            pass


def test_a_race_of_many_never_has_two_inside_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_POLL_S", 0.0005)
    out, inside, entered = tmp_path / "out", [], []

    def work() -> None:
        for _ in range(25):
            with only_writer(out, waits=True):
                inside.append(threading.get_ident())
                time.sleep(0)
                entered.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entered == [1] * 150
    # Who made the folder could not take it away while another was in it.
    assert not out.exists() or not list(out.iterdir())


def test_a_file_system_without_locks_is_written_all_the_same(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert enter(tmp_path)
    assert not is_locked(tmp_path)


def test_a_file_is_locked_as_long_as_another_process_that_lives_holds_it(tmp_path):
    path = tmp_path / LOCK_FILE
    assert not is_locked(path)
    path.touch()
    assert not is_locked(path)
    with another_process(tmp_path) as process:
        assert is_locked(path)
        process.kill()
        process.wait()
        assert not is_locked(path)


def test_what_this_process_holds_others_see_locked_and_it_does_not(tmp_path):
    path = tmp_path / "a.part"
    look = f"from pathlib import Path; from vlm_agent.locks import is_locked; print(is_locked(Path({str(path)!r})))"
    with path.open("wb") as file:
        hold(file.fileno(), path)
        assert not is_locked(path)
        told = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout
        assert told == "True\n"


def test_where_nothing_can_be_written_the_place_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file can't be written: .*; name another place with --out"):
        enter(tmp_path / "file")


def test_a_full_disk_names_the_place(tmp_path):
    def fill() -> None:
        with only_writer(tmp_path / "out"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DataError, match=r"out: No space left on device; make room, and give the same command again"):
        fill()


def test_on_a_full_disk_the_lock_holds_without_words(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(locks.os, "write", refuse)
    with only_writer(tmp_path):
        assert (tmp_path / LOCK_FILE).read_bytes() == b""
        told = in_another_thread(lambda: enter(tmp_path))
        assert str(told).startswith(f"{tmp_path} is being written by another process")
