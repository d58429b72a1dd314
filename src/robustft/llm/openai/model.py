"""Completions, scores and embeddings from any OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from robustft.config import LLMConfig
from robustft.errors import ModelError
from robustft.llm.client import Completion, Sampling, Scores, Tag, Usage
from robustft.llm.codec import request_key
from robustft.llm.openai.capabilities import Capabilities
from robustft.llm.openai.dialect import Dialect
from robustft.llm.openai.endpoint import Endpoint, RefusedError
from robustft.llm.openai.lane import UNKEPT, Lane, LiveLane
from robustft.llm.openai.pauses import Backoff
from robustft.llm.openai.replies import (
    PromptToken,
    candidate_length,
    chosen,
    read_completion,
    read_prompt,
    read_usage,
    spells,
)
from robustft.records import Message

Reply = TypeVar("Reply")

_BATCH = 128
_NO_SCORES = (
    "the likelihood expert needs a server with prompt_logprobs (vLLM), which {url} is not; "
    "leave 'likelihood' out of experts"
)
_SCORE_KEYS = re.compile(r"prompt_logprobs|continue_final_message|add_generation_prompt")
_log = logging.getLogger(__name__)


class OpenAILLM:
    """A model behind an OpenAI-compatible endpoint; implements `robustft.llm.client.LLM`.

    What is sent, how it is read and the identity are the same on every lane. What is `known` of the server is where it
    begins; refusals teach it the rest.
    """

    def __init__(self, lane: Lane, config: LLMConfig, known: Capabilities | None = None) -> None:
        self._lane = lane
        self._model = config.model
        self._extra = config.extra_body
        self._dialect = Dialect.of(config, known)

    @classmethod
    def open(cls, config: LLMConfig, backoff: Backoff | None = None) -> OpenAILLM:
        """Take the live lane: read address and key; the first call opens connections. Raises ConfigError."""
        return cls(LiveLane(Endpoint(config, backoff)), config)

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes its answers from another model's, for the ledger's key."""
        return {
            "backend": "openai",
            "base_url": self._lane.base_url,
            "model": self._model,
            "extra_body": self._extra,
        }

    async def complete(self, messages: Sequence[Message], sampling: Sampling, tag: Tag | None = None) -> Completion:
        """Return one completion; tokens and logprobs are None where the server gives none. Raises ModelError."""
        if not sampling.choices or not self._dialect.chooses:
            return await self._write(messages, replace(sampling, prefix="", choices=()))
        if (chosen := await self._choose(messages, sampling)) is not None:
            return chosen
        written = await self._write(messages, replace(sampling, prefix="", choices=()))
        if self._dialect.chooses:
            _log.warning("%s doesn't hold a reply to a list of choices; it is asked in words", self._lane.base_url)
            self._dialect = replace(self._dialect, chooses=False)
        return written

    async def _write(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        def body(dialect: Dialect) -> dict[str, Any]:
            return {"model": self._model, "messages": messages, **dialect.ask(sampling), **self._extra}

        name = partial(request_key, self.identity, "complete", messages, sampling=sampling)
        return await self._chat(body, read_completion, name)

    async def _choose(self, messages: Sequence[Message], sampling: Sampling) -> Completion | None:
        """Ask for one of the choices behind the prefix; None where the server refuses that, or heeds it not."""
        begun = [*messages, Message(role="assistant", content=sampling.prefix)]

        def body(dialect: Dialect) -> dict[str, Any]:
            constraint = {
                "add_generation_prompt": False,
                "continue_final_message": True,
                "structured_outputs": {"choice": list(sampling.choices)},
            }
            return {"model": self._model, "messages": begun, **dialect.ask(sampling), **constraint, **self._extra}

        name = partial(request_key, self.identity, "complete", messages, sampling=sampling)
        try:
            reply = await self._chat(body, read_completion, name)
        except RefusedError:
            return None
        return chosen(reply, sampling)

    async def score(self, messages: Sequence[Message], candidates: Sequence[str], tag: Tag | None = None) -> Scores:
        """Return log p of one candidate as the assistant's turn; `llm.split.SplitScores` asks for several so.

        Counts the candidate's own tokens, not the end of the turn. Raises ModelError, a fatal one where the server
        gives no prompt_logprobs; ValueError for more than one candidate, or none.
        """
        if len(candidates) != 1:
            raise ValueError(f"an endpoint scores one candidate a request, not {len(candidates)}: ask by SplitScores")
        if not candidates[0]:
            raise ModelError("an empty candidate has no tokens to score")
        tokens, usage = await self._candidate(messages, candidates[0])
        return Scores((math.fsum(token.logprob for token in tokens),), (len(tokens),), usage)

    async def aclose(self) -> None:
        """Close the lane."""
        await self._lane.aclose()

    async def _chat(
        self, body: Callable[[Dialect], dict[str, Any]], read: Callable[[Any], Reply], name: Callable[[], str]
    ) -> Reply:
        """Ask; where a parameter is refused ask again without, and keep to that for good if it helped."""
        dialect = known = self._dialect
        while True:
            try:
                reply = await self._lane.chat(body(dialect), read, name)
            except RefusedError as refusal:
                learned = dialect.learn(refusal.said)
                if learned is None:
                    raise
                dialect = learned
                continue
            if dialect is not known and dialect != self._dialect:
                _log.warning("%s refuses a parameter; from now on it is asked with %s", self._lane.base_url, dialect)
                self._dialect = dialect
            return reply

    async def _candidate(self, messages: Sequence[Message], candidate: str) -> tuple[Sequence[PromptToken], Usage]:
        """Return the candidate's tokens as the end of a prompt whose last turn is left open."""
        prompt, usage = await self._prompt(messages, candidate)
        length = candidate_length(prompt, candidate)
        if length is None:
            # older vLLM shows no text for parts of characters: count instead
            length = len(prompt) + 1 - await self._header(messages)
            if not (0 < length <= len(prompt) and spells(prompt[-length:], candidate)):
                raise ModelError(f"can't find the candidate {candidate[:60]!r} in the server's prompt_logprobs")
        return prompt[-length:], usage

    async def _prompt(self, messages: Sequence[Message], candidate: str) -> tuple[list[PromptToken], Usage]:
        turn = Message(role="assistant", content=candidate)

        def body(dialect: Dialect) -> dict[str, Any]:
            return self._extra | {
                "model": self._model,
                "messages": [*messages, turn],
                "add_generation_prompt": False,
                "continue_final_message": True,
                dialect.length: 1,
                "temperature": 0.0,
                "prompt_logprobs": 0,
            }

        name = partial(request_key, self.identity, "score", messages, candidates=[candidate])
        cannot = ModelError(_NO_SCORES.format(url=self._lane.base_url), fatal=True)
        try:
            prompt, usage = await self._chat(body, read_prompt, name)
        except RefusedError as refusal:
            raise (cannot if _SCORE_KEYS.search(refusal.said) else refusal) from None
        if prompt is None:
            raise cannot
        return prompt, usage

    async def _header(self, messages: Sequence[Message]) -> int:
        """Return how many tokens the prompt has before an answer begins."""

        def body(dialect: Dialect) -> dict[str, Any]:
            return self._extra | {"model": self._model, "messages": messages, dialect.length: 1, "temperature": 0.0}

        def name() -> str:
            return UNKEPT + request_key(self.identity, "header", messages)[len(UNKEPT) :]

        return (await self._chat(body, read_usage, name)).prompt_tokens


class OpenAIEmbedder:
    """Embeddings from an OpenAI-compatible endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @classmethod
    def open(cls, config: LLMConfig, model: str, backoff: Backoff | None = None) -> OpenAIEmbedder:
        """Take address, key and limits from the model's config. Raises ConfigError."""
        return cls(Endpoint(config.model_copy(update={"model": model}), backoff))

    @property
    def identity(self) -> dict[str, Any]:
        """What distinguishes its embeddings from another model's."""
        return {"backend": "openai", "base_url": self._endpoint.base_url, "model": self._endpoint.model}

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit row a text, (N, d). Raises ModelError."""
        batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._batch(batch)) for batch in batches]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        if not tasks:
            return np.zeros((0, 0), np.float32)
        rows = np.concatenate([task.result() for task in tasks])
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    async def aclose(self) -> None:
        """Close the connections."""
        await self._endpoint.aclose()

    async def _batch(self, texts: Sequence[str]) -> NDArray[np.float32]:
        def read(reply: Any) -> NDArray[np.float32]:
            data = sorted(reply["data"], key=lambda entry: entry["index"])
            rows = np.array([entry["embedding"] for entry in data], np.float32)
            if rows.shape[0] != len(texts) or rows.ndim != 2 or not (np.linalg.norm(rows, axis=1) > 0).all():
                raise ValueError(rows.shape)
            return rows

        # OpenAI refuses an empty text
        body = {"model": self._endpoint.model, "input": [text or " " for text in texts]}
        return await self._endpoint.post("/embeddings", body, read)
