"""What a run did, in numbers: pure functions of the records. Only here is the truth looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustft.config import PriceConfig
from robustft.llm.calls import Calls
from robustft.records import MISSING, OUTCOMES, TRAINED_ON, Answer, Decision, Example, Outcome, Verdict, by_row
from robustft.store import Stored
from robustft.tasks.task import READINGS, Task

READ_AGAIN = 10_000
"""Rows whose answers are read a second time, to compare the two readings."""


def count_decisions(decisions: Iterable[Decision]) -> dict[Outcome, int]:
    """Count each decision; the counts add up to the rows."""
    counts = Counter(decision.decision for decision in decisions)
    return {outcome: counts[outcome] for outcome in OUTCOMES}


def against_truth(
    examples: Sequence[Example], verdicts: Sequence[Verdict], decisions: Sequence[Decision], task: Task
) -> dict[str, Any] | None:
    """Compare verdicts and decisions with the truth, over the rows that have one; None where no row has.

    noise_rate: share of the given responses that are wrong. detection: 'noisy' verdicts against wrong responses.
    label_accuracy: of the given responses (before), of the final ones that are trained on (after_kept), of the final
    or best-guess ones of all rows (after_all). coverage: share of rows trained on. false_correction_rate: share of
    the right responses that were changed or lost. ece: of the decisions' confidence, all rows. Null: undefined.
    """
    rows = (row for row in zip(examples, verdicts, decisions, strict=True) if row[0].truth is not None)
    table = np.array(
        [
            (_right(e, e.response, task), _right(e, d.response_final, task), v.noisy, d.decision in TRAINED_ON)
            for e, v, d in rows
        ],
        dtype=bool,
    )
    if not len(table):
        return None
    confidence = np.array(
        [d.confidence for e, d in zip(examples, decisions, strict=True) if e.truth is not None], dtype=float
    )
    given_right, final_right, noisy, trained_on = table.T
    return {
        "noise_rate": _mean(~given_right),
        "detection": detection(noisy, ~given_right),
        "label_accuracy": {
            "before": _mean(given_right),
            "after_kept": _mean(final_right[trained_on]),
            "after_all": _mean(final_right),
        },
        "coverage": _mean(trained_on),
        "false_correction_rate": _mean(~(final_right & trained_on)[given_right]),
        "ece": expected_calibration_error(confidence, final_right),
    }


def detection(flagged: NDArray[np.bool_], wrong: NDArray[np.bool_]) -> dict[str, float | None]:
    """Return precision, recall and F1 of flags (N,) against what is wrong (N,); None where undefined."""
    hits = int((flagged & wrong).sum())
    precision = hits / int(flagged.sum()) if flagged.any() else None
    recall = hits / int(wrong.sum()) if wrong.any() else None
    total = int(flagged.sum() + wrong.sum())
    return {"precision": precision, "recall": recall, "f1": 2 * hits / total if total else None}


def expected_calibration_error(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 15
) -> float | None:
    """Return the mean |confidence - accuracy| over equal-width bins, weighted by their rows (Naeini et al. 2015).

    `confidence` (N,) in [0, 1]. In [0, 1]; None for no rows.
    """
    if len(confidence) == 0:
        return None
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, weights=confidence - right, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def count_readings(
    examples: Sequence[Example], said: Sequence[Stored[Answer]], task: Task
) -> dict[str, dict[str, int]]:
    """Count each expert's answers and abstentions, and what the two readings make of those to the first rows.

    `read`: answers to the first READ_AGAIN rows, `strict` and `tolerant`: those among them that the reading can read.
    """
    counts: dict[str, dict[str, int]] = {}
    for part in said:
        silent = sum(table["value"].null_count for table in part.tables(["value"]))
        counts[part[0].expert] = {"answers": len(part), "abstained": silent, "read": 0, "strict": 0, "tolerant": 0}
    for example, answers in islice(zip(examples, by_row(examples, said), strict=True), READ_AGAIN):
        for answer in answers:
            count = counts[answer.expert]
            count["read"] += 1
            for reading in READINGS:
                count[reading] += task.extract(answer.text, example.options, reading) is not None
    return counts


def total_calls(stages: Mapping[str, Mapping[str, Any]], price: PriceConfig | None) -> dict[str, Any]:
    """Add up the calls and the wall time of the stages; `cost` is None where there is no price."""
    total = sum((Calls(**stage["calls"]) for stage in stages.values() if "calls" in stage), Calls())
    seconds = round(sum(stage.get("wall_s", 0.0) for stage in stages.values()), 3)
    return total.as_dict() | {"cost": total.cost(price), "wall_s": seconds}


def count_missing(said: Sequence[Stored[Answer]]) -> dict[str, int]:
    """Count the answers that were wanted and never came, by why."""
    finishes = Counter(finish for part in said for table in part.tables(["finish"]) for finish in table[0].to_pylist())
    return {why: finishes[why] for why in sorted(MISSING)}


def _right(example: Example, response: str | None, task: Task) -> bool:
    truth = task.label(example.truth or "", example.options)
    value = None if response is None else task.label(response, example.options)
    return truth is not None and value is not None and task.agree(value, truth)


def _mean(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None
