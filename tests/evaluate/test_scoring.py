from __future__ import annotations

from collections.abc import Sequence

import pytest

from robustft.config import TaskConfig
from robustft.engine.local import Silent
from robustft.errors import ModelError
from robustft.evaluate.held_out import Question
from robustft.evaluate.scoring import ask, figures, right
from robustft.llm.client import Completion, Sampling, Scores, Tag
from robustft.loading import make_config
from robustft.records import Example, Message
from robustft.tasks import make_task

TASK = make_task(TaskConfig())
OPTIONS = ("negative", "neutral", "positive")
SAID = ("Answer: B", "I'd say **B**", "no idea", "Answer: A")


class Speaker:
    """Writes what stands in SAID, row by row; scores B best. `broken` rows can't be reached."""

    def __init__(self, broken: Sequence[str] = ()) -> None:
        self.broken, self.samplings = broken, list[Sampling]()
        self.identity: dict[str, object] = {}

    async def complete(self, messages: Sequence[Message], sampling: Sampling, tag: Tag | None = None) -> Completion:
        self.samplings.append(sampling)
        row = messages[-1]["content"]
        if row in self.broken:
            raise ModelError(f"the server hung up on {row}")
        return Completion(SAID[int(row)])

    async def score(self, messages: Sequence[Message], candidates: Sequence[str], tag: Tag | None = None) -> Scores:
        return Scores(
            tuple(0.0 if candidate == "neutral" else -1.0 for candidate in candidates), (1,) * len(candidates)
        )

    async def aclose(self) -> None: ...


def questions(candidates: tuple[str, ...] = ()) -> list[Question]:
    asked = [(Message(role="user", content=str(i)),) for i in range(len(SAID))]
    return [Question(Example(f"h{i}", turns, "B", OPTIONS), turns, candidates, "B") for i, turns in enumerate(asked)]


async def test_written_answers_are_read_strictly_and_tolerantly_and_silence_is_counted() -> None:
    settings = make_config({"llm": {"backend": "scripted"}, "evaluate": {"path": "t.csv", "temperature": 0.5}})
    llm = Speaker()
    results = await ask(questions(), "base", llm, TASK, settings, Silent())
    assert [r.text for r in results] == list(SAID)
    assert right(results, TASK, "strict").tolist() == [True, False, False, False]
    assert right(results, TASK, "tolerant").tolist() == [True, True, False, False]
    found = figures(results, TASK, settings)
    assert (found["strict"]["accuracy"], found["strict"]["abstentions"]) == (0.25, 2)
    assert (found["tolerant"]["accuracy"], found["tolerant"]["abstentions"]) == (0.5, 1)
    assert (found["accuracy"], found["answers"]) == (0.5, "generated")
    assert {sampling.temperature for sampling in llm.samplings} == {0.5}


async def test_scored_answers_have_probabilities_and_no_readings() -> None:
    settings = make_config({"llm": {"backend": "scripted"}, "evaluate": {"path": "t.csv", "answers": "scored"}})
    results = await ask(questions(OPTIONS), "base", Speaker(), TASK, settings, Silent())
    assert right(results, TASK, "tolerant").all()
    assert results[0].probs == pytest.approx((0.2119, 0.5761, 0.2119), abs=1e-4)
    assert figures(results, TASK, settings).keys() == {"n", "accuracy", "ci95", "abstentions", "answers"}


async def test_a_row_that_could_not_be_asked_is_neither_right_nor_wrong() -> None:
    settings = make_config({"llm": {"backend": "scripted"}, "evaluate": {"path": "t.csv"}})
    with pytest.raises(ModelError, match="2 of 4 calls to 'base' failed, the first: the server hung up on 1"):
        await ask(questions(), "base", Speaker(["1", "3"]), TASK, settings, Silent())
