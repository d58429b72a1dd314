from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.config import PriceConfig
from robustft.errors import UnaskedError
from robustft.llm.budget import Budget
from robustft.llm.calls import Calls
from robustft.loading import make_config

PRICE = PriceConfig(prompt=1.0, completion=3.0)


@pytest.mark.parametrize(
    ("budget", "spent", "key"),
    [
        (Budget(calls=3), Calls(requests=3), "budget.calls"),
        (Budget(tokens=10), Calls(prompt_tokens=4, completion_tokens=6), "budget.tokens"),
        (Budget(cost=4.0, price=PRICE), Calls(prompt_tokens=10**6, completion_tokens=10**6), "budget.cost"),
        (Budget(end=time.time() - 1), Calls(), "budget.minutes"),
    ],
)
def test_what_is_spent_is_named(budget: Budget, spent: Calls, key: str) -> None:
    with pytest.raises(UnaskedError, match=key):
        budget.check(spent)


def test_less_than_the_budget_goes_on() -> None:
    full = Budget(calls=3, tokens=10, cost=4.0, end=time.time() + 60, price=PRICE)
    full.check(Calls(requests=2, prompt_tokens=9))
    Budget().check(Calls(requests=10**12, prompt_tokens=10**15))


def test_the_config_says_what_may_be_spent() -> None:
    tree = {"budget": {"calls": 5, "minutes": 2, "cost": 1.5}, "llm": {"price": PRICE.model_dump()}}
    budget = Budget.of(make_config(tree))
    assert (budget.calls, budget.tokens, budget.cost, budget.price) == (5, math.inf, 1.5, PRICE)
    assert budget.end == pytest.approx(time.time() + 120, abs=30)


@given(
    calls=st.integers(0, 1000), requests=st.integers(0, 1200), tokens=st.integers(0, 10**6), parts=st.integers(1, 50)
)
def test_parts_add_up_to_what_is_left(calls: int, requests: int, tokens: int, parts: int) -> None:
    part = Budget(calls=calls, tokens=2 * 10**6).part(Calls(requests=requests, prompt_tokens=tokens), parts)
    assert part.calls * parts == pytest.approx(max(0, calls - requests))
    assert part.tokens * parts == pytest.approx(2 * 10**6 - tokens)
    assert part.cost == math.inf
