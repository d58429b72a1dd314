"""What a batch's output says of each request: where its reply stands, and what that comes to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import orjson

from robustft.errors import ModelError
from robustft.llm.openai.endpoint import RefusedError, TransientError
from robustft.llm.openai.payloads import parse, passes, reason

Reply = TypeVar("Reply")


class Line(NamedTuple):
    """One request's outcome. `status` is HTTP's, None where the request was not carried out; `said`: why it failed."""

    name: str
    status: int | None
    body: Any = None
    said: str = ""

    @property
    def good(self) -> bool:
        """Whether `body` is a reply."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def final(self) -> bool:
        """Whether asking again would bring nothing else."""
        return self.good or not (self.status is None or passes(self.status))


def missing(name: str) -> Line:
    """Return the outcome of a request that the output doesn't mention."""
    return Line(name, None, said="the batch ended without an answer")


class Place(NamedTuple):
    """Where a line stands: file, first byte, length in bytes; `good` and `final` as the line's."""

    path: Path
    start: int
    length: int
    good: bool
    final: bool


@dataclass(slots=True)
class Found:
    """The places of a batch's requests by name, and how many lines are no request's (`strange`) or no JSON."""

    places: dict[str, Place] = field(default_factory=dict)
    strange: int = 0
    broken: int = 0

    @property
    def answered(self) -> int:
        """How many requests have a reply."""
        return sum(place.good for place in self.places.values())


def find(paths: Iterable[Path], names: Collection[str]) -> Found:
    """Index the lines of the files that are there, in any order; of several with one name the first good one counts."""
    found = Found()
    for path in paths:
        if not path.exists():
            continue
        start = 0
        with path.open("rb") as file:
            for raw in file:
                _place(raw, path, start, names, found)
                start += len(raw)
    return found


def _place(raw: bytes, path: Path, start: int, names: Collection[str], found: Found) -> None:
    if not raw.strip():
        return
    try:
        line = read_line(raw)
    except (ValueError, LookupError, TypeError, AttributeError):
        found.broken += 1
        return
    if line.name not in names:
        found.strange += 1
    elif line.name not in found.places or (line.good and not found.places[line.name].good):
        found.places[line.name] = Place(path, start, len(raw), line.good, line.final)


def read_place(place: Place) -> Line:
    """Read the line that stands there."""
    with place.path.open("rb") as file:
        file.seek(place.start)
        return read_line(file.read(place.length))


def read_line(raw: bytes) -> Line:
    """Read a line of an output or error file. Raises ValueError, LookupError, TypeError or AttributeError for none.

    vLLM puts the reason of a failure into `error`, OpenAI into the response's body, where there is a response.
    """
    line = parse(raw)
    name, response, error = line["custom_id"], line.get("response"), line.get("error")
    if not isinstance(name, str):
        raise TypeError("custom_id")
    if response is None:
        return Line(name, None, said=_said(error))
    status, body = int(response["status_code"]), response.get("body")
    if not 200 <= status < 300 or error or body is None:
        return Line(name, status if status >= 300 else 500, said=_said(body or error))
    if isinstance(body, dict) and isinstance(inner := body.get("error"), dict):
        # some gateways send their upstream's errors as replies
        code = inner.get("code")
        return Line(name, code if isinstance(code, int) else 500, said=_said(body))
    return Line(name, status, body)


def understood(line: Line, read: Callable[[Any], Reply], base_url: str) -> Reply:
    """Return what `read` makes of the reply.

    Raises TransientError where another attempt may help, RefusedError where not, and a fatal ModelError for what no
    request gets past: key, account, model.
    """
    if line.good:
        try:
            return read(line.body)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            said = reason(orjson.dumps(line.body))[:300]
            raise TransientError(f"the reply is not of the expected form: {said}") from None
    if line.status is None:
        raise TransientError(line.said)
    if line.status in (401, 402, 403, 404) or "insufficient_quota" in line.said:
        way_out = "check llm.model, the key and the account"
        raise ModelError(f"{base_url} answers {line.status} to a batch's request ({line.said}): {way_out}", fatal=True)
    if passes(line.status):
        raise TransientError(f"{line.status} {line.said}")
    raise RefusedError(base_url, line.status, line.said)


def _said(error: Any) -> str:
    return reason(orjson.dumps(error))[:300] if error else "no reason given"
