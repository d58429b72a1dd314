"""The pilot: the run itself on a few rows drawn at random, and what their calls say of the rest."""

from __future__ import annotations

import heapq
import random
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robustft.config import Config
from robustft.data.readers import Reader
from robustft.data.writing import write_rows
from robustft.engine.local import Progress, Silent
from robustft.errors import ConfigError, DataError
from robustft.fusion.views import PROBE, TUNED
from robustft.offline import guarded
from robustft.pipeline import TRAINING, denoise
from robustft.plan.cost import Demand
from robustft.plan.pace import Pace
from robustft.records import OF_RELABEL, Answer, Example
from robustft.run import RunDir
from robustft.store import Stored
from robustft.tasks import make_task

ROWS = 50
STAGES = ("detect", "relabel")
"""The stages that ask the LLM."""
_DRAWS = 1000
"""Bootstrap draws."""


@dataclass(frozen=True, slots=True)
class StagePilot:
    """What a stage asked for each row, on average: `expected`, the ends of a 95 % interval, and `most`.

    `most` is what it comes to where every expert is asked about every row. `rate`: calls a second, None where they came
    from the ledger.
    """

    expected: Demand
    low: Demand
    high: Demand
    most: Demand
    rate: float | None


@dataclass(frozen=True, slots=True)
class Pilot:
    """What was found on `asked` of the file's `rows`."""

    rows: int
    asked: int
    stages: Sequence[StagePilot]


async def pilot(config: Config, rows: int = ROWS, progress: Progress | None = None) -> Pilot:
    """Run the config on `rows` rows drawn at random, once with every expert asked about every row, once as it says.

    Nothing is asked twice: the second of them, and the whole run later, find these calls in the ledger. No training is
    part of it. Raises RobustFTError.
    """
    if config.data.truth_path is not None:
        raise ConfigError("data.truth_path: a plan draws rows, which leaves them unaligned; unset it for the plan")
    with guarded(config):
        drawn, total = draw(Reader(config.data, make_task(config.task)), rows, config.seed)
    if not drawn:
        raise DataError("holds no row to plan with", path=config.data.path)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = {"path": str(write_rows(folder / "drawn.jsonl", [{**example.source} for example in drawn]))}
        experts = tuple(expert for expert in config.experts if expert != TUNED)
        changed = config.model_copy(
            update={
                "data": config.data.model_copy(update=data),
                "experts": experts,
                "engine": "local",
                "report_to": "none",
            }
        )
        everybody = changed.model_copy(update={"posterior": config.posterior.model_copy(update={"asking": "all"})})
        whole, own = RunDir(folder / "all"), RunDir(folder / "own")
        pace = Pace(progress or Silent())
        await denoise(everybody, whole.path, progress=pace, skip=TRAINING)
        await denoise(changed, own.path, skip=TRAINING)
        return Pilot(total, len(drawn), [_stage(stage, whole, own, config.seed, pace) for stage in STAGES])


def draw(examples: Iterable[Example], count: int, seed: int) -> tuple[list[Example], int]:
    """Draw examples without replacement, in one pass; returns them in their order, and how many there were."""
    rng, total = random.Random(seed), 0  # noqa: S311 - a sample, no secret
    kept: list[tuple[float, int, Example]] = []
    for total, example in enumerate(examples, 1):
        entry = (rng.random(), total, example)
        if len(kept) < count:
            heapq.heappush(kept, entry)
        elif entry > kept[0]:
            heapq.heapreplace(kept, entry)
    return [example for _, _, example in sorted(kept, key=lambda entry: entry[1])], total


def _stage(stage: str, whole: RunDir, own: RunDir, seed: int, pace: Pace) -> StagePilot:
    """Tell a stage's demand from its calls in both runs."""
    loads = [_loads(stage, run) for run in (own, whole)]
    expected, most = (load.mean(axis=0) for load in loads)
    draws = np.random.default_rng(seed).integers(len(loads[0]), size=(_DRAWS, len(loads[0])))
    low, high = np.percentile(loads[0][draws].mean(axis=1), [2.5, 97.5], axis=0)
    ends = [Demand(stage, *load.tolist()) for load in (expected, low, high, np.maximum(most, high))]
    return StagePilot(ends[0], ends[1], ends[2], ends[3], pace.rate(stage))


def _loads(stage: str, run: RunDir) -> NDArray[np.float64]:
    """Return calls, prompt tokens and completion tokens of each row, (N, 3)."""
    places = {example.id: place for place, example in enumerate(run.load(Example))}
    loads = np.zeros((len(places), 3))
    for answer in _answers(stage, run.load(Answer)):
        loads[places[answer.id]] += 1, answer.tokens_in, answer.tokens_out
    calls = run.read_json("stages.json")[stage]["calls"]
    # an answer may take several calls: reasoning in rounds, scores of several options
    loads[:, 0] *= (calls["requests"] + calls["cached"]) / max(loads[:, 0].sum(), 1)
    return loads


def _answers(stage: str, answers: Stored[Answer]) -> Iterable[Answer]:
    for answer in answers:
        if answer.expert != PROBE and (answer.expert in OF_RELABEL) == (stage == "relabel"):
            yield answer
