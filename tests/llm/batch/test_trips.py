"""Replies are handed over no faster than the ledger takes them, and by a carrier of ten lines."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from llm.batch.lanes import QUICK
from robustft.errors import ModelError
from robustft.llm.batch.carrier import Carrier, Say
from robustft.llm.batch.record import Gathering, Record
from robustft.llm.batch.results import Line
from robustft.llm.batch.trips import Trips


class Echo:
    """Answers at once, with the request's name."""

    name, base_url, at_once = "echo", "here", 1

    def __init__(self) -> None:
        self.carried = 0

    async def carry(self, record: Record, say: Say) -> None:
        self.carried += 1
        lines = [
            {"custom_id": name, "response": {"status_code": 200, "body": name}, "error": None} for name in record.names
        ]
        record.output.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
        record.note(ended=True)

    async def aclose(self) -> None: ...


class Desk:
    """Takes what trips hand over; `kept` is the ledger."""

    def __init__(self, carrier: Carrier, kept: set[str]) -> None:
        self.lines: list[Line] = []
        self.errors: dict[str, Exception] = {}
        self.trips = Trips(
            carrier, QUICK, kept.__contains__, lambda line: None, self.lines.append, self.errors.__setitem__
        )


def record_of(home: Path, names: list[str]) -> Record:
    gathering = Gathering(home)
    for name in names:
        gathering.add(name, orjson.dumps({"custom_id": name}) + b"\n")
    return gathering.finish("echo", "here")


async def test_no_more_replies_are_handed_over_than_the_ledger_has_taken(tmp_path: Path) -> None:
    names, kept = [f"n{n}" for n in range(150)], set[str]()
    desk = Desk(Echo(), kept)
    record = record_of(tmp_path, names)
    desk.trips.send(record, names)
    for upto in (64, 128, 150):
        while len(desk.lines) < upto:
            await asyncio.sleep(0.001)
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert [line.name for line in desk.lines] == names[:upto]
        assert record.folder.exists()
        kept.update(names[:upto])
    while record.folder.exists():
        await asyncio.sleep(0.001)
    await desk.trips.aclose()


async def test_replies_that_nobody_asks_for_stay_until_somebody_does(tmp_path: Path) -> None:
    carrier, kept = Echo(), {"a", "b"}
    desk = Desk(carrier, kept)
    record = record_of(tmp_path, ["a", "b", "c"])
    desk.trips.send(record, ["a", "gone"])
    while len(desk.lines) < 2:
        await asyncio.sleep(0.001)
    assert desk.lines[0] == Line("a", 200, "a")
    assert desk.lines[1].status is None
    await asyncio.sleep(0.01)
    assert record.folder.exists()
    kept.add("c")
    desk.trips.send(record, ["c"])
    while record.folder.exists():
        await asyncio.sleep(0.001)
    assert (desk.lines[2], carrier.carried) == (Line("c", 200, "c"), 1)
    await desk.trips.aclose()


@pytest.mark.parametrize("error", [OSError("disk full"), ModelError("down"), ValueError("a fault")])
async def test_whatever_goes_wrong_is_told_to_all_who_wait(tmp_path: Path, error: Exception) -> None:
    class Broken(Echo):
        async def carry(self, record: Record, say: Say) -> None:
            raise error

    desk = Desk(Broken(), set())
    record = record_of(tmp_path, ["a", "b"])
    desk.trips.send(record, ["a", "b"])
    while len(desk.errors) < 2:
        await asyncio.sleep(0.001)
    assert set(desk.errors) == {"a", "b"}
    for told in desk.errors.values():
        assert told is error or str(told) == f"{record.folder}: batch files: disk full"
    await desk.trips.aclose()
    assert record.folder.exists()
