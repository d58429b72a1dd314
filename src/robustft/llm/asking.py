"""One question to a model, read as an Answer: by generating text, or by scoring the options' texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from robustft.config import Config
from robustft.engine.local import Progress, run_all
from robustft.errors import ModelError
from robustft.llm.client import LLM, Completion, Sampling, Tag
from robustft.prompts import Prompt
from robustft.records import Answer, Example, Message
from robustft.tasks.options import letters
from robustft.tasks.task import Found, Reading, Task

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


def batch_corrected(answers: Sequence[Answer], examples: Sequence[Example]) -> list[Answer]:
    """Take the mean log p of each option over all rows with the same options away from every scored answer.

    `answers` and `examples` are aligned. A model prefers some texts whatever it is asked; that preference is the same
    in all rows, and their mean shows it (batch calibration, Zhou et al. 2023). Rows whose options nobody shares stay
    as they are, and so do answers without probabilities.
    """
    groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, (answer, example) in enumerate(zip(answers, examples, strict=True)):
        if answer.probs is not None:
            groups[example.options].append(index)
    corrected = list(answers)
    for rows in groups.values():
        if len(rows) == 1:
            continue
        probs = np.array([answers[row].probs for row in rows], dtype=float)
        logp = np.log(np.maximum(probs, 1e-300))
        for row, logits in zip(rows, logp - logp.mean(axis=0), strict=True):
            corrected[row] = scored(examples[row], answers[row].expert, logits, answers[row].tokens_in)
    return corrected


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
        nll=float(-np.mean(completion.logprobs)) if completion.logprobs else None,
        probs=probs,
        mass=mass,
        reasoning=completion.reasoning,
        finish=completion.finish,
        tokens_in=completion.usage.prompt_tokens,
        tokens_out=completion.usage.completion_tokens,
    )


async def ask_all(
    name: str,
    ask: Callable[[int], Awaitable[Answer]],
    examples: Sequence[Example],
    concurrency: int,
    progress: Progress,
) -> list[Answer]:
    """Return the expert's answer to every row, `ask`ed by its place; a call that failed is an abstention.

    Raises ModelError when the model can't be reached at all.
    """
    progress.start(name, len(examples))
    rows = await run_all(ask, range(len(examples)), concurrency, progress)
    progress.finish()
    return [
        failed(example, name, row) if isinstance(row, ModelError) else row
        for example, row in zip(examples, rows, strict=True)
    ]


def silent(example: Example, expert: str) -> Answer:
    """Return the abstention of an expert who said nothing readable."""
    return Answer(id=example.id, expert=expert, text="", value=None)


def failed(example: Example, expert: str, error: Exception) -> Answer:
    """Return the abstention that a failed call leaves behind; it is never stored in the ledger."""
    return Answer(id=example.id, expert=expert, text=str(error), value=None, finish="error")


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
    mass = np.zeros(len(options))
    for text, logprob in completion.top_logprobs[position].items():
        option = _option_of(text, options, by_letter=by_letter)
        if option is not None:
            mass[option] += np.exp(logprob)
    total = float(mass.sum())
    if total <= 0.0:
        return None, None
    return tuple(float(p) for p in mass / total), min(total, 1.0)


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
