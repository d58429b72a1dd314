"""How many calls may be in flight: more while that makes more of them finish a second, fewer for a busy server."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

START = 16
"""Calls in flight at first."""
GAIN = 0.05
"""More calls in flight are worth it where they raise the calls that finish a second by at least this share."""
REST = 4
"""Windows for which a limit stays as it is after it was found to be too high."""
WINDOW = 32
"""Calls, at least, whose time is taken together."""


class Limit:
    """At most `allowed` callers at once hold a slot; `allowed` begins at START and stays between 1 and `most`.

    It doubles as long as that pays, by the calls that succeed a second; else it goes back, and tries again later, since
    what is asked changes. It halves where a server has too much to do, and grows by a quarter from then on.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.allowed = min(START, most)
        self._most, self._clock = most, clock
        self._taken, self._waiting = 0, deque[asyncio.Future[None]]()
        self._cuts, self._growth = 0, 2.0
        self._before, self._rate = self.allowed, 0.0  # what the last growth has to be worth it against
        self._rest = 0
        self._begin(settling=0)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Wait for a slot and hold it. Yields the number of cuts so far, which `overloaded` wants to know."""
        await self._take()
        try:
            yield self._cuts
        finally:
            self._taken -= 1
            self._wake()

    def succeeded(self) -> None:
        """Count a call that was answered."""
        self._finished += 1
        # the first answers after a change are those to calls from before it
        if self._finished == self._settling:
            self._start, self._held = self._clock(), False
        self._held = self._held or bool(self._waiting)
        counted = self._finished - self._settling
        if counted >= max(self.allowed, WINDOW):
            self._judge(counted / max(self._clock() - self._start, 1e-9))

    def overloaded(self, cuts: int) -> None:
        """Halve the limit, unless that was done since the call began, when there had been so many `cuts`."""
        if cuts == self._cuts:
            self._cuts += 1
            self._growth, self._rest = 1.25, REST
            self._before = self.allowed = max(1, self.allowed // 2)
            self._begin(settling=self.allowed)

    def _judge(self, rate: float) -> None:
        """Move the limit by what a window has shown, and begin the next one."""
        if not self._held:  # nobody waited: the limit wasn't what held calls back
            self._begin(settling=0)
            return
        tried = self.allowed > self._before
        if tried and rate < self._rate * (1 + GAIN):
            self.allowed, self._rest = self._before, REST
        elif self._rest and not tried:
            self._rate, self._rest = rate, self._rest - 1
        else:
            self._before, self._rate = self.allowed, rate
            self.allowed = min(max(int(self.allowed * self._growth), self.allowed + 1), self._most)
            self._wake()
        self._begin(settling=self._before if self.allowed != self._before else 0)

    def _begin(self, settling: int) -> None:
        self._settling, self._finished = settling, 0
        self._start, self._held = self._clock(), False

    async def _take(self) -> None:
        if self._taken < self.allowed and not self._waiting:
            self._taken += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had been given a slot
                self._taken -= 1
                self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting and self._taken < self.allowed:
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
