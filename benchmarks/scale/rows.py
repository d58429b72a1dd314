"""Rows a second and peak memory of a whole run but training, by the number of rows.

python -m benchmarks.scale.rows --rows 10000 100000 1000000 --out OUT

Each size is a file of generated four-option questions with options of their own, three of ten responses wrong; the
scripted model is right in 0.755 of its votes. Every run is a process of its own, `robustft run` as a user calls it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import yaml

from benchmarks.quality.machine import machine

OPTIONS = 4
NOISE = 0.3


def write_rows(path: Path, rows: int, seed: int = 0) -> Path:
    """Write `rows` questions as JSON lines: id, question, options, answer (wrong in NOISE of the rows) and truth."""
    rng = np.random.default_rng(seed)
    with path.open("wb") as file:
        for number in range(rows):
            a, b = (int(value) for value in rng.integers(1000, size=2))
            shift = rng.permutation(OPTIONS).tolist()
            truth = shift.index(0)
            answer = (truth + int(rng.integers(1, OPTIONS))) % OPTIONS if rng.random() < NOISE else truth
            row = {
                "id": f"row-{number}",
                "question": f"Question {number}: which number is the sum of {a} and {b}?",
                "options": [str(a + b + step) for step in shift],
                "answer": "ABCD"[answer],
                "truth": "ABCD"[truth],
            }
            file.write(orjson.dumps(row) + b"\n")
    return path


def write_config(path: Path, data: Path, out: Path, method: str, engine: str) -> Path:
    """Write the config of a run with the scripted model and a ledger of its own."""
    config = {
        "task": {"kind": "choice", "instruction": "Answer the question."},
        "data": {"path": str(data), "truth": "truth"},
        "llm": {"backend": "scripted", "scripted": {"accuracy": 0.755}},
        "experts": ["direct", "reasoning"],
        "embedder": "tfidf",
        "method": method,
        "ledger": str(out / "ledger.sqlite"),
        "export": ["messages"],
        "engine": engine,
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def measured(config: Path, run: Path) -> dict[str, Any]:
    """Run it in a process of its own; returns seconds of wall time and CPU, and the peak memory in bytes."""
    began = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - this interpreter, with arguments of our own
        [sys.executable, "-m", "robustft", "run", str(config), "-o", str(run)], stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{config}: robustft ended with {os.waitstatus_to_exitcode(status)}")
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    stages = orjson.loads((run / "stages.json").read_bytes())
    return {
        "wall": time.monotonic() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "peak": peak,
        "stages": {name: stage["wall_s"] for name, stage in stages.items()},
        "metrics": orjson.loads((run / "metrics.json").read_bytes()),
    }


def line(rows: int, found: dict[str, Any]) -> str:
    """Return the size's line of the table."""
    slowest = sorted(found["stages"].items(), key=lambda stage: -stage[1])[:3]
    shares = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in slowest)
    calls, size = found["metrics"]["calls"]["requests"], f"{found['peak'] / 1e6:,.0f}"
    return (
        f"| {rows:,} | {calls / rows:.2f} | {found['wall']:.1f} | {found['cpu']:.1f} | {rows / found['wall']:,.0f} "
        f"| {size} | {shares} |\n"
    )


def main(arguments: Sequence[str]) -> int:
    """Print one Markdown table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="rows")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--out", type=Path, required=True, help="the folder of the files and runs")
    parser.add_argument("--method", default="posterior", choices=("posterior", "paper"))
    parser.add_argument("--engine", default="local", choices=("local", "ray"))
    wanted = parser.parse_args(arguments)
    sys.stdout.write(
        "| rows | calls a row | wall, s | CPU, s | rows/s | peak memory, MB | slowest stages |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    for rows in wanted.rows:
        out = wanted.out.absolute() / f"{wanted.method}-{wanted.engine}-{rows}"
        out.mkdir(parents=True)
        data = write_rows(out / "rows.jsonl", rows)
        config = write_config(out / "config.yaml", data, out, wanted.method, wanted.engine)
        sys.stdout.write(line(rows, measured(config, out / "run")))
        sys.stdout.flush()
    sys.stdout.write(f"\n{machine()}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
