from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.ablation import PARTS, Rows, figures, table, uncalibrated, without
from fusion.simulated import simulate
from fusion.test_probe import clusters
from robustft.config import Config
from robustft.fusion.evidence import Evidence


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Clusters that an embedding tells apart, and an LLM's view that is right more often than not."""
    embeddings, label, truth = clusters(n=300, rate=0.3, seed=3)
    logits = np.random.default_rng(4).standard_normal((300, 3))
    logits[np.arange(300), truth] += 1.5
    return Rows(Evidence(3.0 * logits[:, None], label, (0,), shared=True), truth, embeddings, Config())


def test_without_nothing_it_is_the_method_and_without_the_probe_it_is_worse(rows: Rows) -> None:
    whole, blind = (figures(rows, without(part, rows)) for part in ("nothing", "the probe"))
    assert whole["right, all rows"] > blind["right, all rows"] + 0.03
    assert whole["F1"] > blind["F1"]


@pytest.mark.parametrize("part", PARTS[1:])
def test_each_part_makes_a_difference_and_leaves_probabilities(rows: Rows, part: str) -> None:
    p = without(part, rows)
    assert p.sum(axis=1) == pytest.approx(np.ones(len(p)))
    if part != "the second start":
        assert np.abs(p - without("nothing", rows)).max() > 1e-3


def test_uncalibrated_views_are_taken_at_their_word() -> None:
    logp, label, _ = simulate(n=200, k=4, views=2)
    p = uncalibrated(Evidence(logp, label, (0, 0), shared=False))
    sure = logp.sum(axis=1)
    agree = (p.argmax(axis=1) == sure.argmax(axis=1)) | (p.argmax(axis=1) == label)
    assert agree.all()


def test_the_table_is_of_means_over_seeds() -> None:
    seeds = [{"nothing": {"F1": f1, "right, all rows": 0.9, "ECE": 0.01}} for f1 in (0.8, 0.9)]
    assert "| fpb | nothing | .850 | .900 | .010 |" in table({"fpb": seeds})
