"""Does cleaning help fine-tuning? SmolLM2 trained on Financial PhraseBank as each arm of `compare` leaves it.

python -m benchmarks.quality.finetune --data DATA --out OUT --ledger LEDGER --page docs/benchmarks.md

DATA/fpb holds labeled.csv, noisy/noisyNN.csv and test.csv. The rows are cleaned as in the denoising benchmark, so that
with its ledger no call is made anew. Every arm and seed has a folder under OUT; run the command again to resume.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from benchmarks.quality.cells import Cell, Method, Order, config_of
from benchmarks.quality.inputs import Source, write_input, write_reviewed
from benchmarks.quality.machine import machine, packages
from benchmarks.quality.page import rewrite
from robustft import __version__
from robustft.config import CompareConfig, Config
from robustft.errors import RobustFTError
from robustft.evaluate.table import HEADING, NOTE, caption, table
from robustft.fusion.views import TUNED
from robustft.loading import make_config, merge
from robustft.pipeline import compare
from robustft.run import RunDir
from robustft.terminal.progress import StageProgress

SECTION = "finetune"
TASK = "fpb"
ARMS = CompareConfig().arms
CLOSED = 0.8
"""Share of the gap between none and oracle that posterior should close, at 30 and 50 % noise."""


def config(wanted: argparse.Namespace, noise: str, source: Source) -> Config:
    """Return the experiment at a noise level: cleaned as a cell of the denoising benchmark, one short prompt.

    The rows' own question is the whole prompt, the option's text the answer. Only the arm posterior is told of the rows
    that were reviewed. Raises RobustFTError.
    """
    inputs = wanted.out / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    cell = Cell(
        TASK, noise, wanted.rows, "smollm2", Method("posterior", "posterior", ("probe", "likelihood", TUNED)), 0
    )
    rows = write_input(source, noise, wanted.rows, inputs)
    order = Order(cell, source, rows, "minilm", wanted.out, wanted.ledger)
    overrides: dict[str, Any] = {"paper": {"embedder": ["minilm"]}}
    if wanted.reviewed:
        overrides["posterior"] = {"posterior": {"reviewed": str(write_reviewed(source, rows, wanted.reviewed, 0))}}
    own = {
        # the cells of the denoising benchmark are held at one target, to be comparable; here as by default
        "target_accuracy": None,
        "task": {"target": "{option}"},
        "prompts": {"training": "{question}"},
        "train": {"epochs": wanted.epochs, "max_steps": wanted.steps, "lr": wanted.lr},
        # many sentences of this data set differ in their figures only
        "evaluate": {
            "path": str(source.folder / "test.csv"),
            "answers": "scored",
            "limit": wanted.rows,
            "allow_overlap": True,
        },
        "compare": {
            "arms": wanted.arms,
            "seeds": list(range(wanted.seeds)),
            "overrides": overrides,
        },
    }
    return make_config(merge(config_of(order).model_dump(mode="json"), own), "finetune")


def run(wanted: argparse.Namespace) -> None:
    """Run the noise levels that aren't finished, one after the other. Raises RobustFTError."""
    source = Source.open(TASK, wanted.data)
    with StageProgress() as progress:
        for noise in wanted.noise:
            place = wanted.out / (f"{noise}-{wanted.reviewed}" if wanted.reviewed else noise)
            _share(wanted.out, place)
            started = RunDir(place).read_json("made.json")
            asyncio.run(compare(config(wanted, noise, source), place, progress=progress))
            RunDir(place).write_json("made.json", _made(wanted.command) | started)


def _share(out: Path, place: Path) -> None:
    """Take over the adapters of arms whose rows are the same at another level.

    The oracle's are so at all of them, those of none and paper whatever was reviewed.
    """
    noise = _level(place)[0]
    for arm, wanted in (("oracle", "*"), ("none", f"{noise}*"), ("paper", f"{noise}*")):
        done = [path for path in sorted(out.glob(f"{wanted}/{arm}")) if path.parent != place]
        if done and not (place / arm).exists():
            shutil.copytree(done[0], place / arm)


def _level(place: Path) -> tuple[int, int]:
    """Return the percentage of noise and the number of reviewed rows that a folder's name tells."""
    noise, _, reviewed = place.name.partition("-")
    return int(noise), int(reviewed or 0)


def _made(command: str) -> dict[str, Any]:
    today = datetime.now(UTC).date().isoformat()
    return {
        "date": today,
        "version": __version__,
        "command": command,
        "machine": machine(),
        "packages": packages(),
    }


