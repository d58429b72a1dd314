from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustft.config import Config, TaskConfig
from robustft.fusion.verdicts import Believed
from robustft.loading import make_config
from robustft.records import Answer, Belief, Decision, Example, Message, Verdict
from robustft.select.believe import decide_by_belief
from robustft.tasks import make_task
from robustft.tasks.task import Task

CHOICE, NUMBER = (make_task(TaskConfig(kind=kind)) for kind in ("choice", "number"))


def config(target: float = 0.9, review: int = 0) -> Config:
    return make_config({"method": "posterior", "target_accuracy": target, "posterior": {"review": review}})


def example(row: str, given: str | None = "A", options: Sequence[str] = ("x", "y", "z")) -> Example:
    return Example(row, (Message(role="user", content=f"{row}?"),), given, tuple(options))


def run(
    rows: Sequence[tuple[str | None, Sequence[float]]],
    settings: Config,
    answers: Sequence[Answer] = (),
    identified: bool = True,
) -> list[Decision]:
    """Decide choice rows, each its response and how likely A, B and C are."""
    examples = [example(f"r{i}", response) for i, (response, _) in enumerate(rows)]
    beliefs = [Belief(f"r{i}", ("A", "B", "C"), tuple(probs)) for i, (_, probs) in enumerate(rows)]
    return decide(examples, beliefs, settings, answers, identified, CHOICE)


def decide(
    examples: Sequence[Example],
    beliefs: Sequence[Belief],
    settings: Config,
    answers: Sequence[Answer] = (),
    identified: bool = True,
    task: Task = CHOICE,
) -> list[Decision]:
    verdicts = [Verdict(e.id, False, 0.5, f"why {e.id}") for e in examples]
    believed = Believed(beliefs, identified)
    return list(decide_by_belief(examples, [answers], believed, verdicts, settings, task))


def test_the_sure_are_kept_or_relabelled_and_the_others_dropped() -> None:
    rows = [("A", (0.96, 0.02, 0.02)), ("x", (0.02, 0.95, 0.03)), ("C", (0.3, 0.3, 0.4)), ("A", (0.2, 0.6, 0.2))]
    decisions = run(rows, config())
    assert [d.id for d in decisions] == ["r0", "r1", "r2", "r3"]
    assert [d.decision for d in decisions] == ["keep", "relabel", "drop", "drop"]
    assert [d.response_given for d in decisions] == ["A", "x", "C", "A"]
    assert [d.response_final for d in decisions] == ["A", "y", "C", "B"]
    assert [d.confidence for d in decisions] == [0.96, 0.95, 0.4, 0.6]
    assert decisions[0].reason == "why r0"
    assert decisions[3].reason == "why r3; B at 0.60 is too unsure for a target of 0.9"


def test_it_is_the_mean_confidence_that_meets_the_target() -> None:
    rows = [("A", (1.0, 0.0, 0.0)), ("A", (0.8, 0.1, 0.1)), ("A", (0.75, 0.15, 0.1))]
    assert [d.decision for d in run(rows, config(0.9))] == ["keep", "keep", "drop"]
    assert [d.decision for d in run(rows, config(0.85))] == ["keep"] * 3


def test_the_likeliest_of_those_too_unsure_are_set_aside() -> None:
    rows = [("A", (0.99, 0.01, 0.0)), ("A", (0.4, 0.4, 0.2)), ("A", (0.2, 0.6, 0.2)), (None, (0.5, 0.3, 0.2))]
    assert [d.decision for d in run(rows, config(review=2))] == ["keep", "drop", "review", "review"]
    assert [d.decision for d in run(rows, config(review=9))] == ["keep", "review", "review", "review"]


def test_of_rows_that_are_as_unsure_the_first_are_set_aside() -> None:
    unsure = [(0.4, 0.4, 0.2), (0.5, 0.3, 0.2), (0.34, 0.33, 0.33)]
    decisions = run([("A", unsure[i % 3]) for i in range(300)], config(review=120))
    aside = [i for i, decision in enumerate(decisions) if decision.decision == "review"]
    assert aside == sorted([*range(1, 300, 3), *range(0, 60, 3)])


def test_a_verdict_too_few_is_no_row_less() -> None:
    believed = Believed([Belief(row, ("A", "B", "C"), (1.0, 0.0, 0.0)) for row in "ab"], True)
    with pytest.raises(ValueError, match="shorter"):
        list(
            decide_by_belief(
                [example("a"), example("b")], [], believed, [Verdict("a", False, 1.0, "")], config(), CHOICE
            )
        )


def test_a_row_without_a_response_is_labelled_where_it_is_sure() -> None:
    decisions = run([(None, (0.02, 0.95, 0.03)), (None, (0.3, 0.3, 0.4))], config())
    assert [(d.decision, d.response_given, d.response_final) for d in decisions] == [
        ("relabel", None, "B"),
        ("drop", None, "C"),
    ]


