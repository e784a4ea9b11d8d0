"""The report: one file, nothing fetched, nothing of a user's text run as markup, readable in a real browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import pytest
from PIL import Image
from rich.console import Console

from tests.evaluation.canned import BASE_RINGS, GOOD_RINGS, canned_comparison, canned_rollout
from tests.evaluation.offline.cases import random_predictions
from vlm_agent.errors import DataError
from vlm_agent.evaluation.clickmaps import ClickMap
from vlm_agent.evaluation.comparison import Comparison, compare_rollouts, read_schema
from vlm_agent.evaluation.drawing import make_plot
from vlm_agent.evaluation.films import Film, Shot
from vlm_agent.evaluation.intervals import share_interval
from vlm_agent.evaluation.metrics import GOAL_SUCCESS
from vlm_agent.evaluation.offline.evaluation import evaluate
from vlm_agent.evaluation.offline.metrics import ScoreConfig
from vlm_agent.evaluation.offline.section import write_section
from vlm_agent.evaluation.offline.worst import WorstWindow
from vlm_agent.evaluation.parts import Parts
from vlm_agent.evaluation.report import render_report, write_comparison, write_refusal, write_report
from vlm_agent.evaluation.scalars import list_scalars, write_scalars
from vlm_agent.evaluation.sections import PlainTable, Section
from vlm_agent.evaluation.summary import write_markdown
from vlm_agent.evaluation.terminal import print_comparison
from vlm_agent.evaluation.verdicts import write_not_applied, write_verdict
from vlm_agent.evaluation.videos import encode_video

# The smallest JPEG there is would do; browsers refuse broken ones.
PIXEL = base64.b64decode(
    "/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAAMCAgICAgMCAgIDAwMDBAYEBAQEBAgGBgUGCQgKCgkICQkKDA8MCgsOCwkJDRENDg8QEBEQCgwSExIQ"
    "Ew8QEBD/yQALCAABAAEBAREA/8wABgAQEAX/2gAIAQEAAD8A0s8g/9k="
)
VIDEO = encode_video([Image.new("RGB", (64, 48), (index * 60, 90, 30)) for index in range(4)], 2.0)
SECTION = Section(
    "audit",
    "What it goes by",
    ("It looks: with picture blanked, 45 % change.",),
    gist="Its answers hang on the picture.",
    tables=(
        PlainTable(("changed", "share"), (("picture blanked", "45 %"), ("another goal", "")), caption="45 of 100"),
    ),
    plots=(make_plot(lambda axes, theme: axes.plot([0, 1], color=theme.ink), "A plot", "A line."),),
)
PARTS = Parts(
    sections=(SECTION,),
    films=tuple(
        Film(
            name,
            name,
            "median",
            10_004,
            7.0,
            (Shot(0.0, 0, "click 10, 20", PIXEL), Shot(12.6, 1, "waits", PIXEL)),
            video,
        )
        for name, video in (("tuned", VIDEO), ("base", None), ("demonstrator", None))
    ),
    click_maps=(ClickMap("tuned", "tuned", 41, 20, PIXEL),),
    worst=(WorstWindow("s1:3", "open the bank", "told by a person", "click 10, 20 at 90 ms", "waits", PIXEL),),
    values={"audit": []},
    missing=("likeness: too few recordings",),
)
MAX_REPORT_BYTES = 4_000_000


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return canned_comparison(BASE_RINGS, GOOD_RINGS, num_invalid=2)


@pytest.fixture(scope="module")
def report(comparison: Comparison) -> str:
    return render_report(comparison, write_verdict(comparison, PARTS), PARTS)


class Tags(HTMLParser):
    """Collects tags, addresses and visible text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.ids |= {value or "" for name, value in attrs if name == "id"}
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data) -> None:
        self.text += data


def read_tags(report: str) -> Tags:
    tags = Tags()
    tags.feed(report)
    return tags


