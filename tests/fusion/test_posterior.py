from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.simulated import Array, Index, simulate
from robustft.errors import DataError
from robustft.fusion.evidence import Evidence, Units, units_of
from robustft.fusion.fitting import FARTHEST, Layout, Parameters, Priors, Sample, climb, log_posterior
from robustft.fusion.identified import findings
from robustft.fusion.posterior import Fusion, fit, posterior, posterior_given


def fuse(evidence: Evidence) -> tuple[Fusion, Array]:
    fusion = fit(evidence, noise="symmetric")
    return fusion, posterior(evidence, fusion)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), rate=st.floats(0.0, 0.7), views=st.integers(1, 3))
def test_rows_sum_to_one(seed: int, rate: float, views: int) -> None:
    logp, label, _ = simulate(n=200, rate=rate, views=views, seed=seed)
    logp[::5, :, 3] = np.nan
    logp[1::5] = 0.0
    label[::5] %= 3
    label[::7] = -1
    _, p = fuse(Evidence(logp, label, (0,) * views, shared=False))
    assert (p >= 0).all()
    assert p.sum(axis=1) == pytest.approx(np.ones(200))
    assert (p[::5, 3] == 0).all()


@settings(max_examples=4, deadline=None)
@given(order=st.permutations(range(4)), shared=st.booleans())
def test_permuting_the_options_permutes_the_posterior(order: list[int], shared: bool) -> None:
    logp, label, _ = simulate(n=300)
    _, p = fuse(Evidence(logp, label, (0,), shared))
    _, permuted = fuse(Evidence(logp[:, :, order], np.argsort(order)[label], (0,), shared))
    # the draws that it averages over are other ones for another order
    assert np.abs(permuted - p[:, order]).mean() < 0.01


