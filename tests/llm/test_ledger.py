"""The ledger keeps what it confirmed, whoever is killed, and a ledgered model asks for nothing twice."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from robustft.errors import ConfigError, DataError, ModelError
from robustft.llm.calls import Calls
from robustft.llm.client import LLM, Completion, Sampling, Scores, Tag, Usage
from robustft.llm.ledger import SCHEMA, Ledger, LedgeredLLM
from robustft.records import Message

MESSAGES = [Message(role="user", content="Which?")]
IDENTITY: dict[str, object] = {"backend": "test"}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "cache" / "ledger.sqlite")
    yield opened
    opened.close()


async def test_what_is_put_is_there_also_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger(path)
    assert ledger.get("a") is None
    await ledger.put("a", b"1")
    assert ledger.get("a") == b"1"
    assert "a" in ledger
    assert "b" not in ledger
    await ledger.put("a", b"2")
    await ledger.put("b", b"")
    ledger.close()
    again = Ledger(path)
    assert (again.get("a"), again.get("b"), len(again)) == (b"2", b"", 2)
    again.close()


async def test_what_is_not_in_the_file_is_looked_up_in_the_one_behind_it(tmp_path: Path, ledger: Ledger) -> None:
    await ledger.put("a", b"1")
    await ledger.put("b", b"2")
    before = Ledger(tmp_path / "own.sqlite", behind=ledger.path)
    await before.put("b", b"3")
    assert [before.get(key) for key in "abc"] == [b"1", b"3", None]
    assert "a" in before
    assert "c" not in before
    await before.put("a", b"4")
    before.close()
    assert ledger.get("a") == b"1"


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_ledger_that_is_merged_is_gone_and_all_it_held_is_here(tmp_path: Path, ledger: Ledger) -> None:
    other = Ledger(tmp_path / "other.sqlite")
    await ledger.put("a", b"1")
    await other.put("a", b"2")
    await other.put("b", b"3")
    other.close()
    ledger.merge(other.path)
    assert [ledger.get(key) for key in "ab"] == [b"2", b"3"]
    assert files(tmp_path) == ["cache"]


async def test_a_ledger_whose_writer_was_killed_is_merged_whole(tmp_path: Path, ledger: Ledger) -> None:
    other = Ledger(tmp_path / "other.sqlite")
    await other.put("a", b"1")  # and is never closed: what it holds is in the write-ahead log
    ledger.merge(other.path)
    assert ledger.get("a") == b"1"


def test_what_is_no_ledger_is_not_merged(tmp_path: Path, ledger: Ledger) -> None:
    (tmp_path / "notes.txt").write_text("no database at all, but long enough to look like one" * 100)
    with pytest.raises(DataError, match=r"notes\.txt: can't be merged"):
        ledger.merge(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").exists()


async def test_many_puts_at_once_share_commits(ledger: Ledger) -> None:
    await asyncio.gather(*(ledger.put(f"key {n}", b"x" * n) for n in range(500)))
    assert len(ledger) == 500
    assert all(ledger.get(f"key {n}") == b"x" * n for n in range(500))


def test_a_ledger_serves_one_event_loop_after_another(ledger: Ledger) -> None:
    for n in range(2):
        asyncio.run(ledger.put(f"key {n}", b"x"))
    assert len(ledger) == 2


async def test_a_caller_that_gives_up_takes_no_other_along(ledger: Ledger) -> None:
    puts = [asyncio.create_task(ledger.put(f"key {n}", b"x")) for n in range(20)]
    await asyncio.sleep(0)
    puts[0].cancel()
    await asyncio.gather(*puts, return_exceptions=True)
    assert all(ledger.get(f"key {n}") == b"x" for n in range(1, 20))


WRITER = """
import asyncio, sys
from pathlib import Path
from robustft.llm.ledger import Ledger

