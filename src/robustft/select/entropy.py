"""Which answers are sure enough, by their mean negative log-likelihood: pure functions of arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def below_median(nll: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Select strictly below the median (the released code). `nll` (N,), nats per token; NaN is never selected.

    Ties at the median are left out, so fewer than half may be selected, and none where all are equal.
    """
    known = ~np.isnan(nll)
    if not known.any():
        return known
    return known & (np.where(known, nll, np.inf) < np.median(nll[known]))


def lowest_share(nll: NDArray[np.float64], share: float = 0.5) -> NDArray[np.bool_]:
    """Select the floor(share * N) lowest (the paper's beta, 50 %). `nll` (N,), nats per token; NaN is never selected.

    N counts the known values; ties go to the lower index.
    """
    known = np.flatnonzero(~np.isnan(nll))
    chosen = np.zeros(len(nll), dtype=bool)
    order = known[np.argsort(nll[known], kind="stable")]
    chosen[order[: int(share * len(known))]] = True
    return chosen
