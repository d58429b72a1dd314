"""How busy a server is kept: the share of its slots that are taken while a run's detect stage asks.

    python -m benchmarks.speed.slots --slots 256 --delay 0.2 --rows 20000

A server in a process of its own answers so many requests at once, each after the delay; the rows are made up. The first
five seconds, in which the client finds out what the server can take, are shown but don't count, nor does the end, when
fewer rows are left than there are slots.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.quality.machine import machine
from benchmarks.speed.server import Load, load_of, serving
from robustft.engine.local import run_until_done
from robustft.loading import make_config
from robustft.pipeline import denoise

START_SECONDS = 5.0
STAGES = ("relabel", "select", "export", "train", "evaluate", "compare", "report")


def run(url: str, rows: int, folder: Path) -> float:
    """Detect noise in made-up rows by the direct expert, method self-label. Returns the seconds that it took."""
    lines = [
        "id,question,answer",
        *(f"{number},What is the sentiment of sentence {number}?,A" for number in range(rows)),
    ]
    (folder / "rows.csv").write_text("\n".join(lines))
    config = make_config(
        {
            "task": {"options": ["negative", "neutral", "positive"]},
            "data": {"path": str(folder / "rows.csv")},
            "llm": {"backend": "openai", "base_url": url, "model": "m"},
            "method": "self-label",
            "ledger": str(folder / "ledger.sqlite"),
        },
        "slots",
    )
    start = time.monotonic()
    run_until_done(denoise(config, folder / "run", skip=STAGES))
    return time.monotonic() - start


def busy(load: Load, slots: int, since: float = 0.0) -> float:
    """Return the mean share of slots taken from `since` on, up to the last moment at which all were."""
    end = max((at for at, taken, _ in load if taken == slots), default=0.0)
    taken = [taken for at, taken, _ in load if since <= at <= end]
    return float(np.mean(taken)) / slots if taken else 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--delay", type=float, default=0.2, help="seconds a request")
    wanted = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, serving(wanted.delay, wanted.slots) as url:
        seconds = run(url, wanted.rows, Path(folder))
        load = load_of(url)
    full = next((at for at, taken, _ in load if taken == wanted.slots), float("nan"))
    lines = [f"{machine()}; {wanted.rows} rows, {wanted.slots} slots, {wanted.delay:g} s a request\n"]
    lines += ["| what | measured |", "|---|---|"]
    lines.append(f"| slots busy, from {START_SECONDS:g} s on | {busy(load, wanted.slots, START_SECONDS):.1%} |")
    lines.append(f"| slots busy, from the first request on | {busy(load, wanted.slots):.1%} |")
    lines.append(f"| all slots taken after | {full:.1f} s |")
    lines.append(f"| rows a second | {wanted.rows / seconds:.0f} of {wanted.slots / wanted.delay:.0f} possible |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