@given(order=st.permutations(range(4)), rate=st.floats(0.01, 0.9), seed=st.integers(0, 99))
def test_at_given_parameters_permuting_the_options_permutes_the_posterior(
    order: list[int], rate: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    logp, label, _ = simulate(n=20, views=2, seed=seed)
    lean, intercepts = rng.standard_normal((4, 4)), rng.standard_normal(4)
    share, totals, bends = np.array([[0.3, 0.7]]), np.array([1.3]), np.array([0.2])
    units = Units(np.zeros((2, 4)), np.ones(2))

    def believed(logp: Array, label: Index, intercepts: Array, lean: Array) -> Array:
        sample = Sample.of(Evidence(logp, label, (0, 0), True), units)
        return posterior_given(sample, Parameters(share, totals, bends, intercepts, rate, lean))

    p = believed(logp, label, intercepts, lean)
    permuted = believed(logp[:, :, order], np.argsort(order)[label], intercepts[order], lean[np.ix_(order, order)])
    assert permuted == pytest.approx(p[:, order])


@settings(max_examples=4, deadline=None)
@given(scale=st.floats(0.05, 20.0), shift=st.floats(-50.0, 50.0))
def test_how_boldly_a_view_speaks_changes_nothing(scale: float, shift: float) -> None:
    logp, label, _ = simulate(n=300, views=2)
    _, p = fuse(Evidence(logp, label, (0, 0), False))
    scaled = logp.copy()
    scaled[:, 1] = scale * logp[:, 1] + shift
    _, again = fuse(Evidence(scaled, label, (0, 0), False))
    assert again == pytest.approx(p, abs=2e-3)


def test_a_view_at_chance_gets_next_to_no_weight_and_changes_next_to_nothing() -> None:
    logp, label, truth = simulate()
    noise = np.random.default_rng(9).standard_normal(logp.shape)
    alone, p = fuse(Evidence(logp, label, (0,), False))
    both, q = fuse(Evidence(np.concatenate([logp, noise], axis=1), label, (0, 1), False))
    assert both.weights[1] < 0.15 * both.weights[0]
    assert both.weights[0] == pytest.approx(alone.weights[0], rel=0.15)
    assert np.abs(q - p).max(axis=1).mean() < 0.05
    assert (q.argmax(axis=1) == truth).mean() == pytest.approx((p.argmax(axis=1) == truth).mean(), abs=0.01)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_noise_rate_and_skill_are_recovered_within_their_intervals(rate: float) -> None:
    logp, label, truth = simulate(n=4000, rate=rate, views=2, seed=3)
    evidence = Evidence(logp, label, (0, 0), shared=False)
    fusion, p = fuse(evidence)
    found = findings(evidence, fusion)
    assert found.identified
    assert found.sure
    assert found.noise_rate.low <= (label != truth).mean() <= found.noise_rate.high
    for v, skill in enumerate(found.skill):
        assert skill.low <= (logp[:, v].argmax(axis=1) == truth).mean() <= skill.high
    assert (p.argmax(axis=1) == truth).mean() > max(1 - rate, 0.6) - 0.01
    assert p.max(axis=1).mean() == pytest.approx((p.argmax(axis=1) == truth).mean(), abs=0.04)


def test_clean_labels_stay() -> None:
    logp, label, truth = simulate(rate=0.0, ease=0.3)
    _, p = fuse(Evidence(logp, label, (0,), False))
    assert (p.argmax(axis=1) != truth).mean() < 0.01


def test_views_that_know_nothing_are_not_identified() -> None:
    _, label, _ = simulate(rate=0.3)
    logp = 3 * np.random.default_rng(1).standard_normal((1500, 2, 4))
    evidence = Evidence(logp, label, (0, 0), False)
    found = findings(evidence, fit(evidence, noise="symmetric"))
    assert not found.identified
    assert not found.sure
    assert "labels stay" in found.reason
    believed = findings(evidence, fit(evidence, Priors(accuracy=0.8), noise="symmetric"))
    assert believed.identified
    assert "prior accuracy" in believed.reason


def test_agreement_beyond_chance_identifies_however_wide_the_interval() -> None:
    logp, label, truth = simulate(n=1777, rate=0.7, ease=1.2, seed=1005)
    evidence = Evidence(logp, label, (0,), False)
    fusion, p = fuse(evidence)
    found = findings(evidence, fusion)
    assert found.noise_rate.high >= 1.0 - found.chance
    assert found.identified
    assert not found.sure
    assert (p.argmax(axis=1) == truth).mean() > (label == truth).mean() + 0.2


def biased(rate: float, bias: float, seed: int = 0) -> tuple[Evidence, Index]:
    """Return rows of which one option is true in 70 of 100, seen by a view that leans by `bias` to the last one."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, 1500, p=[0.7, 0.2, 0.1])
    label = np.where(rng.random(1500) < rate, (truth + rng.integers(1, 3, 1500)) % 3, truth)
    logits = rng.standard_normal((1500, 3)) + bias * np.array([0.0, 0.0, 1.0])
    logits[np.arange(1500), truth] += 1.5
    return Evidence(logits[:, None], label, (0,), shared=True), truth


def test_views_whose_accuracy_is_stated_are_taken_as_they_speak() -> None:
    evidence, truth = biased(rate=0.7, bias=0.0)
    right = float((evidence.logp[:, 0].argmax(axis=1) == truth).mean())
    fusion = fit(evidence, Priors(accuracy=right), noise="symmetric")
    assert not fusion.layout.intercepts
    assert not fusion.units.centre.any()
    # the labels tell nothing here, so that the views are all there is
    assert (posterior(evidence, fusion).argmax(axis=1) == truth).mean() == pytest.approx(right, abs=0.03)


def test_a_bias_that_the_labels_show_is_taken_away_whatever_is_stated() -> None:
    evidence, truth = biased(rate=0.2, bias=3.0)
    fusion = fit(evidence, Priors(accuracy=0.7), noise="symmetric")
    assert fusion.layout.intercepts
    assert (posterior(evidence, fusion).argmax(axis=1) == truth).mean() > 0.85


def test_labels_that_are_all_noise_are_not_identified_until_rows_are_reviewed() -> None:
    logp, label, truth = simulate(rate=0.75, seed=2)
    evidence = Evidence(logp, label, (0,), False)
    assert not findings(evidence, fuse(evidence)[0]).identified
    reviewed = np.full(1500, -1)
    reviewed[:40] = truth[:40]
    evidence = Evidence(logp, label, (0,), False, reviewed)
    fusion, p = fuse(evidence)
    assert findings(evidence, fusion).identified
    assert p[np.arange(40), truth[:40]] == pytest.approx(np.ones(40))
    assert (p.argmax(axis=1) == truth).mean() > 0.6


def test_unlabelled_rows_are_labelled_by_the_views() -> None:
    logp, label, truth = simulate(n=5000, seed=4)
    label[1000:] = -1
    _, p = fuse(Evidence(logp, label, (0,), False))
    assert (p[1000:].argmax(axis=1) == logp[1000:, 0].argmax(axis=1)).mean() > 0.99
    assert p[1000:].max(axis=1).mean() == pytest.approx((p[1000:].argmax(axis=1) == truth[1000:]).mean(), abs=0.08)


def test_class_conditional_noise_is_found_and_recovered() -> None:
    logp, _, truth = simulate(n=2500, k=3, rate=0.0, seed=5)
    rng = np.random.default_rng(5)
    label = np.where((truth == 1) & (rng.random(2500) < 0.6), 2, truth)
    evidence = Evidence(logp, label, (0,), shared=True)
    fusion = fit(evidence)
    assert fusion.layout.leans
    assert fusion.transition == pytest.approx(np.array([[1, 0, 0], [0, 0.4, 0.6], [0, 0, 1]]), abs=0.06)
    found = findings(evidence, fusion)
    assert found.noise_rate.value == pytest.approx((label != truth).mean(), abs=0.04)


def test_symmetric_noise_is_taken_for_symmetric() -> None:
    logp, label, _ = simulate(n=800, k=3)
    assert not fit(Evidence(logp, label, (0,), shared=True)).layout.leans


def test_uneven_options() -> None:
    n = 3000
    _, _, truth = simulate(n=n, k=5, rate=0.0, seed=6)
    counts = np.random.default_rng(6).integers(2, 6, size=n)
    truth = np.minimum(truth, counts - 1)
    rng = np.random.default_rng(7)
    logits = rng.standard_normal((n, 1, 5))
    logits[np.arange(n), 0, truth] += 2.0 + 1.5 * rng.standard_normal(n)
    logits[np.arange(5) >= counts[:, None, None]] = np.nan
    label = np.where(rng.random(n) < 0.3, (truth + rng.integers(1, counts)) % counts, truth)
    evidence = Evidence(logits, label, (0,), shared=False)
    fusion, p = fuse(evidence)
    found = findings(evidence, fusion)
    assert found.noise_rate.low <= (label != truth).mean() <= found.noise_rate.high
    assert found.chance == pytest.approx((1 / counts).mean(), abs=0.01)
    assert (p.argmax(axis=1) == truth).mean() > 0.75
    assert np.isfinite(p).all()


def test_abstentions_leave_the_label_and_what_is_known_of_the_noise() -> None:
    logp, label, _ = simulate(n=2000)
    logp[:400] = np.log(0.25)
    fusion, p = fuse(Evidence(logp, label, (0,), False))
    given = p[np.arange(400), label[:400]]
    assert given == pytest.approx(np.full(400, 1 - fusion.noise_rate), abs=0.02)


def test_probabilities_of_zero_are_evidence_of_bounded_strength() -> None:
    logp, label, _ = simulate(n=500)
    logp[np.arange(500), 0, logp[:, 0].argmin(axis=1)] = -np.inf
    _, p = fuse(Evidence(logp, label, (0,), False))
    assert np.isfinite(p).all()
    assert p.sum(axis=1) == pytest.approx(np.ones(500))


@pytest.mark.parametrize("priors", [Priors(), Priors(accuracy=0.8)])
def test_the_gradient_is_that_of_the_value(priors: Priors) -> None:
    logp, label, truth = simulate(n=200, k=3, views=3)
    logp[:60, :, 2] = np.nan
    label[:60] %= 2
    label[60:80] = -1
    reviewed = np.where(np.arange(200) < 100, -1, truth)
    layout = Layout((0, 0, 1), 3, intercepts=True, leans=True)
    sample = Sample.of(Evidence(logp, label, layout.families, True, reviewed), Units(np.zeros((3, 3)), np.ones(3)))
    rng = np.random.default_rng(0)
    vector = layout.start() + 0.3 * rng.standard_normal(sum(layout.sizes))
    gradient = log_posterior(vector, 0.3, sample, layout, priors)[1]
    for axis, slope in zip(np.eye(len(vector)), gradient, strict=True):
        ahead, behind = (log_posterior(vector + step * axis, 0.3, sample, layout, priors)[0] for step in (1e-5, -1e-5))
        assert (ahead - behind) / 2e-5 == pytest.approx(slope, abs=1e-4)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_as_far_as_the_search_goes_all_is_finite(side: float) -> None:
    logp, label, _ = simulate(n=60, k=3, views=2)
    evidence = Evidence(logp, label, (0, 1), shared=True)
    layout = Layout(evidence.families, 3, True, True)
    vector = layout.start() + side * FARTHEST * layout.deviations()
    sample = Sample.of(evidence, units_of(evidence))
    value, gradient = log_posterior(vector, 0.3, sample, layout, Priors(accuracy=0.7))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    # nor does it stay there
    assert climb(0.3, vector, sample, layout, Priors(accuracy=0.7)).height > value


def test_wrong_shapes_and_indices_are_refused() -> None:
    logp, label, _ = simulate(n=10)
    with pytest.raises(DataError, match=r"\(N, V, K\)"):
        Evidence(logp, label[:5], (0,), False)
    logp[3, :, 2:] = np.nan
    label[3] = 2
    with pytest.raises(DataError, match="no option of its row"):
        Evidence(logp, label, (0,), False)
