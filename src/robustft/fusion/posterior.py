"""The posterior over the true answer: views fused with the label, calibrated by the noisy labels themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import beta

from robustft.fusion.evidence import Evidence, Units, units_of
from robustft.fusion.fitting import Layout, Parameters, Peak, Priors, Sample, climb, fused
from robustft.fusion.noise_model import transition

Noise = Literal["auto", "symmetric", "conditional"]

FIT_ROWS = 10_000
"""Rows that the parameters are fitted on, drawn at random from a larger set: the noise rate is then known to 0.01."""
DRAWS = 24
"""Parameters over which the posterior is averaged."""
STRONG = 3.0
"""Nats of evidence that speak strongly for one of two explanations (Kass and Raftery 1995)."""
MOST_CONDITIONAL = 12
"""Options above which class-conditional noise, with its K (K - 1) numbers, isn't tried."""

_FITTED = 0xF17
_COARSE_ROWS = 1_000
_COARSE = np.concatenate([[0.003, 0.01, 0.03], np.linspace(0.07, 0.91, 15), [0.95, 0.98]])
_FINE = 13
_ZOOMS = 4
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

    `draws` are parameters from that mixture, each component a Gaussian about its peak: the posterior is their mean, so
    that what the labels leave open makes it less sure (Bayesian model averaging).
    """

    units: Units
    components: Sequence[Component]
    draws: Sequence[Parameters]
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
    def transition(self) -> NDArray[np.float64]:
        """(K, K) p(label | true option) of a row with all K options; row = true option."""
        return np.asarray(
            sum(
                part.share * transition(part.parameters.rate, part.parameters.lean, self.layout.options)
                for part in self.components
            )
        )


def fit(evidence: Evidence, priors: Priors | None = None, noise: Noise = "auto", seed: int = 0) -> Fusion:
    """Fit the fusion.

    A view's preference among shared options may be a bias of the view or the truth about the rows, and labels that are
    mostly wrong can't say which. Who states an accuracy of the views means their answers as they are: then they are
    taken so, with no intercepts to be guessed, unless the labels speak strongly for a bias.
    """
    priors = priors or Priors()
    corrected = _best(evidence, priors, noise, seed, vouched=False)
    if priors.accuracy is None or not evidence.shared:
        return corrected
    vouched = _best(evidence, priors, noise, seed, vouched=True)
    return corrected if corrected.log_evidence > vouched.log_evidence + STRONG else vouched


def _best(evidence: Evidence, priors: Priors, noise: Noise, seed: int, *, vouched: bool) -> Fusion:
    """Fit each kind of noise that is to be tried; returns the one that explains the labels best."""
    units = units_of(evidence, vouched=vouched)
    sample = Sample.of(evidence.rows(fitted_rows(evidence, FIT_ROWS, seed)), units)
    coarse = Sample.of(evidence.rows(fitted_rows(evidence, _COARSE_ROWS, seed)), units)
    options, intercepts = evidence.logp.shape[2], evidence.shared and not vouched
    layouts = [Layout(evidence.families, options, intercepts, leans) for leans in _leanings(noise, options)]
    found = [_swept(coarse, sample, layout, priors, units, seed) for layout in layouts]
    return max(found, key=lambda fusion: fusion.log_evidence)


def fitted_rows(evidence: Evidence, most: int, seed: int) -> NDArray[np.int64]:
    """Draw `most` of the rows that say something of the parameters: those with a label, and all that were reviewed.

    Where there are neither, the priors are all there is, and any rows will do.
    """
    reviewed = np.flatnonzero(evidence.truth >= 0)
    labelled = np.flatnonzero((evidence.label >= 0) & (evidence.truth < 0))
    if not len(reviewed) and not len(labelled):
        return np.arange(min(len(evidence.label), most))
    if len(labelled) > most:
        labelled = np.random.default_rng((seed, _FITTED)).choice(labelled, most, replace=False)
    return np.union1d(reviewed, labelled)


def _leanings(noise: Noise, options: int) -> tuple[bool, ...]:
    if noise == "auto":
        return (False, True) if options <= MOST_CONDITIONAL else (False,)
    return (noise == "conditional",)


def _swept(coarse: Sample, sample: Sample, layout: Layout, priors: Priors, units: Units, seed: int) -> Fusion:
    """Fit at every noise rate of a grid, on few rows, then on all of them at finer grids around those that matter.

    Roughly at first: only at the last grid's rates is the curvature worked out, by which they are weighed.

    A grid in place of a climb in the noise rate too: the likelihood often has two peaks, labels almost clean or mostly
    wrong, and where the data don't choose between them the mixture keeps both.
    """

    def weigh(peak: Peak) -> float:
        return peak.evidence + float(beta.logpdf(peak.rate, *priors.noise_rate))

    peaks = _along(_COARSE, layout.start(), coarse, layout, priors)
    for _ in range(_ZOOMS):
        low, high = _range(peaks, weigh)
        peaks = _along(np.linspace(low, high, _FINE), max(peaks, key=weigh).vector, sample, layout, priors)
        if np.count_nonzero(_matter(peaks, weigh)) >= _FINE // 2:
            break
    first, last = np.flatnonzero(_matter(peaks, weigh))[[0, -1]]
    peaks = [climb(peak.rate, peak.vector, sample, layout, priors) for peak in peaks[max(first - 1, 0) : last + 2]]
    rates = np.array([peak.rate for peak in peaks])
    log_share = np.array([weigh(peak) for peak in peaks]) + np.log(np.gradient(rates))
    total = float(logsumexp(log_share))
    shares = np.exp(log_share - total)
    shares = np.where(shares > 1e-3, shares, 0.0)
    components = [
        Component(float(share), layout.parameters(peak.vector, peak.rate), peak)
        for share, peak in zip(shares / shares.sum(), peaks, strict=True)
        if share
    ]
    draws = drawn(components, layout, DRAWS, np.random.default_rng(seed))
    return Fusion(units, components, draws, layout, priors, total)


def _along(
    rates: NDArray[np.float64], start: NDArray[np.float64], sample: Sample, layout: Layout, priors: Priors
) -> list[Peak]:
    """Fit at each rate, roughly, each from where the last one ended."""
    peaks: list[Peak] = []
    for rate in rates:
        peaks.append(climb(float(rate), start, sample, layout, priors, roughly=True))
        start = peaks[-1].vector
    return peaks


def _matter(peaks: Sequence[Peak], weigh: Callable[[Peak], float]) -> NDArray[np.bool_]:
    weights = np.array([weigh(peak) for peak in peaks])
    return np.asarray(weights > weights.max() - _NEGLIGIBLE)


def _range(peaks: Sequence[Peak], weigh: Callable[[Peak], float]) -> tuple[float, float]:
    """Return the rates on either side of those whose weight isn't negligible."""
    matter = np.flatnonzero(_matter(peaks, weigh))
    return peaks[max(matter[0] - 1, 0)].rate, peaks[min(matter[-1] + 1, len(peaks) - 1)].rate


