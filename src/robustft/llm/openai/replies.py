"""Reading what a chat-completions server sends back: pure functions of its JSON, which raise on what no reply is."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from robustft.llm.client import Completion, Sampling, Usage

Logprobs = tuple[
    tuple[str, ...] | None,
    tuple[float, ...] | None,
    tuple[Mapping[str, float], ...] | None,
]
READ = 10
"""Tokens of a prompt that a server reads in the time in which it writes one, roughly: nothing hangs on it."""
_UNFINISHED = frozenset({"error", "abort", "aborted"})


def read_completion(reply: Any) -> Completion:
    """Read a chat completion.

    Raises LookupError, TypeError or ValueError for what is no complete reply: no choice, or one that broke off.
    """
    choice = reply["choices"][0]
    finish = choice.get("finish_reason") or "stop"
    if finish in _UNFINISHED:
        raise ValueError(finish)
    message = choice["message"]
    content = _text_of(message.get("content"))
    stated = message.get("reasoning") or message.get("reasoning_content")
    reasoning, text = (stated, content) if isinstance(stated, str) else split_reasoning(content)
    tokens, logprobs, alternatives = read_logprobs(choice.get("logprobs"))
    return Completion(
        text=text,
        tokens=tokens,
        logprobs=logprobs,
        top_logprobs=alternatives,
        reasoning=reasoning,
        finish=str(finish),
        usage=read_usage(reply),
    )


def chosen(reply: Completion, sampling: Sampling) -> Completion | None:
    """Return the reply with the prefix that it was begun with; None where it is none of the choices."""
    text = next((choice for choice in sampling.choices if choice.strip() == reply.text.strip()), None)
    if text is None:
        return None
    return replace(
        reply,
        text=sampling.prefix + text,
        tokens=None if reply.tokens is None else (sampling.prefix, *reply.tokens),
        logprobs=None if reply.logprobs is None else (0.0, *reply.logprobs),
        top_logprobs=None if reply.top_logprobs is None else ({}, *reply.top_logprobs),
    )


def _text_of(content: Any) -> str:
    """Return a message's text: a string, nothing, or a list of parts."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content)
    if content is None or isinstance(content, str):
        return content or ""
    raise TypeError(type(content).__name__)


def split_reasoning(content: str) -> tuple[str, str]:
    """Split `<think>...</think>` off a text: (reasoning, the rest).

    The opening tag may be missing (some chat templates put it into the prompt), and so may the closing one, where the
    length limit cut the reasoning: then all that follows is reasoning.
    """
    head, closed, rest = content.partition("</think>")
    before, opened, thought = head.partition("<think>")
    if not opened and not closed:
        return "", content
    if not opened:
        return head.strip(), rest.lstrip()
    return thought.strip(), before + rest.lstrip()


def read_logprobs(given: Any) -> Logprobs:
    """Read (tokens, logprobs, alternatives), each None where the server gives none, or none that can be read.

    Takes the chat form and the one of plain completions, which some servers send here too.
    """
    try:
        if content := given.get("content"):
            tokens = tuple(entry["token"] for entry in content)
            logprobs = tuple(entry.get("logprob") for entry in content)
            listed = tuple(_alternatives(entry.get("top_logprobs") or ()) for entry in content)
        else:
            tokens, logprobs = tuple(given["tokens"]), tuple(given.get("token_logprobs") or ())
            listed = tuple(_finite(entry or {}) for entry in given.get("top_logprobs") or ())
        if not "".join(tokens):
            return None, None, None
    except (AttributeError, LookupError, TypeError):
        return None, None, None
    return (
        tokens,
        logprobs if len(logprobs) == len(tokens) and _all_finite(logprobs) else None,
        listed if len(listed) == len(tokens) and any(listed) else None,
    )


def _alternatives(entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    found = {entry["token"]: entry.get("logprob") for entry in entries}
    if len(found) == len(entries):
        return _finite(found)
    # tokens that read the same, such as broken parts of characters: their probabilities add up
    shares: dict[str, float] = defaultdict(float)
    for entry in entries:
        if _all_finite((entry.get("logprob"),)):
            shares[entry["token"]] += math.exp(entry["logprob"])
    return {token: math.log(share) for token, share in shares.items() if share > 0.0}


def _finite(found: dict[str, Any]) -> dict[str, float]:
    return found if _all_finite(found.values()) else {t: p for t, p in found.items() if _all_finite((p,))}


def _all_finite(values: Iterable[Any]) -> bool:
    # one sum in C in place of a look at each: 20 alternatives a token are many
    try:
        return math.isfinite(sum(values))
    except TypeError:
        return False


def read_usage(reply: Any) -> Usage:
    """Read a reply's token counts, 0 where it has none."""
    usage = reply.get("usage") or {}
    return Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))


def work_of(reply: Any) -> float:
    """Return how much work a reply was, in tokens that are written, of which one takes as long as READ that are read.

    1 for a reply without token counts.
    """
    try:
        usage = read_usage(reply)
    except (AttributeError, TypeError, ValueError):
        return 1.0
    return usage.completion_tokens + usage.prompt_tokens / READ or 1.0


class PromptToken(NamedTuple):
    """One token of a prompt: the text it decodes to, alone or with the bytes held back before it, and its log p."""

    text: str
    logprob: float


def read_prompt(reply: Any) -> tuple[list[PromptToken] | None, Usage]:
    """Read vLLM's prompt_logprobs, without the first token, which has none; None where the server gives none.

    Raises LookupError, TypeError or ValueError for what can't be read.
    """
    positions = reply.get("prompt_logprobs")
    if not positions:
        return None, read_usage(reply)
    # the prompt's own token is the first of each position
    own = [next(iter(position.values())) for position in positions[1:]]
    prompt = [PromptToken(entry.get("decoded_token") or "", entry["logprob"]) for entry in own]
    if not _all_finite(token.logprob for token in prompt):
        raise ValueError("prompt_logprobs")
    return prompt, read_usage(reply)


def candidate_length(prompt: Sequence[PromptToken], candidate: str) -> int | None:
    """Return how many tokens at the prompt's end are the candidate's, None where their texts don't spell it.

    A token that also holds the end of what stands before the candidate is counted. Chat templates may strip a turn, so
    the candidate may stand there without its outer white space.
    """
    for wanted in (candidate, candidate.strip()):
        text, length = "", 0
        while len(text) < len(wanted) and length < len(prompt):
            length += 1
            text = prompt[-length].text + text
        if wanted and text.endswith(wanted):
            # the bytes of a character that takes several tokens are shown with its last one, '' at the others
            if not prompt[-length].text.isascii():
                while length < len(prompt) and not prompt[-length - 1].text:
                    length += 1
            return length
    return None


def spells(prompt: Sequence[PromptToken], candidate: str) -> bool:
    """Whether the tokens can be the candidate's, where white space and parts of characters got lost in decoding."""
    text = "".join(token.text for token in prompt)
    known = [re.escape(re.sub(r"\s", "", part)) for part in re.split("\ufffd+", text)]
    return re.fullmatch(".*".join(known), re.sub(r"\s", "", candidate)) is not None
