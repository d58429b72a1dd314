from __future__ import annotations

import pytest

from robustft.engine.local import Silent
from robustft.llm.calls import Calls
from robustft.plan.pace import Pace


def test_only_the_time_in_which_the_model_was_asked_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    calls, timed = Calls(), Pace(Silent())
    timed.watch(calls, None)
    for step, seconds, requests, cached in [
        ("read", 1, 0, 0),
        ("direct", 2, 50, 0),
        ("probe", 100, 0, 0),
        ("reasoning", 3, 50, 1),
        ("context", 1, 2, 8),
    ]:
        timed.start(step, 50)
        clock[0] += seconds
        calls.include(Calls(requests=requests, cached=cached))
        timed.finish()
    assert timed.rate("detect") == 20.0
    assert timed.rate("relabel") is None  # most of it came from the ledger
    assert Pace(Silent()).rate("detect") is None
