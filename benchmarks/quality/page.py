"""A page's section between two markers, which a benchmark writes anew."""

from __future__ import annotations

from pathlib import Path

from robustft.run import write_atomically


def put(page: str, name: str, text: str) -> str:
    """Put `text` between the page's markers; raises ValueError where they aren't there, each once and in order."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed or begin in rest or end in after:
        raise ValueError(f"needs one line {begin} and below it one line {end}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def rewrite(path: Path, name: str, text: str) -> None:
    """Put `text` between the markers of a file. Raises ValueError, OSError."""
    page = put(path.read_text(encoding="utf-8"), name, text)
    write_atomically(path, lambda made: made.write_text(page, encoding="utf-8"))
