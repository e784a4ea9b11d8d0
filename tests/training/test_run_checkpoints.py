"""Which folders are checkpoints, and which is the newest."""

from __future__ import annotations

import os
import time

import pytest

from vlm_agent.training.checkpoints import RunState, checkpoint_name, list_checkpoints

pytestmark = pytest.mark.model


def test_checkpoints_are_told_by_their_step_whatever_their_dates(tmp_path):
    names = [checkpoint_name(RunState(step)) for step in (2, 9, 10, 1_000_000, 999_999)]
    for age, name in enumerate(names):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - 100 * age,) * 2)
    for name in ("step-000099.partial", "step-", "best", "step-12a"):
        (tmp_path / name).mkdir()
    found = [path.name for path in list_checkpoints(tmp_path)]
    assert found == ["step-000002", "step-000009", "step-000010", "step-999999", "step-1000000"]
    assert list_checkpoints(tmp_path / "nowhere") == []
