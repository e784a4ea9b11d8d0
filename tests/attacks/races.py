"""Start every writing command two or three times at once, and hold what comes out against a run alone.

    python -m tests.attacks.races [--commands label import] [--tries 10] [--seed 0]

At least one must end well; the others end well too (they waited, or found all done), or are refused in one line, with
exit code 2. What is there in the end must be what one run alone leaves. No part of `make test`.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.attacks.commands import (
    COMMANDS,
    Command,
    finish,
    make_inputs,
    name_differences,
    prepare,
    read_output,
    start,
)

REFUSED = ("is being written by", "is there already", "already exists")


def attack(
    command: Command, tries: int, chance: random.Random, made: Path, folder: Path
) -> tuple[Counter[str], list[str]]:
    """Race a command against itself so many times; return what was counted, and what went wrong."""
    words = prepare(folder, command, made)
    began_s = time.monotonic()
    code, told = finish(start(folder, words))
    whole_s = time.monotonic() - began_s
    if code:
        raise SystemExit(f"{command.name} does not work alone: {told}")
    wanted = read_output(folder, command)
    counts: Counter[str] = Counter()
    faults = []
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
        faults += [f"{command.name}, try {number}: {fault}" for fault in found]
    return counts, faults


def _is_well(code: int, told: str) -> bool:
    said = [line for line in told.splitlines() if not line.startswith(("note: ", "waiting: "))]
    return code == 0 or (code == 2 and len(said) == 1 and any(words in told for words in REFUSED))


def main() -> None:
    """Race, and show what became of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--tries", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--made", type=Path, default=Path(tempfile.gettempdir()) / "vlm-agent-attacked")
    args = parser.parse_args()
    made = args.made.resolve()
    make_inputs(made / "made")
    columns = ("started", "ended well", "refused", "as alone")
    table = Table("command", "races", *columns, title="two or three at once")
    faults = []
    with tempfile.TemporaryDirectory(dir=made) as folder:
        for name in args.commands:
            chance = random.Random(f"{args.seed} {name}")
            counts, found = attack(COMMANDS[name], args.tries, chance, made / "made", Path(folder) / "try")
            table.add_row(name, str(args.tries), *(str(counts[key]) for key in columns))
            faults += found
            Console(stderr=True).print(f"{name}: {dict(counts)}", markup=False, highlight=False)
            for fault in found:
                Console(stderr=True).print(f"  {fault}", markup=False, highlight=False, soft_wrap=True)
    Console().print(table)
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    main()
