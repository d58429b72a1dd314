"""How the command line looks: progress on stderr, summaries on stdout."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from robustft.doctor.findings import Report
from robustft.evaluate.table import HEADING
from robustft.evaluate.table import table as comparison_table
from robustft.records import Answer, Example


class StageProgress:
    """A bar a stage in a terminal; plain lines, at the start, every tenth and the end, anywhere else."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._bar: TaskID | None = None
        self._stage, self._total, self._done, self._started = "", 0, 0, 0.0

    def __enter__(self) -> StageProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def start(self, stage: str, total: int) -> None:
        """Begin a stage of `total` rows."""
        self._stage, self._total, self._done, self._started = stage, total, 0, time.monotonic()
        self._bar = self._bars.add_task(stage, total=total)
        self._line(f"{stage}: {total} rows")

    def advance(self, rows: int = 1) -> None:
        """Count so many rows more."""
        before, self._done = self._done, self._done + rows
        if self._bar is not None:
            self._bars.advance(self._bar, rows)
        if self._done * 10 // self._total > before * 10 // self._total and self._done < self._total:
            self._line(f"{self._stage}: {self._done} of {self._total} rows, {self._rate()}")

    def finish(self) -> None:
        """End the stage."""
        self._line(f"{self._stage}: done, {self._done} rows in {time.monotonic() - self._started:.1f} s")

    def note(self, line: str) -> None:
        """Show a line that the user should know."""
        self._console.print(f"note: {escape(line)}", soft_wrap=True, highlight=False)

    def _rate(self) -> str:
        rate = self._done / max(time.monotonic() - self._started, 1e-9)
        return f"{rate:.1f} rows/s, {timedelta(seconds=round((self._total - self._done) / rate))} left"

    def _line(self, text: str) -> None:
        if not self._console.is_terminal:
            self._console.print(escape(text), soft_wrap=True, highlight=False)


def show_plan(planned: dict[str, Any]) -> None:
    """Print what a run will take: a line a stage, and the total with its interval and its most."""
    table = Table(title=f"{planned['rows']} rows, from a pilot of {planned['pilot']}", title_justify="left")
    table.add_column("")
    for name in ("calls", "tokens sent", "answered", "time", "cost"):
        table.add_column(name, justify="right")
    for name, stage in planned["stages"].items():
        table.add_row(name, *_planned(stage, "expected"))
    table.add_section()
    total = planned["total"]
    table.add_row("together", *_planned(total, "expected"))
    table.add_row("95 %: from", *_planned(total, "low"))
    table.add_row("to", *_planned(total, "high"))
    table.add_row("at most", *_planned(total, "most"))
    Console().print(table)
    Console().print(f"disk: about {planned['disk'] / 1e6:,.0f} MB beside the rows' text", highlight=False)
    if total["seconds"]["expected"] is None:
        Console().print("time: the pilot's calls came from the ledger; say how fast a server is: --reads, --writes")
    if total["money"]["expected"] is None:
        Console().print("cost: no prices; llm.price: {prompt: .., completion: ..} says them")


def _planned(costs: dict[str, dict[str, float | None]], end: str) -> list[str]:
    counts = [_short(costs[name][end] or 0) for name in ("calls", "prompt_tokens", "completion_tokens")]
    seconds, money = costs["seconds"][end], costs["money"][end]
    return [
        *counts,
        "?" if seconds is None else str(timedelta(seconds=round(seconds))),
        "?" if money is None else f"{money:,.2f}",
    ]


def _short(count: float) -> str:
    """Return a count in at most seven characters."""
    for size, name in ((1e9, "G"), (1e6, "M")):
        if count >= size:
            return f"{count / size:,.1f} {name}"
    return f"{count:,.0f}"


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


def show_summary(metrics: dict[str, Any], out: Path) -> None:
    """Print what a run did, on one screen."""
    decisions, calls, truth = metrics["decisions"], metrics["calls"], metrics["truth"]
    table = Table(title=f"{metrics['n']} rows, method {metrics['method']}", title_justify="left", show_header=False)
    table.add_row("kept as given", str(decisions["keep"]))
    table.add_row("relabelled", str(decisions["relabel"]))
    table.add_row("dropped", str(decisions["drop"]))
    table.add_row("set aside for review", str(decisions["review"]))
    table.add_section()
    if learnt := metrics["posterior"]:
        table.add_row("wrong responses, estimated", _estimate(learnt["noise_rate"]))
        if learnt["target"]["expected"] is not None:
            table.add_row("right after, expected", _estimate(learnt["target"], "expected"))
        if not learnt["identified"]:
            table.add_row("labels", "all kept: see the note above")
        table.add_section()
    if truth:
        detection, accuracy = truth["detection"], truth["label_accuracy"]
        table.add_row("wrong responses in the file (truth)", _percent(truth["noise_rate"]))
        table.add_row(
            "found noisy: precision, recall, F1",
            ", ".join(_percent(detection[name]) for name in ("precision", "recall", "f1")),
        )
        table.add_row(
            "right responses: before, after",
            f"{_percent(accuracy['before'])}, {_percent(accuracy['after_kept'])} of the rows trained on",
        )
        table.add_section()
    if training := metrics["training"]:
        loss = training["loss"]
        table.add_row("trained on: rows, tokens of answers", f"{training['rows']}, {training['trained']}")
        table.add_row("loss: first, last step", f"{loss['first']:.3f}, {loss['last']:.3f}")
        table.add_section()
    table.add_row("calls: new, from the ledger, failed", f"{calls['requests']}, {calls['cached']}, {calls['failed']}")
    table.add_row("tokens: prompt, completion", f"{calls['prompt_tokens']}, {calls['completion_tokens']}")
    table.add_row("time", f"{calls['wall_s']:.1f} s")
    console = Console()
    console.print(table)
    if metrics["evaluation"]:
        show_evaluation(metrics["evaluation"])
    if metrics["compare"]:
        show_comparison(metrics["compare"], out / "compare")
    console.print(f"training files: {out / 'export'}", soft_wrap=True, highlight=False)
    if training:
        console.print(f"adapter:        {out / 'adapter'}", soft_wrap=True, highlight=False)
    console.print(f"report:         {out / 'report.html'}", soft_wrap=True, highlight=False)


