"""One question to a model, read as an Answer: by generating text, or by scoring the options' texts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from robustft.config import Config
from robustft.engine.local import Progress, run_all
from robustft.errors import ModelError, UnaskedError
from robustft.llm.client import LLM, Completion, Sampling, Tag
from robustft.prompts import Prompt
from robustft.records import Answer, Example, Message, by_row
from robustft.store import Spool, Stored
from robustft.tasks.options import letters
from robustft.tasks.task import Found, Reading, Task

if TYPE_CHECKING:
    from robustft.work import Work

Row = tuple[Example] | tuple[Example, Sequence[Example]] | tuple[Example, Sequence[Answer]]
"""What is asked about, and the rows or the answers that are shown with it."""
Question = Callable[..., Awaitable[Answer | list[Answer]]]
"""Asks a model about a row: called with what the Row holds, and the model."""

_WRAPPERS = " \t\r\n*_`\"'([{<$.:,;)]}>\\Ġ▁"


def wrap(messages: Sequence[Message], prompt: Prompt, **slots: str) -> list[Message]:
    """Return the messages with the last one's content put into the prompt's `question` slot."""
    *earlier, last = messages
    return [*earlier, Message(role=last["role"], content=prompt.fill(question=last["content"], **slots))]


async def generate(
    llm: LLM,
    task: Task,
    example: Example,
    expert: str,
    messages: Sequence[Message],
    sampling: Sampling,
    reading: Reading = "tolerant",
) -> Answer:
    """Ask for a completion and read the answer from its text. Raises ModelError."""
    completion = await llm.complete(messages, sampling, Tag(example.id, expert))
    return read(completion, task, example, expert, reading)


async def score(
    llm: LLM, example: Example, expert: str, messages: Sequence[Message], *, normalise: bool = False
) -> Answer:
    """Answer with the option whose text is likeliest as the next turn, by its summed or (normalise) mean log p.

    Raises ModelError.
    """
    scores = await llm.score(messages, example.options, Tag(example.id, expert))
    logits = np.array(scores.logprobs) / (np.array(scores.tokens) if normalise else 1)
    return scored(example, expert, logits, scores.usage.prompt_tokens)


def scored(example: Example, expert: str, logits: NDArray[np.float64], tokens_in: int) -> Answer:
    """Return the answer that option scores stand for. `logits` (K,), nats; `nll` is -log of the best one's share."""
    logp = log_softmax(logits)
    best = int(np.argmax(logp))
    return Answer(
        id=example.id,
        expert=expert,
        text=example.options[best],
        value=letters(len(example.options))[best],
        nll=float(-logp[best]),
        probs=tuple(float(p) for p in np.exp(logp)),
        tokens_in=tokens_in,
    )


def batch_corrected(
    answers: Sequence[Answer], examples: Sequence[Example], folder: Path | None = None
) -> Stored[Answer]:
    """Take the mean log p of each option over all rows with the same options away from every scored answer.

    `answers` and `examples` are aligned. A model prefers some texts whatever it is asked; that preference is the same
    in all rows, and their mean shows it (batch calibration, Zhou et al. 2023). Rows whose options nobody shares stay
    as they are, and so do answers without probabilities.
    """
    counts, sums = Counter[tuple[str, ...]](), dict[tuple[str, ...], NDArray[np.float64]]()
    for answer, example in zip(answers, examples, strict=True):
        if answer.probs is not None:
            counts[example.options] += 1
            sums[example.options] = sums.get(example.options, 0.0) + _logp(answer.probs)
    corrected = Spool(Answer, folder)
    for answer, example in zip(answers, examples, strict=True):
        if answer.probs is not None and (count := counts[example.options]) > 1:
            logits = _logp(answer.probs) - sums[example.options] / count
            answer = scored(example, answer.expert, logits, answer.tokens_in)
        corrected.add(answer)
    return corrected.stored()


