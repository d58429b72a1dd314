"""Which rows a person is shown, and in which order."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from robustft.errors import ConfigError, listing, meant
from robustft.records import OUTCOMES, TRAINED_ON, Belief, Decision, Example


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows: of these decisions (empty: any), on which experts disagree, with these ids, with this response.

    `where`: with these texts in these columns of the file. `below`: decided with less confidence than this.
    `random`: so many rows drawn by lot from all, whatever else is wanted.
    """

    decisions: frozenset[str] = frozenset()
    disagree: bool = False
    ids: frozenset[str] = field(default_factory=frozenset)
    response: str | None = None
    where: Sequence[tuple[str, str]] = ()
    below: float | None = None
    random: int | None = None

    def __post_init__(self) -> None:
        if unknown := self.decisions - set(OUTCOMES):
            raise ConfigError(f"--decision {sorted(unknown)[0]}: there are {', '.join(OUTCOMES)}")

    def takes(self, example: Example, decision: Decision) -> bool:
        """Whether a row is wanted."""
        votes = {vote for vote in decision.votes.values() if vote is not None}
        return (
            (not self.decisions or decision.decision in self.decisions)
            and (not self.disagree or len(votes) > 1)
            and (not self.ids or example.id in self.ids)
            and (self.response is None or example.response == self.response)
            and all(str(example.source.get(column, "")) == text for column, text in self.where)
            and (self.below is None or decision.confidence < self.below)
        )

    def refuse_unknown(self, columns: Collection[str]) -> None:
        """Raise ConfigError where a column is named that the file doesn't have."""
        for column, _ in self.where:
            if column not in columns:
                raise ConfigError(
                    f"--where {column}: no such column; there are {listing(columns)}{meant(column, columns)}"
                )


def queue(
    examples: Sequence[Example],
    decisions: Sequence[Decision],
    beliefs: Sequence[Belief] | None,
    wanted: Wanted,
    seed: int = 0,
) -> list[int]:
    """Return the places of the rows to show, those with the largest expected gain first; by lot, in that order.

    Raises ConfigError where no row is wanted, or a column that there isn't.
    """
    wanted.refuse_unknown(examples[0].source if len(examples) else {})
    if wanted.random is not None:
        drawn = np.random.default_rng(seed).permutation(len(examples))[: wanted.random]
        places = [int(place) for place in drawn]
    else:
        rows = enumerate(zip(examples, decisions, strict=True))
        gains = {place: expected_gain(decision) for place, (e, decision) in rows if wanted.takes(e, decision)}
        doubt = dict.fromkeys(gains, 0.0)
        if beliefs is not None:
            doubt = {place: entropy(belief.probs) for place, belief in enumerate(beliefs) if place in gains}
        places = sorted(gains, key=lambda place: (-gains[place], -doubt[place], place))
    if not places:
        raise ConfigError("no row is wanted; `robustft review RUN --decision drop` shows those that were dropped")
    return places


def expected_gain(decision: Decision) -> float:
    """Return how many right responses more are trained on, in expectation, once a person has said the right one.

    In [0, 1]: 1 for a row that is left out, the probability that the response is wrong for one that is trained on.
    """
    return 1.0 - decision.confidence if decision.decision in TRAINED_ON else 1.0


def entropy(probs: Sequence[float]) -> float:
    """Return the entropy of a row's belief in nats, what is missing from 1 as one more answer."""
    p = np.array([*probs, max(0.0, 1.0 - sum(probs))])
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())
