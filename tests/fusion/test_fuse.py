from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion.simulated import simulate, views_from
from robustft.config import TARGET, Config
from robustft.data.planting import plant
from robustft.fusion.fuse import Fused, fuse, pilot, summary, whom_to_ask
from robustft.fusion.target import choose
from robustft.fusion.views import Views
from robustft.loading import make_config

PILOT = 60


def config(target: float = 0.95, **posterior: Any) -> Config:
    tree = {"noise": "symmetric", "pilot": PILOT} | posterior
    return make_config({"method": "posterior", "target_accuracy": target, "posterior": tree})


def two_views(n: int = 300, seed: int = 0, **shape: Any) -> Views:
    logp, label, _ = simulate(n=n, k=3, views=2, seed=seed, **shape)
    return views_from(logp, label, "direct", "reasoning")


def second_asked(views: Views, rows: np.ndarray) -> Views:
    """Return the views as if the second had been asked about these rows alone."""
    asked, logp = views.asked.copy(), views.logp.copy()
    asked[:, 1] = rows
    logp[~rows, 1] = 0.0
    return replace(views, asked=asked, logp=logp)


def test_rows_that_were_asked_alike_are_one_level() -> None:
    fused = fuse(two_views(), config())
    assert [(level.views, len(level.rows)) for level in fused.levels] == [((0, 1), 300)]
    assert fused.identified
    assert fused.probs.sum(axis=1) == pytest.approx(np.ones(300))


def test_rows_that_were_asked_more_are_a_level_of_their_own() -> None:
    views = two_views()
    drawn = pilot(views, config())
    fused = fuse(second_asked(views, drawn), config())
    first, second = fused.levels
    assert (first.views, second.views) == ((0,), (0, 1))
    assert first.rows.tolist() == np.flatnonzero(~drawn).tolist()
    assert second.rows.tolist() == np.flatnonzero(drawn).tolist()
    assert second.fusion.weights.shape == (2,)
    assert fused.probs.sum(axis=1) == pytest.approx(np.ones(300))


def test_the_weights_of_a_deeper_level_are_those_of_the_pilot() -> None:
    """Rows that were asked more because they were undecided were chosen by their labels: weights aren't theirs."""
    views = two_views()
    drawn = pilot(views, config())
    undecided = ~drawn & (np.arange(300) % 3 == 0)
    honest = second_asked(views, drawn | undecided)

    def weights(echoing: np.ndarray) -> np.ndarray:
        logp = honest.logp.copy()
        logp[echoing, 1] = np.log(0.05) + 3.0 * np.eye(3)[views.label[echoing]]
        _, second = fuse(replace(honest, logp=logp), config()).levels
        assert second.rows.tolist() == np.flatnonzero(drawn | undecided).tolist()
        return second.fusion.weights

    own = weights(np.zeros(300, dtype=bool))
    assert weights(undecided).tolist() == own.tolist()
    assert weights(drawn)[1] > 1.5 * own[1]


def test_a_probe_belongs_to_every_level_and_comes_last() -> None:
    logp, label, _ = simulate(n=300, k=3, views=3)
    views = views_from(logp, label, "direct", "reasoning", "probe")
    drawn = pilot(views, config())
    fused = fuse(second_asked(views, drawn), config())
    assert [level.views for level in fused.levels] == [(0, 2), (0, 1, 2)]
    assert set(summary(fused, config())["weights"]) == {"direct", "reasoning", "probe"}


@pytest.mark.parametrize(
    ("sections", "heard"),
    [
        ({}, (1, 2)),
        ({"train": {"model": "smollm2"}}, (1, 2)),
        ({"train": {"model": "another"}}, (0, 1, 2)),
        ({"llm": {"backend": "local", "model": "smollm2", "adapter": "mine"}}, (0, 1, 2)),
        ({"llm": {"backend": "openai", "model": "smollm2", "base_url": "http://127.0.0.1:9/v1"}}, (0, 1, 2)),
        ({"posterior": {"prior_accuracy": 0.6}}, (0, 1, 2)),
    ],
)
def test_the_tuned_model_speaks_for_itself_before_it_was_trained(
    sections: dict[str, Any], heard: tuple[int, ...]
) -> None:
    logp, label, _ = simulate(n=300, k=3, views=3)
    views = views_from(logp, label, "likelihood", "probe", "tuned")
    settings = make_config({"llm": {"backend": "local", "model": "smollm2"}} | sections)
    assert [level.views for level in fuse(views, settings).levels] == [heard]


