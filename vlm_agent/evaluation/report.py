"""Writing a comparison down: `comparison.json`, and one HTML file that needs nothing else to be read."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import jinja2

from vlm_agent.evaluation.comparison import FORMAT_VERSION, Comparison, Row
from vlm_agent.evaluation.finite import dump_finite
from vlm_agent.evaluation.intervals import Interval
from vlm_agent.evaluation.parts import Parts
from vlm_agent.evaluation.plots import draw_plots
from vlm_agent.evaluation.verdicts import Verdict
from vlm_agent.files import write_text
from vlm_agent.rollouts.episodes import Outcome

_TEMPLATES = Path(__file__).with_name("templates")
_CLOCKS = {
    "paused": "the game waits for every decision",
    "real": "the game goes on; decisions that take longer than their horizon are dropped and counted as late",
}


def write_comparison(path: Path, comparison: Comparison, verdict: Verdict, parts: Parts | None = None) -> None:
    """Write `comparison.json`, whole or not at all; `comparison.schema.json` describes it."""
    parts = parts or Parts()
    found = {"parts": parts.values, "missing": list(parts.missing), "verdict": verdict.to_json()}
    write_json(path, {**comparison.to_json(), **found})


def write_report(path: Path, comparison: Comparison, verdict: Verdict, parts: Parts | None = None) -> None:
    """Write the HTML report, whole or not at all."""
    write_text(path, render_report(comparison, verdict, parts or Parts()))


def write_refusal(folder: Path, goal: str, verdict: Verdict, made: dict[str, Any]) -> None:
    """Write `comparison.json`, `report.md` and `index.html` of a comparison that was not made, for the verdict says."""
    write_json(
        folder / "comparison.json",
        {"format": FORMAT_VERSION, "goal": goal, "made": made, "verdict": verdict.to_json()},
    )
    write_text(folder / "report.md", f"# {verdict.headline}\n\n{verdict.text}\n")
    facts = list(_flatten("", made))
    page = _make_templates().get_template("not_applied.html.j2").render(goal=goal, verdict=verdict, facts=facts)
    write_text(folder / "index.html", page)


def render_report(comparison: Comparison, verdict: Verdict, parts: Parts) -> str:
    """Return the report as one HTML text: styles, plots, pictures and videos inside, nothing fetched from anywhere."""
    page = _make_templates().get_template("report.html.j2")
    return page.render(
        comparison=comparison,
        setting=comparison.setting,
        goal=comparison.setting.goal,
        metric=comparison.metric,
        difference=comparison.difference,
        verdict=verdict,
        rows=list(comparison.rows.values()),
        reference=next(iter(comparison.by_role("reference")), None),
        troubles=[trouble for row in comparison.rows.values() for trouble in _list_troubles(row)],
        plots=draw_plots(comparison),
        parts=parts,
        facts=list_facts(comparison),
    )


def _make_templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        plain=lambda value: f"{value:.2f}",
        signed=lambda value: f"{value:+.2f}".replace("-", "−"),
        percent=lambda value: f"{value:.0%}",
        range=_tell_range,
        percent_range=_tell_percent_range,
        jpeg=lambda content: "data:image/jpeg;base64," + base64.b64encode(content).decode(),
        mp4=lambda content: "data:video/mp4;base64," + base64.b64encode(content).decode(),
    )
    return environment


def list_facts(comparison: Comparison) -> list[tuple[str, str]]:
    """Return how the comparison was made as pairs of a name and a text."""
    setting = comparison.setting
    facts = [
        ("goal", setting.goal),
        ("environment", setting.env),
        ("clock", f"{setting.clock}: {_CLOCKS[setting.clock]}"),
        ("episode", f"{setting.max_ticks} decisions of {setting.horizon_ms} ms, {setting.episode_s:g} s of game time"),
        ("seeds", f"{comparison.seeds[0]} to {comparison.seeds[-1]}, {len(comparison.seeds)} in all"),
        ("seeds apart from the demonstrated", _tell_apart(comparison.made)),
        (
            "intervals",
            f"95%, BCa bootstrap over seeds ({comparison.resamples} resamples), tails widened for small samples; "
            "of shares Clopper and Pearson’s for an effective number of trials; differences are paired by seed",
        ),
    ]
    made = {name: value for name, value in comparison.made.items() if name != "seeds_apart_from_demonstrations"}
    return facts + [(name.replace("_", " ").strip(), text) for name, text in _flatten("", made)]


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write plain data as JSON, whole or not at all.

    Raises:
        DataError: a number in it is not finite.
    """
    write_text(path, dump_finite(path, value))


def _flatten(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [fact for key, inner in value.items() for fact in _flatten(f"{name} {key}", inner)]
    if value is None:
        return []
    if isinstance(value, bool):
        return [(name, "yes" if value else "no")]
    return [(name, " × ".join(map(str, value)) if isinstance(value, list) else str(value))]


def _tell_apart(made: dict[str, Any]) -> str:
    if made.get("seeds_apart_from_demonstrations"):
        return "yes: none of them is in the recordings that tuned learned from"
    return "unknown: the dataset is no longer there, or its recordings name no seed"


def _list_troubles(row: Row) -> list[str]:
    reasons = ((Outcome.INVALID, row.invalid_reasons), (Outcome.REFUSED, row.refused_reasons))
    troubles = [
        f"{row.contender.label}: {outcome} because of {reason}, {count} times"
        for outcome, counts in reasons
        for reason, count in counts.items()
    ]
    late = sum(episode.num_late_actions for episode in row.episodes)
    return [*troubles, *([f"{row.contender.label}: {late} actions decided too late to be played"] if late else [])]


def _tell_range(interval: Interval) -> str:
    if interval.low == interval.high:
        return "on every seed"
    return f"{interval.low:.2f} to {interval.high:.2f}".replace("-", "−")


def _tell_percent_range(interval: Interval) -> str:
    return f"{interval.low:.0%} to {interval.high:.0%}"
