"""What a person said of rows: a file that only grows, a line a verdict, found again by a row's content."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson

from robustft.config import Config
from robustft.errors import DataError
from robustft.records import Decision, Example
from robustft.run import RunDir, fingerprint
from robustft.tasks.task import Task, given
from robustft.tasks.wording import Wording

Drawn = Literal["chosen", "random"]
"""How a row came before the person: since it promised much, or by lot."""


@dataclass(frozen=True, slots=True)
class PersonVerdict:
    """What a person said of a row: the true `value`, or None: leave it out.

    `content` is `content_of` the row, `row` its id when it was looked at; `time` in UTC.
    """

    content: str
    row: str
    value: str | None
    drawn: Drawn
    time: str = ""


def content_of(example: Example) -> str:
    """Return a digest of what is asked: the same in every run, whatever the row's id, place and given response."""
    return fingerprint([{**message} for message in example.messages], example.options)[:32]


def verdict_file(run: RunDir, config: Config) -> Path:
    """Return where the run's verdicts are kept."""
    return config.review.file or run.path / "review.jsonl"


class PersonVerdicts:
    """The verdicts of a file, the last word on each row. A verdict is on the disk when `say` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = list(_read(path))
        self._said = _last_words(self._lines)

    def __len__(self) -> int:
        return len(self._said)

    def of(self, example: Example) -> PersonVerdict | None:
        """Return what was said of a row; None where nothing was, or it was taken back."""
        return self._said.get(content_of(example)) if self._said else None

    def say(self, verdict: PersonVerdict) -> None:
        """Add a verdict. Raises DataError where it can't be written."""
        self._add(asdict(replace(verdict, time=verdict.time or datetime.now(UTC).isoformat(timespec="seconds"))))

    def take_back(self, content: str) -> None:
        """Take back the last word on a row; the one before it, if there is one, holds again."""
        self._add({"undo": content})

    def digest(self, drawn: Drawn | None = None) -> str:
        """Return what tells whether verdicts have changed, of all rows or of those drawn so."""
        return fingerprint(
            sorted((v.content, v.value) for v in self._said.values() if drawn is None or v.drawn == drawn)
        )

    def known(self, examples: Iterable[Example], task: Task) -> dict[str, str]:
        """Return the true values of rows that were drawn by lot, by id: what the posterior may learn from.

        Rows that were chosen because they looked odd say nothing of how often labels are wrong.
        """
        if not self._said:
            return {}
        found = {example.id: self.of(example) for example in examples}
        return {row: v.value for row, v in found.items() if v is not None and v.value and v.drawn == "random"}

    def _add(self, line: Mapping[str, Any]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(orjson.dumps(line) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DataError(f"the verdict can't be written: {error.strerror}", path=self.path) from None
        self._lines.append(dict(line))
        self._said = _last_words(self._lines)


def decided(
    examples: Sequence[Example], decisions: Iterable[Decision], verdicts: PersonVerdicts, task: Task
) -> Iterator[Decision]:
    """Yield the decisions, a person's in the place of the run's where there is one."""
    wording = Wording.of(examples, task)
    for example, decision in zip(examples, decisions, strict=True):
        verdict = verdicts.of(example)
        yield decision if verdict is None else _by_person(example, decision, verdict, wording)


def _by_person(example: Example, decision: Decision, verdict: PersonVerdict, wording: Wording) -> Decision:
    if verdict.value is None:
        return replace(decision, decision="drop", confidence=1.0, reason="a person left it out")
    label = given(example, wording.task)
    if label is not None and wording.task.agree(label, verdict.value):
        return replace(
            decision,
            decision="keep",
            response_final=example.response,
            confidence=1.0,
            reason="a person found the given response right",
        )
    final = wording.write(verdict.value, example)
    reason = f"a person said {verdict.value}"
    return replace(decision, decision="relabel", response_final=final, confidence=1.0, reason=reason)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the file's lines. Raises DataError for one that can't be read, but for a last one that was cut off."""
    if not path.exists():
        return
    content = path.read_bytes()
    *whole, rest = content.split(b"\n")
    if rest:  # the process was killed while it wrote: that key press was never answered
        with path.open("r+b") as file:
            file.truncate(len(content) - len(rest))
    for number, text in enumerate(whole, start=1):
        try:
            line = orjson.loads(text)
            if "undo" not in line:
                PersonVerdict(**line)
        except (orjson.JSONDecodeError, TypeError):
            raise DataError("is no verdict that `robustft review` wrote", path=path, row=number) from None
        yield line


def _last_words(lines: Iterable[Mapping[str, Any]]) -> dict[str, PersonVerdict]:
    said: dict[str, list[PersonVerdict]] = {}
    for line in lines:
        if "undo" in line:
            if said.get(line["undo"]):
                said[line["undo"]].pop()
        else:
            said.setdefault(line["content"], []).append(PersonVerdict(**line))
    return {content: verdicts[-1] for content, verdicts in said.items() if verdicts}
