"""What kills and races share: the command line, the undisturbed run that all is held against, and the table."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.table import Table

from tests.attacks.commands import COMMANDS, Command, finish, make_inputs, prepare, read_output, start


@dataclass
class Tally:
    """What became of the tries of a command."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


Attack = Callable[[Command, int, random.Random, Path, Path], Tally]
"""Takes a command, how many tries, chance, where the inputs are, and the folder of a try."""


def run_alone(command: Command, made: Path, folder: Path) -> tuple[float, dict[str, Any]]:
    """Run a command that nothing disturbs; return how many seconds it took, and what it wrote."""
    words = prepare(folder, command, made)
    began_s = time.monotonic()
    code, told = finish(start(folder, words))
    whole_s = time.monotonic() - began_s
    if code:
        raise SystemExit(f"{command.name} does not work alone: {told}")
    return whole_s, read_output(folder, command)


def attack_all(attack: Attack, description: str, columns: Sequence[str], *, tries: int, title: str) -> NoReturn:
    """Read the command line, attack the commands it names, show a row for each, and exit with 1 if a fault was found.

    Args:
        attack: one command.
        description: for `--help`.
        columns: keys of what is counted, in order.
        tries: of each command, where the command line does not say.
        title: of the table.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--tries", type=int, default=tries)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--made", type=Path, default=Path(tempfile.gettempdir()) / "vlm-agent-attacked")
    args = parser.parse_args()
    made = args.made.resolve()
    make_inputs(made / "made")
    table, told = Table("command", "tries", *columns, title=title), Console(stderr=True)
    num_faults = 0
    with tempfile.TemporaryDirectory(dir=made) as folder:
        for name in args.commands:
            chance = random.Random(f"{args.seed} {name}")
            tally = attack(COMMANDS[name], args.tries, chance, made / "made", Path(folder) / "try")
            table.add_row(name, str(args.tries), *(str(tally.counts[key]) for key in columns))
            num_faults += len(tally.faults)
            for line in (f"{name}: {dict(tally.counts)}", *(f"  {fault}" for fault in tally.faults)):
                told.print(line, markup=False, highlight=False, soft_wrap=True)
    Console().print(table)
    raise SystemExit(1 if num_faults else 0)