async def main(path, names, n):
    ledger = Ledger(Path(path))

    async def write(name):
        for i in range(int(n)):
            await ledger.put(f"{name} {i}", f"value of {name} {i}".encode())
            print(f"{name} {i}", flush=True)

    await asyncio.gather(*map(write, names))
    ledger.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def start_writer(path: Path, names: str, n: int) -> asyncio.subprocess.Process:
    """Start a process that puts n values for each letter of `names` and prints each key once it is confirmed."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(path), names, str(n), stdout=asyncio.subprocess.PIPE
    )


async def test_everything_confirmed_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    writer = await start_writer(path, "abcdefgh", 10**6)
    assert writer.stdout is not None
    said = b"".join([await writer.stdout.readline() for _ in range(2000)])
    writer.kill()
    said += await writer.stdout.read()
    await writer.wait()
    confirmed = said.decode().split("\n")[:-1]  # what follows the last line end may be cut
    ledger = Ledger(path)
    lost = [key for key in confirmed if ledger.get(key) != f"value of {key}".encode()]
    ledger.close()
    assert len(confirmed) >= 2000
    assert lost == []


async def test_processes_share_a_ledger_from_its_first_moment(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    writers = [await start_writer(path, names, 100) for names in ("ax", "bx", "cx", "dx")]
    await asyncio.gather(*(writer.communicate() for writer in writers))
    assert [writer.returncode for writer in writers] == [0] * 4
    ledger = Ledger(path)
    assert len(ledger) == 5 * 100
    ledger.close()


def test_a_file_that_is_no_ledger_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_bytes(b"not a database " * 100)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE calls (key, value)")
    db.close()
    newer = tmp_path / "newer.sqlite"
    Ledger(newer).close()
    with sqlite3.connect(newer) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    db.close()
    under_a_file = text / "ledger.sqlite"
    nowhere = Path("/proc/robustft/ledger.sqlite")
    for path in (text, other, newer, under_a_file, nowhere, tmp_path):
        before = path.read_bytes() if path.is_file() else b""
        with pytest.raises(ConfigError) as caught:
            Ledger(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert (path.read_bytes() if path.is_file() else b"") == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="can't be used"):
        Ledger(tmp_path / "ledger.sqlite")
    tmp_path.chmod(0o700)


async def test_a_commit_that_fails_is_told_to_everyone_in_it(ledger: Ledger) -> None:
    with sqlite3.connect(ledger.path) as db:
        db.execute("DROP TABLE calls")
    db.close()
    results = await asyncio.gather(*(ledger.put(f"key {n}", b"x") for n in range(5)), return_exceptions=True)
    assert all(isinstance(result, DataError) and str(ledger.path) in str(result) for result in results)
    with pytest.raises(DataError, match="ledger"):
        ledger.get("key 0")


class Model:
    """A model that counts its calls and answers when it is let."""

    def __init__(self, *outcomes: Completion | ModelError) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0
        self.go = asyncio.Event()
        self.go.set()
        self.closed = False

    @property
    def identity(self) -> dict[str, object]:
        return IDENTITY

    async def complete(self, messages: Sequence[Message], sampling: Sampling, tag: Tag | None = None) -> Completion:
        self.calls += 1
        await self.go.wait()
        outcome = self.outcomes.pop(0) if self.outcomes else Completion(f"answer {self.calls}", usage=Usage(10, 2))
        if isinstance(outcome, ModelError):
            raise outcome
        return outcome

    async def score(self, messages: Sequence[Message], candidates: Sequence[str], tag: Tag | None = None) -> Scores:
        self.calls += 1
        return Scores((-0.1,) * len(candidates), (1,) * len(candidates), Usage(30, 3))

    async def aclose(self) -> None:
        self.closed = True


async def test_a_finished_call_is_never_made_again(ledger: Ledger) -> None:
    model, calls = Model(), Calls()
    llm: LLM = LedgeredLLM(model, ledger, IDENTITY, calls)
    first = await llm.complete(MESSAGES, Sampling(), Tag("1", "direct"))
    assert await llm.complete(MESSAGES, Sampling(), Tag("2", "reasoning")) == first
    scores = await llm.score(MESSAGES, ["A", "B"])
    assert await llm.score(MESSAGES, ("A", "B")) == scores
    assert model.calls == 2
    assert calls == Calls(requests=2, cached=2, failed=0, prompt_tokens=40, completion_tokens=5)
    assert (await llm.complete(MESSAGES, Sampling(sample=1))).text == "answer 3"
    await llm.aclose()
    assert model.closed


async def test_models_do_not_get_each_others_answers(ledger: Ledger) -> None:
    model = Model()
    for name in ("a", "b"):
        await LedgeredLLM(model, ledger, {"model": name}, Calls()).complete(MESSAGES, Sampling())
    assert model.calls == 2


async def test_an_answer_is_in_the_ledger_before_it_is_used(ledger: Ledger) -> None:
    await LedgeredLLM(Model(), ledger, IDENTITY, Calls()).complete(MESSAGES, Sampling())
    with sqlite3.connect(f"file:{ledger.path}?mode=ro", uri=True) as db:
        assert db.execute("SELECT count(*) FROM calls").fetchone() == (1,)
    db.close()


async def test_failures_are_not_kept(ledger: Ledger) -> None:
    model = Model(ModelError("busy"), Completion("half", finish="error"), Completion("cut", finish="length"))
    calls = Calls()
    llm = LedgeredLLM(model, ledger, IDENTITY, calls)
    with pytest.raises(ModelError, match="busy"):
        await llm.complete(MESSAGES, Sampling())
    assert (await llm.complete(MESSAGES, Sampling())).text == "half"
    assert len(ledger) == 0
    assert (await llm.complete(MESSAGES, Sampling())).text == "cut"
    assert (await llm.complete(MESSAGES, Sampling())).text == "cut"
    assert (calls.requests, calls.failed, calls.cached, model.calls) == (3, 2, 1, 3)


async def test_a_damaged_value_is_asked_for_again(ledger: Ledger) -> None:
    model = Model()
    llm = LedgeredLLM(model, ledger, IDENTITY, Calls())
    await llm.complete(MESSAGES, Sampling())
    with sqlite3.connect(ledger.path) as db:
        db.execute("UPDATE calls SET value = x'00'")
    db.close()
    assert (await llm.complete(MESSAGES, Sampling())).text == "answer 2"
    assert (await llm.complete(MESSAGES, Sampling())).text == "answer 2"
    assert model.calls == 2


async def held(model: Model, llm: LLM, n: int) -> list[asyncio.Task[Completion]]:
    """Return n identical calls in flight, of which the first has reached the model."""
    model.go.clear()
    tasks = [asyncio.create_task(llm.complete(MESSAGES, Sampling())) for _ in range(n)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert model.calls == 1
    return tasks


async def test_identical_calls_in_flight_are_one(ledger: Ledger) -> None:
    model, calls = Model(), Calls()
    tasks = await held(model, LedgeredLLM(model, ledger, IDENTITY, calls), 5)
    model.go.set()
    assert {completion.text for completion in await asyncio.gather(*tasks)} == {"answer 1"}
    assert (model.calls, calls.requests, calls.cached) == (1, 1, 4)


async def test_a_failure_in_flight_reaches_everyone_and_the_next_call_is_new(ledger: Ledger) -> None:
    model, calls = Model(ModelError("busy")), Calls()
    llm = LedgeredLLM(model, ledger, IDENTITY, calls)
    tasks = await held(model, llm, 3)
    model.go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(result) for result in results] == ["busy"] * 3
    assert (model.calls, calls.failed) == (1, 1)
    assert (await llm.complete(MESSAGES, Sampling())).text == "answer 2"


async def test_when_the_one_who_asks_is_cancelled_the_next_one_asks(ledger: Ledger) -> None:
    model, calls = Model(), Calls()
    tasks = await held(model, LedgeredLLM(model, ledger, IDENTITY, calls), 3)
    tasks[0].cancel()
    await asyncio.sleep(0.01)
    model.go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert [result.text for result in results[1:] if isinstance(result, Completion)] == ["answer 2"] * 2
    assert model.calls == 2


async def test_when_one_who_waits_is_cancelled_the_others_are_not(ledger: Ledger) -> None:
    model = Model()
    tasks = await held(model, LedgeredLLM(model, ledger, IDENTITY, Calls()), 3)
    tasks[1].cancel()
    model.go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["Completion", "CancelledError", "Completion"]
    assert model.calls == 1


def test_calls_add_up() -> None:
    total = Calls(1, 2, 3, 4, 5) + Calls(10, 20, 30, 40, 50)
    assert total.as_dict() == {
        "requests": 11,
        "cached": 22,
        "failed": 33,
        "prompt_tokens": 44,
        "completion_tokens": 55,
    }
