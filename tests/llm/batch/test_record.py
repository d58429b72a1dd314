"""A batch's folder: found again after a kill, locked while somebody is at work on it, gone when never finished."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from robustft.llm.batch.record import Gathering, Lock, Record, leftovers


def gathered(home: Path, *names: str) -> Record:
    gathering = Gathering(home)
    for name in names:
        gathering.add(name, orjson.dumps({"custom_id": name}) + b"\n")
    return gathering.finish("lane", "url")


def test_a_record_is_found_by_its_lane_alone_with_what_was_noted(tmp_path: Path) -> None:
    record = gathered(tmp_path, "a", "b")
    record.note(batch_id="batch_1")
    record.release()
    assert leftovers(tmp_path, "lane", "elsewhere") == leftovers(tmp_path, "other", "url") == []
    (again,) = leftovers(tmp_path, "lane", "url")
    assert (again.names, again.facts, again.title) == (frozenset("ab"), record.facts, "batch_1")
    assert again.facts["requests"] == 2
    assert not again.ended


def test_records_come_in_the_order_of_their_creation(tmp_path: Path) -> None:
    folders = [gathered(tmp_path, "a").folder for _ in range(8)]
    assert [record.folder for record in leftovers(tmp_path, "lane", "url")] == folders


def test_what_is_unfinished_or_failed_goes_unless_somebody_is_at_work_on_it(tmp_path: Path) -> None:
    failed = gathered(tmp_path, "a")
    failed.note(failed=True)
    gathering = Gathering(tmp_path)
    gathering.add("b", b"{}\n")
    assert leftovers(tmp_path, "lane", "url") == []
    assert len(list(tmp_path.iterdir())) == 2
    failed.release()
    gathering.drop()
    assert leftovers(tmp_path, "lane", "url") == []
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_anothers_until_the_last_who_holds_it_ends(tmp_path: Path) -> None:
    lock = Lock.take(tmp_path)
    assert lock is not None
    assert Lock.take(tmp_path) is None
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock.handle,))
    lock.release()
    assert Lock.take(tmp_path) is None
    child.communicate(b"\n")
    again = Lock.take(tmp_path)
    assert again is not None
    again.release()


def test_a_folder_that_is_gone_cannot_be_locked(tmp_path: Path) -> None:
    record = gathered(tmp_path, "a")
    record.delete()
    with pytest.raises(OSError, match="No such file"):
        Lock.take(record.folder)
    record.forget()
    assert not record.folder.exists()


def test_forgetting_leaves_what_another_works_on(tmp_path: Path) -> None:
    record = gathered(tmp_path, "a")
    Record(record.folder, record.names, record.facts).forget()
    assert record.folder.exists()
    record.release()
    Record(record.folder, record.names, record.facts).forget()
    assert not record.folder.exists()
    assert list(tmp_path.iterdir()) == []
