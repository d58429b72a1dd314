"""The whole run on one page: every stage in order, skipped where it is already done.

A stage reads what it needs from the run directory and writes what it makes there; models are opened only when a
stage asks for them.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustft import __version__, stages
from robustft.config import Config
from robustft.data.readers import stamp
from robustft.detect.detect import make_panel
from robustft.detect.tuned import settings_key, tuned_settings
from robustft.doctor.needs import refuse_unmet
from robustft.engine.local import Progress, Silent, interruptible
from robustft.errors import StorageError
from robustft.evaluate.arms import arm_configs
from robustft.evaluate.compare import compare_arms
from robustft.evaluate.held_out import settings_of, stamps
from robustft.fusion.views import TUNED
from robustft.llm.budget import Budget
from robustft.llm.embedder import refuse_without_library
from robustft.llm.models import Models
from robustft.offline import guarded
from robustft.records import Example
from robustft.relabel.review import make_reviewer
from robustft.report.trackers import refuse_missing
from robustft.review.verdicts import PersonVerdicts, verdict_file
from robustft.run import ADAPTER, RunDir, digest, fingerprint
from robustft.stages import Job
from robustft.tasks import make_task
from robustft.tasks.task import Task
from robustft.train.settings import settled

if TYPE_CHECKING:
    from robustft.engine.ray import Cluster

NO_RESULT = ("engine", "ray", "budget", "offline")
"""Keys that change no finished stage's result: where a run computes, what it may spend, and whom it may reach."""
TELLING = ("report", "report_to")
"""Keys that only the last stage heeds."""


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
    metrics.json holds. Raises RobustFTError, ConfigError also where another process works in `out`.
    """
    task = make_task(config.task)
    _refuse_wrong(config, task, skip)
    run = RunDir.create(out)
    progress = progress or Silent()
    with run.alone(), guarded(config) as guard, _told_of_storage(out):
        run.keep(config)
        metrics = await _run(config, task, run, limit, progress, skip)
        if guard is not None:
            run.write_json("provenance.json", run.read_json("provenance.json") | {"offline": guard.facts()})
            for place, times in guard.refused.items():
                progress.note(f"offline: {times} connections to {place} were refused")
        return metrics


@contextmanager
def _told_of_storage(place: Path) -> Iterator[None]:
    """Say in a line that a disk is full or can't be written: what is finished stays, and the next run goes on."""
    try:
        yield
    except OSError as error:
        raise StorageError.of(error, place) or error from None


async def _run(
    config: Config, task: Task, run: RunDir, limit: int | None, progress: Progress, skip: Collection[str]
) -> dict[str, Any]:
    """Do the stages that aren't done."""
    keys = _keys(config, limit, PersonVerdicts(verdict_file(run, config)))
    whole, anew = True, False
    opened = Models(config, task, lambda: run.load(Example), say=progress.note, budget=Budget.of(config))
    async with opened as models:
        progress.watch(models.calls, config.llm.price)
        job = Job(config, task, run, models, progress, limit, _cluster(config, task, run, models))
        for name, stage in STAGES.items():
            if name in skip:
                continue
            anew = anew or not run.finished(name, keys[name])
            if anew:
                start, before = time.monotonic(), replace(models.calls)
                # where an answer is missing the stage isn't finished, nor what builds on it: the next run tries again
                whole = await stage(job) and whole
                calls = (models.calls - before).as_dict()
                run.finish(name, keys[name] if whole else None, wall_s=time.monotonic() - start, calls=calls)
        await job.release()
    return run.read_json("metrics.json")


def _refuse_wrong(config: Config, task: Task, skip: Collection[str]) -> None:
    """Say what is wrong with an expert, a prompt or a section before any work is done. Raises ConfigError."""
    make_panel(config, task)
    make_reviewer(config, task)
    if (config.train is not None and "train" not in skip) or (config.compare is not None and "compare" not in skip):
        settled(config)
    if config.compare is not None and "compare" not in skip:
        arm_configs(config, task)
    if TUNED in config.experts:
        tuned_settings(config)
    if config.evaluate is not None or config.compare is not None:
        settings_of(config)
    refuse_missing(config)
    refuse_without_library(config)
    refuse_unmet(config, evaluates="evaluate" not in skip)


async def compare(
    config: Config,
    out: Path,
    limit: int | None = None,
    progress: Progress | None = None,
    run: RunDir | None = None,
) -> dict[str, Any]:
    """Train on the rows as each arm leaves them, and compare on the held-out file; see `compare_arms`."""
    with interruptible(), guarded(config):
        return await compare_arms(config, out, denoise, limit, progress or Silent(), run)


def _keys(config: Config, limit: int | None, said: PersonVerdicts) -> dict[str, str]:
    """Return a digest of what each stage's result depends on; `said`: what a person said of rows."""
    inputs = [__version__, limit, stamp(config.data, config.posterior.reviewed)]
    if config.llm.adapter is not None:
        inputs.append(digest(config.llm.adapter / ADAPTER))
    settings = config.model_dump(mode="json", exclude={"train", "evaluate", "compare", *TELLING, *NO_RESULT})
    asking = fingerprint(*inputs, settings, settings_key(config), said.digest("random"))
    deciding = fingerprint(asking, said.digest())
    everything = fingerprint(deciding, config.model_dump(mode="json", exclude={*TELLING, *NO_RESULT}), stamps(config))
    told = fingerprint(everything, config.model_dump(mode="json", include={*TELLING}))
    key_of = {"select": deciding} | dict.fromkeys(AFTER_CLEANING, everything) | {"report": told}
    return {name: key_of.get(name, asking) for name in STAGES}


def _cluster(config: Config, task: Task, run: RunDir, models: Models) -> Cluster | None:
    """Return the machines that the work is done on, where the config names others than this one."""
    if config.engine == "local":
        return None
    from robustft.engine.ray import Cluster

    return Cluster.of(config, task, run, models)


async def _compare(job: Job) -> bool:
    if job.config.compare is not None:
        await job.release()
        await compare(job.config, job.run.path / "compare", job.limit, job.progress, job.run)
    return True


STAGES = {
    "read": stages.read,
    "detect": stages.detect,
    "tune": stages.tune,
    "relabel": stages.relabel,
    "select": stages.select,
    "export": stages.export,
    "train": stages.train,
    "evaluate": stages.evaluate,
    "compare": _compare,
    "report": stages.report,
}
TRAINING = ("train", "evaluate", "compare")
"""Stages that clean nothing."""
AFTER_CLEANING = frozenset({"export", *TRAINING})
"""Stages whose result depends on how the rows are trained on; export writes the trainers' recipes."""
