"""What a run will take, as a table."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from robustft.terminal.figures import amount, count, short


def show_plan(planned: dict[str, Any]) -> None:
    """Print what a run will take: a line a stage, and the total with its interval and its most."""
    table = Table(title=f"{count(planned['rows'])} rows, from a pilot of {planned['pilot']}", title_justify="left")
    table.add_column("")
    for name in ("calls", "tokens sent", "answered", "time", "cost"):
        table.add_column(name, justify="right")
    for name, stage in planned["stages"].items():
        table.add_row({"rows": "beside calls"}.get(name, name), *_planned(stage, "expected"))
    table.add_section()
    total = planned["total"]
    table.add_row("together", *_planned(total, "expected"))
    table.add_row("95 %: from", *_planned(total, "low"))
    table.add_row("to", *_planned(total, "high"))
    table.add_row("at most", *_planned(total, "most"))
    Console().print(table)
    Console().print(f"disk: about {planned['disk'] / 1e6:,.0f} MB beside the rows' text", highlight=False)
    if total["seconds"]["expected"] is None:
        line = "time: the pilot's calls came from the ledger; say how fast a server is: --reads, --writes"
        Console().print(line, soft_wrap=True, highlight=False)
    if total["money"]["expected"] is None:
        line = "cost: no prices; llm.price: {prompt: .., completion: ..} says them"
        Console().print(line, soft_wrap=True, highlight=False)


def _planned(costs: dict[str, dict[str, float | None]], end: str) -> list[str]:
    counts = [short(costs[name][end] or 0) for name in ("calls", "prompt_tokens", "completion_tokens")]
    seconds, money = costs["seconds"][end], costs["money"][end]
    return [
        *counts,
        "?" if seconds is None else str(timedelta(seconds=round(seconds))),
        "?" if money is None else amount(money),
    ]
