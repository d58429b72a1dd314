from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.terminal.figures import amount, duration, interval, percent, short, visible


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


def test_what_would_steer_a_terminal_is_written_out() -> None:
    assert visible("\x1b[31mred\x1b[0m\r\x07 a\tb\nc") == "\\x1b[31mred\\x1b[0m\\r\\x07 a\tb\nc"
    assert visible("abc\u202edef\u2066") == "abc\\u202edef\\u2066"
    assert visible("Größe 5 €, 日本語, \N{CRAB}") == "Größe 5 €, 日本語, \N{CRAB}"


@given(st.text())
def test_nothing_that_is_visible_changes(text: str) -> None:
    shown = visible(text)
    assert "\x1b" not in shown
    if text.isprintable() and text.isascii():
        assert shown == text
