"""From what the experts said to arrays: each row's candidates, and every view's log-probabilities of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from robustft.fusion.evidence import Evidence
from robustft.records import JUDGES, Answer, Example
from robustft.store import tables_of
from robustft.tasks.options import letters
from robustft.tasks.task import Task, given

PROBE, TUNED = "probe", "tuned"
TAUGHT = (PROBE, TUNED)
"""Views that the set itself teaches, without a call to an LLM: each a family of its own, behind all others."""
OPEN_ANSWERS = 10
"""Answers that an open question is taken to have, those seen among them: the rest stands for 'another one'."""

_SMOOTHING = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Views:
    """The rows as arrays: N rows, V views in the order in which they are asked, those that the set teaches last.

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

    def of_llm(self) -> Evidence:
        """Return the evidence of the LLM's views; of one who always abstains, where there is none."""
        own = [v for v, name in enumerate(self.names) if name not in TAUGHT]
        if own:
            return self.evidence(own)
        silent = np.where(self.seen[:, None], 0.0, np.nan)
        return Evidence(silent, self.label, (0,), self.shared, self.reviewed)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(N, K) whether there is such a candidate; the others are absent options, or answers that nobody gave."""
        width = self.logp.shape[2]
        return np.arange(width) < np.array([[len(row)] for row in self.candidates])

    @property
    def calls(self) -> NDArray[np.int64]:
        """(N,) answers of the LLM about each row."""
        return np.asarray(self.asked[:, [name not in TAUGHT for name in self.names]].sum(axis=1))

    def evidence(self, views: Sequence[int]) -> Evidence:
        """Return the evidence of some of the views: those of the LLM are family 0, each other one is its own."""
        families = tuple(_rank(self.names[v]) for v in views)
        return Evidence(self.logp[:, list(views)], self.label, families, self.shared, self.reviewed)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What is known of N rows before anybody is asked: all that the fusion sees of them.

    Attributes:
        ids: (N,) text.
        counts: (N,) options of each row, 0 for an open question.
        given: (N,) values of the responses, None where there is none.
        reviewed: (N,) values that a person found to be true, None where nobody looked.
        shared: whether an option means the same in every row.
    """

    ids: pa.Array
    counts: NDArray[np.int64]
    given: list[str | None]
    reviewed: list[str | None]
    shared: bool

    @classmethod
    def of(cls, examples: Iterable[Example], task: Task, reviewed: Mapping[str, str] | None = None) -> Rows:
        """Read the rows once. `reviewed`: true values by id."""
        ids, counts, values, kinds = list[str](), list[int](), list[str | None](), set[tuple[str, ...]]()
        for example in examples:
            ids.append(example.id)
            counts.append(len(example.options))
            values.append(given(example, task))
            if len(kinds) < 2:
                kinds.add(example.options)
        known = [(reviewed or {}).get(row) for row in ids]
        return cls(pa.array(ids, pa.string()), np.array(counts), values, known, len(kinds) == 1 and counts[0] > 0)


def views_of(rows: Rows, said: Iterable[Sequence[Answer]], order: Sequence[str], task: Task) -> Views:
    """Arrange the answers of the views named in `order`, those that the set teaches last.

    Views that said nothing are left out. Further samples of a view carry its name and a number, such as 'direct/2'.
    """
    spoken = _spoken(rows, said)
    names = tuple(sorted((name for name in order if name in spoken), key=_rank))
    candidates = _candidates(rows, [part for name in names for part in spoken[name]], task)
    width = max(2, max(map(len, candidates)))
    if (rows.counts == 0).any():
        width = max(width + 1, OPEN_ANSWERS)
    n = len(candidates)
    logp, asked = np.zeros((n, len(names), width)), np.zeros((n, len(names)), dtype=np.int64)
    for v, name in enumerate(names):
        for part in spoken[name]:
            asked[:, v] += np.bincount(part.rows, minlength=n)
        logp[:, v] = _opinions(spoken[name], asked[:, v], candidates, width, task)
    present = np.where(rows.counts > 0, rows.counts, width)
    logp[np.broadcast_to((np.arange(width) >= present[:, None])[:, None], logp.shape)] = np.nan
    return Views(
        names=names,
        candidates=candidates,
        logp=logp,
        asked=asked,
        label=_places(rows.given, candidates, task),
        reviewed=_places(rows.reviewed, candidates, task),
        shared=rows.shared,
    )


