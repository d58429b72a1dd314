"""Each stage of a run: what it reads from the run directory, whom it has do the work, what it writes there.

A stage returns whether all of its work is done; one in which a call has no answer is done again by the next run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from robustft.config import SCORERS, Config
from robustft.data.layouts import Layout
from robustft.data.readers import Reader, SkippedRow, find_conflicts, read_reviewed
from robustft.detect.detect import detect as ask_panel
from robustft.detect.tuned import ask_tuned
from robustft.engine.local import Progress, interruptible
from robustft.errors import ConfigError
from robustft.evaluate.evaluate import guard
from robustft.fusion.fuse import fuse
from robustft.fusion.verdicts import Believed, verdicts_of
from robustft.fusion.views import TUNED, Rows, views_of
from robustft.llm.models import Models
from robustft.outputs import (
    conclude,
    evaluate_run,
    form_of,
    save_belief,
    train_adapter,
    training_rows,
    write_training_files,
    write_training_files_on,
)
from robustft.records import OF_RELABEL, Answer, Belief, Decision, Example, Relabel, Verdict
from robustft.relabel.relabel import ask as ask_further
from robustft.relabel.relabel import propose
from robustft.report.columns import refuse_unknown
from robustft.report.metrics import count_missing
from robustft.review.verdicts import PersonVerdicts, decided, verdict_file
from robustft.run import RunDir
from robustft.select.believe import decide_by_belief
from robustft.select.decide import decide
from robustft.store import Stored, stretches
from robustft.tasks.task import Task
from robustft.work import Work

if TYPE_CHECKING:
    from robustft.engine.ray import Cluster


@dataclass(frozen=True, slots=True)
class Job:
    """What every stage is handed."""

    config: Config
    task: Task
    run: RunDir
    models: Models
    progress: Progress
    limit: int | None = None
    cluster: Cluster | None = None

    async def release(self) -> None:
        """Close the models: a training needs their memory."""
        await self.models.release()
        if self.cluster is not None:
            await self.cluster.release()


async def read(job: Job) -> bool:
    """Read the rows, and say what is odd about them."""
    examples, layout, skipped = await _examples(job)
    refuse_unknown(job.config.report.groups, examples)
    _refuse_unscorable(job.config, examples)
    job.progress.start("read", len(examples))
    conflicts = find_conflicts(examples, job.task)
    job.run.write_json("findings.json", {"layout": layout, "skipped": len(skipped), "conflicts": conflicts})
    job.run.write("skipped.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in skipped))
    if skipped:
        job.progress.note(f"{len(skipped)} malformed rows were skipped; skipped.jsonl names them")
    if job.config.evaluate is not None:
        # a leak is said before anything is asked
        await guard(job.config, job.task, examples)
    if conflicts:
        job.progress.note(f"{len(conflicts)} questions have several different responses; findings.json names them")
    return _whole_at_once(job, len(examples))


def _refuse_unscorable(config: Config, examples: Sequence[Example]) -> None:
    """Raise ConfigError where experts score options, and no row has any; of some rows only they abstain."""
    scorers = [name for name in config.experts if name in SCORERS]
    if scorers and config.method not in {"none", "self-select"} and not any(example.options for example in examples):
        raise ConfigError(
            f"experts: {' and '.join(scorers)} score options, and no row of {config.data.path} has any; "
            "name their column in data.options, their texts in task.options, or leave these experts out"
        )


async def _examples(job: Job) -> tuple[Stored[Example], Layout, Sequence[SkippedRow]]:
    """Read and save the examples. Returns them, their layout, and the malformed rows that were set aside."""
    if job.cluster is not None and (read := await job.cluster.read(job.limit)) is not None:
        parts, layout = read
        return job.run.save(Example, *parts), layout, []
    rows = Reader(job.config.data, job.task, job.limit)
    return job.run.save(Example, rows), rows.layout, rows.skipped


async def detect(job: Job) -> bool:
    """Ask the experts, and say which rows look wrong."""
    work = _work(job)
    found = await ask_panel(work)
    answers = job.run.save(Answer, *found.said)
    job.run.save(Verdict, found.verdicts)
    if found.fused is not None:
        save_belief(job.run, work.examples, found.fused, job.config)
    return _nothing_missing([answers], job)


async def tune(job: Job) -> bool:
    """Ask the model itself, trained on the other rows, where the config names it."""
    if TUNED not in job.config.experts:
        return True
    await job.release()  # its memory is needed
    work, run = _work(job), job.run
    before = [part for part in stretches(run.load(Answer)) if part[0].expert not in {TUNED, *OF_RELABEL}]
    if before and not run.read_json("findings.json")["posterior"]["identified"]:
        job.progress.note("tuned: nothing is identified, so that there are no labels to learn from: left out")
        return True
    form = form_of(run, work.examples, job.task, job.config)
    with interruptible():
        tuned = await ask_tuned(work, before, form, run.path / TUNED)
    if tuned is None:
        job.progress.note("tuned: all rows are near-duplicates of each other, with no others to learn from: left out")
        return True
    said = [*before, tuned]
    rows = Rows.of(work.examples, job.task, work.reviewed)
    fused = fuse(views_of(rows, said, job.config.experts, job.task), job.config)
    run.save(Answer, *said)
    run.save(Verdict, verdicts_of(work.examples, said, fused))
    save_belief(run, work.examples, fused, job.config)
    return _nothing_missing([tuned], job)


async def relabel(job: Job) -> bool:
    """Ask for new answers to rows that look wrong, and propose one."""
    work, run = _work(job), job.run
    before = [part for part in stretches(run.load(Answer)) if part[0].expert not in OF_RELABEL]
    asked = await ask_further(work, before, run.load(Verdict))
    said = [*before, *asked.said]
    run.save(Answer, *said)
    if asked.fused is not None:
        run.save(Verdict, verdicts_of(work.examples, said, asked.fused))
        save_belief(run, work.examples, asked.fused, job.config)
    believed, verdicts = _believed(job), run.load(Verdict)
    proposed = propose(work.examples, said, verdicts, believed, asked.shown, job.config, job.task)
    run.save(Relabel, proposed)
    if believed is not None:
        job.progress.note(run.read_json("findings.json")["posterior"]["reason"])
    return _nothing_missing(asked.said, job)


def _work(job: Job) -> Work:
    """Return the rows, what a person knows of them, and the models."""
    examples, path = job.run.load(Example), job.config.posterior.reviewed
    reviewed = read_reviewed(path, job.config.data, job.task, examples) if path else {}
    reviewed |= _said(job).known(examples, job.task)
    cluster = job.cluster
    embedder = job.models.embedder if cluster is None else cluster.embedder
    return Work(examples, job.config, job.task, job.models.llm, embedder, job.progress, reviewed, job.run.path, cluster)


def _said(job: Job) -> PersonVerdicts:
    """Return what a person said of the rows."""
    return PersonVerdicts(verdict_file(job.run, job.config))


def _believed(job: Job) -> Believed | None:
    """Return what is believed, where the method is the posterior."""
    if job.config.method != "posterior":
        return None
    learnt = job.run.read_json("findings.json")["posterior"]
    return Believed(job.run.load(Belief), learnt["identified"])


async def select(job: Job) -> bool:
    """Decide every row."""
    run, believed = job.run, _believed(job)
    examples, said, verdicts = run.load(Example), stretches(run.load(Answer)), run.load(Verdict)
    job.progress.start("select", len(examples))
    if believed is not None:
        decisions = decide_by_belief(examples, said, believed, verdicts, job.config, job.task)
    else:
        decisions = decide(examples, said, verdicts, run.load(Relabel), job.config, job.task)
    run.save(Decision, decided(examples, decisions, _said(job), job.task))
    return _whole_at_once(job, len(examples))


async def export(job: Job) -> bool:
    """Write the training files."""
    rows = training_rows(job.run, job.task, job.config)
    job.progress.start("export", len(rows))
    if job.cluster is None:
        write_training_files(job.run, rows, job.config)
    else:
        await write_training_files_on(job.cluster, job.run, rows, job.config)
    return _whole_at_once(job, len(rows))


async def train(job: Job) -> bool:
    """Train an adapter, where the config asks for one."""
    if job.config.train is not None:
        if not len(training_rows(job.run, job.task, job.config)):
            job.progress.note("train: no row was kept or relabelled, so that there is nothing to train on")
            return True
        await job.release()  # its memory is needed
        with interruptible():
            train_adapter(job.run, job.task, job.config, job.progress)
    return True


async def evaluate(job: Job) -> bool:
    """Measure the models on the held-out file, where the config names one."""
    if job.config.evaluate is not None:
        await job.release()
        await evaluate_run(job.run, job.task, job.config, job.progress, job.models.calls)
    return True


async def report(job: Job) -> bool:
    """Write metrics.json and report.html, and tell the tracker that the config names."""
    conclude(job.run, job.task, job.config, job.progress.note)
    return True


def _whole_at_once(job: Job, rows: int) -> bool:
    job.progress.advance(rows)
    job.progress.finish()
    return True


def _nothing_missing(said: Sequence[Stored[Answer]], job: Job) -> bool:
    """Whether all that a stage asked for has come; says what hasn't."""
    missing = count_missing(said)
    if failed := missing["error"]:
        job.progress.note(f"{failed} calls failed; the same command asks them again")
    if unasked := missing["unasked"]:
        job.progress.note(f"{unasked} answers are not asked for: the budget is spent; the same command goes on")
    return not failed and not unasked
