from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from robustft.config import Config, TaskConfig
from robustft.detect.experts import make_experts
from robustft.engine.local import Silent
from robustft.fusion.fuse import Fused, fuse, pilot
from robustft.fusion.verdicts import Believed, beliefs_of
from robustft.fusion.views import Rows, views_of
from robustft.llm.client import Completion, Sampling, Scores, Tag
from robustft.llm.scripted import ScriptedLLM, simulated_rows
from robustft.loading import make_config
from robustft.records import Answer, Belief, Example, Message, Relabel
from robustft.relabel.relabel import ask, propose
from robustft.tasks import make_task
from robustft.work import Work
from support import Angles, stored

OPTIONS = ("negative", "neutral", "positive")
TASK = make_task(TaskConfig(kind="choice", instruction="Mood?"))


class Asked:
    """A model that keeps what it was asked."""

    def __init__(self, inner: ScriptedLLM) -> None:
        self.inner = inner
        self.asked: dict[tuple[str, str], str] = {}

    @property
    def identity(self) -> dict[str, object]:
        return self.inner.identity

    async def complete(self, messages: Sequence[Message], sampling: Sampling, tag: Tag | None = None) -> Completion:
        assert tag is not None
        assert (tag.row, tag.expert) not in self.asked
        self.asked[tag.row, tag.expert] = messages[-1]["content"]
        return await self.inner.complete(messages, sampling, tag)

    async def score(self, messages: Sequence[Message], candidates: Sequence[str], tag: Tag | None = None) -> Scores:
        raise AssertionError("nothing is scored here")

    async def aclose(self) -> None: ...


def moods(n: int = 200) -> list[Example]:
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=n)
    given = np.where(rng.random(n) < 0.3, (truth + rng.integers(1, 3, size=n)) % 3, truth)
    angles = 360 * rng.random(n)
    return [
        Example(f"r{i}", (Message(role="user", content=f"{i} at {angle}"),), OPTIONS[g], OPTIONS, truth=OPTIONS[t])
        for i, (t, g, angle) in enumerate(zip(truth.tolist(), given.tolist(), angles.tolist(), strict=True))
    ]


def config(accuracy: float, **posterior: Any) -> Config:
    return make_config(
        {
            "task": {"instruction": "Mood?"},
            "method": "posterior",
            "experts": ["direct", "context", "review"],
            "llm": {"backend": "scripted", "scripted": {"accuracy": accuracy}},
            "posterior": {"noise": "symmetric", "pilot": 50} | posterior,
        }
    )


@dataclass(frozen=True)
class Ran:
    """What one expert had said of the rows and what was believed then, what was asked further, and what came of it."""

    settings: Config
    examples: list[Example]
    before: Fused
    asked: dict[tuple[str, str], str]
    answers: list[Answer]
    relabels: list[Relabel]
    fused: Fused

    def ids(self, rows: np.ndarray) -> set[str]:
        return {self.examples[row].id for row in np.flatnonzero(rows)}


async def run(settings: Config) -> Ran:
    examples = moods()
    llm = Asked(ScriptedLLM(settings.llm.scripted, simulated_rows(examples, TASK)))

    async def open_llm() -> Asked:
        return llm

    async def open_embedder() -> Angles:
        return Angles()

    (direct,) = make_experts(settings, TASK)
    said = [stored(Answer, [await direct.answer(example, llm) for example in examples])]
    before = fuse(views_of(Rows.of(examples, TASK), said, ("direct",), TASK), settings)
    found = await ask(Work(examples, settings, TASK, open_llm, open_embedder, Silent()), said, [])
    assert found.fused is not None
    believed = Believed([*beliefs_of(examples, found.fused)], found.fused.identified)
    relabels = propose(examples, [*said, *found.said], [], believed, found.shown, settings, TASK)
    answers = [answer for part in found.said for answer in part]
    return Ran(settings, examples, before, llm.asked, answers, list(relabels), found.fused)


@pytest.fixture(scope="module")
def ran() -> Ran:
    return asyncio.run(run(config(0.8, budget=2.0)))


