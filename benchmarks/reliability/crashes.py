"""Runs that are killed at random moments, and gone on with: the same bytes, and no finished call made twice.

    python -m benchmarks.reliability.crashes --kills 40 --page docs/reliability.md
    python -m benchmarks.reliability.crashes --kills 10 --train --page docs/reliability.md

Every kill is `kill -9` of a run of its own with the scripted model: first at moments drawn from the whole of its time,
then once as each stage begins, since a draw seldom meets those that are short. With --train the run also trains a tiny
model, which saves its state after every step.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import yaml

from benchmarks.quality.machine import machine
from benchmarks.quality.page import rewrite
from benchmarks.scale.rows import write_rows

RECIPES = {"export/llamafactory_lora.yaml", "export/axolotl.yaml", "export/train_trl.py"}
"""Files that name their own folder."""
STAGES = ("detect", "relabel", "select", "export", "train", "report")
"""Those that do something in these runs, after the first."""
Due = Callable[[float], bool]
"""Whether to kill now, so many seconds after the start."""


@dataclass(frozen=True)
class Killed:
    """One run that was killed: `stage` is the one it was in, `different` the files that came out otherwise."""

    stage: str
    kept: int
    repeated: int
    different: tuple[str, ...]


def measure(
    folder: Path, kills: int, rows: int, train: bool = False, seed: int = 0, stages: Sequence[str] = STAGES
) -> list[Killed]:
    """Kill `kills` runs at random and one in each of `stages`; go on, and compare with an undisturbed run."""
    data = write_rows(folder / "rows.jsonl", rows)
    start = time.monotonic()
    whole = _Run.made(folder / "whole", data, train, folder)
    whole.finish()
    seconds, expected = time.monotonic() - start, whole.outputs()
    drawn, order = random.Random(seed), list(whole.stages())  # noqa: S311 - no secret
    begins = [order[order.index(stage) - 1] for stage in stages if train or stage != "train"]
    found: list[Killed] = []
    while len(found) < kills + len(begins):
        run = _Run.made(folder / f"run-{len(found)}", data, train, folder)
        due = _at(drawn.uniform(0.0, seconds)) if len(found) < kills else _after(run, begins[len(found) - kills])
        if (killed := _killed(run, due, expected)) is not None:
            found.append(killed)
        run.remove()
    return found


def _at(moment: float) -> Due:
    return lambda seconds: seconds >= moment


def _after(run: _Run, stage: str) -> Due:
    return lambda _: stage in run.stages()


def _killed(run: _Run, due: Due, expected: dict[str, str]) -> Killed | None:
    """Return what came of a run that was killed when it was due; None where it had ended by then."""
    process, start = run.start(), time.monotonic()
    while not due(time.monotonic() - start):
        time.sleep(0.001)
        if process.poll() is not None:
            return None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done, kept = run.stages(), run.calls()
    run.finish()
    after = run.stages()
    asked = sum(after[name]["calls"]["requests"] for name in after if after[name] != done.get(name))
    outputs = run.outputs()
    different = tuple(
        sorted(name for name in expected.keys() | outputs.keys() if expected.get(name) != outputs.get(name))
    )
    stage = next((name for name in after if name not in done), "the end")
    return Killed(stage, kept, asked - (run.calls() - kept), different)


@dataclass(frozen=True)
class _Run:
    """A run directory, its config and its ledger."""

    folder: Path

    @classmethod
    def made(cls, folder: Path, data: Path, train: bool, models: Path) -> _Run:
        folder.mkdir()
        config: dict[str, Any] = {
            "task": {"instruction": "Answer the question."},
            "data": {"path": str(data), "truth": "truth"},
            "llm": {"backend": "scripted", "concurrency": 16, "scripted": {"accuracy": 0.755, "delay": 0.05}},
            "experts": ["direct", "reasoning"],
            "embedder": "tfidf",
            "ledger": str(folder / "ledger.sqlite"),
            "export": ["messages", "alpaca"],
        }
        if train:
            from benchmarks.reliability.tiny import save_tiny

            model = models / "tiny"
            if not model.exists():
                save_tiny(model)
            config["train"] = {"model": str(model), "dtype": "float32", "max_steps": 12, "checkpoint": 1}
        (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        return cls(folder)

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "robustft", "run", str(self.folder / "config.yaml"), "-o", str(self._out)]
        return subprocess.Popen(  # noqa: S603 - our own command
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def finish(self) -> None:
        process = self.start()
        said = process.communicate()[1]
        if process.returncode:
            raise SystemExit(f"{self.folder}: the run failed: {said.decode()}")

    def stages(self) -> dict[str, Any]:
        path = self._out / "stages.json"
        return dict(orjson.loads(path.read_bytes())) if path.exists() else {}

    def calls(self) -> int:
        """How many finished calls the ledger holds."""
        if not (path := self.folder / "ledger.sqlite").exists():
            return 0
        with closing(sqlite3.connect(path)) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'calls'").fetchone():
                return 0
            return int(db.execute("SELECT count(*) FROM calls").fetchone()[0])

    def outputs(self) -> dict[str, str]:
        found = orjson.loads((self._out / "provenance.json").read_bytes())["outputs"]
        return {name: digest for name, digest in found.items() if name not in RECIPES}

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    @property
    def _out(self) -> Path:
        return self.folder / "run"


def table(found: Sequence[Killed]) -> str:
    """Return what came of the runs by the stage in which they were killed, as Markdown."""
    stages = Counter(killed.stage for killed in found)
    lines = ["| killed in | runs | files that differ | finished calls kept | repeated |", "|---|---|---|---|---|"]
    for stage in stages:
        of = [killed for killed in found if killed.stage == stage]
        different, kept, repeated = (
            sum(len(killed.different) for killed in of),
            sum(killed.kept for killed in of),
            sum(killed.repeated for killed in of),
        )
        lines.append(f"| {stage} | {len(of)} | {different} | {kept:,} | {repeated} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the page's section; returns 1 where a byte differs or a call was repeated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="at random; one more in each stage")
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--train", action="store_true", help="train a tiny model, too")
    parser.add_argument("--page", type=Path, help="rewrite its section 'crashes', or 'crashes-train'")
    said = parser.parse_args(arguments)
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), said.kills, said.rows, said.train)
    seconds = time.monotonic() - start
    text = f"On {machine()}; {said.rows} rows a run, {len(found)} kills in {seconds:.0f} s.\n\n{table(found)}"
    sys.stdout.write(f"{text}\n")
    if said.page:
        rewrite(said.page, "crashes-train" if said.train else "crashes", text)
    return int(any(killed.different or killed.repeated for killed in found))


if __name__ == "__main__":
    raise SystemExit(main())
