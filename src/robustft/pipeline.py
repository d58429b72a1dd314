"""The whole run on one page: every stage in order, skipped where it is already done.

A stage reads what it needs from the run directory and writes what it makes there; models are opened only when a
stage asks for them.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from robustft import __version__
from robustft.config import Config
from robustft.data.layouts import Layout
from robustft.data.readers import Reader, SkippedRow, find_conflicts, read_reviewed, stamp
from robustft.detect.detect import detect, make_panel
from robustft.detect.tuned import ask_tuned, tuned_settings
from robustft.doctor.needs import refuse_unmet
from robustft.engine.local import Progress, Silent
from robustft.evaluate.compare import compare_arms
from robustft.evaluate.evaluate import guard
from robustft.evaluate.held_out import settings_of, stamps
from robustft.fusion.fuse import fuse
from robustft.fusion.verdicts import Believed, verdicts_of
from robustft.fusion.views import TUNED, Rows, views_of
from robustft.llm.models import Models
from robustft.outputs import (
    evaluate_run,
    form_of,
    save_belief,
    train_adapter,
    training_rows,
    write_metrics,
    write_report,
    write_training_files,
    write_training_files_on,
)
from robustft.records import OF_RELABEL, Answer, Belief, Decision, Example, Relabel, Verdict
from robustft.relabel.relabel import ask, propose
from robustft.relabel.review import make_reviewer
from robustft.run import RunDir, fingerprint
from robustft.select.believe import decide_by_belief
from robustft.select.decide import decide
from robustft.store import Stored, stretches
from robustft.tasks import make_task
from robustft.tasks.task import Task
from robustft.train.settings import settled
from robustft.work import Work

if TYPE_CHECKING:
    from robustft.engine.ray import Cluster


WHERE = ("engine", "ray")
"""Keys that say where a run computes: they change no result."""


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


async def denoise(
    config: Config,
    out: Path,
    limit: int | None = None,
    progress: Progress | None = None,
    skip: Collection[str] = (),
) -> dict[str, Any]:
    """Read, detect, relabel, select, export, train, evaluate, compare and report into the run directory `out`.

    Running it again resumes: finished stages are skipped, from the first on that isn't all are done; finished calls
    come from the ledger. `limit` takes the first rows only; the stages in `skip` are left out. Returns what
    metrics.json holds. Raises RobustFTError.
    """
    task = make_task(config.task)
    # what is wrong with an expert or a prompt is said before any work is done
    make_panel(config, task)
    make_reviewer(config, task)
    if (config.train is not None and "train" not in skip) or (config.compare is not None and "compare" not in skip):
        settled(config)
    if TUNED in config.experts:
        tuned_settings(config)
    if config.evaluate is not None or config.compare is not None:
        settings_of(config)
    refuse_unmet(config, evaluates="evaluate" not in skip)
    run = RunDir.create(out, config)
    keys = _keys(config, limit)
    whole, anew = True, False
    progress = progress or Silent()
    async with Models(config, task, lambda: run.load(Example), say=progress.note) as models:
        job = Job(config, task, run, models, progress, limit, _cluster(config, task, run, models))
        for name, stage in STAGES.items():
            if name in skip:
                continue
            anew = anew or not run.finished(name, keys[name])
            if anew:
                start, before = time.monotonic(), models.calls.as_dict()
                # a stage in which a call failed is not finished, nor is what builds on it: the next run tries again
                whole = await stage(job) and whole
                calls = {what: count - before[what] for what, count in models.calls.as_dict().items()}
                run.finish(name, keys[name] if whole else None, wall_s=time.monotonic() - start, calls=calls)
        await job.release()
    return run.read_json("metrics.json")


async def compare(
    config: Config,
    out: Path,
    limit: int | None = None,
    progress: Progress | None = None,
    run: RunDir | None = None,
) -> dict[str, Any]:
    """Train on the rows as each arm leaves them, and compare on the held-out file; see `compare_arms`."""
    with _interruptible():
        return await compare_arms(config, out, denoise, limit, progress or Silent(), run)


def _keys(config: Config, limit: int | None) -> dict[str, str]:
    """Return a digest of what each stage's result depends on."""
    inputs = (__version__, limit, stamp(config.data, config.posterior.reviewed))
    cleaning = fingerprint(*inputs, config.model_dump(mode="json", exclude={"train", "evaluate", "compare", *WHERE}))
    everything = fingerprint(*inputs, config.model_dump(mode="json", exclude={*WHERE}), stamps(config))
    return {name: everything if name in AFTER_CLEANING else cleaning for name in STAGES}


async def _read(job: Job) -> bool:
    examples, layout, skipped = await _examples(job)
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


async def _examples(job: Job) -> tuple[Stored[Example], Layout, Sequence[SkippedRow]]:
    """Read and save the examples. Returns them, their layout, and the malformed rows that were set aside."""
    if job.cluster is not None and (read := await job.cluster.read(job.limit)) is not None:
        parts, layout = read
        return job.run.save(Example, *parts), layout, []
    rows = Reader(job.config.data, job.task, job.limit)
    return job.run.save(Example, rows), rows.layout, rows.skipped


async def _detect(job: Job) -> bool:
    work = _work(job)
    found = await detect(work)
    answers = job.run.save(Answer, *found.said)
    job.run.save(Verdict, found.verdicts)
    if found.fused is not None:
        save_belief(job.run, work.examples, found.fused, job.config)
    return _no_call_failed(answers, job)


