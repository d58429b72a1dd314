"""A run's rows as columns, gathered in one pass over its files: what the report's figures and table are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from robustft.errors import ConfigError
from robustft.records import JUDGES, TRAINED_ON, Answer, Decision, Example, Verdict
from robustft.report.figures import SILENT, Codes, coded
from robustft.store import Stored
from robustft.tasks.options import letters
from robustft.tasks.task import Task

GIVEN = "given label"
"""The name of the given responses among the voices."""
MOST_VALUES = 40
"""Values of a column that are listed; the others are shown together."""


@dataclass(slots=True)
class Columns:
    """What the report needs of every row, in the rows' order.

    `given`, `final` and `truth` are values as people read them (an option's text), None where there is none; `options`
    are the places of the given and the final one among the row's options, -1 where they are none. `voices` maps each
    expert, and GIVEN, to the values it gave. `groups` maps each column that the config names to its texts.
    """

    decision: list[str] = field(default_factory=list)
    noisy: list[bool] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    given: list[str | None] = field(default_factory=list)
    final: list[str | None] = field(default_factory=list)
    truth: list[str | None] = field(default_factory=list)
    options: list[tuple[int, int]] = field(default_factory=list)
    right_before: list[bool] = field(default_factory=list)
    right_after: list[bool] = field(default_factory=list)
    voices: dict[str, list[str | None]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.decision)

    @property
    def trained_on(self) -> NDArray[np.bool_]:
        """Which rows (N,) are trained on."""
        return np.array([decision in TRAINED_ON for decision in self.decision], dtype=bool)

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Which rows (N,) have a truth."""
        return np.array([truth is not None for truth in self.truth], dtype=bool)

    def codes(self) -> tuple[list[str], Codes]:
        """Return the voices' names, and what they say as codes (V, N)."""
        return list(self.voices), coded(list(self.voices.values()))[0]

    def mistakes(self) -> NDArray[np.float64]:
        """Return the experts' mistakes (V, N): 1.0 wrong, 0.0 right, NaN silent, in the order of `voices` but GIVEN.

        Measured against the truth where every row has one, else against the final responses.
        """
        experts = [values for name, values in self.voices.items() if name != GIVEN]
        sure = self.truth if len(self) and self.measured.all() else self.final
        codes, _ = coded([*experts, sure])
        wrong = (codes[:-1] != codes[-1]).astype(float)
        wrong[(codes[:-1] == SILENT) | (codes[-1] == SILENT)] = np.nan
        return np.asarray(wrong)


def gather(
    examples: Iterable[Example],
    verdicts: Iterable[Verdict],
    decisions: Iterable[Decision],
    task: Task,
    groups: Sequence[str] = (),
) -> Columns:
    """Gather the columns of a run."""
    columns = Columns(groups={name: [] for name in groups})
    for example, verdict, decision in zip(examples, verdicts, decisions, strict=True):
        _add(columns, example, verdict, decision, task)
    return columns


def refuse_unknown(groups: Sequence[str], examples: Sequence[Example]) -> None:
    """Raise ConfigError where `report.groups` names a column that the rows don't have."""
    there = examples[0].source if len(examples) else {}
    for name in groups:
        if there and name not in there:
            raise ConfigError(f"report.groups: the rows have no column '{name}'; they have {', '.join(there)}")


def nll_by_row(said: Iterable[Stored[Answer]], ids: Sequence[str]) -> NDArray[np.float64]:
    """Return each row's mean NLL over the answers that have one (N,), nats per token; NaN where none has."""
    place = {name: row for row, name in enumerate(ids)}
    total, count = np.zeros(len(ids)), np.zeros(len(ids))
    for part in said:
        for table in part.tables(["id", "nll"]):
            for name, nll in zip(table["id"].to_pylist(), table["nll"].to_pylist(), strict=True):
                if nll is not None:
                    total[place[name]] += nll
                    count[place[name]] += 1
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count)


