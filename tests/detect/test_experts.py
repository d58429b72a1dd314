from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from robustft.detect.detect import make_panel
from robustft.detect.experts import make_experts
from robustft.errors import ConfigError, ModelError
from robustft.llm.asking import batch_corrected
from robustft.llm.client import Completion, Sampling, Scores, Tag, Usage
from robustft.loading import make_config
from robustft.records import Answer, Example, Message
from robustft.tasks import make_task

OPTIONS = ("negative", "neutral", "positive")
EXAMPLE = Example("x", (Message(role="user", content="Profit rose."),), "A", OPTIONS, "C", {"gt": "C"})


class Fake:
    """Says what it is told to, and keeps what it was asked."""

    def __init__(self, *texts: str, scores: Sequence[float] = (0.0, 0.0, 0.0), blank: Sequence[float] = ()) -> None:
        self.texts, self.scores, self.blank = list(texts), tuple(scores), tuple(blank)
        self.asked: list[list[Message]] = []
        self.samplings: list[Sampling] = []
        self.identity: dict[str, object] = {}

    async def complete(self, messages: Sequence[Message], sampling: Sampling, tag: Tag | None = None) -> Completion:
        self.asked.append(list(messages))
        self.samplings.append(sampling)
        return Completion(self.texts.pop(0), usage=Usage(10, 5))

    async def score(self, messages: Sequence[Message], candidates: Sequence[str], tag: Tag | None = None) -> Scores:
        self.asked.append(list(messages))
        logprobs = self.scores if "Profit" in messages[-1]["content"] else self.blank
        return Scores(logprobs, (1, 2, 4), Usage(7, 0))

    async def aclose(self) -> None: ...


def experts(*names: str, **sections: Any) -> list[Any]:
    tree = {"method": "paper", "task": {"instruction": "Mood?"}, "experts": names} | sections
    config = make_config(tree)
    return list(make_experts(config, make_task(config.task)))


async def test_direct_asks_once_and_shows_the_options() -> None:
    llm = Fake("Answer: C")
    answer = await experts("direct")[0].answer(EXAMPLE, llm)
    assert (answer.expert, answer.value, answer.tokens_in, answer.tokens_out) == ("direct", "C", 10, 5)
    asked = llm.asked[0][-1]["content"]
    assert asked.startswith("Mood?\n\nProfit rose.\n\nA. negative")
    assert "Answer: the capital letter" in asked


@pytest.mark.parametrize(
    ("changes", "choices"),
    [
        ({"method": "posterior"}, (" A", " B", " C")),
        ({"method": "posterior", "prompts": {"direct": "{question} {answer_form}"}}, ()),
        ({"method": "posterior", "task": {"kind": "short"}}, ()),
        ({"method": "paper"}, ()),
    ],
    ids=["posterior", "prompt of one's own", "no options", "paper"],
)
async def test_direct_asks_for_a_letter_where_only_probabilities_count(changes: Any, choices: tuple[str, ...]) -> None:
    llm = Fake("Answer: C")
    await experts("direct", **changes)[0].answer(EXAMPLE, llm)
    assert [sampling.choices for sampling in llm.samplings] == [choices]
    assert [sampling.prefix for sampling in llm.samplings] == ["Answer:" if choices else ""]


async def test_reasoning_revises_in_rounds_and_adds_up_its_tokens() -> None:
    llm = Fake("Sales. Answer: A", "On reflection. Answer: B", "Surely. Answer: C")
    answer = await experts("reasoning", paper={"rounds": 3})[0].answer(EXAMPLE, llm)
    assert (answer.value, answer.tokens_in, answer.tokens_out) == ("C", 30, 15)
    assert [len(messages) for messages in llm.asked] == [1, 3, 5]
    assert llm.asked[2][3]["content"] == "On reflection. Answer: B"


@pytest.mark.parametrize(("variant", "rounds"), [("released", 1), ("published", 3)])
async def test_the_variant_says_how_many_rounds(variant: str, rounds: int) -> None:
    llm = Fake(*["Answer: A"] * rounds)
    await experts("reasoning", paper={"variant": variant})[0].answer(EXAMPLE, llm)
    assert len(llm.asked) == rounds


