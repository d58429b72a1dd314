from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from robustft.data.confusion import halves, nearest_class, nearest_option, nearest_values

ROWS = st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(0, 359)), max_size=12)


def angles(*degrees: float) -> NDArray[np.float32]:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def apart(a: float, b: float) -> float:
    return min(abs(a - b), 360 - abs(a - b))


@given(rows=ROWS, block=st.integers(1, 5), seed=st.integers(0, 9))
def test_nothing_that_is_allowed_is_nearer(rows: list[tuple[str, int]], block: int, seed: int) -> None:
    def allowed(row: int, value: str) -> bool:
        return (rows[row][0], value) != ("A", "B")

    values, at = [row[0] for row in rows], [row[1] for row in rows]
    found = nearest_values(angles(*at), values, allowed, seed, block)
    assert found == nearest_values(angles(*at), values, allowed, seed)
    for row, value in enumerate(found):
        near = {
            other: min(apart(at[row], at[i]) for i in range(len(rows)) if values[i] == other)
            for other in set(values) - {values[row]}
            if allowed(row, other)
        }
        assert (value is None) == (not near)
        # a degree is the least that two rows can be apart by, but near 0 and 180 its cosine is within a tie's 1e-6
        assert value is None or near[value] <= min(near.values()) + 1


def test_rows_that_are_equally_near_are_equally_likely() -> None:
    n = 4000
    values = ["A"] * n + ["B"] * 10 + ["C"] * 30
    found = nearest_values(np.zeros((n + 40, 2), np.float32), values, lambda row, value: True)
    # 3 standard errors of a share of 3/4
    assert abs(Counter(found[:n])["C"] / n - 3 / 4) < 3 * (3 / 16 / n) ** 0.5


def test_a_class_is_confused_with_the_one_of_the_nearest_mean() -> None:
    values = ["A", "A", "B", "B", "C"]
    # the means stand at 0, 40 and 100 degrees
    found = nearest_class(values, angles(-20, 20, 30, 50, 100))
    assert found == ["B", "B", "A", "A", "B"]
    assert nearest_class(["A", "A"], angles(0, 1)) == [None, None]
    assert nearest_class([], angles()) == []


def test_an_option_is_confused_with_the_one_of_the_nearest_text() -> None:
    vectors = [angles(0, 50, 90), angles(0, 50, 90), angles(0, 10), angles(0, 10)]
    choices = ["ABC", "ABC", "AB", ""]
    assert nearest_option(["A", "C", "B", "Z"], choices, vectors) == ["B", "B", "A", None]


def test_a_half_must_be_readable_and_wrong() -> None:
    texts = ["1250", "7", "12 ", "x1", "1111"]

    def label(text: str) -> str | None:
        return text if text.isdigit() else None

    assert halves(texts, ["1250", "7", "12", "1", "11"], label, str.__eq__) == ["12", None, "1", None, None]
