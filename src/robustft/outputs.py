"""What leaves a run directory: the training files, the adapter, metrics.json and the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robustft import __version__
from robustft.config import Config
from robustft.data.exports import TrainRow, write_exports
from robustft.engine.local import Progress
from robustft.fusion.fuse import Fused, summary
from robustft.fusion.verdicts import beliefs_of
from robustft.records import Answer, Belief, Decision, Example, Message, Relabel, Verdict
from robustft.report.html import render
from robustft.report.metrics import against_truth, count_decisions, count_readings, total_calls
from robustft.run import RunDir
from robustft.tasks.task import Task
from robustft.train.lora import data_key, read_training, train
from robustft.train.settings import settled


def training_rows(run: RunDir, task: Task, config: Config) -> list[TrainRow]:
    """Return the rows that were kept or relabelled, as they are trained on."""
    conversational = run.read_json("findings.json").get("layout") != "columns"
    return [
        _train_row(example, decision, task, config, conversational)
        for example, decision in zip(run.load(Example), run.load(Decision), strict=True)
        if decision.decision in {"keep", "relabel"}
    ]


def write_training_files(run: RunDir, rows: Sequence[TrainRow], config: Config) -> list[Path]:
    """Export the rows in every format that the config names. Returns the files."""
    return write_exports(run.path / "export", rows, config.export, "train")


def train_adapter(run: RunDir, task: Task, config: Config, progress: Progress | None = None) -> dict[str, Any]:
    """Train on the rows that are exported; `train.lora.train` says what it writes. Returns what training.json holds."""
    settings = settled(config)
    confidences = {decision.id: decision.confidence for decision in run.load(Decision)}
    return train(training_rows(run, task, config), settings, run.path, progress, confidences)


def save_belief(run: RunDir, examples: Sequence[Example], fused: Fused, config: Config) -> None:
    """Write beliefs.parquet, and what the posterior learnt into findings.json."""
    run.save(Belief, beliefs_of(examples, fused))
    run.write_json("findings.json", run.read_json("findings.json") | {"posterior": summary(fused, config)})


def write_metrics(run: RunDir, task: Task, config: Config) -> dict[str, Any]:
    """Write metrics.json from the run's records. Returns what it holds."""
    examples, verdicts, decisions = run.load(Example), run.load(Verdict), run.load(Decision)
    findings = run.read_json("findings.json")
    learnt = findings.get("posterior") if config.method == "posterior" else None
    metrics = {
        "n": len(examples),
        "method": config.method,
        "noise_rate_estimate": learnt["noise_rate"]["value"] if learnt else None,
        "decisions": count_decisions(decisions),
        "calls": total_calls(run.read_json("stages.json")),
        "truth": against_truth(examples, verdicts, decisions, task),
        "training": _training(run, task, config),
        "evaluation": None,
        "data": {"skipped": findings["skipped"], "conflicting_questions": len(findings["conflicts"])},
        "readings": count_readings(examples, run.load(Answer), task),
        "posterior": learnt,
        "version": __version__,
    }
    run.write_json("metrics.json", metrics)
    return metrics


def write_report(run: RunDir, config: Config) -> Path:
    """Write report.html. Returns its path."""
    metrics = run.read_json("metrics.json")
    curve = read_training(run.path)["curve"] if metrics["training"] else []
    page = render(run.path.name, config, metrics, run.load(Example), run.load(Decision), curve)
    return run.write("report.html", page.encode())


def explain(run: RunDir, row: str, task: Task) -> dict[str, Any] | None:
    """Return all that the run knows of one row, in the order in which it came about; None for an unknown id."""
    example = next((e for e in run.load(Example) if e.id == row), None)
    if example is None:
        return None
    proposal = next((p for p in run.load(Relabel) if p.id == row), None)
    near = [e for e in run.load(Example) if proposal is not None and e.id in proposal.context_ids]
    return {
        "example": example,
        "question": task.render(example)[-1]["content"],
        "answers": [a for a in run.load(Answer) if a.id == row],
        "verdict": next(v for v in run.load(Verdict) if v.id == row),
        "neighbours": near,
        "relabel": proposal,
        "decision": next(d for d in run.load(Decision) if d.id == row),
    }


def _training(run: RunDir, task: Task, config: Config) -> dict[str, Any] | None:
    """Return what training came to; None where these very rows were not trained on."""
    facts = read_training(run.path)
    if "curve" not in facts or facts["data"] != data_key(training_rows(run, task, config)):
        return None
    return {
        "model": facts["settings"]["model"],
        **{name: facts["tokens"][name] for name in ("rows", "tokens", "trained")},
        "rows_cut": facts["tokens"]["cut"]["rows"],
        "steps": facts["steps"],
        "loss": {"first": facts["curve"][0]["loss"], "last": facts["curve"][-1]["loss"]},
        "seconds": facts["seconds"],
        "tokens_per_second": facts["tokens_per_second"],
    }


def _train_row(example: Example, decision: Decision, task: Task, config: Config, conversational: bool) -> TrainRow:
    """Return the row as it is trained on.

    A conversation is exported as it came; a row of columns is rendered, since its question alone doesn't hold the
    instruction and the options.
    """
    messages: Sequence[Message] = example.messages if conversational else task.render(example)
    replaced = decision.response_given if decision.decision == "relabel" else None
    return TrainRow(
        id=example.id,
        messages=tuple(messages),
        response=_target(decision.response_final or "", config, conversational),
        rejected=None if replaced is None else _target(replaced, config, conversational),
        source=example.source,
    )


def _target(response: str, config: Config, conversational: bool) -> str:
    # of several accepted short answers the first one is trained on
    answer = response.partition(" | ")[0] if config.task.kind == "short" else response
    return answer if conversational else config.task.target.replace("{answer}", answer)
