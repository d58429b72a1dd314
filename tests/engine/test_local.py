from __future__ import annotations

import asyncio

import pytest

from robustft.engine.local import run_all
from robustft.errors import ModelError


class Counting:
    """Progress that counts."""

    def __init__(self) -> None:
        self.done = 0

    def start(self, stage: str, total: int) -> None: ...

    def advance(self, rows: int = 1) -> None:
        self.done += rows

    def finish(self) -> None: ...

    def note(self, line: str) -> None: ...


async def test_results_keep_the_order_and_a_failure_its_place() -> None:
    async def half(n: int) -> int:
        await asyncio.sleep(0.001 * (n % 3))
        if n % 5 == 0:
            raise ModelError(f"no {n}")
        return n

    progress = Counting()
    results = await run_all(half, range(50), 8, progress)
    assert [str(r) if isinstance(r, ModelError) else r for r in results] == [
        f"no {n}" if n % 5 == 0 else n for n in range(50)
    ]
    assert progress.done == 50


async def test_never_more_than_concurrency_at_once_and_soon_that_many() -> None:
    at_once, most = 0, 0

    async def count(_: int) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.001)
        at_once -= 1

    await run_all(count, range(100), 7)
    assert most == 7


async def test_a_fatal_error_ends_it_at_once() -> None:
    started = 0

    async def refuse(n: int) -> int:
        nonlocal started
        started += 1
        await asyncio.sleep(0)
        raise ModelError("wrong key", fatal=True)

    with pytest.raises(ModelError, match="wrong key"):
        await run_all(refuse, range(1000), 4)
    assert started <= 8


async def test_an_endpoint_that_is_gone_is_given_up() -> None:
    asked = 0

    async def gone(n: int) -> int:
        nonlocal asked
        asked += 1
        if n >= 100:
            raise ModelError("refused")
        return n

    with pytest.raises(ModelError, match="run the same command again to resume"):
        await run_all(gone, range(10_000), 4)
    assert asked < 200


async def test_a_bug_is_not_swallowed() -> None:
    async def broken(n: int) -> int:
        raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        await run_all(broken, range(3), 2)


async def test_nothing_to_do_is_nothing_done() -> None:
    async def never(n: int) -> int:
        raise AssertionError

    assert await run_all(never, [], 4) == []
