"""Run by `bounded_child`: which names regular expressions match. Stands alone."""

from __future__ import annotations

import json
import re
import sys


def match_names(asked: dict[str, list[str]]) -> dict[str, dict[str, list[str]] | dict[str, str]]:
    """Return for every expression in `whole` the names it matches, and for every name the first of `ends` at its end.

    Args:
        asked: `whole` and `ends`, regular expressions as peft uses them, and `names`.
    """
    names = asked["names"]
    try:
        whole = {pattern: [name for name in names if re.fullmatch(pattern, name)] for pattern in asked["whole"]}
        ends = [(key, re.compile(rf"(.*\.)?({key})$")) for key in asked["ends"]]
    except re.error as error:
        return {"faults": {"fault": str(error)}}
    first = {}
    for name in names:
        found = next((key for key, pattern in ends if pattern.match(name)), None)
        if found is not None:
            first[name] = found
    return {"whole": whole, "first": first}


def limit_process() -> None:
    """Take the limits of time and memory from the command line, where the system has such."""
    try:
        import resource
    except ImportError:
        return
    cpu_s, memory_bytes = map(int, sys.argv[1:3])
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    except (ValueError, OSError):
        return


if __name__ == "__main__":
    limit_process()
    sys.stdout.write(json.dumps(match_names(json.load(sys.stdin))))
