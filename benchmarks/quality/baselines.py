"""Two baselines that look at labels and embeddings alone: a cross-fitted classifier, and cleanlab on top of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from robustft.config import Config
from robustft.data.readers import read
from robustft.errors import ConfigError
from robustft.llm.models import Models
from robustft.outputs import write_metrics
from robustft.records import Answer, Decision, Example, Outcome, Relabel, Verdict
from robustft.run import RunDir
from robustft.tasks import make_task
from robustft.tasks.options import letters
from robustft.tasks.task import Task, given

BASELINES = ("probe", "cleanlab")
FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Flags:
    """What a baseline says of N rows: `noisy` (N,), p(label is right) `quality` (N,), and the noise rate, if at all."""

    noisy: NDArray[np.bool_]
    quality: NDArray[np.float64]
    noise_rate: float | None = None


async def run_baseline(kind: str, config: Config, run: RunDir, seed: int) -> None:
    """Write the records and metrics.json of a baseline, as a run of the package does.

    Rows that are flagged get the classifier's likeliest option; all rows are trained on. The classes are the options'
    letters, so that where options differ by row there is nothing to learn. Raises RobustFTError.
    """
    RunDir.create(run.path).keep(config)
    task = make_task(config.task)
    examples = read(config.data, task).examples
    async with Models(config, task, lambda: examples) as models:
        vectors = await (await models.embedder()).embed([example.asked for example in examples])
    start = time.monotonic()
    label = np.array([_index(example, task) for example in examples])
    probs = out_of_fold(vectors, label, np.array([len(example.options) for example in examples]), seed)
    flags = flagged(kind, label, probs)
    _save(run, kind, examples, label, probs, flags, task)
    run.write_json("findings.json", {"layout": "columns", "skipped": 0, "conflicts": []})
    run.write_json("stages.json", {"detect": {"wall_s": time.monotonic() - start, "calls": {}}})
    metrics = write_metrics(run, task, config)
    run.write_json("metrics.json", metrics | {"method": kind, "noise_rate_estimate": flags.noise_rate})


def out_of_fold(
    vectors: NDArray[np.float32], label: NDArray[np.int64], counts: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Return p(option) of each row (N, K) by a logistic regression on the other folds; 0 beyond a row's `counts`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import KFold

    probs = np.zeros((len(label), int(counts.max())))
    for learn, out in KFold(FOLDS, shuffle=True, random_state=seed).split(vectors):
        model = LogisticRegression(max_iter=1000).fit(vectors[learn], label[learn])
        probs[np.ix_(out, model.classes_)] = model.predict_proba(vectors[out])
    probs[np.arange(probs.shape[1]) >= counts[:, None]] = 0.0
    return np.asarray(probs / probs.sum(axis=1, keepdims=True))


def flagged(kind: str, label: NDArray[np.int64], probs: NDArray[np.float64]) -> Flags:
    """Flag the labels (N,) that the classifier's likeliest option contradicts (probe), or that cleanlab finds.

    Raises ConfigError where cleanlab is missing.
    """
    if kind == "probe":
        return Flags(probs.argmax(axis=1) != label, probs[np.arange(len(label)), label])
    if find_spec("cleanlab") is None:
        raise ConfigError('cleanlab is missing: pip install "robustft[bench]", or leave it out of --methods')
    from cleanlab.count import estimate_joint
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    joint = estimate_joint(label, probs)
    return Flags(
        noisy=find_label_issues(label, probs, n_jobs=1),
        quality=get_label_quality_scores(label, probs),
        noise_rate=float(1.0 - np.trace(joint)),
    )


def _save(
    run: RunDir,
    kind: str,
    examples: Sequence[Example],
    label: NDArray[np.int64],
    probs: NDArray[np.float64],
    flags: Flags,
    task: Task,
) -> None:
    names, best = letters(probs.shape[1]), probs.argmax(axis=1)
    answers, verdicts = list[Answer](), list[Verdict]()
    relabels, decisions = list[Relabel](), list[Decision]()
    for i, example in enumerate(examples):
        noisy, value = bool(flags.noisy[i]), names[best[i]]
        changed = noisy and best[i] != label[i]
        final = task.write(value, example.response, example.options) if changed else example.response
        confidence = float(probs[i, best[i]] if changed else flags.quality[i])
        quality, own = float(flags.quality[i]), tuple(probs[i, : len(example.options)].tolist())
        reason = f"{kind}: p = {quality:.2f} for the given response, {own[best[i]]:.2f} for {value}"
        answers.append(Answer(example.id, kind, value, value, probs=own))
        verdicts.append(Verdict(example.id, noisy, 1.0 - quality if noisy else quality, reason))
        if noisy:
            relabels.append(Relabel(example.id, final, reason))
        outcome: Outcome = "relabel" if changed else "keep"
        votes = {kind: value}
        decisions.append(Decision(example.id, outcome, example.response, final, confidence, reason, votes))
    run.save(Example, examples)
    run.save(Answer, answers)
    run.save(Verdict, verdicts)
    run.save(Relabel, relabels)
    run.save(Decision, decisions)


def _index(example: Example, task: Task) -> int:
    return letters(len(example.options)).index(given(example, task) or "")
