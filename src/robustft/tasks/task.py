"""What a task is: how a row is put to a model, and how answers are read and compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from robustft.records import Example, Message

Reading = Literal["tolerant", "strict"]
READINGS: tuple[Reading, ...] = ("strict", "tolerant")


@dataclass(frozen=True, slots=True)
class Found:
    """An answer found in a text: its canonical value, and where it stands as text[start:end]."""

    value: str
    start: int
    end: int


class Task(Protocol):
    """A kind of question.

    A *value* is the canonical form of an answer: an option's letter, a plain decimal number, or a normalised phrase.
    Nothing inherits from this: any object with these members is a task, such as one of your own (docs/tasks.md).
    Laws: `agree` is symmetric, and reflexive on readable values; `locate` never raises; what `write` wrote, `label`
    reads back as the same value.
    """

    @property
    def answer_form(self) -> str:
        """What a prompt asks for, such as 'the capital letter of the right option'."""
        ...

    @property
    def options(self) -> tuple[str, ...]:
        """The option texts of every row that brings none of its own; () where the task has no such list."""
        ...

    def render(self, example: Example, *, listed: bool = True) -> list[Message]:
        """Return the row as messages that end in a user turn: instruction, question and options; no response.

        `listed` False leaves the options out: a model that is asked for an option's text, not its letter, is better
        off without the letters.
        """
        ...

    def label(self, response: str, options: Sequence[str] = ()) -> str | None:
        """Return the value of a response that a person or a file gives (letter, index or text), None if unreadable."""
        ...

    def locate(self, text: str, options: Sequence[str] = (), reading: Reading = "tolerant") -> Found | None:
        """Find the answer in a model's text; None is an abstention: nothing, cut off, off the list, or two answers."""
        ...

    def extract(self, text: str, options: Sequence[str] = (), reading: Reading = "tolerant") -> str | None:
        """Return the value that `locate` finds."""
        ...

    def agree(self, a: str, b: str) -> bool:
        """Whether two values are the same answer."""
        ...

    def write(self, value: str, like: str | None, options: Sequence[str] = ()) -> str:
        """Return the value in the form in which the response `like` is given (letter, index or option text)."""
        ...


def given(example: Example, task: Task) -> str | None:
    """Return the value of the row's given response; None where there is none, or none that can be read."""
    return None if example.response is None else task.label(example.response, example.options)
