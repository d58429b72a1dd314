"""Where in a model's text the answer stands, whatever its kind; and which one counts where there are several.

The rule, in this one place:

1. Reasoning is not the answer: only what follows the last `</think>` is read, and a `<think>` that never closes leaves
   nothing to read.
2. A *mark* announces an answer: an `Answer: X` line, 'the answer is X', a boxed X, an 'Answer' heading, an `<answer>`
   tag. Where there are marks, they alone decide. A strict reading knows one mark, the paper's `Answer: X`.
3. A mark that says 'final' makes everything before it a draft. Among the rest, all marks that can be read must say the
   same, and the last must be one of them; else the model gave two answers, or was cut off in its last.
4. An answer that is taken back ('Wait, ...') after its mark is none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from robustft.tasks.task import Found, Reading

LONGEST = 500
"""Characters of a mark's text that are read; keeps reading linear, and no answer is longer."""

_THINKING = re.compile(r"[<\[](/?)(?:think|thinking|thought|reasoning|reflection)[>\]]", re.IGNORECASE)
_PAPER = re.compile(r"(final\s{1,3})?answer\s*:\s*(\S+)", re.IGNORECASE)
_COLON = re.compile(
    r"(?P<final>\bfinal\s{1,3})?(?:answer|\bans|\b(?:correct|right|best)\s(?:option|choice|response)|答案)"
    r"(?:\s(?:choice|option|letter|value|to\s(?:the|this|your)\s\w{1,20}))?[*_`\"]{0,4}\s*[:=][*_`]{0,4}",
    re.IGNORECASE,
)
_PROSE = re.compile(
    r"(?P<final>\bfinal\s{1,3})?"
    r"(?:\b(?:answer|(?:correct|right|best|my)\s(?:option|choice|response|letter))\b"
    r"(?:\s(?:choice|option|letter|value|to\s(?:the|this|your)\s\w{1,20}))?[*_`\"]{0,4}"
    r"\s{1,3}(?:is|was|(?:would|should|must|will)\sbe)\b|答案(?:是|为))\s{0,3}:?",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"^[ #*_>]{0,12}(?:the\s)?(?P<final>final\s)?(?:correct\s)?answer[ *_#]{0,12}$"
    r"|^[ ]{0,3}#{4}(?=[ ]{0,3}[^#\s])|<answer>",
    re.IGNORECASE | re.MULTILINE,
)
_BRACE = re.compile(r"\\(?:boxed|fbox)\s?\{|(?<!\\)[{}]")
_STOP = re.compile(r"\n|</answer>", re.IGNORECASE)
_BLANK = re.compile(r"[ \t*_`]*(?:\n[ \t]*)+(?=\S)")
_LINE = re.compile(r"\S[^\n]*")
_HYPOTHETICAL = re.compile(
    r"\b(?:not|never|no|if|whether|unless|why|suppose|assum\w{1,4}|neither|nor|cannot)\b|n't\b", re.IGNORECASE
)
_CLAUSE = re.compile(r"[.,;!?\n]|\bbut\b", re.IGNORECASE)
_TAKEN_BACK = re.compile(
    r"[.!?\n(][ *_\n]{0,6}(?:oh,? |but |hmm,? |no,? )?"
    r"(?:wait|actually|hmm+|correction|scratch that|on second thoughts?|let me (?:re[a-z-]*|double|check)"
    r"|i made a mistake|my mistake)(?![a-z])",
    re.IGNORECASE,
)

_MARK_ONLY = re.compile(
    r"\W*(?:(?:so|thus|therefore|the|my|final|correct|right|best|answer|option|choice|is)\b\W*)*", re.IGNORECASE
)

