"""Numbers as people read them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any


def count(value: float) -> str:
    """Return a count with its thousands set apart."""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """Return a count in at most seven characters: 950, 12,345, 1.2 M, 3.4 G."""
    for size, name in ((1e9, "G"), (1e6, "M")):
        if value >= size:
            return f"{value / size:,.1f} {name}"
    return count(value)


def percent(value: float | None) -> str:
    """Return a share as a percentage; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f} %"


def interval(figure: dict[str, Any]) -> str:
    """Return {value, ci95, n?} as a percentage with its 95 % interval."""
    if figure["value"] is None:
        return "–"
    low, high = figure["ci95"]
    of = f" of {figure['n']}" if "n" in figure else ""
    return f"{percent(figure['value'])}{of} ({100 * low:.1f} to {100 * high:.1f})"


def amount(value: float) -> str:
    """Return an amount: cents where there are some, more digits where it is less than one."""
    return f"{value:,.2f}" if value >= 1 or value == 0 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """Return a time as people say it: 4.2 s, 3:05 min, 2:10:00 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    text = str(timedelta(seconds=round(seconds)))
    return f"{text} h" if seconds >= 3600 else f"{text.removeprefix('0:').lstrip('0') or '0'} min"


_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Return a text from data with control characters written out: escapes that would move the cursor, colour, turn.

    Line feeds and tabs stay.
    """
    return _UNSEEN.sub(_written_out, text)


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
