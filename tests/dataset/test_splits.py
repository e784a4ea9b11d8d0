"""Splits: by session, seeded, never a session in two; a lone session by time with a gap."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm_agent.dataset.splits import SplitConfig, TimeSpan, split_at, split_sessions, split_time
from vlm_agent.errors import ConfigError

names = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=30, unique=True)


@settings(deadline=None)
@given(names=names, seed=st.integers(0, 99), validation=st.floats(0, 0.5), test=st.floats(0, 0.4))
def test_every_session_is_in_one_split_and_some_are_left_to_train_on(names, seed, validation, test):
    config = SplitConfig(validation, test, seed)
    splits = split_sessions(names, config)
    assert set(splits) == set(names)
    assert "train" in splits.values()
    assert splits == split_sessions(names[::-1], config)
    if len(names) > 2:
        assert ("validation" in splits.values()) == (validation > 0)
        assert ("test" in splits.values()) == (test > 0)


def test_another_seed_deals_otherwise():
    names = [f"s{i}" for i in range(20)]
    assert split_sessions(names, SplitConfig(seed=1)) != split_sessions(names, SplitConfig(seed=2))
    assert list(split_sessions(names, SplitConfig(0.3, 0.1)).values()).count("validation") == 6
    counts = Counter(split_sessions(names[:10], SplitConfig(0.16, 0.24)).values())
    assert counts == {"train": 6, "validation": 2, "test": 2}


def test_a_lone_session_is_split_by_time_with_a_gap():
    spans = split_time(0, 1000, 50, SplitConfig(0.2, 0.1))
    assert spans == [TimeSpan(0, 700, "train"), TimeSpan(750, 900, "validation"), TimeSpan(950, 1000, "test")]
    assert split_at(spans, 699) == "train"
    assert split_at(spans, 700) is None
    assert split_at(spans, 750) == "validation"
    assert split_time(0, 1000, 50, SplitConfig(0, 0)) == [TimeSpan(0, 1000, "train")]


def test_a_session_too_short_for_the_gap_keeps_its_training_part():
    assert split_time(0, 100, 50, SplitConfig(0.2)) == [TimeSpan(0, 80, "train")]


def test_config_leaves_something_to_train_on():
    with pytest.raises(ConfigError, match="less than 1"):
        SplitConfig(0.7, 0.3)
    with pytest.raises(ConfigError, match="negative"):
        SplitConfig(-0.1)
