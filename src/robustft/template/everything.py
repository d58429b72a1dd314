"""The commented config that `robustft init` writes, generated from the config's own fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from robustft.config import Config


def everything(preset: str | None = None) -> str:
    """Return YAML with every key, its default and its documentation; with `preset` as its task where one is named."""
    return "\n".join([*_section(Config, "", {"task": preset} if preset else {})]) + "\n"


def _section(section: type[BaseModel], indent: str, chosen: dict[str, str]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield from (f"{indent}# {line.strip()}" for line in str(field.description).splitlines())
        kind = field.annotation
        if name in chosen:
            yield f"{indent}{name}: {chosen[name]}"
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            yield f"{indent}{name}:"
            yield from _section(kind, indent + "  ", {})
        else:
            yield f"{indent}{name}: {_default(field)}"
            if (section_there := _section_or_nothing(kind)) is not None:
                yield f"{indent}# {name}:"
                yield from (f"{indent}# {line}" for line in _section(section_there, "  ", {}))
        if not indent:
            yield ""


def _section_or_nothing(kind: Any) -> type[BaseModel] | None:
    """Return the section of a key that has one or none; what is in it is written as comments."""
    if type(None) not in get_args(kind):
        return None
    return next((own for own in get_args(kind) if isinstance(own, type) and issubclass(own, BaseModel)), None)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "..."  # such as a path, which has no default
    value = field.get_default(call_default_factory=True)
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True).removesuffix("...\n").strip()
