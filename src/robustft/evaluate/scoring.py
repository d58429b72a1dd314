"""Models asked about held-out rows, and what their answers come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustft.config import Config
from robustft.engine.local import Progress, run_all
from robustft.errors import ModelError
from robustft.evaluate.accuracy import Flags, share
from robustft.evaluate.held_out import Question, settings_of
from robustft.llm import asking
from robustft.llm.client import LLM, Sampling, Tag
from robustft.records import Answer
from robustft.tasks.task import READINGS, Reading, Task


@dataclass(frozen=True, slots=True)
class Result:
    """What a model said of a held-out row: `values` by each reading (None: it abstained), and the true value.

    `probs`: over the row's options, where answers are scored.
    """

    id: str
    model: str
    text: str
    truth: str
    values: Mapping[Reading, str | None]
    probs: tuple[float, ...] | None = None


async def ask(
    questions: Sequence[Question],
    name: str,
    llm: LLM,
    task: Task,
    config: Config,
    progress: Progress,
) -> list[Result]:
    """Return the answers of the model that is called `name`, in the questions' order; `config.llm` describes it.

    Raises ModelError where a call failed for good: a row that couldn't be asked is neither right nor wrong.
    """
    settings = settings_of(config)
    sampling = Sampling(temperature=settings.temperature, max_tokens=settings.max_tokens, seed=config.seed)

    async def ask_one(question: Question) -> Result:
        tag = Tag(question.example.id, name)
        if question.candidates:
            scores = await llm.score(question.messages, question.candidates, tag)
            logits = np.array(scores.logprobs)
            said = asking.scored(question.example, name, logits, scores.usage.prompt_tokens)
            return _result(question, said, dict.fromkeys(READINGS, said.value))
        completion = await llm.complete(question.messages, sampling, tag)
        read = {reading: asking.read(completion, task, question.example, name, reading) for reading in READINGS}
        return _result(question, read["strict"], {reading: said.value for reading, said in read.items()})

    progress.start(f"ask {name}", len(questions))
    found: list[Result | ModelError] = []
    await run_all(ask_one, questions, config.llm.rows_at_once, lambda _, result: found.append(result), progress)
    progress.finish()
    results = [result for result in found if isinstance(result, Result)]
    if errors := [error for error in found if isinstance(error, ModelError)]:
        raise ModelError(
            f"evaluate: {len(errors)} of {len(questions)} calls to '{name}' failed, the first: {errors[0]}; "
            "run the same command again to ask these once more"
        )
    return results


def right(results: Sequence[Result], task: Task, reading: Reading) -> Flags:
    """Return which answers (N,) agree with the truth by this reading; an abstention does not."""
    return np.array([_agrees(result.values[reading], result.truth, task) for result in results], dtype=bool)


def figures(results: Sequence[Result], task: Task, config: Config) -> dict[str, Any]:
    """Return n, accuracy, ci95 (Wilson) and abstentions by the config's reading, and by both where text is read."""
    answers = settings_of(config).answers
    facts = _read(results, task, config.task.reading) | {"answers": answers}
    if answers == "scored":
        return facts
    return facts | {other: _read(results, task, other) for other in READINGS}


def _read(results: Sequence[Result], task: Task, reading: Reading) -> dict[str, Any]:
    found = share(right(results, task, reading))
    return {
        "n": found["n"],
        "accuracy": found["value"],
        "ci95": found["ci95"],
        "abstentions": sum(result.values[reading] is None for result in results),
    }


def _result(question: Question, said: Answer, values: Mapping[Reading, str | None]) -> Result:
    probs = said.probs if question.candidates else None
    return Result(question.example.id, said.expert, said.text, question.truth, values, probs)


def _agrees(value: str | None, truth: str, task: Task) -> bool:
    return value is not None and task.agree(value, truth)
