"""Requests of many tasks come back to their own callers, in batches within the budget, whatever becomes of some."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustft.errors import ModelError
from robustft.llm.local.batching import Batcher, cut

Wanted = Callable[[int], bool]


@pytest.fixture
async def worker() -> AsyncIterator[Executor]:
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield executor


@given(st.lists(st.integers(1, 100), max_size=40), st.integers(1, 200))
def test_batches_keep_the_budget_and_lose_nothing(lengths: list[int], budget: int) -> None:
    batches = cut(range(len(lengths)), lengths.__getitem__, budget)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    tokens = [lengths[place] for batch in batches for place in batch]
    assert tokens == sorted(tokens)
    assert all(len(batch) * lengths[batch[-1]] <= budget or len(batch) == 1 for batch in batches)


async def test_each_caller_gets_its_own_result_and_all_share_a_batch(worker: Executor) -> None:
    sizes: list[int] = []

    def square(jobs: Sequence[int], wanted: Wanted) -> list[int]:
        sizes.append(len(jobs))
        return [job * job for job in jobs]

    batcher = Batcher(square, 10_000, worker)
    jobs = list(range(50))
    assert await asyncio.gather(*(batcher.submit(job, 100 - job) for job in jobs)) == [job * job for job in jobs]
    assert sizes == [50]


async def test_a_failed_batch_fails_its_own_requests_only(worker: Executor) -> None:
    def refuse_long(jobs: Sequence[int], wanted: Wanted) -> list[int]:
        if max(jobs) > 10:
            raise ValueError("out of\nmemory")
        return list(jobs)

    batcher = Batcher(refuse_long, 12, worker)
    good, bad = await asyncio.gather(batcher.submit(3, 3), batcher.submit(11, 11), return_exceptions=True)
    assert good == 3
    assert isinstance(bad, ModelError)
    assert str(bad) == "local model: ValueError: out of memory"


async def test_a_caller_that_leaves_takes_nobody_along(worker: Executor) -> None:
    started, go_on, seen = Event(), Event(), []

    def slow(jobs: Sequence[str], wanted: Wanted) -> list[str]:
        started.set()
        go_on.wait(5)
        seen.append([wanted(place) for place in range(len(jobs))])
        return list(jobs)

    batcher = Batcher(slow, 100, worker)
    leaver, stayer = asyncio.create_task(batcher.submit("a", 1)), asyncio.create_task(batcher.submit("b", 2))
    await asyncio.to_thread(started.wait, 5)
    leaver.cancel()
    await asyncio.sleep(0)
    go_on.set()
    assert await stayer == "b"
    assert seen == [[False, True]]
    assert await batcher.submit("c", 1) == "c"


async def test_closing_fails_what_runs_what_waits_and_what_comes_later(worker: Executor) -> None:
    started, go_on = Event(), Event()

    def slow(jobs: Sequence[int], wanted: Wanted) -> list[int]:
        started.set()
        go_on.wait(5)
        return list(jobs)

    batcher = Batcher(slow, 1, worker)
    tasks = [asyncio.create_task(batcher.submit(job, 1)) for job in range(3)]
    await asyncio.to_thread(started.wait, 5)
    late = asyncio.create_task(batcher.submit(3, 1))
    await asyncio.sleep(0)
    batcher.close()
    go_on.set()
    ended = await asyncio.gather(*tasks, late, batcher.submit(4, 1), return_exceptions=True)
    assert all(isinstance(error, ModelError) and "closed" in str(error) for error in ended)
