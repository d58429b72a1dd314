"""From a run's answers to what is believed of every row: the posterior, the suspects, and what was learnt on the way.

Not every row is asked of every view. Rows of which the same views were asked are a *level*; each level has weights of
its own, fitted on rows that were drawn without regard to their labels: all rows, or the pilot. (Rows that were asked
more because they were undecided are no fair sample: their labels were looked at to choose them.)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from robustft.config import Config
from robustft.fusion.fitting import Priors
from robustft.fusion.identified import Findings, findings
from robustft.fusion.posterior import Fusion, fit, posterior
from robustft.fusion.target import Choice, choose, expected_accuracy, keep_labels, suspects
from robustft.fusion.views import TAUGHT, TUNED, Views

WORTH = 0.02
"""What a view must add to the confidence of undecided rows, on average: two more of a hundred are right then."""

_PILOT = 0x9110
_PILOT_SHARE = 4


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """Rows of which the same views were asked: the `views`' columns, and those `rows`, and what was `learnt`."""

    views: tuple[int, ...]
    rows: NDArray[np.int64]
    fusion: Fusion
    learnt: Findings


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """What is believed: `probs` (N, K) of each candidate, `noisy` (N,) suspect labels, `choice` by the target."""

    views: Views
    levels: tuple[Level, ...]
    probs: NDArray[np.float64]
    noisy: NDArray[np.bool_]
    choice: Choice
    identified: bool

    @property
    def sure(self) -> bool:
        """Whether the noise rate is known well enough for a target to be called reached."""
        return self.levels[0].learnt.sure

    @property
    def reason(self) -> str:
        """Why labels may be changed, or not, in a sentence: the first level that is identified, else the first."""
        return next((lv.learnt.reason for lv in self.levels if lv.learnt.identified), self.levels[0].learnt.reason)


def fuse(views: Views, config: Config) -> Fused:
    """Fit every level, and fuse."""
    with threadpool_limits(1, "blas"):
        levels = _levels(views, pilot(views, config), config)
        probs = np.zeros(views.logp.shape[::2])
        for level in levels:
            probs[level.rows] = posterior(views.evidence(level.views).rows(level.rows), level.fusion)
    identified = any(level.learnt.identified for level in levels)
    noisy = suspects(probs, views.label) & identified
    # an answer that nobody gave can't be trained on
    known = np.where(views.seen, probs, 0.0)
    return Fused(views, levels, probs, noisy, choose(known, views.label, config.target_accuracy), identified)


