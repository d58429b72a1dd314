"""The ledger: every finished call in one SQLite file, so that none is made, or paid for, twice."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from robustft.errors import ConfigError, DataError
from robustft.llm.budget import Budget
from robustft.llm.calls import Calls
from robustft.llm.client import LLM, Completion, Sampling, Scores, Tag
from robustft.llm.codec import decode_completion, decode_scores, encode, request_key
from robustft.llm.plain_text import as_data, without_control_tokens
from robustft.records import Message

Value = TypeVar("Value", Completion, Scores)

SCHEMA = 1
_APPLICATION = int.from_bytes(b"RbFT", "big")
_BUSY_SECONDS = 60.0
_GATHERING_SECONDS = 0.01  # a commit costs as much as several puts, and its thread takes the interpreter from the loop


class Ledger:
    """Values by key in one SQLite file (WAL) that several processes may share.

    `get` is for the event loop: one look-up by index, about 10 us. `put` returns when the value is safe from a killed
    process; puts within 10 ms, or while a commit runs, share one. What isn't in the file is looked up in the one
    `behind` it, which is only read. Raises ConfigError where a file can't be used.
    """

    def __init__(self, path: Path, behind: Path | None = None) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._reader = _connect(path)
            self._writer = _connect(path)
            self._behind = None if behind is None else _connect_to_read(behind)
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"ledger {path}: can't be used: {error}; name another file under `ledger`") from None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._lock = threading.Lock()
        self._group: _Group | None = None

    def get(self, key: str) -> bytes | None:
        """Return the key's value, None where there is none. Raises DataError for a damaged file."""
        row = self._row("SELECT value FROM calls WHERE key = ?", key)
        return None if row is None else row[0]

    def __contains__(self, key: str) -> bool:
        """Whether the key has a value, which is not read."""
        return self._row("SELECT 1 FROM calls WHERE key = ?", key) is not None

    def merge(self, path: Path) -> None:
        """Take all that another ledger file holds, and remove that file. Raises DataError."""
        try:
            self._writer.execute("ATTACH ? AS other", (str(path),))
            self._writer.execute("INSERT OR REPLACE INTO calls SELECT key, value FROM other.calls")
            self._writer.execute("DETACH other")
        except sqlite3.Error as error:
            raise DataError(f"can't be merged into {self.path}: {error}", path=path) from None
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)

    def _row(self, query: str, key: str) -> Any:
        try:
            row = self._reader.execute(query, (key,)).fetchone()
            return self._behind.execute(query, (key,)).fetchone() if row is None and self._behind else row
        except sqlite3.Error as error:
            raise DataError(f"the ledger can't be read: {error}", path=self.path) from None

    async def put(self, key: str, value: bytes) -> None:
        """Store a value, over an earlier one; on return it is committed. Raises DataError (disk full)."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        with self._lock:
            if self._group is None:
                # the writer takes the group a little later, when it is free; until then others join
                self._group = _Group()
                self._thread.submit(self._commit)
            self._group.rows.append((key, value))
            self._group.waiting[loop].append(done)
        await done

    def close(self) -> None:
        """Finish the commits under way and close the file."""
        self._thread.shutdown()
        for db in (self._reader, self._writer, self._behind):
            if db is not None:
                db.close()

    def __len__(self) -> int:
        return int(self._reader.execute("SELECT count(*) FROM calls").fetchone()[0])

    def _commit(self) -> None:
        time.sleep(_GATHERING_SECONDS)
        with self._lock:
            group, self._group = self._group, None
        if group is None:
            return
        error = None
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            with self._writer:
                self._writer.executemany("INSERT OR REPLACE INTO calls VALUES (?, ?)", group.rows)
        except sqlite3.Error as failed:
            error = DataError(f"the ledger can't be written: {failed}", path=self.path)
        for loop, waiting in group.waiting.items():
            with contextlib.suppress(RuntimeError):  # a loop that is closed waits for nothing
                loop.call_soon_threadsafe(_settle, waiting, error)


@dataclass(slots=True)
class _Group:
    """Puts that share a commit, and who waits for it on which event loop."""

    rows: list[tuple[str, bytes]] = field(default_factory=list)
    waiting: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = field(
        default_factory=lambda: defaultdict(list)
    )


def _settle(waiting: Sequence[asyncio.Future[None]], error: DataError | None) -> None:
    for done in waiting:
        if done.done():  # cancelled
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        db.execute("BEGIN IMMEDIATE")  # also finds out whether the file can be written
        with db:
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if tables and db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
                raise sqlite3.DatabaseError("it is another program's database")
            if version > SCHEMA:
                raise sqlite3.DatabaseError(f"it is of a newer robustft (layout {version}, this one knows {SCHEMA})")
            if not tables:
                db.execute(f"PRAGMA application_id = {_APPLICATION}")
                db.execute(f"PRAGMA user_version = {SCHEMA}")
                db.execute("CREATE TABLE calls (key TEXT PRIMARY KEY, value BLOB NOT NULL)")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        db.close()
        raise
    return db


def _connect_to_read(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS, check_same_thread=False
    )


class LedgeredLLM:
    """A model whose finished calls are kept; implements `robustft.llm.client.LLM`.

    What a row holds is sent as data: what looks like a chat template's token is broken up (`llm.plain_text`).
    `identity` is what distinguishes the model's answers from another's. Identical requests in flight share one call.
    A failure is never kept, nor is a completion that finished with 'error'. What `calls` count may not go beyond the
    `budget`. Closes the model, not the ledger.
    """

    def __init__(
        self, llm: LLM, ledger: Ledger, identity: Mapping[str, object], calls: Calls, budget: Budget | None = None
    ) -> None:
        self._llm, self._ledger, self._identity, self._calls = llm, ledger, dict(identity), calls
        self._budget = budget or Budget()
        self._flying: dict[str, asyncio.Future[Any]] = {}

    @property
    def identity(self) -> Mapping[str, object]:
        """What distinguishes its answers from another model's."""
        return self._identity

    async def complete(self, messages: Sequence[Message], sampling: Sampling, tag: Tag | None = None) -> Completion:
        """Return the kept completion, or ask for it and keep it. Raises ModelError."""
        messages = as_data(messages)
        key = request_key(self._identity, "complete", messages, sampling=sampling)
        return await self._answer(key, decode_completion, lambda: self._llm.complete(messages, sampling, tag))

    async def score(self, messages: Sequence[Message], candidates: Sequence[str], tag: Tag | None = None) -> Scores:
        """Return the kept scores, or ask for them and keep them. Raises ModelError."""
        messages, candidates = as_data(messages), [without_control_tokens(text) for text in candidates]
        key = request_key(self._identity, "score", messages, candidates=candidates)
        return await self._answer(key, decode_scores, lambda: self._llm.score(messages, candidates, tag))

    async def aclose(self) -> None:
        """Close the model."""
        await self._llm.aclose()

    async def _answer(
        self, key: str, decode: Callable[[bytes], Value | None], call: Callable[[], Awaitable[Value]]
    ) -> Value:
        stored = self._ledger.get(key)
        value = None if stored is None else decode(stored)
        while value is None and (flight := self._flying.get(key)) is not None:
            await asyncio.wait((flight,))
            # where the one who asked was cancelled, the next in line asks
            value = None if flight.cancelled() else flight.result()
        if value is not None:
            self._calls.cached += 1
            return value
        return await self._fly(key, call)

    async def _fly(self, key: str, call: Callable[[], Awaitable[Value]]) -> Value:
        """Make the call while others with the same key wait for its outcome."""
        flight: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._flying[key] = flight
        try:
            value = await self._ask(call)
            if not (isinstance(value, Completion) and value.finish == "error"):
                await self._ledger.put(key, encode(value))
        except Exception as error:
            flight.set_exception(error)
            flight.exception()  # nobody may be waiting for it
            raise
        else:
            flight.set_result(value)
            return value
        finally:
            flight.cancel()
            del self._flying[key]

    async def _ask(self, call: Callable[[], Awaitable[Value]]) -> Value:
        self._budget.check(self._calls)
        self._calls.requests += 1
        try:
            value = await call()
        except Exception:
            self._calls.failed += 1
            raise
        if isinstance(value, Completion) and value.finish == "error":
            self._calls.failed += 1
        self._calls.prompt_tokens += value.usage.prompt_tokens
        self._calls.completion_tokens += value.usage.completion_tokens
        return value
