"""Rows through a server that fails: every row ends in one decision, and the ledger holds no failure.

    python -m benchmarks.reliability.faults --rows 10000 --each 200 --share 0.2 --page docs/reliability.md

Once with all faults together, call by call and in batches, then with each fault alone. After each the same run again,
at a server without faults: it asks for what is missing, and for nothing that was answered.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.quality.machine import machine
from benchmarks.quality.page import rewrite
from benchmarks.reliability.faulty_batches import BATCH_FAULTS, FaultyBatches
from benchmarks.reliability.faulty_server import FAULTS, TIMEOUT, FaultyServer, serving
from benchmarks.scale.rows import write_rows
from robustft.config import Config
from robustft.llm.codec import decode_completion
from robustft.loading import make_config
from robustft.pipeline import denoise
from robustft.records import Decision, Example
from robustft.run import RunDir

ATTEMPTS = 5
Server = FaultyServer | FaultyBatches


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


async def measure(folder: Path, rows: int, server: Server) -> Counted:
    """Run twice over the same rows and ledger: while the server has faults, and when it has none any more."""
    data, start = write_rows(folder / "rows.jsonl", rows), time.monotonic()
    async with serving(server.routes) as address:
        config = _config(folder, data, address, server.lane)
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


def _config(folder: Path, data: Path, address: str, lane: str) -> Config:
    llm = {"backend": "openai", "base_url": address, "model": "m", "timeout": TIMEOUT, "attempts": ATTEMPTS}
    return make_config(
        {
            "task": {"instruction": "Answer the question."},
            "data": {"path": str(data)},
            "llm": llm | {"lane": lane},
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


async def measure_each(folder: Path, rows: int, share: float) -> dict[str, Counted]:
    """Run with each fault alone."""
    servers: dict[str, Server] = {name: FaultyServer(share, faults=[name]) for name in FAULTS}
    servers |= {name: FaultyBatches(share, faults=[name]) for name in BATCH_FAULTS}
    found = {}
    for name, server in servers.items():
        with tempfile.TemporaryDirectory(dir=folder) as place:
            found[name] = await measure(Path(place), rows, server)
    return found


def table(live: Counted, batches: Counted, alone: Mapping[str, Counted]) -> str:
    """Return the faults and what came of them, as Markdown: all of a kind together, and each alone."""
    rows, seconds = next(iter(alone.values())).rows, sum(counted.seconds for counted in alone.values())
    return "\n".join(
        [
            f"Together: {live.rows:,} rows, {live.seconds:.0f} s call by call and {batches.seconds:.0f} s in batches. "
            f"Alone: {rows:,} rows, {seconds:.0f} s for all of them.",
            "",
            "| fault | injected together | alone | rows lost | doubled | failures kept | calls failed | repeated |",
            "|---|---|---|---|---|---|---|---|",
            *_lines(FAULTS, live, alone),
            *_lines(BATCH_FAULTS, batches, alone),
            "",
            f"Requests, at most calls x {ATTEMPTS} attempts: {live.requests:,} of {live.bound:,} call by call, "
            f"{batches.requests:,} of {batches.bound:,} in batches. The second run, at a server without faults, sent "
            f"{live.again} and {batches.again} more.",
        ]
    )


def _lines(names: Iterable[str], together: Counted, alone: Mapping[str, Counted]) -> Iterator[str]:
    for name in names:
        made = f"{together.made[name]:,} | {sum(alone[name].made.values()):,}"
        yield f"| {name} | {made} | {_outcome(alone[name])} |"
    yield f"| **together** | {sum(together.made.values()):,} | | {_outcome(together)} |"


def _outcome(found: Counted) -> str:
    return f"{found.lost} | {found.doubled} | {found.kept} | {found.failed} | {found.repeated}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the page's section; returns 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=200, help="rows of the run with each fault alone")
    parser.add_argument("--share", type=float, default=0.2, help="of the requests that get a fault")
    parser.add_argument("--page", type=Path, help="rewrite its section 'faults'")
    said = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        live = asyncio.run(measure(Path(one), said.rows, FaultyServer(said.share)))
        batches = asyncio.run(measure(Path(other), said.rows, FaultyBatches(said.share)))
        alone = asyncio.run(measure_each(Path(one), said.each, said.share))
    text = f"On {machine()}.\n\n{table(live, batches, alone)}"
    sys.stdout.write(f"{text}\n")
    if said.page:
        rewrite(said.page, "faults", text)
    return int(not all(counted.sound for counted in (live, batches, *alone.values())))


if __name__ == "__main__":
    raise SystemExit(main())
