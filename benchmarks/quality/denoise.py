"""The quality benchmark: how well each method finds wrong labels and mends them, over tasks, noise levels and experts.

    python -m benchmarks.quality.denoise --data DATA --out CELLS --ledger ledger.sqlite
    python -m benchmarks.quality.tables CELLS/results.json docs/benchmarks.md

DATA/TASK/labeled.csv holds the truth, DATA/TASK/noisy/noisyNN.csv noise as it was shipped; other levels are planted.
Every cell has a run directory under CELLS; run the command again to resume. To run cells again after the code has
changed, remove their directories; to work out their figures again, only their cell.json, which also says by which
command, when and where it was made.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any

import orjson

from benchmarks.quality.baselines import BASELINES
from benchmarks.quality.cells import CELL, EXPERTS, KINDS, LABELS_ONLY, Cell, Method, Order, finished, methods, run_cell
from benchmarks.quality.figures import accuracy_at
from benchmarks.quality.inputs import TASKS, Source, write_input, write_reviewed
from benchmarks.quality.machine import packages
from robustft import __version__
from robustft.errors import RobustFTError
from robustft.run import write_atomically

NOISE = ("0", "10", "30", "50", "70", "asymmetric-30")
FEWER_ROWS = {700: ("30", "50")}
"""Noise levels that are also run on so many rows, drawn at random."""


def grid(sources: Sequence[Source], wanted: argparse.Namespace) -> Iterator[Cell]:
    """Yield the cells that the command line asks for, those that others are compared with first."""
    for source in sources:
        for rows in wanted.rows:
            for noise in wanted.noise:
                if rows is not None and noise not in FEWER_ROWS.get(rows, wanted.noise):
                    continue
                for experts in (LABELS_ONLY, *wanted.experts):
                    for method in methods(source, experts, noise, rows):
                        if method.kind in wanted.methods:
                            for seed in range(_seeds(experts, method, wanted.seeds)):
                                yield Cell(source.name, noise, rows, experts, method, seed)


def _seeds(experts: str, method: Method, wanted: int) -> int:
    """Return how many seeds a cell has: one where nothing is drawn."""
    drawn = experts.startswith("scripted") or method.kind in BASELINES or method.reviewed > 0
    return wanted if drawn else 1


def orders(cells: Iterable[Cell], sources: Sequence[Source], wanted: argparse.Namespace, command: str) -> list[Order]:
    """Write the files that the cells take, each once. Raises RobustFTError."""
    by_name = {source.name: source for source in sources}
    folder = wanted.out / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    inputs: dict[tuple[str, str, int | None], Path] = {}
    found = []
    for cell in cells:
        source = by_name[cell.task]
        place = cell.task, cell.noise, cell.rows
        if place not in inputs:
            inputs[place] = write_input(source, cell.noise, cell.rows, folder)
        count = cell.method.reviewed
        reviewed = write_reviewed(source, inputs[place], count, cell.seed) if count else None
        found.append(Order(cell, source, inputs[place], wanted.embedder, wanted.out, wanted.ledger, reviewed, command))
    return found


def run(todo: Sequence[Order], jobs: int) -> int:
    """Run the cells, each in one of `jobs` processes; returns how many failed. A line for each goes to stderr."""
    failed = 0
    for number, (order, outcome) in enumerate(_outcomes(todo, jobs), 1):
        failed += isinstance(outcome, RobustFTError)
        said = f"failed: {outcome}" if isinstance(outcome, RobustFTError) else f"{outcome:.1f} s"
        sys.stderr.write(f"{number}/{len(todo)} {order.cell.name} {said}\n")
    return failed


def _outcomes(todo: Sequence[Order], jobs: int) -> Iterator[tuple[Order, float | RobustFTError]]:
    if jobs == 1:
        yield from ((order, _outcome(order)) for order in todo)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        under_way = {pool.submit(_outcome, order): order for order in todo}
        yield from ((under_way[future], future.result()) for future in as_completed(under_way))


def _outcome(order: Order) -> float | RobustFTError:
    """Run a cell; one that fails is no reason not to run the others."""
    try:
        return run_cell(order)
    except RobustFTError as error:
        return error


def results(out: Path) -> dict[str, Any]:
    """Collect every cell that is finished under `out`, with the label accuracy at the paper's coverage."""
    cells = [orjson.loads(path.read_bytes()) for path in sorted(out.glob(f"*/{CELL}"))]
    coverage: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    for cell in cells:
        if cell["cell"]["method"]["kind"] == "paper":
            by_experts = coverage.setdefault(_place(cell), {})
            by_experts.setdefault(cell["cell"]["experts"], []).append(cell["figures"]["coverage"])
    return {
        "made": {
            "date": datetime.now(UTC).date().isoformat(),
            "version": __version__,
            "packages": packages(),
        },
        "cells": [
            cell["cell"]
            | {
                "figures": cell["figures"],
                "at_paper_coverage": _at_coverage(cell, coverage.get(_place(cell), {})),
                "made": cell["made"],
            }
            for cell in cells
        ],
    }


