from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.config import TaskConfig
from robustft.detect.checker import AGENT, SELF_SELECT, Judge, judged, read_yes_no, unanimous, verdict
from robustft.llm.client import Completion, Sampling, Scores, Tag, Usage
from robustft.prompts import Prompt
from robustft.records import Answer, Example, Message
from robustft.tasks import make_task

TASK = make_task(TaskConfig(kind="choice"))
VOTE = st.none() | st.sampled_from("ABC")


def example(response: str | None) -> Example:
    return Example("x", (Message(role="user", content="?"),), response, ("a", "b", "c"))


def answers(**votes: str | None) -> list[Answer]:
    return [Answer("x", expert.replace("_", "-"), "", value) for expert, value in votes.items()]


class Telling:
    """A model that says one thing, and keeps what it was asked."""

    identity: Mapping[str, object] = {}

    def __init__(self, completion: Completion) -> None:
        self.completion, self.asked = completion, list[tuple[list[Message], Sampling, Tag | None]]()

    async def complete(self, messages: Sequence[Message], sampling: Sampling, tag: Tag | None = None) -> Completion:
        self.asked.append((list(messages), sampling, tag))
        return self.completion

    async def score(self, messages: Sequence[Message], candidates: Sequence[str], tag: Tag | None = None) -> Scores:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Nothing to release."""


@given(st.sampled_from("ABC"), st.lists(VOTE, min_size=1, max_size=4))
def test_clean_only_where_every_expert_says_the_given_response(given: str, votes: list[str | None]) -> None:
    said = [Answer("x", f"e{i}", "", vote) for i, vote in enumerate(votes)]
    noisy, confidence, _ = unanimous(given, said, TASK)
    assert noisy == (not all(vote == given for vote in votes))
    assert 0.0 <= confidence <= 1.0


def test_an_abstention_confirms_nothing_and_contradicts_nothing() -> None:
    noisy, confidence, reason = unanimous("A", answers(direct="A", reasoning=None), TASK)
    assert (noisy, confidence) == (True, 0.0)
    assert reason == "not unanimous: reasoning gave no answer"


def test_the_reason_names_who_says_what() -> None:
    assert unanimous("A", answers(direct="A", reasoning="A"), TASK) == (
        False,
        1.0,
        "all of direct, reasoning agree with the given response",
    )
    assert unanimous("A", answers(direct="B", reasoning="A", context=None, probe="C"), TASK) == (
        True,
        0.5,
        "not unanimous: direct says B, probe says C, context gave no answer",
    )
    assert unanimous(None, answers(direct="A"), TASK) == (True, 1.0, "no response given")


def test_a_judge_is_quoted() -> None:
    said = answers(self_select="Y")[0]
    assert judged(said, [], "A", TASK) == (True, 1.0, "self-select says wrong")
    assert judged(answers(agent="N")[0], answers(direct="B"), "A", TASK) == (False, 1.0, "agent says right")
    assert judged(answers(agent=None)[0], [], "A", TASK) == (
        False,
        0.0,
        "agent gave no answer, so the response stays",
    )
    assert judged(answers(agent=None)[0], answers(direct="B"), "A", TASK) == (
        True,
        1.0,
        "not unanimous: direct says B",
    )


def test_a_row_that_nobody_was_asked_about_stays() -> None:
    found = verdict(example("A"), [], TASK)
    assert (found.id, found.noisy, found.confidence, found.reason) == ("x", False, 0.0, "nobody was asked")
    found = verdict(example("A"), answers(direct="B"), TASK)
    assert (found.id, found.noisy, found.confidence, found.reason) == ("x", True, 1.0, "not unanimous: direct says B")


def test_the_last_judge_counts() -> None:
    assert verdict(example("A"), [*answers(agent="N"), *answers(self_select="Y")], TASK).noisy


@pytest.mark.parametrize(
    ("prompt", "name", "shown"),
    [
        (AGENT, "agent", "- direct: because\nA\n- reasoning: (nothing)"),
        (SELF_SELECT, "self-select", None),
    ],
)
async def test_a_judge_is_shown_the_row_and_what_others_said(prompt: Prompt, name: str, shown: str | None) -> None:
    llm = Telling(Completion("Wrong: Y", reasoning="hm", finish="length", usage=Usage(7, 3)))
    sampling = Sampling(temperature=0.5, max_tokens=9)
    system = Message(role="system", content="Be brief.")
    row = Example("x", (system, Message(role="user", content="Up?")), "no", ("no", "yes"))
    others = [Answer("x", "direct", "A ", "A", reasoning="because"), Answer("x", "reasoning", " ", None)]
    said = await Judge(TASK, sampling, prompt, name).answer(row, others, llm)
    ((messages, asked_with, tag),) = llm.asked
    question = {"question": "Up?\n\nA. no\nB. yes", "given": "no"}
    content = prompt.fill(**question, answers=shown) if shown else prompt.fill(**question)
    assert messages == [system, Message(role="user", content=content)]
    assert (asked_with, tag) == (sampling, Tag("x", name))
    assert said == Answer("x", name, "Wrong: Y", "Y", reasoning="hm", finish="length", tokens_in=7, tokens_out=3)
    unanswered = Example("x", (), None, ("no", "yes"))
    await Judge(TASK, sampling, SELF_SELECT, name).answer(unanswered, [], llm)
    assert "Given answer: \n" in llm.asked[1][0][0]["content"]


def test_a_row_with_no_response_is_noisy_whoever_says_what() -> None:
    assert verdict(example(None), [], TASK).noisy
    assert verdict(example(None), answers(direct="A", agent="N"), TASK).noisy


@pytest.mark.parametrize(
    ("said", "noisy"),
    [
        (answers(direct="B", agent="N"), False),
        (answers(direct="A", agent="Y"), True),
        (answers(direct="A", agent=None), False),  # an unreadable agent: unanimity decides
        (answers(direct="B", agent=None), True),
        (answers(self_select="Y"), True),
        (answers(self_select=None), False),  # nobody said that it is wrong
        ([], False),
    ],
)
def test_the_judge_decides_where_it_can_be_read(said: list[Answer], noisy: bool) -> None:
    assert verdict(example("A"), said, TASK).noisy == noisy


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Wrong: Y", "Y"),
        ("wrong: **no**", "N"),
        ("N", "N"),
        ("Yes, because the sentence is positive.", "Y"),
        ("I looked at it.\nWrong: N", "N"),
        ("Wrong: Y\nWrong: N", None),
        ("Nothing speaks against it", None),
        ("", None),
    ],
)
def test_a_judge_is_read_or_not(text: str, value: str | None) -> None:
    assert read_yes_no(text) == value