def _estimate(found: dict[str, Any], name: str = "value") -> str:
    sure = "" if found.get("sure", found.get("reached")) else ", not sure"
    return f"{_percent(found[name])} ({_percent(found['low'])} to {_percent(found['high'])}){sure}"


def show_evaluation(found: dict[str, Any]) -> None:
    """Print how often each model is right on the held-out rows, and by how much the adapters changed that."""
    models, base = found["models"], found["models"]["base"]
    table = Table(title=f"{base['n']} held-out rows, answers {base['answers']}", title_justify="left")
    read = "strict" in base
    for heading in ("model", "accuracy", *(["strict", "tolerant", "silent"] if read else []), "to base", "McNemar p"):
        table.add_column(heading)
    for name, facts in models.items():
        row = [name, _interval({"value": facts["accuracy"], "ci95": facts["ci95"]})]
        if read:
            row += [_percent(facts["strict"]["accuracy"]), _percent(facts["tolerant"]["accuracy"])]
            row.append(str(facts["abstentions"]))
        change = found["differences"].get(name)
        table.add_row(*row, *([_interval(change), f"{change['mcnemar_p']:.2g}"] if change else ["–", "–"]))
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


def show_audit(result: dict[str, Any], folder: Path) -> None:
    """Print what an audit found, on one screen."""
    planted, confidence = result["planted"], result["confidence"]
    title = f"{planted} of {result['n']} responses made wrong ({result['kind']}), method {result['method']}"
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_row("recall: planted rows that were found", _interval(result["recall"]))
    table.add_row("precision: planted of those found, at least", _interval(result["precision"]))
    table.add_row("F1, at least", _interval(result["f1"]))
    table.add_section()
    table.add_row("planted rows trained on that were mended", _interval(result["relabel_accuracy"]))
    table.add_row("planted rows trained on as planted", _interval(result["planted_left_in"]))
    table.add_row("other rows changed or lost, at most", _interval(result["false_corrections"]))
    table.add_section()
    table.add_row("mean confidence of the rows trained on", _percent(confidence["mean"]))
    table.add_row("of these, as given before planting", _interval(confidence["as_before"]))
    console = Console()
    console.print(table)
    if result["warning"]:
        console.print(f"warning: {escape(result['warning'])}", soft_wrap=True, highlight=False)
    console.print(f"audit: {folder / 'audit.json'}", soft_wrap=True, highlight=False)


def show_row(facts: dict[str, Any]) -> None:
    """Print one row all the way."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    example, decision = facts["example"], facts["decision"]
    console.print(f"row {example.id}\n\nquestion\n{_indent(facts['question'])}\n")
    console.print(f"given response: {example.response}" + (f"   (truth: {example.truth})" if example.truth else ""))
    console.print("\nanswers")
    for answer in facts["answers"]:
        console.print(f"  {answer.expert}: {_answer(answer, example)}")
    verdict = facts["verdict"]
    console.print(f"\nverdict: {'noisy' if verdict.noisy else 'clean'} ({verdict.confidence:.2f}): {verdict.reason}")
    if facts["neighbours"]:
        console.print("\nclean neighbours")
        for near in facts["neighbours"]:
            console.print(f"  {near.id}: {' '.join(near.messages[-1]['content'].split())[:100]} -> {near.response}")
    if facts["relabel"] is not None:
        console.print(f"\nproposal: {facts['relabel'].response}: {facts['relabel'].reason}")
    console.print(f"\ndecision: {decision.decision} -> {decision.response_final} ({decision.confidence:.2f})")
    console.print(f"  {decision.reason}")


def _answer(answer: Answer, example: Example) -> str:
    facts = [answer.value or "no readable answer", f"said {' '.join(answer.text.split())[:80]!r}"]
    if answer.probs is not None:
        facts.append("p " + " ".join(f"{p:.2f}" for p in answer.probs))
    if answer.nll is not None:
        facts.append(f"NLL {answer.nll:.3f}")
    return ", ".join(facts)


def _indent(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _interval(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "–"
    low, high = figure["ci95"]
    of = f" of {figure['n']}" if "n" in figure else ""
    return f"{_percent(figure['value'])}{of} ({100 * low:.1f} to {100 * high:.1f})"