def _named(argument: str) -> str:
    """Return a path without the folders that only this machine has."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def _place(cell: dict[str, Any]) -> tuple[Any, ...]:
    return cell["cell"]["task"], cell["cell"]["noise"], cell["cell"]["rows"]


def _at_coverage(cell: dict[str, Any], coverage: dict[str, list[float]]) -> dict[str, float | None]:
    """Return, for each set of experts, the label accuracy at the mean coverage that the paper's method has with it."""
    own = cell["cell"]["experts"]
    if cell["cell"]["method"]["kind"] == "paper":
        return {own: cell["figures"]["accuracy_taken"]}
    if cell["right_by_confidence"] is None:
        return {}
    experts = coverage if own == LABELS_ONLY else {own: coverage[own]} if own in coverage else {}
    return {name: accuracy_at(cell["right_by_confidence"], mean(shares)) for name, shares in experts.items()}


def main(arguments: Sequence[str]) -> int:
    """Run the cells that aren't finished, and collect all that are in OUT/results.json. Returns the exit code."""
    wanted = _parse(arguments)
    try:
        sources = [Source.open(name, wanted.data) for name in wanted.tasks]
        command = shlex.join(["python", "-m", "benchmarks.quality.denoise", *map(_named, arguments)])
        planned = orders(grid(sources, wanted), sources, wanted, command)
        todo = [order for order in planned if not finished(order)]
    except RobustFTError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stderr.write(f"{len(planned)} cells, {len(planned) - len(todo)} of them finished\n")
    failed = run(todo, wanted.jobs)
    content = orjson.dumps(results(wanted.out), option=orjson.OPT_INDENT_2)
    write_atomically(wanted.out / "results.json", lambda path: path.write_bytes(content))
    return 1 if failed else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="denoise", epilog="What isn't set takes in everything; tasks: fpb and arc.")
    parser.add_argument("--data", type=Path, required=True, help="the folder of the tasks' folders")
    parser.add_argument("--out", type=_absolute, required=True, help="the folder of the cells' run directories")
    parser.add_argument("--ledger", type=_absolute, help="the real model's calls; unset: the one in your cache folder")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["fpb", "arc"], help="which data sets")
    parser.add_argument(
        "--noise", nargs="+", type=_noise, default=NOISE, metavar="N", help="N or asymmetric-N, percent"
    )
    parser.add_argument("--experts", nargs="+", choices=EXPERTS, default=EXPERTS, help="who answers")
    parser.add_argument("--methods", nargs="+", choices=KINDS, default=KINDS, help="which rows of the tables")
    parser.add_argument("--rows", nargs="+", type=_rows, default=[None, *FEWER_ROWS], metavar="N", help="N or all")
    parser.add_argument("--seeds", type=int, default=3, help="of the cells in which something is drawn; 3")
    parser.add_argument("--embedder", default="minilm", help="of the probes, and of the paper's neighbours; minilm")
    parser.add_argument("--jobs", type=int, default=1, help="processes; 1")
    return parser.parse_args(arguments)


def _absolute(text: str) -> Path:
    return Path(text).absolute()


def _noise(text: str) -> str:
    if not re.fullmatch(r"(?:asymmetric-)?(?:0|[1-9]\d?|100)", text):
        raise argparse.ArgumentTypeError(f"'{text}': a percentage, perhaps after asymmetric-")
    return text


def _rows(text: str) -> int | None:
    return None if text == "all" else int(text)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
