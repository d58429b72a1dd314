"""A cell of the benchmark: one data set, one noise level, one method, one seed; what it is, and how it is run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.quality.baselines import BASELINES, run_baseline
from benchmarks.quality.figures import figures, right_by_confidence
from benchmarks.quality.inputs import Source
from benchmarks.quality.machine import machine
from robustft import __version__
from robustft.config import Config
from robustft.data.readers import stamp
from robustft.errors import ModelError
from robustft.fusion.views import TAUGHT, TUNED
from robustft.loading import make_config
from robustft.pipeline import denoise
from robustft.run import RunDir, fingerprint

SHORT: dict[str, Any] = {"prompts": {"training": "{question}"}}
"""What SmolLM2 is trained on: the row's question alone; the option's text is the answer."""
EXPERTS = ("smollm2", "scripted-0.60", "scripted-0.755", "scripted-chance")
KINDS = ("none", "self-select", "self-label", "paper", *BASELINES, "posterior")
LABELS_ONLY = "labels"
"""In the place of the experts, for methods that look at labels and embeddings alone."""
CELL = "cell.json"


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the tables: `kind` is the config's method or a baseline; what follows is method posterior's."""

    name: str
    kind: str
    views: tuple[str, ...] = ()
    prior_accuracy: float | None = None
    reviewed: int = 0
    asking: str = "adaptive"

    @property
    def ranks(self) -> bool:
        """Whether its confidence is a probability of being right, by which rows can be ranked."""
        return self.kind in {"posterior", *BASELINES}


@dataclass(frozen=True, slots=True)
class Cell:
    """What is run. `rows` None: all of the task's. `seed` is that of the scripted model, the folds or the review."""

    task: str
    noise: str
    rows: int | None
    experts: str
    method: Method
    seed: int

    @property
    def name(self) -> str:
        """The run directory's name."""
        method = self.method.name.replace(", ", "-").replace(" ", "_")
        return f"{self.task}-{self.noise}-{self.rows or 'all'}-{self.experts}-{method}-{self.seed}"


@dataclass(frozen=True, slots=True)
class Order:
    """A cell and the files that it takes, ready to be run in any process; `command` is the one that asks for it."""

    cell: Cell
    source: Source
    input: Path
    embedder: str
    out: Path
    ledger: Path | None
    reviewed: Path | None = None
    command: str = ""

    @property
    def folder(self) -> Path:
        """The run directory."""
        return self.out / self.cell.name


def methods(source: Source, experts: str, noise: str, rows: int | None) -> list[Method]:
    """Return the methods that are run with these experts at this noise level."""
    if experts == LABELS_ONLY:
        return [Method(name, name) for name in ("none", *BASELINES)]
    fused = [Method(name, "posterior", views) for name, views in _views(source, experts).items()]
    fused += [replace(m, name=f"{m.name}, all asked", asking="all") for m in fused if len(set(m.views) - {*TAUGHT}) > 1]
    if noise == "70" and rows is None:
        believed = accuracy(experts, source)
        extra = [] if believed is None else [replace(m, name=f"{m.name}, prior {believed:g}") for m in fused]
        fused += [replace(m, prior_accuracy=believed) for m in extra]
        if experts == "smollm2" and source.shared:
            fused.append(replace(fused[0], name="posterior, 30 reviewed", reviewed=30))
    if experts == "smollm2" and source.shared and noise in {"30", "50", "70"} and rows is None:
        fused.append(replace(fused[0], name="posterior, tuned", views=(*fused[0].views, TUNED)))
    return [Method(name, name) for name in ("self-select", "self-label", "paper")] + fused


def _views(source: Source, experts: str) -> dict[str, tuple[str, ...]]:
    """Return the experts of each variant of method posterior, in the order in which they are asked."""
    if experts == "smollm2":
        return {"posterior": ("probe", "likelihood") if source.shared else ("likelihood",)}
    if source.shared:
        return {"posterior": ("probe", "direct", "reasoning")}
    return {"posterior, 1 view": ("direct",), "posterior, 4 views": ("direct", "reasoning", "context", "review")}


def accuracy(experts: str, source: Source) -> float | None:
    """Return what the scripted model is set to, or what SmolLM2 was measured to have on FPB; None where unknown."""
    if experts == "smollm2":
        return 0.65 if source.name == "fpb" else None
    level = experts.removeprefix("scripted-")
    return round(1 / source.options, 3) if level == "chance" else float(level)


