"""Many machines: the workers of a Ray cluster read, embed, ask and write, a shard at a time, through Ray Data.

What a worker is answered is in the shard's own ledger before it is used, and once a shard is done what came of it is a
file, so that of a worker, a machine or a run that dies only the calls in flight are lost. The run directory and the
ledger must be where all machines see them.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustft import __version__
from robustft.config import Config, DataConfig, RayConfig
from robustft.data.exports import Export
from robustft.data.files import files_of
from robustft.data.hub import PREFIX
from robustft.data.layouts import Layout
from robustft.data.readers import Reader, stamp
from robustft.data.recipes import Recipe
from robustft.data.survey import NOTHING, Survey
from robustft.engine.local import Progress, Silent
from robustft.engine.servers import Servers
from robustft.engine.shards import Shard, deal, tables_of_rows
from robustft.engine.workers import Asker, FileReader, FileWriter, Job, Surveyor, TextEmbedder, Worker
from robustft.errors import ConfigError, ModelError, RobustFTError
from robustft.llm.asking import Question, Row
from robustft.llm.calls import Calls
from robustft.llm.embedder import Embedder
from robustft.llm.ledger import Ledger
from robustft.llm.models import Models, ledger_path
from robustft.records import Answer, Decision, Example
from robustft.run import RunDir, fingerprint, write_atomically
from robustft.store import Spool, Stored
from robustft.tasks.task import Task
from robustft.train.form import TrainRows

_STRETCH = pa.schema({"start": pa.int64(), "stop": pa.int64()})


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """The Ray cluster that RAY_ADDRESS names, else one of this machine alone; joined when it is first needed.

    `models` counts what its workers ask; `servers` are what they ask where the config has them serve the model.
    """

    config: Config
    task: Task
    run: RunDir
    models: Models
    servers: Servers

    @classmethod
    def of(cls, config: Config, task: Task, run: RunDir, models: Models) -> Cluster:
        """Return the cluster. Raises ConfigError where Ray is missing."""
        if find_spec("ray") is None:
            raise ConfigError('engine: ray needs Ray: pip install "robustft[ray]"')
        return cls(config, task, run, models, Servers(config.ray, run.path / "servers"))

    def asking_of(self, config: Config) -> Cluster:
        """Return the same machines, with another model."""
        return replace(self, config=config)

    async def ask(
        self, stage: str, names: Sequence[str], question: Question, rows: Iterable[Row], progress: Progress
    ) -> list[Stored[Answer]]:
        """Return what each of `names` says of the rows, in their order; as `asking.heard` does on one machine.

        Raises ModelError when the model can't be reached at all.
        """
        folder = self._folder(stage)
        shards = deal(tables_of_rows(rows, self.config.ray.shard), folder, self._key(stage))
        ledger = Ledger(ledger_path(self.config))
        try:
            _merge(folder, ledger)  # of a run that was killed
            addresses = await self._addresses() if any(not shard.done.exists() for shard in shards) else []
            budget = self.models.budget.part(self.models.calls, max(len(shards), 1))
            await self._work_off(shards, progress, Asker, names, question, addresses, budget)
        finally:
            _merge(folder, ledger)
            ledger.close()
        said = {name: Spool(Answer, self.run.path) for name in names}
        for answer in chain.from_iterable(Stored(shard.done, Answer) for shard in shards):
            said[answer.expert].add(answer)
        for shard in shards:
            shard.remove()
        return [spool.stored() for spool in said.values()]

    async def embedder(self) -> Embedder:
        """Return an embedder whose texts the workers embed; tfidf, which is fitted to all of them, stays here."""
        return await self.models.embedder() if "tfidf" in self.config.embedder else ClusterEmbedder(self)

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the texts' vectors, (N, d); they are kept for the next stage. Raises RobustFTError."""
        size = self.config.ray.shard
        tables = (pa.table({"text": texts[start : start + size]}) for start in range(0, len(texts), size))
        shards = deal(tables, self._folder("embed"), self._key("embed"))
        await self._work_off(shards, Silent(), TextEmbedder)
        return np.concatenate([np.load(shard.done, allow_pickle=False) for shard in shards])

    async def read(self, limit: int | None) -> tuple[list[Stored[Example]], Layout] | None:
        """Return the examples of a folder's files, each read by a worker, and their layout.

        None where the files have to be read one after the other: what is read isn't a folder of several files, or
        rows of theirs are malformed or have the same id, or their layouts differ.
        """
        data = self.config.data
        if data.path is None or data.path.startswith(PREFIX) or data.truth_path is not None or limit is not None:
            return None
        files = files_of(Path(data.path))
        if len(files) < 2:
            return None
        tables = (pa.table({"file": [str(file)]}) for file in files)
        shards = deal(tables, self._folder("read"), self._key("read", stamp(data)))
        try:
            layouts = {_layout(data.model_copy(update={"path": str(file)}), self.task) for file in files}
            await self._work_off(shards, Silent(), FileReader)
        except RobustFTError:
            return None
        parts = [Stored(shard.done, Example) for shard in shards]
        ids = [id_ for part in parts for table in part.tables(["id"]) for id_ in table.column(0).to_pylist()]
        whole = len(layouts) == 1 and len(set(ids)) == len(ids)
        return (parts, layouts.pop()) if whole else None

    async def export(self, rows: TrainRows, folder: Path, name: str, recipe: Recipe) -> list[Path]:
        """Write the training files as `data.exports.write_exports` does, a stretch of the run's rows at a time.

        Only for files of lines. Returns the files written. Raises RobustFTError.
        """
        decided, size = self.run.stamp(Decision), self.config.ray.shard
        starts = range(0, len(rows.decisions), size)
        stretches = pa.table({"start": starts, "stop": [start + size for start in starts]}, _STRETCH)
        surveyed = deal(_each(stretches), self._folder("survey"), self._key("survey", decided))
        await self._work_off(surveyed, Silent(), Surveyor, rows.form)
        whole = sum((Survey.unpacked(shard.done.read_bytes()) for shard in surveyed), NOTHING)
        export = Export.of(folder, whole, self.config.export, name, recipe)
        numbers = pa.array(range(len(export.files)), pa.int64())
        wanted = (stretches.append_column("file", pa.repeat(number, len(stretches))) for number in numbers)
        parts = deal(chain.from_iterable(map(_each, wanted)), self._folder("export"), self._key("export", decided))
        await self._work_off(parts, Silent(), FileWriter, rows.form, export.files)
        for number, file in enumerate(export.files):
            of_file = parts[number * len(stretches) : (number + 1) * len(stretches)]
            write_atomically(file.path, partial(_join, of_file))
        for shard in (*surveyed, *parts):
            shard.remove()
        return export.tell()

    async def _work_off(self, shards: Sequence[Shard], progress: Progress, worker: type[Worker], *what: object) -> None:
        """Have workers that are told `what` to do work off the shards that aren't; `progress` counts their rows."""
        left = [shard for shard in shards if not shard.done.exists()]
        if left:
            _join_cluster()
        loop, told_worker = asyncio.get_running_loop(), (Job(self.config, self.task, self.run), *what)

        def hear(facts: dict[str, Any]) -> None:
            self.models.calls.include(Calls(**{name: facts[name] for name in Calls().as_dict()}))
            progress.abstain(facts["abstained"])
            progress.advance(facts["rows"])

        def work_off() -> None:
            for facts in _facts(left, self.config.ray, worker, told_worker):
                loop.call_soon_threadsafe(hear, facts)

        try:
            if left:
                await asyncio.to_thread(work_off)
                await asyncio.sleep(0)  # what was called for last
        except asyncio.CancelledError:
            import ray

            ray.shutdown()  # else the thread would go on to the end
            raise

    async def release(self) -> None:
        """End the model servers: others need their GPUs."""
        await self.servers.end()

    async def _addresses(self) -> list[str]:
        """Return where the model is served; none where the workers open it themselves, or it is somewhere else."""
        if self.config.ray.serve is None:
            return []
        _join_cluster()
        return await self.servers.addresses(_room(self.config.ray))

    def _folder(self, stage: str) -> Path:
        return self.run.path / "shards" / stage

    def _key(self, *what: object) -> str:
        return fingerprint(__version__, self.config.model_dump(mode="json"), *what)


