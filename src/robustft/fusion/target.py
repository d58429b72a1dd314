"""From the posterior to decisions: which labels are suspect, and which rows are sure enough to train on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustft.config import TARGET
from robustft.fusion.evidence import Evidence
from robustft.fusion.fitting import Sample
from robustft.fusion.posterior import Fusion, drawn, posterior_given

REACHED_WITHIN = 0.03
"""A target counts as reached where the 95 % interval of the taken rows' accuracy begins no lower than this below it."""

_TAKEN = 0x7A4E
_DRAWS = 100
_ROWS = 4_000


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What becomes of each row.

    `answer` (N,): the option to train on. `confidence` (N,): that it is the true one. `taken` (N,): whether the row is
    sure enough; the row is kept where its answer is its label, else relabelled. `target`: the mean confidence that the
    taken rows were to have.
    """

    answer: NDArray[np.int64]
    confidence: NDArray[np.float64]
    taken: NDArray[np.bool_]
    target: float


def choose(posterior: NDArray[np.float64], label: NDArray[np.integer], target_accuracy: float | None = None) -> Choice:
    """Take rows from the most confident down, as many as keep their mean confidence at the target or above.

    `posterior` (N, K), `label` (N,) -1 where there is none, `target_accuracy` in [0, 1]; None: 0.95, or as many rows as
    teach most (`effective_rows`) where those are more. Rows of equal confidence are taken in their order.
    """
    answer, confidence = likeliest(posterior, label)
    order = np.argsort(-confidence, kind="stable")
    means = np.cumsum(confidence[order]) / np.arange(1, len(order) + 1)
    target = TARGET if target_accuracy is None else target_accuracy
    # the mean falls along the order, so what holds for a row holds for all before it
    count = int((means >= target).sum())
    if target_accuracy is None:
        worth = effective_rows(posterior[order])
        most = 1 + int(worth.argmax()) if worth.any() else 0
        if most > count:
            count, target = most, float(means[most - 1])
    taken = np.zeros(len(order), dtype=bool)
    taken[order[:count]] = True
    return Choice(answer, confidence, taken, target)


def likeliest(
    posterior: NDArray[np.float64], label: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each row's likeliest option (N,) and its probability; among options equally likely the label stays."""
    rows = np.arange(len(posterior))
    answer = posterior.argmax(axis=1)
    confidence = posterior[rows, answer]
    stays = (label >= 0) & (posterior[rows, label] >= confidence)
    return np.where(stays, label, answer), confidence


def effective_rows(posterior: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return to how many rows without a mistake the first 1, 2, ... N rows of `posterior` (N, K) come for a learner.

    n rows of which a share e is wrong teach two classes as much as n (1 - 2 e)^2 right ones (Natarajan et al. 2013:
    the noise enters the bound as 1 / (1 - 2 e)). Here 1 - 2 e is the mean of by how much the likeliest option is
    likelier than the next.
    """
    ranked = np.sort(np.pad(posterior, ((0, 0), (1, 0))), axis=1)
    number = np.arange(1, len(posterior) + 1)
    return np.asarray(np.cumsum(ranked[:, -1] - ranked[:, -2]) ** 2 / number)


def keep_labels(label: NDArray[np.integer], posterior: NDArray[np.float64]) -> Choice:
    """Change nothing, for a fusion that isn't identified: every labelled row is taken with the label that it has.

    Its confidence is what the posterior says of it, which nobody should trust; rows without a label are left out.
    """
    labelled = label >= 0
    confidence = np.where(labelled, posterior[np.arange(len(label)), label], posterior.max(axis=1))
    return Choice(np.where(labelled, label, posterior.argmax(axis=1)), confidence, labelled, 0.0)


def expected_accuracy(
    taken: Sequence[tuple[Evidence, Fusion, NDArray[np.int64]]], target: float, known: bool, seed: int = 0
) -> dict[str, Any]:
    """Return how accurate the taken rows are expected to be, with a 95 % interval, and whether the target is reached.

    `taken`: for each level its taken rows, its fusion, and the rows' answers. The interval comes from 100 draws of the
    parameters, on at most 4,000 rows; `known`: whether the noise rate is. A mean confidence at the target proves little
    where the labels leave open how far the views are to be trusted: the interval is wide then, and the target is not
    called reached.
    """
    # a stream of its own: planted noise may well have been drawn with the same seed
    rng = np.random.default_rng((seed, _TAKEN))
    count = sum(len(answer) for _, _, answer in taken)
    facts: dict[str, Any] = {"wanted": target, "rows": count, "expected": None, "low": None, "high": None}
    if not count:
        return facts | {"reached": False}
    right = np.zeros(_DRAWS)
    for evidence, fusion, answer in taken:
        some = rng.permutation(len(answer))[: -(-_ROWS * len(answer) // count)]
        sample, place = Sample.of(evidence.rows(some), fusion.units), np.arange(len(some))
        for d, parameters in enumerate(drawn(fusion.components, fusion.layout, _DRAWS, rng)):
            right[d] += posterior_given(sample, parameters)[place, answer[some]].mean() * len(answer) / count
    low, high = np.quantile(right, [0.025, 0.975])
    facts |= {"expected": float(right.mean()), "low": float(low), "high": float(high)}
    return facts | {"reached": bool(known and low >= target - REACHED_WITHIN)}


def suspects(posterior: NDArray[np.float64], label: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Flag the labels (N,) whose flagging gives the best expected F1; rows without a label are never flagged.

    Rows are flagged from the likeliest to be wrong down, as many as maximise 2 hits / (flags + wrong labels) with both
    in expectation under the posterior (Lipton et al. 2014: that is everything above half the F1 reached).
    """
    flags = np.zeros(len(label), dtype=bool)
    labelled = np.flatnonzero(label >= 0)
    if len(labelled) == 0:
        return flags
    wrong = 1.0 - posterior[labelled, label[labelled]]
    order = np.argsort(-wrong, kind="stable")
    f1 = 2.0 * np.cumsum(wrong[order]) / (np.arange(1, len(order) + 1) + wrong.sum())
    best = int(np.argmax(f1))
    flags[labelled[order[: best + 1]]] = True
    return flags
