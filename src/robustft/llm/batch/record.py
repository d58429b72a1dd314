"""One batch on disk: its requests, what is known of its way, its replies; a folder, so that a killed run finds it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

import orjson

from robustft.run import write_atomically

_FACTS = "batch.json"
_REQUESTS = "requests.jsonl"


class Lock:
    """Says that somebody is at work on a folder; falls with the last process that holds `handle`."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    @classmethod
    def take(cls, folder: Path) -> Lock | None:
        """Return the folder's lock, None where another has it. Raises FileNotFoundError where the folder is gone."""
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
        if not folder.exists():
            # the one who had it has deleted the folder meanwhile
            os.close(handle)
            raise FileNotFoundError(folder)
        return cls(handle)

    def release(self) -> None:
        """Let go; a child process that was given the handle keeps the lock."""
        os.close(self.handle)


class Record:
    """A batch whose requests are written down.

    `facts` are what batch.json holds: `lane`, `base_url`, `created` (seconds since 1970), `requests` (how many),
    `sha256` (of their file), what the carrier needs to find the batch again, and at last `ended` (the replies are here)
    or `failed` (it is to be forgotten).
    """

    def __init__(self, folder: Path, names: frozenset[str], facts: dict[str, Any], lock: Lock | None = None) -> None:
        self.folder, self.names, self.facts, self.lock = folder, names, facts, lock
        self.requests = folder / _REQUESTS
        self.output, self.errors = folder / "output.jsonl", folder / "errors.jsonl"

    @property
    def title(self) -> str:
        """What the batch is called where the user reads of it."""
        return str(self.facts.get("batch_id") or self.folder.name)

    @property
    def ended(self) -> bool:
        """Whether the replies, those that there will be, are in the folder."""
        return bool(self.facts.get("ended"))

    def note(self, **facts: Any) -> None:
        """Write down what has become known; it is safe from a killed process, and from a power cut, on return."""
        self.facts |= facts
        data = orjson.dumps(self.facts, option=orjson.OPT_INDENT_2)
        write_atomically(self.folder / _FACTS, lambda path: path.write_bytes(data))

    def refresh(self) -> None:
        """Read again what is known: another process may have been at work."""
        self.facts = _facts(self.folder) or {}

    def delete(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.release()

    def forget(self) -> None:
        """Delete the folder, unless another process is at work on it."""
        try:
            self.lock = Lock.take(self.folder)
        except OSError:
            return
        if self.lock is not None:
            self.delete()

    def release(self) -> None:
        """Let another process take it."""
        if self.lock is not None:
            self.lock.release()
            self.lock = None


class Gathering:
    """A batch that is being written: requests are added until `finish`."""

    def __init__(self, home: Path) -> None:
        self._folder = home / uuid.uuid4().hex
        self._folder.mkdir(parents=True)
        self._lock = Lock.take(self._folder)
        self._file = (self._folder / _REQUESTS).open("wb")
        self._digest = hashlib.sha256()
        self.names: list[str] = []
        self.size = 0

    def add(self, name: str, line: bytes) -> None:
        """Append a request: a line of JSON that ends in a line end."""
        self._file.write(line)
        self._digest.update(line)
        self.size += len(line)
        self.names.append(name)

    def finish(self, lane: str, base_url: str) -> Record:
        """Make a record of it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        record = Record(self._folder, frozenset(self.names), {}, self._lock)
        record.note(
            lane=lane,
            base_url=base_url,
            created=time.time(),
            requests=len(self.names),
            sha256=self._digest.hexdigest(),
        )
        return record

    def drop(self) -> None:
        """Delete what was gathered."""
        self._file.close()
        Record(self._folder, frozenset(), {}, self._lock).delete()


def leftovers(home: Path, lane: str, base_url: str) -> list[Record]:
    """Return the lane's records that earlier runs have left, oldest first; what was never finished, or failed, goes."""
    found: list[Record] = []
    for folder in home.iterdir() if home.is_dir() else ():
        facts = _facts(folder)
        if facts is None or facts.get("failed"):
            _delete_dead(folder)
        elif (facts.get("lane"), facts.get("base_url")) == (lane, base_url):
            with (folder / _REQUESTS).open("rb") as file:
                names = frozenset(orjson.loads(line)["custom_id"] for line in file)
            found.append(Record(folder, names, facts))
    return sorted(found, key=lambda record: float(record.facts["created"]))


def _delete_dead(folder: Path) -> None:
    try:
        lock = Lock.take(folder)
    except OSError:
        return
    if lock is None:
        return
    # between the look at it and the lock it may have been finished
    facts = _facts(folder)
    if facts is None or facts.get("failed"):
        shutil.rmtree(folder, ignore_errors=True)
    lock.release()


def _facts(folder: Path) -> dict[str, Any] | None:
    try:
        return dict(orjson.loads((folder / _FACTS).read_bytes()))
    except (OSError, ValueError):
        return None


def settle(part: Path, path: Path) -> None:
    """Put a file that is written whole in its place, safe from a power cut."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