_TYPOGRAPHY = {
    **dict.fromkeys("\u2018\u2019\u201b\u02bc\uff07", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d\u300e\u300f", '"'),
    **dict.fromkeys("\u2212\ufe63\u2010\u2011", "-"),
    **dict.fromkeys("\u3010\u3014\u27e8\u300a", "["),
    **dict.fromkeys("\u3011\u3015\u27e9\u300b", "]"),
    "\u3002": ".",
    "\u3001": ",",
    "\u066b": ".",
    "\u066c": ",",
    "\u2044": "/",
    "\r": "\n",
    "\u2028": "\n",
    "\u2029": "\n",
}


@dataclass(frozen=True, slots=True)
class Clean:
    """A text with its typography made plain, and for each of its characters the place it had in the original."""

    text: str
    origin: Sequence[int]

    def found(self, value: str, start: int, end: int) -> Found:
        """Return the answer at text[start:end] as a Found in the original text."""
        return Found(value, self.origin[start], self.origin[end - 1] + 1)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an announced answer is to be read: text[start:end], never past a line's end.

    `final`: its mark says so. `open`: prose, where a sentence may follow the answer.
    """

    start: int
    end: int
    final: bool = False
    open: bool = False
    latest: int = LONGEST
    """The answer must begin within so many characters."""


def clean(text: str) -> Clean:
    """Make typography plain: full-width letters, odd spaces, dashes and quotes; direction marks are removed.

    Only what can't change the meaning: '²' stays, since '12 m²' isn't '12 m2'.
    """
    if text.isascii():
        return Clean(text.replace("\r", "\n"), range(len(text)))
    plain = [_plain(character) for character in text]
    return Clean("".join(plain), [i for i, characters in enumerate(plain) for _ in characters])


def _plain(character: str) -> str:
    if character in _TYPOGRAPHY:
        return _TYPOGRAPHY[character]
    if character < "\x80":
        return character
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    if category == "Zs":
        return " "
    if category == "Nd":
        return str(unicodedata.digit(character))
    if category == "No" and "\u2044" in (fraction := unicodedata.normalize("NFKC", character)):
        return " " + fraction.replace("\u2044", "/")
    if (
        "\uff01" <= character <= "\uff5e"
        or "\u24b6" <= character <= "\u24e9"
        or "\U0001d400" <= character <= "\U0001d7ff"
    ):
        return unicodedata.normalize("NFKC", character)
    return character


def after_reasoning(text: str) -> int | None:
    """Return where the text after the reasoning begins, None where the reasoning never ends."""
    tags = list(_THINKING.finditer(text))
    closed = max((tag.end() for tag in tags if tag[1]), default=0)
    return None if any(not tag[1] and tag.start() >= closed for tag in tags) else closed


def marked(text: str, start: int, reading: Reading) -> list[Place]:
    """Return the places that marks announce from text[start:] on, in their order."""
    if reading == "strict":
        return [
            Place(mark.start(2), line_end(text, mark.start(2)), mark[1] is not None, latest=len(mark[2]))
            for mark in _PAPER.finditer(text, start)
        ]
    found = [*_announced(text, start), *_boxed(text, start)]
    return sorted(found, key=lambda place: place.start)


def _announced(text: str, start: int) -> Iterator[Place]:
    for pattern in (_COLON, _PROSE, _HEADING):
        for mark in pattern.finditer(text, start):
            if pattern is _PROSE and hypothetical(text, mark.start()):
                continue
            prose = pattern is _PROSE and not mark[0].endswith(":")
            blank = None if prose else _BLANK.match(text, mark.end())
            begin = blank.end() if blank else mark.end()
            yield Place(begin, line_end(text, begin), bool(mark["final"]), open=prose)


def _boxed(text: str, start: int) -> Iterator[Place]:
    """Yield the insides of boxes; one that never closes is an empty place, so that it can't be read."""
    open_braces: list[tuple[int, bool]] = []
    for brace in _BRACE.finditer(text, start):
        if brace[0].endswith("{"):
            open_braces.append((brace.end(), brace[0] != "{"))
        elif open_braces:
            inside, boxed = open_braces.pop()
            if boxed:
                yield Place(inside, brace.start() if brace.start() - inside <= LONGEST else inside)
    yield from (Place(inside, inside) for inside, boxed in open_braces if boxed)


def is_mark(text: str) -> bool:
    """Whether a text is nothing but a mark, such as 'The answer is ' or '**Answer:** ', or nothing at all."""
    return _MARK_ONLY.fullmatch(text) is not None


def hypothetical(text: str, start: int) -> bool:
    """Whether what begins at `start` is denied or only supposed, by the words of its clause before it."""
    before = text[max(0, start - 80) : start]
    *_, clause = _CLAUSE.split(before)
    return _HYPOTHETICAL.search(clause) is not None


def line_end(text: str, start: int) -> int:
    """Return where the line ends, or an answer tag closes, or too much has been read."""
    stop = _STOP.search(text, start, start + LONGEST)
    return stop.start() if stop else min(len(text), start + LONGEST)


def taken_back(text: str, start: int) -> bool:
    """Whether the text from `start` on takes back the answer that ends there."""
    return _TAKEN_BACK.search(text, start) is not None


def settle(
    text: str,
    places: Sequence[Place],
    read: Callable[[Place], Found | None],
    agree: Callable[[str, str], bool],
) -> Found | None:
    """Return the answer that the places agree on, by rules 3 and 4 of this module. `read` gives spans of `text`."""
    first_final = next((i for i, place in enumerate(places) if place.final), 0)
    answers = [read(place) for place in places[first_final:]]
    if not answers or (last := answers[-1]) is None:
        return None
    if any(answer is not None and not agree(answer.value, last.value) for answer in answers):
        return None
    return None if taken_back(text, last.end) else last


def lines(text: str, start: int) -> list[Place]:
    """Return the lines of text[start:] that aren't blank."""
    return [Place(match.start(), match.end()) for match in _LINE.finditer(text, start)]
