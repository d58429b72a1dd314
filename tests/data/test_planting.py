from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from robustft.data.planting import Kind, plant
from robustft.errors import ConfigError, DataError

RATES = st.floats(0, 1)
SEEDS = st.integers(0, 2**32)
LETTERS = st.lists(st.sampled_from("ABC"), max_size=30)


@settings(deadline=None)
@given(values=LETTERS, rate=RATES, kind=st.sampled_from(["symmetric", "asymmetric"]), seed=SEEDS)
def test_exactly_the_rate_and_always_wrong(values: list[str], rate: float, kind: Kind, seed: int) -> None:
    choices = [("A", "B", "C")] * len(values)
    planted = plant(values, choices, rate, kind, seed)
    assert len(planted) == round(rate * len(values))
    assert list(planted) == sorted(planted)
    assert all(value in "ABC" and value != values[row] for row, value in planted.items())
    assert plant(values, choices, rate, kind, seed) == planted
    if kind == "asymmetric":
        assert all(value == {"A": "B", "B": "C", "C": "A"}[values[row]] for row, value in planted.items())


@settings(deadline=None)
@given(values=LETTERS, rates=st.tuples(RATES, RATES), seed=SEEDS)
def test_a_higher_rate_adds_to_a_lower_one(values: list[str], rates: tuple[float, float], seed: int) -> None:
    choices = [("A", "B", "C")] * len(values)
    low, high = (plant(values, choices, rate, seed=seed) for rate in sorted(rates))
    assert low.items() <= high.items()


@settings(deadline=None)
@given(values=st.lists(st.integers(0, 3).map(str), min_size=1, max_size=30), rate=RATES, seed=SEEDS)
def test_open_answers_are_those_of_other_rows(values: list[str], rate: float, seed: int) -> None:
    def agree(a: str, b: str) -> bool:
        return int(a) // 2 == int(b) // 2

    assume(len({int(value) // 2 for value in values}) == 2)
    planted = plant(values, [()] * len(values), rate, seed=seed, agree=agree)
    assert len(planted) == round(rate * len(values))
    assert all(value in values and not agree(value, values[row]) for row, value in planted.items())


def test_wrong_options_are_equally_likely() -> None:
    n = 6000
    drawn = Counter(plant(["B"] * n, [("A", "B", "C", "D")] * n, 1.0).values())
    # 3 standard errors of a share of 1/3
    assert all(abs(drawn[value] / n - 1 / 3) < 3 * (2 / 9 / n) ** 0.5 for value in "ACD")


def test_open_answers_come_in_proportion_to_the_rows() -> None:
    values = ["1"] * 1000 + ["2"] * 3000 + ["3"] * 1000
    drawn = Counter(value for row, value in plant(values, [()] * 5000, 1.0).items() if values[row] == "1")
    assert abs(drawn["2"] / 1000 - 3 / 4) < 3 * (3 / 16 / 1000) ** 0.5


def test_a_rare_answer_is_found() -> None:
    values = ["1"] * 3000 + ["2"]
    assert set(plant(values, [()] * 3001, 1.0).values()) == {"1", "2"}


def test_where_nothing_can_be_planted() -> None:
    with pytest.raises(DataError, match="symmetric noise: 1 of 2 rows are to be changed and 0 could be"):
        plant(["1", "1"], [(), ()], 0.5)
    with pytest.raises(ConfigError, match="use symmetric"):
        plant(["1", "2"], [(), ()], 0.5, "asymmetric")


@given(wrong=st.lists(st.none() | st.just("x"), max_size=30), rate=RATES, seed=SEEDS)
def test_a_row_without_a_wrong_value_is_passed_over(wrong: list[str | None], rate: float, seed: int) -> None:
    asked, there = round(rate * len(wrong)), len(wrong) - wrong.count(None)
    values, choices = ["1"] * len(wrong), [()] * len(wrong)
    if asked > there:
        with pytest.raises(DataError, match=f"{asked} of {len(wrong)} rows are to be changed and {there} could be"):
            plant(values, choices, rate, "neighbour", seed, wrong=wrong)
        return
    planted = plant(values, choices, rate, "neighbour", seed, wrong=wrong)
    assert len(planted) == asked
    assert all(wrong[row] == value for row, value in planted.items())
    # the order is that of any other kind: where nothing is passed over, the same rows are changed
    if there == len(wrong):
        assert list(planted) == list(plant(["A"] * len(wrong), ["AB"] * len(wrong), rate, seed=seed))
