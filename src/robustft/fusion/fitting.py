"""The fusion's likelihood, its priors and their maximum at a given noise rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize
from scipy.special import softmax

from robustft.fusion.evidence import Evidence, Units, standardised
from robustft.fusion.noise_model import Labels, centred, transition, transition_gradient

Vector = NDArray[np.float64]

TOTAL_WEIGHT = (np.log(1.5), 1.0)
"""Mean and deviation of the log of a family's total weight, in units of the views' spread."""
SHARE = 1.0
"""Deviation of a view's log share of its family's weight."""
BEND = (0.0, 0.5)
"""Mean and deviation of a family's bend: how much faster than its logits the log odds grow."""
INTERCEPT = 1.0
"""Deviation of an option's intercept."""
LEAN = 2.0
"""Deviation of the log odds by which class-conditional noise departs from symmetric."""
LAPSE = 0.02
"""Share of rows whose true answer has nothing to do with what the views say."""
FARTHEST = 10.0
"""Deviations of its prior that a number is looked for within."""
BELIEF_ROWS = 250.0
"""How many rows' worth of observation the user's prior accuracy is: a benchmark's result within about 0.03."""


@dataclass(frozen=True, slots=True)
class Priors:
    """What is believed beforehand.

    `accuracy`: of the views of family 0, None where the user says nothing. `noise_rate`: a Beta distribution.
    """

    accuracy: float | None = None
    noise_rate: tuple[float, float] = (2.0, 3.0)


@dataclass(frozen=True)
class Sample:
    """The rows that the parameters are fitted on: those with a label or a review.

    `logits` (V, N, K) are standardised; `absent` (N, K) is -inf at absent options, else 0.
    """

    evidence: Evidence
    logits: NDArray[np.float64]
    absent: NDArray[np.float64]

    @classmethod
    def of(cls, evidence: Evidence, units: Units) -> Sample:
        """Standardise the rows."""
        columns = np.ascontiguousarray(standardised(evidence, units).transpose(1, 0, 2))
        present = np.arange(columns.shape[2]) < evidence.counts[:, None]
        return cls(evidence, columns, np.where(present, 0.0, -np.inf))

    @cached_property
    def labels(self) -> Labels:
        """What is given of the rows."""
        evidence = self.evidence
        return Labels(evidence.label, evidence.truth, evidence.counts, self.logits.shape[2])

    @cached_property
    def pairs(self) -> list[tuple[int, list[NDArray[np.int64]]]]:
        """For each number of options k that occurs: k, and the rows of each label 0..k-1."""
        counts, label = self.evidence.counts, self.evidence.label
        kinds = [int(k) for k in np.unique(counts) if k > 1]
        return [(k, [np.flatnonzero((counts == k) & (label == y)) for y in range(k)]) for k in kinds]


@dataclass(frozen=True, slots=True, eq=False)
class Parameters:
    """The fusion at one noise rate.

    `share` (F, V): of each view in its family's opinion. `totals`, `bends` (F,): each family's weight and bend.
    `intercepts` (K,). The noise `rate`, and its `lean` (K, K).
    """

    share: NDArray[np.float64]
    totals: Vector
    bends: Vector
    intercepts: Vector
    rate: float
    lean: NDArray[np.float64]

    @property
    def weights(self) -> Vector:
        """(V,) of the standardised views."""
        return np.asarray(self.totals @ self.share)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a parameter vector keeps what: log total weights, bends, log shares, intercepts, leans of the noise."""

    families: tuple[int, ...]
    options: int
    intercepts: bool
    leans: bool

    @property
    def sizes(self) -> tuple[int, int, int, int, int]:
        """Length of each part."""
        k, families = self.options, len(set(self.families))
        return families, families, len(self.families), k * self.intercepts, k * k * self.leans

    def split(self, vector: Vector) -> list[Vector]:
        """Return the five parts."""
        return list(np.split(vector, np.cumsum(self.sizes)[:-1]))

    @property
    def member(self) -> NDArray[np.bool_]:
        """(F, V): which view is whose."""
        return np.array([[f == g for f in self.families] for g in sorted(set(self.families))])

    def start(self) -> Vector:
        """Return where the search begins: the priors' middle."""
        return np.repeat([TOTAL_WEIGHT[0], BEND[0], 0.0, 0.0, 0.0], self.sizes)

    def deviations(self) -> Vector:
        """Return the prior's deviation of each number; its mean is `start()`."""
        return np.repeat([TOTAL_WEIGHT[1], BEND[1], SHARE, INTERCEPT, LEAN], self.sizes)

    def parameters(self, vector: Vector, rate: float) -> Parameters:
        """Read a vector."""
        totals, bends, shares, intercepts, leans = self.split(vector)
        k = self.options
        return Parameters(
            share=softmax(np.where(self.member, shares, -np.inf), axis=1),
            totals=np.exp(totals),
            bends=bends,
            intercepts=intercepts if self.intercepts else np.zeros(k),
            rate=rate,
            lean=centred(leans.reshape(k, k)) if self.leans else np.zeros((k, k)),
        )


