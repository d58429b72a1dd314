from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustft.config import TaskConfig
from robustft.fusion.evidence import Evidence
from robustft.fusion.views import OPEN_ANSWERS, Rows, Views, views_of
from robustft.records import Answer, Example, Message
from robustft.tasks import make_task
from robustft.tasks.task import Task

CHOICE, NUMBER, SHORT = (make_task(TaskConfig(kind=kind)) for kind in ("choice", "number", "short"))
MOODS = ("negative", "neutral", "positive")
ORDER = ("probe", "direct", "reasoning", "context", "review")


def example(row: str, given: str | None = "A", options: Sequence[str] = MOODS) -> Example:
    return Example(row, (Message(role="user", content=f"{row}?"),), given, tuple(options))


def said(expert: str, value: str | None, nll: float | None = None, row: str = "a") -> Answer:
    return Answer(row, expert, "", value, nll)


def arranged(
    rows: Sequence[Example], answers: Sequence[Answer], task: Task = CHOICE, reviewed: Mapping[str, str] | None = None
) -> Views:
    return views_of(Rows.of(rows, task, reviewed), [answers], ORDER, task)


def of_one_row(*answers: Answer) -> Views:
    return arranged([example("a")], answers)


def test_probabilities_are_drawn_towards_uniform_by_the_mass_that_lay_on_no_option() -> None:
    whole = Answer("a", "direct", "", "B", 0.3, (0.1, 0.7, 0.2))
    part = Answer("a", "reasoning", "", "B", 0.3, (0.1, 0.7, 0.2), 0.6)
    views = of_one_row(whole, part)
    assert np.exp(views.logp[0, 0]) == pytest.approx([0.1, 0.7, 0.2])
    assert np.exp(views.logp[0, 1]) == pytest.approx([0.06 + 0.4 / 3, 0.42 + 0.4 / 3, 0.12 + 0.4 / 3])


def test_a_probability_of_zero_is_evidence_too() -> None:
    views = of_one_row(Answer("a", "direct", "", "B", 0.0, (0.0, 1.0, 0.0)))
    assert views.logp[0, 0].tolist() == [-np.inf, 0.0, -np.inf]


def test_a_vote_counts_by_how_sure_its_tokens_were() -> None:
    views = of_one_row(said("direct", "B"), said("reasoning", "B", nll=np.log(4)))
    assert np.exp(views.logp[0, 0]) == pytest.approx([0.5, 1.5, 0.5])
    assert np.exp(views.logp[0, 1]) == pytest.approx([0.5, 0.75, 0.5])


def test_several_samples_are_one_view_that_says_each_answer_as_often_as_it_was_drawn() -> None:
    views = of_one_row(said("direct", "B", 0.7), said("direct/2", "A", 0.1), said("direct/3", "B", 0.2))
    assert views.names == ("direct",)
    assert np.exp(views.logp[0, 0]) == pytest.approx([1.5, 2.5, 0.5])


@pytest.mark.parametrize("answer", [said("direct", None), Answer("a", "direct", "timeout", None, finish="error")])
def test_an_abstention_finds_all_options_alike_and_counts_as_asked(answer: Answer) -> None:
    views = of_one_row(answer)
    assert np.ptp(views.logp[0, 0]) == 0.0
    assert views.asked.tolist() == [[True]]


def test_a_view_that_was_not_asked_finds_all_options_alike() -> None:
    rows = [example("a"), example("b")]
    answers = [said("direct", "B"), said("direct", "C", row="b"), said("reasoning", "B")]
    views = arranged(rows, answers)
    assert views.asked.tolist() == [[True, True], [True, False]]
    assert np.ptp(views.logp[1, 1]) == 0.0
    assert np.ptp(views.logp[0, 1]) > 0.0


def test_views_come_in_the_order_of_asking_but_for_the_probe_and_judges_are_none() -> None:
    names = ("review", "probe", "agent", "direct", "self-select", "reasoning")
    views = of_one_row(*(said(name, "B") for name in names))
    assert views.names == ("direct", "reasoning", "review", "probe")
    assert views.calls.tolist() == [3]
    assert views.evidence([0, 1, 3]).families == (0, 0, 1)


