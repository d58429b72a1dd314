"""What the doctor found: a table in a terminal, plain lines anywhere else."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from robustft.doctor.findings import Report

COLOURS = {"ok": "green", "degraded": "yellow", "failed": "red"}


def show_report(report: Report) -> None:
    """Print what the doctor found: a table in a terminal, a line a check anywhere else."""
    console = Console()
    if console.is_terminal:
        table = Table(title=escape(report.examined), title_justify="left")
        for heading in ("check", "result", "seen", "what a run does about it"):
            table.add_column(heading)
        for check, found in report.findings.items():
            colour = COLOURS[found.result]
            table.add_row(check, f"[{colour}]{found.result}[/]", escape(found.seen), escape(found.run))
        console.print(table)
    else:
        lines = [f"{check}: {found.result}: {found.seen} -> {found.run}" for check, found in report.findings.items()]
        console.print("\n".join([report.examined, *lines]), soft_wrap=True, highlight=False, markup=False)
    if report.spent:
        spent = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in report.spent.items())
        console.print(f"this took {spent}", soft_wrap=True, highlight=False)
    if report.file is not None:
        console.print(f"runs start from what is in {report.file}", soft_wrap=True, highlight=False)
    if report.obstacle is None:
        console.print("a run can go on", highlight=False)
