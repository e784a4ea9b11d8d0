"""Start every writing command two or three times at once, and hold what comes out against a run alone.

    python -m tests.attacks.races [--commands label import] [--tries 10] [--seed 0]

At least one must end well; the others end well too (they waited, or found all done), or are refused in one line, with
exit code 2. What is there in the end must be what one run alone leaves. No part of `make test`.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from tests.attacks.attacking import Tally, attack_all, run_alone
from tests.attacks.commands import Command, finish, name_differences, prepare, read_output, start

REFUSED = ("is being written by", "is there already", "already exists")


def attack(command: Command, tries: int, chance: random.Random, made: Path, folder: Path) -> Tally:
    """Race a command against itself so many times."""
    whole_s, wanted = run_alone(command, made, folder)
    tally = Tally()
    counts = tally.counts
    for number in range(tries):
        words = prepare(folder, command, made)
        processes = []
        for _ in range(chance.choice((2, 2, 3))):
            processes.append(start(folder, words))
            time.sleep(chance.choice((0.0, chance.uniform(0, 0.3), chance.uniform(0, whole_s))))
        ended = [finish(process) for process in processes]
        found = [f"exit code {code}: {told[-600:]!r}" for code, told in ended if not _is_well(code, told)]
        if not any(code == 0 for code, _ in ended):
            found.append(f"nobody won: {[told[-300:] for _, told in ended]}")
        found += name_differences(read_output(folder, command), wanted)
        counts["started"] += len(ended)
        counts["ended well"] += sum(code == 0 for code, _ in ended)
        counts["refused"] += sum(code == 2 for code, _ in ended)
        counts["as alone"] += not found
        tally.faults += [f"{command.name}, try {number}: {fault}" for fault in found]
    return tally


def _is_well(code: int, told: str) -> bool:
    said = [line for line in told.splitlines() if not line.startswith(("note: ", "waiting: "))]
    return code == 0 or (code == 2 and len(said) == 1 and any(words in told for words in REFUSED))


if __name__ == "__main__":
    COLUMNS = ("started", "ended well", "refused", "as alone")
    attack_all(attack, __doc__, COLUMNS, tries=10, title="two or three at once")
