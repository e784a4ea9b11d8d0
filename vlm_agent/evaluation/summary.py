"""All contenders in one table, and a comparison in Markdown for a README or a pull request."""

from __future__ import annotations

from vlm_agent.evaluation.comparison import Comparison, Row
from vlm_agent.evaluation.parts import Parts
from vlm_agent.evaluation.sections import PlainTable, escape_markdown
from vlm_agent.evaluation.verdicts import Verdict


def tabulate(comparison: Comparison) -> PlainTable:
    """Return the table of all contenders, and the difference."""
    last = ("tuned − base", f"{comparison.difference.interval:+.2f}", "", "", "")
    return PlainTable(
        ("", comparison.metric.label, "success %", "valid %", "p50, p95 ms"),
        (*(_cells(row) for row in comparison.rows.values()), last),
        caption=f"mean [95% interval] over {len(comparison.seeds)} seeds; {comparison.setting.clock} clock",
    )


def write_markdown(comparison: Comparison, verdict: Verdict, parts: Parts) -> str:
    """Return verdict, tables and sentences in Markdown; plots and pictures are for the page."""
    setting = comparison.setting
    blocks = [
        f"# {escape_markdown(verdict.headline)}\n",
        f"{escape_markdown(verdict.text)}\n",
        escape_markdown(f"“{setting.goal}” in {setting.env}, {setting.clock} clock, {len(comparison.seeds)} seeds.")
        + "\n",
        tabulate(comparison).to_markdown(),
        *(section.to_markdown() for section in parts.sections),
        *([f"Missing: {escape_markdown('; '.join(parts.missing))}.\n"] if parts.missing else []),
    ]
    return "\n".join(blocks)


def _cells(row: Row) -> tuple[str, ...]:
    times = (row.latency_ms(50), row.latency_ms(95))
    return (
        row.contender.label,
        f"{row.metric:.2f}",
        f"{row.success.mean * 100:.0f} [{row.success.low * 100:.0f}, {row.success.high * 100:.0f}]",
        f"{row.valid.mean * 100:.1f}" if row.valid else "–",
        ", ".join("–" if time is None else f"{time:.0f}" for time in times) if row.latencies_ms else "–",
    )
