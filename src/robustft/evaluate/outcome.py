"""What an experiment comes to: each arm's accuracy over its seeds, and its difference to training on the given rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np

from robustft.config import Config
from robustft.evaluate.accuracy import Flags, mean_share, paired
from robustft.evaluate.scoring import Result, figures, right
from robustft.records import TRAINED_ON, Decision, Example
from robustft.tasks.task import Task


@dataclass(frozen=True, slots=True, eq=False)
class ArmRun:
    """An arm with one seed: `rows` trained on, the share of them that is `right` (None: no truth), steps, answers.

    `weighted`: whether rows were weighted by their confidence.
    """

    seed: int
    rows: int
    right: float | None
    weighted: bool
    steps: int
    seconds: float
    results: Sequence[Result]


def right_share(examples: Sequence[Example], decisions: Sequence[Decision], task: Task) -> float | None:
    """Return the share of the rows trained on whose final response is the true one; None where no truth is known."""
    known = [
        (task.label(example.truth, example.options), task.label(decision.response_final or "", example.options))
        for example, decision in zip(examples, decisions, strict=True)
        if decision.decision in TRAINED_ON and example.truth is not None
    ]
    agreeing = [truth is not None and final is not None and task.agree(truth, final) for truth, final in known]
    return mean(agreeing) if agreeing else None


def outcome(base: Sequence[Result], arms: Mapping[str, Sequence[ArmRun]], task: Task, config: Config) -> dict[str, Any]:
    """Return the figures of the base model and of each arm.

    An arm's accuracy is the mean over its seeds; its interval, and that of its difference to arm none, are those of
    `mean_share` and `paired`. `gap_closed` is the difference as a share of the oracle's, None where the oracle isn't
    there or no better than none.
    """
    hits = {
        name: np.array([right(run.results, task, config.task.reading) for run in runs]) for name, runs in arms.items()
    }
    gap = _gap(hits)
    return {
        "base": figures(base, task, config),
        "arms": {name: _arm(runs, hits[name], hits.get("none"), gap, task, config) for name, runs in arms.items()},
    }


def _gap(hits: Mapping[str, Flags]) -> float:
    return float(hits["oracle"].mean() - hits["none"].mean()) if {"oracle", "none"} <= hits.keys() else 0.0


def _arm(
    runs: Sequence[ArmRun], hits: Flags, none: Flags | None, gap: float, task: Task, config: Config
) -> dict[str, Any]:
    found, known = mean_share(hits), [run.right for run in runs if run.right is not None]
    difference = None if none is None or none is hits else paired(none, hits)
    return {
        "rows": round(mean(run.rows for run in runs)),
        "right": mean(known) if known else None,
        "weighted": runs[0].weighted,
        "steps": round(mean(run.steps for run in runs)),
        "seconds": round(mean(run.seconds for run in runs), 1),
        "accuracy": found["value"],
        "ci95": found["ci95"],
        "by_seed": {str(run.seed): figures(run.results, task, config) for run in runs},
        "against_none": difference,
        "gap_closed": difference["value"] / gap if difference is not None and gap > 0 else None,
    }
