"""How the report's plots are drawn: each twice, for light and for dark pages.

SVG with letters as paths, so that they look the same everywhere and need no font. No state of matplotlib is touched
outside a context, and nothing is drawn on a screen.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlm_agent.rollouts.episodes import Outcome

WIDTH_IN, HEIGHT_IN = 4.8, 3.0
"""Size of a plot; about 460 x 290 px on a page."""


@dataclass(frozen=True)
class Theme:
    """Colours of a plot."""

    ink: str
    """Text and axes."""
    muted: str
    """Less important text."""
    grid: str
    """Lines behind the data."""
    shades: str
    """Name of a colour map whose low end is near the page's colour."""
    high_ink: str
    """Text on the colour map's high end."""
    contenders: dict[str, str]
    """By name; told apart by people who don't see all colours (after Okabe and Ito, 2008)."""
    outcomes: dict[Outcome, str]
    """By what became of a decision."""


LIGHT = Theme(
    ink="#1c2430",
    muted="#66707d",
    grid="#e3e7ec",
    shades="Blues",
    high_ink="#ffffff",
    contenders={
        "base": "#d55e00",
        "tuned": "#0072b2",
        "demonstrator": "#009e73",
        "noop": "#7d8794",
        "random": "#7d8794",
        "repeat": "#7d8794",
    },
    outcomes={
        Outcome.EXECUTED: "#0072b2",
        Outcome.EMPTY: "#c3ccd6",
        Outcome.DONE: "#009e73",
        Outcome.INVALID: "#d55e00",
        Outcome.REFUSED: "#cc79a7",
        Outcome.LATE: "#e69f00",
    },
)
DARK = Theme(
    ink="#e6ebf1",
    muted="#9aa6b4",
    grid="#2b3440",
    shades="Blues_r",
    high_ink="#101418",
    contenders={
        "base": "#f0883e",
        "tuned": "#58a6ff",
        "demonstrator": "#3fcf9d",
        "noop": "#8b97a5",
        "random": "#8b97a5",
        "repeat": "#8b97a5",
    },
    outcomes={
        Outcome.EXECUTED: "#58a6ff",
        Outcome.EMPTY: "#465261",
        Outcome.DONE: "#3fcf9d",
        Outcome.INVALID: "#f0883e",
        Outcome.REFUSED: "#d894bd",
        Outcome.LATE: "#e3b341",
    },
)


@dataclass(frozen=True)
class Plot:
    """One plot of the report."""

    title: str
    """What it shows."""
    caption: str
    """How to read it."""
    light: str
    """`data:` address of the SVG for light pages."""
    dark: str
    """The same for dark pages."""


Draw = Callable[[Axes, Theme], None]
"""Draws on one pair of axes in the colours of a theme."""


def make_plot(
    draw: Draw, title: str, caption: str, *, width_in: float = WIDTH_IN, height_in: float = HEIGHT_IN
) -> Plot:
    """Return what `draw` draws, for light and for dark pages."""
    light, dark = (_render(draw, theme, width_in, height_in) for theme in (LIGHT, DARK))
    return Plot(title, caption, light, dark)


def _render(draw: Draw, theme: Theme, width_in: float, height_in: float) -> str:
    settings = {
        "svg.fonttype": "path",
        "svg.hashsalt": "vlm-agent",
        "font.size": 10,
        "text.color": theme.ink,
        "axes.edgecolor": theme.grid,
        "axes.labelcolor": theme.muted,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.axisbelow": True,
        "xtick.color": theme.muted,
        "ytick.color": theme.ink,
        "ytick.major.size": 0,
        "grid.color": theme.grid,
        "legend.frameon": False,
        "legend.fontsize": 9,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        draw(axes, theme)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
