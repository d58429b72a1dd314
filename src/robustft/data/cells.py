"""From a cell's raw value to what it means: a text, an answer, a list, the options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from robustft.errors import DataError, listing, meant


class RowError(DataError):
    """A row that can't be used; the rest of its file can."""


def cell(values: Mapping[str, Any], field: str) -> Any:
    """Return the row's cell. Raises RowError, which lists the columns, where there is no such column."""
    if field not in values:
        raise RowError(f"no such column; the row has {listing(values) or 'none'}{meant(field, values)}", field=field)
    return values[field]


def text(value: Any, field: str) -> str:
    """Return a text as it stands, '' for None. Raises RowError for anything that isn't text."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowError(f"text is expected, not {shown(value)}", field=field)
    return value


def answer(value: Any, field: str) -> str | None:
    """Return a response's text, None where it is empty.

    A number is written out; a list holds the accepted answers, whose texts are joined with ' | '. Raises RowError.
    """
    if isinstance(value, list):
        return " | ".join(form for item in value if (form := _scalar(item, field).strip())) or None
    written = _scalar(value, field)
    return written if written.strip() else None


def listed(value: Any, field: str) -> list[Any]:
    """Return a list, given as one or as a JSON list in text; empty where there is nothing. Raises RowError."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowError(f'a JSON list is expected, such as ["a", "b"], not {shown(value)}', field=field) from None
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise RowError(f"a list is expected, not {shown(value)}", field=field)
    return value


def options(value: Any, field: str) -> tuple[str, ...]:
    """Return the texts of a row's options, () where there are none. Raises RowError: one alone, a blank, a repeat."""
    texts = tuple(_scalar(item, field) for item in listed(value, field))
    if len(texts) == 1:
        raise RowError(f"only one option, {shown(texts[0])}", field=field)
    seen: set[str] = set()
    for option in texts:
        form = " ".join(option.split())
        if not form or form in seen:
            raise RowError(f"option {shown(option)} occurs twice" if form else "an option is empty", field=field)
        seen.add(form)
    return texts


def shown(value: object) -> str:
    """Return the value as a message shows it: quoted, cut at 60 characters."""
    form = repr(value)
    return form if len(form) <= 60 else f"{form[:57]}..."


def _scalar(value: Any, field: str) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return str(value).lower()
        case float() if value.is_integer() and abs(value) < 2**53:
            return str(int(value))  # a column of whole numbers with a gap comes out of Parquet as floats
        case int() | float():
            return str(value)
        case _:
            raise RowError(f"text or a number is expected, not {shown(value)}", field=field)
