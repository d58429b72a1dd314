"""Commands on a run that is there: look at it, write its files again, train, evaluate."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import Annotated

import typer

from robustft.cli.options import RunFolder, Sets
from robustft.engine.local import Silent, run_until_done
from robustft.errors import ConfigError
from robustft.loading import make_config, overridden
from robustft.offline import guarded
from robustft.outputs import (
    conclude,
    evaluate_run,
    train_adapter,
    training_rows,
    write_training_files,
)
from robustft.outputs import explain as explain_row
from robustft.review.desk import Desk
from robustft.review.exchange import Tool, export_rows, import_verdicts
from robustft.review.queue import Wanted
from robustft.review.server import serve
from robustft.run import RunDir
from robustft.tasks import make_task
from robustft.terminal.address import show_address
from robustft.terminal.evaluation import show_evaluation
from robustft.terminal.progress import StageProgress, say
from robustft.terminal.row import show_row
from robustft.train.settings import world


def explain(run_dir: RunFolder, row: Annotated[str, typer.Argument(metavar="ID", help="The row's id.")]) -> None:
    """Show one row all the way: question, votes, neighbours, decision."""
    opened = RunDir.existing(run_dir)
    facts = explain_row(opened, row, make_task(opened.config().task))
    if facts is None:
        raise ConfigError(f"{run_dir}: no row '{row}'; decisions.parquet lists the ids")
    show_row(facts)


def review(
    run_dir: RunFolder,
    decisions: Annotated[
        list[str] | None, typer.Option("--decision", metavar="D", help="Rows of this decision; may be given twice.")
    ] = None,
    random: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="N rows drawn by lot: the posterior learns from these, too.")
    ] = None,
    disagree: Annotated[bool, typer.Option(help="Rows on which experts disagree.")] = False,
    ids: Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="This row; may be given twice.")] = None,
    response: Annotated[str | None, typer.Option(metavar="TEXT", help="Rows that were given this response.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=TEXT", help="Rows with this text in a column; may be given twice."),
    ] = None,
    below: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, metavar="P", help="Rows decided with less confidence than P.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
    save: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write the rows for another tool; no page.")
    ] = None,
    take: Annotated[
        Path | None, typer.Option("--import", metavar="FILE", help="Take another tool's verdicts; no page.")
    ] = None,
    tool: Annotated[Tool, typer.Option("--as", help="The other tool.")] = "label-studio",
) -> None:
    """Look at rows yourself on a local page: those set aside for review, unless you say which; run again after it."""
    opened = RunDir.existing(run_dir)
    asked = bool(random or disagree or ids or response or where or below is not None)
    chosen = frozenset(decisions or (() if asked else ("review",)))
    texts = [_column_and_text(named) for named in where or ()]
    wanted = Wanted(chosen, disagree, frozenset(ids or ()), response, texts, below, random)
    desk = Desk(opened, opened.config(), wanted)
    if save is not None:
        typer.echo(f"{save}: {export_rows(desk, save, tool)} rows")
    elif take is not None:
        typer.echo(
            f"{import_verdicts(desk, take, tool)} verdicts; run the same command again to take them into account"
        )
    else:
        with contextlib.suppress(KeyboardInterrupt):
            run_until_done(serve(desk, secrets.token_urlsafe(24), port, lambda address: show_address(address, browser)))
        done = desk.state()
        typer.echo(f"{done['done']} of {done['rows']} rows have a verdict; `robustft run` takes them into account")


def _column_and_text(named: str) -> tuple[str, str]:
    column, equals, text = named.partition("=")
    if not equals:
        raise ConfigError(f"--where {named}: write --where COLUMN=TEXT")
    return column, text


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
    with opened.alone():
        rows = training_rows(opened, make_task(config.task), config)
        for path in write_training_files(opened, rows, config):
            typer.echo(path)


def train(run_dir: RunFolder, sets: Sets = None) -> None:
    """Train a LoRA adapter on what a finished run exported: RUN/adapter; run it again to resume."""
    opened = RunDir.existing(run_dir)
    config = overridden(opened.config(), sets or ())
    task = make_task(config.task)
    if world()[0] != 0:  # one of several processes of one training; the first holds the folder and tells
        train_adapter(opened, task, config, Silent())
        return
    with opened.alone(), guarded(config):
        with StageProgress() as progress:
            train_adapter(opened, task, config, progress)
        opened.finish("train", None)  # the run's own training, if it asks for one, is not what is there now
        conclude(opened, task, config, say)
    typer.echo(opened.path / "adapter")


def evaluate(run_dir: RunFolder, sets: Sets = None) -> None:
    """Measure the base model and the run's adapter on the held-out file that evaluate.path names."""
    opened = RunDir.existing(run_dir)
    config = overridden(opened.config(), sets or ())
    task = make_task(config.task)
    with opened.alone(), guarded(config):
        with StageProgress() as progress:
            run_until_done(evaluate_run(opened, task, config, progress), heard=config.offline)
        opened.finish("evaluate", None)  # as after `train`
        metrics = conclude(opened, task, config, say)
    show_evaluation(metrics["evaluation"])


def report(run_dir: RunFolder) -> None:
    """Write metrics.json and report.html of a run again, and tell the tracker that report_to names."""
    opened = RunDir.existing(run_dir)
    config = opened.config()
    with opened.alone(), guarded(config):
        conclude(opened, make_task(config.task), config, say)
    typer.echo(opened.path / "report.html")
