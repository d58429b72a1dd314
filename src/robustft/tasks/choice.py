"""Questions with options: the answer is one of them, and its value is the option's letter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from robustft.records import Example, Message
from robustft.tasks.options import Options, letters
from robustft.tasks.reading import (
    LONGEST,
    Place,
    after_reasoning,
    clean,
    hypothetical,
    is_mark,
    line_end,
    lines,
    marked,
    settle,
    taken_back,
)
from robustft.tasks.rendering import turns
from robustft.tasks.task import Found, Reading

__all__ = ["ChoiceTask", "letters"]

_NOT_BUT = re.compile(r"\W{0,4}not\s[(*\"]{0,3}\w{1,2}[)*\"]{0,3},?\sbut\s(?:rather\s|instead\s)?", re.IGNORECASE)
# Unmarked prose: 'I think it's (c)', 'B is correct', 'The sentiment is positive.'
_CLAIM = re.compile(
    r"\b(?:it(?:'s|\sis|\smust\sbe|\sshould\sbe|\swould\sbe)|going\swith|(?:must|should)\sbe"
    r"|i(?:'d|'ll|\swould|\swill)?\s(?:say|choose|chose|pick|select|go\swith"
    r"|believe\sit(?:'s|\sis)|think(?!\s(?:it|that|the))))(?=\W)",
    re.IGNORECASE,
)
_VERDICT = re.compile(
    r"(?<![\w'-])(?=[(*\[\"]{0,4}[A-Z]{1,2}[)*\].\"]{0,4}\s(?:is|was)\s(?:clearly\s|therefore\s|indeed\s|definitely\s)?"
    r"(?:the\s)?(?:most\s\w{1,12}|only\s\w{1,12}|correct|right|best|answer)\b)"
)
_STATEMENT = re.compile(r"\b(?:is|was|are|as|be|seems|appears)\b:?", re.IGNORECASE)
_TITLE = re.compile(r"[*_#\s]{0,6}[A-Za-z]{3,20}(?:\s[A-Za-z]{2,12})?[*_]{0,2}:[*_]{0,2}\s")
# what models answer as a rule: there is nothing to weigh
_USUAL = re.compile(r"Answer: ([A-Z])")
_INDEX = re.compile(r"\s*(\d{1,4})\s*")
_WRAPPED = re.compile(r"[\s*_`\"'(\[{]{0,6}([A-Za-z]{1,2})[\s*_`\"')\]}.:,;]{0,6}")


@dataclass(frozen=True, slots=True)
class ChoiceTask:
    """One of several options. The value is the option's letter: A, B, ... Z, AA, AB, ...

    `options` are the texts where every row has the same ones; a row's own options take precedence. Where neither is
    there (options written into the question), any letter from A to Z is on the list.
    """

    options: tuple[str, ...] = ()
    instruction: str = ""

    @property
    def answer_form(self) -> str:
        """What a prompt asks for."""
        return "the capital letter of the right option"

    def render(self, example: Example, *, listed: bool = True) -> list[Message]:
        """Return the row as messages, its options as lines 'A. text' unless `listed` is False."""
        texts = (example.options or self.options) if listed else ()
        return turns(example, self.instruction, [f"{n}. {t}" for n, t in zip(letters(len(texts)), texts, strict=True)])

    def label(self, response: str, options: Sequence[str] = ()) -> str | None:
        """Return the letter that a person or a file means.

        The first that fits counts:

        1. a capital letter on the list, even where an option's text is that letter: such files name options by letter;
        2. an option's text, exactly, or but for case, blanks and a final full stop;
        3. a letter in lower case or in brackets, quotes or markup: 'b', '(B)', 'B.', '**B**';
        4. an integer, counted from 0 as in ClassLabel columns of datasets: a row can't say where its file starts;
        5. what the tolerant reading finds: 'Answer: B', 'B) text', a worked solution with an answer line.
        """
        row, text = self._row(options), clean(response).text.strip()
        if text in row.names:
            return text
        if (equal := row.equal(text)) is not None:
            return equal
        if (wrapped := _WRAPPED.fullmatch(text)) and wrapped[1].upper() in row.names:
            return wrapped[1].upper()
        if (index := _INDEX.fullmatch(text)) and int(index[1]) < len(row.names):
            return row.names[int(index[1])]
        return self.extract(response, options)

    def locate(self, text: str, options: Sequence[str] = (), reading: Reading = "tolerant") -> Found | None:
        """Find the answer in a model's text: a letter or an option's whole text, where `tasks.reading` looks for it.

        Without a mark, a tolerant reading takes a first or last line that is nothing but an option, then a claim ('B is
        correct', 'I'd go with B'), then the one option that a single line states ('The sentiment is positive.').
        """
        row = self._row(options)
        if (usual := _USUAL.fullmatch(text)) and usual[1] in row.names:
            return Found(usual[1], usual.start(1), usual.end(1))
        plain = clean(text)
        start = after_reasoning(plain.text)
        if start is None:
            return None
        places = marked(plain.text, start, reading)
        if places and reading == "tolerant":
            # a letter before all marks is an answer too: some models go on and answer questions of their own
            places = [
                line for line in lines(plain.text, start)[:1] if _WRAPPED.fullmatch(plain.text[line.start : line.end])
            ] + places
        if places:
            found = settle(plain.text, places, lambda place: _announced(plain.text, place, row), self.agree)
        elif reading == "strict":
            found = None
        else:
            found = _unmarked(plain.text, start, row)
        return plain.found(found.value, found.start, found.end) if found else None

    def extract(self, text: str, options: Sequence[str] = (), reading: Reading = "tolerant") -> str | None:
        """Return the letter of the option that `locate` finds."""
        found = self.locate(text, options, reading)
        return found.value if found else None

    def agree(self, a: str, b: str) -> bool:
        """Whether two letters are the same."""
        return a == b

    def write(self, value: str, like: str | None, options: Sequence[str] = ()) -> str:
        """Return the option in the form of `like`: letter, index, text, 'B) text', or an 'Answer: B' line around it.

        An explanation isn't kept, since it explained the other option. A form that wouldn't be read back as `value`
        gives way to the bare letter.
        """
        written = self._like(value, like, self._row(options)) if like is not None else value
        return written if self.label(written, options) == value else value

    def _like(self, value: str, like: str, row: Options) -> str:
        stripped = like.strip()
        if row.equal(stripped) is not None and stripped not in row.names:
            return row.text(value)
        if _INDEX.fullmatch(like):
            return str(row.names.index(value))
        if wrapped := _WRAPPED.fullmatch(like):
            return like[: wrapped.start(1)] + _cased(value, wrapped[1]) + like[wrapped.end(1) :]
        found = self.locate(like, row.texts)
        if found is None:
            return value
        head, said, tail = like[: found.start], like[found.start : found.end], like[found.end :]
        new = _cased(value, said) if said.upper() == found.value else row.text(value)
        text = row.text(found.value)
        before, own, after = tail.partition(text) if text else (tail, "", "")
        if not is_mark(head) or any(character.isalnum() for character in before + after):
            return value
        return head + new + before + (row.text(value) if own else "") + after

    def _row(self, options: Sequence[str]) -> Options:
        return Options(tuple(options) or self.options)


def _cased(value: str, like: str) -> str:
    return value.lower() if like.islower() else value


def _announced(text: str, place: Place, row: Options) -> Found | None:
    """Read what stands at a mark."""
    start = place.start
    if (corrected := _NOT_BUT.match(text, start, place.end)) and not row.begins(text[start : place.end].lstrip()):
        start = corrected.end()
    content = text[start : place.end]
    hit = row.hit(content)
    if hit is None or hit.start >= place.latest or not row.stands(content, hit):
        return None
    return Found(hit.name, start + hit.start, start + hit.end)


def _unmarked(text: str, start: int, row: Options) -> Found | None:
    """Read a text that has no mark: nothing but an option on its first or last line, a claim, or one statement."""
    there = lines(text, start)
    if not there:
        return None
    alone = [_alone(text, line, row) for line in there]
    if alone[0] or alone[-1]:
        return _unanimous(text, alone)
    ends = [
        m.end()
        for pattern in (_CLAIM, _VERDICT)
        for m in pattern.finditer(text, start)
        if not hypothetical(text, m.start())
    ]
    claims = [_announced(text, Place(end, line_end(text, end)), row) for end in sorted(ends)]
    if any(claims) or len(there) > 1 or there[0].end - there[0].start > LONGEST:
        return _unanimous(text, claims)
    return _stated(text, there[0], row)


def _alone(text: str, line: Place, row: Options) -> Found | None:
    """Read a line that is nothing but an option, perhaps after a title such as 'Sentiment:'."""
    title = _TITLE.match(text, line.start, line.end)
    for start in (line.start, title.end()) if title else (line.start,):
        content = text[start : min(line.end, line.start + LONGEST)]
        hit = row.hit(content)
        if hit and row.stands(content, hit, alone=True):
            return Found(hit.name, start + hit.start, start + hit.end)
    return None


def _stated(text: str, line: Place, row: Options) -> Found | None:
    """Read a line such as 'The sentiment is positive.': one option's text after a form of 'to be', and no other's."""
    found = []
    for match in _STATEMENT.finditer(text, line.start, line.end):
        content = text[match.end() : line_end(text, match.end())]
        hit = row.hit(content)
        if hit and hit.by_text and row.stands(content, hit) and not hypothetical(text, match.end()):
            found.append(Found(hit.name, match.end() + hit.start, match.end() + hit.end))
    return _unanimous(text, [f for f in found if not row.others(text[line.start : line.end], f.value)])


def _unanimous(text: str, answers: Sequence[Found | None]) -> Found | None:
    found = [answer for answer in answers if answer]
    if len({answer.value for answer in found}) != 1 or taken_back(text, found[-1].end):
        return None
    return found[-1]
