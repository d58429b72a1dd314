"""What the ledger keeps of a call: a key made of all that is sent, and the whole reply, which comes back exactly."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from robustft.errors import ModelError
from robustft.llm.client import Completion, Sampling, Scores, Usage
from robustft.records import Message

_COMPRESSION = 1
_SMALL = 512
"""Bytes below which compressing costs more than it saves."""


def request_key(
    identity: Mapping[str, object],
    kind: str,
    messages: Sequence[Message],
    *,
    sampling: Sampling | None = None,
    candidates: Sequence[str] | None = None,
) -> str:
    """Return the sha256, in hex, of the canonical JSON of a request. Raises ModelError for what JSON can't hold."""
    sent: dict[str, Any] = {"identity": identity, "kind": kind, "messages": list(messages)}
    if sampling is not None:
        # float: 0 and 0.0 are the same temperature
        sent["sampling"] = {
            "temperature": float(sampling.temperature),
            "max_tokens": sampling.max_tokens,
            "top_p": float(sampling.top_p),
            "top_logprobs": sampling.top_logprobs,
            "stop": sampling.stop,
            "seed": sampling.seed,
            "sample": sampling.sample,
        }
        if sampling.choices:
            sent["choices"] = [sampling.prefix, *sampling.choices]
    if candidates is not None:
        sent["candidates"] = list(candidates)
    try:
        return hashlib.sha256(orjson.dumps(sent, default=_plain, option=orjson.OPT_SORT_KEYS)).hexdigest()
    except TypeError as error:
        raise ModelError(f"the request can't be written as JSON: {error}") from None


def encode(value: Completion | Scores) -> bytes:
    """Return a reply as JSON, compressed where it is long. Raises ModelError for a log p that is NaN or infinite."""
    rows: Iterable[Iterable[float]] = (value.logprobs or (),)
    if isinstance(value, Completion):
        rows = (*rows, *(found.values() for found in value.top_logprobs or ()))
    if not all(sum(row) < math.inf for row in rows):
        raise ModelError("the model gave a log p that is no number")
    data = orjson.dumps(value, default=_plain)
    return data if len(data) < _SMALL else zlib.compress(data, _COMPRESSION)


def _opened(data: bytes) -> Any:
    return orjson.loads(data if data[:1] == b"{" else zlib.decompress(data))


def decode_completion(data: bytes) -> Completion | None:
    """Return the completion that `encode` wrote, None for a damaged one."""
    try:
        found = _opened(data)
        tokens, logprobs, alternatives = found["tokens"], found["logprobs"], found["top_logprobs"]
        return Completion(
            text=found["text"],
            tokens=None if tokens is None else tuple(tokens),
            logprobs=None if logprobs is None else _logprobs(logprobs),
            top_logprobs=None if alternatives is None else tuple(map(_named_logprobs, alternatives)),
            reasoning=found["reasoning"],
            finish=found["finish"],
            usage=Usage(**found["usage"]),
        )
    except (zlib.error, ValueError, LookupError, TypeError):
        return None


def decode_scores(data: bytes) -> Scores | None:
    """Return the scores that `encode` wrote, None for damaged ones."""
    try:
        found = _opened(data)
        return Scores(_logprobs(found["logprobs"]), tuple(found["tokens"]), Usage(**found["usage"]))
    except (zlib.error, ValueError, LookupError, TypeError):
        return None


def _plain(value: object) -> object:
    """Return what orjson can write for a mapping that is no dict."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _logprobs(found: list[float | None]) -> tuple[float, ...]:
    # JSON has no infinity, and orjson writes null; the one that a log p can be is that of probability 0
    return tuple(-math.inf if p is None else p for p in found)


def _named_logprobs(found: dict[str, float | None]) -> dict[str, float]:
    return {text: -math.inf if p is None else p for text, p in found.items()}
