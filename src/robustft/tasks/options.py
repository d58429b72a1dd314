"""The options of a row, and recognising one of them at the beginning of a piece of text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, islice, product
from string import ascii_uppercase

from robustft.tasks.reading import clean

# Markup, brackets, LaTeX, and words that don't change what is said
_LEAD = re.compile(
    r"""(?:[\s*_`"'(\[{<$\#>:]|\\(?:text|textbf|textit|mathbf|mathrm|bf|rm|boxed|fbox)\b\s?\{?|\\[(\[]|[-\u2013\u2014]\s
    |(?:the|my)\s(?:(?:final|correct|right|best)\s)?(?:answer|option|choice|letter)\s(?:is|would\sbe|must\sbe)\b
    |(?:option|choice|letter|answer|clearly|probably|likely|definitely|therefore|thus|indeed|is)\b(?=[\s*(:\["'])
    |most\slikely\b|i\sthink\b|it(?:'s|\sis)\b)*""",
    re.IGNORECASE | re.VERBOSE,
)
_MARKUP = re.compile(r"[\s*_`\"'(\[{]*(?:\\(?:text|textbf|mathbf|mathrm|boxed)\{)?")
_LETTER = re.compile(r"([A-Za-z]{1,2})(?![^\W_]|[&#@%+^\u00b0]|'\w|_\w|-\w|\*\w)")
_INSIDE_A_WORD = re.compile(r"[^\W_]|[%^\u00b0+#&@/]|['_-]\w|[.,:]\d")
_CLOSE = re.compile(r"[*_`\"')\]}>$]*(?:\\[)\]])?[*_]*")
_SEPARATOR = re.compile(r"[ *_]*[.,:;!?(\[\u2013\u2014-][ *_(\[\"'.]*")
_ALSO = re.compile(
    r"[\s,(*]{0,4}(?:(?:or|and|nor|but|vs|versus|maybe|perhaps|possibly)\b|(?:to|through)\s\(?[A-Z]\b)|\s*[/&+|]",
    re.IGNORECASE,
)
_LONE = re.compile(r"([A-Za-z]{1,2})(?!['-]?\w)(?!\s*\w)")
_LISTED = re.compile(r"[\s,;]*\(?([A-Z]{1,2})[.):](?=\s|$)")
_REASON = re.compile(
    r"(?:because|since|as|due|which|not|rather|based|explanation|reason|reasoning|justification)\b"
    r"|(?:is|was)\s(?:the\s)?(?:(?:most|only|best)\s)?(?:correct|right|best|answer|appropriate|accurate|likely)\b",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"(?:it|this|these|the|there|they|he|she|i|we|so)\b", re.IGNORECASE)

_REMEMBERED = 4_096
"""Texts whose forms are kept: a row's options are looked at many times over, and then no more."""


@lru_cache(maxsize=256)
def letters(n: int) -> tuple[str, ...]:
    """Return the names of n options: A to Z, then AA, AB, ... as a spreadsheet names its columns."""
    names = ("".join(name) for width in count(1) for name in product(ascii_uppercase, repeat=width))
    return tuple(islice(names, n))


@dataclass(frozen=True, slots=True)
class Hit:
    """An option recognised at [start:end] of a text, by its letter or by its whole text."""

    name: str
    start: int
    end: int
    by_text: bool


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one row; without texts, any of A to Z."""

    texts: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The options' letters."""
        return letters(len(self.texts) or 26)

    def text(self, name: str) -> str:
        """Return the text of the option called `name`, '' where texts are unknown."""
        return self.texts[self.names.index(name)] if self.texts else ""

    def equal(self, text: str) -> str | None:
        """Return the one option whose text this is, case and a final full stop aside if need be."""
        for normal in (_tidy, _fold):
            same = [
                name for name, option in zip(self.names, self.texts, strict=False) if normal(option) == normal(text)
            ]
            if len(same) == 1:
                return same[0]
        return None

    def begins(self, text: str) -> tuple[str, int] | None:
        """Return the option whose text `text` begins with, the longest, and that length.

        Case counts only where it tells options apart ('Rr', 'RR'). None where there is none, or two options share the
        text, so that it names neither.
        """
        lengths = {name: _shared(text, option) for name, option in zip(self.names, self.texts, strict=False)}
        best = max(lengths.values(), default=0)
        if best == 0:
            return None
        longest = [name for name, length in lengths.items() if length == best]
        if len(longest) > 1:
            longest = [name for name in longest if _plain(self.text(name))[:best] == text[:best]]
        return (longest[0], best) if len(longest) == 1 else None

    def hit(self, content: str) -> Hit | None:
        """Recognise an option at the beginning of `content`, whatever follows. The longer of letter and text wins."""
        lead = _end(_LEAD, content)
        letter = _LETTER.match(content, lead)
        by_letter = None
        if letter and letter[1].upper() in self.names:
            by_letter = Hit(letter[1].upper(), letter.start(), letter.end(), by_text=False)
        for start in (_end(_MARKUP, content), lead, len(content) - len(content.lstrip())):
            begun = self.begins(content[start:])
            if begun and (by_letter is None or start + begun[1] > by_letter.end):
                return Hit(begun[0], start, start + begun[1], by_text=True)
        return by_letter

    def stands(self, content: str, hit: Hit, *, alone: bool = False) -> bool:
        """Whether what follows a hit leaves it the one answer: its own text or letter, a reason, a new sentence.

        False where a second option follows, or a word that makes the letter a word ('A tree') or the text a part of
        something that isn't on the list ('water vapour'). `alone`: nor may another option be mentioned at all, and only
        an option's text may have a sentence after it ('Yes. The trial ...'), since 'A. First, ...' numbers a list.
        """
        close = _end(_CLOSE, content, hit.end)
        separator = _SEPARATOR.match(content, close)
        after = content[separator.end() if separator else close :].strip()
        own = _shared(after, self.text(hit.name))
        if named := (hit.name, own) if own else self._named(after):
            name, length = named
            if name != hit.name or _ALSO.match(after, length) or (alone and self.others(after[length:], name)):
                return False
            listed = _LISTED.match(after, length)
            return listed is None or listed[1] not in self.names or listed[1] == name
        if _ALSO.match(content, close):
            return False
        if not after:
            return True
        bare = not separator and close == hit.end
        if _REASON.match(after) and not (bare and content[hit.start : hit.end].islower() and not hit.by_text):
            return not (alone and self.others(after, hit.name))
        if bare or (alone and self.others(after, hit.name)):
            return False
        mark = separator[0].strip(" *_")[:1] if separator else ""
        if hit.by_text and mark in {",", "(", "["}:
            return _COMMENT.match(after) is not None
        return not alone or (hit.by_text and mark in {".", "!"})

    def others(self, text: str, name: str) -> bool:
        """Whether `text` mentions an option other than `name` by its text or a bracketed letter."""
        starts = [match.start() for match in re.finditer(r"(?<![^\W_])[^\W_]", text)]
        return any((begun := self.begins(text[i : i + 400])) and begun[0] != name for i in starts[:100]) or any(
            found in self.names and found != name for found in re.findall(r"\(([A-Z]{1,2})\)", text)
        )

    def _named(self, text: str) -> tuple[str, int] | None:
        lone = _LONE.match(text)
        if lone and lone[1].upper() in self.names:
            return lone[1].upper(), lone.end()
        begun = self.begins(text)
        # a one-letter text counts only where it is all there is, lest 'a' be the article
        return begun if begun and (begun[1] > 1 or not re.search(r"\w", text[begun[1] :])) else None


def _end(pattern: re.Pattern[str], text: str, start: int = 0) -> int:
    match = pattern.match(text, start)
    return match.end() if match else start


@lru_cache(maxsize=_REMEMBERED)
def _tidy(text: str) -> str:
    return " ".join(clean(text).text.split())


@lru_cache(maxsize=_REMEMBERED)
def _fold(text: str) -> str:
    return _tidy(text).rstrip(".").casefold()


@lru_cache(maxsize=_REMEMBERED)
def _plain(option: str) -> str:
    return clean(option).text.strip()


@lru_cache(maxsize=_REMEMBERED)
def _spellings(option: str) -> tuple[tuple[str, int, bool], ...]:
    """Return how an option may begin a text, in lower case, each with its length and whether it ends in a word."""
    whole = _plain(option)
    return tuple((text.lower(), len(text), text[-1].isalnum()) for text in (whole, whole.rstrip(".")) if text)


def _shared(text: str, option: str) -> int:
    """Return the length of `option` at the beginning of `text`, 0 where it isn't there as whole words."""
    for wanted, n, word in _spellings(option):
        if text[:n].lower() == wanted and not (word and _INSIDE_A_WORD.match(text, n)):
            return n
    return 0
