"""The commands; the only file that prints or exits."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from robustft import __version__
from robustft.audit import audit as audit_file
from robustft.data.noise import Kind, noise_file
from robustft.doctor.doctor import examine
from robustft.engine.local import Silent, run_until_done
from robustft.errors import ConfigError, ModelError, RobustFTError
from robustft.loading import load_config, make_config, overridden
from robustft.outputs import (
    evaluate_run,
    train_adapter,
    training_rows,
    write_metrics,
    write_report,
    write_training_files,
)
from robustft.outputs import explain as explain_row
from robustft.pipeline import TRAINING
from robustft.pipeline import compare as compare_rows
from robustft.pipeline import denoise as denoise_file
from robustft.plan.pilot import ROWS
from robustft.plan.pilot import pilot as ask_pilot
from robustft.plan.plan import Speed
from robustft.plan.plan import plan as make_plan
from robustft.run import RunDir
from robustft.tasks import make_task
from robustft.tasks.presets import PRESETS
from robustft.template import config_template
from robustft.terminal import (
    StageProgress,
    Waiting,
    show_audit,
    show_comparison,
    show_evaluation,
    show_plan,
    show_report,
    show_row,
    show_summary,
)
from robustft.train.settings import world

app = typer.Typer(
    name="robustft",
    help="Find wrong responses in a training set, mend them, and prove that it helped.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

INTERRUPTED = 130
"""What typer makes of Ctrl-C."""

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file; `robustft init` writes one.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that `robustft run` has made.")]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="RUN", help="The run directory.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Take the first rows only.")]
Sets = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a key of the config.")]


def main() -> None:
    """Run the command line: exit 0 done, 1 failed, 2 wrong usage or config; a user's mistake is one line."""
    try:
        app()
    except RobustFTError as error:
        sys.stderr.write(f"robustft: {error}\n")
        raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None
    except SystemExit as end:
        if end.code != INTERRUPTED:
            raise
        sys.stderr.write("robustft: interrupted; run the same command again to resume\n")
        raise SystemExit(1) from None


@app.command()
def run(config: ConfigFile, out: Out, limit: Limit = None, sets: Sets = None) -> None:
    """Do everything that the config asks for; run it again to resume."""
    _denoise(config, out, limit, sets)


@app.command()
def denoise(config: ConfigFile, out: Out, limit: Limit = None, sets: Sets = None) -> None:
    """Clean the data set: read, detect, relabel, select, export."""
    _denoise(config, out, limit, sets, skip=TRAINING)


@app.command()
def doctor(
    config: ConfigFile,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    sets: Sets = None,
) -> None:
    """See by some twenty tiny requests what the model can do, before money is spent; exit 1: a run can't go on."""
    loaded = load_config(config, sets or (), PRESETS)
    with Waiting("doctor") as waiting:
        found = run_until_done(examine(loaded, waiting.say))
    if as_json:
        typer.echo(orjson.dumps(found.as_json(), option=orjson.OPT_INDENT_2).decode())
    else:
        show_report(found)
    if found.obstacle is not None:
        raise ModelError(f"a run can't go on: {found.obstacle}")


@app.command()
def noise(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A file with right responses.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The file to write; its suffix is its format.")],
    task: Annotated[Path, typer.Option(metavar="CONFIG", help="A config whose task and data sections fit INPUT.")],
    rate: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the rows that get a wrong response.")] = 0.3,
    kind: Annotated[Kind, typer.Option(help="How wrong responses come about; docs/audit.md.")] = "symmetric",
    seed: Annotated[int, typer.Option(help="The same seed plants the same noise.")] = 0,
    truth_column: Annotated[str, typer.Option(metavar="NAME", help="The column that keeps the truth.")] = "truth",
    sets: Sets = None,
) -> None:
    """Plant noise of a known rate in a file, and keep the truth in a column of its own."""
    config = load_config(task, sets or (), PRESETS)
    summary = noise_file(source, output, config, rate, kind, seed, truth_column)
    typer.echo(f"{output}: {summary.changed} of {summary.labelled} responses are now wrong ({kind}, seed {seed})")


