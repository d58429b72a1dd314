"""Commands that run the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robustft.cli.options import ConfigFile, Limit, Out, Sets
from robustft.engine.local import run_until_done
from robustft.loading import load_config
from robustft.pipeline import TRAINING
from robustft.pipeline import compare as compare_rows
from robustft.pipeline import denoise as denoise_file
from robustft.tasks.presets import PRESETS
from robustft.terminal.evaluation import show_comparison
from robustft.terminal.progress import StageProgress
from robustft.terminal.summary import show_summary


def run(config: ConfigFile, out: Out, limit: Limit = None, sets: Sets = None) -> None:
    """Do everything that the config asks for; run it again to resume."""
    _denoise(config, out, limit, sets)


def denoise(config: ConfigFile, out: Out, limit: Limit = None, sets: Sets = None) -> None:
    """Clean the data set: read, detect, relabel, select, export."""
    _denoise(config, out, limit, sets, skip=TRAINING)


def compare(config: ConfigFile, out: Out, limit: Limit = None, sets: Sets = None) -> None:
    """Train on the rows as each arm of `compare` leaves them, and measure every model on the held-out file."""
    loaded = load_config(config, sets or (), PRESETS)
    with StageProgress() as progress:
        found = run_until_done(compare_rows(loaded, out, limit, progress), heard=loaded.offline)
    show_comparison(found, out)


def _denoise(path: Path, out: Path, limit: int | None, sets: list[str] | None, skip: tuple[str, ...] = ()) -> None:
    config = load_config(path, sets or (), PRESETS)
    with StageProgress() as progress:
        metrics: dict[str, Any] = run_until_done(denoise_file(config, out, limit, progress, skip), heard=config.offline)
    show_summary(metrics, out)
