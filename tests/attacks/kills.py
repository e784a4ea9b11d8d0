"""Kill every writing command at random moments, run it again, and hold what comes out against an undisturbed run.

    python -m tests.attacks.kills [--commands label import] [--tries 30] [--seed 0]

A kill is SIGKILL, SIGTERM or SIGINT, to the whole group of processes or to the first one alone. Told to end, a command
must say one line and have a shell's exit code. Run again, it must finish, with the bytes of a run that nobody killed
(see `commands` for what can't be compared so), nothing left behind, and no process of the killed one alive.

It takes minutes to hours: a try is two runs. No part of `make test`.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.attacks.commands import (
    COMMANDS,
    Command,
    find_orphans,
    finish,
    make_inputs,
    name_differences,
    prepare,
    read_output,
    start,
)

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SLOW_S = 30.0
"""Longer than any clearing up takes, also on a busy machine."""
FIRST_MOMENT_S = 0.15
"""Before this Python itself is starting, and nothing of ours is there to hear a signal."""


@dataclass
class Tally:
    """What became of the tries of a command."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def attack(command: Command, tries: int, chance: random.Random, made: Path, folder: Path) -> Tally:
    """Kill a command so many times."""
    words = prepare(folder, command, made)
    began_s = time.monotonic()
    code, told = finish(start(folder, words))
    whole_s = time.monotonic() - began_s
    if code:
        raise SystemExit(f"{command.name} does not work undisturbed: {told}")
    wanted = read_output(folder, command)
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


def main() -> None:
    """Attack, and show what became of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--tries", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--made", type=Path, default=Path(tempfile.gettempdir()) / "vlm-agent-attacked")
    args = parser.parse_args()
    made = args.made.resolve()
    make_inputs(made / "made")
    columns = ("command", "tries", "hit", "KILL", "TERM", "INT", "finished on rerun", "same in the end")
    table = Table(*columns, title="killed at random moments")
    faults = []
    with tempfile.TemporaryDirectory(dir=made) as folder:
        for name in args.commands:
            tally = attack(
                COMMANDS[name], args.tries, random.Random(f"{args.seed} {name}"), made / "made", Path(folder) / "try"
            )
            counted = [tally.counts[key] for key in ("hit", "SIGKILL", "SIGTERM", "SIGINT", *columns[-2:])]
            table.add_row(name, str(args.tries), *map(str, counted))
            faults += tally.faults
            Console(stderr=True).print(f"{name}: {dict(tally.counts)}", markup=False, highlight=False)
            for fault in tally.faults:
                Console(stderr=True).print(f"  {fault}", markup=False, highlight=False, soft_wrap=True)
    Console().print(table)
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
