"""What leaves a run directory: the training files, the adapter, what it is worth, metrics.json and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from robustft import __version__
from robustft.config import Config, TrainConfig
from robustft.data.exports import write_exports
from robustft.data.recipes import Recipe
from robustft.data.train_rows import Rows
from robustft.engine.local import Progress
from robustft.evaluate.compare import study_key
from robustft.evaluate.evaluate import Training, ask_model, evaluation_facts, models_of, prepare
from robustft.fusion.fuse import Fused, summary
from robustft.fusion.verdicts import beliefs_of
from robustft.llm.calls import Calls
from robustft.llm.local.weights import located
from robustft.records import Answer, Belief, Decision, Example, Relabel, Verdict
from robustft.report.metrics import against_truth, count_decisions, count_missing, count_readings, total_calls
from robustft.report.page import render
from robustft.report.provenance import provenance
from robustft.report.trackers import Told, tell
from robustft.run import RunDir, fingerprint
from robustft.store import stretches
from robustft.tasks import make_task
from robustft.tasks.task import Task
from robustft.train.form import Form, TrainRows
from robustft.train.lora import data_key, read_training, train
from robustft.train.settings import confidences, settled

if TYPE_CHECKING:
    from robustft.engine.ray import Cluster


def training_rows(run: RunDir, task: Task, config: Config) -> TrainRows:
    """Return the rows that were kept or relabelled, as they are trained on."""
    examples = run.load(Example)
    return TrainRows(examples, run.load(Decision), form_of(run, examples, task, config))


def form_of(run: RunDir, examples: Sequence[Example], task: Task, config: Config) -> Form:
    """Return how the run's rows are trained on."""
    return Form.of(examples, run.read_json("findings.json").get("layout", "columns"), task, config)


def write_training_files(run: RunDir, rows: Rows, config: Config) -> list[Path]:
    """Export the rows in every format that the config names. Returns the files."""
    return write_exports(run.path / "export", rows, config.export, "train", _recipe(config))


async def write_training_files_on(cluster: Cluster, run: RunDir, rows: TrainRows, config: Config) -> list[Path]:
    """Have the workers of a cluster export the rows; a JSON list can't be written in parts, and is written here."""
    if config.export.file_type != "jsonl":
        return write_training_files(run, rows, config)
    return await cluster.export(rows, run.path / "export", "train", _recipe(config))


def _recipe(config: Config) -> Recipe:
    train = config.train or TrainConfig()
    if train.seed is None:
        train = train.model_copy(update={"seed": config.seed})
    return Recipe(located(train.model or config.llm.model), train)


def train_adapter(run: RunDir, task: Task, config: Config, progress: Progress | None = None) -> dict[str, Any]:
    """Train on the rows that are exported; `train.lora.train` says what it writes. Returns what training.json holds."""
    settings = settled(config)
    rows = list(training_rows(run, task, config))
    return train(rows, settings, run.path, progress, confidences(run, config))


async def evaluate_run(
    run: RunDir, task: Task, config: Config, progress: Progress, calls: Calls | None = None
) -> dict[str, Any]:
    """Evaluate the base model and the run's adapter, or the adapters that the config names, on the held-out rows.

    Writes evaluation.json, and evaluation.jsonl with a line for each model and row. `calls` counts what was asked.
    Returns the key `evaluation` of metrics.json. Raises RobustFTError.
    """
    examples = run.load(Example)
    training = Training.of(examples, run.load(Decision), form_of(run, examples, task, config))
    trained = _trained(run, task, config)
    if trained is not None:
        models = models_of(config, trained["settings"]["model"], run.path / "adapter")
    else:
        models = models_of(config, config.train.model if config.train else None, None)
    sheet = await prepare(config, task, training)
    if sheet.set_aside:
        progress.note(f"{len(sheet.set_aside)} held-out rows are set aside; evaluation.json says why")
    results = {name: await ask_model(name, llm, sheet, config, task, progress, calls) for name, llm in models.items()}
    lines = [orjson.dumps(result) + b"\n" for said in results.values() for result in said]
    run.write("evaluation.jsonl", b"".join(lines))
    figures = evaluation_facts(results, sheet, task, config)
    key, measured = _rows_key(run, task, config), _measured_by(config)
    run.write_json("evaluation.json", {"key": key, "by": measured, "evaluation": figures})
    return figures