def response_nll(columns: Columns, said: Iterable[Stored[Answer]], ids: Sequence[str]) -> NDArray[np.float64]:
    """Return -log p of the given and the final responses (N, 2), in nats; NaN where none of a row's answers has them.

    p is the mean of the probabilities that the row's answers give to the response, 0.001 at least.
    """
    place = {name: row for row, name in enumerate(ids)}
    total, count = np.zeros((len(ids), 2)), np.zeros((len(ids), 1))
    for part in said:
        for table in part.tables(["id", "probs"]):
            for name, probs in zip(table["id"].to_pylist(), table["probs"].to_pylist(), strict=True):
                if probs:
                    row = place[name]
                    total[row] += [probs[option] if option >= 0 else np.nan for option in columns.options[row]]
                    count[row] += 1
    with np.errstate(invalid="ignore"):
        return np.asarray(-np.log(np.maximum(total / count, 1e-3)))


def by_value(columns: Columns, values: Sequence[str | None]) -> list[Mapping[str, object]]:
    """Return, for each value, frequent ones first: rows, shares that look wrong, were relabelled, are trained on.

    Where every row has a truth also the share of right responses before, and of those trained on after.
    """
    codes, names = coded([values])
    noisy, decision = np.array(columns.noisy, dtype=bool), np.array(columns.decision)
    before, after = np.array(columns.right_before, dtype=bool), np.array(columns.right_after, dtype=bool)
    trained, measured = columns.trained_on, bool(len(columns)) and bool(columns.measured.all())
    counts = np.bincount(codes[0][codes[0] != SILENT], minlength=len(names))
    found: list[Mapping[str, object]] = []
    for place in np.argsort(-counts, kind="stable")[:MOST_VALUES].tolist():
        own = codes[0] == place
        kept = own & trained
        found.append(
            {
                "value": names[place],
                "rows": int(own.sum()),
                "noisy": float(noisy[own].mean()),
                "relabelled": float((decision[own] == "relabel").mean()),
                "trained_on": float(trained[own].mean()),
                "before": float(before[own].mean()) if measured else None,
                "after": float(after[kept].mean()) if measured and kept.any() else None,
            }
        )
    return found


def readable(value: str | None, options: Sequence[str]) -> str | None:
    """Return a value as people read it: the option's text where it is an option's letter."""
    names = letters(len(options))
    return options[names.index(value)] if value in names else value


def _add(columns: Columns, example: Example, verdict: Verdict, decision: Decision, task: Task) -> None:
    options = example.options

    def value_of(response: str | None) -> str | None:
        return None if response is None else task.label(response, options)

    given, final, truth = (value_of(text) for text in (example.response, decision.response_final, example.truth))
    columns.decision.append(decision.decision)
    columns.noisy.append(verdict.noisy)
    columns.confidence.append(decision.confidence)
    columns.given.append(readable(given, options))
    columns.final.append(readable(final, options))
    columns.truth.append(readable(truth, options))
    places: dict[str | None, int] = {name: place for place, name in enumerate(letters(len(options)))}
    columns.options.append((places.get(given, -1), places.get(final, -1)))
    columns.right_before.append(_agree(given, truth, task))
    columns.right_after.append(_agree(final, truth, task))
    votes = {name: vote for name, vote in decision.votes.items() if name not in JUDGES} | {GIVEN: given}
    for name, vote in votes.items():
        if name not in columns.voices:
            columns.voices[name] = [None] * (len(columns) - 1)
        columns.voices[name].append(readable(_canonical(vote, final, truth, task), options))
    for values in columns.voices.values():
        values.extend([None] * (len(columns) - len(values)))
    for name, texts in columns.groups.items():
        texts.append(str(example.source.get(name, "")))


def _canonical(vote: str | None, final: str | None, truth: str | None, task: Task) -> str | None:
    """Return the vote in the words of what it agrees with, so that 1/2 and 0.5 are one answer."""
    return next((other for other in (truth, final) if _agree(vote, other, task)), vote)


def _agree(one: str | None, other: str | None, task: Task) -> bool:
    return one is not None and other is not None and task.agree(one, other)
