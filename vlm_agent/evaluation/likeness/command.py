"""`vlm-agent likeness`: in what an agent moves and times its input like the player, and in what not.

OUT/likeness.json   all numbers
OUT/likeness.md     sentences and tables
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlm_agent.errors import DataError
from vlm_agent.evaluation.command_lines import check_least
from vlm_agent.locks import only_writer

if TYPE_CHECKING:
    from vlm_agent.evaluation.likeness.likeness import Likeness


@dataclass(frozen=True, kw_only=True)
class LikenessConfig:
    """Hold an agent's recorded episodes against the player's sessions: how it moves, and when it acts."""

    agent: Path
    """Folder of the agent's recorded episodes (`.mcap`), with the folders in it."""
    player: Path
    """Folder of the player's recorded sessions."""
    out: Path = Path("likeness")
    """Folder for `likeness.json` and `likeness.md`."""
    policy: str | None = None
    """Only episodes of this contender, as `tuned`, where the folder holds several."""
    most_sessions: int = 200
    """Take so many sessions of each side at most, evenly spread."""
    splits: int = 200
    """Random splits of the player's sessions that say how far the player is from themself."""
    permutations: int = 999
    """Exchanges of sessions that say whether a difference is one of chance."""
    seed: int = 0
    """Of all chance."""

    def __post_init__(self) -> None:
        """Raise ConfigError where chance would not be asked, or hardly anybody."""
        # Among twenty features, p can't be below 0.05 after correction with fewer permutations.
        check_least(self, {"splits": 20, "permutations": 500, "most_sessions": 4})


def run(config: LikenessConfig) -> Likeness:
    """Measure, write the numbers into `config.out`, and print sentences and tables.

    Raises:
        DataError: a folder holds too few sessions, a damaged one, or one of the other side.
        BusyError: another process writes into `config.out`.
    """
    from vlm_agent.evaluation.likeness.contrasts import Effort
    from vlm_agent.evaluation.likeness.measuring import count_steps, measure_likeness
    from vlm_agent.evaluation.likeness.section import write_section
    from vlm_agent.evaluation.progress import make_progress
    from vlm_agent.evaluation.report import write_json
    from vlm_agent.files import write_text
    from vlm_agent.terminal import PlainConsole
    from vlm_agent.training.moments import spread

    console = PlainConsole()
    agent = spread(find_sessions(config.agent, "--agent", config.policy), config.most_sessions)
    player = spread(find_sessions(config.player, "--player"), config.most_sessions)
    effort = Effort(splits=config.splits, permutations=config.permutations)
    with only_writer(config.out), make_progress(console, transient=True) as progress:
        task = progress.add_task("reading", total=count_steps(len(agent) + len(player)))
        likeness = measure_likeness(
            agent,
            player,
            effort=effort,
            seed=config.seed,
            on_step=lambda done: progress.update(task, advance=1, description=done),
        )
        section = write_section(likeness)
        write_json(config.out / "likeness.json", likeness.to_json())
        write_text(config.out / "likeness.md", section.to_markdown())
    for table in section.tables:
        console.print(table.to_rich())
    for sentence in section.sentences:
        console.print(sentence)
    console.print(f"numbers: {config.out / 'likeness.json'}")
    return likeness


def find_sessions(folder: Path, flag: str, policy: str | None = None) -> list[Path]:
    """Return the recorded sessions in a folder and its folders, in the order of their names.

    Args:
        folder: where to look.
        flag: what it was given with, for the message.
        policy: only episodes of this contender; None takes all.

    Raises:
        DataError: there are none, or one can't be read.
    """
    if not folder.is_dir():
        raise DataError(f"{flag} {folder}: expected a folder of recorded sessions, and it is none")
    paths = sorted(folder.rglob("*.mcap"))
    if not paths:
        raise DataError(f"{flag} {folder}: expected recorded sessions (.mcap), found none")
    if policy is None:
        return paths
    from vlm_agent.sessions.reader import SessionReader

    policies = {path: SessionReader(path).meta.get("policy") for path in paths}
    chosen = [path for path in paths if policies[path] == policy]
    if not chosen:
        there = ", ".join(sorted({str(name) for name in policies.values() if name is not None})) or "nobody's"
        raise DataError(f"{flag} {folder}: no episodes of {policy!r} (--policy), there are those of {there}")
    return chosen
