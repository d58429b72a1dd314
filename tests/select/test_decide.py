from __future__ import annotations

from collections.abc import Sequence

import pytest

from robustft.config import Config, TaskConfig
from robustft.loading import make_config
from robustft.records import Answer, Decision, Example, Message, Relabel, Verdict
from robustft.select.decide import decide
from robustft.tasks import make_task

TASK = make_task(TaskConfig(kind="choice"))
PAPER = make_config({"method": "paper"})


def example(row: str, given: str | None = "A") -> Example:
    return Example(row, (Message(role="user", content=f"{row}?"),), given, ("x", "y", "z"))


def noisy(row: str) -> Verdict:
    return Verdict(row, noisy=True, confidence=1.0, reason="not unanimous")


Row = tuple[Example, Verdict, Relabel | None]


def run(rows: Sequence[Row], said: Sequence[Sequence[Answer]], config: Config) -> list[Decision]:
    examples, verdicts, relabels = zip(*rows, strict=True)
    return list(decide(examples, said, verdicts, [r for r in relabels if r], config, TASK))


def test_the_sure_half_is_relabelled_and_the_rest_dropped() -> None:
    rows = [(example(f"r{i}"), noisy(f"r{i}"), Relabel(f"r{i}", "B", "reviewed", (), float(i))) for i in range(4)]
    decisions = run(rows, [], PAPER)
    assert [d.decision for d in decisions] == ["relabel", "relabel", "drop", "drop"]
    assert [d.response_final for d in decisions] == ["B"] * 4
    assert "not below the median" in decisions[3].reason


def test_a_proposal_that_is_the_given_response_keeps_it() -> None:
    rows = [(example(r), noisy(r), Relabel(r, "A", "reviewed", (), nll)) for r, nll in (("a", 0.1), ("b", 0.9))]
    assert [d.decision for d in run(rows, [], PAPER)] == ["keep", "drop"]


def test_a_proposal_without_logprobs_is_set_aside_and_never_ranked() -> None:
    rows = [
        (example(r), noisy(r), Relabel(r, "B", "reviewed", (), nll)) for r, nll in (("a", None), ("b", 1), ("c", 2))
    ]
    decisions = run(rows, [], PAPER)
    assert [d.decision for d in decisions] == ["review", "relabel", "drop"]
    assert "no log-probabilities" in decisions[0].reason


def test_a_failed_call_is_set_aside_even_where_the_verdict_is_clean() -> None:
    clean = Verdict("a", noisy=False, confidence=1.0, reason="all agree")
    failed = Answer("a", "direct", "timeout", None, finish="error")
    decision = run([(example("a"), clean, None)], [[failed]], PAPER)[0]
    assert decision.decision == "review"
    assert "timeout" in decision.reason


@pytest.mark.parametrize("given", ["A", None])
def test_a_noisy_row_without_a_proposal_is_dropped_with_its_reason(given: str | None) -> None:
    rows = [(example("a", given), noisy("a"), Relabel("a", None, "the reviewer gave no readable answer"))]
    decision = run(rows, [], PAPER)[0]
    assert (decision.decision, decision.response_given, decision.response_final) == ("drop", given, given)
    assert "no readable answer" in decision.reason


def test_confidence_is_the_share_of_the_opinions_and_judges_have_none() -> None:
    votes = [Answer("a", "direct", "", "B"), Answer("a", "reasoning", "", None), Answer("a", "agent", "", "Y")]
    rows = [(example("a"), noisy("a"), Relabel("a", "B", "reviewed", (), 0.0))]
    rows += [(example("b"), noisy("b"), Relabel("b", "B", "reviewed", (), 1.0))]
    decision = run(rows, [[vote] for vote in votes], PAPER)[0]
    assert decision.confidence == 0.5
    assert decision.votes == {"direct": "B", "reasoning": None, "agent": "Y"}


def test_published_takes_the_lower_half_by_rank() -> None:
    rows = [(example(f"r{i}"), noisy(f"r{i}"), Relabel(f"r{i}", "B", "reviewed", (), 1.0)) for i in range(4)]
    assert [d.decision for d in run(rows, [], PAPER)] == ["drop"] * 4
    published = make_config({"method": "paper", "paper": {"variant": "published"}})
    assert [d.decision for d in run(rows, [], published)] == ["relabel", "relabel", "drop", "drop"]
