"""Cards as torch tells them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from vlm_agent.models.cards import Card, list_cards

pytestmark = pytest.mark.model


def test_cards_are_listed_with_their_memory_and_what_they_compute_in(monkeypatch):
    told = [
        SimpleNamespace(name="new", total_memory=24 * 2**30, major=8),
        SimpleNamespace(name="old", total_memory=16 * 2**30, major=7),
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: told[index])
    cards = list_cards()
    assert cards == [Card("new", 24 * 2**30, True), Card("old", 16 * 2**30, False)]
    assert list(map(str, cards)) == ["new, 24 GiB, bfloat16", "old, 16 GiB, no bfloat16"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert list_cards() == []
