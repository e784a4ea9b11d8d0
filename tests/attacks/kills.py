"""Kill every writing command at random moments, run it again, and hold what comes out against an undisturbed run.

    python -m tests.attacks.kills [--commands label import] [--tries 30] [--seed 0]

A kill is SIGKILL, SIGTERM or SIGINT, to the whole group of processes or to the first one alone. Told to end, a command
must say one line and have a shell's exit code. Run again, it must finish, with the bytes of a run that nobody killed
(see `commands` for what can't be compared so), nothing left behind, and no process of the killed one alive.

It takes minutes to hours: a try is two runs. No part of `make test`.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

from tests.attacks.attacking import Tally, attack_all, run_alone
from tests.attacks.commands import Command, find_orphans, finish, name_differences, prepare, read_output, start

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SLOW_S = 30.0
"""Longer than any clearing up takes, also on a busy machine."""
FIRST_MOMENT_S = 0.15
"""Before this Python itself is starting, and nothing of ours is there to hear a signal."""


def attack(command: Command, tries: int, chance: random.Random, made: Path, folder: Path) -> Tally:
    """Kill a command so many times."""
    whole_s, wanted = run_alone(command, made, folder)
    tally = Tally()
    for number in range(tries):
        faults = _try(command, chance, whole_s, tally, made, folder)
        faults += name_differences(read_output(folder, command), wanted)
        tally.counts["same in the end"] += not faults
        tally.faults += [f"{command.name}, try {number}: {fault}" for fault in faults]
    return tally


def _try(command: Command, chance: random.Random, whole_s: float, tally: Tally, made: Path, folder: Path) -> list[str]:
    words = prepare(folder, command, made)
    number, is_group = chance.choice(SIGNALS), chance.random() < 0.6
    moment_s = chance.uniform(FIRST_MOMENT_S, max(whole_s, 2 * FIRST_MOMENT_S))
    process = start(folder, words)
    time.sleep(moment_s)
    is_hit = process.poll() is None
    if is_hit:
        (os.killpg if is_group else os.kill)(process.pid, number)
    began_s = time.monotonic()
    code, told = finish(process)
    how = f"{number.name} to {'all' if is_group else 'one'} after {moment_s:.2f} s"
    faults = [f"{how}: process {pid} lives" for pid in find_orphans(process.pid)]
    if is_hit and code != 0:
        tally.counts["hit"] += 1
        tally.counts[number.name] += 1
        if number != signal.SIGKILL:
            said = [line for line in told.splitlines() if not line.startswith("note: ")]
            if code != 128 + number or len(said) != 1:
                faults.append(f"{how}: exit code {code}, {told[-600:]!r}")
            if time.monotonic() - began_s > SLOW_S:
                faults.append(f"{how}: it took {time.monotonic() - began_s:.0f} s to end")
    code, told = finish(start(folder, words))
    if code and not (command.done_again and command.done_again in told):
        faults.append(f"{how}: run again, exit code {code}: {told[-600:]!r}")
    else:
        tally.counts["finished on rerun"] += 1
    return faults


if __name__ == "__main__":
    COLUMNS = ("hit", *(number.name for number in SIGNALS), "finished on rerun", "same in the end")
    attack_all(attack, __doc__, COLUMNS, tries=30, title="killed at random moments")
