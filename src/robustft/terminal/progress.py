"""How far a run is: a line a stage that grows in a terminal, plain lines in logs and notebooks; on stderr."""

from __future__ import annotations

import time
from dataclasses import replace
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.table import Column
from rich.text import Text

from robustft.config import PriceConfig
from robustft.llm.calls import Calls
from robustft.terminal.figures import amount, count, duration, short, visible

APART = 1.0
"""Seconds between two lines of a stage in a log, at least."""
ROOMY = 100
"""Columns of a terminal from which on there is room for a bar."""


def say(line: str, console: Console | None = None) -> None:
    """Show a line that the user should know."""
    (console or Console(stderr=True)).print(f"note: {escape(visible(line))}", soft_wrap=True, highlight=False)


class _Time(ProgressColumn):
    """What a stage took where it is over, else what is left; where nobody can tell, what it has taken so far."""

    def render(self, task: Task) -> Text:
        """Return it in words."""
        if task.finished or task.stop_time is not None:
            said = f"in {duration(task.finished_time or task.elapsed or 0.0)}"
        elif (left := task.time_remaining) is not None:
            said = f"{duration(left)} left"
        else:
            said = f"{duration(task.elapsed or 0.0)} so far"
        return Text(said, style="progress.remaining")


class StageProgress:
    """Draws a run's progress; implements `robustft.engine.local.Progress`.

    In a terminal each stage is a line with a bar, where there is room, time left, rate, failures, abstentions, cost and
    calls: what goes wrong comes first, since the end of a line may be cut off. Anywhere else it says the same in plain
    lines: at the start, after every tenth, a second apart at least, and at the end.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<9}"),
            *([BarColumn(bar_width=12)] if self._console.width >= ROOMY else []),
            MofNCompleteColumn(table_column=Column(justify="right", no_wrap=True)),
            _Time(table_column=Column(justify="right", no_wrap=True, min_width=11)),
            TextColumn("{task.fields[rate]}", justify="right"),
            TextColumn("{task.fields[spent]}", style="dim", table_column=Column(ratio=1, no_wrap=True)),
            console=self._console,
            expand=True,  # so that it is the last column that gives way
            disable=not self._console.is_terminal,
        )
        self._bar: TaskID | None = None
        self._stage, self._total, self._done, self._abstained, self._started = "", 0, 0, 0, 0.0
        self._said = 0.0
        self._calls, self._before = Calls(), Calls()
        self._price: PriceConfig | None = None

    def __enter__(self) -> StageProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def watch(self, calls: Calls, price: PriceConfig | None) -> None:
        """Show what is counted in `calls` from now on, and what it costs."""
        self._calls, self._price, self._before = calls, price, replace(calls)

    def start(self, stage: str, total: int) -> None:
        """Begin a stage of `total` rows."""
        self._stage, self._total, self._started = stage, total, time.monotonic()
        self._done = self._abstained = 0
        self._before = replace(self._calls)
        self._bar = self._bars.add_task(stage, total=total, rate="", spent="")
        self._line(f"{stage}: {count(total)} rows")

    def advance(self, rows: int = 1) -> None:
        """Count so many rows more."""
        before, self._done = self._done, self._done + rows
        tenth = self._tenths(self._done) > self._tenths(before)
        if self._bar is not None:
            if self._console.is_terminal:
                spent = " · ".join(reversed(self._spent()))
                self._bars.update(self._bar, advance=rows, rate=f"{self._rate()}/s", spent=spent)
            elif tenth and self._done < self._total and time.monotonic() - self._said > APART:
                facts = [f"{self._rate()} rows/s", f"{duration(self._left())} left", *self._spent()]
                self._line(f"{self._stage}: {count(self._done)} of {count(self._total)} rows, {', '.join(facts)}")

    def abstain(self, answers: int = 1) -> None:
        """Count so many answers more that could not be read."""
        self._abstained += answers

    def finish(self) -> None:
        """End the stage."""
        if self._bar is not None:
            self._bars.stop_task(self._bar)
        facts = [f"{count(self._done)} rows in {duration(time.monotonic() - self._started)}", *self._spent()]
        self._line(f"{self._stage}: done, {', '.join(facts)}")

    def note(self, line: str) -> None:
        """Show a line that the user should know."""
        say(line, self._console)

    def _spent(self) -> list[str]:
        """Return what the stage has come to, only what there is of it."""
        calls = self._calls - self._before
        cost = calls.cost(self._price)
        facts = [(calls.requests, "calls"), (calls.cached, "from the ledger")]
        said = [f"{short(number)} {what}" for number, what in facts if number]
        if cost:
            said.append(f"cost {amount(cost)}")
        if self._abstained:
            said.append(f"{short(self._abstained)} abstained")
        if calls.failed:
            said.append(f"{short(calls.failed)} failed")
        return said

    def _tenths(self, rows: int) -> int:
        return rows * 10 // max(self._total, 1)

    def _speed(self) -> float:
        return self._done / max(time.monotonic() - self._started, 1e-9)

    def _rate(self) -> str:
        return f"{self._speed():,.{0 if self._speed() >= 10 else 1}f}"

    def _left(self) -> float:
        return (self._total - self._done) / max(self._speed(), 1e-9)

    def _line(self, text: str) -> None:
        self._said = time.monotonic()
        if not self._console.is_terminal:
            self._console.print(escape(text), soft_wrap=True, highlight=False)


class Waiting:
    """A line on stderr that says what is waited for; in a terminal only."""

    def __init__(self, title: str) -> None:
        self._title, self._status = title, Console(stderr=True).status(title)

    def __enter__(self) -> Waiting:
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def say(self, line: str) -> None:
        """Show what is being done now."""
        self._status.update(escape(f"{self._title}: {line}"))
