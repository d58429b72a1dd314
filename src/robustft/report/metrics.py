"""What a run did, in numbers: pure functions of the records. Only here is the truth looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustft.records import OUTCOMES, TRAINED_ON, Answer, Decision, Example, Outcome, Verdict
from robustft.tasks.task import Task


def count_decisions(decisions: Sequence[Decision]) -> dict[Outcome, int]:
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
    known = [i for i, example in enumerate(examples) if example.truth is not None]
    if not known:
        return None
    rows = [(examples[i], verdicts[i], decisions[i]) for i in known]
    given_right = np.array([_right(e, e.response, task) for e, _, _ in rows])
    final_right = np.array([_right(e, d.response_final, task) for e, _, d in rows])
    noisy = np.array([v.noisy for _, v, _ in rows])
    trained_on = np.array([d.decision in TRAINED_ON for _, _, d in rows])
    confidence = np.array([d.confidence for _, _, d in rows])
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


def count_readings(examples: Sequence[Example], answers: Sequence[Answer], task: Task) -> dict[str, dict[str, int]]:
    """Count, for each expert that writes text, how many answers the strict and the tolerant reading could read."""
    options = {example.id: example.options for example in examples}
    counts: dict[str, dict[str, int]] = {}
    for answer in answers:
        count = counts.setdefault(answer.expert, {"answers": 0, "abstained": 0, "strict": 0, "tolerant": 0})
        count["answers"] += 1
        count["abstained"] += answer.value is None
        for reading in ("strict", "tolerant"):
            count[reading] += task.extract(answer.text, options[answer.id], reading) is not None
    return counts


def total_calls(stages: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Add up the calls and the wall time of the stages."""
    names = ("requests", "cached", "failed", "prompt_tokens", "completion_tokens")
    calls = [stage.get("calls", {}) for stage in stages.values()]
    total: dict[str, float] = {name: sum(call.get(name, 0) for call in calls) for name in names}
    return total | {"wall_s": round(sum(stage.get("wall_s", 0.0) for stage in stages.values()), 3)}


def _right(example: Example, response: str | None, task: Task) -> bool:
    truth = task.label(example.truth or "", example.options)
    value = None if response is None else task.label(response, example.options)
    return truth is not None and value is not None and task.agree(value, truth)


def _mean(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None
