from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.config import PriceConfig
from robustft.llm.calls import Calls

CALLS = st.builds(Calls, *[st.integers(0, 10**9)] * 5)


@given(CALLS, CALLS)
def test_what_is_added_can_be_taken_away(one: Calls, other: Calls) -> None:
    assert one + other - other == one
    grown = replace(one)
    grown.include(other)
    assert grown == one + other


@given(CALLS, CALLS)
def test_cost_adds_up(one: Calls, other: Calls) -> None:
    price = PriceConfig(prompt=0.5, completion=2.0)
    each = [calls.cost(price) or 0.0 for calls in (one, other)]
    assert (one + other).cost(price) == pytest.approx(sum(each))
    assert one.cost(None) is None
