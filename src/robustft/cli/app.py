"""The commands, in the order in which they are used, and how the program ends."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from robustft import __version__
from robustft.cli import after, before, planted, runs
from robustft.errors import ConfigError, RobustFTError, StorageError
from robustft.terminal.figures import visible

app = typer.Typer(
    name="robustft",
    help="Find wrong responses in a training set, mend them, and prove that it helped.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Before": (before.init, before.doctor, before.plan),
    "Run": (runs.run, runs.denoise, runs.compare),
    "After": (after.explain, after.review, after.report, after.export, after.train, after.evaluate),
    "Measure": (planted.audit, planted.noise),
}
for _panel, _commands in COMMANDS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)

INTERRUPTED = 130
"""What typer makes of Ctrl-C."""
COLLECTED_AFTER = 100_000
"""New objects after which Python looks for cycles among them. Records form none: at its own 700 the search takes a
fifth of the time of a run over many rows."""


def main() -> None:
    """Run the command line: exit 0 done, 1 failed, 2 wrong usage or config; a user's mistake is one line."""
    gc.set_threshold(COLLECTED_AFTER, 20, 20)
    try:
        app()
    except RobustFTError as error:
        sys.stderr.write(f"robustft: {visible(str(error))}\n")
        raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None
    except OSError as error:
        if (known := StorageError.of(error, "the output")) is None:
            raise
        sys.stderr.write(f"robustft: {visible(str(known))}\n")
        raise SystemExit(1) from None
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        sys.stderr.write("robustft: interrupted; run the same command again to resume\n")
        raise SystemExit(1) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"robustft {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