async def _tune(job: Job) -> bool:
    if TUNED not in job.config.experts:
        return True
    await job.release()  # its memory is needed
    work, run = _work(job), job.run
    before = [part for part in stretches(run.load(Answer)) if part[0].expert not in {TUNED, *OF_RELABEL}]
    if before and not run.read_json("findings.json")["posterior"]["identified"]:
        job.progress.note("tuned: nothing is identified, so that there are no labels to learn from: left out")
        return True
    form = form_of(run, work.examples, job.task, job.config)
    with _interruptible():
        said = [*before, await ask_tuned(work, before, form, run.path / TUNED)]
    rows = Rows.of(work.examples, job.task, work.reviewed)
    fused = fuse(views_of(rows, said, job.config.experts, job.task), job.config)
    answers = run.save(Answer, *said)
    run.save(Verdict, verdicts_of(work.examples, said, fused))
    save_belief(run, work.examples, fused, job.config)
    return _no_call_failed(answers, job)


async def _relabel(job: Job) -> bool:
    work, run = _work(job), job.run
    before = [part for part in stretches(run.load(Answer)) if part[0].expert not in OF_RELABEL]
    asked = await ask(work, before, run.load(Verdict))
    said = [*before, *asked.said]
    answers = run.save(Answer, *said)
    if asked.fused is not None:
        run.save(Verdict, verdicts_of(work.examples, said, asked.fused))
        save_belief(run, work.examples, asked.fused, job.config)
    believed, verdicts = _believed(job), run.load(Verdict)
    proposed = propose(work.examples, said, verdicts, believed, asked.shown, job.config, job.task)
    run.save(Relabel, proposed)
    if believed is not None:
        job.progress.note(run.read_json("findings.json")["posterior"]["reason"])
    return _no_call_failed(answers, job)


def _work(job: Job) -> Work:
    """Return the rows, what a person knows of them, and the models."""
    examples, path = job.run.load(Example), job.config.posterior.reviewed
    reviewed = read_reviewed(path, job.config.data, job.task, examples) if path else {}
    cluster = job.cluster
    embedder = job.models.embedder if cluster is None else cluster.embedder
    return Work(examples, job.config, job.task, job.models.llm, embedder, job.progress, reviewed, job.run.path, cluster)


def _cluster(config: Config, task: Task, run: RunDir, models: Models) -> Cluster | None:
    """Return the machines that the work is done on, where the config names others than this one."""
    if config.engine == "local":
        return None
    from robustft.engine.ray import Cluster

    return Cluster.of(config, task, run, models)


def _believed(job: Job) -> Believed | None:
    """Return what is believed, where the method is the posterior."""
    if job.config.method != "posterior":
        return None
    learnt = job.run.read_json("findings.json")["posterior"]
    return Believed(job.run.load(Belief), learnt["identified"])


async def _select(job: Job) -> bool:
    run, believed = job.run, _believed(job)
    examples, said, verdicts = run.load(Example), stretches(run.load(Answer)), run.load(Verdict)
    job.progress.start("select", len(examples))
    if believed is not None:
        run.save(Decision, decide_by_belief(examples, said, believed, verdicts, job.config, job.task))
    else:
        run.save(Decision, decide(examples, said, verdicts, run.load(Relabel), job.config, job.task))
    return _whole_at_once(job, len(examples))


async def _export(job: Job) -> bool:
    rows = training_rows(job.run, job.task, job.config)
    job.progress.start("export", len(rows))
    if job.cluster is None:
        write_training_files(job.run, rows, job.config)
    else:
        await write_training_files_on(job.cluster, job.run, rows, job.config)
    return _whole_at_once(job, len(rows))


async def _train(job: Job) -> bool:
    if job.config.train is not None:
        await job.release()  # its memory is needed
        with _interruptible():
            train_adapter(job.run, job.task, job.config, job.progress)
    return True


async def _evaluate(job: Job) -> bool:
    if job.config.evaluate is not None:
        await job.release()
        await evaluate_run(job.run, job.task, job.config, job.progress, job.models.calls)
    return True


async def _compare(job: Job) -> bool:
    if job.config.compare is not None:
        await job.release()
        await compare(job.config, job.run.path / "compare", job.limit, job.progress, job.run)
    return True


async def _report(job: Job) -> bool:
    write_metrics(job.run, job.task, job.config)
    write_report(job.run, job.config)
    return True


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end work that doesn't await; asyncio alone would wait for its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _whole_at_once(job: Job, rows: int) -> bool:
    job.progress.advance(rows)
    job.progress.finish()
    return True


def _no_call_failed(answers: Stored[Answer], job: Job) -> bool:
    failed = sum([*table["finish"].to_pylist()].count("error") for table in answers.tables(["finish"]))
    if failed:
        job.progress.note(f"{failed} calls failed; their rows are marked 'review', the same command asks them again")
    return failed == 0


STAGES = {
    "read": _read,
    "detect": _detect,
    "tune": _tune,
    "relabel": _relabel,
    "select": _select,
    "export": _export,
    "train": _train,
    "evaluate": _evaluate,
    "compare": _compare,
    "report": _report,
}
TRAINING = ("train", "evaluate", "compare")
"""Stages that clean nothing."""
AFTER_CLEANING = frozenset({"export", *TRAINING, "report"})
"""Stages whose result depends on how the rows are trained on; export writes the trainers' recipes."""