def pilot(views: Views, config: Config) -> NDArray[np.bool_]:
    """Return which rows (N,) are asked of every view, for the weights: drawn at random, and all that were reviewed.

    At most a quarter of the rows, so that a small set has calls left for its undecided rows.
    """
    n = len(views.label)
    drawn = np.zeros(n, dtype=bool)
    # a stream of its own: planted noise may well have been drawn with the same seed
    stream = np.random.default_rng((config.seed, _PILOT))
    drawn[stream.permutation(n)[: min(config.posterior.pilot, -(-n // _PILOT_SHARE))]] = True
    return np.asarray(drawn | (views.reviewed >= 0) | (config.posterior.asking == "all"))


def whom_to_ask(fused: Fused, config: Config) -> NDArray[np.int64]:
    """Return the rows to put to the next view: the pilot, then the least sure, as far as the budget goes.

    A row whose confidence reaches the target by itself is decided, and where nothing is identified only the pilot is
    asked. Nobody, where all rows together reach the target, or the budget isn't enough for the pilot. Everybody, where
    the config has everyone answer everything.
    """
    n, first = len(fused.views.label), pilot(fused.views, config)
    if config.posterior.asking == "all":
        return np.arange(n)
    left = int(config.posterior.budget * n) - int(fused.views.calls.sum()) - int(first.sum())
    if (fused.identified and fused.choice.confidence.mean() >= config.target) or left < 0:
        return np.zeros(0, dtype=np.int64)
    llm = [v for v, name in enumerate(fused.views.names) if name not in TAUGHT]
    open_rows = ~first & (fused.views.asked[:, llm] > 0).all(axis=1) & (fused.choice.confidence < config.target)
    order = np.argsort(fused.choice.confidence, kind="stable")
    undecided = [row for row in order if open_rows[row]] if fused.identified else []
    return np.union1d(np.flatnonzero(first), np.array(undecided[:left], dtype=np.int64))


def in_turn(fused: Fused, config: Config) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return whom to ask of the next view at once, the pilot, and whom after that, where it is `worthwhile`."""
    asked = whom_to_ask(fused, config)
    drawn = pilot(fused.views, config)[asked]
    return asked[drawn], asked[~drawn]


def worthwhile(fused: Fused, views: Views, newest: str, config: Config) -> bool:
    """Say whether the `newest` view tells anything of rows that are undecided, by what it said of the pilot.

    `fused`: what was believed before it was asked; `views`: with it. A view whose answers raise the confidence of the
    pilot's undecided rows by less than `WORTH` on average, to within a standard error, won't decide others: their
    calls are spared. Where the pilot has no such row nothing is known of it, and it is asked.
    """
    rows = np.flatnonzero(pilot(views, config) & (views.asked[:, views.names.index(newest)] > 0))
    undecided = fused.choice.confidence[rows] < config.target
    if not undecided.any():
        return True
    with threadpool_limits(1, "blas"):
        heard = views.evidence(range(len(views.names))).rows(rows)
        fusion = fit(heard, _priors(config, fused.levels[0].fusion), config.posterior.noise, config.seed)
        logp = heard.logp.copy()
        own = logp[:, views.names.index(newest)]
        own[~np.isnan(own)] = 0.0
        silent = replace(heard, logp=logp)
        gained = (posterior(heard, fusion).max(axis=1) - posterior(silent, fusion).max(axis=1))[undecided]
    return float(gained.mean() + gained.std() / np.sqrt(len(gained))) > WORTH


def _levels(views: Views, drawn: NDArray[np.bool_], config: Config) -> tuple[Level, ...]:
    llm = [v for v, name in enumerate(views.names) if name not in TAUGHT]
    taught = [v for v, name in enumerate(views.names) if name in TAUGHT]
    depth = np.cumprod(views.asked[:, llm] > 0, axis=1).sum(axis=1)
    outgrown = _outgrown(views, config)
    levels: list[Level] = []
    for d in np.unique(depth):
        columns = tuple(v for v in (*llm[:d], *taught) if v not in outgrown)
        evidence = views.evidence(columns)
        fair = evidence.rows(slice(None) if not levels else np.flatnonzero(drawn & (depth >= d)))
        before = levels[0].fusion if levels else None
        fusion = fit(fair, _priors(config, before), config.posterior.noise, config.seed)
        learnt = findings(fair, fusion, config.seed)
        levels.append(Level(columns, np.flatnonzero(depth == d), fusion, learnt))
    return tuple(levels)


def _outgrown(views: Views, config: Config) -> set[int]:
    """Return the view `likelihood` where `tuned` is the same model after training: it has nothing of its own to say.

    What it would add are the mistakes that training took away. The labels can't tell: they agree with them often enough
    to give it a weight. Where somebody states the experts' accuracy, they are heard.
    """
    llm, trained = config.llm, config.train.model if config.train else None
    same = llm.backend == "local" and llm.adapter is None and trained in {None, llm.model}
    if TUNED not in views.names or not same or config.posterior.prior_accuracy is not None:
        return set()
    return {v for v, name in enumerate(views.names) if name == "likelihood"}


def _priors(config: Config, before: Fusion | None) -> Priors:
    """Return what is believed beforehand; of the noise rate, on few rows, what all rows have told already."""
    accuracy = config.posterior.prior_accuracy
    if before is None:
        return Priors(accuracy)
    mean = before.noise_rate
    variance = sum(part.share * (part.parameters.rate - mean) ** 2 for part in before.components)
    strength = min(mean * (1.0 - mean) / max(variance, 1e-6) - 1.0, 1e4)
    return Priors(accuracy, (1.0 + mean * max(strength, 2.0), 1.0 + (1.0 - mean) * max(strength, 2.0)))


def summary(fused: Fused, config: Config) -> dict[str, Any]:
    """Return what the run learnt, as plain values for findings.json."""
    first = fused.levels[0].learnt
    last = fused.levels[-1]
    names = fused.views.names
    return {
        "identified": fused.identified,
        "reason": fused.reason,
        "noise_rate": asdict(first.noise_rate) | {"sure": first.sure},
        "chance": first.chance,
        "noise": _noise(fused.levels[0].fusion),
        # the first level's skill of a view rests on most rows
        "skill": {
            names[v]: asdict(s)
            for level in reversed(fused.levels)
            for v, s in zip(level.views, level.learnt.skill, strict=True)
        },
        "weights": {names[v]: float(w) for v, w in zip(last.views, last.fusion.weights, strict=True)},
        "levels": [
            {"views": [names[v] for v in lv.views], "rows": len(lv.rows), "noise_rate": lv.learnt.noise_rate.value}
            for lv in fused.levels
        ],
        "calls_a_row": float(fused.views.calls.mean()),
        "target": _target(fused, config),
    }


def _noise(fusion: Fusion) -> dict[str, Any]:
    """Say which kind of noise explains the labels best, and how often each option is given for each (row: the true)."""
    if not fusion.layout.leans:
        return {"kind": "symmetric"}
    return {"kind": "conditional", "transition": fusion.transition.tolist()}


def _target(fused: Fused, config: Config) -> dict[str, Any]:
    """Say how accurate the rows that are taken are expected to be, and whether the target may be called reached."""
    choice = fused.choice if fused.identified else keep_labels(fused.views.label, fused.probs)
    parts = [
        (fused.views.evidence(level.views).rows(rows), level.fusion, choice.answer[rows])
        for level in fused.levels
        if len(rows := level.rows[choice.taken[level.rows]])
    ]
    target = choice.target if fused.identified else config.target
    return expected_accuracy(parts, target, fused.sure, config.seed) | {"lowered": target < config.target}
