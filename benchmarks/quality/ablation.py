"""What each part of method posterior is worth: the same answers, fused with one part at a time taken away.

    python -m benchmarks.quality.ablation CELLS docs/benchmarks.md

Reads the finished cells of `benchmarks.quality.denoise` in which every expert was asked about every row (a single LLM
view among them), and asks no LLM.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from unittest.mock import patch

import numpy as np
import orjson
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from threadpoolctl import threadpool_limits

from benchmarks.quality.cells import CELL
from benchmarks.quality.page import rewrite
from robustft.config import Config
from robustft.fusion import fitting, probe
from robustft.fusion.evidence import Evidence, top_choices
from robustft.fusion.fitting import Priors
from robustft.fusion.noise_model import Labels
from robustft.fusion.posterior import fit, posterior
from robustft.fusion.probe import partitions_of, with_probe
from robustft.fusion.target import suspects
from robustft.fusion.views import PROBE, views_of
from robustft.fusion.views import Rows as KnownRows
from robustft.llm.models import Models
from robustft.records import Answer, Example
from robustft.report.metrics import expected_calibration_error
from robustft.run import RunDir
from robustft.tasks import make_task

SECTION = "ablation"
PARTS = ("nothing", "probabilities: votes", "the probe", "calibration", "the second start", "priors", "lapses")
"""What is taken away, in the order of the table's rows."""
_FLAT = 50.0
"""Deviation of a prior that says nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A cell's rows: the LLM's views, the true options (N,), and embeddings (N, d) where there is a probe."""

    evidence: Evidence
    truth: NDArray[np.int64]
    embeddings: NDArray[np.floating] | None
    config: Config


def open_rows(folder: Path) -> Rows:
    """Read a cell's run directory. Raises RobustFTError."""
    run = RunDir(folder)
    config = run.config()
    task, examples = make_task(config.task), list(run.load(Example))
    answers = [answer for answer in list(run.load(Answer)) if answer.expert != PROBE]
    views = views_of(KnownRows.of(examples, task), [answers], config.experts, task)
    truth = [task.label(example.truth or "", example.options) for example in examples]
    places = [candidates.index(value or "") for candidates, value in zip(views.candidates, truth, strict=True)]
    embeddings = asyncio.run(_embedded(config, examples)) if PROBE in config.experts else None
    return Rows(views.evidence(range(len(views.names))), np.array(places), embeddings, config)


async def _embedded(config: Config, examples: Sequence[Example]) -> NDArray[np.float32]:
    async with Models(config, make_task(config.task), lambda: examples) as models:
        return await (await models.embedder()).embed([example.asked for example in examples])


def without(part: str, rows: Rows) -> NDArray[np.float64]:
    """Return the posterior (N, K) that comes out without a part."""
    evidence = rows.evidence
    if part == "probabilities: votes":
        votes = top_choices(np.nan_to_num(evidence.logp), evidence.counts)
        evidence = replace(evidence, logp=np.where(np.isnan(evidence.logp), np.nan, np.log(votes + 0.5)))
    with ExitStack() as changed:
        if part == "the second start":
            changed.enter_context(patch.object(probe, "STRONG", np.inf))
        if part == "lapses":
            changed.enter_context(patch.object(fitting, "LAPSE", 0.0))
        if part == "priors":
            for name, value in {"TOTAL_WEIGHT": (np.log(1.5), _FLAT), "BEND": (0.0, _FLAT), "SHARE": _FLAT}.items():
                changed.enter_context(patch.object(fitting, name, value))
            changed.enter_context(patch.object(fitting, "INTERCEPT", _FLAT))
        priors = Priors(noise_rate=(1.0, 1.0)) if part == "priors" else Priors()
        if rows.embeddings is not None and part != "the probe":
            evidence, _ = with_probe(
                evidence, rows.embeddings, partitions_of(rows.embeddings, rows.config.seed), priors
            )
        if part == "calibration":
            return uncalibrated(evidence)
        return posterior(evidence, fit(evidence, priors, seed=rows.config.seed))


