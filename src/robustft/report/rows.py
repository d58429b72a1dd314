"""The rows that the page lists, packed so that 100,000 of them fit into a few megabytes."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import orjson

from robustft.records import OUTCOMES, Decision, Example
from robustft.tasks.options import letters

MOST_BYTES = 3_600_000
"""Of the packed rows; with this the page stays under 5 MB."""
CUTS = (600, 200, 90)
"""Characters of a question that are shown, the most that fit."""
_SAMPLE = 2000


def packed(examples: Sequence[Example], decisions: Sequence[Decision]) -> dict[str, Any]:
    """Return {data, listed, cut}: base64 of gzipped JSON for the page's script, rows in it, characters of a question.

    Long questions are cut as far as need be; where even the shortest don't fit, the first rows are listed.
    """
    n = len(examples)
    for cut in CUTS:
        listed = n
        if n > _SAMPLE and _size(examples, decisions, _SAMPLE, cut) / _SAMPLE * n > 1.1 * MOST_BYTES:
            continue  # a sample says that it can't fit
        data = _pack(examples, decisions, listed, cut)
        if len(data) <= MOST_BYTES:
            return {"data": data, "listed": listed, "cut": cut}
    per_row = _size(examples, decisions, min(n, _SAMPLE), CUTS[-1]) / max(min(n, _SAMPLE), 1)
    listed = int(0.9 * MOST_BYTES / per_row)
    while len(data := _pack(examples, decisions, listed, CUTS[-1])) > MOST_BYTES:
        listed = listed * 9 // 10
    return {"data": data, "listed": listed, "cut": CUTS[-1]}


def _size(examples: Sequence[Example], decisions: Sequence[Decision], count: int, cut: int) -> int:
    return len(_pack(examples, decisions, count, cut))


def _pack(examples: Iterable[Example], decisions: Iterable[Decision], count: int, cut: int) -> str:
    """Return the first rows as columns of JSON."""
    shared: dict[tuple[str, ...], int] = {}
    reasons: dict[str, int] = {}
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "question", "options", "given", "final")}
    columns |= {"decision": [], "confidence": [], "reason": [], "votes": []}
    experts: dict[str, int] = {}
    for example, decision in islice(zip(examples, decisions, strict=True), count):
        options = tuple(_short(option, cut) for option in example.options)
        columns["id"].append(example.id)
        columns["question"].append(_short(example.asked, cut))
        columns["options"].append(shared.setdefault(options, len(shared)))
        columns["given"].append(_option(decision.response_given, options, cut))
        columns["final"].append(_option(decision.response_final, options, cut))
        columns["decision"].append(OUTCOMES.index(decision.decision))
        columns["confidence"].append(round(decision.confidence, 3))
        columns["reason"].append(reasons.setdefault(_short(decision.reason, 2 * cut), len(reasons)))
        votes = {experts.setdefault(name, len(experts)): vote for name, vote in decision.votes.items()}
        columns["votes"].append([[place, vote and _short(vote, cut)] for place, vote in votes.items()])
    content = {
        "outcomes": OUTCOMES,
        "experts": list(experts),
        "optionSets": list(shared),
        "reasons": list(reasons),
        "columns": columns,
    }
    # no time stamp: the same run gives the same page
    return base64.b64encode(gzip.compress(orjson.dumps(content), 9, mtime=0)).decode()


def _option(response: str | None, options: Sequence[str], cut: int) -> str | None:
    """Return a response with its option's text, since a letter alone says little."""
    names = letters(len(options))
    if response in names:
        return f"{response} · {options[names.index(response)]}"
    return response and _short(response, cut)


def _short(text: str, cut: int) -> str:
    return text if len(text) <= cut else f"{text[: cut - 1]}…"
