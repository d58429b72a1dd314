"""What large runs take on GPUs, by the cost model of `robustft plan`: the tables of docs/scale.md.

    python -m benchmarks.scale.plan --asked RUN --large RUN --page docs/scale.md

`--asked` is a run at a real server, whose calls and tokens a row are taken; `--large` one of many rows with the
scripted model (benchmarks.scale.rows leaves it in its OUT), whose own time and disk a row are taken. Nothing here was
run on a GPU: how fast one reads and writes are public figures of others, named below.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from benchmarks.quality.machine import machine
from benchmarks.quality.page import rewrite
from robustft.plan.cost import CALL_BYTES, CALL_SECONDS, Cost, Demand, Supply, cost
from robustft.run import RunDir

READS = 17_800.0
"""Prompt tokens a second: Llama 3 8B in FP8 on one L40S, vLLM, answers of few tokens, nothing cached; vLLM #9668."""
WRITES = 6_600.0
"""Tokens a second: Llama 3.1 8B on one GPU (which isn't said), vLLM, beside 7,400 that it reads; vLLM #18566."""
EMBEDS = 10_000.0
"""Texts a second that one GPU embeds with all-MiniLM-L6-v2; an assumption, of the order of what its authors name."""
ROWS = (10**5, 10**6, 10**7, 10**8, 10**9)
GPUS = (1, 8, 64)
CORES = 4
"""Cores beside each GPU, for the worker that asks it; an assumption."""
ASKING = ("detect", "relabel")
COUNTS = ("calls", "prompt_tokens", "completion_tokens")
SECTION = "plan"
TEXT = f"""\
A row, stage by stage. Calls and tokens: {{asked}}, at a server. Own work and disk: {{rows:,}} rows with the scripted
model, {{each:.2f}} calls a row, on {{machine}}.

{{stages}}

Whole runs: wall time, and the share of it in which the GPUs are busy.

{{totals}}

Assumptions: a GPU reads {READS:,.0f} and writes {WRITES:,.0f} tokens a second (an 8B model in vLLM; pull requests 9668
and 18566 of vllm-project/vllm), one after the other, nothing cached, and embeds {EMBEDS:,.0f} texts a second. A call
costs {{call:.0f}} us on one of the {CORES} cores beside each GPU; {{row:.2f}} ms a row are spent by the one process
that reads, fuses, decides and exports."""


def demands(run: RunDir) -> list[Demand]:
    """Return what each stage of a run asked for a row; of its calls none may have come from the ledger."""
    rows = run.read_json("metrics.json")["n"]
    found = []
    for stage in ASKING:
        calls = run.read_json("stages.json")[stage]["calls"]
        if calls["cached"]:
            raise SystemExit(
                f"{run.path}: calls came from a ledger, which keeps no count of their tokens; take a new one"
            )
        per_row = (calls[name] / rows for name in ("requests", *COUNTS[1:]))
        found.append(Demand(stage, *per_row))
    return found


def own(run: RunDir) -> dict[str, tuple[float, float]]:
    """Return the seconds and the bytes that each stage of a run takes for a row, its calls' own included."""
    rows = run.read_json("metrics.json")["n"]
    files = {"read": ["examples"], "detect": ["answers", "verdicts"], "relabel": ["relabels", "beliefs"]}
    files |= {"select": ["decisions"]}
    found = {}
    for stage, facts in run.read_json("stages.json").items():
        paths = [run.path / f"{name}.parquet" for name in files.get(stage, [])]
        paths += [*(run.path / "export").iterdir()] if stage == "export" else []
        size = sum(path.stat().st_size for path in paths if path.exists())
        found[stage] = facts["wall_s"] / rows, size / rows
    return {stage: facts for stage, facts in found.items() if stage not in {"tune", "train", "evaluate", "compare"}}


def stage_lines(asked: Sequence[Demand], large: dict[str, tuple[float, float]]) -> list[str]:
    """Return the table of what a row takes, stage by stage."""
    lines = [
        "| stage | calls | tokens sent | tokens answered | own work, ms | disk, bytes |",
        "|---|---|---|---|---|---|",
    ]
    by_stage = {demand.stage: demand for demand in asked}
    for stage, (seconds, size) in large.items():
        demand = by_stage.get(stage, Demand(stage, 0, 0, 0))
        ledger = demand.calls * CALL_BYTES
        lines.append(
            f"| {stage} | {demand.calls:.2f} | {demand.prompt_tokens:.0f} | {demand.completion_tokens:.0f} "
            f"| {1e3 * seconds:.2f} | {size + ledger:.0f} |"
        )
    return lines


def totals(asked: Sequence[Demand], row_seconds: float, row_bytes: float) -> list[str]:
    """Return the table of whole runs."""
    lines = ["| rows | calls | tokens sent | tokens answered | disk | " + " | ".join(f"{g} GPU" for g in GPUS) + " |"]
    lines.append("|---" * (5 + len(GPUS)) + "|")
    for rows in ROWS:
        costs = {gpus: [cost(each, rows, Supply(READS, WRITES, gpus, CORES * gpus)) for each in asked] for gpus in GPUS}
        once = costs[GPUS[0]]
        size = sum(found.bytes for found in once) + rows * row_bytes
        counts = [sum(getattr(found, name) for found in once) for name in COUNTS]
        times = [_time(costs[gpus], rows, row_seconds, gpus) for gpus in GPUS]
        shown = " | ".join([*(f"{count:.2g}" for count in counts), f"{size / 1e9:,.1f} GB", *times])
        lines.append(f"| 10^{len(str(rows)) - 1} | {shown} |")
    return lines


def _time(costs: Sequence[Cost], rows: int, row_seconds: float, gpus: int) -> str:
    """Return the wall time, and in brackets the share of it in which the GPUs work."""
    asking = sum(found.seconds for found in costs)
    working = sum(found.server for found in costs) + rows / EMBEDS / gpus
    whole = asking + rows / EMBEDS / gpus + rows * row_seconds
    return f"{timedelta(seconds=round(whole))} ({working / whole:.0%})"


def main(arguments: Sequence[str]) -> int:
    """Print the tables, or write them into the page. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="plan")
    parser.add_argument("--asked", type=Path, required=True, help="a run at a real server, with a ledger of its own")
    parser.add_argument("--large", type=Path, required=True, help="a run of many rows with the scripted model")
    parser.add_argument("--page", type=Path, help="the Markdown page whose section is written")
    wanted = parser.parse_args(arguments)
    asked, run = demands(RunDir(wanted.asked)), RunDir(wanted.large)
    large, metrics = own(run), run.read_json("metrics.json")
    row_seconds, row_bytes = (sum(values) for values in zip(*large.values(), strict=True))
    text = TEXT.format(
        asked=wanted.asked.name,
        rows=metrics["n"],
        each=metrics["calls"]["requests"] / metrics["n"],
        machine=machine(),
        stages="\n".join(stage_lines(asked, large)),
        totals="\n".join(totals(asked, row_seconds, row_bytes)),
        call=1e6 * CALL_SECONDS,
        row=1e3 * row_seconds,
    )
    if wanted.page is not None:
        rewrite(wanted.page, SECTION, text)
    else:
        sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
