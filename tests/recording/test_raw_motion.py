"""Relative motion: parts of a count add up, and what reports places is no mouse; without a server."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vlm_agent.recording.raw_motion import RawMotionListener
from vlm_agent.recording.x11_wire import RawValues


def make_listener(*, with_programs: bool = False) -> tuple[RawMotionListener, list[tuple[int, int, int]]]:
    heard: list[tuple[int, int, int]] = []
    listener = RawMotionListener.__new__(RawMotionListener)
    listener._hear = lambda *told: heard.append(told)
    listener._with_programs = with_programs
    listener._rest, listener._relative = [0.0, 0.0], {}
    return listener, heard


def test_parts_of_a_count_add_up_either_way() -> None:
    listener, heard = make_listener()
    for t_ms, values in enumerate(
        [{0: 0.5}, {0: 0.5, 1: -1.25}, {1: -0.5}, {1: -0.5}, {0: -2.75}, {0: -0.25}, {2: 9.0}]
    ):
        listener._tell(RawValues(t_ms, 9, values))
    assert heard == [(1, 1, -1), (3, 0, -1), (4, -2, 0), (5, -1, 0)]


def device(device_id: int, name: Any, *axes: tuple[int, int]) -> Any:
    parts = [SimpleNamespace(type=2, number=number, mode=mode) for number, mode in axes]
    return SimpleNamespace(deviceid=device_id, name=name, classes=[SimpleNamespace(type=1), *parts])


DEVICES = [
    device(4, "Virtual core XTEST pointer", (0, 0), (1, 0)),
    device(5, b"A mouse", (0, 0), (1, 0), (2, 1)),
    device(6, "A tablet", (0, 1), (1, 1)),
    device(7, "A keyboard"),
    device(8, "Half a tablet", (0, 0), (1, 1)),
]


@pytest.mark.parametrize("with_programs", [False, True])
def test_only_devices_that_report_motion_are_heard(with_programs: bool) -> None:
    listener, _ = make_listener(with_programs=with_programs)
    asked = []

    def query(_: Any) -> Any:
        asked.append(True)
        return SimpleNamespace(devices=DEVICES)

    listener._display = SimpleNamespace(xinput_query_device=query)
    assert {number for number in range(4, 9) if listener._is_motion(number)} == ({4, 5} if with_programs else {5})
    assert len(asked) == 1
    # One that nobody knows is looked for anew.
    assert not listener._is_motion(77)
    assert len(asked) == 2
