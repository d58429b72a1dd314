"""How far a run can be trusted on the user's own rows: noise is planted in them, and the same run has to find it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustft.config import Config
from robustft.data.noise import Kind, noise_file
from robustft.engine.local import Progress
from robustft.errors import ConfigError, DataError
from robustft.evaluate.accuracy import Flags, share
from robustft.pipeline import TRAINING, denoise
from robustft.records import TRAINED_ON, Decision, Example, Verdict
from robustft.run import RunDir
from robustft.tasks import make_task
from robustft.tasks.task import Task

REFERENCE = "response_before_audit"
"""The planted file's column of the responses as they were given: what every figure is measured against."""

_DRAWS = 1000
"""Bootstrap draws."""


async def audit(
    config: Config,
    out: Path,
    rate: float = 0.1,
    kind: Kind = "symmetric",
    seed: int = 0,
    limit: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Plant wrong responses on a share `rate` of the labelled rows, run the config on them, and count what it found.

    Everything is written to `out`/audit-KIND: planted.jsonl, the run's files, and audit.json with the figures. The
    responses as given stand for right; a truth that the config maps isn't looked at, but by the scripted model, which
    simulates with it. Calls that don't depend on the response come from the ledger. No training file is written. The
    same command again resumes. Returns what audit.json holds. Raises RobustFTError; see `noise_file` for the kinds.
    """
    if config.data.path is None:
        raise ConfigError("data.path: not set; name a file, a folder or hf://DATASET")
    if config.llm.backend == "scripted" and config.data.truth is None:
        raise ConfigError("data.truth: the scripted model needs a column of the file to simulate with; map one")
    folder = out / f"audit-{kind}"
    planted = folder / "planted.jsonl"
    # in a thread, since it runs an event loop of its own where it needs embeddings
    noise = await asyncio.to_thread(noise_file, config.data.path, planted, config, rate, kind, seed, REFERENCE, limit)
    if noise.changed == 0:
        raise DataError(f"rate {rate} of {noise.labelled} responses is none of them; raise it", path=config.data.path)
    metrics = await denoise(_planted(config, planted), folder, progress=progress, skip=TRAINING)
    run = RunDir(folder)
    rows = collect(run.load(Example), run.load(Verdict), run.load(Decision), make_task(config.task))
    facts = {"kind": kind, "rate": rate, "seed": seed, "limit": limit, "method": config.method}
    found = figures(rows, metrics.get("noise_rate_estimate"), seed)
    result = facts | found | {"decisions": metrics["decisions"], "calls": metrics["calls"]}
    run.write_json("audit.json", result)
    return result


@dataclass(frozen=True, slots=True)
class AuditedRows:
    """What became of the labelled rows, in columns of N.

    `planted`: the response was made wrong. `flagged`: the verdict is noisy. `trained`: kept or relabelled. `as_before`:
    the final response is the one given before planting; `as_planted`: it is the one with which the run began.
    `confidence`: that the final response is right, 0 to 1.
    """

    planted: Flags
    flagged: Flags
    trained: Flags
    as_before: Flags
    as_planted: Flags
    confidence: NDArray[np.float64]


def collect(
    examples: Sequence[Example], verdicts: Sequence[Verdict], decisions: Sequence[Decision], task: Task
) -> AuditedRows:
    """Compare the run's records with the responses before planting, over the rows that had one."""
    rows = [row for row in zip(examples, verdicts, decisions, strict=True) if row[0].source[REFERENCE] is not None]
    before = [example.source[REFERENCE] for example, _, _ in rows]

    def same(a: Sequence[str | None], b: Sequence[str | None]) -> Flags:
        return np.array([_same(e, x, y, task) for (e, _, _), x, y in zip(rows, a, b, strict=True)], dtype=bool)

    given = [example.response for example, _, _ in rows]
    final = [decision.response_final for _, _, decision in rows]
    return AuditedRows(
        planted=~same(given, before),
        flagged=np.array([verdict.noisy for _, verdict, _ in rows], dtype=bool),
        trained=np.array([decision.decision in TRAINED_ON for _, _, decision in rows], dtype=bool),
        as_before=same(final, before),
        as_planted=same(final, given),
        confidence=np.array([decision.confidence for _, _, decision in rows], dtype=float),
    )


def figures(rows: AuditedRows, noise_estimate: float | None = None, seed: int = 0) -> dict[str, Any]:
    """Return the audit's figures, each with its count, its n and a 95 % interval; docs/audit.md says what they mean.

    `noise_estimate` is the run's own, of the planted file: with what exceeds the planted share it explains why the
    right final response may be another one than that given. `seed` is the bootstrap's. None: undefined.
    """
    planted, trained, flagged = rows.planted, rows.trained, rows.flagged
    confidence, holds, warning = _confidence(rows, noise_estimate)
    return {
        "n": len(planted),
        "planted": int(planted.sum()),
        "recall": share(flagged[planted]),
        "precision": share(planted[flagged]),
        "f1": _f1(flagged, planted, seed),
        "relabel_accuracy": share(rows.as_before[planted & trained]),
        "planted_left_in": share((trained & rows.as_planted)[planted]),
        "false_corrections": share(~(trained & rows.as_before)[~planted]),
        "noise_rate_estimate": noise_estimate,
        "confidence": confidence,
        "confidence_holds": holds,
        "warning": warning,
    }


def _f1(flagged: Flags, planted: Flags, seed: int) -> dict[str, Any]:
    """Return F1 and its percentile bootstrap interval: rows fall into four cells, of which F1 is a function."""
    cells = np.bincount(2 * planted + flagged, minlength=4)
    if cells[1:].sum() == 0:
        return {"value": None, "ci95": None}
    draws = np.random.default_rng(seed).multinomial(len(planted), cells / len(planted), size=_DRAWS)
    f1 = _f1_of(draws[draws[:, 1:].any(axis=1)])
    return {"value": float(_f1_of(cells)), "ci95": np.percentile(f1, [2.5, 97.5]).tolist()}


def _f1_of(cells: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return F1 of counts (.., 4): neither, flagged only, planted only, both."""
    return np.asarray(2 * cells[..., 3] / (cells[..., 1] + cells[..., 2] + 2 * cells[..., 3]))


def _confidence(rows: AuditedRows, noise_estimate: float | None) -> tuple[dict[str, Any], bool | None, str | None]:
    """Hold the mean confidence of the rows trained on against how often they are as given before planting."""
    agreeing = share(rows.as_before[rows.trained])
    if not agreeing["n"]:
        return {"mean": None, "as_before": agreeing, "explained_by_noise": None}, None, "no row is trained on"
    mean = float(rows.confidence[rows.trained].mean())
    # the run's estimate counts the planted rows too, whose right response is known
    planted = float(rows.planted.mean())
    own = max(0.0, (noise_estimate or 0.0) - planted) / (1.0 - planted) if planted < 1.0 else 0.0
    holds = mean <= agreeing["ci95"][1] + own
    facts = {"mean": mean, "as_before": agreeing, "explained_by_noise": own}
    return facts, holds, None if holds else _warning(mean, agreeing, own if noise_estimate is not None else None)


def _warning(mean: float, agreeing: dict[str, Any], own: float | None) -> str:
    given, low, high = (f"{100 * value:.1f}" for value in (agreeing["value"], *agreeing["ci95"]))
    return (
        f"don't take the confidences for probabilities: their mean over the rows trained on is {100 * mean:.1f} %, but "
        f"only {given} % ({low} to {high}) of these have the response that was given before planting; "
        + (
            "responses that were wrong before may explain a part of it, but this method has no estimate of them"
            if own is None
            else f"responses that were wrong before explain {100 * own:.1f} points at most, by the run's own estimate"
        )
    )


def _planted(config: Config, path: Path) -> Config:
    """Return the config for the planted file. Only the scripted model keeps the user's truth."""
    # where the responses themselves were mapped as the truth, that is now how they were
    kept = config.llm.backend == "scripted" and config.data.truth != config.data.response
    truth = config.data.truth if kept else REFERENCE
    data = config.data.model_copy(update={"path": str(path), "truth": truth, "truth_path": None})
    # planted rows are nothing to train on
    export = config.export.model_copy(update={"formats": ()})
    return config.model_copy(update={"data": data, "export": export, "report_to": "none"})


def _same(example: Example, a: str | None, b: str | None, task: Task) -> bool:
    values = [None if response is None else task.label(response, example.options) for response in (a, b)]
    return values[0] is not None and values[1] is not None and task.agree(values[0], values[1])
