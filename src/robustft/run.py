"""The run directory: each stage's result as a Parquet file, and the fingerprints that say what is finished."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import yaml

from robustft import store
from robustft.config import Config
from robustft.errors import ConfigError, RobustFTError
from robustft.store import TABLES, Record, Stored

LOCK = ".lock"
ADAPTER = "adapter_model.safetensors"
"""What PEFT calls an adapter's weights, in the adapter's folder."""
_PART = ".part"
"""How the name of a file ends that is still being written."""


class RunDir:
    """One run's folder. Files are replaced whole or not at all; `stages.json` says which stages are finished."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> RunDir:
        """Make the folder if need be. Raises ConfigError where it can't be made or written."""
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{path}: can't write there: {error.strerror}") from None
        return cls(path)

    @classmethod
    def existing(cls, path: Path) -> RunDir:
        """Open a folder that a run has made. Raises ConfigError."""
        if not (path / "config.yaml").exists():
            raise ConfigError(f"{path}: not a run directory; `robustft run CONFIG -o {path}` makes one")
        return cls(path)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder against every other process that would write there. Raises ConfigError where one does.

        The lock is SQLite's, which every platform has: it ends with the process, however that ends. What a killed
        process left half-written is removed.
        """
        lock = sqlite3.connect(self.path / LOCK, timeout=0, isolation_level=None)
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            # a file system without locks, or one that can't be written, is found out by whoever writes
            if "is locked" in str(error):
                lock.close()
                message = "another robustft is at work there; wait for its end, or choose another folder"
                raise ConfigError(f"{self.path}: {message}") from None
        try:
            with suppress(OSError):
                for left in self.path.rglob(f".*{_PART}"):
                    left.unlink()
            yield
        finally:
            lock.close()

    def keep(self, config: Config) -> None:
        """Write the resolved config. Raises ConfigError where it can't."""
        try:
            self.write("config.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).encode())
        except OSError as error:
            raise ConfigError(f"{self.path}: can't write there: {error.strerror}") from None

    def config(self) -> Config:
        """Return the config that the run was made with."""
        return Config.model_validate(yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8")))

    def write(self, name: str, content: bytes) -> Path:
        """Write a file atomically: it is there whole, or as it was before."""
        return write_atomically(self.path / name, lambda path: path.write_bytes(content))

    def write_json(self, name: str, value: object) -> None:
        """Write plain values and dataclasses as indented JSON."""
        self.write(name, orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str))

    def read_json(self, name: str) -> dict[str, Any]:
        """Read what `write_json` wrote; {} where there is no such file."""
        path = self.path / name
        return dict(orjson.loads(path.read_bytes())) if path.exists() else {}

    def save(self, kind: type[Record], *parts: Iterable[Record]) -> Stored[Record]:
        """Write the records of a kind, one part after the other. Returns them as they are stored."""
        write_atomically(self._file_of(kind), lambda path: store.write(path, kind, parts))
        return self.load(kind)

    def load(self, kind: type[Record]) -> Stored[Record]:
        """Open the records of a kind. Raises RobustFTError where the stage that writes them has not run."""
        path = self._file_of(kind)
        if not path.exists():
            raise RobustFTError(f"{path}: not there yet; run the same command again to finish the run")
        return Stored(path, kind)

    def stamp(self, kind: type[Record]) -> tuple[int, int]:
        """Return what tells the records' file from another in its place."""
        there = self._file_of(kind).stat()
        return there.st_mtime_ns, there.st_size

    def _file_of(self, kind: type[Record]) -> Path:
        return self.path / f"{TABLES[kind][0]}.parquet"

    def finished(self, stage: str, key: str) -> bool:
        """Whether this very stage, with these very inputs, has finished before."""
        return bool(self.read_json("stages.json").get(stage, {}).get("key") == key)

    def finish(self, stage: str, key: str | None, **facts: Any) -> None:
        """Mark a stage as finished, after its files are written; a key of None leaves it to be done again."""
        self.write_json("stages.json", self.read_json("stages.json") | {stage: {"key": key, **facts}})


def fingerprint(*parts: object) -> str:
    """Return a digest of plain values, the same for the same values in any process."""
    content = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    return hashlib.sha256(content).hexdigest()


def digest(path: Path) -> str:
    """Return a file's sha256, in hexadecimal; '' where there is no such file."""
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, then put it in the place of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PART)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