@dataclass(frozen=True, slots=True, eq=False)
class ClusterEmbedder:
    """An embedder of many machines; implements `robustft.llm.embedder.Embedder`."""

    cluster: Cluster

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Have the workers embed the texts."""
        return await self.cluster.embed(texts)

    async def aclose(self) -> None:
        """Nothing to release."""


def _facts(
    shards: Sequence[Shard], settings: RayConfig, worker: type[Worker], told: tuple[object, ...]
) -> Iterator[dict[str, Any]]:
    """Yield what a worker tells of each shard, as they are done. Raises a fatal ModelError."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext, from_items

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    DataContext.get_current().enable_progress_bars = False
    rows = from_items([{"shard": str(shard.rows)} for shard in shards], override_num_blocks=len(shards))
    pool = ActorPoolStrategy(size=min(_room(settings), len(shards)))
    # where the model is served, the servers hold the processors and GPUs, and workers take what is left of them
    cpus, gpus = (settings.cpus, settings.gpus) if settings.serve is None else (0, 0)
    work = rows.map(worker, fn_constructor_args=told, compute=pool, num_cpus=cpus, num_gpus=gpus)
    try:
        for facts in work.iter_rows():
            if facts["error"]:
                raise ModelError(facts["error"], fatal=True)
            yield facts
    except ray.exceptions.RayError as error:
        raise ModelError(f"ray: {str(error).strip().splitlines()[-1]}", fatal=True) from None


def _join_cluster() -> None:
    """Connect to the cluster, or start one. Raises ConfigError."""
    import ray

    if not ray.is_initialized():
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(f"engine: ray can't be reached: {str(error).partition(chr(10))[0]}") from None


def _layout(data: DataConfig, task: Task) -> Layout:
    """Return the layout of a file's first row. Raises DataError."""
    reader = Reader(data, task, limit=1)
    next(iter(reader), None)
    return reader.layout


def _room(settings: RayConfig) -> int:
    """Return how many workers are wanted, else how many the cluster has room for, at least 1."""
    import ray

    if settings.workers is not None:
        return settings.workers
    there: dict[str, float] = ray.cluster_resources()
    rooms = [there.get("CPU", 0.0) / settings.cpus]
    if settings.gpus:
        rooms.append(there.get("GPU", 0.0) / settings.gpus)
    return max(1, int(min(rooms)))


def _each(table: pa.Table) -> Iterator[pa.Table]:
    """Yield each row as a table."""
    return (table.slice(row, 1) for row in range(len(table)))


def _join(shards: Sequence[Shard], path: Path) -> None:
    with path.open("wb") as whole:
        for shard in shards:
            with shard.done.open("rb") as part:
                shutil.copyfileobj(part, whole)


def _merge(folder: Path, ledger: Ledger) -> None:
    for path in sorted(folder.glob("*.sqlite")):
        ledger.merge(path)
