"""The bytes that a server sends back: its JSON, also where that is not quite JSON, and what its errors say."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

_TRANSIENT = frozenset({408, 409, 425, 429})


def passes(status: int) -> bool:
    """Whether an error of this HTTP status may pass, so that another attempt is worth it."""
    return status in _TRANSIENT or (status >= 500 and status != 501)


def parse(payload: bytes) -> Any:
    """Parse JSON, also the NaN and the lone surrogates that orjson refuses and some servers send. Raises ValueError."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        tolerant = json.loads(payload, parse_constant=lambda _: None)
        return orjson.loads(json.dumps(tolerant, ensure_ascii=False).encode("utf-8", "replace"))


def reason(payload: bytes) -> str:
    """Return what an error's body says, in one line: its message and the parameter at fault, or its text."""
    text = payload.decode("utf-8", "replace")
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return " ".join(re.sub(r"<[^>]*>", " ", text).split()) or "no reason given"
    error = body.get("error", body) if isinstance(body, dict) else body
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str):
        return text
    # code and parameter are for programs and say more than some messages do
    more = [v for k in ("code", "param") if isinstance(v := error.get(k), str)] if isinstance(error, dict) else []
    return " ".join(" ".join([message, *(f"[{v}]" for v in more if v not in message)]).split())
