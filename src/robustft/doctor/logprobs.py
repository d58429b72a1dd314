"""In which form a reply carries log-probabilities, told from the JSON and, for what JSON has no word for, its bytes."""

from __future__ import annotations

import re
from typing import Any

_NOT_A_NUMBER = re.compile(rb"[:\[,]\s*-?(NaN|Infinity)\b")


def shape_of(given: Any, payload: bytes) -> str:
    """Return what a choice's `logprobs` holds, in a few words; `payload` is the whole reply as it came."""
    if given is None:
        return "null" if b'"logprobs"' in payload else "none"
    if not isinstance(given, dict):
        return f"of an unknown form ({type(given).__name__})"
    content = given.get("content")
    if isinstance(content, list) and content:
        listed = max(len(entry.get("top_logprobs") or ()) for entry in content)
        broken = _broken([entry.get("logprob") for entry in content], payload)
        return broken or f"chat form, {listed} alternatives a token"
    if isinstance(tokens := given.get("tokens"), list) and tokens:
        top = given.get("top_logprobs") or []
        listed = max((len(entry or ()) for entry in top), default=0)
        broken = _broken(given.get("token_logprobs") or [None], payload)
        return broken or f"form of plain completions, {listed} alternatives a token"
    return "empty"


def _broken(numbers: list[Any], payload: bytes) -> str:
    """Name what stands in the place of numbers; '' where all are numbers."""
    missing = sum(not isinstance(number, (int, float)) for number in numbers)
    if not missing:
        return ""
    found = _NOT_A_NUMBER.search(payload)
    return f"{found.group(1).decode() if found else 'null'} at {missing} of {len(numbers)} tokens"
