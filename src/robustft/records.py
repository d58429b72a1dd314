"""The record that travels through the pipeline, and the result that each stage adds to it, joined by `id`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, TypeVar

Outcome = Literal["keep", "relabel", "drop", "review"]
OUTCOMES: tuple[Outcome, ...] = ("keep", "relabel", "drop", "review")
TRAINED_ON: frozenset[Outcome] = frozenset({"keep", "relabel"})

MISSING: frozenset[str] = frozenset({"error", "unasked"})
"""What an answer's `finish` says where there is none: the call failed, or the budget was spent before it."""

JUDGES = frozenset({"agent", "self-select"})
"""Experts that say Y or N of the given response (Y: it is wrong) instead of answering the question."""

OF_RELABEL = frozenset({"context", "review"})
"""Experts that the relabel stage asks."""


class Message(TypedDict):
    """One turn of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """One row of the input.

    `messages` are all turns before the response. `response` is the label as it was given, None where there is none.
    `options` are the texts of a choice question, in the order of their letters. `truth` is for measuring only: no
    prompt, expert, embedding or decision may see it, nor `source`, the whole original row.
    """

    id: str
    messages: tuple[Message, ...]
    response: str | None
    options: tuple[str, ...] = ()
    truth: str | None = None
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def asked(self) -> str:
        """All that is asked, as one text: every turn but the system's. What rows are compared by."""
        return "\n".join(message["content"] for message in self.messages if message["role"] != "system")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one expert said of one row.

    `value` is the answer read from `text` in the task's canonical form; None is an abstention (unreadable, cut off,
    failed), never a vote and never 'wrong'. `nll`: mean -log p of the sampled tokens, nats per token. `probs`: over
    the row's options, sums to 1. `mass`: the probability that lay on the options before `probs` was normalised.
    """

    id: str
    expert: str
    text: str
    value: str | None
    nll: float | None = None
    probs: tuple[float, ...] | None = None
    mass: float | None = None
    reasoning: str = ""
    finish: str = "stop"
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def missing(self) -> str:
        """Why there is no answer though one was wanted, in a few words; '' where one came."""
        if self.finish not in MISSING:
            return ""
        done = "a call failed" if self.finish == "error" else "not asked"
        return f"{done}, run again to ask it: {self.text}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a row's given response is thought to be wrong. `confidence` in [0, 1] is that of `noisy`'s value."""

    id: str
    noisy: bool
    confidence: float
    reason: str


@dataclass(frozen=True, slots=True)
class Belief:
    """How likely each candidate answer of a row is the true one, the given response taken into account.

    `candidates` are canonical values. Their `probs` sum to 1 for a choice; for an open question what is missing from 1
    is the probability of an answer that nobody gave.
    """

    id: str
    candidates: tuple[str, ...]
    probs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Relabel:
    """The response proposed for a noisy row (None: nobody could say), and the clean rows shown as context.

    `nll` is the mean -log p of the context answer, nats per token: what selection ranks by.
    """

    id: str
    response: str | None
    reason: str
    context_ids: tuple[str, ...] = ()
    nll: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The end of a row: exactly one for every row of the input.

    `keep`: train on the response as given. `relabel`: train on `response_final` instead. `drop` and `review` are not
    trained on; `review` asks for a human eye. `votes` maps each expert to its value (None: abstained).
    """

    id: str
    decision: Outcome
    response_given: str | None
    response_final: str | None
    confidence: float
    reason: str
    votes: Mapping[str, str | None] = field(default_factory=dict)


OfRow = TypeVar("OfRow", Answer, Relabel)


def by_row(examples: Iterable[Example], parts: Iterable[Iterable[OfRow]]) -> Iterator[list[OfRow]]:
    """Yield what there is of each row, what comes from the first part first; each part is in the rows' order.

    Raises ValueError where a part is not, or knows a row that isn't there.
    """
    sources = [iter(part) for part in parts]
    heads = [next(source, None) for source in sources]
    for example in examples:
        found = []
        for i, source in enumerate(sources):
            while (head := heads[i]) is not None and head.id == example.id:
                found.append(head)
                heads[i] = next(source, None)
        yield found
    if left := next((head for head in heads if head is not None), None):
        raise ValueError(f"{type(left).__name__} of row '{left.id}' is not in the rows' order")