async def test_likelihood_scores_the_texts_without_listing_them() -> None:
    llm = Fake(scores=(-1.0, -3.0, -2.0))
    answer = await experts("likelihood")[0].answer(EXAMPLE, llm)
    assert (answer.value, answer.text) == ("A", "negative")
    assert answer.probs is not None
    assert answer.probs[0] / answer.probs[2] == pytest.approx(math.e)
    assert llm.asked[0][-1]["content"] == "Mood?\n\nProfit rose."


async def test_likelihood_can_be_normalised_and_corrected() -> None:
    scores, blank = (-1.0, -3.0, -2.0), (-0.5, -2.9, -3.0)
    normalised = await experts("likelihood", likelihood={"normalise": True})[0].answer(EXAMPLE, Fake(scores=scores))
    assert normalised.value == "C"  # -2 over four tokens
    corrected = await experts("likelihood", likelihood={"prior": "blank"})[0].answer(
        EXAMPLE, Fake(scores=scores, blank=blank)
    )
    assert corrected.value == "C"  # the only one that the question makes likelier
    assert corrected.tokens_in == 14


async def test_a_row_without_options_is_asked_in_words_and_not_scored() -> None:
    open_row, llm = replace(EXAMPLE, options=()), Fake("Answer: C")
    direct, likelihood = experts("direct", "likelihood", method="posterior")
    assert (await direct.answer(open_row, llm)).value == "C"
    assert llm.samplings[0].choices == ()
    assert llm.samplings[0].prefix == ""
    silent = await likelihood.answer(open_row, llm)
    assert (silent.value, silent.probs, len(llm.asked)) == (None, None, 1)


def test_likelihood_needs_options() -> None:
    with pytest.raises(ConfigError, match="likelihood scores options, and a 'number' task has none"):
        experts("likelihood", task={"kind": "number"})


def test_batch_correction_takes_away_what_all_rows_share() -> None:
    rows = [Example(str(i), EXAMPLE.messages, None, OPTIONS) for i in range(3)]
    probs = [(0.8, 0.1, 0.1), (0.7, 0.2, 0.1), (0.7, 0.1, 0.2)]
    answers = [Answer(r.id, "likelihood", "negative", "A", 0.1, p) for r, p in zip(rows, probs, strict=True)]
    assert [answer.value for answer in batch_corrected(answers, rows)] == ["A", "B", "C"]
    alone = Example("alone", EXAMPLE.messages, None, ("yes", "no"))
    lonely = Answer("alone", "likelihood", "yes", "A", 0.1, (0.9, 0.1))
    silent = Answer("3", "likelihood", "", None)
    assert list(batch_corrected([lonely, silent], [alone, rows[0]])) == [lonely, silent]


async def test_the_agent_reads_what_the_others_said_and_a_panel_survives_one_failure() -> None:
    config = make_config({"method": "paper", "experts": ["direct", "agent"], "task": {"instruction": "Mood?"}})
    panel = make_panel(config, make_task(config.task))
    llm = Fake("Since it rose. Answer: C", "Wrong: Y")
    direct, agent = await panel.answer(EXAMPLE, llm)
    assert (direct.value, agent.value) == ("C", "Y")
    asked = llm.asked[1][-1]["content"]
    assert "Given answer: A" in asked
    assert "- direct: Since it rose. Answer: C" in asked

    class Broken(Fake):
        async def complete(self, messages: Sequence[Message], sampling: Sampling, tag: Tag | None = None) -> Completion:
            if tag is not None and tag.expert == "direct":
                raise ModelError("timed out")
            return await super().complete(messages, sampling, tag)

    direct, agent = await panel.answer(EXAMPLE, Broken("Wrong: N"))
    assert (direct.value, direct.finish, agent.value) == (None, "error", "N")


async def test_a_row_in_which_every_call_failed_counts_against_the_endpoint() -> None:
    class Gone(Fake):
        async def complete(self, messages: Sequence[Message], sampling: Sampling, tag: Tag | None = None) -> Completion:
            raise ModelError("timed out")

    config = make_config({"method": "paper", "experts": ["direct", "reasoning"]})
    with pytest.raises(ModelError, match="timed out"):
        await make_panel(config, make_task(config.task)).answer(EXAMPLE, Gone())
