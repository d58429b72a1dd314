"""The parts of the fusion that are summed up: rows that are fitted on, peaks that matter, draws, and their mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusion.simulated import simulate
from robustft.fusion.evidence import Evidence, Units
from robustft.fusion.fitting import Layout, Peak, Priors, Sample, fused
from robustft.fusion.posterior import (
    Component,
    Fusion,
    _matter,
    _range,
    drawn,
    fit,
    fitted_rows,
    posterior,
    posterior_given,
)

LAYOUT = Layout((0,), 3, intercepts=False, leans=False)
UNITS = Units(np.zeros((1, 3)), np.ones(1))


def peak(rate: float, *vector: float) -> Peak:
    """A peak without width."""
    return Peak(rate, np.array(vector or (0.0, 0.0, 0.0)), 0.0, np.zeros((3, 3)), 0.0)


def component(share: float, rate: float, *vector: float) -> Component:
    there = peak(rate, *vector)
    return Component(share, LAYOUT.parameters(there.vector, rate), there)


def evidence_of(label: list[int], reviewed: list[int] | None = None) -> Evidence:
    logp = np.random.default_rng(0).standard_normal((len(label), 1, 3))
    return Evidence(logp, np.array(label), (0,), False, None if reviewed is None else np.array(reviewed))


def test_rows_that_say_something_are_fitted_on() -> None:
    evidence = evidence_of([0, -1, 2, -1, 1, 0], [-1, -1, -1, 2, 1, -1])
    assert fitted_rows(evidence, 3, seed=0).tolist() == [0, 2, 3, 4, 5]
    few = fitted_rows(evidence, 2, seed=0).tolist()
    assert few == sorted(set(few))
    assert {3, 4} < set(few) <= {0, 2, 3, 4, 5}
    assert len(few) == 4
    assert fitted_rows(evidence_of([-1] * 5), 3, seed=0).tolist() == [0, 1, 2]
    assert fitted_rows(evidence_of([-1] * 5), 9, seed=0).tolist() == [0, 1, 2, 3, 4]
    assert fitted_rows(evidence_of([-1] * 5, [-1, 0, -1, -1, -1]), 3, seed=0).tolist() == [1]


def test_of_many_labels_as_many_as_are_wanted_are_drawn_by_the_seed() -> None:
    evidence = evidence_of([0] * 1000)
    first, again, other = (fitted_rows(evidence, 400, seed).tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert len(set(first)) == len(first) == 400
    assert 450 < np.mean(first) < 550


def test_peaks_within_seven_nats_of_the_best_matter_and_their_neighbours_bound_the_range() -> None:
    peaks = [peak(rate) for rate in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)]
    weights = dict(zip((0.1, 0.2, 0.3, 0.4, 0.5, 0.6), (-9.0, -8.0, -6.9, 0.0, -7.1, -9.0), strict=True))
    assert _matter(peaks, lambda one: weights[one.rate]).tolist() == [False, False, True, True, False, False]
    assert _range(peaks, lambda one: weights[one.rate]) == (0.2, 0.5)
    assert _range(peaks, lambda one: 0.0) == (0.1, 0.6)
    assert _range(peaks, lambda one: -100.0 * one.rate) == (0.1, 0.2)


@pytest.mark.parametrize("seed", range(5))
def test_each_component_gets_its_share_of_the_draws(seed: int) -> None:
    parts = [component(0.25, 0.2, 0.1, 0.2, 0.0), component(0.75, 0.4, 0.5, 0.6, 0.0)]
    found = drawn(parts, LAYOUT, 40, np.random.default_rng(seed))
    assert len(found) == 40
    first = [parameters for parameters in found if parameters.totals[0] == pytest.approx(np.exp(0.1))]
    second = [parameters for parameters in found if parameters.totals[0] == pytest.approx(np.exp(0.5))]
    assert len(first) + len(second) == 40
    assert abs(len(first) - 10) <= 1
    assert [parameters.bends[0] for parameters in first] == pytest.approx([0.2] * len(first))
    # a component stands for the rates as far as half way to the next one
    for rate, of in ((0.2, first), (0.4, second)):
        rates = [parameters.rate for parameters in of]
        assert rate - 0.1 <= min(rates) < rate < max(rates) <= rate + 0.1


def test_a_component_alone_keeps_its_rate_and_no_rate_is_impossible() -> None:
    assert [p.rate for p in drawn([component(1.0, 0.3)], LAYOUT, 5, np.random.default_rng(0))] == [0.3] * 5
    ends = [component(0.5, 0.0), component(0.5, 1.0)]
    rates = [p.rate for p in drawn(ends, LAYOUT, 200, np.random.default_rng(0))]
    assert (min(rates), max(rates)) == (1e-4, 1 - 1e-4)


def test_draws_have_the_width_of_their_peak() -> None:
    wide = replace(peak(0.3, 1.0, 2.0, 0.0), covariance=np.diag([0.04, 0.25, 0.0]))
    part = Component(1.0, LAYOUT.parameters(wide.vector, 0.3), wide)
    found = drawn([part], LAYOUT, 4000, np.random.default_rng(0))
    totals, bends = np.log([p.totals[0] for p in found]), np.array([p.bends[0] for p in found])
    assert (totals.mean(), totals.std()) == (pytest.approx(1.0, abs=0.02), pytest.approx(0.2, abs=0.02))
    assert (bends.mean(), bends.std()) == (pytest.approx(2.0, abs=0.04), pytest.approx(0.5, abs=0.04))


def fusion_of(*parts: Component) -> Fusion:
    return Fusion(UNITS, parts, [part.parameters for part in parts], LAYOUT, Priors(), 0.0)


def test_a_mixture_is_told_by_its_means() -> None:
    fusion = fusion_of(component(0.25, 0.2, 0.0, 0.0, 0.0), component(0.75, 0.4, np.log(3.0), 0.0, 0.0))
    assert fusion.noise_rate == pytest.approx(0.25 * 0.2 + 0.75 * 0.4)
    assert fusion.weights == pytest.approx([0.25 * 1.0 + 0.75 * 3.0])
    assert fusion.transition == pytest.approx(np.full((3, 3), 0.35 / 2) + np.eye(3) * (0.65 - 0.35 / 2))


def test_the_posterior_is_the_views_times_what_the_label_says_of_each_option() -> None:
    evidence = evidence_of([0, 1, -1])
    sample, parameters = Sample.of(evidence, UNITS), component(1.0, 0.3).parameters
    views = fused(sample.logits, sample.absent, parameters)
    told = np.array([[0.7, 0.15, 0.15], [0.15, 0.7, 0.15], [1.0, 1.0, 1.0]])
    expected = views * told
    assert posterior_given(sample, parameters) == pytest.approx(expected / expected.sum(axis=1, keepdims=True))


def test_the_posterior_is_the_mean_over_the_draws_for_any_number_of_rows() -> None:
    rows = (1 << 15) + 5  # a block and a few
    evidence = evidence_of([n % 3 for n in range(rows)])
    fusion = fusion_of(component(0.5, 0.1, 0.5, 0.0, 0.0), component(0.5, 0.6, 2.0, 0.0, 0.0))
    found = posterior(evidence, fusion)
    each = [posterior_given(Sample.of(evidence, UNITS), parameters) for parameters in fusion.draws]
    assert found == pytest.approx(sum(each) / 2)
    assert np.abs(each[0] - each[1]).max() > 0.1


def test_the_kind_of_noise_that_is_asked_for_is_fitted() -> None:
    logp, label, _ = simulate(n=300, k=3)
    evidence = Evidence(logp, label, (0,), shared=True)
    assert fit(evidence, noise="conditional").layout.leans
    assert not fit(evidence, noise="symmetric").layout.leans
    same, other = (fit(evidence, noise="symmetric", seed=seed) for seed in (0, 1))
    assert [p.rate for p in fit(evidence, noise="symmetric").draws] == [p.rate for p in same.draws]
    assert [p.rate for p in same.draws] != [p.rate for p in other.draws]
