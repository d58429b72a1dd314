"""Rows through an async function on this machine: a bounded number at once, failures kept beside the results."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar

from robustft.config import PriceConfig
from robustft.errors import ModelError, UnaskedError
from robustft.llm.calls import Calls

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 20
"""Failures one after another, without a success between them, after which the endpoint is taken for gone."""
AHEAD = 65_536
"""Items that may be done, or under way, while an earlier one still isn't: their results wait in memory."""


class Progress(Protocol):
    """Where a stage says how far it is; the command line draws it."""

    def start(self, stage: str, total: int) -> None:
        """A stage begins that has `total` rows to do."""
        ...

    def advance(self, rows: int = 1) -> None:
        """So many more rows are done."""
        ...

    def abstain(self, answers: int = 1) -> None:
        """So many answers could not be read."""
        ...

    def finish(self) -> None:
        """The stage has ended."""
        ...

    def note(self, line: str) -> None:
        """Something that the user should know, one line."""
        ...

    def watch(self, calls: Calls, price: PriceConfig | None) -> None:
        """What calls come to is counted in `calls` from now on."""
        ...


class Silent:
    """Progress that nobody sees."""

    def start(self, stage: str, total: int) -> None:
        """Say nothing."""

    def advance(self, rows: int = 1) -> None:
        """Say nothing."""

    def abstain(self, answers: int = 1) -> None:
        """Say nothing."""

    def finish(self) -> None:
        """Say nothing."""

    def note(self, line: str) -> None:
        """Say nothing."""

    def watch(self, calls: Calls, price: PriceConfig | None) -> None:
        """Say nothing."""


async def run_all(
    fn: Callable[[Item], Awaitable[Result]],
    items: Iterable[Item],
    concurrency: int,
    take: Callable[[Item, Result | ModelError], object],
    progress: Progress | None = None,
) -> None:
    """Hand every item to `take` with its fn(item), or the ModelError where that failed; in the items' order.

    At most `concurrency` items are under way, and no item is asked for before its turn. A fatal ModelError, or many
    failures in a row, end it at once: what succeeded is in the ledger, so running again resumes.
    """
    done: dict[int, tuple[Item, Result | ModelError]] = {}
    patience = _Patience(2 * concurrency + PATIENCE)
    pending: Iterator[tuple[int, Item]] = iter(enumerate(items))
    following, moved = 0, asyncio.Event()

    async def work() -> None:
        nonlocal following
        for index, item in pending:
            while index - following >= AHEAD:
                moved.clear()
                await moved.wait()
            try:
                done[index] = item, await fn(item)
                patience.success()
            except ModelError as error:
                if error.fatal:
                    raise
                done[index] = item, error
                if not isinstance(error, UnaskedError):
                    patience.failure(error)
            while following in done:
                take(*done.pop(following))
                following += 1
                moved.set()
            if progress is not None:
                progress.advance()

    workers = [asyncio.create_task(work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def run_until_done(work: Coroutine[Any, Any, Result], *, heard: bool = False) -> Result:
    """Run a coroutine from code that isn't in an event loop; on uvloop where that is installed.

    `heard`: on asyncio's own loop, of whose connections an audit hook hears.
    """
    if heard or find_spec("uvloop") is None:
        return asyncio.run(work)
    import uvloop

    done: Result = uvloop.run(work)
    return done


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end work that doesn't await; asyncio alone would wait for its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Patience:
    """Counts failures since the last success."""

    def __init__(self, limit: int) -> None:
        self.limit, self.failures = limit, 0

    def success(self) -> None:
        self.failures = 0

    def failure(self, error: ModelError) -> None:
        self.failures += 1
        if self.failures >= self.limit:
            raise ModelError(
                f"{self.failures} calls failed one after another, the last: {error}; "
                "finished calls are in the ledger, run the same command again to resume",
                fatal=True,
            )
