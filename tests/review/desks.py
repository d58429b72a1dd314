"""Runs of the scripted model that are reviewed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robustft.config import Config
from robustft.pipeline import denoise
from robustft.review.desk import Desk
from robustft.review.queue import Wanted
from robustft.run import RunDir
from support import MakeConfig, write_moods


async def reviewed_run(folder: Path, make: MakeConfig, rows: int = 80, **more: Any) -> tuple[RunDir, Config]:
    """Return a finished run of method posterior, with rows that are set aside for review."""
    data = folder / "d.csv"
    if not data.exists():
        write_moods(data, n=rows)
    tree = {"method": "posterior", "experts": ["direct", "reasoning"], "posterior": {"review": 20}}
    config = make(data, **(tree | more))
    await denoise(config, folder / "run")
    return RunDir(folder / "run"), config


def desk_of(run: RunDir, config: Config, **wanted: Any) -> Desk:
    """Return the desk of a run."""
    return Desk(run, config, Wanted(**wanted))
