"""Many machines: models asked by the workers of a Ray cluster, a shard of rows at a time, through Ray Data.

A worker opens the model once. What it is answered is in the shard's own ledger before it is used, and once a shard is
done its answers are a file, so that of a worker, a machine or a run that dies only the calls in flight are lost. The
run directory and the ledger must be where all machines see them.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from robustft import __version__
from robustft.config import Config
from robustft.engine.local import Progress, Silent
from robustft.engine.shards import Shard, deal, unpacked_rows
from robustft.errors import ConfigError, ModelError, RobustFTError
from robustft.llm.asking import Question, Row, heard
from robustft.llm.ledger import Calls, Ledger
from robustft.llm.models import Models, ledger_path
from robustft.records import Answer, Example
from robustft.run import RunDir, fingerprint, write_atomically
from robustft.store import Spool, Stored, write
from robustft.tasks.task import Task


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """The Ray cluster that RAY_ADDRESS names, else one of this machine alone. `calls` counts what its workers ask."""

    config: Config
    task: Task
    run: RunDir
    calls: Calls

    @classmethod
    def join(cls, config: Config, task: Task, run: RunDir, calls: Calls) -> Cluster:
        """Connect to the cluster, or start one. Raises ConfigError where Ray is missing or can't be reached."""
        if find_spec("ray") is None:
            raise ConfigError('engine: ray needs Ray: pip install "robustft[ray]"')
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        if not ray.is_initialized():
            try:
                ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ConfigError(f"engine: ray can't be reached: {str(error).partition(chr(10))[0]}") from None
        return cls(config, task, run, calls)

    def asking_of(self, config: Config) -> Cluster:
        """Return the same machines, with another model."""
        return replace(self, config=config)

    async def ask(
        self, stage: str, names: Sequence[str], question: Question, rows: Iterable[Row], progress: Progress
    ) -> list[Stored[Answer]]:
        """Return what each of `names` says of the rows, in their order; as `asking.heard` does on one machine.

        Raises ModelError when the model can't be reached at all.
        """
        settings, folder = self.config.ray, self.run.path / "shards" / stage
        shards = deal(
            rows, settings.shard, folder, fingerprint(__version__, stage, self.config.model_dump(mode="json"))
        )
        ledger = Ledger(ledger_path(self.config))
        try:
            _merge(folder, ledger)  # of a run that was killed
            job = Job(self.config, self.task, self.run, tuple(names), question)
            await self._work_off([shard for shard in shards if not shard.answers.exists()], job, progress)
        finally:
            _merge(folder, ledger)
            ledger.close()
        said = {name: Spool(Answer, self.run.path) for name in names}
        for shard in shards:
            for answer in Stored(shard.answers, Answer):
                said[answer.expert].add(answer)
        for path in [path for shard in shards for path in (shard.rows, shard.answers)]:
            path.unlink()
        return [spool.stored() for spool in said.values()]

    async def _work_off(self, shards: Sequence[Shard], job: Job, progress: Progress) -> None:
        """Have the shards answered; each is counted as it is done."""
        if not shards:
            return
        loop = asyncio.get_running_loop()

        def work_off() -> None:
            for done in _answered(shards, job):
                self._count(Calls(**orjson.loads(done["calls"])))
                loop.call_soon_threadsafe(progress.advance, done["rows"])

        try:
            await asyncio.to_thread(work_off)
        except asyncio.CancelledError:
            import ray

            ray.shutdown()  # else the thread would go on to the end
            raise

    def _count(self, more: Calls) -> None:
        for name, count in asdict(self.calls + more).items():
            setattr(self.calls, name, count)


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs to know: whom to ask what, and where the run is."""

    config: Config
    task: Task
    run: RunDir
    names: tuple[str, ...]
    question: Question


class Worker:
    """Opens the model, and answers shard after shard."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._loop = asyncio.new_event_loop()
        self._models = Models(job.config, job.task, lambda: job.run.load(Example))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Answer the shard that the row names. Returns how many rows it had and what was asked, or the `error`."""
        try:
            return self._loop.run_until_complete(self._answer(Shard(Path(row["shard"]))))
        except RobustFTError as error:
            return {"rows": 0, "calls": "{}", "error": str(error)}

    async def _answer(self, shard: Shard) -> dict[str, Any]:
        job, calls = self._job, Calls()
        rows = list(unpacked_rows(pq.read_table(shard.rows)))
        ledger = Ledger(shard.ledger, behind=ledger_path(job.config))
        try:
            llm = await self._models.llm_through(ledger, calls)
            at_once = job.config.llm.rows_at_once
            said = await heard(job.names, job.question, rows, llm, at_once, Silent(), shard.rows.parent)
        finally:
            ledger.close()
        write_atomically(shard.answers, lambda path: write(path, Answer, said))
        return {"rows": len(rows), "calls": orjson.dumps(calls).decode(), "error": ""}


def _answered(shards: Sequence[Shard], job: Job) -> Iterable[dict[str, Any]]:
    """Yield what `Worker` returns of each shard, as they are done. Raises a fatal ModelError."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext, from_items

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    settings = job.config.ray
    context = DataContext.get_current()
    context.enable_progress_bars = False
    rows = from_items([{"shard": str(shard.rows)} for shard in shards], override_num_blocks=len(shards))
    pool = ActorPoolStrategy(size=min(settings.workers or _room(settings.cpus, settings.gpus), len(shards)))
    done = rows.map(Worker, fn_constructor_args=(job,), compute=pool, num_cpus=settings.cpus, num_gpus=settings.gpus)
    try:
        for row in done.iter_rows():
            if row["error"]:
                raise ModelError(row["error"], fatal=True)
            yield row
    except ray.exceptions.RayError as error:
        raise ModelError(f"ray: {str(error).strip().splitlines()[-1]}", fatal=True) from None


def _room(cpus: float, gpus: float) -> int:
    """Return how many workers the cluster has room for, at least 1."""
    import ray

    there: dict[str, float] = ray.cluster_resources()
    rooms = [there.get("CPU", 0.0) / cpus] + ([there.get("GPU", 0.0) / gpus] if gpus else [])
    return max(1, int(min(rooms)))


def _merge(folder: Path, ledger: Ledger) -> None:
    for path in sorted(folder.glob("*.sqlite")):
        ledger.merge(path)
