"""What an experiment comes to: each arm's accuracy over its seeds, and its difference to training on the given rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustft.config import Config
from robustft.evaluate.accuracy import mean_interval
from robustft.evaluate.scoring import Result, figures, right
from robustft.records import TRAINED_ON, Decision, Example
from robustft.tasks.task import Task

Shares = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ArmRun:
    """An arm with one seed: `rows` trained on, the share of them that is `right` (None: no truth), steps, answers."""

    seed: int
    rows: int
    right: float | None
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

    An arm's accuracy is the mean over its seeds. Its interval, and that of its difference to arm none, are
    bootstrapped over the held-out rows (each with its mean over the seeds, the difference row by row). `gap_closed` is
    the difference as a share of the oracle's, None where the oracle isn't there or no better than none.
    """
    shares = {name: _shares(runs, task, config) for name, runs in arms.items()}
    gap = _gap(shares)
    return {
        "base": figures(base, task, config),
        "arms": {name: _arm(runs, shares[name], shares.get("none"), gap, task, config) for name, runs in arms.items()},
    }


def _shares(runs: Sequence[ArmRun], task: Task, config: Config) -> Shares:
    """Return for each held-out row how often it was answered rightly, over the seeds (N,)."""
    hits = [right(run.results, task, config.task.reading) for run in runs]
    return np.asarray(np.mean(hits, axis=0), dtype=float)


def _gap(shares: Mapping[str, Shares]) -> float:
    return float((shares["oracle"] - shares["none"]).mean()) if {"oracle", "none"} <= shares.keys() else 0.0


def _arm(
    runs: Sequence[ArmRun], shares: Shares, none: Shares | None, gap: float, task: Task, config: Config
) -> dict[str, Any]:
    found, known = mean_interval(shares), [run.right for run in runs if run.right is not None]
    difference = None if none is None or none is shares else mean_interval(shares - none)
    return {
        "rows": round(mean(run.rows for run in runs)),
        "right": mean(known) if known else None,
        "steps": round(mean(run.steps for run in runs)),
        "seconds": round(mean(run.seconds for run in runs), 1),
        "accuracy": found["value"],
        "ci95": found["ci95"],
        "by_seed": {str(run.seed): figures(run.results, task, config) for run in runs},
        "against_none": difference,
        "gap_closed": difference["value"] / gap if difference is not None and gap > 0 else None,
    }