@app.command()
def plan(
    config: ConfigFile,
    pilot: Annotated[int, typer.Option(min=2, help="Rows, drawn at random, that the model is asked about.")] = ROWS,
    rows: Annotated[int | None, typer.Option(min=1, help="Plan for so many rows. Unset: those of the file.")] = None,
    reads: Annotated[float | None, typer.Option(min=1, help="Prompt tokens a second that a server reads.")] = None,
    writes: Annotated[float | None, typer.Option(min=1, help="Tokens a second that a server writes.")] = None,
    servers: Annotated[int, typer.Option(min=1, help="Servers, such as GPUs, that answer side by side.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    sets: Sets = None,
) -> None:
    """Say what a run will take, from a pilot of a few rows: calls, tokens, time, money, disk."""
    if (reads is None) != (writes is None):
        raise ConfigError("--reads, --writes: a server's speed needs both")
    loaded = load_config(config, sets or (), PRESETS)
    with StageProgress() as progress:
        found = run_until_done(ask_pilot(loaded, pilot, progress))
    planned = make_plan(found, loaded, rows, Speed(reads, writes, servers))
    if as_json:
        typer.echo(orjson.dumps(planned, option=orjson.OPT_INDENT_2).decode())
    else:
        show_plan(planned)


@app.command()
def audit(
    config: ConfigFile,
    out: Out,
    rate: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the rows that get a wrong response.")] = 0.1,
    kind: Annotated[Kind, typer.Option(help="How wrong responses come about; docs/audit.md.")] = "symmetric",
    seed: Annotated[int, typer.Option(help="The same seed plants the same noise.")] = 0,
    limit: Limit = None,
    sets: Sets = None,
) -> None:
    """Plant known noise in your own rows, and see how much of it the run finds and mends; writes RUN/audit-KIND."""
    loaded = load_config(config, sets or (), PRESETS)
    with StageProgress() as progress:
        result = run_until_done(audit_file(loaded, out, rate, kind, seed, limit, progress))
    show_audit(result, out / f"audit-{kind}")


@app.command()
def explain(run_dir: RunFolder, row: Annotated[str, typer.Argument(metavar="ID", help="The row's id.")]) -> None:
    """Show one row all the way: question, votes, neighbours, decision."""
    opened = RunDir.existing(run_dir)
    facts = explain_row(opened, row, make_task(opened.config().task))
    if facts is None:
        raise ConfigError(f"{run_dir}: no row '{row}'; decisions.parquet lists the ids")
    show_row(facts)


@app.command()
def export(
    run_dir: RunFolder,
    formats: Annotated[list[str], typer.Option("--format", metavar="F", help="May be given several times.")],
    preferences: Annotated[bool, typer.Option(help="Also write preference pairs.")] = False,
) -> None:
    """Write the training files of a finished run again, in the formats that are named."""
    opened = RunDir.existing(run_dir)
    tree = opened.config().model_dump(mode="json")
    config = make_config(
        tree | {"export": tree["export"] | {"formats": formats, "preferences": preferences}}, "--format"
    )
    rows = training_rows(opened, make_task(config.task), config)
    for path in write_training_files(opened, rows, config):
        typer.echo(path)


@app.command()
def train(run_dir: RunFolder, sets: Sets = None) -> None:
    """Train a LoRA adapter on what a finished run exported: RUN/adapter; run it again to resume."""
    opened = RunDir.existing(run_dir)
    config = overridden(opened.config(), sets or ())
    task = make_task(config.task)
    first = world()[0] == 0
    with StageProgress() if first else nullcontext(Silent()) as progress:
        train_adapter(opened, task, config, progress)
    if first:
        opened.finish("train", None)  # the run's own training, if it asks for one, is not what is there now
        write_metrics(opened, task, config)
        write_report(opened, config)
        typer.echo(opened.path / "adapter")


@app.command()
def evaluate(run_dir: RunFolder, sets: Sets = None) -> None:
    """Measure the base model and the run's adapter on the held-out file that evaluate.path names."""
    opened = RunDir.existing(run_dir)
    config = overridden(opened.config(), sets or ())
    task = make_task(config.task)
    with StageProgress() as progress:
        run_until_done(evaluate_run(opened, task, config, progress))
    opened.finish("evaluate", None)  # as after `train`
    metrics = write_metrics(opened, task, config)
    write_report(opened, config)
    show_evaluation(metrics["evaluation"])


@app.command()
def compare(config: ConfigFile, out: Out, limit: Limit = None, sets: Sets = None) -> None:
    """Train on the rows as each arm of `compare` leaves them, and measure every model on the held-out file."""
    loaded = load_config(config, sets or (), PRESETS)
    with StageProgress() as progress:
        found = run_until_done(compare_rows(loaded, out, limit, progress))
    show_comparison(found, out)


@app.command()
def report(run_dir: RunFolder) -> None:
    """Write metrics.json and report.html of a run again."""
    opened = RunDir.existing(run_dir)
    config = opened.config()
    write_metrics(opened, make_task(config.task), config)
    typer.echo(write_report(opened, config))


@app.command()
def init(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A preset, such as fpb.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Unset: the screen.")] = None,
) -> None:
    """Write a config with every key, its default and what it means."""
    if name is not None and name not in PRESETS:
        raise ConfigError(f"no preset '{name}'; there are {', '.join(PRESETS)}")
    text = config_template(name)
    if out is None:
        typer.echo(text, nl=False)
    elif out.exists():
        raise ConfigError(f"{out}: there already; choose another name")
    else:
        out.write_text(text, encoding="utf-8")
        typer.echo(out)


def _denoise(path: Path, out: Path, limit: int | None, sets: list[str] | None, skip: tuple[str, ...] = ()) -> None:
    config = load_config(path, sets or (), PRESETS)
    with StageProgress() as progress:
        metrics: dict[str, Any] = run_until_done(denoise_file(config, out, limit, progress, skip))
    show_summary(metrics, out)


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