def uncalibrated(evidence: Evidence) -> NDArray[np.float64]:
    """Take every view at its word: the product of their probabilities with the label's, at the likeliest noise rate."""
    total = np.nansum(np.nan_to_num(evidence.logp, nan=-np.inf, neginf=-50.0), axis=1)
    total = np.where(np.isnan(evidence.logp[:, 0]), -np.inf, total)
    q = np.exp(total - total.max(axis=1, keepdims=True))
    q /= q.sum(axis=1, keepdims=True)
    width = q.shape[1]
    labels, symmetric = Labels(evidence.label, evidence.truth, evidence.counts, width), np.zeros((width, width))

    def loss(rate: float) -> float:
        return -float(np.log(np.maximum((q * labels.likelihood(rate, symmetric)).sum(axis=1), 1e-300)).sum())

    rate = minimize_scalar(loss, bounds=(0.001, 0.999), method="bounded").x
    joint = q * labels.likelihood(rate, symmetric)
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))


def figures(rows: Rows, p: NDArray[np.float64]) -> dict[str, float]:
    """Return F1 of the suspects, label accuracy of all rows' likeliest option, and its ECE."""
    best, label = p.argmax(axis=1), rows.evidence.label
    flags, wrong = suspects(p, label), label != rows.truth
    return {
        "F1": 2.0 * float((flags & wrong).sum()) / max(int(flags.sum() + wrong.sum()), 1),
        "right, all rows": float((best == rows.truth).mean()),
        "ECE": expected_calibration_error(p.max(axis=1), best == rows.truth) or 0.0,
    }


def cells_of(folder: Path, seeds: int) -> Iterator[tuple[str, Path]]:
    """Yield what a cell is called in the table, and its folder: whole sets, every expert asked, nothing stated."""
    for path in sorted(folder.glob(f"*/{CELL}")):
        cell = orjson.loads(path.read_bytes())["cell"]
        method = cell["method"]
        fused = method["kind"] == "posterior" and cell["rows"] is None and cell["noise"] in {"30", "50"}
        stated = method["prior_accuracy"] is not None or method["reviewed"]
        everybody = method["asking"] == "all" or sum(view != PROBE for view in method["views"]) == 1
        if fused and not stated and everybody and cell["seed"] < seeds and "chance" not in cell["experts"]:
            views = sum(view != PROBE for view in method["views"])
            yield f"{cell['task']} {cell['noise']}, {cell['experts']}, {views} LLM view{'s' * (views > 1)}", path.parent


def table(found: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]]) -> str:
    """Return the Markdown; `found` holds for each name of a cell, for each seed, the figures without each part."""
    lines = ["| cell | without | F1 | right, all rows | ECE |", "|---|---|---|---|---|"]
    for name, seeds in found.items():
        for part in PARTS:
            if measured := [seed[part] for seed in seeds if part in seed]:
                numbers = [f"{mean(one[figure] for one in measured):.3f}".removeprefix("0") for figure in measured[0]]
                lines.append(f"| {name} | {part} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Measure all cells, and put the table into the page. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="ablation")
    parser.add_argument("cells", type=Path, help="the folder of the cells' run directories")
    parser.add_argument("page", type=Path, help="the Markdown page with the markers")
    parser.add_argument("--seeds", type=int, default=1, help="cells of seeds below this one; 1")
    wanted = parser.parse_args(arguments)
    found: dict[str, list[dict[str, dict[str, float]]]] = {}
    for name, folder in cells_of(wanted.cells, wanted.seeds):
        rows = open_rows(folder)
        parts = [part for part in PARTS if rows.embeddings is not None or part not in {"the probe", "the second start"}]
        with threadpool_limits(1, "blas"):
            found.setdefault(name, []).append({part: figures(rows, without(part, rows)) for part in parts})
        sys.stderr.write(f"{folder.name}\n")
    rewrite(wanted.page, SECTION, table(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
