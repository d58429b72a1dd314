"""The same rows denoised at the same server: our methods against a loop that asks one question at a time.

    python -m benchmarks.speed.denoising --data noisy30.csv --rows 300 --base-url http://127.0.0.1:8000/v1 --model NAME

Every run has a ledger of its own. The loop comes last, so that what the server still has in its prefix cache is to its
advantage. Its time grows evenly with the rows, so that --loop-rows may have it do fewer: what is compared is the time a
row.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import aiohttp
import orjson
import yaml

from benchmarks.quality.machine import machine

METHODS = ("paper", "posterior")
AT_ONCE = 64
LENGTH = 48
"""Tokens of an answer by which the server itself is measured."""
QUESTION = (
    "What is the sentiment of this sentence, to an investor?\n\nOperating profit rose to EUR {number}.{at_once} mn "
    "from EUR 8.7 mn in 2006.\n\nA. negative\nB. neutral\nC. positive\n\nThink step by step."
)


@dataclass(frozen=True, slots=True)
class Took:
    """What a run took: requests on the wire, seconds of wall time, start to end, and its own processor time."""

    name: str
    rows: int
    calls: int
    seconds: float
    cpu: float


def timed(command: Sequence[str]) -> tuple[str, float, float]:
    """Run a command; returns what it printed, its seconds of wall time, and those of processor time."""
    before, start = getrusage(RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603 - commands of our own
    seconds, after = time.monotonic() - start, getrusage(RUSAGE_CHILDREN)
    return done.stdout, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ours(method: str, wanted: argparse.Namespace, folder: Path) -> Took:
    """Run a method with its defaults, as a user does."""
    config = {
        "task": {"kind": "choice"},
        "data": {"path": str(wanted.data)},
        "llm": {"backend": "openai", "base_url": wanted.base_url, "model": wanted.model},
        "method": method,
        "ledger": str(folder / f"{method}.sqlite"),
    }
    path = folder / f"{method}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [sys.executable, "-m", "robustft", "run", str(path), "-o", str(folder / method)]
    _, seconds, cpu = timed([*command, "--limit", str(wanted.rows)])
    metrics = orjson.loads((folder / method / "metrics.json").read_bytes())
    return Took(f"robustft, method {method}", wanted.rows, metrics["calls"]["requests"], seconds, cpu)


def loop(wanted: argparse.Namespace) -> Took:
    """Run the sequential baseline."""
    rows = wanted.loop_rows or wanted.rows
    command = [sys.executable, "-m", "benchmarks.speed.sequential_baseline", "--rows", str(wanted.data)]
    command += ["--base-url", wanted.base_url, "--model", wanted.model, "--limit", str(rows)]
    said, seconds, cpu = timed(command)
    return Took("one question at a time", rows, int(said.split()[1].rstrip(",")), seconds, cpu)


async def tokens_a_second(wanted: argparse.Namespace, at_once: int, calls: int) -> float:
    """Return how fast the server writes answers of equal length, so many at once: what no client can exceed."""
    slots, url = asyncio.Semaphore(at_once), f"{wanted.base_url}/chat/completions"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:

        async def ask(number: int) -> None:
            body = {"model": wanted.model, "max_tokens": LENGTH, "ignore_eos": True, "logprobs": True}
            body |= {"messages": [{"role": "user", "content": QUESTION.format(number=number, at_once=at_once)}]}
            async with slots, session.post(url, json=body) as response:
                response.raise_for_status()
                await response.read()

        start = time.monotonic()
        await asyncio.gather(*(ask(number) for number in range(calls)))
        return calls * LENGTH / (time.monotonic() - start)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a file with the columns question, answer and options")
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--loop-rows", type=int, help="rows that the loop does; unset: all")
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, help="a new folder for the runs, to keep them")
    wanted = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = wanted.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        one, many = (asyncio.run(tokens_a_second(wanted, n, calls)) for n, calls in ((1, 4), (AT_ONCE, 2 * AT_ONCE)))
        took = [*(ours(method, wanted, folder) for method in METHODS), loop(wanted)]
    slowest = took[-1].seconds / took[-1].rows
    lines = [f"{machine()}; {wanted.rows} rows of {wanted.data.name}, server and client on this machine\n"]
    lines += [
        "| what | rows | calls | seconds | of which own CPU | calls a second | times as fast, a row |",
        "|---|---|---|---|---|---|---|",
    ]
    for run in took:
        rate, ratio = run.calls / run.seconds, slowest / (run.seconds / run.rows)
        shown = f"{run.seconds:.1f} | {run.cpu:.1f} | {rate:.1f} | {ratio:.1f}"
        lines.append(f"| {run.name} | {run.rows} | {run.calls} | {shown} |")
    lines += ["", f"The server itself writes {one:.0f} tokens a second for one question at a time, {many:.0f} for"]
    lines += [f"{AT_ONCE} at once ({LENGTH} tokens each, ignore_eos): {many / one:.1f} times as many."]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
