"""What is timed of decisions on recorded windows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from vlm_agent.actions.types import ActionChunk
from vlm_agent.policies import Decision, Latency
from vlm_agent.rollouts import pace


@pytest.mark.model
def test_parts_of_a_decision_are_told_apart_and_a_cut_answer_is_none(monkeypatch):
    decisions = [
        Decision(None, "truncated", text="half an ans", latency=Latency(1.0, 20.0, 300.0)),
        Decision(ActionChunk(), text="whole", step="open", latency=Latency(2.0, 30.0, 400.0)),
    ]
    begun = []
    policy = SimpleNamespace(begin=lambda *args, **kwargs: begun.append(args[0]), decide=lambda seen: decisions[seen])
    monkeypatch.setattr(pace, "VlmPolicy", lambda *_: policy)
    monkeypatch.setattr(pace, "Observer", lambda *_: SimpleNamespace(observe=lambda window: window.number))
    windows = [SimpleNamespace(number=number, goal=f"goal {number}") for number in range(2)]
    timed = pace.time_decisions(None, None, windows, SimpleNamespace(spec=None))
    assert begun == ["goal 0", "goal 1"]
    assert [(one.prepare_ms, one.prefill_ms, one.decode_ms, one.text, one.step) for one in timed] == [
        (1.0, 20.0, 300.0, "", None),
        (2.0, 30.0, 400.0, "whole", "open"),
    ]
