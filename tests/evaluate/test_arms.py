from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.config import TaskConfig
from robustft.errors import ConfigError
from robustft.evaluate.arms import arm_config, arm_configs, as_given, as_true, drawn
from robustft.loading import make_config
from robustft.records import Decision, Example, Message
from robustft.tasks import make_task

OPTIONS = ("negative", "neutral", "positive")
TASK = make_task(TaskConfig())


def rows(n: int, every: int = 0) -> list[Example]:
    """Return rows whose label is A and whose truth is B in every second one; each `every`th has no label."""
    return [
        Example(
            f"r{i}",
            (Message(role="user", content=str(i)),),
            None if every and i % every == 0 else "A",
            OPTIONS,
            truth="AB"[i % 2],
        )
        for i in range(n)
    ]


def test_given_rows_are_kept_and_those_without_a_response_left_out() -> None:
    decisions = as_given(rows(4, every=2))
    assert [(d.decision, d.response_final) for d in decisions] == [("drop", None), ("keep", "A")] * 2


@given(st.integers(1, 30), st.integers(0, 30), st.integers(0, 5))
def test_as_many_given_rows_are_drawn_as_the_other_arm_trains_on(n: int, kept: int, seed: int) -> None:
    examples = rows(n, every=3)
    like = [Decision(e.id, "keep" if i < kept else "drop", "A", "A", 1.0, "") for i, e in enumerate(examples)]
    decisions = drawn(examples, like, seed)
    labelled = sum(e.response is not None for e in examples)
    assert sum(d.decision == "keep" for d in decisions) == min(kept, n, labelled)
    assert all(e.response == d.response_final for e, d in zip(examples, decisions, strict=True) if d.decision == "keep")
    assert decisions == drawn(examples, like, seed)


def test_the_oracle_has_the_truth_in_the_form_of_the_given_response() -> None:
    examples = [*rows(2), replace(rows(1)[0], truth=None), replace(rows(2)[1], response="positive")]
    found = [(d.decision, d.response_final) for d in as_true(examples, TASK)]
    assert found == [("keep", "A"), ("relabel", "B"), ("drop", None), ("relabel", "neutral")]


def test_the_truth_of_an_open_question_is_written_as_it_is() -> None:
    number = make_task(TaskConfig(kind="number"))
    example = Example("r", (Message(role="user", content="?"),), "7", truth="1,250 EUR")
    assert as_true([example], number)[0].response_final == "1,250 EUR"


def test_an_arm_cleans_by_its_own_method_and_measures_nothing() -> None:
    config = make_config(
        {
            "experts": ["probe", "likelihood", "context"],
            "llm": {"backend": "scripted"},
            "train": {"model": "smollm2"},
            "evaluate": {"path": "test.csv"},
            "compare": {},
        }
    )
    paper = arm_config(config, "paper", {"embedder": ["tfidf"]})
    assert (paper.method, paper.experts, paper.embedder) == ("paper", ("likelihood",), ("tfidf",))
    assert (paper.evaluate, paper.compare, paper.export.formats) == (None, None, ())
    # what it trains by is what `tuned` trains by, too; the stage itself is skipped
    assert paper.train == config.train
    own = arm_config(config, "posterior", {})
    assert (own.method, own.experts, own.embedder) == ("posterior", config.experts, config.embedder)


def test_each_arm_asks_the_experts_that_its_method_can() -> None:
    config = make_config(
        {"method": "paper", "experts": ["direct", "agent"], "llm": {"backend": "scripted"}, "compare": {}}
    )
    found = arm_configs(config, make_task(config.task))
    assert {arm: own.experts for arm, own in found.items()} == {
        "paper": ("direct", "agent"),
        "posterior": ("probe", "direct"),
    }


def test_an_arm_that_can_not_clean_is_told_before_any_is_begun() -> None:
    overrides = {"posterior": {"experts": ["agent"]}}
    config = make_config({"llm": {"backend": "scripted"}, "compare": {"arms": ["random"], "overrides": overrides}})
    with pytest.raises(ConfigError, match=r"compare\.overrides\.posterior: experts: agent"):
        arm_configs(config, make_task(config.task))