def test_nothing_is_suspect_where_nothing_is_identified() -> None:
    rng = np.random.default_rng(1)
    views = views_from(3 * rng.standard_normal((300, 1, 3)), rng.integers(3, size=300), "direct")
    fused = fuse(views, config())
    assert not fused.identified
    assert not fused.noisy.any()
    assert "labels stay" in fused.reason


def test_what_is_expected_where_nothing_is_identified_is_of_the_labels_which_stay() -> None:
    rng = np.random.default_rng(1)
    views = views_from(3 * rng.standard_normal((300, 1, 3)), np.r_[rng.integers(3, size=299), -1], "direct")
    fused = fuse(views, config())
    target = summary(fused, config())["target"]
    assert (target["rows"], target["reached"]) == (299, False)
    of_labels = fused.probs[np.arange(299), views.label[:299]].mean()
    assert target["low"] <= of_labels <= target["high"]


def test_what_was_learnt_is_plain_and_says_all() -> None:
    views = two_views()
    settings = config(target=0.8)
    fused = fuse(second_asked(views, pilot(views, settings)), settings)
    learnt = summary(fused, settings)
    assert orjson.loads(orjson.dumps(learnt)) == learnt
    assert set(learnt) == {
        "identified", "reason", "noise_rate", "noise", "chance", "skill", "weights", "levels", "calls_a_row", "target",
    }  # fmt: skip
    assert learnt["noise"] == {"kind": "symmetric"}
    # a view that both levels know is described by the one with more rows
    assert learnt["skill"]["direct"]["value"] == fused.levels[0].learnt.skill[0].value
    assert learnt["noise_rate"]["low"] <= learnt["noise_rate"]["value"] <= learnt["noise_rate"]["high"]
    assert [(level["views"], level["rows"]) for level in learnt["levels"]] == [
        (["direct"], 300 - PILOT),
        (["direct", "reasoning"], PILOT),
    ]
    assert set(learnt["skill"]) == set(learnt["weights"]) == {"direct", "reasoning"}
    assert learnt["chance"] == pytest.approx(1 / 3)
    assert learnt["calls_a_row"] == pytest.approx(1 + PILOT / 300)
    assert (learnt["target"]["wanted"], learnt["target"]["rows"]) == (0.8, int(fused.choice.taken.sum()))
    assert not learnt["target"]["lowered"]


def test_a_target_that_was_lowered_is_the_one_that_may_be_reached() -> None:
    settings = make_config({"method": "posterior"})
    fused = fuse(two_views(), settings)
    target = summary(fused, settings)["target"]
    assert target["lowered"]
    assert target["wanted"] == pytest.approx(fused.choice.confidence[fused.choice.taken].mean())
    assert target["wanted"] < TARGET


def test_an_answer_that_nobody_gave_is_not_chosen() -> None:
    n, width = 40, 6
    nothing = np.zeros((n, 1, width))
    views = Views(
        ("direct",), (("x", "y"),) * n, nothing, np.ones((n, 1), int), np.full(n, -1), np.full(n, -1), shared=False
    )
    fused = fuse(views, config())
    assert fused.probs == pytest.approx(np.full((n, width), 1 / width))
    assert (fused.choice.answer < 2).all()
    assert fused.choice.confidence == pytest.approx(np.full(n, 1 / width))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["symmetric", "asymmetric"])
def test_the_pilot_has_nothing_to_do_with_noise_that_was_planted_with_the_same_seed(kind: Any, seed: int) -> None:
    planted = list(plant(["A"] * 480, ["ABC"] * 480, 0.3, kind, seed))
    tree = {"method": "posterior", "seed": seed, "posterior": {"pilot": 300}}
    logp, label, _ = simulate(n=480, k=3)
    drawn = pilot(views_from(logp, label, "direct"), make_config(tree))
    assert (len(planted), drawn.sum()) == (144, 120)
    # the overlap of independent draws is hypergeometric
    deviation = np.sqrt(144 * (120 / 480) * (360 / 480) * (336 / 479))
    assert abs(drawn[planted].sum() - 144 * 120 / 480) < 3 * deviation