def results(out: Path) -> dict[str, Any]:
    """Collect the noise levels that are finished under `out`, little noise first."""
    places = sorted((path.parent for path in out.glob("*/made.json")), key=_level)
    return {
        _named(*_level(place)): RunDir(place).read_json("compare.json") | {"made": RunDir(place).read_json("made.json")}
        for place in places
    }


def _named(noise: int, reviewed: int) -> str:
    return f"{noise} %, {reviewed} reviewed" if reviewed else f"{noise} %"


def section(found: Mapping[str, Any]) -> str:
    """Return the Markdown of all noise levels."""
    if not found:
        return "Not run yet."
    lines = [("noise", *HEADING), ["---"] * (1 + len(HEADING))]
    lines += [[noise, *row] for noise, level in found.items() for row in table(level)]
    first = next(iter(found.values()))
    return "\n\n".join(
        [
            *_made_with(found),
            *caption(first),
            "\n".join(f"| {' | '.join(line)} |" for line in lines),
            NOTE,
            *targets(found),
        ]
    )


def targets(found: Mapping[str, Any]) -> list[str]:
    """Return, for each noise level, whether posterior is as good as none and paper, and closes the gap."""
    said = []
    for noise, level in found.items():
        arms = level["arms"]
        if "posterior" not in arms:
            continue
        own = arms["posterior"]
        for rival in ("none", "paper"):
            if rival in arms:
                holds = own["accuracy"] >= arms[rival]["accuracy"]
                said.append(f"- {noise}: posterior is {'at least as good as' if holds else '**behind**'} {rival}")
        if own["gap_closed"] is not None and noise in {"30 %", "50 %"}:
            reached = "reached" if own["gap_closed"] >= CLOSED else "**missed**"
            said.append(f"- {noise}: {own['gap_closed']:.0%} of the gap closed; {CLOSED:.0%} {reached}")
    return ["Targets:\n\n" + "\n".join(said)] if said else []


def _made_with(found: Mapping[str, Any]) -> list[str]:
    made = [level["made"] for level in found.values()]
    commands = "\n".join(f"    {command}" for command in dict.fromkeys(entry["command"] for entry in made))
    used = ", ".join(f"{name} {version}" for name, version in made[-1]["packages"].items())
    dates, machines = (", ".join(sorted({entry[key] for entry in made})) for key in ("date", "machine"))
    return [
        f"Run on {dates} with robustft {made[-1]['version']} on {machines}, {used}, by",
        commands,
        "The row's own question is the whole prompt (`prompts.training`), the option's text the answer.",
    ]


def main(arguments: Sequence[str]) -> int:
    """Run what isn't finished, and collect all that is in OUT/results.json and the page. Returns the exit code."""
    wanted = _parse(arguments)
    shown = [Path(word).name if Path(word).is_absolute() else word for word in arguments]
    wanted.command = shlex.join(["python", "-m", "benchmarks.quality.finetune", *shown])
    try:
        run(wanted)
        found = results(wanted.out)
        RunDir(wanted.out).write("results.json", orjson.dumps(found, option=orjson.OPT_INDENT_2))
        if wanted.page is not None:
            rewrite(wanted.page, SECTION, section(found))
    except (RobustFTError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="finetune")
    parser.add_argument("--data", type=Path, required=True, help="the folder of the tasks' folders")
    parser.add_argument("--out", type=_absolute, required=True, help="the folder of the arms' folders")
    parser.add_argument("--ledger", type=_absolute, help="unset: the one in your cache folder")
    parser.add_argument("--page", type=Path, help="the Markdown page whose section is written")
    parser.add_argument("--noise", nargs="+", default=["30", "50", "70"], metavar="N", help="percent; 30 50 70")
    parser.add_argument("--reviewed", type=int, default=0, metavar="N", help="rows that a person has looked at; 0")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="all")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each arm; 2")
    parser.add_argument("--epochs", type=float, default=1.0, help="1")
    parser.add_argument("--lr", type=float, default=1e-4, help="highest learning rate; 1e-4")
    parser.add_argument("--steps", type=int, help="steps at most; unset: what the epochs come to")
    parser.add_argument("--rows", type=int, metavar="N", help="so many training and held-out rows only, for a trial")
    return parser.parse_args(arguments)


def _absolute(text: str) -> Path:
    return Path(text).absolute()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
