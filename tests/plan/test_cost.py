from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.plan.cost import CALL_BYTES, CALL_SECONDS, Demand, Prices, Supply, cost, row_cost

REAL = st.floats(0.0, 100.0)
DEMANDS = st.builds(Demand, st.just("detect"), REAL, REAL, REAL)
SUPPLIES = st.builds(Supply, st.floats(1.0, 1e5), st.floats(1.0, 1e5), st.integers(1, 64), st.integers(1, 8))


def test_by_hand() -> None:
    found = cost(Demand("detect", 2, 300, 20), 1000, Supply(10_000, 1000, servers=2), Prices(1.0, 10.0))
    assert (found.calls, found.prompt_tokens, found.completion_tokens) == (2000, 300_000, 20_000)
    assert found.server == pytest.approx((30 + 20) / 2)
    assert found.own == pytest.approx(2000 * CALL_SECONDS)
    assert found.seconds == found.server
    assert found.money == pytest.approx(0.3 + 0.2)
    assert found.bytes == 2000 * CALL_BYTES


def test_calls_a_second_bound_the_servers() -> None:
    endless = float("inf")
    found = cost(Demand("detect", 2, 300, 20), 1000, Supply(endless, endless, servers=4, calls=10))
    assert found.server == pytest.approx(2000 / 10 / 4)


@given(demand=DEMANDS, supply=SUPPLIES, rows=st.integers(1, 10**9), more=st.integers(2, 9))
def test_twice_the_rows_cost_twice_as_much(demand: Demand, supply: Supply, rows: int, more: int) -> None:
    once, often = cost(demand, rows, supply, Prices(1, 2)), cost(demand, more * rows, supply, Prices(1, 2))
    for name in ("calls", "prompt_tokens", "completion_tokens", "server", "own", "money", "bytes", "seconds"):
        assert getattr(often, name) == pytest.approx(more * getattr(once, name))
    assert row_cost(more * rows).own == pytest.approx(more * row_cost(rows).own)


@given(demand=DEMANDS, supply=SUPPLIES, rows=st.integers(1, 10**9))
def test_it_is_never_faster_than_the_slower_of_both(demand: Demand, supply: Supply, rows: int) -> None:
    found = cost(demand, rows, supply)
    assert found.seconds >= max(found.server, found.own)
