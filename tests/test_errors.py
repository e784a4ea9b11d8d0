"""How a program ends: one line and an exit code for a user's mistake and for every signal, at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vlm_agent.errors import ENDING_SIGNALS, DataError, Interrupted, run_guarded

ROOT = Path(__file__).resolve().parent.parent
TOLD = {
    signal.SIGINT: "stopped by the user\n",
    signal.SIGTERM: "stopped by SIGTERM\n",
    signal.SIGHUP: "stopped by SIGHUP\n",
}


@pytest.mark.parametrize("number", ENDING_SIGNALS)
def test_a_signal_is_one_line_and_a_shells_exit_code(number, capsys):
    before = [signal.getsignal(one) for one in ENDING_SIGNALS]
    cleared = []

    def work() -> None:
        try:
            signal.raise_signal(number)
            time.sleep(10)
        finally:
            cleared.append(True)

    assert run_guarded(work) == 128 + number
    assert capsys.readouterr().err == TOLD[number]
    assert cleared
    assert [signal.getsignal(one) for one in ENDING_SIGNALS] == before


@pytest.mark.parametrize("error", [ImportError("cannot load"), DataError("a.mcap is damaged"), OSError(28, "full")])
def test_what_an_interrupted_library_says_is_not_told(error, capsys):
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise error from None

    assert run_guarded(work) == 130
    assert capsys.readouterr().err == TOLD[signal.SIGINT]


def test_a_signal_that_somebody_swallowed_still_counts(capsys):
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            return

    assert run_guarded(work) == 143


def test_a_second_ctrl_c_at_once_does_not_end_the_clearing_up(capsys):
    cleared = []

    def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            cleared.append(True)

    assert run_guarded(work) == 130
    assert cleared
    assert capsys.readouterr().err == TOLD[signal.SIGINT]


def test_a_signal_in_a_destructor_is_raised_again(capsys):
    class Caught:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def work() -> None:
        one = Caught()
        del one
        time.sleep(10)

    began = time.monotonic()
    assert run_guarded(work) == 130
    assert time.monotonic() - began < 5
    assert capsys.readouterr().err == TOLD[signal.SIGINT]


def test_what_is_ignored_from_the_start_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_guarded(lambda: signal.raise_signal(signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_fault_of_ours_keeps_its_traceback():
    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_guarded(work)


def test_an_interruption_is_a_keyboard_interrupt():
    assert issubclass(Interrupted, KeyboardInterrupt)


ENTRIES = (
    ["label_segments.py"],
    ["train_vision_agent.py"],
    ["agent.py"],
    ["-m", "vlm_agent.cli", "label"],
    ["-m", "vlm_agent", "info"],
)


@pytest.mark.parametrize(("entry", "number"), list(zip(ENTRIES, (2, 15, 1, 2, 15), strict=True)))
def test_signals_are_heard_before_libraries_are_imported(entry, number, tmp_path):
    # The first library that is imported sends the signal; it fails in its own way, as numpy does.
    stub = (
        f"import os, time\ntry:\n    os.kill(os.getpid(), {number})\n    time.sleep(10)\n"
        "except KeyboardInterrupt:\n    raise ImportError('interrupted')\n"
    )
    (tmp_path / "tyro.py").write_text(stub)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, *entry], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (128 + number, TOLD[signal.Signals(number)])


@pytest.mark.parametrize(("code", "work"), [(0, "pass"), (130, "os.kill(os.getpid(), signal.SIGINT)")])
def test_a_signal_while_python_is_taken_down_changes_nothing(code, work):
    script = (
        "import os, signal\nfrom vlm_agent.errors import run_program\n"
        "class Last:\n    def __del__(self, kill=os.kill, pid=os.getpid()):\n"
        "        kill(pid, 2)\n        kill(pid, 15)\n"
        f"last = Last()\ndef main():\n    {work}\nrun_program(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, TOLD[signal.SIGINT] if code else "")
