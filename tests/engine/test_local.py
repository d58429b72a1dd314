from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from robustft.engine import local
from robustft.engine.local import Silent, run_all, run_until_done
from robustft.errors import ModelError


class Counting(Silent):
    """Progress that counts."""

    def __init__(self) -> None:
        self.done = 0

    def advance(self, rows: int = 1) -> None:
        self.done += rows


def nothing(item: int, result: object) -> None: ...


async def test_results_keep_the_order_and_a_failure_its_place() -> None:
    async def half(n: int) -> int:
        await asyncio.sleep(0.001 * (n % 3))
        if n % 5 == 0:
            raise ModelError(f"no {n}")
        return n

    progress, taken = Counting(), list[tuple[int, int | str]]()

    def take(n: int, result: int | ModelError) -> None:
        taken.append((n, str(result) if isinstance(result, ModelError) else result))

    await run_all(half, range(50), 8, take, progress)
    assert taken == [(n, f"no {n}" if n % 5 == 0 else n) for n in range(50)]
    assert progress.done == 50


async def test_a_result_is_handed_on_as_soon_as_those_before_it_are() -> None:
    gates = [asyncio.Event() for _ in range(4)]
    taken: list[int] = []

    async def wait(n: int) -> int:
        await gates[n].wait()
        return n

    running = asyncio.create_task(run_all(wait, range(4), 4, lambda n, _: taken.append(n)))
    for opened, so_far in ((2, []), (0, [0]), (1, [0, 1, 2]), (3, [0, 1, 2, 3])):
        gates[opened].set()
        await asyncio.sleep(0.01)
        assert taken == so_far
    await running


@pytest.mark.parametrize("waits", [False, True])
async def test_no_item_is_asked_for_before_its_turn(waits: bool) -> None:
    asked_for, taken = 0, 0

    def items() -> Iterator[int]:
        nonlocal asked_for
        for n in range(50):
            asked_for += 1
            yield n

    async def look(n: int) -> int:
        if waits:
            await asyncio.sleep(0)
        return asked_for

    def take(n: int, seen: int | ModelError) -> None:
        nonlocal taken
        assert isinstance(seen, int)
        assert seen <= taken + (4 if waits else 1)
        taken += 1

    await run_all(look, items(), 4, take)
    assert (asked_for, taken) == (50, 50)


async def test_never_more_than_concurrency_at_once_and_soon_that_many() -> None:
    at_once, most = 0, 0

    async def count(_: int) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.001)
        at_once -= 1

    await run_all(count, range(100), 7, nothing)
    assert most == 7


async def test_a_fatal_error_ends_it_at_once() -> None:
    started = 0

    async def refuse(n: int) -> int:
        nonlocal started
        started += 1
        await asyncio.sleep(0)
        raise ModelError("wrong key", fatal=True)

    with pytest.raises(ModelError, match="wrong key"):
        await run_all(refuse, range(1000), 4, nothing)
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
        await run_all(gone, range(10_000), 4, nothing)
    assert asked < 200


async def test_a_bug_is_not_swallowed() -> None:
    async def broken(n: int) -> int:
        raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        await run_all(broken, range(3), 2, nothing)


async def test_nothing_to_do_is_nothing_done() -> None:
    async def never(n: int) -> int:
        raise AssertionError

    def never_taken(n: int, result: object) -> None:
        raise AssertionError

    await run_all(never, [], 4, never_taken)


async def test_results_behind_an_item_that_takes_long_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "AHEAD", 10)
    first, asked = asyncio.Event(), list[int]()

    async def ask(n: int) -> int:
        asked.append(n)
        if n == 0:
            await first.wait()
        return n

    taken = list[int]()
    running = asyncio.create_task(run_all(ask, range(50), 4, lambda n, _: taken.append(n)))
    await asyncio.sleep(0.05)
    assert asked == list(range(10))
    first.set()
    await running
    assert taken == sorted(asked) == list(range(50))


@pytest.mark.parametrize("there", [True, False])
def test_a_coroutine_is_run_on_uvloop_where_that_is_installed(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if there:
        pytest.importorskip("uvloop")
    else:
        monkeypatch.setattr(local, "find_spec", lambda name: None)

    async def loop() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert ("uvloop" in run_until_done(loop())) is there
