"""What mkdocs does to a page of docs/ on its way to the site: links to files outside of docs/ become their names."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./([^)]*)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Return the page's text with `[text](../path)` as text and path."""
    return _OUTSIDE.sub(_named, markdown)


def _named(link: re.Match[str]) -> str:
    text, path = link[1], link[2].rstrip("/")
    return f"`{path}`" if text in path else f"{text} (`{path}`)"
