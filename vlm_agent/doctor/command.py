"""`vlm-agent doctor`: looks at everything that recording, training and acting need, and says what to mend.

Exit code 0 where nothing failed, 1 where something did.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vlm_agent.errors import ConfigError, MissingExtraError, ModelError

if TYPE_CHECKING:
    from vlm_agent.actions.placement import Rect
    from vlm_agent.chat import Recipe
    from vlm_agent.desktop.types import Desktop
    from vlm_agent.doctor.aim import Aim, Target
    from vlm_agent.doctor.checks import Check

EXIT_FAILED = 1
"""Exit code where something will not work."""


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Look at display, permissions, card, versions and model files; draw where a click would land."""

    window: str | None = None
    """Title of the window to aim at, or a regular expression for it; by default the whole screen."""
    dataset: Path | None = None
    """Aim at what was clicked in recorded windows of this dataset; by default at corners and middle."""
    model: str = "base"
    """The model whose files are looked at, and, for a run, whose coordinates are used."""
    recipe: Path | None = None
    """For an adapter from elsewhere, which has no `recipe.json`: a run of train_vision_agent.py that is asked alike, or
    the `recipe.json` of one. Its base is the one that its own adapter_config.json names, or else the run's."""
    samples: int = 3
    """How many recorded clicks are aimed at."""
    out: Path = Path("doctor.png")
    """Picture of the screen with the targets and where clicks would land."""
    as_json: Annotated[bool, tyro.conf.arg(name="json"), tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a dataset that is not there or no sample."""
        if self.samples < 1:
            raise ConfigError(f"--samples must be at least 1, got {self.samples}")
        if self.dataset is not None and not self.dataset.is_dir():
            raise ConfigError(f"--dataset {self.dataset}: no such folder; give that of a dataset")
        if not self.out.parent.is_dir():
            raise ConfigError(f"--out {self.out}: there is no folder {self.out.parent}")


def run(config: DoctorConfig) -> None:
    """Look at everything, print what was found, and end with exit code 1 where something failed.

    Raises:
        ConfigError: no window has that title.
        DataError: the dataset can't be read, or holds no click.
    """
    from vlm_agent.doctor.checks import State, check_desktop, check_keys

    checks = _check_machine(config)
    desktop, on_screen = check_desktop()
    checks += on_screen
    aims: list[Aim] = []
    if desktop is not None:
        try:
            aims = _aim(config, desktop)
        finally:
            desktop.close()
        checks.append(_judge(aims, config.out))
        recipe = _find_recipe(config.model, config.recipe)
        checks += [] if recipe is None else [check_keys(recipe.spec)]
    if config.as_json:
        sys.stdout.write(json.dumps(_describe(checks, aims), indent=2) + "\n")
    else:
        _show(checks, aims)
    if any(check.state is State.FAILED for check in checks):
        sys.exit(EXIT_FAILED)


def _check_machine(config: DoctorConfig) -> list[Check]:
    from vlm_agent.doctor.checks import check_card, check_disk, check_encoder, check_libraries, check_model

    return [
        check_libraries(),
        check_card(),
        check_model(config.model, config.recipe),
        check_encoder(),
        check_disk(config.out.parent),
    ]


def _aim(config: DoctorConfig, desktop: Desktop) -> list[Aim]:
    from vlm_agent.desktop.screen import ScreenGrabber
    from vlm_agent.doctor.aim import aim_at, draw_aims

    rect = _find_rect(config, desktop)
    recipe = _find_recipe(config.model, config.recipe)
    aims = [aim_at(target, rect, recipe) for target in _find_targets(config, rect)]
    grabber = ScreenGrabber()
    draw_aims(aims, grabber.grab(rect), config.out)
    grabber.close()
    return aims


def _find_rect(config: DoctorConfig, desktop: Desktop) -> Rect:
    from vlm_agent.desktop.windows import choose_window

    return desktop.screen if config.window is None else choose_window(desktop, config.window).rect


def _find_recipe(model: str, recipe: Path | None) -> Recipe | None:
    from vlm_agent.chat import Recipe
    from vlm_agent.evaluation.sides import find_side

    try:
        record = find_side(model, recipe).record
    except (ConfigError, MissingExtraError, ModelError):
        if recipe is not None:
            raise
        return None
    return None if record is None else Recipe.from_json(record["recipe"])


def _find_targets(config: DoctorConfig, rect: Rect) -> list[Target]:
    from vlm_agent.doctor.aim import list_corners, make_target, take_targets

    if config.dataset is None:
        return list_corners(rect)
    from vlm_agent.dataset.store import open_dataset

    dataset = open_dataset(config.dataset)
    split = "validation" if "validation" in dataset.splits else dataset.splits[0]
    windows = take_targets(dataset.windows(split), config.samples)
    return [make_target(window, dataset.frame(window)) for window in windows]


def _judge(aims: list[Aim], picture: Path) -> Check:
    from vlm_agent.doctor.checks import Check, State

    worst = max(aims, key=lambda aim: aim.distance_px)
    found = f"clicks land within {worst.distance_px:.1f} screen pixels of what is meant; drawn in {picture}"
    return Check("aim", State.OK, found, "look at the picture: each cross must lie in its ring, on what was clicked")


def _describe(checks: list[Check], aims: list[Aim]) -> dict[str, object]:
    return {
        "checks": [check.to_json() for check in checks],
        "aims": [
            {
                "label": aim.target.label,
                "meant_px": [round(value, 2) for value in aim.meant_px],
                "landed": list(aim.landed),
                "distance_px": round(aim.distance_px, 2),
            }
            for aim in aims
        ],
    }


def _show(checks: list[Check], aims: list[Aim]) -> None:
    from rich.text import Text

    from vlm_agent.terminal import PlainConsole, TextTable

    console = PlainConsole()
    styles = {"ok": "green", "warning": "yellow", "failed": "red"}
    table = TextTable(title="doctor")
    for heading in ("what", "state", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        table.add_row(check.name, Text(check.state, styles[check.state]), check.found, check.advice)
    console.print(table)
    if aims:
        console.print(_tabulate(aims))


def _tabulate(aims: list[Aim]) -> object:
    from vlm_agent.terminal import TextTable

    table = TextTable(title="where a click would land")
    for heading in ("target", "in the frame", "on the screen", "off by"):
        table.add_column(heading, overflow="fold")
    for aim in aims:
        target = aim.target
        table.add_row(
            target.label,
            f"{target.x_px}, {target.y_px}",
            f"{aim.landed[0]}, {aim.landed[1]}",
            f"{aim.distance_px:.1f} px",
        )
    return table
