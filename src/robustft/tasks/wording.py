"""How a file writes its responses: the option's letter, its text, an index, or a line around one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from robustft.records import Example
from robustft.tasks.options import letters
from robustft.tasks.task import Task

_LOOKED_AT = 100
"""Labelled rows that tell how the others are written."""


@dataclass(frozen=True, slots=True)
class Wording:
    """Writes values as the file would, also in a row that has no response of its own.

    `sample`: a response of the file, rewritten for the first option of its row, whose text is `first`; None where the
    file gives the options' texts.
    """

    task: Task
    sample: str | None = "A"
    first: str = ""

    @classmethod
    def of(cls, examples: Iterable[Example], task: Task) -> Wording:
        """Look at the first hundred rows that have a response and options; where there are none, letters are written.

        The options' texts are the wording where most responses are texts, else that of the first which isn't one.
        """
        texts, other = 0, list[Wording]()
        for example in islice((e for e in examples if e.response is not None and e.options), _LOOKED_AT):
            first = example.options[0]
            sample = task.write(letters(1)[0], example.response, example.options)
            if sample == first and sample != letters(1)[0]:
                texts += 1
            else:
                other.append(cls(task, sample, first))
        if texts > len(other):
            return cls(task, None)
        return other[0] if other else cls(task)

    def write(self, value: str, example: Example) -> str:
        """Return the value in the form of the row's own response; where it has none, in that of the file's."""
        like = example.response
        if like is None and example.options:
            like = self.like(example.options)
        return self.task.write(value, like, example.options)

    def like(self, options: Sequence[str]) -> str:
        """Return a response for the first of a row's options as the file would write it."""
        if self.sample is None:
            return options[0]
        # of 'A) dog' the text is that of its own row
        own = self.sample.replace(self.first, options[0]) if self.first else self.sample
        return own if self.task.label(own, options) == letters(1)[0] else self.sample