def save_belief(run: RunDir, examples: Sequence[Example], fused: Fused, config: Config) -> None:
    """Write beliefs.parquet, and what the posterior learnt into findings.json."""
    run.save(Belief, beliefs_of(examples, fused))
    run.write_json("findings.json", run.read_json("findings.json") | {"posterior": summary(fused, config)})


def write_metrics(run: RunDir, task: Task, config: Config) -> dict[str, Any]:
    """Write metrics.json from the run's records. Returns what it holds."""
    examples, verdicts, decisions = run.load(Example), run.load(Verdict), run.load(Decision)
    findings = run.read_json("findings.json")
    learnt = findings.get("posterior") if config.method == "posterior" else None
    said = stretches(run.load(Answer))
    metrics = {
        "n": len(examples),
        "method": config.method,
        "noise_rate_estimate": learnt["noise_rate"]["value"] if learnt else None,
        "decisions": count_decisions(decisions),
        "calls": total_calls(run.read_json("stages.json"), config.llm.price),
        "unanswered": count_missing(said),
        "truth": against_truth(examples, verdicts, decisions, task),
        "training": _training(run, task, config),
        "evaluation": _evaluation(run, task, config),
        "compare": _comparison(run, examples, config),
        "data": {"skipped": findings["skipped"], "conflicting_questions": len(findings["conflicts"])},
        "readings": count_readings(examples, said, task),
        "posterior": learnt,
        "version": __version__,
    }
    run.write_json("metrics.json", metrics)
    return metrics


def write_report(run: RunDir, config: Config) -> Path:
    """Write report.html. Returns its path."""
    metrics = run.read_json("metrics.json")
    page = render(
        run.path.name,
        config,
        metrics,
        make_task(config.task),
        run.load(Example),
        run.load(Verdict),
        run.load(Decision),
        stretches(run.load(Answer)),
        run.read_json("stages.json"),
        _curve(run, metrics),
    )
    return run.write("report.html", page.encode())


def conclude(run: RunDir, task: Task, config: Config, say: Callable[[str], None]) -> dict[str, Any]:
    """Write metrics.json, provenance.json and report.html, and tell the tracker that the config names.

    Returns the metrics.
    """
    metrics = write_metrics(run, task, config)
    run.write_json("provenance.json", provenance(run, config))
    page = write_report(run, config)
    if config.report_to != "none":
        try:
            tell(config.report_to, Told.of(run.path.name, config, metrics, _curve(run, metrics), page))
        except Exception as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            say(f"{config.report_to} was not told ({reason}); `robustft report {run.path}` tries again")
    return metrics


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


def _curve(run: RunDir, metrics: Mapping[str, Any]) -> list[dict[str, float]]:
    """Return the training loss by step, where these rows were trained on."""
    return list(read_training(run.path)["curve"]) if metrics["training"] else []


def _training(run: RunDir, task: Task, config: Config) -> dict[str, Any] | None:
    """Return what training came to; None where these very rows were not trained on."""
    facts = _trained(run, task, config)
    if facts is None:
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


def _trained(run: RunDir, task: Task, config: Config) -> dict[str, Any] | None:
    """Return what training.json holds; None where these very rows were not trained on."""
    found = read_training(run.path)
    return found if "curve" in found and found["data"] == data_key(training_rows(run, task, config)) else None


def _evaluation(run: RunDir, task: Task, config: Config) -> dict[str, Any] | None:
    """Return what evaluation found; None where these very rows, or this adapter, were not evaluated.

    Nor where the config has it done in another way. Where it says nothing of evaluation, a command has asked for it.
    """
    found = run.read_json("evaluation.json")
    if not found or found["key"] != _rows_key(run, task, config):
        return None
    return found["evaluation"] if config.evaluate is None or found.get("by") == _measured_by(config) else None


def _measured_by(config: Config) -> str:
    return fingerprint(config.evaluate and config.evaluate.model_dump(mode="json"))


def _comparison(run: RunDir, examples: Sequence[Example], config: Config) -> dict[str, Any] | None:
    """Return what the run's comparison found; None where it was of other rows, or isn't wanted."""
    found = run.read_json("compare/compare.json")
    return found if config.compare and found.get("key") == study_key(examples, config) else None


def _rows_key(run: RunDir, task: Task, config: Config) -> str:
    trained = _trained(run, task, config)
    return fingerprint(data_key(training_rows(run, task, config)), trained and trained["key"])
