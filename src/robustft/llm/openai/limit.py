"""How many calls may be in flight: more while that makes more work finish a second, fewer for a busy server."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Self

START = 16
"""Calls in flight at first."""
GAIN = 0.05
"""More calls in flight are worth it where they raise the work that is done a second by at least this share."""
REST = 4
"""Windows for which a limit stays as it is after it was found to be too high."""
WINDOW = 32
"""Calls, at least, whose speed is taken together."""
TOLERATED = 0.25
"""Share of a window's calls that may fail as if the server were busy: some servers fail whatever their load is."""


class Limit:
    """At most `allowed` callers at once hold a slot; `allowed` begins at START and stays between 1 and `most`.

    It doubles as long as that pays, by the work that is done a second; else it goes back, and tries again later, since
    what is asked changes. It halves where a server turns away more than TOLERATED of the calls, and grows by a quarter
    from then on.

    The work a second is reckoned as calls in flight x work of a call / seconds of a call (Little's law), over calls
    that began when the limit had taken effect: counting those that end would take far longer, since some answers are a
    hundred times as long as others.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.allowed = min(START, most)
        self.clock = clock
        self._most = most
        self._taken, self._waiting = 0, deque[asyncio.Future[None]]()
        self._cuts, self._growth = 0, 2.0
        self._before, self._rate = self.allowed, 0.0  # what the last growth has to be worth it against
        self._rest = 0
        self._level, self._unsettled = 0, 0
        self._held = False
        self._begin()

    def slot(self) -> Slot:
        """Return a slot, which is waited for, and held, by `async with`."""
        return Slot(self)

    def succeeded(self, slot: Slot, work: float = 1.0) -> None:
        """Count a call that was answered, and how much work that was, in any unit."""
        self._held = self._held or bool(self._waiting)
        if slot.level != self._level:
            return
        self._counted += 1
        self._work += work
        self._seconds += self.clock() - slot.began
        if self._counted >= self._window:
            self._judge(self.allowed * self._work / max(self._seconds, 1e-9))

    def overloaded(self, slot: Slot) -> None:
        """Count a call that was turned away; halve the limit where too many were that began since it was halved."""
        if slot.cuts != self._cuts:
            return
        self._refused += 1
        if self._refused > TOLERATED * self._window:
            self._cuts += 1
            self._growth, self._rest = 1.25, REST
            self._before = max(1, self.allowed // 2)
            self._change(self._before)
            self._begin()

    def _judge(self, rate: float) -> None:
        """Move the limit by what a window has shown, and begin the next one."""
        if self._held:  # else the limit wasn't what held calls back
            tried = self.allowed > self._before
            if tried and rate < self._rate * (1 + GAIN):
                self._rest = REST
                self._change(self._before)
            elif self._rest and not tried:
                self._rate, self._rest = rate, self._rest - 1
            else:
                self._before, self._rate = self.allowed, rate
                self._change(min(max(int(self.allowed * self._growth), self.allowed + 1), self._most))
        self._begin()

    def _change(self, allowed: int) -> None:
        """Set the limit; the calls in flight, and as many as are begun next, don't show yet what it does."""
        if allowed != self.allowed:
            self.allowed = self._unsettled = allowed
            self._level += 1
            self._wake()

    def _begin(self) -> None:
        self._counted, self._work, self._seconds, self._held, self._refused = 0, 0.0, 0.0, False, 0

    @property
    def _window(self) -> int:
        """Calls that are judged together."""
        return max(self.allowed, WINDOW)

    async def take(self) -> tuple[int, int]:
        """Wait for a slot. Returns the level at which its call counts, -1 for none, and the number of cuts so far."""
        await self._turn()
        if self._unsettled:
            self._unsettled -= 1
            return -1, self._cuts
        return self._level, self._cuts

    def give_back(self) -> None:
        """Let go of a slot."""
        self._taken -= 1
        self._wake()

    async def _turn(self) -> None:
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


class Slot:
    """A call's place among those in flight."""

    __slots__ = ("began", "cuts", "level", "limit")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit

    async def __aenter__(self) -> Self:
        self.level, self.cuts = await self.limit.take()
        self.began = self.limit.clock()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.limit.give_back()
