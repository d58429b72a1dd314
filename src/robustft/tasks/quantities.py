"""Numbers as people and models write them: found in a piece of text, and made plain decimals."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Context, Decimal

_LARGEST = 60
"""Digits before or after the point; more is no answer to a question, and `format` would write them all out."""
_EXACT, _QUOTIENT = Context(prec=4 * _LARGEST), Context(prec=28)

# As much as can belong to one numeral: a run that isn't a numeral as a whole is refused, never cut short
_RUN = r"\.?\d+(?:(?:[.,'_/:]|\{,\}|\\,|[ ](?=\d{3}(?!\d))|[ ](?=\d{1,6}/\d))\d+)*"
_TOKEN = re.compile(
    rf"""(?<![\w^.])(?<!\^\{{)
    (?P<sign>[-+]|minus\s|negative\s)?
    (?P<currency>(?:(?:US|HK|C|A)?[$\u20ac\u00a3\u00a5\u20b9\u20a9\u20bd]|\\\$
        |(?:USD|EUR|GBP|JPY|INR|CHF|CNY|Rs)\.?)\s?)?
    (?P<inner>[-+])?
    (?P<body>\\[dt]?frac\s?\{{\d{{1,20}}\}}\s?\{{\d{{1,20}}\}}|{_RUN})
    (?P<power>\s?(?:[x\u00d7*\u00b7]|\\times|\\cdot)\s?10\s?
            (?:\^\s?\{{?[-+]?\d{{1,3}}\}}?|\u207b?[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]{{1,3}})
        |[eE][-+]?\d{{1,3}}(?!\d))?
    (?P<scale>[ ]?(?:hundred|thousand|million|billion|trillion|bn|mn)\b|[kK]\b|[ ]?[mMbB]\b)?""",
    re.VERBOSE | re.IGNORECASE,
)
_PLAIN = re.compile(r"\d*\.?\d+")
_GROUPED = re.compile(r"\d{1,3}(,|\{,\}|\\,|'|_| )\d{3}(?:\1\d{3})*(?:\.\d+)?|\d{1,2}(?:(,)\d{2})+,\d{3}(?:\.\d+)?")
_EUROPEAN = re.compile(r"\d{1,3}(?:\.\d{3})+,\d+")
_FRACTION = re.compile(r"(?:(\d+) )?(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)")
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s?\{(\d+)\}\s?\{(\d+)\}", re.IGNORECASE)
_SCALES = {
    "hundred": 2,
    "thousand": 3,
    "k": 3,
    "million": 6,
    "mn": 6,
    "m": 6,
    "billion": 9,
    "bn": 9,
    "b": 9,
    "trillion": 12,
}
_LETTERS = {"m", "b"}
_SUPERSCRIPTS = str.maketrans("\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079", "-0123456789")
# 5th, 1990s, 12 pm, 5M (million? mega?), 12+, 3-4, 12 or more, 12 ± 1, 2^5, 5 * 5, 5 May, 5万: no plain quantities
_NOT_AFTER = re.compile(
    r"""(?:st|nd|rd|th)\b|s\b(?<=\d{4}s)|\s?(?:am|pm|a\.m|p\.m)\b|\s?\+(?!\w)|\s?[-\u2013\u2014~]\s?[$\u20ac\u00a3]?\d
    |\s(?:or|to)\s(?:more|less|fewer|above|over|below)\b|[A-Za-z]{1,3}[-+]?\d|\^(?!\s?\{?\s?\\circ)|\s?(?:\u00b1|\\pm)
    |\s?(?:\*\*?|[/\u00d7\u00f7x]|\\(?:times|cdot|div))\s?[$\u20ac\u00a3]?\d|\s?[\u4e07\u4ebf\u5343\u767e]
    |\s(?:of\s)?(?:january|february|march|april|may|june|july|august|september|october|november|december)\b""",
    re.IGNORECASE | re.VERBOSE,
)
# Bounds, denials, dates, numbered things, roots, a minus sign that stands off, and (12), to accountants a loss
_NOT_BEFORE = re.compile(
    r"""(?:[<>\u2264\u2265]=?|\\(?:leq?|geq?|lt|gt)|\b(?:at\s(?:least|most)
    |(?:more|less|fewer|greater|larger|smaller|higher|lower)\sthan|over|under|above|below|up\sto|almost|nearly|not|never
    |isn't|step|option|page|chapter
    |january|february|march|april|may|june|july|august|september|october|november|december
    |(?:jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.?)
    )[\s(*~]*$
    |\w[-\u2013\u2014]$|[-\u2013\u2014]\s$|\u221a\s?$|\\sqrt\s?\{?$|(?<!\\)\($""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number at text[start:end], with its sign and scale word, without unit; value None: unreadable."""

    value: str | None
    start: int
    end: int


def quantities(text: str) -> Iterator[Quantity]:
    """Yield every number of a text; one that is no plain quantity (date, range, bound, version) has no value."""
    for token in _TOKEN.finditer(text):
        before = text[max(0, token.start() - 30) : token.start()]
        refused = _NOT_AFTER.match(text, token.end()) or _NOT_BEFORE.search(before)
        # the currency belongs to the number where it is what makes '5M' millions
        whole = token["sign"] or (token["scale"] or "").strip().lower() in _LETTERS
        start = token.start() if whole else token.start("inner") if token["inner"] else token.start("body")
        yield Quantity(None if refused else _value(token), start, token.end())


def plain(number: Decimal) -> str | None:
    """Return a number in plain digits ('1250', '-0.5'), None where it isn't finite or has too many of them."""
    if not number.is_finite() or len(number.as_tuple().digits) > _LARGEST or abs(number.adjusted()) > _LARGEST:
        return None
    digits = format(number, "f")
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return "0" if number == 0 else digits


def _value(token: re.Match[str]) -> str | None:
    number = _numeral(token["body"])
    if number is None or (token["sign"] and token["inner"]):
        return None
    scale = (token["scale"] or "").strip()
    if scale.lower() in _LETTERS and not token["currency"]:
        # '5 m' are metres, but nobody knows what '5M' is
        if scale.isupper():
            return None
        scale = ""
    exponent = _SCALES.get(scale.lower(), 0)
    if token["power"]:
        exponent += int(re.sub(r".*10\s?\^?|[eE{}\s]", "", token["power"].translate(_SUPERSCRIPTS)))
    if abs(exponent) > _LARGEST:
        return None
    negative = (token["sign"] or token["inner"] or "+")[0] in "-mMnN"
    return plain(_EXACT.scaleb(number.copy_negate() if negative else number, exponent))


def _numeral(body: str) -> Decimal | None:
    if _PLAIN.fullmatch(body):
        return Decimal(body)
    if _GROUPED.fullmatch(body):
        return Decimal(re.sub(r"[^\d.]", "", body))
    if _EUROPEAN.fullmatch(body):
        return Decimal(body.replace(".", "").replace(",", "."))
    if latex := _LATEX_FRACTION.fullmatch(body):
        return _quotient("0", latex[1], latex[2])
    if fraction := _FRACTION.fullmatch(body):
        return _quotient(fraction[1] or "0", fraction[2], fraction[3])
    return None


def _quotient(whole: str, top: str, bottom: str) -> Decimal | None:
    if Decimal(bottom) == 0 or len(whole + top + bottom) > _LARGEST:
        return None
    return _QUOTIENT.add(Decimal(whole), _QUOTIENT.divide(Decimal(top), Decimal(bottom)))