def config_of(order: Order) -> Config:
    """Return the config of the cell's run. Raises ConfigError."""
    tree = _tree(order)
    tree["data"] |= {"path": str(order.input)}
    if order.cell.experts != "smollm2":
        # a scripted model's calls are free: each cell makes its own, so that its wall time is a whole run's
        tree["ledger"] = str(order.folder / "ledger.sqlite")
    elif order.ledger is not None:
        tree["ledger"] = str(order.ledger)
    if order.reviewed is not None:
        tree["posterior"] |= {"reviewed": str(order.reviewed)}
    return make_config(tree, order.cell.name)


def _tree(order: Order) -> dict[str, Any]:
    """Return what the cell sets, its files aside."""
    cell, source = order.cell, order.source
    method, scored = cell.method, cell.experts == "smollm2"
    tree: dict[str, Any] = {
        "task": source.config.task.model_dump(exclude_unset=True),
        "data": source.config.data.model_dump(exclude_unset=True) | {"truth_path": None, "id": "id", "truth": "truth"},
        # a baseline is no method of the package
        "method": "none" if method.kind in BASELINES else method.kind,
        "experts": list(method.views) or (["likelihood"] if scored else ["direct", "reasoning"]),
        # the probe sees what the local model makes of a text, too
        "embedder": [order.embedder, "hidden"] if scored and "probe" in method.views else order.embedder,
        "export": [],
    }
    if scored:
        tree["llm"] = {"backend": "local", "model": "smollm2", "concurrency": 256}
        tree["paper"] = {"answers": "scored", "max_tokens": 24}
    else:
        tree["llm"] = {"backend": "scripted"}
    if scored and source.shared:
        tree["likelihood"] = {"prior": "batch"}
    if TUNED in method.views:
        tree |= SHORT
        tree["task"] |= {"target": "{option}"}
    if cell.experts.startswith("scripted"):
        tree["llm"] |= {"scripted": {"accuracy": accuracy(cell.experts, source), "seed": cell.seed}}
    if method.kind == "posterior":
        tree["target_accuracy"] = 0.95
        tree["posterior"] = {"prior_accuracy": method.prior_accuracy, "asking": method.asking}
    return tree


def finished(order: Order) -> bool:
    """Whether this very cell has been run. Raises ConfigError."""
    return bool(RunDir(order.folder).read_json(CELL).get("key") == _key(order))


def run_cell(order: Order) -> float:
    """Run a cell into its folder, unless it is finished; returns the seconds it took.

    Raises RobustFTError, also where calls failed: such a cell is run again.
    """
    start = time.monotonic()
    if not finished(order):
        run, config = RunDir(order.folder), config_of(order)
        if order.cell.method.kind in BASELINES:
            asyncio.run(run_baseline(order.cell.method.kind, config, run, order.cell.seed))
        else:
            asyncio.run(denoise(config, order.folder))
        if failed := run.read_json("metrics.json")["calls"]["failed"]:
            raise ModelError(f"{order.cell.name}: {failed} calls failed; run the same command again")
        run.write_json(CELL, _result(order, run))
        for file in order.folder.glob("ledger.sqlite*"):
            file.unlink()
    return time.monotonic() - start


def _result(order: Order, run: RunDir) -> Mapping[str, Any]:
    return {
        "key": _key(order),
        "cell": asdict(order.cell),
        "figures": figures(run),
        "right_by_confidence": right_by_confidence(run) if order.cell.method.ranks else None,
        "made": {
            "date": datetime.now(UTC).date().isoformat(),
            "version": __version__,
            "command": order.command,
            "machine": machine(),
            "embedder": "+".join(config_of(order).embedder),
            "shipped": order.source.shipped(order.cell.noise) is not None,
        },
    }


def _key(order: Order) -> str:
    """Return what tells whether a cell that was run is still the same: what it sets, and what its files hold."""
    reviewed = None if order.reviewed is None else order.reviewed.read_text(encoding="utf-8")
    rows = stamp(order.source.config.data.model_copy(update={"path": str(order.input), "truth_path": None}))
    return fingerprint(order.cell.method.kind, order.cell.seed, _tree(order), rows, reviewed)
