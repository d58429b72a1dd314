"""What a run directory comes to, in numbers: the same for every method, read from its records."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustft.records import Answer, Decision, Example
from robustft.run import RunDir
from robustft.tasks import make_task
from robustft.tasks.task import Task


def figures(run: RunDir) -> dict[str, Any]:
    """Return the figures of a run whose truth is known; null where one is undefined.

    precision, recall, f1 of detection; label accuracy of all rows (best guess), and of those trained on, whose share
    is the coverage; false_correction_rate as in metrics.json; changed_right_labels: share of the right labels whose
    final response is another; ece; the noise rate as estimated; whether it was identified; LLM calls and tokens a row,
    those answered from the ledger counted like the others; wall_s: of the run's stages, null where more than a
    twentieth of the calls came from the ledger.
    """
    metrics, task = run.read_json("metrics.json"), make_task(run.config().task)
    truth, calls, n = metrics["truth"], metrics["calls"], metrics["n"]
    learnt = run.read_json("findings.json").get("posterior") or {}
    asked = calls["requests"] + calls["cached"]
    tokens = sum(answer.tokens_in + answer.tokens_out for answer in list(run.load(Answer)))
    return {
        "n": n,
        "noise_rate": truth["noise_rate"],
        **truth["detection"],
        "accuracy_all": truth["label_accuracy"]["after_all"],
        "accuracy_taken": truth["label_accuracy"]["after_kept"],
        "coverage": truth["coverage"],
        "false_correction_rate": truth["false_correction_rate"],
        "changed_right_labels": _changed(list(run.load(Example)), list(run.load(Decision)), task),
        "ece": truth["ece"],
        "noise_rate_estimate": learnt["noise_rate"]["value"] if learnt else metrics["noise_rate_estimate"],
        "identified": learnt.get("identified"),
        "calls": asked / n,
        "tokens": tokens / n,
        "wall_s": calls["wall_s"] if calls["cached"] <= asked / 20 else None,
    }


def right_by_confidence(run: RunDir) -> str:
    """Return '1' for each row whose final response is right, else '0', from the most confident row down."""
    examples, decisions, task = list(run.load(Example)), list(run.load(Decision)), make_task(run.config().task)
    right = [
        _same(example, decision.response_final, example.truth, task)
        for example, decision in zip(examples, decisions, strict=True)
    ]
    order = np.argsort([-decision.confidence for decision in decisions], kind="stable")
    return "".join(str(int(right[row])) for row in order)


def accuracy_at(right: str, coverage: float) -> float | None:
    """Return the label accuracy of the top share `coverage` of what `right_by_confidence` returned; None for no row."""
    top = right[: round(coverage * len(right))]
    return top.count("1") / len(top) if top else None


def _changed(examples: list[Example], decisions: list[Decision], task: Task) -> float | None:
    changed: NDArray[np.bool_] = np.array(
        [
            not _same(example, decision.response_final, example.response, task)
            for example, decision in zip(examples, decisions, strict=True)
            if _same(example, example.response, example.truth, task)
        ]
    )
    return float(changed.mean()) if len(changed) else None


def _same(example: Example, one: str | None, other: str | None, task: Task) -> bool:
    if one is None or other is None:
        return False
    a, b = task.label(one, example.options), task.label(other, example.options)
    return a is not None and b is not None and task.agree(a, b)
