"""A real X server for every test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from x_server import read_keys_down, run_x_server


@pytest.fixture
def x_display(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an X server of its own; at the end no key and no button may be down on it."""
    with run_x_server() as name:
        monkeypatch.setenv("DISPLAY", name)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        monkeypatch.delenv("XDG_SESSION_TYPE", raising=False)
        yield name
        assert read_keys_down(name) == []