def test_options_that_a_row_lacks_are_nan_and_options_that_differ_are_not_shared() -> None:
    rows = [example("a"), example("b", "B", ("yes", "no"))]
    probs = [Answer("a", "direct", "", "C", probs=(0.2, 0.2, 0.6)), Answer("b", "direct", "", "B", probs=(0.1, 0.9))]
    views = arranged(rows, [*probs, said("reasoning", "C")])
    assert views.candidates == (("A", "B", "C"), ("A", "B"))
    assert np.isnan(views.logp[1, :, 2]).all()
    assert np.isfinite(views.logp[:, :, :2]).all()
    assert np.exp(views.logp[1, 0, :2]) == pytest.approx([0.1, 0.9])
    assert views.evidence([0, 1]).counts.tolist() == [3, 2]
    assert not views.shared
    assert arranged(rows[:1], probs[:1]).shared


def test_labels_and_reviews_are_places_among_the_candidates() -> None:
    rows = [example("a", "positive"), example("b", None), example("c", "0")]
    views = arranged(rows, [said("direct", "A", row=row) for row in "abc"], reviewed={"b": "C", "c": "B"})
    assert views.label.tolist() == [2, -1, 0]
    assert views.reviewed.tolist() == [-1, 2, 1]


def test_the_candidates_of_an_open_question_are_the_different_answers_that_anybody_gave() -> None:
    rows = [example("a", "$1,250", ()), example("b", None, ()), example("c", "7", ())]
    answers = [
        said("direct", "1250.0"),
        said("reasoning", "12"),
        said("direct", "3", row="b"),
        said("reasoning", None, row="b"),
        said("agent", "Y", row="b"),
    ]
    views = arranged(rows, answers, NUMBER, {"c": "8", "a": "12.0"})
    assert views.candidates == (("1250", "12.0"), ("3",), ("7", "8"))
    assert views.label.tolist() == [0, -1, 0]
    assert views.reviewed.tolist() == [1, -1, 1]
    assert views.logp.shape == (3, 2, OPEN_ANSWERS)
    assert views.logp[0, 0].argmax() == 0
    assert views.logp[0, 1].argmax() == 1
    assert np.isfinite(views.logp).all()
    assert not views.shared


def test_there_is_always_room_for_an_answer_that_nobody_gave() -> None:
    rows = [example("a", "none of them", ())]
    names = [f"direct/{i}" for i in range(2, 20)]
    views = arranged(rows, [said("direct", "x"), *(said(name, name) for name in names)], SHORT)
    assert views.logp.shape[2] == len(views.candidates[0]) + 1 == len(names) + 3


options = st.sampled_from([MOODS, ("yes", "no"), ("1", "2", "3", "4")])


@st.composite
def rows_and_answers(draw: st.DrawFn) -> tuple[list[Example], list[Answer]]:
    rows, answers = [], []
    for i in range(draw(st.integers(1, 5))):
        texts = draw(options)
        place = st.none() | st.integers(0, len(texts) - 1).map("ABCD".__getitem__)
        rows.append(example(f"r{i}", draw(place), texts))
        # the first view is asked of every row
        for expert in ("direct", *draw(st.sets(st.sampled_from(["reasoning", "reasoning/2", "context", "probe"])))):
            weights = draw(st.none() | st.lists(st.floats(0.1, 1), min_size=len(texts), max_size=len(texts)))
            probs = None if weights is None else tuple(w / sum(weights) for w in weights)
            mass = draw(st.none() | st.floats(0.1, 1.0))
            answers.append(Answer(f"r{i}", expert, "", draw(place), draw(st.none() | st.floats(0, 9)), probs, mass))
    return rows, answers


@settings(max_examples=40)
@given(rows_and_answers())
def test_whatever_was_said_is_evidence(drawn: tuple[list[Example], list[Answer]]) -> None:
    rows, answers = drawn
    views = arranged(rows, answers)
    evidence = views.evidence(range(len(views.names)))
    assert isinstance(evidence, Evidence)
    assert evidence.counts.tolist() == [len(row.options) for row in rows]
    there = np.arange(views.logp.shape[2]) < evidence.counts[:, None]
    assert (np.isnan(views.logp) == ~there[:, None, :]).all()
    assert [views.label[i] >= 0 for i in range(len(rows))] == [row.response is not None for row in rows]
    asked = {(a.id, a.expert.partition("/")[0]) for a in answers}
    assert {(rows[i].id, views.names[v]) for i, v in np.argwhere(views.asked).tolist()} == asked
