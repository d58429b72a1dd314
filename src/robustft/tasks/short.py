"""Questions whose answer is a word or a short phrase; its value is the phrase, which is normalised to be compared."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from robustft.records import Example, Message
from robustft.tasks.quantities import plain
from robustft.tasks.reading import LONGEST, Place, after_reasoning, clean, lines, marked, settle, taken_back
from robustft.tasks.rendering import turns
from robustft.tasks.task import Found, Reading

_WORDS = 15
"""Words of the longest phrase that a model's announced answer may have; more is rambling."""
_LINE_WORDS, _SENTENCE_WORDS = 5, 3
"""Words of the longest phrase that counts as an answer without a mark, on a last line; if that ends in a full stop."""

_FORM = "one word, a short phrase, or digits"
_ARTICLES = frozenset({"a", "an", "the"})
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d{1,60})?(?:\.\d{1,60})?(?<=\d)")
# '10-yard' and 'red/blue' are two words; and '1/4' or '3:30' must not become 14 and 330
_JOINT = re.compile(r"(?<=\w)[-\u2013\u2014/](?=\w)|(?<=\d)[^\w\s.,]+(?=\d)")
_AROUND_NUMBER = re.compile(r"^[^\w.+-]+|(?<=\w)\W+$")
_PREFIX = re.compile(
    r"""(?:[\s*_`:]|[#>=]+\s|[-\u2022]\s|\$(?=[^$]*\$\W*$)|\\\(|\\(?:text|textbf|textit|mathrm|mathbf|boxed)\{
    |(?:the\s)?(?:(?:final|correct)\s)?answer(?:\sis\b|\s?:))*(?:["'](?=.*["']\W*$))?""",
    re.IGNORECASE | re.VERBOSE,
)
# A sentence ends after a word of four letters or a number, so that 'St. Louis' and 'U.S. Steel' stay whole
_SENTENCE = re.compile(r"(?:(?<=\w{4})|(?<=[\d)\"'%]))[.!?][*_\"']*\s+(?=[A-Z])")
_ABBREVIATED = re.compile(r"(?:\b[A-Za-z]\.){2}$")
_ASIDE = re.compile(r"[,;]?\s(?:because|since)\b|,\s(?:as|which|who)\b|;", re.IGNORECASE)
_NO_ANSWER = re.compile(
    r"""(?:i\s(?:do\snot|don't|cannot|can't|am\snot|'m\snot)|i'm\s(?:not|sorry)|not\s(?:sure|known|mentioned
    |specified|stated|provided|given|enough|available|possible|clear)
    |(?:it\s)?(?:cannot|can't|could\snot)\sbe\b|cannot|can't\s|unable\sto|insufficient|no\sanswer|unclear
    |there\sis\s(?:not|no)\s|either\s|not\s\w+\sbut\s)
    |(?:unknown|n/?a|undetermined|unanswerable|none\sgiven)\W*$""",
    re.IGNORECASE | re.VERBOSE,
)
_CUT_OFF = re.compile(r"(?:[,(\[{-]|(?:\s|^)(?:the|a|an|of|and|or|to|in|is|was|by|for|with|at|from))$", re.IGNORECASE)
_ANSWER_LINE = re.compile(r"answer\s*:", re.IGNORECASE)
_MARK = re.compile(r"[*_\s]{0,6}(?:final\s)?answer\s{0,3}:[*_]{0,2}\s{0,3}", re.IGNORECASE)
_NO_PHRASE = re.compile(r"\s*(?:[-*\u2022]\s|\d{1,3}[.)]\s|#|[\w ]+:)")
_TEMPLATE = re.compile(r"[<{].*[>}]")
_LISTED = re.compile(
    r"\s*(?:array\()?\[\s*(?:'[^'\n]*'|\"[^\"\n]*\")(?:[\s,]*(?:'[^'\n]*'|\"[^\"\n]*\"))*\s*\](?:,\s*dtype=\w+\))?\s*"
)


