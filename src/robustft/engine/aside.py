"""An event loop for code that may or may not be in one already, as a notebook's is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from robustft.engine.local import run_until_done

Result = TypeVar("Result")


def run_anywhere(work: Coroutine[Any, Any, Result], *, heard: bool = False) -> Result:
    """Run a coroutine to its end: here, or in a thread of its own where an event loop runs here.

    `heard` is that of `run_until_done`.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run_until_done(work, heard=heard)
    return _Aside(work, heard).result()


class _Aside(Generic[Result]):
    """A coroutine in a thread of its own."""

    def __init__(self, work: Coroutine[Any, Any, Result], heard: bool) -> None:
        self._work, self._heard = work, heard
        self._ended: list[Result] = []
        self._error: BaseException | None = None
        self._cancel: Callable[[], object] | None = None
        self._thread = threading.Thread(target=self._live, name="robustft", daemon=True)

    def result(self) -> Result:
        """Wait for the end. Ctrl-C, and a notebook's stop button, end the work before its time."""
        self._thread.start()
        try:
            self._thread.join()
        except KeyboardInterrupt:
            if self._cancel is not None:
                self._cancel()
            self._thread.join()
            raise
        if self._error is not None:
            raise self._error
        return self._ended[0]

    def _live(self) -> None:
        try:
            self._ended.append(run_until_done(self._cancellable(), heard=self._heard))
        except BaseException as error:
            self._error = error

    async def _cancellable(self) -> Result:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def cancel() -> None:
            if task is not None:
                loop.call_soon_threadsafe(task.cancel)

        self._cancel = cancel
        return await self._work