def test_reviewed_rows_belong_to_the_pilot() -> None:
    logp, label, truth = simulate(n=100, k=3)
    reviewed = np.where(np.arange(100) < 50, truth, -1)
    views = views_from(logp, label, "direct", reviewed=reviewed)
    drawn = pilot(views, config(pilot=10))
    assert drawn[:50].all()
    assert drawn.sum() == 50 + pilot(replace(views, reviewed=np.full(100, -1)), config(pilot=10))[50:].sum()


def fused_like(confidence: np.ndarray, depth: np.ndarray, target: float, identified: bool = True) -> Fused:
    """Return a belief of which only the confidences count; of each row the first `depth` views were asked."""
    n = len(confidence)
    probs = np.stack([confidence, 1.0 - confidence], axis=1)
    logp = np.zeros((n, int(depth.max()), 2))
    views = views_from(logp, np.zeros(n, dtype=np.int64), *("direct", "reasoning", "context", "review")[: depth.max()])
    views = replace(views, asked=(np.arange(depth.max()) < depth[:, None]).astype(np.int64))
    noisy = np.zeros(n, dtype=bool)
    return Fused(views, (), probs, noisy, choose(probs, views.label, target), identified)


@given(
    seed=st.integers(0, 999),
    n=st.integers(2, 60),
    share=st.floats(0.0, 0.8),
    spare=st.integers(-3, 20),
    depth=st.integers(1, 3),
    identified=st.sampled_from([True, True, True, False]),
)
def test_the_least_sure_are_asked_within_the_budget(
    seed: int, n: int, share: float, spare: int, depth: int, identified: bool
) -> None:
    rng = np.random.default_rng(seed)
    confidence = np.round(0.5 + rng.random(n) / 2, 2)
    first = pilot(fused_like(confidence, np.ones(n, dtype=np.int64), 0.9).views, config(pilot=1 + int(share * n / 2)))
    # as far as earlier rounds have come: the pilot was asked of every view, of the others ever fewer
    deep = np.where(first, depth, rng.integers(1, depth + 1, size=n))
    budget = int(deep.sum() + first.sum()) + spare
    settings = config(0.9, pilot=1 + int(share * n / 2), budget=(budget + 0.5) / n)
    fused = fused_like(confidence, deep, 0.9, identified)
    asked = whom_to_ask(fused, settings)
    if spare < 0 or (identified and fused.choice.taken.all()):
        assert len(asked) == 0
        return
    assert set(np.flatnonzero(first)) <= set(asked.tolist())
    further = np.array([row for row in asked if not first[row]], dtype=np.int64)
    undecided = np.flatnonzero((deep == depth) & (confidence < 0.9) & ~first)
    assert len(further) == (min(spare, len(undecided)) if identified else 0)
    assert set(further) <= set(undecided)
    left = np.setdiff1d(undecided, further)
    assert not len(left) or not len(further) or confidence[further].max() <= confidence[left].min()
    assert deep.sum() + len(asked) <= budget


def test_nobody_is_asked_where_all_rows_together_reach_the_target() -> None:
    fused = fused_like(np.array([0.8] * 20 + [1.0] * 80), np.ones(100, dtype=np.int64), 0.95)
    assert fused.choice.taken.all()
    assert len(whom_to_ask(fused, config(pilot=10))) == 0
    fused = replace(fused, choice=choose(fused.probs, fused.views.label, 0.97))
    assert len(whom_to_ask(fused, config(0.97, pilot=10))) > 10


def test_only_the_pilot_is_asked_where_nothing_is_identified() -> None:
    fused = fused_like(np.linspace(0.5, 0.9, 100), np.ones(100, dtype=np.int64), 0.95, identified=False)
    drawn = pilot(fused.views, config(pilot=10))
    assert whom_to_ask(fused, config(pilot=10)).tolist() == np.flatnonzero(drawn).tolist()


@pytest.mark.parametrize("confidence", [0.6, 1.0])
@pytest.mark.parametrize("identified", [True, False])
def test_everybody_answers_everything_where_the_config_says_so(confidence: float, identified: bool) -> None:
    fused = fused_like(np.full(20, confidence), np.ones(20, dtype=np.int64), 0.95, identified)
    assert whom_to_ask(fused, config(asking="all", budget=0.0)).tolist() == list(range(20))
