"""What a worker of a cluster does with a shard: read a file, embed texts, ask a model, or write training rows."""

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
from robustft.data.exports import TrainFile
from robustft.data.readers import Reader
from robustft.data.survey import survey
from robustft.engine.local import Silent
from robustft.engine.shards import Shard, unpacked_rows
from robustft.errors import RobustFTError
from robustft.llm.asking import Question, heard
from robustft.llm.budget import Budget
from robustft.llm.calls import Calls
from robustft.llm.ledger import Ledger
from robustft.llm.models import Models, ledger_path
from robustft.records import Answer, Decision, Example
from robustft.run import RunDir, write_atomically
from robustft.store import write
from robustft.tasks.task import Task
from robustft.train.form import Form, TrainRows


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker needs to know."""

    config: Config
    task: Task
    run: RunDir


class Worker(ABC):
    """Takes shard after shard; what it opens stays open."""

    facts: ClassVar[Mapping[str, Any]] = {"rows": 0, "abstained": 0, "error": "", **asdict(Calls())}
    """What is told of a shard: how many rows it had, how many answers can't be read, what went wrong, the calls."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.models = self.opens()
        self._loop = asyncio.new_event_loop()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Work off the shard that the row names. Returns `facts`."""
        try:
            return {**self.facts, **self._loop.run_until_complete(self.work_off(Shard(Path(row["shard"]))))}
        except RobustFTError as error:
            return {**self.facts, "error": str(error)}

    def opens(self, address: str | None = None) -> Models:
        """Return the models that the config names; `address`: where the LLM is served."""
        job = self.job
        return Models(job.config, job.task, lambda: job.run.load(Example), address=address)

    @abstractmethod
    async def work_off(self, shard: Shard) -> Mapping[str, Any]:
        """Write what comes of the shard, as its last act. Returns what differs from `facts`. Raises RobustFTError."""


class Asker(Worker):
    """Puts the rows to a model; where it is served at `addresses`, to the servers in turn. `budget`: of each shard."""

    def __init__(
        self, job: Job, names: Sequence[str], question: Question, addresses: Sequence[str], budget: Budget
    ) -> None:
        super().__init__(job)
        self.names, self.question, self.budget = names, question, budget
        self.at = [self.opens(address) for address in addresses] or [self.models]

    async def work_off(self, shard: Shard) -> Mapping[str, Any]:
        """Ask; see `asking.heard`."""
        config, calls = self.job.config, Calls()
        rows = list(unpacked_rows(pq.read_table(shard.rows)))
        ledger = Ledger(shard.ledger, behind=ledger_path(config))
        try:
            llm = await self.at[shard.number % len(self.at)].llm_through(ledger, calls, self.budget)
            at_once = config.llm.rows_at_once
            said = await heard(self.names, self.question, rows, llm, at_once, Silent(), shard.rows.parent)
        finally:
            ledger.close()
        write_atomically(shard.done, lambda path: write(path, Answer, said))
        abstained = sum(answer.value is None and not answer.missing for part in said for answer in part)
        return {"rows": len(rows), "abstained": abstained, **asdict(calls)}


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


class Stretch:
    """Opens the stretch of the run's rows to train on that a shard's only row names."""

    def __init__(self, job: Job, form: Form) -> None:
        self.examples, self.decisions, self.form = job.run.load(Example), job.run.load(Decision), form

    def of(self, shard: Shard) -> TrainRows:
        """Return the rows."""
        (row,) = pq.read_table(shard.rows, columns=["start", "stop"]).to_pylist()
        stretch = slice(row["start"], row["stop"])
        return TrainRows(self.examples[stretch], self.decisions[stretch], self.form)


class Surveyor(Worker):
    """Finds what must be known of the rows before they are written."""

    def __init__(self, job: Job, form: Form) -> None:
        super().__init__(job)
        self.stretch = Stretch(job, form)

    async def work_off(self, shard: Shard) -> Mapping[str, Any]:
        """Look at a stretch of rows."""
        rows = self.stretch.of(shard)
        found = survey(rows, self.job.config.export).packed()
        write_atomically(shard.done, lambda path: path.write_bytes(found))
        return {"rows": len(rows)}


class FileWriter(Worker):
    """Writes training files."""

    def __init__(self, job: Job, form: Form, files: Sequence[TrainFile]) -> None:
        super().__init__(job)
        self.stretch, self.files = Stretch(job, form), files

    async def work_off(self, shard: Shard) -> Mapping[str, Any]:
        """Write a stretch of rows as they stand in the file that the shard names."""
        rows = self.stretch.of(shard)
        (number,) = pq.read_table(shard.rows).column("file").to_pylist()
        place = shard.rows.with_suffix(".jsonl")
        self.files[number].write(rows, place)
        place.replace(shard.done)
        return {"rows": len(rows)}


def _save(path: Path, vectors: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
