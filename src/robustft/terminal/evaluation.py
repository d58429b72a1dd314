"""What models are worth on held-out rows: before and after training, and the arms of the experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from robustft.evaluate.table import HEADING
from robustft.evaluate.table import table as comparison_table
from robustft.terminal.figures import interval, percent


def show_evaluation(found: dict[str, Any]) -> None:
    """Print how often each model is right on the held-out rows, and by how much the adapters changed that."""
    models, base = found["models"], found["models"]["base"]
    table = Table(title=f"{base['n']} held-out rows, answers {base['answers']}", title_justify="left")
    read = "strict" in base
    for heading in ("model", "accuracy", *(["strict", "tolerant", "silent"] if read else []), "to base", "McNemar p"):
        table.add_column(heading)
    for name, facts in models.items():
        row = [name, interval({"value": facts["accuracy"], "ci95": facts["ci95"]})]
        if read:
            row += [percent(facts["strict"]["accuracy"]), percent(facts["tolerant"]["accuracy"])]
            row.append(str(facts["abstentions"]))
        change = found["differences"].get(name)
        table.add_row(*row, *([interval(change), f"{change['mcnemar_p']:.2g}"] if change else ["–", "–"]))
    Console().print(table)


def show_comparison(found: dict[str, Any], out: Path) -> None:
    """Print the experiment's table."""
    table = Table(title="Does cleaning help?", title_justify="left")
    for name in HEADING:
        table.add_column(name)
    for row in comparison_table(found):
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(f"comparison:     {out / 'compare.html'}", soft_wrap=True, highlight=False)