def test_the_report_needs_nothing_from_anywhere(report: str) -> None:
    tags = read_tags(report)
    assert len(tags.addresses) > 15
    inner = {address[1:] for address in tags.addresses if address.startswith("#")}
    assert inner == {"plots", "audit", "films", "clicks", "worst", "made"} <= tags.ids
    assert all(address.startswith("data:") for address in tags.addresses if not address.startswith("#"))
    assert "script" not in tags.tags
    assert not re.search(r"https?://|@import|url\(", report)
    for svg in re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", report):
        # An SVG names its namespaces; it must not refer to anything else.
        inside = base64.b64decode(svg).decode()
        assert not re.search(r"(?:href|src)=\"(?!#)", inside)


def test_the_report_says_what_was_found(comparison: Comparison, report: str) -> None:
    text = read_tags(report).text
    assert write_verdict(comparison, PARTS).text in text
    assert "150 decisions of 600 ms, 90 s of game time" in text
    for words in ("4.47", "3.35 to 5.27", "+4.17", "no-op", "repeat last", "paused", "invalid because of truncated"):
        assert words in text
    for words in (
        "It looks: with",
        "45 of 100",
        "41 presses in 20 episodes",
        "click 10, 20 at 90 ms",
        "too few recordings",
    ):
        assert words in text
    assert "prefers-color-scheme: dark" in report
    assert text.count("12.6 s") == 3
    assert len(report.encode()) < MAX_REPORT_BYTES


def test_the_same_comparison_gives_the_same_report(comparison: Comparison, report: str) -> None:
    assert render_report(comparison, write_verdict(comparison, PARTS), PARTS) == report


def test_foreign_text_stays_text(comparison: Comparison) -> None:
    evil = "<script>alert(1)</script>"
    setting = replace(comparison.setting, goal=evil)
    made = {"command": evil, "tuned": {"name": f'"{evil}'}}
    report = render_report(replace(comparison, setting=setting, made=made), write_verdict(comparison, PARTS), PARTS)
    tags = read_tags(report)
    assert "script" not in tags.tags
    assert tags.text.count(evil) >= 3


def test_a_short_goal_without_demonstrator_has_a_report() -> None:
    rollouts = [canned_rollout(name, (0, 1, 1, 0)) for name in ("base", "tuned", "noop", "random", "repeat")]
    setting = canned_comparison((0, 1), (1, 1)).setting
    comparison = compare_rollouts(rollouts, GOAL_SUCCESS, setting, resamples=500)
    text = read_tags(render_report(comparison, write_verdict(comparison), Parts())).text
    assert "goal success" in text
    assert "of the demonstrator" not in text


def test_files_are_written_whole(comparison: Comparison, tmp_path: Path) -> None:
    verdict = write_verdict(comparison)
    write_comparison(tmp_path / "out" / "comparison.json", comparison, verdict)
    write_report(tmp_path / "out" / "index.html", comparison, verdict, PARTS)
    jsonschema.validate(json.loads((tmp_path / "out" / "comparison.json").read_text()), read_schema())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["comparison.json", "index.html"]


def test_numbers_that_are_none_are_not_written(comparison: Comparison, tmp_path: Path) -> None:
    for number in (float("nan"), float("inf")):
        broken = replace(comparison, made={"probe": {"changes": [0.5, number]}})
        with pytest.raises(DataError, match=rf"not written, for made\.probe\.changes\[1\] is {number}") as error:
            write_comparison(tmp_path / "comparison.json", broken, write_verdict(comparison))
        assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_shares_are_told_in_percent_with_intervals_that_have_width(comparison: Comparison, report: str) -> None:
    text = " ".join(read_tags(report).text.split())
    # 18 of 20 seeds; 2 of 150 decisions on each seed were not valid.
    assert "90% 68% to 99%" in text
    assert "99% 98% to 99%" in text
    assert "100% on every seed" not in text
    row = replace(comparison.tuned, success=share_interval([True] * 20))
    rows = {**comparison.rows, "tuned": row}
    text = " ".join(
        read_tags(render_report(replace(comparison, rows=rows), write_verdict(comparison), Parts())).text.split()
    )
    assert "100% 83% to 100%" in text


