"""From what the experts said to arrays: each row's candidates, and every view's log-probabilities of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustft.fusion.evidence import Evidence
from robustft.records import JUDGES, Answer, Example
from robustft.tasks.options import letters
from robustft.tasks.task import Task, given

PROBE = "probe"
OPEN_ANSWERS = 10
"""Answers that an open question is taken to have, those seen among them: the rest stands for 'another one'."""

_SMOOTHING = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """The rows as arrays: N rows, V views in the order in which they are asked, the probe, if any, last.

    Attributes:
        names: (V,) of the views.
        candidates: each row's answers, canonical: its options' letters, or the distinct answers that anybody gave.
        logp: (N, V, K) as in `Evidence`; a view that wasn't asked, or abstains, finds all alike.
        asked: (N, V) answers that the view gave about the row; 0 where it was not asked.
        label: (N,) candidate that was given as the response; -1 where there is none.
        reviewed: (N,) candidate known to be true; -1 where nobody looked.
        shared: whether a candidate means the same in every row.
    """

    names: tuple[str, ...]
    candidates: tuple[tuple[str, ...], ...]
    logp: NDArray[np.float64]
    asked: NDArray[np.int64]
    label: NDArray[np.int64]
    reviewed: NDArray[np.int64]
    shared: bool

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(N, K) whether there is such a candidate; the others are absent options, or answers that nobody gave."""
        width = self.logp.shape[2]
        return np.arange(width) < np.array([[len(row)] for row in self.candidates])

    @property
    def calls(self) -> NDArray[np.int64]:
        """(N,) answers of the LLM about each row."""
        return np.asarray(self.asked[:, [name != PROBE for name in self.names]].sum(axis=1))

    def evidence(self, views: Sequence[int]) -> Evidence:
        """Return the evidence of some of the views: those of the LLM are family 0, the probe is one of its own."""
        families = tuple(int(self.names[v] == PROBE) for v in views)
        return Evidence(self.logp[:, list(views)], self.label, families, self.shared, self.reviewed)


def views_of(
    examples: Sequence[Example],
    answers: Sequence[Answer],
    order: Sequence[str],
    task: Task,
    reviewed: Mapping[str, str] | None = None,
) -> Views:
    """Arrange the answers of the views named in `order`, the probe last; views that said nothing are left out.

    Further samples of a view carry its name and a number, such as 'direct/2'. `reviewed`: the true value of the rows
    that a person has looked at, by id.
    """
    reviewed = reviewed or {}
    said: defaultdict[str, defaultdict[str, list[Answer]]] = defaultdict(lambda: defaultdict(list))
    for answer in answers:
        if answer.expert not in JUDGES:
            said[answer.id][answer.expert.partition("/")[0]].append(answer)
    present = {name for row in said.values() for name in row}
    names = tuple(sorted((name for name in order if name in present), key=PROBE.__eq__))
    candidates = [_candidates(example, said[example.id], reviewed.get(example.id), task) for example in examples]
    shared = len({example.options for example in examples}) == 1 and bool(examples[0].options)
    width = max(2, max(len(row) for row in candidates))
    if not all(example.options for example in examples):
        width = max(width + 1, OPEN_ANSWERS)
    logp, asked = np.zeros((len(examples), len(names), width)), np.zeros((len(examples), len(names)), dtype=np.int64)
    for i, example in enumerate(examples):
        for v, name in enumerate(names):
            if samples := said[example.id].get(name):
                asked[i, v] = len(samples)
                logp[i, v] = _opinion(samples, candidates[i], width, task)
        if example.options:
            logp[i, :, len(candidates[i]) :] = np.nan
    return Views(
        names=names,
        candidates=tuple(candidates),
        logp=logp,
        asked=asked,
        label=np.array([_place(given(e, task), c, task) for e, c in zip(examples, candidates, strict=True)]),
        reviewed=np.array([_place(reviewed.get(e.id), c, task) for e, c in zip(examples, candidates, strict=True)]),
        shared=shared,
    )


def _candidates(
    example: Example, said: Mapping[str, Sequence[Answer]], reviewed: str | None, task: Task
) -> tuple[str, ...]:
    if example.options:
        return letters(len(example.options))
    found: list[str] = []
    for value in (given(example, task), reviewed, *(a.value for samples in said.values() for a in samples)):
        if value is not None and _place(value, found, task) < 0:
            found.append(value)
    return tuple(found)


def _place(value: str | None, candidates: Sequence[str], task: Task) -> int:
    if value is None:
        return -1
    if value in candidates:
        return candidates.index(value)
    return next((i for i, candidate in enumerate(candidates) if task.agree(value, candidate)), -1)


def _opinion(samples: Sequence[Answer], candidates: Sequence[str], width: int, task: Task) -> NDArray[np.float64]:
    """Return what a view says of the candidates, (width,): log p, up to a constant.

    Option probabilities where it has them, drawn towards a uniform row by the mass that lay on no option; else how
    often its samples named each candidate, smoothed. A single answer counts as its mean probability a token.
    """
    first = samples[0]
    if first.probs is not None:
        k, mass = len(first.probs), 1.0 if first.mass is None else first.mass
        p = np.zeros(width)
        p[:k] = mass * np.array(first.probs) + (1.0 - mass) / k
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(p))
    count = np.zeros(width)
    for sample in samples:
        place = _place(sample.value, candidates, task)
        if place >= 0:
            count[place] += 1.0 if sample.nll is None or len(samples) > 1 else np.exp(-sample.nll)
    return np.asarray(np.log(count + _SMOOTHING))
