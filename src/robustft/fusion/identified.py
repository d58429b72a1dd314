"""What the fusion found out, with intervals, and whether the data say enough for it to be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from robustft.fusion.evidence import Evidence, standardised, top_choices
from robustft.fusion.fitting import LAPSE, Parameters, Sample, log_likelihood, opinions
from robustft.fusion.noise_model import transition
from robustft.fusion.posterior import FIT_ROWS, Fusion, drawn, fitted_rows, posterior_given

CHANCE = 0.01
"""How often views that know nothing, or labels that are all noise, may pass for better."""
TRIED = 6
"""Fusions among which the one that explains the labels best is chosen, where there is a probe."""
ENOUGH_REVIEWED = 20
"""Reviewed rows from which on they settle what the labels leave open."""
BETTER_THAN_CHANCE = 0.05
"""What a prior accuracy must be above chance by, to settle anything."""
SURE_WITHIN = 0.1
"""A noise rate is sure where its 95 % interval is no wider than this to either side."""

_DRAWS = 100
_ROWS = 4_000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, draws: NDArray[np.float64]) -> Interval:
        """Read the interval off `draws` (D,)."""
        low, high = np.quantile(draws, [0.025, 0.975])
        return cls(value, float(min(low, value)), float(max(high, value)))


@dataclass(frozen=True, slots=True)
class Findings:
    """What a run learnt about its labels and its views.

    Attributes:
        noise_rate: share of wrong labels.
        skill: for each view, the share of rows whose true answer is the view's likeliest; an abstention counts 1/K.
        chance: that share for a view that knows nothing: the mean of 1/K.
        agreement: how far labels and views agree beyond chance, in standard deviations.
        gain: log likelihood of the labels over that without any view, nats.
        identified: whether labels may be changed at all.
        sure: whether something is identified, and the noise rate known to within 0.1.
        reason: why, in a sentence.
    """

    noise_rate: Interval
    skill: tuple[Interval, ...]
    chance: float
    agreement: float
    gain: float
    identified: bool
    sure: bool
    reason: str


def findings(evidence: Evidence, fusion: Fusion, seed: int = 0) -> Findings:
    """Judge a fusion by rows like those that it was fitted on; intervals come from 100 draws of its parameters."""
    rng = np.random.default_rng(seed)
    rows = evidence.rows(fitted_rows(evidence, _ROWS, seed))
    seen = Sample.of(rows, fusion.units)
    answers = top_choices(standardised(rows, fusion.units), rows.counts)
    many = drawn(fusion.components, fusion.layout, _DRAWS, rng)
    draws = [_measured(seen, answers, parameters) for parameters in many]
    at_peaks = [(part.share, _measured(seen, answers, part.parameters)) for part in fusion.components]
    mean = np.sum([share * numbers for share, numbers in at_peaks], axis=0)
    table = np.array(draws)
    chance = float(np.mean(1.0 / rows.counts))
    # the share of lapses is set, not fitted: one of 0 to twice as much would shift all of these together, by about
    # twice the share, since the weights go along
    unknown = 2.0 * LAPSE * rng.uniform(-1.0, 1.0, size=(len(table), 1))
    rates = np.clip(table[:, 0] + unknown[:, 0] * (1.0 - table[:, 0] / (1.0 - chance)), 0.0, 1.0)
    # and a share of finitely many rows wavers by itself
    waver = np.sqrt(table[:, 1:] * (1.0 - table[:, 1:]) / len(rows.logp))
    skills = table[:, 1:] + unknown * (chance - table[:, 1:]) + waver * rng.standard_normal(table[:, 1:].shape)
    noise_rate = Interval.of(float(mean[0]), rates)
    skill = tuple(Interval.of(float(m), np.clip(d, 0.0, 1.0)) for m, d in zip(mean[1:], skills.T, strict=True))
    sample = Sample.of(evidence.rows(fitted_rows(evidence, FIT_ROWS, seed)), fusion.units)
    agrees, gained = agreement(sample, fusion), gain(sample, fusion)
    identified, reason = _verdict(evidence, fusion, noise_rate, chance, (agrees, gained))
    narrow = max(noise_rate.high - noise_rate.value, noise_rate.value - noise_rate.low) <= SURE_WITHIN
    sure = identified and narrow
    if identified and not narrow:
        reason += f"; the noise rate is not sure: {noise_rate.low:.2f} to {noise_rate.high:.2f}"
    return Findings(noise_rate, skill, chance, agrees, gained, identified, sure, reason)


def _verdict(
    evidence: Evidence, fusion: Fusion, noise_rate: Interval, chance: float, found: tuple[float, float]
) -> tuple[bool, str]:
    families, views = len(set(evidence.families)), len(evidence.families)
    agreement, gain = found
    needed = float(norm.isf(CHANCE / families / (TRIED if evidence.shared else 1)))
    if agreement > needed:
        return True, f"views and labels agree beyond chance (z {agreement:.1f}; by chance up to {needed:.1f})"
    if noise_rate.high < 1.0 - chance and gain > float(chi2.isf(CHANCE / 10, families + views + 1)) / 2:
        return True, f"the views foretell the labels ({gain:.0f} nats better than without them), if not by agreeing"
    reviewed = int((evidence.truth >= 0).sum())
    if reviewed >= ENOUGH_REVIEWED:
        return True, f"rests on the {reviewed} reviewed rows: views and labels alone don't settle it"
    if fusion.priors.accuracy is not None and fusion.priors.accuracy > chance + BETTER_THAN_CHANCE:
        return (
            True,
            f"rests on your prior accuracy of {fusion.priors.accuracy:g}: the labels neither confirm nor deny it",
        )
    if not (evidence.label >= 0).any():
        return False, "not identified: there is no label to learn from; set `posterior.prior_accuracy`"
    return False, (
        f"not identified: views and labels agree no more than by chance (z {agreement:.1f}, needed {needed:.1f}), so "
        "that either the labels or the model are useless and no arithmetic says which; labels stay. "
        f"Set `posterior.prior_accuracy`, or review {ENOUGH_REVIEWED + 10} rows drawn at random"
    )


def agreement(sample: Sample, fusion: Fusion) -> float:
    """Return how far the labels agree with the views beyond chance, in standard deviations; the best family's.

    For each family, the sum over rows of its opinion of the given label, less what labels drawn at random by their
    frequencies would give: near 0 for views that know nothing, whatever their bias, and for labels that are all noise.
    """
    labelled = sample.evidence.label >= 0
    label, counts = sample.evidence.label[labelled], sample.evidence.counts[labelled]
    if not len(label):
        return 0.0
    frequency = _frequencies(label, counts, sample.logits.shape[2], sample.evidence.shared)
    member = fusion.layout.member.astype(float)
    found = []
    for opinion in opinions(sample.logits[:, labelled], member / member.sum(axis=1, keepdims=True)):
        fair = opinion - opinion.mean(axis=0) if sample.evidence.shared else opinion
        mean = (frequency * fair).sum(axis=1)
        variance = (frequency * fair**2).sum() - (mean**2).sum()
        excess = (fair[np.arange(len(label)), label] - mean).sum()
        found.append(float(excess / np.sqrt(variance)) if variance > 0 else 0.0)
    return max(found)


def gain(sample: Sample, fusion: Fusion) -> float:
    """Return the log likelihood of the labels less that without any view, nats, at the likeliest parameters."""
    labelled = np.flatnonzero((sample.evidence.label >= 0) & (sample.evidence.truth < 0))
    if not len(labelled):
        return 0.0
    rows = Sample.of(sample.evidence.rows(labelled), fusion.units)
    biased = sample.evidence.shared or fusion.layout.leans
    label = rows.evidence.label
    frequency = _frequencies(label, rows.evidence.counts, rows.logits.shape[2], biased)
    best = max(fusion.components, key=lambda part: part.share).parameters
    return log_likelihood(best, rows) - float(np.log(frequency[np.arange(len(label)), label]).sum())


def _frequencies(
    label: NDArray[np.integer], counts: NDArray[np.integer], width: int, biased: bool
) -> NDArray[np.float64]:
    """Return how often each label is given among the rows with as many options, (N, K); 1/K unless `biased`."""
    frequency = np.zeros((len(label), width))
    for k in np.unique(counts):
        rows = counts == k
        observed = np.bincount(label[rows], minlength=k) / rows.sum()
        frequency[rows, :k] = observed if biased else 1.0 / k
    return frequency


def _measured(sample: Sample, answers: NDArray[np.float64], parameters: Parameters) -> NDArray[np.float64]:
    """Return the noise rate and each view's skill, (1 + V,); `answers` (N, V, K) are the views'."""
    q, counts = posterior_given(sample, parameters), sample.evidence.counts
    wrong = 0.0
    for k in np.unique(counts):
        matrix = transition(parameters.rate, parameters.lean, int(k))
        wrong += float((q[counts == k, :k] @ (1.0 - np.diagonal(matrix))).sum())
    return np.concatenate([[wrong / len(q)], np.einsum("nk,nvk->v", q, answers) / len(q)])