def test_worst_windows_say_whose_goal_and_by_which_rule(comparison: Comparison) -> None:
    some = random_predictions(1, sessions=3, windows=4)
    offline = evaluate({"tuned": some}, {}, ScoreConfig(tolerance_ms=250, near_px=8))
    parts = replace(PARTS, offline=offline, sections=(write_section(offline),))
    text = " ".join(read_tags(render_report(comparison, write_verdict(comparison, parts), parts)).text.split())
    assert "“open the bank” (told by a person)" in text
    assert "kind, key or button, within 250 ms and 8 px); in brackets whose the goal is" in text
    assert "time error of actions matched by kind within 250 ms, ms" in text
    assert "distance of points matched by kind within 250 ms, px" in text
    assert "goal, and whose" in text
    assert "first plan: < 50" in text


def test_the_terminal_shows_verdict_and_table(comparison: Comparison) -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    print_comparison(comparison, write_verdict(comparison), Path("report/index.html"), PARTS, console)
    text = console.export_text()
    assert "better than its base" in text
    assert "4.47 [3.35, 5.27]" in text
    assert "+4.17 [+3.17, +5.00]" in text
    assert "report/index.html" in text
    assert "…" not in text


def test_markdown_says_the_same(comparison: Comparison) -> None:
    verdict = write_verdict(comparison, PARTS)
    text = write_markdown(comparison, verdict, PARTS)
    assert text.startswith(f"# {verdict.headline}\n\n{verdict.text}\n")
    assert "| tuned | 4.47 [3.35, 5.27] | 90 [" in text
    assert "| tuned − base | +4.17 [+3.17, +5.00] |  |  |  |" in text
    valid = comparison.rows["tuned"].valid
    assert valid is not None
    assert valid.mean > 0.5
    assert f" | {100 * valid.mean:.1f} | " in text
    assert "## What it goes by" in text
    assert "| picture blanked | 45 % |" in text
    assert "Missing: likeness: too few recordings." in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| ") and "success" not in line}
    assert widths == {3, 6}


def test_tensorboard_reads_the_scalars(comparison: Comparison, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_scalars(tmp_path, comparison, None, step=692)
    read = EventAccumulator(str(tmp_path)).Reload()
    wanted = list_scalars(comparison, None)
    assert set(read.Tags()["tensors"]) == set(wanted)
    assert wanted["compare/rings_per_minute/tuned"] == pytest.approx(4.466667, abs=1e-6)
    assert wanted["compare/rings_per_minute/tuned-base/low"] == comparison.difference.interval.low
    tuned = comparison.rows["tuned"]
    assert wanted["compare/success/tuned"] == tuned.success.mean != tuned.metric.mean
    (event,) = read.Tensors("compare/rings_per_minute/tuned")
    assert event.step == 692
    assert event.tensor_proto.float_val[0] == pytest.approx(4.466667, abs=1e-5)


def test_a_comparison_that_was_not_made_says_why(tmp_path: Path) -> None:
    verdict = write_not_applied("runs/<b>x", "base", 0.0)
    write_refusal(tmp_path, "craft sapphire rings", verdict, {"command": "vlm-agent compare --tuned 'runs/<b>x'"})
    value = json.loads((tmp_path / "comparison.json").read_text())
    jsonschema.validate(value, read_schema())
    assert value["verdict"]["finding"] == "not_applied"
    tags = read_tags((tmp_path / "index.html").read_text())
    assert verdict.text in tags.text
    assert "b" not in tags.tags
    assert verdict.text in (tmp_path / "report.md").read_text()


def open_in_chromium(report: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Let a real browser load the page; its own contacts with the world are cut off."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("there is no Chromium on this machine")
    page = folder / "index.html"
    page.write_text(report, encoding="utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}"]
    return subprocess.run([browser, *options, page.as_uri()], capture_output=True, text=True, timeout=200, check=True)


def test_chromium_opens_it_without_error_or_request(report: str, tmp_path: Path) -> None:
    # The page's own policy forbids every request; one that is tried is an error on the console, as the second page
    # shows.
    result = open_in_chromium(report, tmp_path)
    assert "How it was made" in result.stdout
    assert "CONSOLE" not in result.stderr
    result = open_in_chromium(report.replace("<main>", '<main><img src="http://example.invalid/x.png">'), tmp_path)
    assert "CONSOLE" in result.stderr
    assert "example.invalid" in result.stderr
