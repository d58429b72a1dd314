"""Small versions of what docs/reliability.md has large ones of."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.reliability import bad_input, crashes, faults
from benchmarks.reliability.faulty_server import FAULTS


async def test_rows_through_a_server_that_fails(tmp_path: Path) -> None:
    found = await faults.measure(tmp_path, rows=200, share=0.2)
    assert found.sound, found
    assert found.lost == found.doubled == found.kept == found.repeated == 0
    assert 200 <= found.requests <= found.bound
    assert sum(found.made.values()) > 40
    assert "| **all** |" in faults.table(found)


async def test_where_most_requests_fail_none_is_lost(tmp_path: Path) -> None:
    found = await faults.measure(tmp_path, rows=30, share=0.7, seed=1)
    assert found.sound, found
    assert 0 < found.failed <= found.again
    assert set(found.made) <= set(FAULTS)


def test_killed_runs_come_out_as_if_they_had_not_been(tmp_path: Path) -> None:
    found = crashes.measure(tmp_path, kills=3, rows=80)
    assert [(killed.different, killed.repeated) for killed in found] == [((), 0)] * 3
    assert "| killed in |" in crashes.table(found)


def test_a_training_that_is_killed_ends_in_the_same_adapter(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    found = crashes.measure(tmp_path, kills=1, rows=60, train=True, seed=3)
    assert [(killed.different, killed.repeated) for killed in found] == [((), 0)]


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
