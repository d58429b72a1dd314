"""What a run did, on one screen, and what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from robustft.terminal.evaluation import show_comparison, show_evaluation
from robustft.terminal.figures import amount, count, duration, percent

_LABELS = {
    "keep": "kept as given",
    "relabel": "relabelled",
    "drop": "dropped",
    "review": "set aside for review",
}


def show_summary(metrics: dict[str, Any], out: Path) -> None:
    """Print what a run did, what it measured, where the files are, and what to do next."""
    console = Console()
    console.print(_table(metrics))
    if metrics["evaluation"]:
        show_evaluation(metrics["evaluation"])
    if metrics["compare"]:
        show_comparison(metrics["compare"], out / "compare")
    console.print(f"training files: {out / 'export'}", soft_wrap=True, highlight=False)
    if metrics["training"]:
        console.print(f"adapter:        {out / 'adapter'}", soft_wrap=True, highlight=False)
    console.print(f"report:         {out / 'report.html'}", soft_wrap=True, highlight=False)
    for step in next_steps(metrics, out):
        console.print(f"next:           {escape(step)}", soft_wrap=True, highlight=False)


def next_steps(metrics: dict[str, Any], out: Path) -> list[str]:
    """Return what a user would do now, what matters most first."""
    steps, missing, learnt = [], metrics["unanswered"], metrics["posterior"]
    if missing["error"]:
        steps.append(f"{count(missing['error'])} calls failed: run the same command again to ask them once more")
    if missing["unasked"]:
        steps.append(f"{count(missing['unasked'])} answers await a new budget: the same command goes on")
    if learnt and not learnt["identified"]:
        steps.append("nothing was changed: check thirty rows drawn at random (posterior.reviewed), or set a prior")
    elif learnt and not learnt["target"]["reached"]:
        steps.append("the target accuracy is not reached for sure: look at the report before you train")
    elif learnt and learnt["target"]["lowered"]:
        steps.append("less sure rows are in, as they help more than harm: set target_accuracy: 0.95 to leave them out")
    if metrics["decisions"]["review"] and not sum(missing.values()):
        steps.append(f"robustft review {out}   # {count(metrics['decisions']['review'])} rows await your eye")
    if not metrics["training"]:
        steps.append(f"robustft train {out}   # a LoRA adapter; or load the files of {out / 'export'} in your trainer")
    return steps


def _table(metrics: dict[str, Any]) -> Table:
    n, calls = metrics["n"], metrics["calls"]
    table = Table(title=f"{count(n)} rows, method {metrics['method']}", title_justify="left", show_header=False)
    for outcome, label in _LABELS.items():
        rows = metrics["decisions"][outcome]
        table.add_row(label, f"{count(rows)} ({percent(rows / n if n else None)})")
    table.add_section()
    if learnt := metrics["posterior"]:
        table.add_row("wrong responses, estimated", _estimate(learnt["noise_rate"]))
        if learnt["target"]["expected"] is not None:
            table.add_row("right after, expected", _estimate(learnt["target"], "expected"))
        if not learnt["identified"]:
            table.add_row("labels", "all kept: see the note above")
        table.add_section()
    if truth := metrics["truth"]:
        _add_truth(table, truth)
    if training := metrics["training"]:
        loss = training["loss"]
        table.add_row("trained on: rows, tokens of answers", f"{count(training['rows'])}, {count(training['trained'])}")
        table.add_row("loss: first, last step", f"{loss['first']:.3f}, {loss['last']:.3f}")
        table.add_section()
    made = ", ".join(count(calls[name]) for name in ("requests", "cached", "failed"))
    table.add_row("calls: new, from the ledger, failed", made)
    table.add_row("tokens: prompt, completion", f"{count(calls['prompt_tokens'])}, {count(calls['completion_tokens'])}")
    if calls["cost"] is not None:
        table.add_row("cost", amount(calls["cost"]))
    table.add_row("time", duration(calls["wall_s"]))
    return table


def _add_truth(table: Table, truth: dict[str, Any]) -> None:
    detection, accuracy = truth["detection"], truth["label_accuracy"]
    table.add_row("wrong responses in the file (truth)", percent(truth["noise_rate"]))
    table.add_row(
        "found noisy: precision, recall, F1",
        ", ".join(percent(detection[name]) for name in ("precision", "recall", "f1")),
    )
    table.add_row(
        "right responses: before, after",
        f"{percent(accuracy['before'])}, {percent(accuracy['after_kept'])} of the rows trained on",
    )
    table.add_section()


def _estimate(found: dict[str, Any], name: str = "value") -> str:
    sure = "" if found.get("sure", found.get("reached")) else ", not sure"
    return f"{percent(found[name])} ({percent(found['low'])} to {percent(found['high'])}){sure}"
