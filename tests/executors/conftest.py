"""Executors of a test are found by that test alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_endpoints(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of endpoints of its own; short, as the path of a socket must be."""
    with tempfile.TemporaryDirectory(prefix="va-") as folder:
        monkeypatch.setenv("VLM_AGENT_RUNTIME_DIR", folder)
        yield Path(folder)
