"""Commands that plant wrong responses: in a file, or in your rows to see what a run makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustft.audit import audit as audit_file
from robustft.cli.options import ConfigFile, Limit, Out, Sets
from robustft.data.noise import Kind, noise_file
from robustft.engine.local import run_until_done
from robustft.loading import load_config
from robustft.tasks.presets import PRESETS
from robustft.terminal.audit import show_audit
from robustft.terminal.progress import StageProgress

Rate = Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the rows that get a wrong response.")]
Wrong = Annotated[Kind, typer.Option(help="How wrong responses come about; docs/audit.md.")]
Seed = Annotated[int, typer.Option(help="The same seed plants the same noise.")]


def noise(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A file with right responses.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The file to write; its suffix is its format.")],
    task: Annotated[Path, typer.Option(metavar="CONFIG", help="A config whose task and data sections fit INPUT.")],
    rate: Rate = 0.3,
    kind: Wrong = "symmetric",
    seed: Seed = 0,
    truth_column: Annotated[str, typer.Option(metavar="NAME", help="The column that keeps the truth.")] = "truth",
    sets: Sets = None,
) -> None:
    """Plant noise of a known rate in a file, and keep the truth in a column of its own."""
    config = load_config(task, sets or (), PRESETS)
    summary = noise_file(source, output, config, rate, kind, seed, truth_column)
    typer.echo(f"{output}: {summary.changed} of {summary.labelled} responses are now wrong ({kind}, seed {seed})")


def audit(
    config: ConfigFile,
    out: Out,
    rate: Rate = 0.1,
    kind: Wrong = "symmetric",
    seed: Seed = 0,
    limit: Limit = None,
    sets: Sets = None,
) -> None:
    """Plant known noise in your own rows, and see how much of it the run finds and mends; writes RUN/audit-KIND."""
    loaded = load_config(config, sets or (), PRESETS)
    with StageProgress() as progress:
        result = run_until_done(audit_file(loaded, out, rate, kind, seed, limit, progress), heard=loaded.offline)
    show_audit(result, out / f"audit-{kind}")
