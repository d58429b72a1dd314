"""Which rows get a wrong response, and which: exactly at the rate that is asked for, and the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from robustft.errors import ConfigError, DataError

Kind = Literal["symmetric", "asymmetric", "confusable", "neighbour", "truncated"]
"""How wrong responses come about; docs/audit.md says what each kind is.

symmetric: any other one. asymmetric: the next option. confusable: the one most easily taken for the right one.
neighbour: that of the row with the nearest question. truncated: the first half of the right one's text.
"""

_QUICK_DRAWS = 64


def plant(
    values: Sequence[str],
    choices: Sequence[Sequence[str]],
    rate: float,
    kind: Kind = "symmetric",
    seed: int = 0,
    agree: Callable[[str, str], bool] = str.__eq__,
    wrong: Sequence[str | None] | None = None,
) -> dict[int, str]:
    """Choose rows to corrupt, and a wrong value for each: exactly round(rate * n) of the n rows, without replacement.

    Args:
        values: the right value of each row.
        choices: all values that each row could have; empty for a row with an open answer.
        rate: the share of rows, 0 to 1.
        kind: symmetric: another of the row's choices, each as likely; for an open answer, the value of another row that
            doesn't agree with it, each such row as likely. asymmetric: the row's next choice, after the last the first.
            The other kinds take what `wrong` says.
        seed: the same seed draws the same rows and values; a higher rate with it adds to those of a lower one.
        agree: whether two values are the same answer.
        wrong: what each row would get, as data/confusion.py works it out; None for a row that has nothing of the kind.

    Returns:
        {row: wrong value}, rows ascending from 0. A row that has no wrong value is passed over for the next one drawn.

    Raises:
        ConfigError: asymmetric noise for open answers.
        DataError: too few rows have a wrong value; it says how many have.
    """
    asked = round(rate * len(values))
    planted: dict[int, str] = {}
    for row in np.random.default_rng(seed).permutation(len(values)).tolist():
        if len(planted) == asked:
            break
        value = _drawn(row, values, choices[row], kind, seed, agree) if wrong is None else wrong[row]
        if value is not None:
            planted[row] = value
    if len(planted) < asked:
        raise DataError(
            f"{kind} noise: {asked} of {len(values)} rows are to be changed and {len(planted)} could be; the others "
            "have no such wrong response. Lower the rate or choose another kind"
        )
    return dict(sorted(planted.items()))


def _drawn(
    row: int, values: Sequence[str], choices: Sequence[str], kind: Kind, seed: int, agree: Callable[[str, str], bool]
) -> str | None:
    """Return a symmetric or asymmetric wrong value, None where there is no other one."""
    if kind == "asymmetric":
        if not choices:
            raise ConfigError("kind: asymmetric noise goes to the next option, and these rows have none; use symmetric")
        return choices[(choices.index(values[row]) + 1) % len(choices)]
    draw = np.random.default_rng((seed, row))
    if choices:
        others = [choice for choice in choices if choice != values[row]]
        return others[int(draw.integers(len(others)))]
    # rows that agree are rare as a rule, so that a few draws find another answer without a look at every row
    for other in map(int, draw.integers(len(values), size=_QUICK_DRAWS)):
        if not agree(values[other], values[row]):
            return values[other]
    differing = {value for value in set(values) if not agree(value, values[row])}
    others = [value for value in values if value in differing]
    return others[int(draw.integers(len(others)))] if others else None
