"""What is known of the rows before the fusion: the views' log-probabilities, the given labels, the reviewed truths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustft.errors import DataError

_FLOOR = 12.0
_TIE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Rows as arrays: N rows, V views, at most K options a row.

    Attributes:
        logp: (N, V, K) log p of each option under each view, nats, made without seeing the row's label. Only
            differences within a row count. NaN marks an option that the row doesn't have: those come last, at least
            one option is left, and all views agree on them. -inf is a probability of zero. A constant row abstains.
        label: (N,) index of the given option; -1 where there is none.
        families: (V,) views of one family (such as all experts of one LLM) share their mistakes, and so one prior on
            their total weight; family 0 is what a prior accuracy is about. A probe is a family of its own.
        shared: whether option k means the same in every row.
        reviewed: (N,) index of the option known to be true; -1 where nobody looked. None: nobody looked at any.
            Reviewed rows must be drawn without regard to their labels.
    """

    logp: NDArray[np.floating]
    label: NDArray[np.integer]
    families: tuple[int, ...]
    shared: bool
    reviewed: NDArray[np.integer] | None = None

    def __post_init__(self) -> None:
        """Raise DataError where shapes or indices don't fit."""
        n, v, k = self.logp.shape
        if self.label.shape != (n,) or len(self.families) != v or not v or k < 2:
            raise DataError(
                f"evidence: log p is {self.logp.shape}, with {self.label.shape} labels and {len(self.families)} "
                "families; needed are (N, V, K) with V >= 1 and K >= 2, (N,) and V"
            )
        for name, index in (("label", self.label), ("reviewed truth", self.truth)):
            if index.shape != (n,) or (index < -1).any() or (index >= self.counts).any():
                raise DataError(f"evidence: a {name} is no option of its row")

    @property
    def counts(self) -> NDArray[np.int64]:
        """(N,) options of each row."""
        return np.asarray((~np.isnan(self.logp[:, 0])).sum(axis=1))

    @property
    def truth(self) -> NDArray[np.integer]:
        """(N,) the reviewed truths, -1 where there is none."""
        return np.full(len(self.logp), -1) if self.reviewed is None else self.reviewed

    def rows(self, index: NDArray[np.integer] | slice) -> Evidence:
        """Return the rows of `index`."""
        reviewed = None if self.reviewed is None else self.reviewed[index]
        return Evidence(self.logp[index], self.label[index], self.families, self.shared, reviewed)

    def blocks(self, size: int) -> Iterator[tuple[slice, Evidence]]:
        """Yield the rows `size` at a time, each block with its place."""
        for start in range(0, len(self.logp), size):
            place = slice(start, start + size)
            yield place, self.rows(place)


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """What makes views comparable: their preferences taken away, and how boldly they speak made no matter.

    `centre` (V, K): the mean over rows of an option's log p against its row's mean, nats: a preference that a view has
    whatever it is asked tells nothing of a row (batch calibration, Zhou et al. 2023). Zero where options aren't shared,
    and for views that are taken as they speak. `spread` (V,): the median over rows of the deviation between the options
    that is left, nats; 1 for a view that never tells options apart by a finite amount.
    """

    centre: NDArray[np.float64]
    spread: NDArray[np.float64]


def units_of(evidence: Evidence, *, vouched: bool = False) -> Units:
    """Measure the views' units; `vouched`: family 0 keeps its preferences, somebody answers for what it says."""
    logp = np.where(np.isfinite(evidence.logp), evidence.logp, np.nan).astype(np.float64)
    finite = np.maximum((~np.isnan(logp)).sum(axis=2, keepdims=True), 1)
    logp -= np.nansum(logp, axis=2, keepdims=True) / finite
    centre = np.zeros(logp.shape[1:])
    if evidence.shared:
        spoken = ~_abstains(evidence)
        for v, family in enumerate(evidence.families):
            if vouched and family == 0:
                continue
            rows = logp[spoken[:, v], v]
            seen = np.maximum((~np.isnan(rows)).sum(axis=0), 1)
            centre[v] = np.nansum(rows, axis=0) / seen
            logp[spoken[:, v], v] -= centre[v]
    sizes = np.sqrt(np.nansum(logp**2, axis=2) / finite[:, :, 0])
    typical = [np.median(size[size > _TIE]) if (size > _TIE).any() else 1.0 for size in sizes.T]
    return Units(centre, np.asarray(typical, dtype=np.float64))


def standardised(evidence: Evidence, units: Units) -> NDArray[np.float64]:
    """Return the views' logits (N, V, K) in their units.

    An option more than 12 spreads below the row's best is put there: a single log p of -700 is no stronger evidence
    than that, nor is a probability of zero. Absent options are 0, and the others of a row have mean 0.
    """
    logp = evidence.logp - np.where(_abstains(evidence)[:, :, None], 0.0, units.centre)
    best = np.nanmax(logp, axis=2, keepdims=True)
    below = np.maximum((logp - np.where(np.isfinite(best), best, 0.0)) / units.spread[:, None], -_FLOOR)
    mean = np.nansum(below, axis=2, keepdims=True) / evidence.counts[:, None, None]
    return np.asarray(np.nan_to_num(below - mean), dtype=np.float64)


def _abstains(evidence: Evidence) -> NDArray[np.bool_]:
    """Say which views (N, V) find all options of a row alike."""
    logp = evidence.logp
    return np.asarray(np.nanmax(logp, axis=2) - np.nanmin(np.where(np.isneginf(logp), -1e9, logp), axis=2) <= _TIE)


def top_choices(logits: NDArray[np.float64], counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the views' answers (N, V, K): 1 at the likeliest option, shared out among equals; sums to 1."""
    present = np.arange(logits.shape[2]) < counts[:, None, None]
    masked = np.where(present, logits, -np.inf)
    best = masked >= masked.max(axis=2, keepdims=True)
    return np.asarray(best / best.sum(axis=2, keepdims=True))
