"""A row as the messages a model is asked with."""

from __future__ import annotations

import re
from collections.abc import Sequence

from robustft.records import Example, Message

_NOTHING = Message(role="user", content="")


def turns(example: Example, instruction: str, option_lines: Sequence[str] = ()) -> list[Message]:
    """Return the row's turns, the last user turn made of instruction, question and options, a blank line between them.

    Options are left out where the turn already lists every one of them under its letter. A row that doesn't end in a
    user turn gets one.
    """
    *earlier, last = example.messages or (_NOTHING,)
    if last["role"] != "user":
        earlier, last = [*earlier, last], _NOTHING
    question = last["content"].strip()
    options = "" if _lists(question, option_lines) else "\n".join(option_lines)
    blocks = [block for block in (instruction.strip(), question, options) if block]
    return [*earlier, Message(role="user", content="\n\n".join(blocks) or "Answer the question above.")]


def _lists(question: str, option_lines: Sequence[str]) -> bool:
    if option_lines and option_lines[0].partition(". ")[2].strip() not in question:
        return False  # as nearly always, and found out at once
    there = {_bare(line) for line in question.splitlines()}
    return all(_bare(line) in there for line in option_lines)


def _bare(line: str) -> str:
    """Return a line such as '(A) Yes' or 'A: Yes' as 'A. Yes'."""
    return re.sub(r"^\s*\(?([A-Z]{1,2})\s?[).:]\s*", r"\1. ", line).strip()