def _rank(view: str) -> int:
    return 1 + TAUGHT.index(view) if view in TAUGHT else 0


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """What an expert said in one go: of which `rows` (n,), the `values`, and the columns nll, probs and mass."""

    rows: NDArray[np.int64]
    values: list[str | None]
    columns: pa.Table


def _spoken(rows: Rows, said: Iterable[Sequence[Answer]]) -> dict[str, list[_Part]]:
    """Return the parts of each view, by its name, without those of judges."""
    tables = [t for part in said for t in tables_of(part, Answer, ("id", "expert", "value", "nll", "probs", "mass"))]
    found: dict[str, list[_Part]] = {}
    if not tables:
        return found
    everything = pa.concat_tables(tables)
    for expert in everything["expert"].unique().to_pylist():
        if expert not in JUDGES:
            own = everything.filter(pc.equal(everything["expert"], expert))
            places = pc.index_in(own["id"], rows.ids).to_numpy()
            part = _Part(places, own["value"].to_pylist(), own.select(["nll", "probs", "mass"]))
            found.setdefault(expert.partition("/")[0], []).append(part)
    return found


def _candidates(rows: Rows, parts: Sequence[_Part], task: Task) -> tuple[tuple[str, ...], ...]:
    """Return each row's answers: its options' letters; of an open question those that anybody gave."""
    found = [list(letters(count)) if count == 0 else letters(count) for count in rows.counts.tolist()]
    everywhere = np.arange(len(found)).tolist()
    heard = [(everywhere, rows.given), (everywhere, rows.reviewed), *((p.rows.tolist(), p.values) for p in parts)]
    if (rows.counts == 0).any():
        for places, values in heard:
            for place, value in zip(places, values, strict=True):
                own = found[place]
                if isinstance(own, list) and value is not None and _place(value, own, task) < 0:
                    own.append(value)
    return tuple(tuple(own) if isinstance(own, list) else own for own in found)


def _places(values: Sequence[str | None], candidates: Sequence[Sequence[str]], task: Task) -> NDArray[np.int64]:
    """Return which of its row's candidates each value is; -1 for None, and for none of them."""
    return np.array([_place(value, own, task) for value, own in zip(values, candidates, strict=True)], dtype=np.int64)


def _place(value: str | None, candidates: Sequence[str], task: Task) -> int:
    if value is None:
        return -1
    if value in candidates:
        return candidates.index(value)
    return next((i for i, candidate in enumerate(candidates) if task.agree(value, candidate)), -1)


def _opinions(
    parts: Sequence[_Part],
    asked: NDArray[np.int64],
    candidates: Sequence[Sequence[str]],
    width: int,
    task: Task,
) -> NDArray[np.float64]:
    """Return what a view says of the candidates, (N, width): log p, up to a constant; 0 where it says nothing.

    Option probabilities where its first answer has them, drawn towards a uniform row by the mass that lay on no
    option; else how often its samples named each candidate, smoothed. A single answer counts as its mean probability a
    token.
    """
    count = np.zeros((len(asked), width))
    for part in parts:
        place = _places(part.values, [candidates[row] for row in part.rows.tolist()], task)
        nll = part.columns["nll"].to_numpy()
        weight = np.where(np.isnan(nll) | (asked[part.rows] > 1), 1.0, np.exp(-nll))
        named = place >= 0
        np.add.at(count, (part.rows[named], place[named]), weight[named])
    opinions = np.where(asked[:, None] > 0, np.log(count + _SMOOTHING), 0.0)
    rows, logp = _probabilities(parts[0], width)
    opinions[rows] = logp
    return opinions


def _probabilities(part: _Part, width: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the rows of which a part has option probabilities, and their log p (n, width)."""
    probs = part.columns["probs"].combine_chunks()
    there = probs.is_valid().to_numpy(zero_copy_only=False)
    mass = np.nan_to_num(part.columns["mass"].to_numpy()[there], nan=1.0)
    k = pc.list_value_length(probs.drop_null()).to_numpy()
    p = np.zeros((len(k), width))
    inside = np.arange(width) < k[:, None]
    p[inside] = probs.drop_null().flatten().to_numpy()
    p = np.where(inside, mass[:, None] * p + ((1.0 - mass) / k)[:, None], 0.0)
    with np.errstate(divide="ignore"):
        return part.rows[there], np.log(p)
