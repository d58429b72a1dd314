"""Write docs/configuration.md from the config's own fields: `python -m scripts.configuration`."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from robustft.config import Config, Section, section_in

PAGE = Path(__file__).parents[1] / "docs/configuration.md"

_HEAD = """\
# Every key of the config

A config is YAML; what isn't said has its default, and a key that isn't known is refused. `robustft init` writes this
page as a config. On the command line `--set a.b=value` overrides a key. Paths in a config are relative to it, those of
`--set` to the folder that you are in. This page is generated from the code.
"""
_WORDS = {str: "text", int: "whole number", float: "number", bool: "yes or no", Path: "path"}
_LIMITS = {Ge: ("at least", "ge"), Gt: ("above", "gt"), Le: ("at most", "le"), Lt: ("below", "lt")}


def page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *_section(Config, "")]).rstrip() + "\n"


def _section(section: type[Section], path: str) -> Iterator[str]:
    """Yield the lines of a section, then those of the sections below it."""
    fields = section.model_fields
    below = {name: kind for name, field in fields.items() if (kind := section_in(field.annotation)) is not None}
    if path:
        yield f"## {path}\n\n{inspect.cleandoc(section.__doc__ or '')}\n"
    yield "| key | value | default | |\n|---|---|---|---|"
    for name, field in fields.items():
        key = (
            f"[`{name}`](#{_anchor(path, name)})"
            if name in below and not _is_inner(section, below[name])
            else f"`{name}`"
        )
        yield f"| {key} | {_cell(_type(field))} | {_cell(_default(field))} | {_cell(str(field.description))} |"
    yield ""
    for name, kind in below.items():
        if not _is_inner(section, kind):
            yield from _section(kind, f"{path}.{name}" if path else name)


def _is_inner(section: type[Section], kind: type[Section]) -> bool:
    """Whether a section is one that has its place elsewhere on the page: evaluate.llm is like llm."""
    return section is not Config and kind in {section_in(field.annotation) for field in Config.model_fields.values()}


def _anchor(path: str, name: str) -> str:
    return f"{path}{name}".replace(".", "")


def _type(field: FieldInfo) -> str:
    return " ".join([_kind(field.annotation), *_limits(field.metadata)])


def _limits(metadata: list[Any]) -> Iterator[str]:
    plain = [limit for item in metadata for limit in (item.metadata if isinstance(item, FieldInfo) else [item])]
    for limit in plain:
        for kind, (word, attribute) in _LIMITS.items():
            if isinstance(limit, kind):
                yield f"{word} {getattr(limit, attribute):,}"


def _kind(annotation: Any) -> str:
    """Return what a value is, in words."""
    origin, inside = get_origin(annotation), [kind for kind in get_args(annotation) if kind is not type(None)]
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inside)
    if origin is Annotated:
        return " ".join([_kind(inside[0]), *_limits(list(annotation.__metadata__))])
    if origin in (Union, types.UnionType):
        return " or ".join(map(_kind, inside))
    if origin is tuple:
        return f"list of {_kind(inside[0])}"
    if origin is dict:
        return f"{_kind(inside[0])} to {_kind(inside[1])}"
    if annotation is object:
        return "anything"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    if hasattr(annotation, "__metadata__"):
        return " ".join([_kind(annotation.__origin__), *_limits(list(annotation.__metadata__))])
    return _WORDS.get(annotation, str(annotation))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Section) or value is None or value == "":
        return ""
    plain = list(value) if isinstance(value, tuple) else value
    text: str = yaml.safe_dump(plain, default_flow_style=True, width=10_000)
    return f"`{text.removesuffix('...' + chr(10)).strip()}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