def drawn(parts: Sequence[Component], layout: Layout, count: int, rng: np.random.Generator) -> list[Parameters]:
    """Draw parameters from a mixture; every component gets its share of the draws to within one."""
    rates = np.array([part.parameters.rate for part in parts])
    step = np.gradient(rates) if len(parts) > 1 else np.zeros(1)
    upto = np.cumsum([part.share for part in parts])
    chosen = np.searchsorted(upto, (np.arange(count) + rng.random()) / count * upto[-1])
    found = []
    for c in np.minimum(chosen, len(parts) - 1):
        peak = parts[c].peak
        vector = rng.multivariate_normal(peak.vector, peak.covariance, method="eigh")
        rate = float(np.clip(rates[c] + (rng.random() - 0.5) * step[c], 1e-4, 1 - 1e-4))
        found.append(layout.parameters(vector, rate))
    return found


def posterior(evidence: Evidence, fusion: Fusion) -> NDArray[np.float64]:
    """Return p(true option | views, label, review) for each row, (N, K)."""
    result = np.zeros((len(evidence.logp), evidence.logp.shape[2]))
    for place, block in evidence.blocks(_BLOCK):
        sample = Sample.of(block, fusion.units)
        for parameters in fusion.draws:
            result[place] += posterior_given(sample, parameters)
    return result / len(fusion.draws)


def posterior_given(sample: Sample, parameters: Parameters) -> NDArray[np.float64]:
    """Return the posterior (N, K) at one set of parameters."""
    q = fused(sample.logits, sample.absent, parameters)
    joint = q * sample.labels.likelihood(parameters.rate, parameters.lean)
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))
