"""The commented config that `robustft init` writes, generated from the config's own fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import yaml
from pydantic.fields import FieldInfo

from robustft.config import Config, Section, section_in


def everything(preset: str | None = None) -> str:
    """Return YAML with every key, its default and its documentation; with `preset` as its task where one is named."""
    return "\n".join([*_section(Config, "", {"task": preset} if preset else {})]) + "\n"


def _section(section: type[Section], indent: str, chosen: dict[str, str]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield from (f"{indent}# {line.strip()}" for line in str(field.description).splitlines())
        if name in chosen:
            yield f"{indent}{name}: {chosen[name]}"
        elif (below := section_in(field.annotation)) is None:
            yield f"{indent}{name}: {_default(field)}"
        elif type(None) in get_args(field.annotation):  # a section that is off: its keys are there to be uncommented
            yield f"{indent}{name}: null"
            yield f"{indent}# {name}:"
            yield from (f"{indent}# {line}" for line in _section(below, "  ", {}))
        else:
            yield f"{indent}{name}:"
            yield from _section(below, indent + "  ", {})
        if not indent:
            yield ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "..."  # such as a path, which has no default
    value = field.get_default(call_default_factory=True)
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True).removesuffix("...\n").strip()
