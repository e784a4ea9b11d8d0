"""What files and people say is shown as it is: no markup, no escape sequence, no line of its own."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vlm_agent.errors import DataError, run_guarded
from vlm_agent.terminal import LineColumn, PlainConsole, TextTable, frame_text, make_bars, track
from vlm_agent.visible import make_visible, one_line

EVIL = "chat [/r/games] [bold red]x[/] [link=http://x]y[/link] :smile: \x1b[31m\x1b]8;;http://x\x07z \x9b2J \u202egnp"
SHOWN = r"chat [/r/games] [bold red]x[/] [link=http://x]y[/link] :smile: \x1b[31m\x1b]8;;http://x\x07z \x9b2J \u202egnp"
ROOT = Path(__file__).parent.parent


def print_with(console: Console, thing: object) -> str:
    console.print(thing)
    return console.file.getvalue()  # type: ignore[attr-defined]


def plain_console(**options: object) -> PlainConsole:
    return PlainConsole(file=io.StringIO(), width=300, force_terminal=True, color_system=None, **options)


def test_strings_are_shown_as_they_are() -> None:
    assert print_with(plain_console(), EVIL) == SHOWN + "\n"


def test_a_name_does_not_begin_a_line() -> None:
    assert print_with(plain_console(), "o\nerror: none") == "o\\nerror: none\n"
    assert one_line(Path("a\nb\tc\r")) == "a\\nb c\\r"


def test_tables_frames_rules_and_bars_are_shown_as_they_are() -> None:
    table = TextTable(EVIL, title=EVIL, caption=EVIL)
    table.add_row(EVIL)
    assert print_with(plain_console(), table).count(SHOWN) == 4
    assert print_with(plain_console(), frame_text(EVIL, EVIL, "red")).count(SHOWN) == 2
    console = plain_console()
    console.rule(EVIL)
    with console.status(EVIL), make_bars(LineColumn("{task.description}"), console=console) as bars:
        bars.add_task(EVIL)
    shown = console.file.getvalue()
    assert shown.count(SHOWN) >= 3
    assert "[31m\x1b" not in shown
    assert "\x1b]8" not in shown


def test_what_a_library_made_is_looked_through_too() -> None:
    from rich.text import Text

    assert "\x1b]8" not in print_with(plain_console(), Text("a\x1b]8;;http://x"))


def test_tracking_gives_all_items(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(track([1, 2], EVIL)) == [1, 2]
    assert "\x1b]8" not in capsys.readouterr().err


@given(st.text())
def test_what_is_visible_has_nothing_that_acts(text: str) -> None:
    shown = make_visible(text)
    assert all(char.isprintable() or char in "\n \u200c\u200d" or char.isspace() or ord(char) > 255 for char in shown)
    assert not set(shown) & {chr(code) for code in (*range(10), *range(11, 32), *range(127, 160), 0x202E, 0x2028)}
    assert "\n" not in one_line(text)
    shown.encode()


def test_text_of_every_script_is_left_alone() -> None:
    for text in ("Überfall [im] Wald", "نمی‌خواهم", "👩‍🌾 farm", "日本語", "a  b"):
        assert one_line(text) == text


def test_error_lines_are_one_line_without_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise DataError(f"{EVIL}\n\udcff is broken")

    def miss() -> None:
        raise FileNotFoundError(2, "No such file or directory", "a\nerror: x\x1b[2J")

    assert run_guarded(fail) == 2
    assert run_guarded(miss) == 2
    told = capsys.readouterr().err
    assert told == f"error: {SHOWN} \\udcff is broken\nerror: No such file or directory (a\\nerror: x\\x1b[2J)\n"


BANNED = {
    "rich": {"print", "print_json", "get_console", "inspect"},
    "rich.table": {"Table", "Column"},
    "rich.panel": {"Panel"},
    "rich.progress": {"TextColumn", "track"},
    "rich.prompt": None,
    "rich.markup": None,
    "rich.markdown": None,
    "rich.status": {"Status"},
    "rich.rule": None,
    "rich.logging": None,
    "rich.tree": None,
    "rich.columns": None,
    "rich.ansi": None,
}
"""What would read text as markup, by module; only `vlm_agent.terminal` may have it. None: all of the module."""


def find_faults(source: str) -> list[str]:
    faults: list[str] = []
    tree = ast.parse(source)
    only_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in BANNED and id(node) not in only_types:
            names = BANNED[node.module]
            faults += [f"{node.module}.{one.name}" for one in node.names if names is None or one.name in names]
        elif isinstance(node, ast.Import):
            faults += [one.name for one in node.names if one.name == "rich" or one.name in BANNED]
        elif isinstance(node, ast.Call):
            faults += find_call_faults(node)
    return faults


def find_call_faults(call: ast.Call) -> list[str]:
    faults = [f"{one.arg}=" for one in call.keywords if one.arg in ("markup", "emoji")]
    match call.func:
        case ast.Name(id="print" | "input" | "Console" | "Progress" as name):
            faults.append(name)
        case ast.Attribute(attr="from_markup" | "from_ansi" | "input" as name):
            faults.append(name)
        case ast.Attribute(value=ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr"), attr="write"):
            # JSON escapes what a terminal would act on.
            if "json" not in ast.unparse(call.args[0]):
                faults.append("sys.write")
    return faults


def product_sources() -> list[Path]:
    return [*(ROOT / "vlm_agent").rglob("*.py"), *(ROOT / "labeling").rglob("*.py"), *ROOT.glob("*.py")]


def test_there_is_one_way_to_print() -> None:
    ways = {ROOT / "vlm_agent" / "terminal.py", ROOT / "vlm_agent" / "visible.py"}
    found = {
        str(path): faults
        for path in product_sources()
        if path not in ways and (faults := find_faults(path.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "print('x')",
        "from rich.progress import track",
        "from rich import print",
        "import rich",
        "from rich.console import Console\nConsole().print(x)",
        "c.print('x', markup=True)",
        "Text.from_markup(x)",
        "import sys\nsys.stderr.write(f'{x}')",
        "def f():\n    from rich.table import Table",
    ],
)
def test_the_search_finds_other_ways(source: str) -> None:
    assert find_faults(source)
