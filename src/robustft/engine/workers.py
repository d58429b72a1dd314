"""What a worker of a cluster does with a shard: ask a model, embed texts, or read a file."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq

from robustft.config import Config
from robustft.data.readers import Reader
from robustft.engine.local import Silent
from robustft.engine.shards import Shard, unpacked_rows
from robustft.errors import RobustFTError
from robustft.llm.asking import Question, heard
from robustft.llm.ledger import Calls, Ledger
from robustft.llm.models import Models, ledger_path
from robustft.records import Answer, Example
from robustft.run import RunDir, write_atomically
from robustft.store import write
from robustft.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker needs to know."""

    config: Config
    task: Task
    run: RunDir


class Worker(ABC):
    """Takes shard after shard; what it opens stays open."""

    facts: ClassVar[Mapping[str, Any]] = {"rows": 0, "error": "", **asdict(Calls())}
    """What is told of a shard: how many rows it had, what went wrong, the calls."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.models = Models(job.config, job.task, lambda: job.run.load(Example))
        self._loop = asyncio.new_event_loop()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Work off the shard that the row names. Returns `facts`."""
        try:
            return {**self.facts, **self._loop.run_until_complete(self.work_off(Shard(Path(row["shard"]))))}
        except RobustFTError as error:
            return {**self.facts, "error": str(error)}

    @abstractmethod
    async def work_off(self, shard: Shard) -> Mapping[str, Any]:
        """Write what comes of the shard, as its last act. Returns what differs from `facts`. Raises RobustFTError."""


class Asker(Worker):
    """Puts the rows to a model."""

    def __init__(self, job: Job, names: Sequence[str], question: Question) -> None:
        super().__init__(job)
        self.names, self.question = names, question

    async def work_off(self, shard: Shard) -> Mapping[str, Any]:
        """Ask; see `asking.heard`."""
        config, calls = self.job.config, Calls()
        rows = list(unpacked_rows(pq.read_table(shard.rows)))
        ledger = Ledger(shard.ledger, behind=ledger_path(config))
        try:
            llm = await self.models.llm_through(ledger, calls)
            at_once = config.llm.rows_at_once
            said = await heard(self.names, self.question, rows, llm, at_once, Silent(), shard.rows.parent)
        finally:
            ledger.close()
        write_atomically(shard.done, lambda path: write(path, Answer, said))
        return {"rows": len(rows), **asdict(calls)}


class TextEmbedder(Worker):
    """Turns texts into vectors."""

    async def work_off(self, shard: Shard) -> Mapping[str, Any]:
        """Embed the column `text`."""
        texts = pq.read_table(shard.rows).column("text").to_pylist()
        vectors = await (await self.models.embedder()).embed(texts)
        write_atomically(shard.done, lambda path: _save(path, vectors))
        return {"rows": len(texts)}


class FileReader(Worker):
    """Reads the file that the shard's only row names."""

    async def work_off(self, shard: Shard) -> Mapping[str, Any]:
        """Read; a malformed row is an error, also where such rows are to be skipped."""
        job = self.job
        (file,) = pq.read_table(shard.rows).column("file").to_pylist()
        data = job.config.data.model_copy(update={"path": file, "on_bad_row": "fail"})
        write_atomically(shard.done, lambda path: write(path, Example, [Reader(data, job.task)]))
        return {"rows": pq.read_metadata(shard.done).num_rows}


def _save(path: Path, vectors: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
