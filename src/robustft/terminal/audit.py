"""What an audit found, on one screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from robustft.terminal.figures import interval, percent


def show_audit(result: dict[str, Any], folder: Path) -> None:
    """Print what an audit found, on one screen."""
    planted, confidence = result["planted"], result["confidence"]
    title = f"{planted} of {result['n']} responses made wrong ({result['kind']}), method {result['method']}"
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_row("recall: planted rows that were found", interval(result["recall"]))
    table.add_row("precision: planted of those found, at least", interval(result["precision"]))
    table.add_row("F1, at least", interval(result["f1"]))
    table.add_section()
    table.add_row("planted rows trained on that were mended", interval(result["relabel_accuracy"]))
    table.add_row("planted rows trained on as planted", interval(result["planted_left_in"]))
    table.add_row("other rows changed or lost, at most", interval(result["false_corrections"]))
    table.add_section()
    table.add_row("mean confidence of the rows trained on", percent(confidence["mean"]))
    table.add_row("of these, as given before planting", interval(confidence["as_before"]))
    console = Console()
    console.print(table)
    if result["warning"]:
        console.print(f"warning: {escape(result['warning'])}", soft_wrap=True, highlight=False)
    console.print(f"audit: {folder / 'audit.json'}", soft_wrap=True, highlight=False)
