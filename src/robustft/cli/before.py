"""Commands before a run: a config, what the model can do, what it will take."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import orjson
import typer

from robustft.cli.options import AsJson, ConfigFile, Sets, presets
from robustft.doctor.doctor import examine
from robustft.engine.local import run_until_done
from robustft.errors import ConfigError, ModelError, meant
from robustft.loading import load_config
from robustft.plan.pilot import ROWS
from robustft.plan.pilot import pilot as ask_pilot
from robustft.plan.plan import Speed
from robustft.plan.plan import plan as make_plan
from robustft.tasks.presets import PRESETS
from robustft.template.everything import everything
from robustft.template.guess import guess
from robustft.template.start import KINDS, filled_in, sample
from robustft.terminal.doctor import show_report
from robustft.terminal.plan import show_plan
from robustft.terminal.progress import StageProgress, Waiting


def init(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help=f"{', '.join(KINDS)}, or a preset, such as fpb.", autocompletion=presets),
    ] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Fill in what this file's columns seem to mean.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Unset: the screen.")] = None,
) -> None:
    """Write a config to begin with; without NAME and --from: every key, its default and what it means."""
    text = _config_text(name, source, Path() if out is None else out.parent)
    if out is None:
        typer.echo(text, nl=False)
    elif out.exists():
        raise ConfigError(f"{out}: there already; choose another name")
    else:
        out.write_text(text, encoding="utf-8")
        typer.echo(out)


def _config_text(name: str | None, source: Path | None, folder: Path) -> str:
    """Return the text of a config that will lie in `folder`. Raises ConfigError."""
    if source is not None:
        if name is not None:
            raise ConfigError("--from: says it all; leave NAME out")
        return filled_in(Path(os.path.relpath(source, folder)), guess(source))
    if name in KINDS:
        return sample(name)
    if name is not None and name not in PRESETS:
        raise ConfigError(
            f"no preset '{name}'; there are {', '.join([*KINDS, *PRESETS])}{meant(name, [*KINDS, *PRESETS])}"
        )
    return everything(name)


def doctor(
    config: ConfigFile,
    as_json: AsJson = False,
    sets: Sets = None,
) -> None:
    """See by some twenty tiny requests what the model can do, before money is spent; exit 1: a run can't go on."""
    loaded = load_config(config, sets or (), PRESETS)
    with Waiting("doctor") as waiting:
        found = run_until_done(examine(loaded, waiting.say), heard=loaded.offline)
    if as_json:
        typer.echo(orjson.dumps(found.as_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        show_report(found)
    if found.obstacle is not None:
        raise ModelError(f"a run can't go on: {found.obstacle}")


def plan(
    config: ConfigFile,
    pilot: Annotated[int, typer.Option(min=2, help="Rows, drawn at random, that the model is asked about.")] = ROWS,
    rows: Annotated[int | None, typer.Option(min=1, help="Plan for so many rows. Unset: those of the file.")] = None,
    reads: Annotated[float | None, typer.Option(min=1, help="Prompt tokens a second that a server reads.")] = None,
    writes: Annotated[float | None, typer.Option(min=1, help="Tokens a second that a server writes.")] = None,
    servers: Annotated[int, typer.Option(min=1, help="Servers, such as GPUs, that answer side by side.")] = 1,
    as_json: AsJson = False,
    sets: Sets = None,
) -> None:
    """Say what a run will take, from a pilot of a few rows: calls, tokens, time, money, disk."""
    if (reads is None) != (writes is None):
        raise ConfigError("--reads, --writes: a server's speed needs both")
    loaded = load_config(config, sets or (), PRESETS)
    with StageProgress() as progress:
        found = run_until_done(ask_pilot(loaded, pilot, progress), heard=loaded.offline)
    planned = make_plan(found, loaded, rows, Speed(reads, writes, servers))
    if as_json:
        typer.echo(orjson.dumps(planned, option=orjson.OPT_INDENT_2).decode())
    else:
        show_plan(planned)