def test_context_and_review_are_asked_of_the_undecided_within_the_budget(ran: Ran) -> None:
    drawn = ran.ids(pilot(ran.before.views, ran.settings))
    sure = ran.ids(ran.before.choice.confidence >= ran.settings.target)
    context, review = ({a.id for a in ran.answers if a.expert == name} for name in ("context", "review"))
    assert 200 + len(ran.answers) == len(ran.asked) <= ran.settings.posterior.budget * 200
    assert drawn < context
    assert drawn <= review <= context
    assert sure
    assert not (context - drawn) & sure
    assert ran.fused.views.names == ("direct", "context", "review")
    assert ran.fused.views.calls.sum() == len(ran.asked)


def test_the_neighbours_are_sure_rows_with_the_answer_that_is_believed_of_them(ran: Ran) -> None:
    best = ran.before.choice
    sure = {ran.examples[row].id: OPTIONS[best.answer[row]] for row in np.flatnonzero(best.confidence >= 0.95)}
    given = {example.id: example.response for example in ran.examples}
    shown = set()
    for (asked, expert), prompt in ran.asked.items():
        if expert == "context":
            _, *blocks, _ = prompt.split("Mood?\n\n")
            assert len(blocks) == ran.settings.paper.neighbours
            for block in blocks:
                row = f"r{block.split()[0]}"
                assert row != asked
                assert f"Answer: {TASK.label(sure[row], OPTIONS)}\n" in block
                shown.add(row)
    assert any(sure[row] != given[row] for row in shown)


def test_proposals_name_the_neighbours_nearest_first(ran: Ran) -> None:
    angle = {example.id: float(example.asked.split()[-1]) for example in ran.examples}
    shown = [proposal for proposal in ran.relabels if proposal.context_ids]
    assert shown
    for proposal in ran.relabels:
        assert bool(proposal.context_ids) == ((proposal.id, "context") in ran.asked)
        away = [abs((angle[near] - angle[proposal.id] + 180) % 360 - 180) for near in proposal.context_ids]
        assert away == sorted(away)


def test_proposals_are_the_likeliest_answers_where_those_are_not_the_given_ones(ran: Ran) -> None:
    likeliest = ran.fused.probs.argmax(axis=1)
    changed = np.flatnonzero(likeliest != ran.fused.views.label).tolist()
    assert [proposal.id for proposal in ran.relabels] == [ran.examples[row].id for row in changed]
    assert [proposal.response for proposal in ran.relabels] == [OPTIONS[likeliest[row]] for row in changed]
    right = [ran.examples[row].truth == OPTIONS[likeliest[row]] for row in changed]
    assert np.mean(right) > 0.6


async def test_where_nothing_is_identified_the_pilot_is_asked_without_examples_and_nothing_is_proposed() -> None:
    ran = await run(config(0.34))
    assert not ran.fused.identified
    assert ran.relabels == []
    drawn = [ran.examples[row].id for row in np.flatnonzero(pilot(ran.before.views, ran.settings))]
    assert [answer.id for answer in ran.answers] == drawn * 2
    assert all(ran.asked[row, "context"].count("Mood?") == 1 for row in drawn)


def test_an_unlabelled_row_gets_a_proposal_and_a_row_as_given_none() -> None:
    examples, settings = moods(3), config(0.8)
    examples = [replace(e, response=given) for e, given in zip(examples, ("negative", "negative", None), strict=True)]
    probs = ((0.7, 0.2, 0.1), (0.1, 0.8, 0.1), (0.2, 0.1, 0.7))
    beliefs = [Belief(e.id, ("A", "B", "C"), own) for e, own in zip(examples, probs, strict=True)]

    def proposed(identified: bool) -> list[Relabel]:
        return list(propose(examples, [], [], Believed(beliefs, identified), {"r1": ("r2",)}, settings, TASK))

    found = [(p.id, p.response, p.context_ids) for p in proposed(identified=True)]
    assert found == [("r1", "neutral", ("r2",)), ("r2", "positive", ())]
    assert proposed(identified=False) == []
