"""What a model is to the rest of the package: a protocol of two calls, and what they take and give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from robustft.records import Message


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to draw a completion. `top_logprobs`: alternatives wanted at each token (0: none, and no logprobs).

    `seed` is sent where a backend takes one; `sample` numbers repeated draws of the same request, so that the ledger
    keeps them apart. With `choices` the reply begins with `prefix`, and one of the choices is all that follows: a
    token or two instead of a text. A backend that can't be held to it replies freely.
    """

    temperature: float = 0.0
    max_tokens: int = 512
    top_p: float = 1.0
    top_logprobs: int = 0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    sample: int = 0
    prefix: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's reply, as it came.

    `tokens`, `logprobs` (natural log of each sampled token's probability) and `top_logprobs` (token text to log p,
    at each position) are aligned and None where the backend gives none; their concatenation may hold more than
    `text` (reasoning, special tokens). A prefix that the reply was begun with is the first of them, with log p 0.
    `finish` is the backend's word: 'stop', 'length', 'content_filter', ...
    """

    text: str
    tokens: tuple[str, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    top_logprobs: tuple[Mapping[str, float], ...] | None = None
    reasoning: str = ""
    finish: str = "stop"
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Scores:
    """How likely each candidate text is as the next turn: `logprobs` in nats, summed over `tokens` tokens each."""

    logprobs: tuple[float, ...]
    tokens: tuple[int, ...]
    usage: Usage = Usage()


class Tag(NamedTuple):
    """Who asks: the row and the expert. For messages and the scripted model; never sent, never part of a ledger key."""

    row: str
    expert: str


class LLM(Protocol):
    """A model that is open. Safe to call from many tasks of one event loop at once."""

    @property
    def identity(self) -> Mapping[str, object]:
        """What distinguishes its answers from another model's: part of every ledger key; holds no secret."""
        ...

    async def complete(self, messages: Sequence[Message], sampling: Sampling, tag: Tag | None = None) -> Completion:
        """Return one completion. Raises ModelError when the call failed for good."""
        ...

    async def score(self, messages: Sequence[Message], candidates: Sequence[str], tag: Tag | None = None) -> Scores:
        """Return log p of each candidate's text as the assistant's turn. Raises ModelError, also where it can't."""
        ...

    async def aclose(self) -> None:
        """Release what was opened."""
        ...
