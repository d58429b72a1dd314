"""The same rows by the local engine and by Ray: the same decisions, and what the cluster costs.

python -m benchmarks.scale.engines --rows 20000 --workers 2 --out OUT

The rows and the scripted model are those of benchmarks.scale.rows, so that nothing is asked of a server, and what
remains is the engines' own work. Each engine has a ledger of its own.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.quality.machine import machine
from benchmarks.scale.rows import write_config, write_rows
from robustft.engine.local import Silent, run_until_done
from robustft.loading import load_config
from robustft.pipeline import denoise

SAME = ("examples.parquet", "answers.parquet", "decisions.parquet", "export/train_messages.jsonl")
ENGINES = ("local", "ray")


class FirstResult(Silent):
    """Notes when the first row's answers were there."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.stage = ""
        self.after: float | None = None

    def start(self, stage: str, total: int) -> None:
        """Note the stage."""
        self.stage = stage

    def advance(self, rows: int = 1) -> None:
        """Note the time, once a model is asked."""
        if self.after is None and self.stage != "read":
            self.after = time.monotonic() - self.started


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds of a run: all of it, and until the first answers were there; again, with nothing left to ask."""

    whole: float
    first: float
    again: float


def run(engine: str, rows: int, workers: int, out: Path) -> Took:
    """Run an engine on the rows, and once more with the ledger that it has left."""
    folder = out / engine
    folder.mkdir(parents=True)
    data = write_rows(folder / "rows.jsonl", rows)
    path = write_config(folder / "config.yaml", data, folder, "posterior", engine)
    config = load_config(path, [f"ray.workers={workers}", "ray.cpus=0.5"])
    progress, start = FirstResult(), time.monotonic()
    run_until_done(denoise(config, folder / "run", progress=progress))
    whole = time.monotonic() - start
    start = time.monotonic()
    run_until_done(denoise(config, folder / "again"))
    return Took(whole, progress.after or whole, time.monotonic() - start)


def main(arguments: Sequence[str]) -> int:
    """Print a Markdown table. Returns the exit code: 1 where the results differ."""
    parser = argparse.ArgumentParser(prog="engines")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="a new folder for the files and runs")
    wanted = parser.parse_args(arguments)
    out = wanted.out.absolute()
    took = {engine: run(engine, wanted.rows, wanted.workers, out) for engine in ENGINES}
    differ = [name for name in SAME if (out / "local/run" / name).read_bytes() != (out / "ray/run" / name).read_bytes()]
    lines = [f"{machine()}; {wanted.rows} rows, {wanted.workers} workers, ray {version('ray')}\n"]
    lines += ["| engine | seconds | rows a second | first answers after, s | again, from the ledger, s |"]
    lines += ["|---|---|---|---|---|"]
    for engine, each in took.items():
        lines.append(
            f"| {engine} | {each.whole:.1f} | {wanted.rows / each.whole:.0f} | {each.first:.1f} | {each.again:.1f} |"
        )
    more = (took["ray"].whole - took["local"].whole) / wanted.rows
    lines += ["", f"Ray takes {1e3 * more:.2f} ms a row more, its start included."]
    lines += [f"The same, byte by byte: {', '.join(name for name in SAME if name not in differ)}."]
    lines += [f"NOT the same: {', '.join(differ)}."] if differ else []
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if differ else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
