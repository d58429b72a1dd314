"""The commented config that `robustft init` writes, generated from the config's own fields."""

from __future__ import annotations

from collections.abc import Iterator

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
        if not indent:
            yield ""


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True).removesuffix("...\n").strip()
