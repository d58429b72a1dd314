"""Rows for other tools' reviewers, and their verdicts back: Label Studio's tasks, Argilla's records.

Written after Label Studio 1.2x ("Import pre-annotated data", "Export results as JSON") and Argilla 2 (records as
dictionaries). A row is found again by `content`, which goes along.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import orjson

from robustft.errors import DataError
from robustft.review.desk import Desk
from robustft.review.verdicts import PersonVerdict, content_of
from robustft.run import write_atomically

Tool = Literal["label-studio", "argilla"]
LEAVE_OUT = "leave out"
"""The choice that leaves a row out, in either tool."""


def export_rows(desk: Desk, path: Path, tool: Tool) -> int:
    """Write the desk's rows with the run's own answer as a prediction. Returns how many. Raises DataError."""
    rows = [_of_row(desk, position, tool) for position in range(len(desk.places))]
    if tool == "label-studio":
        content = orjson.dumps(rows, option=orjson.OPT_INDENT_2)
    else:
        content = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    try:
        write_atomically(path, lambda place: place.write_bytes(content))
    except OSError as error:
        raise DataError(f"can't be written: {error.strerror}", path=path) from None
    return len(rows)


def import_verdicts(desk: Desk, path: Path, tool: Tool) -> int:
    """Take the verdicts of a file that the tool has exported. Returns how many there were.

    Raises DataError for what isn't such a file, for a row that the run doesn't have, and for an answer that can't be
    read; nothing is taken then.
    """
    known = {content_of(example): example for example in desk.examples}
    found: list[PersonVerdict] = []
    for number, (content, said) in enumerate(_said(path, tool), start=1):
        example = known.get(content)
        if example is None:
            raise DataError("the run has no such row; import into the run that was exported", path=path, row=number)
        value = None if said == LEAVE_OUT else desk.task.label(said, example.options)
        if value is None and said != LEAVE_OUT:
            raise DataError(f"'{said}' can't be read as an answer", path=path, row=number)
        found.append(PersonVerdict(content, example.id, value, desk.drawn))
    for verdict in found:
        desk.verdicts.say(verdict)
    return len(found)


def _of_row(desk: Desk, position: int, tool: Tool) -> dict[str, Any]:
    row, example = desk.row(position), desk.examples[desk.places[position]]
    question = "\n\n".join(message["content"] for message in row["messages"])
    options = [candidate["text"] for candidate in row["candidates"]]
    best = row["final"] or row["given"]
    if tool == "argilla":
        return {
            "id": content_of(example),
            "fields": {"question": question, "given": row["given"] or "", "options": "\n".join(options)},
            "metadata": {"row": example.id, "decision": row["decision"], "confidence": row["confidence"]},
            "suggestions": {"answer": {"value": best, "score": row["confidence"], "agent": "robustft"}} if best else {},
        }
    task: dict[str, Any] = {
        "data": {
            "content": content_of(example),
            "row": example.id,
            "question": question,
            "given": row["given"],
            "options": [{"value": option} for option in [*options, LEAVE_OUT]],
        }
    }
    if best:
        result = {"from_name": "answer", "to_name": "question", "type": "choices", "value": {"choices": [best]}}
        task["predictions"] = [{"model_version": "robustft", "score": row["confidence"], "result": [result]}]
    return task


def _said(path: Path, tool: Tool) -> Iterator[tuple[str, str]]:
    """Yield each row's content and what was said of it. Raises DataError."""
    try:
        text = path.read_bytes()
        rows = orjson.loads(text) if tool == "label-studio" else [orjson.loads(line) for line in text.splitlines()]
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror}", path=path) from None
    except orjson.JSONDecodeError as error:
        raise DataError(f"is no JSON: {error}", path=path) from None
    if not isinstance(rows, list):
        raise DataError("is no list of rows; export as JSON", path=path)
    for number, row in enumerate(rows, start=1):
        try:
            said = _of_label_studio(row) if tool == "label-studio" else _of_argilla(row)
        except (KeyError, TypeError, IndexError, AttributeError):
            raise DataError(f"is no row that {tool} exports", path=path, row=number) from None
        if said is not None:
            yield said


def _of_label_studio(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the last annotation that wasn't cancelled: a choice, or text that was written."""
    for annotation in reversed(row["annotations"]):
        if annotation.get("was_cancelled") or not annotation["result"]:
            continue
        value = annotation["result"][-1]["value"]
        return row["data"]["content"], str((value.get("choices") or value["text"])[0])
    return None


def _of_argilla(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the last response that was submitted."""
    said = [r for r in row.get("responses", {}).get("answer", []) if r.get("status", "submitted") == "submitted"]
    return (row["id"], str(said[-1]["value"])) if said else None
