"""The local model: transformers in this process; many tasks ask at once, batches by length run in one worker thread."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache

import numpy as np
import orjson
from jinja2 import TemplateError

from robustft.config import LLMConfig
from robustft.errors import ModelError
from robustft.llm.client import Completion, Sampling, Scores, Tag, Usage
from robustft.llm.local.batching import Batcher
from robustft.llm.local.candidates import Question, score
from robustft.llm.local.decoding import Draw, Drawn, continued
from robustft.llm.local.weights import Weights, end_tokens, load
from robustft.records import Message


class LocalLLM:
    """A transformers model that is loaded. Safe to call from many tasks of one event loop at once.

    A prompt is the model's own chat template with its generation prompt, default system turn included. A candidate
    is tokenised by itself, without special tokens, and put behind the prompt; the end of the turn isn't scored.
    Every completion draws from a generator of its own, seeded by the sampling's seed and sample number and the
    messages, so that what else is in the batch changes it by numeric noise only.
    """

    def __init__(self, config: LLMConfig, weights: Weights) -> None:
        self.config, self.weights = config, weights
        self._limit = getattr(weights.model.config.get_text_config(decoder=True), "max_position_embeddings", 1 << 30)
        self._ends = end_tokens(weights)
        # one thread: a batch already uses all cores
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="local-llm")
        self._completions = Batcher(self._continue, config.batch_tokens, self._worker)
        self._scores = Batcher(self._score, config.batch_tokens, self._worker)
        self._piece = lru_cache(maxsize=1 << 16)(self._decode_piece)

    @classmethod
    def open(cls, config: LLMConfig) -> LocalLLM:
        """Load the model (seconds; the first use of a GGUF file or a hub id takes longer). Raises ConfigError."""
        return cls(config, load(config))

    @property
    def identity(self) -> dict[str, object]:
        """What distinguishes its answers from another model's, for the ledger's key."""
        return {
            "backend": "local",
            "model": self.config.model,
            "weights": self.weights.fingerprint,
            "dtype": self.weights.dtype,
        }

    async def complete(self, messages: Sequence[Message], sampling: Sampling, tag: Tag | None = None) -> Completion:
        """Continue the messages. Raises ModelError where the prompt fills the context.

        A text that would outgrow the context ends there, with finish 'length'.
        """
        if sampling.choices:
            return await self._choose(messages, sampling)
        prompt = self._encode(messages)
        room = self._limit - len(prompt)
        if room < 1:
            raise ModelError(self._too_long(len(prompt)))
        cut = replace(sampling, max_tokens=min(sampling.max_tokens, room))
        drawn = await self._completions.submit(Draw(prompt, cut, _seed(messages, sampling)), len(prompt))
        return self._completion(drawn, sampling, len(prompt))

    async def score(self, messages: Sequence[Message], candidates: Sequence[str], tag: Tag | None = None) -> Scores:
        """Return log p of each candidate as the assistant's turn. Raises ModelError for an empty or too long one."""
        if not candidates:
            return Scores((), ())
        return await self._scored(self._encode(messages), candidates)

    async def _scored(self, prompt: tuple[int, ...], candidates: Sequence[str]) -> Scores:
        tokens = tuple(self._tokenise(candidate) for candidate in candidates)
        if not all(tokens):
            raise ModelError("local model: an empty candidate can't be scored")
        longest = len(prompt) + max(len(candidate) for candidate in tokens)
        if longest > self._limit:
            raise ModelError(self._too_long(longest))
        question = Question(prompt, tokens)
        logprobs = await self._scores.submit(question, len(prompt) + sum(len(candidate) - 1 for candidate in tokens))
        return Scores(logprobs, tuple(len(candidate) for candidate in tokens), Usage(len(prompt), 0))

    async def _choose(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Draw one of the choices, each as likely as its text behind the prefix."""
        scores = await self._scored(self._encode(messages) + self._tokenise(sampling.prefix), sampling.choices)
        logp = np.array(scores.logprobs)
        if sampling.temperature:
            noise = np.random.default_rng(_seed(messages, sampling)).gumbel(size=len(logp))
            place = int(np.argmax(logp / sampling.temperature + noise))
        else:
            place = int(np.argmax(logp))
        text, usage = sampling.choices[place], Usage(scores.usage.prompt_tokens, scores.tokens[place])
        if not sampling.top_logprobs:
            return Completion(sampling.prefix + text, usage=usage)
        return Completion(
            sampling.prefix + text,
            tokens=(sampling.prefix, text),
            logprobs=(0.0, scores.logprobs[place]),
            top_logprobs=({}, dict(zip(sampling.choices, scores.logprobs, strict=True))),
            usage=usage,
        )

    async def aclose(self) -> None:
        """Fail what still waits, end the running batch at its next token, and stop the thread."""
        self._completions.close()
        self._scores.close()
        await asyncio.to_thread(self._worker.shutdown)

    def _continue(self, draws: Sequence[Draw], wanted: Callable[[int], bool]) -> list[Drawn]:
        return continued(self.weights.model, draws, ends=self._ends, stopped=self._stopped, wanted=wanted)

    def _score(self, questions: Sequence[Question], wanted: Callable[[int], bool]) -> list[tuple[float, ...]]:
        return score(self.weights.model, questions)

    def _encode(self, messages: Sequence[Message]) -> tuple[int, ...]:
        tokenizer = self.weights.tokenizer
        try:
            text = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            raise ModelError(f"local model: its chat template refuses these messages: {error}") from error
        return self._tokenise(str(text))

    def _tokenise(self, text: str) -> tuple[int, ...]:
        return tuple(self.weights.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _too_long(self, tokens: int) -> str:
        return f"local model: the prompt has {tokens} tokens, {self.config.model} reads {self._limit}; shorten the row"

    def _stopped(self, draw: Draw, tokens: Sequence[int]) -> bool:
        if not draw.sampling.stop:
            return False
        # a character is at most four tokens, so no stop string that ends here begins before this tail
        tail = self._text(tokens[-4 * max(len(stop) for stop in draw.sampling.stop) - 4 :])
        return any(stop in tail for stop in draw.sampling.stop)

    def _completion(self, drawn: Drawn, sampling: Sampling, prompt_tokens: int) -> Completion:
        text = self._text(drawn.tokens)
        for stop in sampling.stop:
            text = text.partition(stop)[0]
        usage = Usage(prompt_tokens, len(drawn.tokens))
        if not sampling.top_logprobs:
            return Completion(text, finish=drawn.finish, usage=usage)
        return Completion(
            text,
            tokens=pieces(self._decode, drawn.tokens),
            logprobs=tuple(drawn.logprobs),
            top_logprobs=tuple(self._alternatives(top) for top in drawn.top_logprobs),
            finish=drawn.finish,
            usage=usage,
        )

    def _alternatives(self, top: Sequence[tuple[int, float]]) -> dict[str, float]:
        """Name tokens by their text; of two that look alike (halves of a character) the likelier one counts."""
        named: dict[str, float] = {}
        for token, logprob in top:
            named.setdefault(self._piece(token), logprob)
        return named

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self.weights.tokenizer.decode(list(tokens)))

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self.weights.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _decode_piece(self, token: int) -> str:
        # some tokenizers drop the leading space of the first token, so it is decoded behind another one
        anchor = self._tokenise(":")[-1]
        return self._decode([anchor, token])[len(self._decode([anchor])) :]


def pieces(decode: Callable[[Sequence[int]], str], tokens: Sequence[int]) -> tuple[str, ...]:
    """Return the text that each token adds; joined they are the decoded whole.

    A token that ends inside a character adds nothing, and the one that completes it adds the character.
    """
    texts: list[str] = []
    start = end = 0
    for count in range(1, len(tokens) + 1):
        before, now = decode(tokens[start:end]), decode(tokens[start:count])
        if now.endswith("\N{REPLACEMENT CHARACTER}") and count < len(tokens):
            texts.append("")
            continue
        texts.append(now[len(before) :])
        start, end = end, count
    return tuple(texts)


def _seed(messages: Sequence[Message], sampling: Sampling) -> int:
    content = orjson.dumps([sampling.seed or 0, sampling.sample, list(messages)])
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
