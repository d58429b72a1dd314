"""The run directory: each stage's result as a Parquet file, and the fingerprints that say what is finished."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from robustft.config import Config
from robustft.errors import ConfigError, RobustFTError
from robustft.records import Answer, Belief, Decision, Example, Relabel, Verdict

Record = TypeVar("Record", Example, Answer, Belief, Verdict, Relabel, Decision)

_TEXT, _REAL, _COUNT = pa.string(), pa.float64(), pa.int64()
_TURNS = pa.list_(pa.struct([("role", _TEXT), ("content", _TEXT)]))
# votes and source are JSON text: their keys differ from run to run
TABLES: Mapping[type, tuple[str, pa.Schema]] = {
    Example: (
        "examples",
        pa.schema(
            {
                "id": _TEXT,
                "messages": _TURNS,
                "response": _TEXT,
                "options": pa.list_(_TEXT),
                "truth": _TEXT,
                "source": _TEXT,
            }
        ),
    ),
    Answer: (
        "answers",
        pa.schema(
            {
                "id": _TEXT,
                "expert": _TEXT,
                "text": _TEXT,
                "value": _TEXT,
                "nll": _REAL,
                "probs": pa.list_(_REAL),
                "mass": _REAL,
                "reasoning": _TEXT,
                "finish": _TEXT,
                "tokens_in": _COUNT,
                "tokens_out": _COUNT,
            }
        ),
    ),
    Belief: ("beliefs", pa.schema({"id": _TEXT, "candidates": pa.list_(_TEXT), "probs": pa.list_(_REAL)})),
    Verdict: ("verdicts", pa.schema({"id": _TEXT, "noisy": pa.bool_(), "confidence": _REAL, "reason": _TEXT})),
    Relabel: (
        "relabels",
        pa.schema({"id": _TEXT, "response": _TEXT, "reason": _TEXT, "context_ids": pa.list_(_TEXT), "nll": _REAL}),
    ),
    Decision: (
        "decisions",
        pa.schema(
            {
                "id": _TEXT,
                "decision": _TEXT,
                "response_given": _TEXT,
                "response_final": _TEXT,
                "confidence": _REAL,
                "reason": _TEXT,
                "votes": _TEXT,
            }
        ),
    ),
}
_JSON_FIELDS = {"source", "votes"}
_TUPLE_FIELDS = {"messages", "options", "candidates", "probs", "context_ids"}


class RunDir:
    """One run's folder. Files are replaced whole or not at all; `stages.json` says which stages are finished."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: Config) -> RunDir:
        """Make the folder if need be, and write the resolved config. Raises ConfigError where it can't."""
        run = cls(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            run.write("config.yaml", yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False).encode())
        except OSError as error:
            raise ConfigError(f"{path}: can't write there: {error.strerror}") from None
        return run

    @classmethod
    def existing(cls, path: Path) -> RunDir:
        """Open a folder that a run has made. Raises ConfigError."""
        if not (path / "config.yaml").exists():
            raise ConfigError(f"{path}: not a run directory; `robustft run CONFIG -o {path}` makes one")
        return cls(path)

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

    def save(self, kind: type[Record], rows: Sequence[Record]) -> None:
        """Write the records of a kind."""
        name, schema = TABLES[kind]
        columns = [
            pa.array([_encode(field.name, getattr(row, field.name)) for row in rows], field.type) for field in schema
        ]
        table = pa.Table.from_arrays(columns, schema=schema)
        write_atomically(self.path / f"{name}.parquet", lambda path: pq.write_table(table, path, compression="zstd"))

    def load(self, kind: type[Record]) -> list[Record]:
        """Read the records of a kind. Raises RobustFTError where the stage that writes them has not run."""
        path = self.path / f"{TABLES[kind][0]}.parquet"
        if not path.exists():
            raise RobustFTError(f"{path}: not there yet; run the same command again to finish the run")
        rows = pq.read_table(path).to_pylist()
        return [kind(**{name: _decode(name, value) for name, value in row.items()}) for row in rows]

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


def write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, then put it in the place of `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
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


def _encode(name: str, value: Any) -> Any:
    if name in _JSON_FIELDS:
        return orjson.dumps(dict(value)).decode()
    return list(value) if name in _TUPLE_FIELDS and value is not None else value


def _decode(name: str, value: Any) -> Any:
    if name in _JSON_FIELDS:
        return orjson.loads(value)
    return tuple(value) if name in _TUPLE_FIELDS and value is not None else value
