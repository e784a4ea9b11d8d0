"""Tiny checkpoints, made once for all tests of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from vlm_agent.models.tiny import write_tiny_checkpoint

KINDS = ["qwen3_vl", "qwen3_vl-nf4", "qwen2_5_vl", "qwen2_5_vl-nf4"]


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        kind: write_tiny_checkpoint(root / kind, kind.removesuffix("-nf4"), nf4=kind.endswith("-nf4")) for kind in KINDS
    }
