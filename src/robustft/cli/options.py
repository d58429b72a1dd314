"""Arguments that several commands take, and what a shell offers to complete them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from robustft.config import Config, Section, section_in
from robustft.tasks.presets import PRESETS
from robustft.template.start import KINDS


def keys(incomplete: str) -> list[str]:
    """Return the keys of the config that begin so, as `--set` takes them."""
    return [f"{key}=" for key in _keys_of(Config, "") if key.startswith(incomplete)]


def presets(incomplete: str) -> list[str]:
    """Return the kinds and presets that begin so."""
    return [name for name in (*KINDS, *PRESETS) if name.startswith(incomplete)]


def _keys_of(model: type[Section], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        if (below := section_in(field.annotation)) is not None:
            yield from _keys_of(below, f"{prefix}{name}.")


ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file; `robustft init` writes one.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that `robustft run` has made.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="The run directory.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Take the first rows only.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override a key of the config.", autocompletion=keys),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
