"""What strangers wrote is tried in a process with limits; what went wrong there is told as what it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm_agent.models import bounded_child
from vlm_agent.models.bounded_child import LimitError, run_bounded

LIMITED = """
import json, resource, sys
cpu_s, memory_bytes = map(int, sys.argv[1:3])
resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
asked = json.load(sys.stdin)
"""


def write(folder: Path, body: str) -> Path:
    path = folder / "program.py"
    path.write_text(LIMITED + body)
    return path


def test_it_answers_with_the_libraries_of_the_process_that_asks(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "only_here.py").write_text("ANSWER = 42")
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    program = write(tmp_path, "import only_here\nprint(json.dumps([asked, only_here.ANSWER]))")
    assert run_bounded(program, {"a": 1}) == [{"a": 1}, 42]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("while True: pass", "takes longer than 1 s"),
        ("x = bytearray(1 << 40)", "more than 1024 MB of memory"),
        ("import no_such_library", r"can't be tried \(ModuleNotFoundError: No module named 'no_such_library'\)"),
    ],
)
def test_what_went_wrong_is_told(tmp_path, monkeypatch, body, told):
    monkeypatch.setattr(bounded_child, "CPU_S", 1)
    with pytest.raises(LimitError, match=told):
        run_bounded(write(tmp_path, body), None)
