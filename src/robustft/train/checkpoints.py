"""Checkpoints of a training run: the newest that is whole, and none of other rows or settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

STATE = "trainer_state.json"
"""What the Trainer writes last, so a checkpoint that has it is whole."""


def newest(folder: Path) -> Path | None:
    """Return the folder's newest checkpoint that was written to its end, None where there is none."""
    found = [path for path in folder.glob("checkpoint-*") if path.name.partition("-")[2].isdecimal()]
    ordered = sorted(found, key=lambda path: int(path.name.partition("-")[2]), reverse=True)
    return next((path for path in ordered if _whole(path)), None)


def keep_only(place: Path) -> None:
    """Make the folder of a run's checkpoints, and remove its neighbours: those of other rows or settings."""
    place.mkdir(parents=True, exist_ok=True)
    for other in place.parent.iterdir():
        if other != place:
            shutil.rmtree(other)


def _whole(checkpoint: Path) -> bool:
    try:
        json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
