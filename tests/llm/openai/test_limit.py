import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustft.llm.openai.limit import START, Limit


class _Selector(selectors.DefaultSelector):
    """Doesn't wait: time passes by itself."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        found: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        return found


def simulate(main: Callable[[Callable[[], float]], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine whose sleeps take no time; it is given the clock."""
    selector = _Selector()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    try:
        loop.run_until_complete(main(loop.time))
    finally:
        loop.close()


class Server:
    """Serves so many calls at once, each for `delay` seconds; others wait in line, or are turned away."""

    def __init__(self, slots: int, delay: float = 0.2, line: int = 10**9) -> None:
        self._slots, self._delay, self._room = asyncio.Semaphore(slots), delay, slots + line
        self.present = self.most = self.refused = 0

    async def call(self, limit: Limit) -> None:
        async with limit.slot() as slot:
            if self.present == self._room:
                self.refused += 1
                await asyncio.sleep(0.01)
                limit.overloaded(slot)
                return
            self.present += 1
            self.most = max(self.most, self.present)
            async with self._slots:
                await asyncio.sleep(self._delay)
            self.present -= 1
            limit.succeeded(slot)


async def load(server: Server, limit: Limit, calls: int, at_once: int) -> None:
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            await server.call(limit)

    await asyncio.gather(*(work() for _ in range(at_once)))


def test_it_starts_low_and_takes_all_that_a_wide_server_has() -> None:
    async def main(clock: Callable[[], float]) -> None:
        limit, server = Limit(256, clock), Server(slots=256)
        assert limit.allowed == START
        await load(server, limit, 3000, at_once=512)
        assert limit.allowed == 256
        before, start = limit.allowed, clock()
        await load(server, limit, 2560, at_once=512)
        assert limit.allowed == before
        assert clock() - start == pytest.approx(2.0, rel=0.05)

    simulate(main)


@pytest.mark.parametrize("slots", [16, 64])
def test_it_stays_near_what_a_narrow_server_can_do_at_once(slots: int) -> None:
    async def main(clock: Callable[[], float]) -> None:
        limit, server = Limit(1024, clock), Server(slots)
        await load(server, limit, 6000, at_once=1024)
        assert slots <= limit.allowed <= 4 * slots
        assert server.most <= 4 * slots

    simulate(main)


class Writer:
    """Writes answers token by token, ten a second for up to `slots` calls; more of them share what it can do."""

    def __init__(self, slots: int) -> None:
        self._slots, self._present = slots, 0

    async def call(self, limit: Limit, tokens: float) -> None:
        async with limit.slot() as slot:
            self._present += 1
            left = tokens
            while left > 0:
                await asyncio.sleep(0.5)
                left -= 5.0 * min(1.0, self._slots / self._present)
            self._present -= 1
            limit.succeeded(slot, tokens)


@pytest.mark.parametrize("seed", range(10))
def test_answers_of_very_different_lengths_do_not_hide_what_pays(seed: int) -> None:
    async def main(clock: Callable[[], float]) -> None:
        limit, server, rng = Limit(512, clock), Writer(slots=64), np.random.default_rng(seed)
        lengths = iter([512 if rng.random() < 0.1 else int(rng.integers(5, 60)) for _ in range(1500)])

        async def work() -> None:
            for tokens in lengths:
                await server.call(limit, tokens)

        reached = 0

        async def watch() -> None:
            nonlocal reached
            while True:
                reached = max(reached, limit.allowed)
                await asyncio.sleep(1)

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(work() for _ in range(512)))
        watching.cancel()
        assert limit.allowed >= 64
        assert reached <= 256

    simulate(main)


def test_a_server_that_turns_calls_away_is_asked_less_and_then_more_again() -> None:
    async def main(clock: Callable[[], float]) -> None:
        limit, server = Limit(512, clock), Server(slots=40, line=0)
        await load(server, limit, 20_000, at_once=512)
        assert 10 <= limit.allowed <= 80
        assert server.refused < 1000

    simulate(main)


@pytest.mark.parametrize("seed", range(5))
def test_a_server_that_fails_now_and_then_whatever_its_load_is_kept_busy(seed: int) -> None:
    async def main(clock: Callable[[], float]) -> None:
        limit, rng = Limit(256, clock), np.random.default_rng(seed)
        left = iter(range(20_000))

        async def work() -> None:
            for _ in left:
                async with limit.slot() as slot:
                    await asyncio.sleep(0.2)
                    if rng.random() < 0.05:
                        limit.overloaded(slot)
                    else:
                        limit.succeeded(slot)

        await asyncio.gather(*(work() for _ in range(512)))
        assert limit.allowed == 256
        assert clock() < 20  # 16 s at full width

    simulate(main)


def test_calls_that_fail_together_cut_once() -> None:
    async def main(clock: Callable[[], float]) -> None:
        limit = Limit(16, clock)

        async def fail() -> None:
            async with limit.slot() as slot:
                await asyncio.sleep(0.1)
                limit.overloaded(slot)

        await asyncio.gather(*(fail() for _ in range(16)))
        assert limit.allowed == 8

    simulate(main)


def test_it_never_goes_below_one_call() -> None:
    async def main(clock: Callable[[], float]) -> None:
        limit = Limit(4, clock)
        for _ in range(40):
            async with limit.slot() as slot:
                limit.overloaded(slot)
        assert limit.allowed == 1

    simulate(main)


def test_few_callers_are_no_reason_to_grow() -> None:
    async def main(clock: Callable[[], float]) -> None:
        limit = Limit(256, clock)
        await load(Server(slots=256), limit, 1000, at_once=8)
        assert limit.allowed == START

    simulate(main)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 50), st.booleans()), max_size=40), st.integers(1, 5))
@settings(deadline=None, max_examples=50)
def test_callers_that_give_up_lose_no_slot(callers: list[tuple[int, int, bool]], most: int) -> None:
    async def main(clock: Callable[[], float]) -> None:
        limit, inside = Limit(most, clock), [0]

        async def call(start: int, length: int) -> None:
            await asyncio.sleep(start / 100)
            async with limit.slot():
                inside[0] += 1
                assert inside[0] <= most
                try:
                    await asyncio.sleep(length / 100)
                finally:
                    inside[0] -= 1

        tasks = [(asyncio.create_task(call(start, length)), gives_up) for start, length, gives_up in callers]
        await asyncio.sleep(0.155)
        for task, gives_up in tasks:
            if gives_up:
                task.cancel()
        await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)
        async with asyncio.timeout(1), asyncio.TaskGroup() as group:  # every slot can be had again
            for _ in range(most):
                group.create_task(call(0, 1))

    simulate(main)
