"""Questions whose answer is a quantity; its value is a plain decimal such as '1250', '-0.5', '37.5'."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation

from robustft.records import Example, Message
from robustft.tasks.quantities import Quantity, plain, quantities
from robustft.tasks.reading import LONGEST, Place, after_reasoning, clean, is_mark, lines, marked, settle, taken_back
from robustft.tasks.rendering import turns
from robustft.tasks.task import Found, Reading

_EXACT = Context(prec=200)
# Where the words after a number begin to be about something else
_CLIP = re.compile(
    r"[.!?](?=[*_\s]+[^\s\d*_])|;|[.,]?\s(?:because|since|which|so)\b|\s\((?!or\b)"
    r"|,\s(?=(?:as|the|it|this|that|he|she|they|we|i|not|obtained|rounded|given|where|with)\b)",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_EQUALS = re.compile(r"[=\u2248]|\\approx\b")
_UNEQUAL = re.compile(r"[<>!]=|\u2260|\\neq?\b")
_NOTHING_BEFORE = re.compile(
    r"\W*(?:(?:about|approximately|around|roughly|approx|circa|total|sum|result|usd|eur"
    r"|gbp|jpy|inr|chf|cny|rs|us|[a-z]\s?(?=[=\u2248]))\b\W*)?",
    re.IGNORECASE,
)
_LIST_ITEM = re.compile(r"[.)]\s+\w")
_CONCLUSION = re.compile(
    r"\W*(?:so|therefore|thus|hence|in total|total|altogether|overall|finally|consequently|as a result)\b"
    r".*[.!][\s*_$)]*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class NumberTask:
    """A quantity. Currency, unit and percent sign are dropped: '37.5%' is 37.5, which agrees with '37.5', not '0.375'.

    Two numbers agree when they differ by at most `tolerance` times the larger one's size; 0 asks for equality.
    """

    tolerance: float = 1e-6
    instruction: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        """A quantity has no options."""
        return ()

    @property
    def answer_form(self) -> str:
        """What a prompt asks for."""
        return "a number in digits"

    def render(self, example: Example, *, listed: bool = True) -> list[Message]:
        """Return the row as messages."""
        return turns(example, self.instruction)

    def label(self, response: str, options: Sequence[str] = ()) -> str | None:
        """Return the number that a person or a file gives: '1,250', '$1.2 million', '3/4', a solution's last line."""
        found = _labelled(clean(response).text) or self.locate(response)
        return found.value if found else None

    def locate(self, text: str, options: Sequence[str] = (), reading: Reading = "tolerant") -> Found | None:
        """Find the answer in a model's text: the one number that stands where `tasks.reading` looks for it.

        Several different numbers, ranges, bounds ('at least 12'), dates, and numerals that can be read two ways
        ('12,5', '(12)') are no answer. Without a mark, a tolerant reading takes a first or last line that is only a
        number and its unit, then a last line that concludes ('So she has 12 apples.', '5 + 7 = 12').
        """
        whole = clean(text)
        start = after_reasoning(whole.text)
        if start is None:
            return None
        places = marked(whole.text, start, reading)
        if places:
            found = settle(whole.text, places, lambda place: _announced(whole.text, place), self.agree)
        else:
            found = None if reading == "strict" else _unmarked(whole.text, start)
        return whole.found(found.value, found.start, found.end) if found else None

    def extract(self, text: str, options: Sequence[str] = (), reading: Reading = "tolerant") -> str | None:
        """Return the number that `locate` finds."""
        found = self.locate(text, options, reading)
        return found.value if found else None

    def agree(self, a: str, b: str) -> bool:
        """Whether two values are the same number, up to the tolerance. What is no finite number agrees with nothing."""
        try:
            first, second = Decimal(a), Decimal(b)
        except InvalidOperation:
            return False
        if plain(first) is None or plain(second) is None:
            return False
        allowed = _EXACT.multiply(Decimal(self.tolerance), max(first.copy_abs(), second.copy_abs()))
        return _EXACT.subtract(first, second).copy_abs() <= allowed

    def write(self, value: str, like: str | None, options: Sequence[str] = ()) -> str:
        """Return the number in the form of `like`: with its currency, unit, thousands commas, 'Answer: ' before it."""
        if like is None:
            return value
        whole = clean(like)
        found = _labelled(whole.text)
        found = whole.found(found.value, found.start, found.end) if found else self.locate(like)
        if found is None or not (_NOTHING_BEFORE.fullmatch(like[: found.start]) or is_mark(like[: found.start])):
            return value
        number = format(Decimal(value), ",f") if "," in like[found.start : found.end] else value
        written = like[: found.start] + number + like[found.end :]
        return written if self.label(written) == value else value


def _labelled(text: str) -> Found | None:
    """Read a text that is nothing but a number and its unit."""
    there = lines(text, 0)
    return _alone(text, there[0]) if len(there) == 1 else None


def _only(text: str, start: int, end: int) -> Quantity | None:
    """Return the last mention of the one number of text[start:end]; None where there are two, or one is unreadable."""
    found = list(quantities(text[start:end]))
    if not found or len({quantity.value for quantity in found}) != 1 or found[-1].value is None:
        return None
    return Quantity(found[-1].value, start + found[-1].start, start + found[-1].end)


def _announced(text: str, place: Place) -> Found | None:
    """Read what stands at a mark: a number, perhaps among words, or the right side of an equation."""
    start, end = place.start, place.end
    digit = _DIGIT.search(text, start, end)
    if digit is None:
        return None
    clip = _CLIP.search(text, digit.end(), end)
    end = clip.start() if clip else end
    if _UNEQUAL.search(text, start, end):
        return None
    *_, start = [start, *(sign.end() for sign in _EQUALS.finditer(text, start, end))]
    quantity = _only(text, start, end)
    if quantity is None or quantity.value is None or quantity.start >= place.start + place.latest:
        return None
    return Found(quantity.value, quantity.start, quantity.end)


def _unmarked(text: str, start: int) -> Found | None:
    """Read a text that has no mark."""
    there = lines(text, start)
    if not there:
        return None
    alone = [_alone(text, line) for line in there]
    last: Found | None = None
    if alone[0] or alone[-1]:
        found = [answer for answer in alone if answer]
        last = found[-1] if len({answer.value for answer in found}) == 1 else None
    elif _CONCLUSION.fullmatch(text, there[-1].start, there[-1].end):
        last = _announced(text, there[-1])
    elif _EQUALS.search(text, there[-1].start, there[-1].end):
        equation = _announced(text, there[-1])
        last = equation if equation and _only_unit(text[equation.end : there[-1].end]) else None
    return None if last is None or taken_back(text, last.end) else last


def _alone(text: str, line: Place) -> Found | None:
    """Read a line that is nothing but a number and at most three words of unit."""
    if line.end - line.start > LONGEST:
        return None
    quantity = _only(text, line.start, line.end)
    if quantity is None or quantity.value is None:
        return None
    before = text[line.start : quantity.start]
    if not _NOTHING_BEFORE.fullmatch(before) or not _only_unit(text[quantity.end : line.end]):
        return None
    return Found(quantity.value, quantity.start, quantity.end)


def _only_unit(after: str) -> bool:
    words = [word for word in after.split() if any(character.isalnum() for character in word)]
    return len(words) <= 3 and not _LIST_ITEM.match(after)
