"""The method in one call, for rows that are in memory: `robustft.denoise`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson
from platformdirs import user_cache_path

from robustft.config import Config
from robustft.data.files import plain
from robustft.data.frames import Frame, frame_of, native
from robustft.data.layouts import response_column, with_response
from robustft.errors import ConfigError, DataError
from robustft.loading import Tree, merge, read_tree, resolved
from robustft.records import OUTCOMES, TRAINED_ON, Decision, Example
from robustft.run import RunDir, fingerprint, write_atomically

Table = TypeVar("Table")

ROWS = "rows.jsonl"
"""The run directory's copy of the rows: what the run reads, and what its commands read later."""
FACTS = ("id", "decision", "response_given", "response_final", "confidence", "reason")
"""What `Result.decisions` says of a row."""


@dataclass(frozen=True, slots=True)
class Result(Generic[Table]):
    """What became of the rows.

    `clean`: the rows that are safe to train on, in the columns that came in, with new responses where they were
    relabelled. `decisions`: a row for each that came in, in their order (`id`, `decision`, `response_given`,
    `response_final`, `confidence`, `reason`); the decision of a malformed row that was set aside is None. Both are of
    the kind that came in. `metrics` is what metrics.json holds; `out` is the run directory, which every command of
    `robustft` takes.
    """

    clean: Table
    decisions: Table
    metrics: Mapping[str, Any]
    out: Path

    @property
    def report(self) -> Path:
        """The page that shows what was done, and why."""
        return self.out / "report.html"

    def __repr__(self) -> str:
        """Return the outcome in a line."""
        counts = self.metrics["decisions"]
        said = ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in OUTCOMES)
        return f"Result({self.metrics['n']:,} rows: {said}; {self.report})"


def denoise(
    dataset: Table,
    *,
    task: str | Mapping[str, Any] | None = None,
    llm: str | Mapping[str, Any] | None = None,
    config: str | Path | Mapping[str, Any] | Config | None = None,
    out: str | Path | None = None,
    progress: bool = True,
    **sections: Any,
) -> Result[Table]:
    """Find wrong responses, mend them, and leave out what can't be trusted.

    Works in scripts, in notebooks, and where an event loop runs.

    Args:
        dataset: a list of dicts, a DataFrame of pandas or polars, a pyarrow.Table, or a datasets.Dataset.
        task: a preset's name, or the section `task` of the config.
        llm: a local model's name, or the section `llm`: {"base_url": .., "model": ..} is an endpoint.
        config: a YAML file, or its keys, under what the other arguments say.
        out: the run directory. Unset: one in your cache folder, the same for the same rows and settings, so that a
            call that was interrupted goes on when it is made again.
        progress: say on stderr how far the run is.
        **sections: further keys of the config, such as `data={"response": "label"}` or `method="paper"`.

    Raises:
        RobustFTError: ConfigError for a wrong setting, DataError for rows that can't be used, ModelError.
    """
    # a script that only imports robustft doesn't wait for the libraries that a run needs
    from robustft.engine.aside import run_anywhere
    from robustft.pipeline import denoise as run_pipeline
    from robustft.tasks.presets import PRESETS
    from robustft.terminal.progress import StageProgress

    frame = frame_of(dataset)
    tree = _tree(config, sections | {"task": task, "llm": llm})
    if tree.get("data", {}).get("path") is not None:
        raise ConfigError("data.path: the rows are those that you give; leave it out, or use `robustft run`")
    folder = Path(out) if out is not None else None
    rows = _save(frame, folder, tree)
    settings = resolved(merge(tree, {"data": {"path": str(rows)}}), "denoise", PRESETS)
    with StageProgress() if progress else nullcontext() as shown:
        metrics = run_anywhere(run_pipeline(settings, rows.parent, progress=shown), heard=settings.offline)
    return _result(frame, settings, RunDir(rows.parent), metrics)


def _tree(config: str | Path | Mapping[str, Any] | Config | None, over: Tree) -> Tree:
    """Return the config's keys: those of `config`, and over them those that were given one by one."""
    if isinstance(config, Config):
        under: Tree = config.model_dump(mode="json", exclude_unset=True)
    elif isinstance(config, str | Path):
        under = read_tree(Path(config))
    else:
        under = dict(config or {})
    tree = merge(under, {name: section for name, section in over.items() if section is not None})
    if isinstance(tree.get("llm"), str):
        tree["llm"] = {"model": tree["llm"]}
    llm = tree.get("llm")
    if isinstance(llm, dict) and "base_url" in llm:
        llm.setdefault("backend", "openai")
    return tree


def _save(frame: Frame, out: Path | None, tree: Tree) -> Path:
    """Write the rows to the run directory. Returns their path. Raises DataError, ConfigError."""
    digest, empty = hashlib.sha256(), True
    for line in _lines(frame):
        digest.update(line)
        empty = False
    if empty:
        raise DataError("the dataset has no rows")
    folder = out or user_cache_path("robustft") / "runs" / fingerprint(digest.hexdigest(), tree)[:12]

    def write(path: Path) -> None:
        with path.open("wb") as file:
            file.writelines(_lines(frame))

    try:
        return write_atomically(folder / ROWS, write)
    except OSError as error:
        raise ConfigError(f"{folder}: can't write there: {error.strerror}") from None


def _lines(frame: Frame) -> Iterator[bytes]:
    """Yield each row as a line of JSON; what is odd in it is for the reader of the file to say."""
    for number, row in enumerate(frame.rows(), start=1):
        try:
            yield json.dumps(row, default=lambda value: plain(native(value))).encode() + b"\n"
        except (TypeError, ValueError, RecursionError) as error:
            raise DataError(f"can't be written as JSON: {error}", row=number) from None


def _result(frame: Frame, config: Config, run: RunDir, metrics: Mapping[str, Any]) -> Result[Any]:
    layout = run.read_json("findings.json")["layout"]
    column = response_column(layout, config.data)
    skipped = map(orjson.loads, (run.path / "skipped.jsonl").read_bytes().splitlines())
    facts = {row["row"] - 1: {"reason": f"not read: {row['reason']}"} for row in skipped}
    examples, decisions = run.load(Example), run.load(Decision)
    read = [place for place in range(len(examples) + len(facts)) if place not in facts]
    changes = {}
    for place, example, decision in zip(read, examples, decisions, strict=True):
        facts[place] = {name: getattr(decision, name) for name in FACTS}
        if decision.decision == "relabel":
            mended = with_response(example.source, layout, config.data, str(decision.response_final))
            changes[place] = mended[column]
    rows = [facts[place] for place in range(len(facts))]
    places = [place for place, row in enumerate(rows) if row.get("decision") in TRAINED_ON]
    columns = {name: [row.get(name) for row in rows] for name in FACTS}
    return Result(frame.taken(places, column, changes), frame.beside(columns), metrics, run.path)
