"""Small versions of what docs/reliability.md has large ones of."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientConnectorError, ClientError, ClientSession

from benchmarks.reliability import bad_input, crashes, faults
from benchmarks.reliability.faulty_batches import BATCH_FAULTS, FaultyBatches
from benchmarks.reliability.faulty_server import FAULTS, REFUSING, FaultyServer, serving
from robustft.data.writing import write_rows


async def test_rows_through_a_server_that_fails(tmp_path: Path) -> None:
    found = await faults.measure(tmp_path, 200, FaultyServer(0.2))
    assert found.sound, found
    assert found.lost == found.doubled == found.kept == found.repeated == 0
    assert 200 <= found.requests <= found.bound
    assert sum(found.made.values()) > 40
    lines = faults.table(found, found, dict.fromkeys([*FAULTS, *BATCH_FAULTS], found)).splitlines()
    assert lines.count(f"| **together** | {sum(found.made.values())} | | 0 | 0 | 0 | {found.failed} | 0 |") == 2
    assert sum(line.startswith("| ") for line in lines) == 1 + len(FAULTS) + 1 + len(BATCH_FAULTS) + 1


async def test_rows_through_batches_that_fail(tmp_path: Path) -> None:
    pytest.importorskip("openai")
    found = await faults.measure(tmp_path, 60, FaultyBatches(0.3))
    assert found.sound, found
    assert set(found.made) == set(BATCH_FAULTS)
    assert found.failed <= found.again


@pytest.mark.parametrize("name", FAULTS)
async def test_each_fault_alone_loses_nothing(name: str, tmp_path: Path) -> None:
    found = await faults.measure(tmp_path, 6, FaultyServer(0.3, faults=[name]))
    assert found.sound, found
    assert set(found.made) == {name}


async def test_a_door_that_is_shut_refuses_and_opens_again() -> None:
    server = FaultyServer(1.0, faults=["connections refused"])
    async with serving(server.routes) as address, ClientSession() as session:
        url = f"{address}/chat/completions"
        with pytest.raises(ClientError):
            await session.post(url, json={})
        with pytest.raises(ClientConnectorError, match="Connect"):
            await session.post(url, json={})
        server.share = 0.0
        await asyncio.sleep(2 * REFUSING)
        async with session.post(url, json={"messages": [{"content": "?"}]}) as reply:
            assert reply.status == 200
    assert server.made == {"connections refused": 1}


async def test_where_most_requests_fail_none_is_lost(tmp_path: Path) -> None:
    found = await faults.measure(tmp_path, 30, FaultyServer(0.7, seed=1))
    assert found.sound, found
    assert 0 < found.failed <= found.again
    assert set(found.made) <= set(FAULTS)


def test_killed_runs_come_out_as_if_they_had_not_been(tmp_path: Path) -> None:
    found = crashes.measure(tmp_path, kills=2, rows=80)
    assert [(killed.different, killed.repeated) for killed in found] == [((), 0)] * 7
    assert "detect" in {killed.stage for killed in found}
    assert "| killed in |" in crashes.table(found)


def test_a_training_that_is_killed_ends_in_the_same_adapter(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    found = crashes.measure(tmp_path, kills=1, rows=60, train=True, seed=3, stages=())
    assert [(killed.different, killed.repeated) for killed in found] == [((), 0)]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize(("answer", "outcome"), [("A", "read"), ("perhaps", "refused")])
def test_memory_is_that_of_a_few_rows_not_of_the_file(suffix: str, answer: str, outcome: str, tmp_path: Path) -> None:
    rows = [bad_input.ROW | {"id": f"r{n}", "question": f"{n}{' word' * 2000}", "answer": answer} for n in range(4000)]
    path = write_rows(tmp_path / f"d{suffix}", rows)  # 40 MB of text
    with bad_input.apart() as told:
        found = told(path, len(rows), "fail")
    assert (found.outcome, found.memory < 12) == (outcome, True), found


def test_there_are_sixty_files_and_more() -> None:
    assert len(bad_input.FILES) >= 60


@pytest.mark.parametrize("name", bad_input.FILES)
@pytest.mark.parametrize("on_bad_row", ["fail", "skip"])
def test_a_malformed_file_is_a_line_and_no_row_is_lost(name: str, on_bad_row: str, tmp_path: Path) -> None:
    file = bad_input.FILES[name]()
    path = tmp_path / file.name
    path.write_bytes(file.content)
    told = bad_input.read(path, file.rows, on_bad_row)
    assert told.outcome not in {"TRACEBACK", "DROPPED"}, told
    if told.outcome == "refused":
        assert str(path) in told.line
        assert "\n" not in told.line
        assert len(told.line) < 600
