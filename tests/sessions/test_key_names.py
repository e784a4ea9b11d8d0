"""Key names: every one is a name that an ActionSpec takes, and signs are understood."""

from __future__ import annotations

import pytest

from vlm_agent.actions.spec import ActionSpec
from vlm_agent.errors import DataError
from vlm_agent.sessions.keys import KEY_CODES, key_code, key_name


def test_every_key_that_can_be_recorded_can_be_said() -> None:
    names = {key_name(code) for code in range(1, 256)}
    assert ActionSpec(8, 8, keys=tuple(sorted(names))).keys
    assert {key_code(name) for name in names} == set(range(1, 256))


@pytest.mark.parametrize(("sign", "name"), [("-", "minus"), ("`", "grave"), ("[", "bracketleft"), ("'", "apostrophe")])
def test_a_sign_stands_for_the_key_that_types_it(sign: str, name: str) -> None:
    assert key_code(sign) == KEY_CODES[name]


def test_what_is_no_key_is_refused() -> None:
    with pytest.raises(DataError, match="canonical key name"):
        key_code("?")
