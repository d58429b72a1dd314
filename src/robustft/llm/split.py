"""Scores asked one candidate at a time, for endpoints, to which each candidate is a request of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from robustft.llm.client import LLM, Completion, Sampling, Scores, Tag, Usage
from robustft.records import Message


class SplitScores:
    """Wraps a ledgered endpoint, so that the ledger keeps each candidate and `Calls` counts each request on the wire.

    A run that is killed between two candidates of a row then loses only the one in flight.
    """

    def __init__(self, llm: LLM) -> None:
        self._llm = llm

    @property
    def identity(self) -> Mapping[str, object]:
        """What distinguishes its answers from another model's."""
        return self._llm.identity

    async def complete(self, messages: Sequence[Message], sampling: Sampling, tag: Tag | None = None) -> Completion:
        """Return one completion. Raises ModelError."""
        return await self._llm.complete(messages, sampling, tag)

    async def score(self, messages: Sequence[Message], candidates: Sequence[str], tag: Tag | None = None) -> Scores:
        """Score the candidates at once, each in a call of its own. Raises ModelError."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._llm.score(messages, [candidate], tag)) for candidate in candidates]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        scores = [task.result() for task in tasks]
        return Scores(
            logprobs=tuple(score.logprobs[0] for score in scores),
            tokens=tuple(score.tokens[0] for score in scores),
            usage=Usage(
                sum(score.usage.prompt_tokens for score in scores),
                sum(score.usage.completion_tokens for score in scores),
            ),
        )

    async def aclose(self) -> None:
        """Close the model."""
        await self._llm.aclose()