def _logp(probs: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(np.log(np.maximum(np.array(probs, dtype=float), 1e-300)))


def read(completion: Completion, task: Task, example: Example, expert: str, reading: Reading = "tolerant") -> Answer:
    """Read a completion; an answer that ends where the length limit cut the text is an abstention."""
    found = task.locate(completion.text, example.options, reading)
    if found is not None and completion.finish == "length" and not completion.text[found.end :].strip():
        found = None
    probs, mass = option_probs(completion, found, example.options) if found else (None, None)
    return Answer(
        id=example.id,
        expert=expert,
        text=completion.text,
        value=found.value if found else None,
        nll=-math.fsum(completion.logprobs) / len(completion.logprobs) if completion.logprobs else None,
        probs=probs,
        mass=mass,
        reasoning=completion.reasoning,
        finish=completion.finish,
        tokens_in=completion.usage.prompt_tokens,
        tokens_out=completion.usage.completion_tokens,
    )


async def ask_all(
    stage: str, names: Sequence[str], question: Question, rows: Iterable[Row], total: int, work: Work
) -> list[Stored[Answer]]:
    """Return what each of `names` says of the `total` rows, in their order; a call that failed is an abstention.

    Asks on the cluster where there is one. Raises ModelError when the model can't be reached at all.
    """
    work.progress.start(stage, total)
    if work.cluster is not None:
        said = await work.cluster.ask(stage, names, question, rows, work.progress)
    else:
        at_once = work.config.llm.rows_at_once
        said = await heard(names, question, rows, await work.open_llm(), at_once, work.progress, work.folder)
    work.progress.finish()
    return said


async def heard(
    names: Sequence[str],
    question: Question,
    rows: Iterable[Row],
    llm: LLM,
    at_once: int,
    progress: Progress,
    folder: Path | None,
) -> list[Stored[Answer]]:
    """Ask a model that is open, about so many rows at once; see `ask_all`."""
    said = {name: Spool(Answer, folder) for name in names}

    async def ask(row: Row) -> Answer | list[Answer]:
        return await question(*row, llm)

    def take(row: Row, answers: Answer | list[Answer] | ModelError) -> None:
        if isinstance(answers, ModelError):
            answers = [failed(row[0], name, answers) for name in names]
        for answer in answers if isinstance(answers, list) else [answers]:
            said[answer.expert].add(answer)
            if answer.value is None and not answer.missing:
                progress.abstain()

    await run_all(ask, rows, at_once, take, progress)
    return [spool.stored() for spool in said.values()]


def in_row_order(
    examples: Iterable[Example], parts: Sequence[Stored[Answer]], folder: Path | None
) -> list[Stored[Answer]]:
    """Return a part for each who spoke, in the rows' order, from parts of which several may be one's turns."""
    spools = dict[str, Spool[Answer]]()
    for found in by_row(examples, parts):
        for answer in found:
            if answer.expert not in spools:
                spools[answer.expert] = Spool(Answer, folder)
            spools[answer.expert].add(answer)
    return [spool.stored() for spool in spools.values()]


def silent(example: Example, expert: str) -> Answer:
    """Return the abstention of an expert who said nothing readable."""
    return Answer(id=example.id, expert=expert, text="", value=None)


def failed(example: Example, expert: str, error: Exception) -> Answer:
    """Return the abstention that a failed call, or one that was not made, leaves behind; the ledger has none."""
    finish = "unasked" if isinstance(error, UnaskedError) else "error"
    return Answer(id=example.id, expert=expert, text=str(error), value=None, finish=finish)


def option_probs(
    completion: Completion, found: Found, options: Sequence[str]
) -> tuple[tuple[float, ...], float] | tuple[None, None]:
    """Return the options' probabilities at the token where the answer stands, and their mass before normalising.

    An alternative token counts for an option when it is its letter, with or without a leading space or bracket, or
    the unmistakable beginning of its text. Options beyond the listed alternatives have probability 0. (None, None)
    where there are no alternatives, or none of them is an option.
    """
    if not options or completion.tokens is None or completion.top_logprobs is None:
        return None, None
    position = _token_at(completion, found.start)
    if position is None:
        return None, None
    by_letter = found.value == completion.text[found.start : found.end].upper()
    mass = [0.0] * len(options)
    for text, logprob in completion.top_logprobs[position].items():
        option = _option_of(text, options, by_letter=by_letter)
        if option is not None:
            mass[option] += math.exp(logprob)
    total = math.fsum(mass)
    if total <= 0.0:
        return None, None
    return tuple(p / total for p in mass), min(total, 1.0)


def _token_at(completion: Completion, start: int) -> int | None:
    """Return the index of the token that holds character `start` of the completion's text."""
    tokens = completion.tokens or ()
    # the tokens may begin with reasoning that the text no longer holds
    offset = "".join(tokens).rfind(completion.text)
    if offset < 0:
        return None
    position, end = offset + start, 0
    for index, token in enumerate(tokens):
        end += len(token)
        if end > position:
            return index
    return None


def _option_of(token: str, options: Sequence[str], *, by_letter: bool) -> int | None:
    text = token.strip(_WRAPPERS)
    if not text:
        return None
    if by_letter:
        names = letters(len(options))
        return names.index(text.upper()) if text.upper() in names else None
    begun = [i for i, option in enumerate(options) if option.casefold().startswith(text.casefold())]
    return begun[0] if len(begun) == 1 else None


def answer_sampling(config: Config) -> Sampling:
    """Return how every sampled answer of the paper's method is drawn."""
    return Sampling(
        temperature=config.paper.temperature,
        max_tokens=config.paper.max_tokens,
        top_logprobs=config.llm.top_logprobs,
        seed=config.seed,
    )
