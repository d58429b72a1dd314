"""Batches: requests gathered from many tasks, sorted by length, cut by tokens, and run one batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

from robustft.errors import ModelError

Job = TypeVar("Job")
Result = TypeVar("Result")
Item = TypeVar("Item")

_LINGER = 0.003
"""Seconds without a new request after which a batch is full enough: callers that just got answers ask again at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Request(Generic[Job, Result]):
    """A job, its length in tokens, and the future that its caller awaits."""

    job: Job
    tokens: int
    future: asyncio.Future[Result]


class Batcher(Generic[Job, Result]):
    """Gathers what many tasks of one event loop submit, and runs it in batches on `executor`.

    `run(jobs, wanted)` is called there and returns one result a job; `wanted(i)` turns False when nobody waits for
    job i any more. `batch_tokens` bounds rows x longest row of a batch; a longer single job runs alone.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Job], Callable[[int], bool]], Sequence[Result]],
        batch_tokens: int,
        executor: Executor,
    ) -> None:
        self._run, self._batch_tokens, self._executor = run, batch_tokens, executor
        self._waiting: list[Request[Job, Result]] = []
        self._running: list[Request[Job, Result]] = []
        self._collector: asyncio.Task[None] | None = None
        self._closed = False

    async def submit(self, job: Job, tokens: int) -> Result:
        """Return the job's result. Raises ModelError when its batch failed or the batcher was closed."""
        if self._closed:
            raise ModelError("local model: it was closed")
        request: Request[Job, Result] = Request(job, tokens, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        if self._collector is None or self._collector.done():
            self._collector = asyncio.create_task(self._collect())
        return await request.future

    def close(self) -> None:
        """Refuse further jobs, and fail those that wait or run."""
        self._closed = True
        for request in self._waiting + self._running:
            if not request.future.done():
                request.future.set_exception(ModelError("local model: it was closed"))

    async def _collect(self) -> None:
        while self._waiting:
            await self._settle()
            gathered, self._waiting = self._waiting, []
            self._running = [request for request in gathered if not request.future.done()]
            for batch in cut(self._running, lambda request: request.tokens, self._batch_tokens):
                await self._run_batch(batch)
            self._running = []

    async def _settle(self) -> None:
        seen = 0
        while seen < len(self._waiting) and sum(request.tokens for request in self._waiting) < self._batch_tokens:
            seen = len(self._waiting)
            await asyncio.sleep(_LINGER)

    async def _run_batch(self, batch: Sequence[Request[Job, Result]]) -> None:
        batch = [request for request in batch if not request.future.done()]
        if not batch:
            return
        jobs = [request.job for request in batch]

        def wanted(index: int) -> bool:
            return not batch[index].future.done()

        try:
            results = await asyncio.get_running_loop().run_in_executor(self._executor, self._run, jobs, wanted)
        except Exception as error:
            for request in batch:
                if not request.future.done():
                    request.future.set_exception(ModelError(f"local model: {_one_line(error)}"))
            return
        for request, result in zip(batch, results, strict=True):
            if not request.future.done():
                request.future.set_result(result)


def cut(items: Iterable[Item], length: Callable[[Item], int], batch_tokens: int) -> list[list[Item]]:
    """Sort items by their length in tokens and cut them so that items x longest one stays within `batch_tokens`."""
    batches: list[list[Item]] = []
    for item in sorted(items, key=length):
        if batches and (len(batches[-1]) + 1) * length(item) <= batch_tokens:
            batches[-1].append(item)
        else:
            batches.append([item])
    return batches


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
