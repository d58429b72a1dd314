from __future__ import annotations

import pytest

from robustft.terminal.figures import amount, duration, interval, percent, short


@pytest.mark.parametrize(
    ("seconds", "said"), [(4.21, "4.2 s"), (65, "1:05 min"), (600, "10:00 min"), (7800, "2:10:00 h"), (0, "0.0 s")]
)
def test_time_as_people_say_it(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_counts_shares_and_money() -> None:
    assert [short(n) for n in (0, 950, 12345, 1.25e6, 3.4e9)] == ["0", "950", "12,345", "1.2 M", "3.4 G"]
    assert (percent(None), percent(0.125)) == ("–", "12.5 %")
    assert [amount(v) for v in (0, 0.0042, 0.5, 1234.5)] == ["0.00", "0.0042", "0.5", "1,234.50"]
    assert interval({"value": 0.5, "ci95": [0.25, 0.75], "n": 8}) == "50.0 % of 8 (25.0 to 75.0)"