def test_a_failed_call_is_set_aside_where_the_row_is_not_sure_without_it() -> None:
    failed = [Answer(f"r{i}", "direct", "timed out", None, finish="error") for i in range(2)]
    decisions = run([("A", (0.97, 0.02, 0.01)), ("A", (0.5, 0.3, 0.2)), ("A", (0.5, 0.3, 0.2))], config(), failed)
    assert [d.decision for d in decisions] == ["keep", "review", "drop"]
    assert "run again to ask it: timed out" in decisions[1].reason
    assert decisions[1].votes == {"direct": None}


def test_labels_stay_where_nothing_is_identified() -> None:
    rows = [("A", (0.01, 0.98, 0.01)), ("z", (0.3, 0.3, 0.4)), (None, (0.0, 1.0, 0.0))]
    decisions = run(rows, config(), identified=False)
    assert [d.decision for d in decisions] == ["keep", "keep", "drop"]
    assert [d.response_final for d in decisions[:2]] == ["A", "z"]
    assert [d.confidence for d in decisions[:2]] == [0.01, 0.4]
    assert decisions[0].reason == "why r0; labels stay, since nothing is identified"
    assert [d.decision for d in run(rows, config(review=1), identified=False)] == ["keep", "keep", "review"]


def test_equal_answers_to_an_open_question_are_the_response_as_given() -> None:
    examples = [example("a", "$1,250.00", ()), example("b", "$7.50", ())]
    beliefs = [Belief("a", ("1250.0001", "12"), (0.97, 0.01)), Belief("b", ("7.5", "12"), (0.01, 0.97))]
    decisions = decide(examples, beliefs, config(), task=NUMBER)
    assert [(d.decision, d.response_final) for d in decisions] == [("keep", "$1,250.00"), ("relabel", "$12")]


def test_an_answer_that_nobody_gave_is_never_trained_on_and_makes_no_room_for_others() -> None:
    # of the first row another answer is all but sure: its confidence is that of its best candidate
    examples = [example("a", "7", ()), example("b", "7", ()), example("c", None, ())]
    beliefs = [Belief("a", ("7",), (0.03,)), Belief("b", ("7", "8"), (0.8, 0.1)), Belief("c", (), ())]
    decisions = decide(examples, beliefs, config(0.85), task=NUMBER)
    assert [d.decision for d in decisions] == ["drop", "drop", "drop"]
    assert [d.confidence for d in decisions] == pytest.approx([0.03, 0.8, 0.0])
    assert [d.response_final for d in decisions] == ["7", "7", None]
    assert decisions[2].reason == "why c; another answer at 0.00 is too unsure for a target of 0.85"
    decisions = decide(examples, beliefs, config(0.8), task=NUMBER)
    assert [d.decision for d in decisions] == ["drop", "keep", "drop"]


shares = st.lists(st.floats(0.0, 1.0), min_size=0, max_size=4)


@st.composite
def open_rows(draw: st.DrawFn) -> list[tuple[Example, Belief]]:
    rows = []
    for i in range(draw(st.integers(1, 12))):
        weights = draw(shares)
        rest = draw(st.floats(0.0, 1.0))
        total = sum(weights) + rest or 1.0
        candidates = tuple(str(k) for k in range(len(weights)))
        given = draw(st.none() | st.sampled_from(candidates)) if candidates else None
        rows.append((example(f"r{i}", given, ()), Belief(f"r{i}", candidates, tuple(w / total for w in weights))))
    return rows


@settings(max_examples=60)
@given(open_rows(), st.floats(0.5, 1.0), st.integers(0, 4), st.booleans())
def test_every_row_ends_in_one_decision_and_what_is_trained_on_meets_the_target(
    rows: list[tuple[Example, Belief]], target: float, review: int, identified: bool
) -> None:
    examples, beliefs = zip(*rows, strict=True)
    decisions = decide(examples, beliefs, config(target, review), identified=identified, task=NUMBER)
    assert [d.id for d in decisions] == [e.id for e in examples]
    trained: list[float] = []
    for example_, belief, decision in zip(examples, beliefs, decisions, strict=True):
        assert (decision.decision == "keep") <= (decision.response_final == example_.response)
        if decision.decision in {"keep", "relabel"}:
            assert decision.response_final in belief.candidates
            assert decision.confidence == belief.probs[belief.candidates.index(decision.response_final)]
            trained.append(decision.confidence)
        if not identified:
            assert (decision.decision == "keep") == (example_.response is not None)
    assert not identified or not trained or sum(trained) / len(trained) >= target - 1e-9
    aside = [d for d in decisions if d.decision == "review"]
    assert len(aside) == min(review, len(decisions) - len(trained))
    dropped = [d.confidence for d in decisions if d.decision == "drop"]
    assert not aside or not dropped or min(d.confidence for d in aside) >= max(dropped)