def opinions(logits: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each family's opinion (F, N, K), the weighted mean of its views; `logits` (V, N, K)."""
    return np.stack(
        [sum((w * view for w, view in zip(row, logits, strict=True) if w), 0.0 * logits[0]) for row in share]
    )


def bent(opinion: NDArray[np.float64], bend: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the bent opinion x + bend x^2 / 2, held constant beyond its turning point, and its slope; both like x.

    The slope is never negative: an option that a family finds likelier never loses by it. Where questions differ in
    difficulty, the true option's logit varies more than a wrong one's, and the log odds are a quadratic (as in
    quadratic discriminant analysis); bend 0 is the plain conditional logit.
    """
    slope = np.maximum(1.0 + bend * opinion, 0.0)
    if bend == 0.0:
        return opinion, slope
    return np.where(slope > 0.0, opinion + 0.5 * bend * opinion**2, -0.5 / bend), slope


def fused(logits: NDArray[np.float64], absent: NDArray[np.float64], parameters: Parameters) -> NDArray[np.float64]:
    """Return p(true option | views), (N, K); `logits` (V, N, K)."""
    total = absent + parameters.intercepts
    for weight, bend, opinion in zip(
        parameters.totals, parameters.bends, opinions(logits, parameters.share), strict=True
    ):
        total += weight * bent(opinion, bend)[0]
    return lapsing(_softmax(total), absent)


def lapsing(q: NDArray[np.float64], absent: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mix q (N, K) with a uniform row: however sure the views are, in some rows their opinion is beside the point.

    The labels can't tell a lapse from a wrong label (both cap how often a sure row's label agrees), so that its share
    is set, not fitted. Without it the lapses pass for noise, and the views for surer than they are.
    """
    present = absent == 0.0
    return np.asarray((1.0 - LAPSE) * q + LAPSE * present / present.sum(axis=1, keepdims=True))


def _softmax(total: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.exp(total - total.max(axis=1, keepdims=True))
    return np.asarray(total / total.sum(axis=1, keepdims=True))


def log_likelihood(parameters: Parameters, sample: Sample) -> float:
    """Return the log likelihood of the labels and reviews, nats."""
    q = fused(sample.logits, sample.absent, parameters)
    likelihood = sample.labels.likelihood(parameters.rate, parameters.lean)
    return float(np.log(np.maximum((q * likelihood).sum(axis=1), 1e-300)).sum())


def log_posterior(vector: Vector, rate: float, sample: Sample, layout: Layout, priors: Priors) -> tuple[float, Vector]:
    """Return log likelihood + log prior of a parameter vector at a noise rate, and its gradient."""
    parameters = layout.parameters(vector, rate)
    opinion = opinions(sample.logits, parameters.share)
    curves = [bent(x, bend) for x, bend in zip(opinion, parameters.bends, strict=True)]
    own = [weight * curve for weight, (curve, _) in zip(parameters.totals, curves, strict=True)]
    q = _softmax(sample.absent + parameters.intercepts + sum(own))
    likelihood = sample.labels.likelihood(rate, parameters.lean)
    joint = lapsing(q, sample.absent) * likelihood
    marginal = np.maximum(joint.sum(axis=1, keepdims=True), 1e-300)
    posterior = joint / marginal
    value = float(np.log(marginal).sum())
    attended = (1.0 - LAPSE) * q * likelihood / marginal
    slope = attended - q * attended.sum(axis=1, keepdims=True)
    if priors.accuracy is not None:
        gain, gradient = _belief(q, own[0] + parameters.intercepts + sample.absent, priors.accuracy)
        value, slope = value + gain, slope + gradient
    away = (vector - layout.start()) / layout.deviations()
    parts = [
        *_family_gradient(slope, opinion, curves, sample, parameters),
        slope.sum(axis=0) if layout.intercepts else np.zeros(0),
        _lean_gradient(posterior, sample, parameters) if layout.leans else np.zeros(0),
    ]
    return value - 0.5 * float(away @ away), np.concatenate(parts) - away / layout.deviations()


def _belief(q: NDArray[np.float64], own: NDArray[np.float64], accuracy: float) -> tuple[float, NDArray[np.float64]]:
    """Return the log likelihood of `BELIEF_ROWS` rows of the prior accuracy, and its gradient by the fused logits.

    The accuracy is that of the option which family 0 finds likeliest by itself: `own` (N, K), intercepts included.
    """
    likely = own >= own.max(axis=1, keepdims=True)
    likely = likely / likely.sum(axis=1, keepdims=True)
    right = (q * likely).sum(axis=1, keepdims=True)
    mean = float(np.clip(right.mean(), 1e-9, 1 - 1e-9))
    value = BELIEF_ROWS * (accuracy * np.log(mean) + (1 - accuracy) * np.log(1 - mean))
    by_mean = BELIEF_ROWS * (accuracy / mean - (1 - accuracy) / (1 - mean))
    return float(value), by_mean * q * (likely - right) / len(q)


def _family_gradient(
    slope: NDArray[np.float64],
    opinion: NDArray[np.float64],
    curves: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
    sample: Sample,
    parameters: Parameters,
) -> tuple[Vector, Vector, Vector]:
    """Return the gradients by log totals, bends and log shares; `slope` (N, K) is that by the fused logits."""
    totals, bends, share = parameters.totals, parameters.bends, parameters.share
    by_total, by_bend, by_share = np.zeros(len(totals)), np.zeros(len(totals)), np.zeros(share.shape[1])
    for f, (curve, steep) in enumerate(curves):
        by_total[f] = totals[f] * np.vdot(slope, curve)
        floor = 0.5 / max(bends[f] ** 2, 1e-12)
        by_bend[f] = totals[f] * np.vdot(slope, np.where(steep > 0.0, 0.5 * opinion[f] ** 2, floor))
        pull = slope * steep
        by_view = np.array([np.vdot(pull, view) if w else 0.0 for w, view in zip(share[f], sample.logits, strict=True)])
        by_share += totals[f] * share[f] * (by_view - share[f] @ by_view)
    return by_total, by_bend, by_share


def _lean_gradient(posterior: NDArray[np.float64], sample: Sample, parameters: Parameters) -> Vector:
    gradient = np.zeros_like(parameters.lean)
    for k, rows in sample.pairs:
        counts = np.stack([posterior[row, :k].sum(axis=0) for row in rows], axis=1)
        gradient[:k, :k] += transition_gradient(counts, transition(parameters.rate, parameters.lean, k))
    return centred(gradient).ravel()


@dataclass(frozen=True, slots=True, eq=False)
class Peak:
    """The maximum at a given noise rate: where, how high, its curvature, and the evidence (Laplace), log."""

    rate: float
    vector: Vector
    height: float
    covariance: NDArray[np.float64]
    evidence: float


def climb(rate: float, start: Vector, sample: Sample, layout: Layout, priors: Priors, *, roughly: bool = False) -> Peak:
    """Find the maximum at a noise rate; `roughly`: without its curvature, the evidence being the height alone."""

    def downhill(vector: Vector) -> tuple[float, Vector]:
        value, gradient = log_posterior(vector, rate, sample, layout, priors)
        return -value, -gradient

    options = {"maxiter": 200, "ftol": 1e-6 if roughly else 1e-9}
    # a first step as long as a steep slope is would be out of all numbers
    bounds = Bounds(layout.start() - FARTHEST * layout.deviations(), layout.start() + FARTHEST * layout.deviations())
    found = minimize(downhill, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    height = -float(found.fun)
    if roughly:
        return Peak(rate, found.x, height, np.diag(layout.deviations() ** 2), height)
    values, axes = np.linalg.eigh(_curvature(found.x, downhill))
    # the prior alone curves by 1 / deviation^2; where rounding says less, take that
    values = np.maximum(values, 0.05)
    covariance = (axes / values) @ axes.T
    # the prior's own normalising constant, so that layouts with more numbers pay for them
    log_volume = -0.5 * float(np.log(values).sum()) - float(np.log(layout.deviations()).sum())
    return Peak(rate, found.x, height, covariance, height + log_volume)


def _curvature(vector: Vector, downhill: Callable[[Vector], tuple[float, Vector]]) -> NDArray[np.float64]:
    here, step = downhill(vector)[1], 1e-5
    matrix = np.array([downhill(vector + step * axis)[1] - here for axis in np.eye(len(vector))]) / step
    return np.asarray((matrix + matrix.T) / 2)
