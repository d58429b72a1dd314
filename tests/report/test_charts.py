from __future__ import annotations

import numpy as np

from robustft.report.charts import before_and_after, histogram

NONE = np.array([])


def test_rows_are_counted_in_whole_numbers_with_their_thousands_apart() -> None:
    many, few = (histogram(np.full(rows, 0.9), NONE, "confidence") for rows in (20_000, 2))
    assert ">20,000<" in many
    assert few.count(">1<") == 1


def test_without_rows_there_is_no_chart() -> None:
    unknown = np.full(3, np.nan)
    assert histogram(unknown, NONE, "NLL") == ""
    assert before_and_after(np.ones(3), unknown, "NLL") == ""
    assert "as given" in before_and_after(np.ones(3), np.zeros(2), "NLL")
