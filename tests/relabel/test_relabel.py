from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from robustft.llm.client import Completion, Sampling, Scores, Tag
from robustft.loading import make_config
from robustft.records import Answer, Example, Message, Relabel, Verdict
from robustft.relabel.relabel import ask, propose
from robustft.tasks import make_task
from robustft.work import Work
from support import Angles, Notes, stored

OPTIONS = ("negative", "neutral", "positive")


class Fake:
    """Answers every question with B, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: dict[tuple[str, str], Sequence[Message]] = {}
        self.identity: dict[str, object] = {}

    async def complete(self, messages: Sequence[Message], sampling: Sampling, tag: Tag | None = None) -> Completion:
        assert tag is not None
        self.asked[tag] = messages
        return Completion("Answer: B", ("Answer", ":", " B"), (-0.1, -0.1, -0.4), ({}, {}, {" B": -0.4}))

    async def score(self, messages: Sequence[Message], candidates: Sequence[str], tag: Tag | None = None) -> Scores:
        assert tag is not None
        self.asked[tag] = messages
        return Scores((-3.0, -1.0, -2.0), (1, 1, 1))

    async def aclose(self) -> None: ...


async def run(
    clean: Sequence[int], noisy: Sequence[int], **sections: Any
) -> tuple[list[Answer], list[Relabel], Fake, Notes]:
    config = make_config({"method": "paper", "task": {"instruction": "Mood?"}, **sections})
    examples = [
        Example(f"r{angle}", (Message(role="user", content=f"at {angle}"),), "A", OPTIONS) for angle in (*clean, *noisy)
    ]
    verdicts = [Verdict(e.id, i >= len(clean), 1.0, "") for i, e in enumerate(examples)]
    said = [stored(Answer, [Answer(e.id, "direct", "Answer: C", "C") for e in examples])]
    llm, notes = Fake(), Notes()

    async def open_llm() -> Fake:
        return llm

    async def open_embedder() -> Angles:
        return Angles()

    work = Work(examples, config, make_task(config.task), open_llm, open_embedder, notes)
    found = await ask(work, said, verdicts)
    proposals = propose(examples, [*said, *found.said], verdicts, None, found.shown, config, work.task)
    return [answer for part in found.said for answer in part], list(proposals), llm, notes


async def test_the_three_nearest_clean_rows_are_the_context() -> None:
    answers, proposals, llm, notes = await run(clean=[0, 30, 60, 90, 150], noisy=[70, 140])
    assert [p.context_ids for p in proposals] == [("r90", "r30", "r0"), ("r90", "r60", "r30")]
    assert [(a.id, a.expert) for a in answers] == [(r, e) for e in ("context", "review") for r in ("r70", "r140")]
    assert proposals[0].response == "B"
    assert proposals[0].nll == pytest.approx(0.2)
    shown = llm.asked["r70", "context"][-1]["content"]
    assert shown.count("Answer: A") == 3
    assert "at 150" not in shown
    review = llm.asked["r70", "review"][-1]["content"]
    assert "First reader: B\nSecond reader: C" in review
    assert notes.lines == []


async def test_too_few_clean_rows_are_used_and_said() -> None:
    _, proposals, llm, notes = await run(clean=[0], noisy=[90])
    assert proposals[0].context_ids == ("r0",)
    assert notes.lines == ["1 rows have fewer than 3 clean neighbours (1 rows are clean in all)"]
    _, proposals, llm, notes = await run(clean=[], noisy=[90])
    assert proposals[0].context_ids == ()
    assert proposals[0].response == "B"
    assert "without context" in proposals[0].reason
    assert notes.lines == ["no row was found clean: context answers are asked without examples"]
    assert llm.asked["r90", "context"][-1]["content"].startswith("Mood?")


async def test_scored_answers_show_their_examples_as_turns() -> None:
    answers, proposals, llm, _ = await run(clean=[0, 90], noisy=[40], paper={"answers": "scored"})
    turns = llm.asked["r40", "context"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant", "user"]
    assert turns[1]["content"] == turns[3]["content"] == "negative"
    assert turns[2]["content"] == "Mood?\n\nat 0"  # the nearest stands next to the question
    assert "First reader: neutral\nSecond reader: positive" in llm.asked["r40", "review"][-1]["content"]
    assert [a.value for a in answers] == ["B", "B"]
    assert proposals[0].response == "B"


@pytest.mark.parametrize("method", ["self-select", "none"])
async def test_methods_without_relabelling_say_so(method: str) -> None:
    answers, proposals, llm, _ = await run(clean=[0], noisy=[90], method=method)
    assert (answers, proposals[0].response, llm.asked) == ([], None, {})
    assert method in proposals[0].reason


async def test_self_label_proposes_the_experts_own_answer() -> None:
    _, proposals, llm, _ = await run(clean=[0], noisy=[90], method="self-label")
    assert (proposals[0].response, llm.asked) == ("C", {})
