"""What every test may rely on: no network, no model hub, and the shared recordings where they exist."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

# Set before any test imports a hub client: they read it once, on import.
os.environ["HF_HUB_OFFLINE"] = "1"
# Torch reads it on import. Test processes that take a thread for each core wait for each other more than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What must be equal is compared in a precision that shows it; tests of bfloat16 ask for that.
os.environ["VLM_AGENT_CPU_DTYPE"] = "float32"

# Under nohup it is ignored, in every process of the tests too, and so can't be seen to end them.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A deadline would measure how busy the machine is, not the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

_SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def has_shared_data() -> bool:
    """Whether real recordings and checkpoint files lie beside the repository."""
    return _SHARED_DATA.is_dir()


@pytest.fixture(scope="session")
def shared_data(has_shared_data: bool) -> Path:
    """The folder of real recordings beside the repository."""
    if not has_shared_data:
        pytest.skip("the recordings of other projects (../shared/data) are not part of this repository")
    return _SHARED_DATA


@pytest.fixture(scope="session")
def published(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of a published checkpoint in small (see `tests.models.published`), made when first asked for.

    All tests share these folders: copy one before changing it.
    """
    from tests.models.published import write_published

    root = tmp_path_factory.mktemp("published")

    def find(name: str) -> Path:
        folder = root / name
        return folder if folder.is_dir() else write_published(name, shared_data / "checkpoints", folder)

    return find


@pytest.fixture(scope="session")
def qwen_vl_utils() -> ModuleType:
    """Qwen's own tools; they want torchvision for videos alone, so where there is none something stands in for it."""
    names = ("torchvision", "torchvision.io", "torchvision.transforms")
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # beside a CPU torch it can't be imported
        transforms = ModuleType(names[2])
        transforms.InterpolationMode = None
        stand_in = dict(zip(names, (ModuleType(names[0]), ModuleType(names[1]), transforms), strict=True))
        stand_in["torchvision"].io, stand_in["torchvision"].transforms = stand_in[names[1]], transforms
        sys.modules.update(stand_in)
        try:
            return importlib.import_module("qwen_vl_utils")
        finally:
            for name in names:  # transformers asks whether there is one
                del sys.modules[name]
    return importlib.import_module("qwen_vl_utils")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection but those that stay on this machine."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        # Xlib writes this machine as an empty name.
        is_local = self.family == socket.AF_UNIX or address[0] in ("", "127.0.0.1", "::1", "localhost")
        if not is_local:
            raise AssertionError(f"a test tried to connect to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def x_display(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an X server of its own; at the end no key and no button may be down on it."""
    from x_server import read_keys_down, run_x_server

    with run_x_server() as name:
        monkeypatch.setenv("DISPLAY", name)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        monkeypatch.delenv("XDG_SESSION_TYPE", raising=False)
        yield name
        assert read_keys_down(name) == []