@dataclass(frozen=True, slots=True)
class ShortTask:
    """A word or a short phrase. Several accepted answers are written 'a | b'; such a value agrees with either."""

    instruction: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        """A phrase has no options."""
        return ()

    @property
    def answer_form(self) -> str:
        """What a prompt asks for."""
        return _FORM

    def render(self, example: Example, *, listed: bool = True) -> list[Message]:
        """Return the row as messages."""
        return turns(example, self.instruction)

    def label(self, response: str, options: Sequence[str] = ()) -> str | None:
        """Return the phrase, or accepted phrases, that a person or a file gives.

        The whole response counts, or what follows its 'Answer:'. A list in text, such as "['three', '3']", is read as
        accepted answers.
        """
        if _LISTED.fullmatch(response):
            phrases = ["".join(pair).strip() for pair in re.findall(r"'([^'\n]*)'|\"([^\"\n]*)\"", response)]
            return _given(" | ".join(dict.fromkeys(filter(None, phrases))))
        if (mark := _MARK.match(response)) and "\n" not in response.strip():
            return _given(response[mark.end() :])
        return self.extract(response) if _ANSWER_LINE.search(clean(response).text) else _given(response)

    def locate(self, text: str, options: Sequence[str] = (), reading: Reading = "tolerant") -> Found | None:
        """Find the answer in a model's text: the phrase that stands where `tasks.reading` looks for it.

        A phrase of more than 15 words, one that says there is no answer, one that stops at 'the' or 'of', and 'a | b'
        are none. Without a mark, a tolerant reading takes a text that is one line of at most 5 words (3 with a full
        stop, lest it be a sentence), or such a line in a last paragraph of its own.
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
        if found is None:
            return None
        there = whole.found("", found.start, found.end)
        return Found(" ".join(text[there.start : there.end].split()), there.start, there.end)

    def extract(self, text: str, options: Sequence[str] = (), reading: Reading = "tolerant") -> str | None:
        """Return the phrase that `locate` finds."""
        found = self.locate(text, options, reading)
        return found.value if found else None

    def agree(self, a: str, b: str) -> bool:
        """Whether an accepted form of one value equals one of the other, both normalised."""
        return not _forms(a).isdisjoint(_forms(b))

    def write(self, value: str, like: str | None, options: Sequence[str] = ()) -> str:
        """Return the phrase, after 'Answer: ' where `like` has it."""
        mark = _MARK.match(like) if like is not None else None
        written = mark[0] + value if mark else value
        return written if self.label(written) == value else value


def normalise(phrase: str) -> str:
    """Return a phrase without case, punctuation, articles and spare blanks, its numbers in one form.

    As the evaluations of SQuAD (Rajpurkar et al. 2016) and DROP (Dua et al. 2019) do: '12.0' is '12', '1,250' is
    '1250', a hyphen inside a word is a blank; 'twelve' stays a word. Unlike there, a minus sign counts, '1/4' isn't
    '14', and a phrase of nothing but articles keeps them.
    """
    words = _JOINT.sub(" ", clean(phrase).text.casefold()).split()
    bare = [word for word in map(_word, words) if word]
    return " ".join([word for word in bare if word not in _ARTICLES] or bare)


def _word(word: str) -> str:
    bare = "".join(c for c in word if unicodedata.category(c)[0] not in "PC" and c not in "$+<=>^`|~")
    return _number(_AROUND_NUMBER.sub("", word)) or _number(bare) or bare


def _number(word: str) -> str | None:
    return plain(Decimal(word.replace(",", ""))) if _NUMBER.fullmatch(word) else None


def _forms(value: str) -> frozenset[str]:
    return frozenset(form for part in re.split(r"\s\|\s", value) if (form := normalise(part)))


def _given(response: str) -> str | None:
    start, end = _trim(response, 0, len(response)) if len(response) <= LONGEST else (0, len(response))
    phrase = " ".join(response[start:end].split())
    return phrase if _forms(phrase) else None


def _announced(text: str, place: Place) -> Found | None:
    """Read what stands at a mark, to the end of the line, of the sentence, or (in prose) of the clause."""
    start, end = place.start, place.end
    for pattern in (_SENTENCE, _ASIDE) if place.open else (_SENTENCE,):
        if clip := pattern.search(text, start, end):
            end = min(end, clip.start())
    found = _trimmed(text, start, end)
    return found if found and found.start < place.start + place.latest else None


def _trimmed(text: str, start: int, end: int) -> Found | None:
    """Return the phrase of text[start:end], None if it's no answer."""
    start, end = _trim(text, start, end)
    phrase = text[start:end]
    if len(phrase.split()) > _WORDS or not normalise(phrase) or "|" in phrase or phrase.count('"') % 2:
        return None
    if (
        _ANSWER_LINE.search(phrase)
        or _NO_ANSWER.match(phrase)
        or _CUT_OFF.search(phrase)
        or _TEMPLATE.fullmatch(phrase)
        or phrase == _FORM
    ):
        return None
    return Found(phrase, start, end)


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Return where the phrase of text[start:end] is, without markup, its pair of quotes, and closing punctuation."""
    lead = _PREFIX.match(text, start, end)
    opened = lead[0] if lead else ""
    closing = "*_`.,;:)}\\" if "\\" in opened else "*_`.,;:"
    closing += "".join(mark for mark in "\"'$" if mark in opened)
    start += len(opened)
    while (
        end > start
        and (text[end - 1].isspace() or text[end - 1] in closing)
        and not _ABBREVIATED.search(text, max(start, end - 6), end)
    ):
        end -= 1
    return start, end


def _unmarked(text: str, start: int) -> Found | None:
    there = lines(text, start)
    if not there:
        return None
    last = there[-1]
    # without a mark, a line right under another one is more likely its continuation than an answer
    own = len(there) == 1 or text[there[-2].end : last.start].count("\n") > 1
    own = own and last.end - last.start <= LONGEST
    found = _trimmed(text, last.start, last.end) if own and not _NO_PHRASE.match(text, last.start) else None
    if found is None or (ending := text[last.start : last.end].rstrip()[-1]) in ",:;":
        return None
    if len(found.value.split()) > (_SENTENCE_WORDS if ending in ".!" else _LINE_WORDS):
        return None
    return None if taken_back(text, found.end) else found
