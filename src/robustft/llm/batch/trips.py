"""Batches on their way: each is carried once, then its replies are handed to whoever waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from robustft.errors import DataError, ModelError
from robustft.llm.batch.carrier import Carrier, Pace, QueueFullError, Say
from robustft.llm.batch.record import Lock, Record
from robustft.llm.batch.results import Found, Line, find, missing, read_place
from robustft.llm.openai.lane import UNKEPT

_BLOCK = 64
"""Replies handed over at once: with all alternatives of all its tokens one may take a megabyte."""
_DIGESTION = 5.0
"""Seconds after which replies that don't get into the ledger are waited for no longer."""


@dataclass(slots=True)
class _Trip:
    """`wanted`: names whose replies are to be handed over, in this order; `found`: where they stand, once known."""

    wanted: list[str]
    found: Found | None = None
    task: asyncio.Task[None] | None = None

    @property
    def under_way(self) -> bool:
        return self.task is not None and not self.task.done()


class Trips:
    """The batches of a lane that are under way.

    `hand` takes a request's outcome, `fail` a name and why there will be none. `known` says whether the ledger holds an
    answer: replies are handed over no faster than it takes them, and a batch is deleted when it holds all of them.
    """

    def __init__(
        self,
        carrier: Carrier,
        pace: Pace,
        known: Callable[[str], bool],
        say: Say,
        hand: Callable[[Line], None],
        fail: Callable[[str, Exception], None],
    ) -> None:
        self._carrier, self._pace, self._known, self._say = carrier, pace, known, say
        self._hand, self._fail = hand, fail
        self._slots = asyncio.Semaphore(carrier.at_once)
        self._trips: dict[Record, _Trip] = {}
        self._waiting_for_room: set[Record] = set()
        self._handing = asyncio.Lock()
        self._digesting: set[str] = set()

    def send(self, record: Record, names: Sequence[str]) -> None:
        """Have the record carried, if it isn't yet, and hand over its replies to `names`."""
        trip = self._trips.setdefault(record, _Trip([]))
        trip.wanted.extend(names)
        if not trip.under_way:
            trip.task = asyncio.create_task(self._travel(record, trip))

    def unread(self, name: str) -> None:
        """Take note that a reply could not be read, and will not get into the ledger."""
        self._digesting.discard(name)

    async def aclose(self) -> None:
        """Stop; what is not at its end will be found by the next run."""
        tasks = [trip.task for trip in self._trips.values() if trip.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for record, trip in list(self._trips.items()):
            self._leave(record, trip)
            record.release()
        self._trips.clear()

    async def _travel(self, record: Record, trip: _Trip) -> None:
        try:
            trip.found = trip.found or await self._found(record)
            while trip.wanted:
                async with self._handing:
                    await self._hand_over(trip.wanted[:_BLOCK], trip.found)
                del trip.wanted[:_BLOCK]
        except Exception as error:  # whatever it is, those who wait must hear of it
            told = DataError(f"batch files: {error}", path=record.folder) if isinstance(error, OSError) else error
            for name in trip.wanted:
                self._fail(name, told)
            trip.wanted.clear()
        self._leave(record, trip)

    def _leave(self, record: Record, trip: _Trip) -> None:
        """Delete a batch that nobody needs any more."""
        if trip.found is not None and settled(trip.found, self._known):
            record.delete()
            del self._trips[record]

    async def _found(self, record: Record) -> Found:
        """Return where the replies are, once they are; nothing where another process has finished with the batch."""
        if not await self._locked(record):
            return Found()
        if not record.ended:
            await self._carry(record)
        found = await asyncio.to_thread(find, (record.output, record.errors), record.names)
        self._say(f"batch {record.title}: {found.answered} of {len(record.names)} requests are answered")
        if found.strange or found.broken:
            self._say(
                f"batch {record.title}: ignored {found.strange} lines with an unknown custom_id and "
                f"{found.broken} that can't be read"
            )
        return found

    async def _locked(self, record: Record) -> bool:
        """Wait until nobody else is at work on the record; False where it is gone then."""
        pause, told = self._pace.first, False
        while record.lock is None:
            try:
                record.lock = Lock.take(record.folder)
            except FileNotFoundError:
                return False
            if record.lock is not None:
                record.refresh()
                return bool(record.facts)
            if not told:
                self._say(f"batch {record.title}: another process is at work on {record.folder}, waiting for it")
                told = True
            await asyncio.sleep(pause)
            pause = self._pace.after(pause)
        return True

    async def _carry(self, record: Record) -> None:
        """Carry it; where the server has no room, when another of ours has ended."""
        while True:
            try:
                async with self._slots:
                    await self._carrier.carry(record, self._say)
                return
            except QueueFullError as full:
                others = [
                    trip.task
                    for other, trip in self._trips.items()
                    if trip.task and trip.under_way and other is not record and other not in self._waiting_for_room
                ]
                if not others:
                    message = f"{full}; try again later, or set llm.batch.requests lower for smaller batches"
                    raise ModelError(message, fatal=True) from None
            self._waiting_for_room.add(record)
            try:
                await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._waiting_for_room.discard(record)

    async def _hand_over(self, names: Sequence[str], found: Found) -> None:
        """Hand over a block of outcomes, and wait until the ledger has the replies among them."""
        places = [found.places.get(name) for name in names]
        lines = await asyncio.to_thread(
            lambda: [
                missing(name) if place is None else read_place(place) for name, place in zip(names, places, strict=True)
            ]
        )
        self._digesting = {line.name for line in lines if line.good and not line.name.startswith(UNKEPT)}
        for line in lines:
            self._hand(line)
        until = asyncio.get_running_loop().time() + _DIGESTION
        while self._digesting and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.002)
            self._digesting = {name for name in self._digesting if not self._known(name)}


def settled(found: Found, known: Callable[[str], bool]) -> bool:
    """Whether the ledger holds every answer of a batch, so that it may be forgotten."""
    return all(known(name) for name, place in found.places.items() if place.good and not name.startswith(UNKEPT))
