"""Rows through a server that fails: every row ends in one decision, and the ledger holds no failure.

    python -m benchmarks.reliability.faults --rows 10000 --share 0.2 --page docs/reliability.md

Then the same run again, at a server without faults: it asks for what is missing, and for nothing that was answered.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.quality.machine import machine
from benchmarks.quality.page import rewrite
from benchmarks.reliability.faulty_server import FAULTS, TIMEOUT, FaultyServer, serving
from benchmarks.scale.rows import write_rows
from robustft.config import Config
from robustft.llm.codec import decode_completion
from robustft.loading import make_config
from robustft.pipeline import denoise
from robustft.records import Decision, Example
from robustft.run import RunDir

ATTEMPTS = 5


@dataclass(frozen=True)
class Counted:
    """What a run at a faulty server came to.

    `made`: faults by name. `requests`: over the wire, `bound` at most. `lost`, `doubled`: rows without a decision, with
    several. `failed`: calls that failed for good; `kept`: failures that the ledger holds. `again`: requests of the
    second run, which asks the failed ones, and what their answers lead to. `repeated`: requests, of both runs, that had
    been answered before. `seconds`: of the first run.
    """

    rows: int
    made: Counter[str]
    requests: int
    bound: int
    lost: int
    doubled: int
    failed: int
    kept: int
    again: int
    repeated: int
    seconds: float

    @property
    def sound(self) -> bool:
        """Whether nothing was lost, doubled, kept wrongly or asked in vain."""
        wrong = self.lost + self.doubled + self.kept + self.repeated
        return wrong == 0 and self.requests <= self.bound


async def measure(folder: Path, rows: int, share: float, seed: int = 0) -> Counted:
    """Run twice over the same rows and ledger: while the server has faults, and when it has none any more."""
    data, start = write_rows(folder / "rows.jsonl", rows), time.monotonic()
    server = FaultyServer(share, seed)
    async with serving(server) as address:
        config = _config(folder, data, address)
        calls = (await denoise(config, folder / "run"))["calls"]
        seconds, requests, server.share = time.monotonic() - start, server.requests, 0.0
        decided = Counter(decision.id for decision in RunDir(folder / "run").load(Decision))
        asked = {example.id for example in RunDir(folder / "run").load(Example)}
        kept = _failures(folder / "ledger.sqlite")
        await denoise(config, folder / "run")
    return Counted(
        rows=rows,
        made=server.made,
        requests=requests,
        bound=(calls["requests"] + calls["failed"]) * ATTEMPTS,
        lost=len(asked ^ decided.keys()) + rows - len(asked),
        doubled=sum(times > 1 for times in decided.values()),
        failed=calls["failed"],
        kept=kept,
        again=server.requests - requests,
        repeated=server.repeated,
        seconds=seconds,
    )


def _config(folder: Path, data: Path, address: str) -> Config:
    llm = {"backend": "openai", "base_url": address, "model": "m", "timeout": TIMEOUT, "attempts": ATTEMPTS}
    return make_config(
        {
            "task": {"instruction": "Answer the question."},
            "data": {"path": str(data)},
            "llm": llm,
            "method": "paper",
            "embedder": "tfidf",
            "ledger": str(folder / "ledger.sqlite"),
            "export": ["messages"],
        }
    )


def _failures(ledger: Path) -> int:
    """Return how many of the ledger's values are no whole answer."""
    with closing(sqlite3.connect(ledger)) as db:
        values = [value for (value,) in db.execute("SELECT value FROM calls")]
    found = [decode_completion(value) for value in values]
    return sum(reply is None or reply.finish == "error" for reply in found)


def table(found: Counted) -> str:
    """Return the faults and what came of them, as Markdown."""
    names = [f"| {name} | {found.made[name]:,} |" for name in FAULTS]
    return "\n".join(
        [
            f"{found.rows:,} rows, {found.requests:,} requests in {found.seconds:.0f} s.",
            "",
            "| fault | injected |",
            "|---|---|",
            *names,
            f"| **all** | {sum(found.made.values()):,} |",
            "",
            "| | |",
            "|---|---|",
            f"| rows lost | {found.lost} |",
            f"| rows decided twice | {found.doubled} |",
            f"| failures in the ledger | {found.kept} |",
            f"| requests, at most calls x {ATTEMPTS} attempts | {found.requests:,} of {found.bound:,} |",
            f"| calls that failed {ATTEMPTS} times | {found.failed} |",
            f"| requests of the second run, at a server without faults | {found.again} |",
            f"| answered calls repeated | {found.repeated} |",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the page's section; returns 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--share", type=float, default=0.2, help="of the requests that get a fault")
    parser.add_argument("--page", type=Path, help="rewrite its section 'faults'")
    said = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder), said.rows, said.share))
    text = f"On {machine()}.\n\n{table(found)}"
    sys.stdout.write(f"{text}\n")
    if said.page:
        rewrite(said.page, "faults", text)
    return 0 if found.sound else 1


if __name__ == "__main__":
    raise SystemExit(main())
