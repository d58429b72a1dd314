"""The batch lane: gathers requests while their callers wait, sends them as files, and gives each caller its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from robustft.config import LLMConfig
from robustft.errors import ConfigError, DataError, ModelError
from robustft.llm.batch.carrier import Carrier, Pace, Say
from robustft.llm.batch.hosted import HostedBatches
from robustft.llm.batch.record import Gathering, Record, leftovers
from robustft.llm.batch.results import Line, find, understood
from robustft.llm.batch.trips import Trips, settled
from robustft.llm.batch.vllm import RunBatch
from robustft.llm.openai.endpoint import TransientError

Reply = TypeVar("Reply")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of a file: `requests`, and `size` in bytes; `attempts` at a request before it counts as failed."""

    requests: int = 50_000
    size: int = 200_000_000
    attempts: int = 5


class BatchLane:
    """Chat requests as batch files; implements `robustft.llm.openai.lane.Lane`.

    A request's name, which is the ledger's key of its answer, is its `custom_id`. A file is closed when for a quiet
    moment nobody has asked anything more, or at a limit. Every batch is a folder under `home` until the ledger holds
    its answers (`known` says so): what a killed run has sent is found there and waited for, not sent again.
    """

    def __init__(
        self, carrier: Carrier, home: Path, known: Callable[[str], bool], limits: Limits, pace: Pace, say: Say
    ) -> None:
        self._carrier, self._home, self._limits, self._pace = carrier, home, limits, pace
        self._trips = Trips(carrier, pace, known, say, self._arrived, self._failed)
        self._flights: dict[str, asyncio.Future[Line]] = {}
        self._gathering: Gathering | None = None
        self._gathered = 0
        self._timer: asyncio.TimerHandle | None = None
        self._left = _left(home, carrier, known)

    @classmethod
    def open(
        cls, config: LLMConfig, home: Path, known: Callable[[str], bool], say: Say, pace: Pace | None = None
    ) -> BatchLane:
        """Open the lane that the config names. Raises ConfigError."""
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{home}: can't be made: {error.strerror}; name another file under `ledger`") from None
        pace = pace or Pace()
        carrier = HostedBatches(config, pace) if config.lane == "openai-batch" else RunBatch(config)
        return cls(carrier, home, known, Limits(config.batch.requests, attempts=config.attempts), pace, say)

    @property
    def base_url(self) -> str:
        """What the model's identity names as its address."""
        return self._carrier.base_url

    async def chat(self, body: Mapping[str, Any], read: Callable[[Any], Reply], name: Callable[[], str]) -> Reply:
        """Return what `read` makes of the reply; see `Lane`."""
        key, said = name(), ""
        for _ in range(self._limits.attempts):
            line = await self._line(key, body)
            try:
                return understood(line, read, self.base_url)
            except TransientError as error:
                self._trips.unread(key)
                said = str(error)
        raise ModelError(f"{self.base_url}: {said} ({self._limits.attempts} attempts)")

    async def aclose(self) -> None:
        """Stop waiting. Batches on a server go on, and the next run finds them."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._gathering is not None:
            self._gathering.drop()
            self._gathering = None
        await self._trips.aclose()
        await self._carrier.aclose()

    async def _line(self, name: str, body: Mapping[str, Any]) -> Line:
        """Return the request's outcome; who asks for one that is under way shares it."""
        flight = self._flights.get(name)
        if flight is None:
            # an earlier run's batch may hold it
            record = self._left.pop(name, None)
            if record is None:
                self._gather(name, body)
            else:
                self._trips.send(record, [name])
            flight = self._flights[name] = asyncio.get_running_loop().create_future()
        # a caller that is cancelled must not take it from the others
        return await asyncio.shield(flight)

    def _gather(self, name: str, body: Mapping[str, Any]) -> None:
        request = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
        try:
            line = orjson.dumps(request, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError as error:
            raise ModelError(f"the request can't be written as JSON: {error}") from None
        if len(line) > self._limits.size:
            raise ModelError(f"the request has {len(line)} bytes, and a batch file takes {self._limits.size}")
        if self._gathering is not None and self._gathering.size + len(line) > self._limits.size:
            self._send()
        try:
            if self._gathering is None:
                self._gathering = Gathering(self._home)
            self._gathering.add(name, line)
        except OSError as error:
            raise DataError(f"batch files can't be written: {error}", path=self._home) from None
        self._gathered += 1
        if len(self._gathering.names) == self._limits.requests:
            self._send()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._pace.quiet, self._look, self._gathered)

    def _look(self, before: int) -> None:
        """Send the file if nothing has come in the moment that has passed, else wait for another."""
        self._timer = None
        if self._gathered == before:
            self._send()
        else:
            self._timer = asyncio.get_running_loop().call_later(self._pace.quiet, self._look, self._gathered)

    def _send(self) -> None:
        gathering, self._gathering = self._gathering, None
        if gathering is not None:
            record = gathering.finish(self._carrier.name, self._carrier.base_url)
            self._trips.send(record, gathering.names)

    def _arrived(self, line: Line) -> None:
        self._flights.pop(line.name).set_result(line)

    def _failed(self, name: str, error: Exception) -> None:
        if (flight := self._flights.pop(name, None)) is not None:
            flight.set_exception(error)
            flight.exception()  # nobody may be waiting for it any more


def _left(home: Path, carrier: Carrier, known: Callable[[str], bool]) -> dict[str, Record]:
    """Return the requests that earlier runs have sent, by name; batches that nobody needs any more are deleted."""
    left: dict[str, Record] = {}
    for record in leftovers(home, carrier.name, carrier.base_url):
        if record.ended and settled(find((record.output, record.errors), record.names), known):
            record.forget()
        else:
            left |= dict.fromkeys(record.names, record)
    return left
