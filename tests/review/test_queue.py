from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.errors import ConfigError
from robustft.records import Belief, Decision, Example, Outcome
from robustft.review.queue import Wanted, entropy, expected_gain, queue


def decision(name: str, outcome: Outcome, confidence: float, votes: str = "AA") -> Decision:
    return Decision(name, outcome, "A", "A", confidence, "why", dict(enumerate(votes)))  # type: ignore[arg-type]


def examples(count: int) -> list[Example]:
    return [Example(f"r{i}", ({"role": "user", "content": "?"},), "AB"[i % 2]) for i in range(count)]


DECISIONS = [
    decision("r0", "keep", 0.99),
    decision("r1", "keep", 0.6, "AB"),
    decision("r2", "drop", 0.5),
    decision("r3", "review", 0.5, "AB"),
]
BELIEFS = [Belief(f"r{i}", ("A", "B"), probs) for i, probs in enumerate([(1, 0), (0.6, 0.4), (0.9, 0.1), (0.5, 0.5)])]


def test_most_is_gained_where_a_row_is_left_out_and_the_run_knows_least() -> None:
    assert queue(examples(4), DECISIONS, BELIEFS, Wanted()) == [3, 2, 1, 0]
    assert queue(examples(4), DECISIONS, None, Wanted()) == [2, 3, 1, 0]


def test_rows_are_chosen_by_a_column_and_by_confidence() -> None:
    rows = [replace(example, source={"who": who, "n": 1}) for example, who in zip(examples(4), "abab", strict=True)]

    def of(**wanted: object) -> list[int]:
        return sorted(queue(rows, DECISIONS, BELIEFS, Wanted(**wanted)))  # type: ignore[arg-type]

    assert of(where=[("who", "a")]) == [0, 2]
    assert of(where=[("who", "a"), ("n", "1")], below=0.9) == [2]
    with pytest.raises(ConfigError, match="--where whu: no such column; there are who, n; did you mean 'who'"):
        of(where=[("whu", "a")])


def test_rows_are_chosen_by_what_is_wanted() -> None:
    def of(**wanted: object) -> list[int]:
        return sorted(queue(examples(4), DECISIONS, BELIEFS, Wanted(**wanted)))  # type: ignore[arg-type]

    assert of(decisions=frozenset({"drop", "review"})) == [2, 3]
    assert of(disagree=True) == [1, 3]
    assert of(ids=frozenset({"r0"})) == [0]
    assert of(response="B") == [1, 3]
    with pytest.raises(ConfigError, match="no row is wanted"):
        of(response="C")
    with pytest.raises(ConfigError, match="--decision kept"):
        Wanted(frozenset({"kept"}))


def test_a_lot_is_the_same_for_a_seed_and_takes_every_row_once() -> None:
    drawn = queue(examples(4), DECISIONS, BELIEFS, Wanted(random=9), seed=3)
    assert sorted(drawn) == [0, 1, 2, 3]
    assert drawn == queue(examples(4), DECISIONS, BELIEFS, Wanted(random=9), seed=3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_entropy_is_that_of_a_distribution(parts: list[float]) -> None:
    total = sum(parts) or 1.0
    found = entropy([part / total for part in parts])
    assert -1e-9 <= found <= math.log(len(parts) + 1) + 1e-9
    assert entropy([1.0]) == 0.0
    assert entropy([0.5]) == pytest.approx(math.log(2))


def test_gain_is_a_probability() -> None:
    assert [expected_gain(d) for d in DECISIONS] == pytest.approx([0.01, 0.4, 1.0, 1.0])
