"""The posterior over the true answer: views fused with the label, calibrated by the noisy labels themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import beta

from robustft.detect.evidence import Evidence, spread_of, standardised
from robustft.detect.fitting import Layout, Parameters, Peak, Priors, Sample, climb, fused
from robustft.detect.noise_model import label_likelihood, transition

Noise = Literal["auto", "symmetric", "conditional"]

NOISE_RATE = (2.0, 3.0)
"""Beta prior on the noise rate."""
FIT_ROWS = 30_000
"""Rows that the parameters are fitted on; the rest of a larger set is drawn from at random."""
MOST_CONDITIONAL = 12
"""Options above which class-conditional noise, with its K (K - 1) numbers, isn't tried."""

_COARSE = np.concatenate([[0.003, 0.01, 0.03], np.linspace(0.07, 0.91, 22), [0.95, 0.98]])
_FINE = 11
_NEGLIGIBLE = 7.0
_BLOCK = 1 << 15


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """Parameters at one noise rate, and the probability `share` that they are the ones."""

    share: float
    parameters: Parameters
    peak: Peak


@dataclass(frozen=True, slots=True, eq=False)
class Fusion:
    """What was learnt: a mixture of parameters over the noise rates that the data leave open; shares sum to 1.

    `spread` (V,) is each view's unit, nats.
    """

    spread: NDArray[np.float64]
    components: Sequence[Component]
    layout: Layout
    priors: Priors
    log_evidence: float

    @property
    def noise_rate(self) -> float:
        """The rate of wrong labels, the mixture's mean; with class-conditional noise see `Findings`."""
        return float(sum(part.share * part.parameters.rate for part in self.components))

    @property
    def weights(self) -> NDArray[np.float64]:
        """(V,) each view's weight, in units of its spread: what one typical deviation adds to the log odds."""
        return np.asarray(sum(part.share * part.parameters.weights for part in self.components))

    @property
    def intercepts(self) -> NDArray[np.float64]:
        """(K,) each option's intercept b; zeros where options aren't shared."""
        return np.asarray(sum(part.share * part.parameters.intercepts for part in self.components))

    @property
    def transition(self) -> NDArray[np.float64]:
        """(K, K) p(label | true option) of a row with all K options; row = true option."""
        return np.asarray(
            sum(
                part.share * transition(part.parameters.rate, part.parameters.lean, self.layout.options)
                for part in self.components
            )
        )


def fit(evidence: Evidence, priors: Priors | None = None, noise: Noise = "auto", seed: int = 0) -> Fusion:
    """Fit the fusion."""
    priors = priors or Priors()
    spread = spread_of(evidence)
    known = np.flatnonzero((evidence.label >= 0) | (evidence.truth >= 0))
    if len(known) > FIT_ROWS:
        reviewed = np.flatnonzero(evidence.truth >= 0)
        drawn = np.random.default_rng(seed).choice(known, FIT_ROWS, replace=False)
        known = np.union1d(reviewed, drawn)
    sample = Sample.of(evidence.rows(known), spread)
    options = evidence.logp.shape[2]
    layouts = [Layout(evidence.families, options, evidence.shared, leans) for leans in _leanings(noise, options)]
    found = [_swept(sample, layout, priors, spread) for layout in layouts]
    return max(found, key=lambda fusion: fusion.log_evidence)


def _leanings(noise: Noise, options: int) -> tuple[bool, ...]:
    if noise == "auto":
        return (False, True) if options <= MOST_CONDITIONAL else (False,)
    return (noise == "conditional",)


def _swept(sample: Sample, layout: Layout, priors: Priors, spread: NDArray[np.float64]) -> Fusion:
    """Fit at every noise rate of a grid, then of finer ones around those that matter."""
    peaks = _along(_COARSE, layout.start(), sample, layout, priors)
    for _ in range(4):
        low, high = _range(peaks)
        inside = [peak for peak in peaks if low < peak.rate < high]
        if len(inside) >= 5:
            break
        start = max(peaks, key=lambda peak: peak.evidence).vector
        peaks = _along(np.linspace(low, high, _FINE), start, sample, layout, priors)
    rates = np.array([peak.rate for peak in peaks])
    log_share = np.array([_log_weight(peak) for peak in peaks]) + np.log(np.gradient(rates))
    total = float(logsumexp(log_share))
    shares = np.exp(log_share - total)
    shares = np.where(shares > 1e-3, shares, 0.0)
    components = [
        Component(float(share), layout.parameters(peak.vector, peak.rate), peak)
        for share, peak in zip(shares / shares.sum(), peaks, strict=True)
        if share
    ]
    return Fusion(spread, components, layout, priors, total)


def _along(
    rates: NDArray[np.float64], start: NDArray[np.float64], sample: Sample, layout: Layout, priors: Priors
) -> list[Peak]:
    """Fit at each rate, each from where the last one ended."""
    peaks: list[Peak] = []
    for rate in rates:
        peak = climb(float(rate), start, sample, layout, priors)
        peaks.append(peak)
        start = peak.vector
    return peaks


def _log_weight(peak: Peak) -> float:
    return peak.evidence + float(beta.logpdf(peak.rate, *NOISE_RATE))


def _range(peaks: Sequence[Peak]) -> tuple[float, float]:
    """Return the rates around those whose weight isn't negligible."""
    weights = np.array([_log_weight(peak) for peak in peaks])
    matter = np.flatnonzero(weights > weights.max() - _NEGLIGIBLE)
    first, last = max(matter[0] - 1, 0), min(matter[-1] + 1, len(peaks) - 1)
    return peaks[first].rate, peaks[last].rate


def posterior(evidence: Evidence, fusion: Fusion) -> NDArray[np.float64]:
    """Return p(true option | views, label, review) for each row, (N, K)."""
    result = np.zeros((len(evidence.logp), evidence.logp.shape[2]))
    for place, block in evidence.blocks(_BLOCK):
        for component in fusion.components:
            result[place] += component.share * posterior_given(block, fusion.spread, component.parameters)
    return result


def posterior_given(evidence: Evidence, spread: NDArray[np.float64], parameters: Parameters) -> NDArray[np.float64]:
    """Return the posterior (N, K) at one set of parameters."""
    counts = evidence.counts
    absent = np.where(np.arange(evidence.logp.shape[2]) < counts[:, None], 0.0, -np.inf)
    q = fused(standardised(evidence, spread).transpose(1, 0, 2), absent, parameters)
    joint = q * label_likelihood(parameters.rate, parameters.lean, evidence.label, evidence.truth, counts)
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))
