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


def test_a_clean_row_is_kept_as_it_is() -> None:
    clean = Verdict("a", noisy=False, confidence=1.0, reason="all agree")
    assert run([(example("a"), clean, None)], [], PAPER) == [Decision("a", "keep", "A", "A", 1.0, "all agree", {})]


def test_a_noisy_row_that_nobody_was_asked_about_is_dropped_and_says_so() -> None:
    assert run([(example("a"), noisy("a"), None)], [], PAPER)[0].reason == "not unanimous; no new response"


def test_a_response_in_words_is_the_options_letter() -> None:
    rows = [
        (example(row), noisy(row), Relabel(row, text, "reviewed", (), nll))
        for row, text, nll in (("a", "x", 0.0), ("b", "y", 0.1), ("c", "z", 1.0), ("d", "z", 2.0))
    ]
    said = [[Answer("a", "direct", "", "B"), Answer("b", "direct", "", "B")]]
    decisions = run(rows, said, PAPER)
    assert [d.decision for d in decisions] == ["keep", "relabel", "drop", "drop"]
    assert [d.confidence for d in decisions] == [0.5, 0.5, 0.0, 0.0]


def test_without_any_opinion_there_is_no_confidence() -> None:
    rows = [
        (example("a", None), noisy("a"), Relabel("a", "B", "reviewed", (), 0.0)),
        (example("b", "splendid"), noisy("b"), Relabel("b", None, "nothing")),
        (example("c", None), noisy("c"), Relabel("c", "B", "reviewed", (), 1.0)),
    ]
    votes = [[Answer("b", "direct", "", "B")]]
    assert [(d.decision, d.confidence) for d in run(rows, votes, PAPER)] == [
        ("relabel", 0.0),
        ("drop", 0.0),
        ("drop", 0.0),
    ]


def test_the_baselines_take_every_proposal_however_sure() -> None:
    rows = [(example(r), noisy(r), Relabel(r, "B", "labelled", (), nll)) for r, nll in (("a", 9.0), ("b", None))]
    assert [d.decision for d in run(rows, [], make_config({"method": "self-label"}))] == ["relabel", "relabel"]


def test_a_verdict_too_few_is_no_row_less() -> None:
    with pytest.raises(ValueError, match="shorter"):
        list(decide([example("a"), example("b")], [], [noisy("a")], [], PAPER, TASK))
